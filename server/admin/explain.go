package admin

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"meridian/spec"
	"meridian/zones"
	"meridian/zones/explain"
)

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
	e := explain.Resolve(s, q)
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
	known := []string{"name", "type", "client", "subnet", "random", "format"}
	for key, v := range values {
		if !slices.Contains(known, key) {
			return nil, false, fmt.Errorf("%q is not a parameter, expected one of %s%s",
				key, strings.Join(known, ", "), spec.Suggest(key, known))
		}
		if len(v) > 1 {
			return nil, false, fmt.Errorf("%s: given %d times, expected once", key, len(v))
		}
	}
	asked := explain.Question{
		Name: values.Get("name"), Type: values.Get("type"), Client: values.Get("client"),
		Subnet: values.Get("subnet"), Random: values.Get("random"),
	}
	if asked.Client == "" {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			asked.Client = peer.Addr().WithZone("").String()
		}
	}
	if q, err = asked.Query(rand.Uint64()); err != nil {
		return nil, false, err
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
