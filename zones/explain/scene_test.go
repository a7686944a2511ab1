package explain

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A maker of snapshots: pools are put in, children first, each under a name of its own.
type maker struct {
	*zones.Edit
	pools []*policy.Pool
}

func (m *maker) put(name string, typ uint16, value string) {
	o := must(zones.ParseOwner("example.com", name))
	m.Put(o, must(zones.ParseRRset(o, typ, value, 8)))
}

func (m *maker) pool(owner, name string, spec policy.Spec, in policy.Surroundings, members ...policy.Member) *policy.Pool {
	for _, f := range spec.OnEmpty {
		fallback, _ := policy.ParseFallback(f)
		for id, p := range m.pools {
			if p.Name == fallback.Name {
				fallback.Pool = policy.ID(id)
			}
		}
		in.OnEmpty = append(in.OnEmpty, fallback)
	}
	in.Pools = m.pools
	p, id := policy.New(name, spec, members, in), policy.ID(len(m.pools))
	m.pools = append(m.pools, p)
	m.SetPool(id, p)
	steer := zones.Steer{Pool: name}
	m.Put(must(zones.ParseOwner("example.com", owner)), must(steer.Compile(id, 9)))
	return p
}

func member(name string, weight uint16, addrs ...string) policy.Member {
	m := policy.Member{Name: name, Weight: weight, Tier: 1, Site: "fra"}
	for _, a := range addrs {
		m.Addrs = append(m.Addrs, netip.MustParseAddr(a))
	}
	return m
}

// within is a member that is the pool of that ID.
func (m *maker) within(name string, weight uint16, child policy.ID) policy.Member {
	return policy.Member{Name: name, Weight: weight, Tier: 1, Pool: m.pools[child].Name, Child: child}
}

// snapshot of example.com, at revision 12: www has two addresses, api is a CNAME to app, the other
// names are steered.
//
//	app     members are up, down, of weight 0, and of no IPv4
//	dead    nobody is up: goes on with app's pool
//	down    nobody is up: fails open
//	near    by the client's network
//	world   pools within pools: eu has only a member that is down, us is two pools
func snapshot(t testing.TB) *zones.Snapshot {
	t.Helper()
	m := &maker{Edit: zones.New().Edit()}
	apex := must(zones.ParseOwner("example.com", "@"))
	soa := zones.SOA{NS: []string{"ns1"}}
	s, ns, err := soa.Compile(apex, 7)
	if err != nil {
		t.Fatal(err)
	}
	m.Put(apex, s)
	m.Put(apex, ns)
	m.put("www", dns.TypeA, "192.0.2.1\n192.0.2.2")
	m.put("api", dns.TypeCNAME, "app")
	m.put("web", dns.TypeTXT, `"v=1"`)
	m.put("*.wild", dns.TypeA, "192.0.2.3")
	m.put(`it\'s\032\(odd\)`, dns.TypeA, "192.0.2.4")
	m.put("_explain.taken", dns.TypeTXT, `"mine"`)
	m.put("taken", dns.TypeA, "192.0.2.5")
	m.put("x._explain.above", dns.TypeTXT, `"mine"`)

	web := m.pool("app", "web", policy.Spec{Check: "tcp", OnEmpty: []string{"all"}}, policy.Surroundings{},
		member("fra1", 10, "192.0.2.10", "2001:db8::10"),
		member("fra2", 10, "192.0.2.11"),
		member("fra3", 0, "192.0.2.12"),
		member("six", 0, "2001:db8::13"))
	web.SetHealth(0, 0, health.Up, "")
	web.SetHealth(1, 0, health.Down, "connection\x1b[2J refused")
	web.SetHealth(2, 0, health.Up, "")
	dead := m.pool("dead", "dead", policy.Spec{Check: "tcp", OnEmpty: []string{"pool:web"}}, policy.Surroundings{},
		member("old", 1, "192.0.2.20"))
	dead.SetHealth(0, 0, health.Down, "status 503, expected 200")
	down := m.pool("down", "down", policy.Spec{Check: "tcp", OnEmpty: []string{"all"}}, policy.Surroundings{},
		member("old", 1, "192.0.2.20"))
	down.SetHealth(0, 0, health.Down, "timeout")
	europe, office := member("fra1", 1, "192.0.2.10"), member("fra9", 1, "192.0.2.19")
	europe.Serves = []policy.Term{{Kind: policy.TermMap, Map: "regions", Tag: "eu"}}
	office.Serves = []policy.Term{{Kind: policy.TermCIDR, Net: netip.MustParsePrefix("10.0.0.0/8")}}
	regions := geo.NewMap("regions", map[string]geo.Part{"all": {Net: map[netip.Prefix]string{netip.MustParsePrefix("203.0.113.0/24"): "eu"}}})
	m.pool("near", "near", policy.Spec{Policy: "geo"}, policy.Surroundings{Maps: map[string]*geo.Map{"regions": regions}},
		europe, office, member("spare", 1, "192.0.2.20"))

	eu := m.pool("eu", "eu", policy.Spec{Check: "tcp"}, policy.Surroundings{}, member("fra1", 1, "192.0.2.30"))
	eu.SetHealth(0, 0, health.Down, "timeout")
	east := m.pool("us-east", "us-east", policy.Spec{Policy: "multivalue", Check: "tcp"}, policy.Surroundings{},
		member("nyc1", 1, "192.0.2.40"), member("nyc2", 1, "192.0.2.41"), member("nyc3", 1, "192.0.2.42"))
	east.SetHealth(0, 0, health.Up, "")
	east.SetWord(0, east.Health(0).WithLoad(0.83))
	east.SetHealth(1, 0, health.Up, "")
	east.SetWord(2, east.Health(2).WithDrain(true, true))
	east.SetWithdrawn(2, "drained by alice: CHG-123")
	us := m.pool("us", "us", policy.Spec{}, policy.Surroundings{}, m.within("east", 3, 5))
	us.Derive(0, east)
	steps := policy.Spec{Policy: "multivalue"}
	world := m.pool("world", "world", steps, policy.Surroundings{}, m.within("eu", 1, 4), m.within("us", 1, 6))
	world.Derive(0, eu)
	world.Derive(1, us)

	m.Touch(apex, 9)
	return m.Commit(12)
}
