package admin

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/miekg/dns"

	"meridian/spec"
	"meridian/zones"
)

// Explanation says how a query is answered, and why: the response of /explain.
type Explanation struct {
	Name          string         `json:"name"` // absolute, in lower case
	Type          string         `json:"type"`
	Client        netip.Addr     `json:"client"`
	Subnet        netip.Prefix   `json:"subnet,omitzero"` // for whom it asks (RFC 7871)
	Server        string         `json:"server,omitzero"` // that answers, by its name
	Site          string         `json:"site,omitzero"`   // where it and its checker stand
	Revision      int64          `json:"revision"`        // of the registry
	Random        uint64         `json:"random,string"`   // that decided the draws
	Outcome       string         `json:"outcome"`         // a zones.Outcome
	Rcode         string         `json:"rcode"`
	Records       []Record       `json:"records"`
	ExtendedError *ExtendedError `json:"extended_error,omitzero"`
	Trace         zones.Trace    `json:"trace"`
}

// Record is one of the answer's.
type Record struct {
	Section string `json:"section"` // "answer", "authority" or "additional"
	Record  string `json:"record"`  // as zone files have it
}

// ExtendedError is one of RFC 8914.
type ExtendedError struct {
	Code uint16 `json:"code"`
	Name string `json:"name"`
	Text string `json:"text,omitzero"`
}

// WriteJSON writes e as /explain gives it.
func (e *Explanation) WriteJSON(w io.Writer) error {
	if err := json.MarshalWrite(w, e, jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// explain answers q from s as the server would answer a query, and says how.
func explain(s *zones.Snapshot, q *zones.Query) *Explanation {
	var a zones.Answer
	e := &Explanation{
		Name:     dns.Fqdn(q.Name.String()),
		Type:     dns.Type(q.Type).String(),
		Client:   q.Client.Addr,
		Subnet:   q.Client.Subnet,
		Revision: s.Revision,
		Random:   q.Random,
	}
	zones.Resolve(s, q, &a, &e.Trace)
	e.Outcome = a.Outcome.String()
	e.Rcode = dns.RcodeToString[int(a.Outcome.Rcode())]
	if a.Error != nil {
		e.ExtendedError = &ExtendedError{a.Error.Code, dns.ExtendedErrorCodeToString[a.Error.Code], a.Error.Text}
	}
	lines := a.Text(q)
	e.Records = make([]Record, 0, len(lines))
	for i := range a.Sets {
		section := [...]string{"answer", "authority", "additional"}[a.Sets[i].Section]
		for range a.Sets[i].Count {
			e.Records = append(e.Records, Record{section, lines[len(e.Records)]})
		}
	}
	return e
}

// explainer serves /explain.
type explainer struct{ cfg Config }

func (x explainer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, text, err := parseRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := x.cfg.Snapshot.Load()
	if s == nil {
		_, why := x.cfg.Ready()
		http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
		return
	}
	e := explain(s, q)
	e.Server, e.Site = x.cfg.Name, x.cfg.Site
	if text {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		e.WriteText(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	e.WriteJSON(w)
}

// parseRequest reads what is to be explained, and whether as text. Errors name the parameter.
func parseRequest(r *http.Request) (q *zones.Query, text bool, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, false, err
	}
	known := []string{"name", "type", "client", "subnet", "format"}
	for key, v := range values {
		if !slices.Contains(known, key) {
			return nil, false, fmt.Errorf("%q is not a parameter, expected one of %s%s",
				key, strings.Join(known, ", "), spec.Suggest(key, known))
		}
		if len(v) > 1 {
			return nil, false, fmt.Errorf("%s: given %d times, expected once", key, len(v))
		}
	}
	name, err := parseName(values.Get("name"))
	if err != nil {
		return nil, false, fmt.Errorf("name: %w", err)
	}
	q = &zones.Query{Name: *name, Type: dns.TypeA, Random: rand.Uint64()}
	if v := values.Get("type"); v != "" {
		if q.Type, err = parseType(v); err != nil {
			return nil, false, fmt.Errorf("type: %w", err)
		}
	}
	client := values.Get("client")
	if client == "" {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return nil, false, fmt.Errorf("client: expected an address such as 192.0.2.1 or 2001:db8::1")
		}
		client = peer.Addr().WithZone("").String()
	}
	if q.Client.Addr, err = netip.ParseAddr(client); err != nil || q.Client.Addr.Zone() != "" {
		return nil, false, fmt.Errorf("client: %q is not an address such as 192.0.2.1 or 2001:db8::1", client)
	}
	q.Client.Addr = q.Client.Addr.Unmap()
	if v := values.Get("subnet"); v != "" {
		if q.Client.Subnet, err = parseSubnet(v); err != nil {
			return nil, false, fmt.Errorf("subnet: %w", err)
		}
	}
	switch values.Get("format") {
	case "":
		text = strings.HasPrefix(r.Header.Get("Accept"), "text/plain")
	case "text":
		text = true
	case "json":
	default:
		return nil, false, fmt.Errorf(`format: %q is not known, expected "json" or "text"`, values.Get("format"))
	}
	return q, text, nil
}

// parseSubnet reads a client subnet as a query has it (RFC 7871 §6).
func parseSubnet(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is not a network such as 203.0.113.0/24 or 2001:db8::/56", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits set beyond the prefix, expected %s", p, p.Masked())
	}
	return p, nil
}

// parseName reads a name with or without its final dot.
func parseName(text string) (*zones.Name, error) {
	if text == "" {
		return nil, fmt.Errorf("expected one such as www.example.com")
	}
	if text != "." && dns.IsFqdn(text) {
		text = strings.TrimSuffix(text, ".")
	}
	return zones.ParseName(text)
}

// parseType reads a type's name, or TYPE123 (RFC 3597), in letters of any case.
func parseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	typ, ok := dns.StringToType[upper]
	if number, found := strings.CutPrefix(upper, "TYPE"); !ok && found {
		v, err := strconv.ParseUint(number, 10, 16)
		typ, ok = uint16(v), err == nil
	}
	if !ok {
		known := make([]string, 0, len(dns.StringToType))
		for name := range dns.StringToType {
			known = append(known, name)
		}
		slices.Sort(known)
		return 0, fmt.Errorf("%q is not a type such as A, MX or TYPE123%s", text, spec.Suggest(upper, known))
	}
	switch typ {
	case dns.TypeNone, dns.TypeOPT, dns.TypeNXNAME, dns.TypeTKEY, dns.TypeTSIG, dns.TypeIXFR, dns.TypeAXFR,
		dns.TypeMAILB, dns.TypeMAILA, dns.TypeReserved:
		return 0, fmt.Errorf("no name has records of type %s", dns.Type(typ))
	}
	return typ, nil
}
