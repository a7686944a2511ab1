package zones

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/miekg/dns"
)

func TestTrace(t *testing.T) {
	s := scene(t, `
example.com
  www A 192.0.2.1
  www A 192.0.2.2
  alias CNAME www
  out CNAME www.example.net.
  loop CNAME loop
  *.wild TXT "text"
  sub NS ns1.example.net.
  bad broken A
  steered steer web
  up steer v6
nosoa.example broken soa
pool web
  a 192.0.2.1+
pool v6
  a 2001:db8::1+
`)
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		{"www.example.com", dns.TypeA, `
www.example.com lies in zone example.com, serial 1
zone/example.com/name/www/A answers with 2 records (revision 1)`},
		{"alias.example.com", dns.TypeMX, `
alias.example.com lies in zone example.com, serial 1
zone/example.com/name/alias/CNAME answers with 1 record (revision 1)
www.example.com lies in zone example.com, serial 1
www.example.com exists, but nothing of the type asked`},
		{"out.example.com", dns.TypeA, `
out.example.com lies in zone example.com, serial 1
zone/example.com/name/out/CNAME answers with 1 record (revision 1)
www.example.net lies in no zone of this server: the resolver goes on from there`},
		{"loop.example.com", dns.TypeA, `
loop.example.com lies in zone example.com, serial 1
zone/example.com/name/loop/CNAME answers with 1 record (revision 1)
loop.example.com ends the chain of CNAMEs: it is a loop, or too long`},
		{"x.wild.example.com", dns.TypeTXT, `
x.wild.example.com lies in zone example.com, serial 1
zone/example.com/name/*.wild/TXT answers with 1 record (revision 1)`},
		{"nothere.example.com", dns.TypeA, `
nothere.example.com lies in zone example.com, serial 1
nothere.example.com does not exist`},
		{"x.sub.example.com", dns.TypeA, `
x.sub.example.com lies in zone example.com, serial 1
x.sub.example.com is delegated away at sub.example.com`},
		{"bad.example.com", dns.TypeA, `
bad.example.com lies in zone example.com, serial 1
zone/example.com/name/bad/A was never valid (revision 1)`},
		{"www.example.com", dns.TypeANY, `
www.example.com lies in zone example.com, serial 1
www.example.com exists; type ANY is answered by one HINFO (RFC 8482)`},
		{"www.example.net", dns.TypeA, `
www.example.net lies in no zone of this server`},
		{"x.nosoa.example", dns.TypeA, `
x.nosoa.example lies in zone nosoa.example, whose soa was never valid
x.nosoa.example is not there, but the zone's soa was never valid: without it nobody can be told so`},
		{"steered.example.com", dns.TypeA, `
steered.example.com lies in zone example.com, serial 1
zone/example.com/name/steered/steer asks a pool (revision 1)
decision: web chosen a`},
		{"up.example.com", dns.TypeA, `
up.example.com lies in zone example.com, serial 1
zone/example.com/name/up/steer asks a pool (revision 1)
up.example.com is steered by a pool of which no member has such an address, up or not
up.example.com exists, but nothing of the type asked`},
	}
	for _, test := range tests {
		var trace Trace
		Resolve(s, question(t, test.name, test.typ), new(Answer), &trace)
		var lines []string
		for _, step := range trace.Steps {
			if d := step.Decision; d != nil {
				step.Text = "decision: " + d.Runs[0].Pool + " " + d.Outcome + " " + strings.Join(d.Given, " ")
			}
			lines = append(lines, step.Text)
		}
		if got := strings.Join(lines, "\n"); got != test.want[1:] {
			t.Errorf("%s %s:\n%s\nwant%s", test.name, dns.Type(test.typ), got, test.want)
		}
	}
}

// The form that programs read.
func TestTraceJSON(t *testing.T) {
	s := scene(t, "example.com\n  www steer web\npool web nodata\n")
	var trace Trace
	Resolve(s, question(t, "nothere.example.com", dns.TypeA), new(Answer), &trace)
	got, err := json.Marshal(trace)
	want := `{"steps":[{"text":"nothere.example.com lies in zone example.com, serial 1"},{"text":"nothere.example.com does not exist"}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// Text spells names as zone files do.
func TestAnswerText(t *testing.T) {
	s := scene(t, `
2.0.192.in-addr.arpa
  5 CNAME 5.0/25
  5.0\04725 PTR a\.b.example.net.
  \064 TXT "at" \000\255
`)
	var a Answer
	q := question(t, "5.2.0.192.in-addr.arpa", dns.TypePTR)
	Resolve(s, q, &a, nil)
	want := []string{
		"5.2.0.192.in-addr.arpa.\t300\tIN\tCNAME\t5.0/25.2.0.192.in-addr.arpa.",
		"5.0/25.2.0.192.in-addr.arpa.\t300\tIN\tPTR\ta\\.b.example.net.",
	}
	if got := strings.Join(a.Text(q), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	q = question(t, `\064.2.0.192.in-addr.arpa`, dns.TypeTXT)
	Resolve(s, q, &a, nil)
	if got, want := a.Text(q)[0], "\\@.2.0.192.in-addr.arpa.\t300\tIN\tTXT\t\"at\" \"\\000\\255\""; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
