package zones

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/policy"
)

const memberScene = `
example.com {"member_names":true}
  www steer web
  shop steer shop.web
  cdn steer cdn
  root steer root
  back steer back
  tel steer tel.acme
  fra3.web A 192.0.2.33
  fra4.web TXT "explicit, so that is all"
  * A 192.0.2.80
  *.wild A 192.0.2.81
  deleg.cut A 192.0.2.82
  cut steer web
  tomember CNAME fra1.web
  mx MX 10 fra1.web
  below NS ns1.example.net.
nothing.example
  www steer web
other.example {"member_names":true}
  www TXT "steers to nothing"
pool web
  fra1 192.0.2.1+ 192.0.2.2- 2001:db8::1-
  fra3 192.0.2.3+
  fra4 192.0.2.4+
  a.b 192.0.2.5+
  x..y 192.0.2.6+
pool b.web
  a 192.0.2.15+
pool shop.web
  s 192.0.2.7+
  6 2001:db8::6?
pool cdn
  one cname=fra1.web.example.com.
  two cname=www.example.org.
pool spare
  z 192.0.2.8-
pool eu pool:spare
  e 192.0.2.9+
pool root
  eu pool=eu
pool below
  m 192.0.2.10+
pool back pool:below
  b 192.0.2.11+
pool tel.acme
  t 192.0.2.13+
pool unused
  u 192.0.2.12+
`

func TestResolveMembers(t *testing.T) {
	s := scene(t, memberScene)
	const (
		nodata = "nodata aa\nauthority example.com. 30 SOA"
		none   = "nxdomain aa\nauthority example.com. 30 SOA"
	)
	tests := []struct {
		says string
		name string
		typ  uint16
		want string
	}{
		{"all addresses of a member, whatever their health", "fra1.web.example.com", dns.TypeA,
			"found aa\nfra1.web.example.com. 30 A 192.0.2.1\nfra1.web.example.com. 30 A 192.0.2.2"},
		{"of the family asked for", "FRA1.Web.example.com", dns.TypeAAAA, "found aa\nfra1.web.example.com. 30 AAAA 2001:db8::1"},
		{"no other type", "fra1.web.example.com", dns.TypeTXT, nodata},
		{"ANY", "fra1.web.example.com", dns.TypeANY, "found aa\nfra1.web.example.com. 3600 HINFO \"RFC8482\" \"\""},
		{"an explicit name wins", "fra3.web.example.com", dns.TypeA, "found aa\nfra3.web.example.com. 300 A 192.0.2.33"},
		{"for all types", "fra4.web.example.com", dns.TypeA, nodata},
		{"below an explicit name nothing is above", "web.example.com", dns.TypeA, nodata},
		{"no such member: the closest encloser is no wildcard's", "fra9.web.example.com", dns.TypeA, none},
		{"nor what lies below a member", "x.fra1.web.example.com", dns.TypeA, none},
		{"the wildcard of what is no pool's", "x.nopool.example.com", dns.TypeA, "found aa\nx.nopool.example.com. 300 A 192.0.2.80"},
		{"a pool that the zone does not steer to", "u.unused.example.com", dns.TypeA, "found aa\nu.unused.example.com. 300 A 192.0.2.80"},
		{"a pool whose name holds a dot", "s.shop.web.example.com", dns.TypeA, "found aa\ns.shop.web.example.com. 30 A 192.0.2.7"},
		{"no address of the family", "6.shop.web.example.com", dns.TypeA, nodata},
		{"as does what a pool's name ends with, where nothing else is", "acme.example.com", dns.TypeA, nodata},
		{"a pool's name is an empty non-terminal", "shop.web.example.com", dns.TypeA, nodata},
		{"a member whose name holds a dot", "a.b.web.example.com", dns.TypeA, "found aa\na.b.web.example.com. 30 A 192.0.2.5"},
		{"above it", "b.web.example.com", dns.TypeA, nodata},
		{"a dot within a label is none", `a\.b.web.example.com`, dns.TypeA, none},
		{"a member that is a name", "one.cdn.example.com", dns.TypeA,
			"found aa\none.cdn.example.com. 30 CNAME fra1.web.example.com.\nfra1.web.example.com. 30 A 192.0.2.1\nfra1.web.example.com. 30 A 192.0.2.2"},
		{"its CNAME asked for", "two.cdn.example.com", dns.TypeCNAME, "found aa\ntwo.cdn.example.com. 30 CNAME www.example.org."},
		{"ANY of it", "two.cdn.example.com", dns.TypeANY, "found aa\ntwo.cdn.example.com. 30 CNAME www.example.org."},
		{"a member that is a pool", "eu.root.example.com", dns.TypeA, nodata},
		{"a member of that pool", "e.eu.example.com", dns.TypeA, "found aa\ne.eu.example.com. 30 A 192.0.2.9"},
		{"of a pool by on_empty of that pool", "z.spare.example.com", dns.TypeA, "found aa\nz.spare.example.com. 30 A 192.0.2.8"},
		{"a cut goes before", "m.below.example.com", dns.TypeA, "referral\nauthority below.example.com. 300 NS ns1.example.net."},
		{"behind a CNAME", "tomember.example.com", dns.TypeAAAA,
			"found aa\ntomember.example.com. 300 CNAME fra1.web.example.com.\nfra1.web.example.com. 30 AAAA 2001:db8::1"},
		{"as a host", "mx.example.com", dns.TypeMX,
			"found aa\nmx.example.com. 300 MX 10 fra1.web.example.com.\nadditional fra1.web.example.com. 30 A 192.0.2.1\n" +
				"additional fra1.web.example.com. 30 A 192.0.2.2\nadditional fra1.web.example.com. 30 AAAA 2001:db8::1"},
		{"a zone whose soa does not ask for it", "fra1.web.nothing.example", dns.TypeA, "nxdomain aa\nauthority nothing.example. 30 SOA"},
		{"a zone that steers to nothing", "fra1.web.other.example", dns.TypeA, "nxdomain aa\nauthority other.example. 30 SOA"},
	}
	var used Answer
	for name, s := range map[string]*Snapshot{"": s, "loaded: ": reload(t, s)} {
		for _, test := range tests {
			if got := ask(t, s, question(t, test.name, test.typ), &used); got != test.want {
				t.Errorf("%s%s: %s %s:\n%s\nwant\n%s", name, test.says, test.name, dns.Type(test.typ), got, test.want)
			}
		}
	}
}

