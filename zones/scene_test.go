package zones

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
)

// scene makes a snapshot of text. A line that is not indented begins a zone (with "broken soa" or
// "no soa" after its name if it is to have such, or an soa without "ns"), or a pool ("pool" and its
// name, perhaps policy=<policy>, or an entry of on_empty that names a pool above if any). Below a zone
// stand its records, with a TTL if it is not 300; below a pool its members, each address followed by +
// (up), - (down) or ? (unknown), or a pool that stands above, or a name:
//
//	example.com {"ecs":false}
//	  www 60 A 192.0.2.1
//	  @ steer web
//	  svc steer {"pool":"web","types":["HTTPS"]}
//	  bad broken A
//	pool web nodata
//	  fra1 192.0.2.1+ 2001:db8::1-
//	  fra2 weight=2 tier=3 port=443 192.0.2.2+
//	pool root policy=multivalue
//	  all pool=web
//	  cdn cname=x.example.org.
func scene(t testing.TB, text string) *Snapshot {
	t.Helper()
	var (
		zone    string
		pool    []string
		members []policy.Member
		states  [][]health.State
		pools   []string
		steered [][3]string // zone, owner, pool
		sets    = map[[3]string]string{}
		order   [][3]string
		e       = New().Edit()
	)
	end := func() {
		if pool != nil {
			s := policy.Spec{Check: "web"}
			fallbacks := []policy.Fallback{{Kind: policy.FallbackAll}}
			for _, word := range pool[2:] {
				if name, ok := strings.CutPrefix(word, "policy="); ok {
					s.Policy = name
					continue
				}
				f, ok := policy.ParseFallback(word)
				if f.Kind == policy.FallbackPool {
					f.Pool = policy.ID(slices.Index(pools, f.Name))
				}
				if !ok {
					t.Fatalf("%q", pool)
				}
				s.OnEmpty, fallbacks = []string{word}, []policy.Fallback{f}
			}
			p := policy.New(pool[1], s, members, policy.Surroundings{OnEmpty: fallbacks, Pools: e.next.Pools})
			for i := range states {
				for j, state := range states[i] {
					p.SetHealth(i, j, state, "")
				}
			}
			e.SetPool(policy.ID(len(pools)), p)
			pools = append(pools, pool[1])
			pool, members, states = nil, nil, nil
		}
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case line[0] != ' ' && words[0] == "pool":
			end()
			pool, zone = words, ""
		case line[0] != ' ':
			end()
			zone = words[0]
			putSOA(t, e, zone, strings.Join(words[1:], " "))
		case zone == "":
			m := policy.Member{Name: words[0], Weight: 1, Tier: 1}
			var s []health.State
			for _, word := range words[1:] {
				if option, value, ok := strings.Cut(word, "="); ok {
					setOption(t, &m, option, value, pools)
					continue
				}
				m.Addrs = append(m.Addrs, netip.MustParseAddr(word[:len(word)-1]))
				s = append(s, health.State(strings.Index("?+-", word[len(word)-1:])))
			}
			members, states = append(members, m), append(states, s)
		case words[1] == "steer":
			steered = append(steered, [3]string{zone, words[0], words[2]})
		case words[1] == "broken":
			typ := dns.StringToType[words[2]]
			e.Put(mustOwner(t, zone, words[0]), BrokenPart(typ, []uint16{typ}, 1))
		default:
			ttl := "300"
			if _, err := strconv.Atoi(words[1]); err == nil {
				ttl = words[1]
				words = slices.Delete(words, 1, 2)
			}
			key := [3]string{zone, words[0], words[1]}
			if _, ok := sets[key]; !ok {
				order = append(order, key)
				sets[key] = "$TTL " + ttl
			}
			sets[key] += "\n" + strings.Join(words[2:], " ")
		}
	}
	end()
	for _, key := range order {
		o := mustOwner(t, key[0], key[1])
		p, err := ParseRRset(o, dns.StringToType[key[2]], sets[key], 1)
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		e.Put(o, p)
	}
	for _, s := range steered {
		steer := Steer{Pool: s[2]}
		if s[2][0] == '{' {
			steer = Steer{}
			if err := json.Unmarshal([]byte(s[2]), &steer, json.RejectUnknownMembers(true)); err != nil {
				t.Fatal(err)
			}
		}
		p, err := steer.Compile(policy.ID(slices.Index(pools, steer.Pool)), 1)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		e.Put(mustOwner(t, s[0], s[1]), p)
	}
	return e.Commit(1)
}

