package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meridian/spec"
)

// Check tells how to find out whether an address works: the value of check/<check>. Exactly one of
// the kinds, TCP to Of, is set. A field that is absent or zero takes its default.
type Check struct {
	TCP     *TCP     `json:"tcp,omitzero"`      // up when a connection opens and what comes is as expected; default none; exactly one of tcp to of is said
	TLS     *TLS     `json:"tls,omitzero"`      // up when a TLS handshake succeeds; default none; likewise
	HTTP    *HTTP    `json:"http,omitzero"`     // up when the response to a request is as expected; default none; likewise
	HTTPS   *HTTPS   `json:"https,omitzero"`    // as http, over TLS; default none; likewise
	GRPC    *GRPC    `json:"grpc,omitzero"`     // up when grpc.health.v1 says that a service is serving; default none; likewise
	DNS     *DNS     `json:"dns,omitzero"`      // up when the answer to a query is as expected; default none; likewise
	ICMP    *ICMP    `json:"icmp,omitzero"`     // up when an echo request is answered; default none; likewise, with nothing in it
	Exec    *Exec    `json:"exec,omitzero"`     // up when a command on the checker's host says so; default none; likewise
	All     []string `json:"all,omitzero"`      // up when all of these checks are; default none; likewise: 1 to 16 names of checks that are not made of others
	Any     []string `json:"any,omitzero"`      // up when one of these checks is; default none; as all
	AtLeast int      `json:"at_least,omitzero"` // how many of those in of have to be up; default none; at least 1 and at most as many as there are, with of
	Of      []string `json:"of,omitzero"`       // up when so many of these checks are as at_least says; default none; as all

	Invert   bool          `json:"invert,omitzero"`   // up when it would be down, and the reverse; default false
	Interval spec.Duration `json:"interval,omitzero"` // from one look to the next; default "10s"; "100ms" to "1h", not of a check made of others
	Timeout  spec.Duration `json:"timeout,omitzero"`  // for one look; default "3s", or the interval if that is less; "1ms" to the interval, not of a check made of others
	Rise     int           `json:"rise,omitzero"`     // successes in a row until up; default 2; 1 to 100, not of a check made of others
	Fall     int           `json:"fall,omitzero"`     // failures until down, not all in a row; default 3; 1 to 100, not of a check made of others

	Voting // its fields stand beside those above
}

const (
	defaultInterval = 10 * time.Second
	minInterval     = 100 * time.Millisecond
	defaultTimeout  = 3 * time.Second
	defaultRise     = 2
	defaultFall     = 3
)

// kind is one way to check, as a check says it.
type kind struct {
	name     string
	said     bool
	complete func(field string) error // nil: there is nothing to fill in, or to be wrong
}

func (c *Check) kinds() []kind {
	return []kind{
		{"tcp", c.TCP != nil, c.TCP.complete},
		{"tls", c.TLS != nil, c.TLS.complete},
		{"http", c.HTTP != nil, c.HTTP.complete},
		{"https", c.HTTPS != nil, c.HTTPS.complete},
		{"grpc", c.GRPC != nil, c.GRPC.complete},
		{"dns", c.DNS != nil, c.DNS.complete},
		{"icmp", c.ICMP != nil, nil},
		{"exec", c.Exec != nil, c.Exec.complete},
		{"all", c.All != nil, c.completeParts},
		{"any", c.Any != nil, c.completeParts},
		{"of", c.Of != nil, c.completeParts},
	}
}

// Complete fills in the defaults and says what is wrong with c, as a *spec.Error.
func (c *Check) Complete() error {
	var all, said []string
	var one kind
	for _, k := range c.kinds() {
		all = append(all, fmt.Sprintf("%q", k.name))
		if k.said {
			said, one = append(said, fmt.Sprintf("%q", k.name)), k
		}
	}
	switch len(said) {
	case 0:
		return spec.Errorf("", "expected one of %s", wordList(all, "and"))
	case 1:
	default:
		return spec.Errorf("", "expected one of %s, found %s", wordList(all, "and"), wordList(said, "and"))
	}
	if c.AtLeast != 0 && c.Of == nil {
		return spec.Errorf("at_least", `expected "of" beside it`)
	}
	if one.complete != nil {
		if err := one.complete(one.name); err != nil {
			return err
		}
	}
	if err := c.completeTimes(); err != nil {
		return err
	}
	return c.Voting.validate()
}

// wordList is words as a sentence has them: a, b and c.
func wordList(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

func (c *Check) completeTimes() error {
	if c.Parts() != nil {
		for _, f := range []struct {
			name string
			said bool
		}{{"interval", c.Interval != 0}, {"timeout", c.Timeout != 0}, {"rise", c.Rise != 0}, {"fall", c.Fall != 0}} {
			if f.said {
				return spec.Errorf(f.name, "not of a check made of others: they have theirs")
			}
		}
		return nil
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
	case interval < minInterval || interval > time.Hour:
		return spec.Errorf("interval", "%v is out of range, expected 100ms to 1h", interval)
	case timeout < time.Millisecond || timeout > interval:
		return spec.Errorf("timeout", "%v is out of range, expected 1ms to the interval (%v)", timeout, interval)
	case c.Rise < 1 || c.Rise > 100:
		return spec.Errorf("rise", "%d is out of range, expected 1 to 100", c.Rise)
	case c.Fall < 1 || c.Fall > 100:
		return spec.Errorf("fall", "%d is out of range, expected 1 to 100", c.Fall)
	}
	return nil
}

// Port is where a member is checked: the check's own port, else the member's, else the protocol's.
// 0 when nothing says it, or there are no ports. Of a check made of others it is the member's, for
// them to begin from.
func (c *Check) Port(member uint16) uint16 {
	own, usual := uint16(0), uint16(0)
	switch {
	case c.TCP != nil:
		own = c.TCP.Port
	case c.TLS != nil:
		own = c.TLS.Port
	case c.HTTP != nil:
		own, usual = c.HTTP.Port, 80
	case c.HTTPS != nil:
		own, usual = c.HTTPS.Port, 443
	case c.GRPC != nil:
		own = c.GRPC.Port
	case c.DNS != nil:
		own, usual = c.DNS.Port, 53
	case c.ICMP != nil:
		return 0
	}
	for _, p := range []uint16{own, member, usual} {
		if p != 0 {
			return p
		}
	}
	return 0
}

// NeedsPort says whether there is nothing to connect to where Port is 0.
func (c *Check) NeedsPort() bool {
	return c.TCP != nil || c.TLS != nil || c.HTTP != nil || c.HTTPS != nil || c.GRPC != nil || c.DNS != nil
}

// repeated is the first of words that is there twice, "" for none.
func repeated(words []string) string {
	for i, w := range words {
		if slices.Contains(words[:i], w) {
			return w
		}
	}
	return ""
}
