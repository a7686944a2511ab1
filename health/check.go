package health

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"meridian/spec"
)

// Check tells how to find out whether an address works: the value of check/<check>. Exactly one of
// TCP, HTTP and HTTPS is set. A field that is absent or zero takes its default.
type Check struct {
	TCP      *TCP          `json:"tcp,omitzero"`      // up when a connection opens; default none; exactly one of tcp, http and https is said
	HTTP     *HTTP         `json:"http,omitzero"`     // up when the response to a GET is as expected; default none; likewise
	HTTPS    *HTTPS        `json:"https,omitzero"`    // as http, over TLS; default none; likewise
	Interval spec.Duration `json:"interval,omitzero"` // from one look to the next; default "10s"; "100ms" to "1h"
	Timeout  spec.Duration `json:"timeout,omitzero"`  // for one look; default "3s", or the interval if that is less; "1ms" to the interval
	Rise     int           `json:"rise,omitzero"`     // successes in a row until up; default 2; 1 to 100
	Fall     int           `json:"fall,omitzero"`     // failures until down, not all in a row; default 3; 1 to 100
}

// TCP is up when a connection opens.
type TCP struct {
	Port uint16 `json:"port,omitzero"` // where it connects to; default the member's; 1 to 65535
}

// HTTP is up when the response to a GET has the status and the body that are expected.
type HTTP struct {
	Port   uint16 `json:"port,omitzero"`   // where it connects to; default the member's, else 80 (https: 443); 1 to 65535
	Path   string `json:"path,omitzero"`   // the path, with the query, if any, as it is sent; default "/"; begins with a slash
	Host   string `json:"host,omitzero"`   // the Host header, with a port or without; default the address; such as "www.example.com:8443"
	Status string `json:"status,omitzero"` // the status that is expected; default "200-399"; "200", "2xx", "200-399", or several by comma
	Body   string `json:"body,omitzero"`   // a text that the first 64 KiB of the body must hold; default none
}

// HTTPS is HTTP over TLS.
type HTTPS struct {
	HTTP          // its fields stand beside the two below
	SNI    string `json:"sni,omitzero"`    // the server name of the handshake and of the certificate; default host without port; a name or an address
	Verify *bool  `json:"verify,omitzero"` // the certificate must be valid for that name; default true
}

const (
	defaultInterval = 10 * time.Second
	defaultTimeout  = 3 * time.Second
	defaultRise     = 2
	defaultFall     = 3
	defaultStatus   = "200-399"
)

// Complete fills in the defaults and says what is wrong with c, as a *spec.Error.
func (c *Check) Complete() error {
	kinds := 0
	for _, set := range []bool{c.TCP != nil, c.HTTP != nil, c.HTTPS != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return spec.Errorf("", `expected exactly one of "tcp", "http" and "https", found %d`, kinds)
	}
	if c.Interval == 0 {
		c.Interval = spec.Duration(defaultInterval)
	}
	if c.Timeout == 0 {
		c.Timeout = min(spec.Duration(defaultTimeout), c.Interval)
	}
	if c.Rise == 0 {
		c.Rise = defaultRise
	}
	if c.Fall == 0 {
		c.Fall = defaultFall
	}
	interval, timeout := time.Duration(c.Interval), time.Duration(c.Timeout)
	switch {
	case interval < 100*time.Millisecond || interval > time.Hour:
		return spec.Errorf("interval", "%v is out of range, expected 100ms to 1h", interval)
	case timeout < time.Millisecond || timeout > interval:
		return spec.Errorf("timeout", "%v is out of range, expected 1ms to the interval (%v)", timeout, interval)
	case c.Rise < 1 || c.Rise > 100:
		return spec.Errorf("rise", "%d is out of range, expected 1 to 100", c.Rise)
	case c.Fall < 1 || c.Fall > 100:
		return spec.Errorf("fall", "%d is out of range, expected 1 to 100", c.Fall)
	}
	switch {
	case c.HTTP != nil:
		return c.HTTP.complete("http")
	case c.HTTPS != nil:
		return c.HTTPS.complete("https")
	}
	return nil
}

// Path and query as RFC 3986 sections 3.3 and 3.4 write them: they go on the wire as they are.
var pathForm = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*$`)

// A Host header (RFC 9110 section 7.2): a name or an IPv4 address (1), or an IPv6 address in
// brackets (2); then perhaps a port (3).
var hostForm = regexp.MustCompile(`^(?:([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?$`)

func (h *HTTP) complete(field string) error {
	if h.Path == "" {
		h.Path = "/"
	}
	if h.Status == "" {
		h.Status = defaultStatus
	}
	if !pathForm.MatchString(h.Path) {
		return spec.Errorf(field+".path", `%q is not a path such as "/healthz"`, h.Path)
	}
	if _, err := hostName(h.Host); h.Host != "" && err != nil {
		return spec.Errorf(field+".host", "%v", err)
	}
	if _, err := ParseStatus(h.Status); err != nil {
		return spec.Errorf(field+".status", "%v", err)
	}
	return nil
}

func (h *HTTPS) complete(field string) error {
	if err := h.HTTP.complete(field); err != nil {
		return err
	}
	if h.Verify == nil {
		yes := true
		h.Verify = &yes
	}
	if h.SNI == "" && h.Host != "" {
		h.SNI, _ = hostName(h.Host)
	}
	switch {
	case h.SNI == "" && *h.Verify:
		return spec.Errorf(field, `a certificate is verified for a name: set "host" or "sni", or "verify": false`)
	case h.SNI != "" && !isServerName(h.SNI):
		return spec.Errorf(field+".sni", `%q is not a server name such as "www.example.com"`, h.SNI)
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

// Port is where a member is checked: the check's own port, else the member's, else the protocol's.
// 0 when nothing says it.
func (c *Check) Port(member uint16) uint16 {
	own, usual := uint16(0), uint16(0)
	switch {
	case c.TCP != nil:
		own = c.TCP.Port
	case c.HTTP != nil:
		own, usual = c.HTTP.Port, 80
	case c.HTTPS != nil:
		own, usual = c.HTTPS.Port, 443
	}
	for _, p := range []uint16{own, member, usual} {
		if p != 0 {
			return p
		}
	}
	return 0
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