func setOption(t testing.TB, m *policy.Member, option, value string, pools []string) {
	t.Helper()
	n, _ := strconv.Atoi(value)
	switch option {
	case "weight":
		m.Weight = uint16(n)
	case "tier":
		m.Tier = uint16(n)
	case "port":
		m.Port = uint16(n)
	case "cname":
		m.CNAME = value
	case "pool":
		m.Pool, m.Child = value, policy.ID(slices.Index(pools, value))
	case "serves":
		term, err := policy.ParseTerm(value)
		if err != nil {
			t.Fatal(err)
		}
		m.Serves = append(m.Serves, term)
	default:
		t.Fatalf("what is %q?", option)
	}
}

func putSOA(t testing.TB, e *Edit, zone, how string) {
	t.Helper()
	apex := mustOwner(t, zone, "@")
	switch {
	case how == "" || how[0] == '{':
		written := SOA{NS: []string{"ns1.example.net."}}
		if how != "" {
			if err := json.Unmarshal([]byte(how), &written, json.RejectUnknownMembers(true)); err != nil {
				t.Fatal(err)
			}
		}
		soa, ns, err := written.Compile(apex, 1)
		if err != nil {
			t.Fatal(err)
		}
		e.Put(apex, soa)
		e.Put(apex, ns)
	case how == "broken soa":
		e.Put(apex, BrokenPart(dns.TypeSOA, []uint16{dns.TypeSOA, dns.TypeNS}, 1))
	case how == "no soa":
	default:
		t.Fatalf("zone %s: what is %q?", zone, how)
	}
}

func question(t testing.TB, name string, typ uint16) *Query {
	t.Helper()
	return &Query{Name: *mustName(t, name), Type: typ}
}

// answerText is an answer in lines: outcome, "aa" if it is authoritative, the extended error;
// then the records, those of the answer section without a mark, "authority" before others. An SOA
// is without its RDATA.
func answerText(a *Answer, q *Query) string {
	first := a.Outcome.String()
	if a.AA {
		first += " aa"
	}
	if a.Error != nil {
		first += fmt.Sprintf(" (%d %s)", a.Error.Code, a.Error.Text)
	}
	lines := []string{first}
	records := a.Text(q)
	for _, set := range a.Sets {
		for range set.Count {
			words := strings.Fields(records[0])
			words = slices.Delete(words, 2, 3) // the class
			if set.Type == dns.TypeSOA {
				words = words[:3]
			}
			line := strings.Join(words, " ")
			if set.Section != AnswerSection {
				line = []string{"answer", "authority", "additional"}[set.Section] + " " + line
			}
			lines = append(lines, line)
			records = records[1:]
		}
	}
	return strings.Join(append(lines, records...), "\n")
}

// ask resolves a question thrice: into an Answer that held another, with a trace, and anew; all
// three have to be alike.
func ask(t testing.TB, s *Snapshot, q *Query, used *Answer) string {
	t.Helper()
	Resolve(s, q, used, nil)
	got := answerText(used, q)
	var traced, again Answer
	trace := new(Trace)
	Resolve(s, q, &traced, trace)
	if other := answerText(&traced, q); other != got {
		t.Fatalf("%s %s: with a trace\n%s\nwithout\n%s", &q.Name, dns.Type(q.Type), other, got)
	}
	if len(trace.Steps) == 0 {
		t.Fatalf("%s %s: the trace is empty", &q.Name, dns.Type(q.Type))
	}
	Resolve(s, q, &again, nil)
	if other := answerText(&again, q); other != got {
		t.Fatalf("%s %s: another time\n%s\nbefore\n%s", &q.Name, dns.Type(q.Type), other, got)
	}
	return got
}
