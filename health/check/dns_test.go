package check

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/spec"
)

// serveDNS answers over UDP and TCP at one port.
func serveDNS(t *testing.T, handler dns.HandlerFunc) net.Addr {
	t.Helper()
	l := listen(t)
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: p, Handler: handler}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go s.ActivateAndServe()
		<-up
		t.Cleanup(func() { s.Shutdown() })
	}
	return l.Addr()
}

func TestDNS(t *testing.T) {
	addr := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		add := func(text string) {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		switch name {
		case "www.example.com.":
			add("www.example.com. 5 IN CNAME web.example.com.")
			add("web.example.com. 5 IN A 192.0.2.1")
			add("web.example.com. 5 IN A 192.0.2.2")
		case "mail.example.com.":
			add("mail.example.com. 5 IN MX 10 MX1.example.com.")
		case "big.example.com.":
			if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
				m.Truncated = true
			} else {
				add("big.example.com. 5 IN TXT \"by TCP\"")
			}
		case "refused.example.com.":
			m.Rcode = dns.RcodeRefused
		case "odd.example.com.":
			m.Rcode = 14
		case "silent.example.com.":
			return
		case "other.example.com.":
			m.Question[0].Name = "another.example.com."
		case "broken.example.com.":
			w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 63})
			return
		default:
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	brief := spec.Duration(50 * time.Millisecond)
	tests := []struct {
		check   health.DNS
		timeout spec.Duration
		want    string
	}{
		{health.DNS{Name: "www.example.com"}, 0, ""},
		{health.DNS{Name: "WWW.example.com."}, 0, "answered NXDOMAIN, expected NOERROR"}, // as this server has it
		{health.DNS{Name: "www.example.com", Answer: "192.0.2.2"}, 0, ""},
		{health.DNS{Name: "www.example.com", Answer: "192.0.2.3"}, 0, "answer does not hold A 192.0.2.3"},
		{health.DNS{Name: "www.example.com", Type: "AAAA", Answer: "2001:db8::1"}, 0, "answer does not hold AAAA 2001:db8::1"},
		{health.DNS{Name: "mail.example.com", Type: "MX", Answer: "10 mx1.example.com."}, 0, ""},
		{health.DNS{Name: "mail.example.com", Type: "MX", Answer: "20 mx1.example.com."}, 0, "answer does not hold MX 20 mx1.example.com."},
		{health.DNS{Name: "big.example.com", Type: "TXT", Answer: `"by TCP"`}, 0, ""},
		{health.DNS{Name: "absent.example.com"}, 0, "answered NXDOMAIN, expected NOERROR"},
		{health.DNS{Name: "absent.example.com", RCode: "NXDOMAIN"}, 0, ""},
		{health.DNS{Name: "refused.example.com"}, 0, "answered REFUSED, expected NOERROR"},
		{health.DNS{Name: "odd.example.com"}, 0, "answered RCODE 14, expected NOERROR"},
		{health.DNS{Name: "silent.example.com"}, brief, "timed out after 50ms"},
		{health.DNS{Name: "other.example.com"}, 0, "answer is to another question"},
		{health.DNS{Name: "broken.example.com"}, 0, "answer is malformed"},
	}
	for _, test := range tests {
		t.Run(strings.Join([]string{test.check.Name, test.check.Type, test.check.Answer, test.check.RCode}, " "), func(t *testing.T) {
			to := at(t, addr, health.Check{DNS: &test.check, Timeout: test.timeout})
			if test.timeout == 0 {
				to.Spec.Timeout = long
			}
			wantWords(t, look(t, to), test.want)
			if test.want == "" && to.seen.rtt <= 0 {
				t.Errorf("round trip %v", to.seen.rtt)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		wantWords(t, look(t, at(t, closedPort(t), health.Check{DNS: &health.DNS{Name: "example.com"}})), "connection refused")
	})
}