// Names of members come and go with the soa, with what steers, and with the pools.
func TestMembersChange(t *testing.T) {
	s := scene(t, "example.com\n  www steer web\n  other steer web\npool web\n  a 192.0.2.1+\n")
	pool := func(name, member string, id policy.ID, onEmpty ...policy.Fallback) func(*Edit) {
		m := policy.MemberSpec{Addr: s.Pools[0].Members[0].Addrs}
		return func(e *Edit) {
			e.SetPool(id, policy.New(name, policy.Spec{}, []policy.Member{m.Compile(member)}, policy.Surroundings{OnEmpty: onEmpty}))
		}
	}
	soa := func(text string) func(*Edit) { return func(e *Edit) { putSOA(t, e, "example.com", text) } }
	steer := func(owner string, id policy.ID) func(*Edit) {
		return func(e *Edit) { e.Put(mustOwner(t, "example.com", owner), SteeredPart(id, 30, SteeredTypes, 2)) }
	}
	remove := func(owner string) func(*Edit) {
		return func(e *Edit) { e.Remove(mustOwner(t, "example.com", owner), TypeSteer) }
	}
	both := func(edits ...func(*Edit)) func(*Edit) {
		return func(e *Edit) {
			for _, edit := range edits {
				edit(e)
			}
		}
	}
	tests := []struct {
		says string
		edit func(*Edit)
		want string // of a.web, b.web, a.two, a.three which exist
	}{
		{"not asked for", func(*Edit) {}, ""},
		{"the soa asks for them", soa(`{"member_names":true}`), "a.web"},
		{"another member", pool("web", "b", 0), "b.web"},
		{"one of two names steers elsewhere", both(pool("two", "a", 1), steer("www", 1)), "b.web a.two"},
		{"the other does", remove("other"), "a.two"},
		{"on_empty leads on", both(pool("three", "a", 2), pool("two", "a", 1, policy.Fallback{Kind: policy.FallbackPool, Name: "three", Pool: 2})), "a.two a.three"},
		{"and no more", pool("two", "a", 1), "a.two"},
		{"a name put twice in one edit", both(steer("x", 0), steer("x", 1), steer("x", 0)), "b.web a.two"},
		{"and taken away", both(remove("x"), steer("x", 0), remove("x")), "a.two"},
		{"the soa stays as it was", soa(`{"member_names":true,"ttl":5}`), "a.two"},
		{"the soa and a name in one edit", both(soa(`{"member_names":true}`), steer("x", 0)), "b.web a.two"},
		{"no more asked for, and steered to another", both(soa(``), steer("x", 1)), ""},
		{"asked for again", soa(`{"member_names":true}`), "a.two"},
		{"the zone goes", func(e *Edit) { e.Remove(mustOwner(t, "example.com", "@"), dns.TypeSOA) }, ""},
		{"the zone comes back", soa(`{"member_names":true}`), "a.two"},
		{"a pool goes", both(remove("www"), remove("x"), func(e *Edit) { e.SetPool(1, nil) }), ""},
	}
	for i, test := range tests {
		e := s.Edit()
		test.edit(e)
		s = e.Commit(int64(i + 2))
		for name, s := range map[string]*Snapshot{"": s, "loaded: ": reload(t, s)} {
			var there []string
			for _, owner := range []string{"a.web", "b.web", "a.two", "a.three"} {
				var a Answer
				Resolve(s, question(t, owner+".example.com", dns.TypeA), &a, nil)
				if len(a.Sets) > 0 && a.Sets[0].Section == AnswerSection {
					there = append(there, owner)
				}
			}
			if got := strings.Join(there, " "); got != test.want {
				t.Errorf("%s%s: %q, want %q", name, test.says, got, test.want)
			}
		}
	}
}
