package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"meridian/health"
)

// dnsCheck asks a target a question.
type dnsCheck struct {
	*vantage
	spec   *health.DNS
	rcode  int
	answer dns.RR // nil: the rcode is enough
}

func (v *vantage) newDNS(spec *health.DNS) prober {
	c := &dnsCheck{vantage: v, spec: spec, rcode: dns.StringToRcode[spec.RCode]}
	c.answer, _ = spec.Record() // parses: the check is completed
	return c.probe
}

func (c *dnsCheck) probe(ctx context.Context, t *target) error {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(c.spec.Name), dns.StringToType[c.spec.Type])
	question.SetEdns0(1232, false)
	answer, err := c.exchange(ctx, t, "udp", question)
	if err == nil && answer.Truncated {
		answer, err = c.exchange(ctx, t, "tcp", question) // RFC 7766 section 5
	}
	switch {
	case err != nil:
		return err
	case answer.Rcode != c.rcode:
		return fmt.Errorf("answered %s, expected %s", rcodeText(answer.Rcode), c.spec.RCode)
	case c.answer != nil && !c.holds(answer):
		return fmt.Errorf("answer does not hold %s %s", c.spec.Type, c.spec.Answer)
	}
	return nil
}

func rcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return fmt.Sprintf("RCODE %d", rcode)
}

// holds says whether a record has the RDATA that is expected, whoever owns it: an alias may lead there.
func (c *dnsCheck) holds(answer *dns.Msg) bool {
	for _, r := range answer.Answer {
		want := dns.Copy(c.answer)
		*want.Header() = *r.Header()
		if r.Header().Rrtype == c.answer.Header().Rrtype && dns.IsDuplicate(r, want) {
			return true
		}
	}
	return false
}

// exchange asks over a connection of its own, whose port nobody else can answer to.
func (c *dnsCheck) exchange(ctx context.Context, t *target, network string, question *dns.Msg) (*dns.Msg, error) {
	raw, err := c.dialer.DialContext(ctx, network, t.Addr.String())
	if err != nil {
		return nil, plain(err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	client := dns.Client{Net: network, Timeout: t.timeout()}
	began := time.Now()
	answer, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: raw, UDPSize: 1232})
	var malformed *dns.Error
	switch {
	case errors.As(err, &malformed):
		return nil, errors.New("answer is malformed")
	case err != nil:
		return nil, plain(err)
	case len(answer.Question) != 1 || answer.Question[0].Qtype != question.Question[0].Qtype ||
		dns.CanonicalName(answer.Question[0].Name) != dns.CanonicalName(question.Question[0].Name):
		return nil, errors.New("answer is to another question")
	}
	if network == "udp" {
		t.seen.rtt = time.Since(began)
	}
	return answer, nil
}
