package health

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"meridian/spec"
)

// HTTP is up when the response to a request has the status and the body that are expected.
// Redirects are not followed.
type HTTP struct {
	Port       uint16  `json:"port,omitzero"`        // where it connects to; default the member's, else 80 (https: 443); 1 to 65535
	Method     string  `json:"method,omitzero"`      // the method, sent without a body; default "GET"; "GET", "HEAD", "OPTIONS" or "POST"
	Path       string  `json:"path,omitzero"`        // the path, with the query, if any, as it is sent; default "/"; begins with a slash
	Host       string  `json:"host,omitzero"`        // the Host header, with a port or without; default the address; such as "www.example.com:8443"
	Headers    Headers `json:"headers,omitzero"`     // further headers, by name; default User-Agent and Accept; at most 32, none of those that frame a message
	HTTP2      bool    `json:"http2,omitzero"`       // speak HTTP/2, without TLS by prior knowledge (RFC 9113 §3.3); default false: HTTP/1.1
	Status     string  `json:"status,omitzero"`      // the status that is expected; default "200-399"; "200", "2xx", "200-399", or several by comma
	Body       string  `json:"body,omitzero"`        // a text that the first 64 KiB of the body must hold; default none
	BodyRegexp string  `json:"body_regexp,omitzero"` // a regular expression (RE2) that they must match; default none
}

// Headers are values by the name of their header.
type Headers map[string]string

// HTTPS is HTTP over TLS.
type HTTPS struct {
	HTTP        // its fields stand beside those below
	Certificate // its server name is the host without port unless said
}

// Certificate is what a TLS handshake asks for, and what is expected of the certificate.
type Certificate struct {
	SNI      string `json:"sni,omitzero"`       // the server name of the handshake and of the certificate; default that of host, if there is one; a name or an address
	Verify   *bool  `json:"verify,omitzero"`    // the certificate must be valid for that name; default true
	WarnDays *int   `json:"warn_days,omitzero"` // days before a certificate of the chain expires at which a warning begins; default 14; 0 (never) to 365
}

const (
	defaultMethod   = "GET"
	defaultStatus   = "200-399"
	defaultWarnDays = 14
	maxHeaders      = 32
	maxValue        = 4096 // bytes of a text that is sent or looked for
)

var methods = []string{"GET", "HEAD", "OPTIONS", "POST"}

// A field name (RFC 9110 section 5.1), and a value (section 5.5) in ASCII.
var (
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	valueForm  = regexp.MustCompile(`^[\t -~]*$`)
)

// framing are the headers that say where a message ends, to whom it is and whether another follows.
var framing = []string{"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

// Path and query as RFC 3986 sections 3.3 and 3.4 write them: they go on the wire as they are.
var pathForm = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*$`)

// A Host header (RFC 9110 section 7.2): a name or an IPv4 address (1), or an IPv6 address in
// brackets (2); then perhaps a port (3).
var hostForm = regexp.MustCompile(`^(?:([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?$`)

func (h *HTTP) complete(field string) error {
	if h.Method == "" {
		h.Method = defaultMethod
	}
	if h.Path == "" {
		h.Path = "/"
	}
	if h.Status == "" {
		h.Status = defaultStatus
	}
	if !slices.Contains(methods, h.Method) {
		return spec.Errorf(field+".method", `%q is not known, expected "GET", "HEAD", "OPTIONS" or "POST"%s`, h.Method, spec.Suggest(h.Method, methods))
	}
	if !pathForm.MatchString(h.Path) {
		return spec.Errorf(field+".path", `%q is not a path such as "/healthz"`, h.Path)
	}
	if _, err := hostName(h.Host); h.Host != "" && err != nil {
		return spec.Errorf(field+".host", "%v", err)
	}
	if err := h.completeHeaders(field + ".headers"); err != nil {
		return err
	}
	if _, err := ParseStatus(h.Status); err != nil {
		return spec.Errorf(field+".status", "%v", err)
	}
	return h.completeBody(field)
}

func (h *HTTP) completeHeaders(field string) error {
	if len(h.Headers) > maxHeaders {
		return spec.Errorf(field, "%d headers, expected at most %d", len(h.Headers), maxHeaders)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		value, lower := h.Headers[name], strings.ToLower(name)
		switch {
		case !headerForm.MatchString(name):
			return spec.Errorf(field, `%q is not the name of a header such as "Authorization"`, name)
		case lower == "host":
			return spec.Errorf(field, `%s has a field of its own, "host"`, name)
		case slices.Contains(framing, lower):
			return spec.Errorf(field, "%s frames the message, which is not the operator's to say", name)
		case seen[lower]:
			return spec.Errorf(field, "%s is there twice, once in another spelling", name)
		case !valueForm.MatchString(value) || len(value) > maxValue:
			return spec.Errorf(field, "%s: %.100q is not a value: expected at most %d printable ASCII characters", name, value, maxValue)
		}
		seen[lower] = true
	}
	return nil
}

func (h *HTTP) completeBody(field string) error {
	switch {
	case h.Method == "HEAD" && h.Body != "":
		return spec.Errorf(field+".body", "the response to HEAD has none")
	case h.Method == "HEAD" && h.BodyRegexp != "":
		return spec.Errorf(field+".body_regexp", "the response to HEAD has no body")
	case len(h.Body) > maxValue:
		return spec.Errorf(field+".body", "%d bytes, expected at most %d", len(h.Body), maxValue)
	}
	return checkRegexp(field+".body_regexp", h.BodyRegexp)
}

func checkRegexp(field, text string) error {
	if len(text) > maxValue {
		return spec.Errorf(field, "%d bytes, expected at most %d", len(text), maxValue)
	}
	if _, err := regexp.Compile(text); err != nil {
		return spec.Errorf(field, "%q is not a regular expression (RE2): %s", text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return nil
}

func (h *HTTPS) complete(field string) error {
	if err := h.HTTP.complete(field); err != nil {
		return err
	}
	return h.Certificate.complete(field, h.Host)
}

// complete fills in the server name of the Host header, which may be none.
func (c *Certificate) complete(field, host string) error {
	if c.Verify == nil {
		yes := true
		c.Verify = &yes
	}
	if c.WarnDays == nil {
		days := defaultWarnDays
		c.WarnDays = &days
	}
	if c.SNI == "" && host != "" {
		c.SNI, _ = hostName(host)
	}
	needs := `"sni"`
	if field != "tls" {
		needs = `"host" or "sni"`
	}
	switch {
	case c.SNI == "" && *c.Verify:
		return spec.Errorf(field, `a certificate is verified for a name: set %s, or "verify": false`, needs)
	case c.SNI != "" && !isServerName(c.SNI):
		return spec.Errorf(field+".sni", `%q is not a server name such as "www.example.com"`, c.SNI)
	case *c.WarnDays < 0 || *c.WarnDays > 365:
		return spec.Errorf(field+".warn_days", "%d is out of range, expected 0 to 365", *c.WarnDays)
	}
	return nil
}

func isServerName(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	name, err := hostName(s)
	return err == nil && name == s
}

// hostName is the name or address in a Host header, without port and brackets.
func hostName(header string) (string, error) {
	fault := fmt.Errorf(`%q is not a host such as "www.example.com" or "www.example.com:8443"`, header)
	m := hostForm.FindStringSubmatch(header)
	if m == nil {
		return "", fault
	}
	if port, err := strconv.Atoi(m[3]); m[3] != "" && (err != nil || port < 1 || port > 65535) {
		return "", fault
	}
	if m[2] == "" {
		return m[1], nil
	}
	if a, err := netip.ParseAddr(m[2]); err != nil || !a.Is6() {
		return "", fault
	}
	return m[2], nil
}

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ From, To int }

var statusForm = regexp.MustCompile(`^(?:([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?)$`)

// ParseStatus reads "200", "2xx", "200-399", or several of these by comma.
func ParseStatus(s string) ([]StatusRange, error) {
	var ranges []StatusRange
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		m := statusForm.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf(`%q is not a status such as "200", "2xx" or "200-399"`, part)
		}
		from, to := m[2], m[3]
		switch {
		case m[1] != "":
			from, to = m[1]+"00", m[1]+"99"
		case to == "":
			to = from
		}
		lo, _ := strconv.Atoi(from) // the form has seen to it that these are numbers
		hi, _ := strconv.Atoi(to)
		if lo > hi {
			return nil, fmt.Errorf("%q runs backwards, expected the lower status first", part)
		}
		ranges = append(ranges, StatusRange{lo, hi})
	}
	return ranges, nil
}
