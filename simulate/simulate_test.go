package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/simulate"
	"meridian/store"
	"meridian/zones"
)

// zone is what every manifest of the tests begins with.
const zone = `"zone/example.com/soa": {"ns": ["ns1.example.net."]}, "zone/example.com/name/www/steer": {"pool": "web"},
	"site/fra": {"lat": 0, "lon": 0}, "site/nyc": {"lat": 0, "lon": 90}, "site/void": {}, "check/web": {"tcp": {"port": 80}}, `

// registry is what a manifest makes, zone included.
func registry(t testing.TB, d *geo.Database, manifest string) *simulate.Registry {
	t.Helper()
	m, err := store.ParseManifest([]byte("{" + zone + manifest + "}"))
	if err != nil {
		t.Fatal(err)
	}
	if problems := store.Lint(m, store.Update{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	u := store.Update{Revision: 7, Full: true}
	for _, e := range m {
		u.Entries = append(u.Entries, store.Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	r.SetGeo(d)
	s := r.Apply(u)
	simulate.AllUp(s)
	return &simulate.Registry{Snapshot: s, Sites: r.Sites()}
}

// database has 10.0.0.0/8 at 0°N 0°E, 11.0.0.0/8 at 0°N 9°E, and 12.0.0.0/8 in no known place.
func database(t testing.TB) *geo.Database {
	t.Helper()
	l := geo.NewLayer()
	for _, n := range []struct {
		net string
		geo.Record
	}{
		{"10.0.0.0/8", geo.Record{Continent: geo.ContinentOf("EU"), Place: geo.PointAt(0, 0)}},
		{"11.0.0.0/8", geo.Record{Continent: geo.ContinentOf("EU"), Place: geo.PointAt(0, 9)}},
		{"12.0.0.0/8", geo.Record{Continent: geo.ContinentOf("AS")}},
	} {
		if err := l.Add(netip.MustParsePrefix(n.net), n.Record); err != nil {
			t.Fatal(err)
		}
	}
	return geo.Compile(l)
}

func question(t testing.TB, clients string, draws int) simulate.Question {
	t.Helper()
	name, err := zones.ParseName("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	q := simulate.Question{Name: *name, Type: dns.TypeA, Draws: draws, Seed: 1}
	if q.Clients, err = simulate.ReadClients(strings.NewReader(clients)); err != nil {
		t.Fatal(err)
	}
	return q
}

// counts are names and shares in words.
func counts(list []simulate.Count) string {
	var words []string
	for _, c := range list {
		words = append(words, fmt.Sprintf("%s %.4g", c.Name, c.Share))
	}
	return strings.Join(words, ", ")
}

// TestShares: what does not depend on chance is counted to the letter.
func TestShares(t *testing.T) {
	const three = "10.0.0.0/8 2\n11.0.0.1 1\n12.0.0.0/8 1\n"
	for _, test := range []struct {
		name, manifest, clients                string
		members, pools, sites, outcomes, fails string
	}{
		{
			"geo", `"pool/web/policy": {"policy": "geo", "check": "web"},
			"pool/web/member/a": {"addr": ["192.0.2.1"], "site": "fra", "serves": ["continent:EU"]},
			"pool/web/member/b": {"addr": ["192.0.2.2"], "site": "nyc", "serves": ["continent:AS"]},
			"pool/web/member/c": {"addr": ["192.0.2.3"], "site": "nyc", "serves": ["continent:AF"]}`, three,
			"web/a 0.75, web/b 0.25, web/c 0", "web 1", "fra 0.75, nyc 0.25", "found 1", "0",
		},
		{
			"several in equal parts of their addresses", `"pool/web/policy": {"policy": "multivalue"},
			"pool/web/member/a": {"addr": ["192.0.2.1", "192.0.2.11", "192.0.2.21"]},
			"pool/web/member/b": {"addr": ["192.0.2.2"], "site": "nyc"}`, three,
			"web/a 0.75, web/b 0.25", "web 1", " 0.75, nyc 0.25", "found 1", "0",
		},
		{
			"another pool, nobody", `"pool/web/policy": {"steps": ["up", {"geo": {"strict": true}}], "on_empty": ["pool:rest"]},
			"pool/web/member/a": {"addr": ["192.0.2.1"], "serves": ["continent:EU"]},
			"pool/rest/policy": {"steps": [{"geo": {"strict": true}}], "on_empty": ["servfail"]},
			"pool/rest/member/z": {"addr": ["192.0.2.9"], "serves": ["cidr:12.0.0.0/9"]}`, "10.0.0.1 2\n12.0.0.1\n12.200.0.1\n",
			"web/a 0.5, rest/z 0.25", "web 0.5, rest 0.25", " 0.75", "found 0.75, servfail 0.25", "0",
		},
		{
			"fail open", `"pool/web/policy": {"steps": [{"shed": {"percent": "100%"}}, "weighted", "take"]},
			"pool/web/member/a": "192.0.2.1"`, three,
			"web/a 1", "web 1", " 1", "found 1", "1",
		},
		{
			"nodata", `"pool/web/policy": {"steps": [{"geo": {"strict": true}}], "on_empty": ["nodata"]},
			"pool/web/member/a": {"addr": ["192.0.2.1"], "serves": ["asn:1"]}`, three,
			"web/a 0", "web 0", " 0", "nodata 1", "0",
		},
	} {
		r, err := simulate.Run(t.Context(), question(t, test.clients, 100), registry(t, database(t), test.manifest), nil)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		n := r.Now
		got := []string{counts(n.Members), counts(n.Pools), counts(n.Sites), counts(n.Outcomes), fmt.Sprint(n.FailOpen)}
		want := []string{test.members, test.pools, test.sites, test.outcomes, test.fails}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestDistance: 90° of the equator are 10,007.5 km.
func TestDistance(t *testing.T) {
	r, err := simulate.Run(t.Context(), question(t, "10.0.0.0/8 94\n11.0.0.0/8 4\n12.0.0.0/8 1\n10.2.0.0/16 1\n", 100), registry(t, database(t),
		`"pool/web/policy": {"policy": "geo"},
		"pool/web/member/a": {"addr": ["192.0.2.1"], "site": "nyc"},
		"pool/web/member/b": {"addr": ["192.0.2.2"], "site": "void", "serves": ["cidr:10.2.0.0/16"]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := r.Now.Distance
	// The one draw of 12.0.0.0/8 has no place; of 10.0.0.0/8 one or none may hit 10.2.0.0/16.
	if d.NoClient != 0.01 || d.NoSite < 0.01 || d.NoSite > 0.02 {
		t.Errorf("places unknown: of clients %v, of members %v", d.NoClient, d.NoSite)
	}
	a := r.Now.Members[0]
	near, far := 90*math.Pi/180*geo.EarthRadius, 81*math.Pi/180*geo.EarthRadius
	known := 1 - d.NoClient - d.NoSite
	want := ((known-0.04)*near + 0.04*far) / known
	if math.Abs(*d.MeanKm-want) > 0.06 || *a.MeanKm != *d.MeanKm || *d.P95Km != math.Round(near) {
		t.Errorf("mean %v (of %s %v), p95 %v, want %.1f, %.0f", *d.MeanKm, a.Name, *a.MeanKm, *d.P95Km, want, near)
	}
	r, err = simulate.Run(t.Context(), question(t, "10.0.0.0/8", 100), registry(t, nil, `"pool/web/member/a": "192.0.2.1"`), nil)
	if err != nil || r.Now.Distance != nil {
		t.Errorf("without a database: %v, %v", r.Now.Distance, err)
	}
}

// TestChance: one draw each of many clients, and many of one, are spread by weight (chi-square, 3 degrees of
// freedom, 0.1 %).
func TestChance(t *testing.T) {
	web := registry(t, nil, `"pool/web/member/a": {"addr": ["192.0.2.1"], "weight": 1}, "pool/web/member/b": {"addr": ["192.0.2.2"], "weight": 2},
		"pool/web/member/c": {"addr": ["192.0.2.3"], "weight": 3}, "pool/web/member/d": {"addr": ["192.0.2.4"], "weight": 4}`)
	const draws = 40_000
	for name, clients := range map[string]string{
		"of many": strings.Repeat("10.0.0.1\n", draws), "of one": "10.0.0.0/8", "of two": "10.0.0.1 3\n10.0.0.2\n",
	} {
		r, err := simulate.Run(t.Context(), question(t, clients, draws), web, nil)
		if err != nil || r.Draws != draws {
			t.Fatalf("%d draws, %v", r.Draws, err)
		}
		chi := 0.0
		for _, c := range r.Now.Members {
			expected := float64(c.Name[len("web/")]-'a'+1) / 10
			chi += draws * (c.Share - expected) * (c.Share - expected) / expected
		}
		if chi > 16.27 {
			t.Errorf("%s: %s: chi-square %.1f", name, counts(r.Now.Members), chi)
		}
	}
}

// TestDraws: each client asks as often as it weighs, and once at least.
func TestDraws(t *testing.T) {
	web := registry(t, nil, `"pool/web/member/a": "192.0.2.1"`)
	for _, test := range []struct {
		clients string
		draws   int
		want    int
	}{
		{"10.0.0.1 1\n10.0.0.2 2\n10.0.0.3 7\n", 100, 100},
		{"10.0.0.1 1\n10.0.0.2 2\n10.0.0.3 7\n", 1, 3},
		{"10.0.0.1 1\n10.0.0.2 1000000\n", 1000, 1001},
	} {
		q := question(t, test.clients, test.draws)
		r, err := simulate.Run(t.Context(), q, web, nil)
		if err != nil || r.Draws != test.want || q.Times() != test.want || r.Now.Members[0].Share != 1 {
			t.Errorf("%q, %d: %d draws, %v, %v", test.clients, test.draws, r.Draws, counts(r.Now.Members), err)
		}
	}
}

const (
	before = `"pool/web/policy": {"policy": "sticky"}, "pool/web/member/a": {"addr": ["192.0.2.1"]}, "pool/web/member/b": {"addr": ["192.0.2.2"]},
		"pool/web/member/c": {"addr": ["192.0.2.3"]}`
	after = `"pool/web/policy": {"policy": "sticky"}, "pool/web/member/a": {"addr": ["192.0.2.1"]}, "pool/web/member/b": {"addr": ["192.0.2.2"]}`
)

// TestMoves: of clients that stick, those alone move whose member goes.
func TestMoves(t *testing.T) {
	var clients strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&clients, "10.%d.%d.0/24 %d\n", i/256, i%256, 1+i%3)
	}
	q := question(t, clients.String(), 20_000)
	q.Moves = true
	r, err := simulate.Run(t.Context(), q, registry(t, nil, before), registry(t, nil, after))
	if err != nil {
		t.Fatal(err)
	}
	gone := 0.0
	for _, c := range r.Now.Members {
		if c.Name == "web/c" {
			gone = c.Share
		}
	}
	if m := r.Moved; math.Abs(m.Share-gone) > 1e-6 || gone < 0.3 || gone > 0.37 || len(m.Ways) != 2 {
		t.Errorf("%v moved, %v was of web/c: %v", m.Share, gone, m.Ways)
	}
	weight := 0.0
	for i, c := range r.Moved.Clients {
		if c.From != "web/c" || c.Share != 1 || i > 0 && !r.Moved.Clients[i-1].Client.Addr().Less(c.Client.Addr()) {
			t.Errorf("%+v", c)
		}
		weight += c.Weight
	}
	if math.Abs(weight-r.Moved.Weight) > 1e-3 {
		t.Errorf("clients of weight %v, %v moved", weight, r.Moved.Weight)
	}
	r, err = simulate.Run(t.Context(), q, registry(t, nil, before), registry(t, nil, before))
	if err != nil || r.Moved.Weight != 0 || len(r.Moved.Ways)+len(r.Moved.Clients) != 0 {
		t.Errorf("against itself: %+v, %v", r.Moved, err)
	}
}

// TestMovesOfParts: of an answer with several members, what one has less of goes to those who have more.
func TestMovesOfParts(t *testing.T) {
	r, err := simulate.Run(t.Context(), question(t, "10.0.0.1 8", 1),
		registry(t, nil, `"pool/web/policy": {"policy": "multivalue"}, "pool/web/member/a": "192.0.2.1", "pool/web/member/b": "192.0.2.2"`),
		registry(t, nil, `"pool/web/policy": {"policy": "multivalue"}, "pool/web/member/b": "192.0.2.2",
			"pool/web/member/c": {"addr": ["192.0.2.3", "192.0.2.4"]}, "pool/web/member/d": "192.0.2.5"`))
	if err != nil {
		t.Fatal(err)
	}
	// a has 1/2 and then nothing, b 1/2 and then 1/4, c 1/2, d 1/4.
	if got, want := fmt.Sprint(r.Moved.Ways), "[{web/a web/c 2.66666667 0.333333333} {web/a web/d 1.33333333 0.166666667} "+
		"{web/b web/c 1.33333333 0.166666667} {web/b web/d 0.666666667 0.0833333333}]"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	r, err = simulate.Run(t.Context(), question(t, "10.0.0.1", 1), registry(t, nil, `"pool/web/member/a": "192.0.2.1"`),
		registry(t, nil, `"pool/web/policy": {"steps": [{"geo": {"strict": true}}], "on_empty": ["nodata"]}, "pool/web/member/a": {"addr": ["192.0.2.1"], "serves": ["asn:1"]}`))
	if err != nil || fmt.Sprint(r.Moved.Ways) != "[{web/a nodata 1 1}]" {
		t.Errorf("%v, %v", r.Moved, err)
	}
}

// nested is a snapshot whose pool web has a child eu, with its two members under a check, and a member.
func nested(t *testing.T) *simulate.Registry {
	t.Helper()
	soa, _, err := (&zones.SOA{NS: []string{"ns1.example.net."}}).Compile(owner(t, "@"), 1)
	if err != nil {
		t.Fatal(err)
	}
	steer, err := (&zones.Steer{Pool: "web"}).Compile(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	edit := zones.New().Edit()
	edit.Put(owner(t, "@"), soa)
	edit.Put(owner(t, "www"), steer)
	addr := func(a string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(a)} }
	eu := policy.New("eu", policy.Spec{Check: "web", MinUp: policy.MinUp{N: 2}}, []policy.Member{
		{Name: "a", Addrs: addr("192.0.2.1"), Weight: 1, Tier: 1, Site: "fra"}, {Name: "b", Addrs: addr("192.0.2.2"), Weight: 1, Tier: 1},
	}, policy.Surroundings{})
	edit.SetPool(1, eu)
	web := policy.New("web", policy.Spec{Policy: "failover"}, []policy.Member{
		{Name: "eu", Pool: "eu", Child: 1, Weight: 1, Tier: 1}, {Name: "z", Addrs: addr("192.0.2.9"), Weight: 1, Tier: 2},
	}, policy.Surroundings{Pools: []*policy.Pool{nil, eu}})
	edit.SetPool(0, web)
	return &simulate.Registry{Snapshot: edit.Commit(1)}
}

func owner(t *testing.T, name string) zones.Owner {
	t.Helper()
	o, err := zones.ParseOwner("example.com", name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestNested: members within are counted by their own pool, and a pool within counts as up where its members do.
func TestNested(t *testing.T) {
	r := nested(t)
	q := question(t, "10.0.0.1", 2000)
	unknown, err := simulate.Run(t.Context(), q, r, nil)
	if err != nil || counts(unknown.Now.Members) != "web/z 1, eu/a 0, eu/b 0" {
		t.Fatalf("nothing is known of eu's members: %s, %v", counts(unknown.Now.Members), err)
	}
	simulate.AllUp(r.Snapshot)
	up, err := simulate.Run(t.Context(), q, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := counts(up.Now.Pools); got != "eu 1, web 0" || len(up.Now.Members) != 3 || math.Abs(up.Now.Members[1].Share-0.5) > 0.05 {
		t.Errorf("%s: %s", got, counts(up.Now.Members))
	}
}

// TestHeldUp: what is known stays so: a member that is down, and a pool within that a person holds up.
func TestHeldUp(t *testing.T) {
	r := nested(t)
	web, eu := r.Snapshot.Pools[0], r.Snapshot.Pools[1]
	eu.SetHealth(0, 0, health.Down, "refused")
	simulate.AllUp(r.Snapshot)
	if w := web.Health(0); eu.Health(0).State(0) != health.Down || eu.Health(1).State(0) != health.Up || w.State(0) != health.Down {
		t.Errorf("one of two down: %v, %v, the pool %v", eu.Health(0).State(0), eu.Health(1).State(0), w.State(0))
	}
	web.SetWord(0, web.Health(0).With(0, health.Up))
	simulate.AllUp(r.Snapshot)
	if s := web.Health(0).State(0); s != health.Up {
		t.Errorf("held up: %v", s)
	}
}

func TestNoPool(t *testing.T) {
	r := registry(t, nil, `"pool/web/member/a": "192.0.2.1", "zone/example.com/name/txt/TXT": "x"`)
	for _, test := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"www.example.com", dns.TypeAAAA, "www.example.com AAAA: no pool answers it, it is nodata for everybody"},
		{"www.example.net", dns.TypeA, "www.example.net A: no pool answers it, it is refused for everybody"},
		{"x.example.com", dns.TypeA, "x.example.com A: no pool answers it, it is nxdomain for everybody"},
		{"txt.example.com", dns.TypeTXT, "txt.example.com TXT: no pool answers it, it is the same for everybody"},
	} {
		q := question(t, "10.0.0.1", 1)
		name, err := zones.ParseName(test.name)
		if err != nil {
			t.Fatal(err)
		}
		q.Name, q.Type = *name, test.typ
		if _, err := simulate.Run(t.Context(), q, r, nil); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// TestAlike: how many goroutines ask makes no difference; another seed does. All clients are told of.
func TestAlike(t *testing.T) {
	var clients strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&clients, "10.%d.%d.0/24 %g\n", i/256, i%256, 0.1+float64(i%7))
	}
	q := question(t, clients.String(), 20_000)
	q.Moves = true
	var told atomic.Int64
	q.Progress = func(n int) { told.Add(int64(n)) }
	now := registry(t, database(t), `"pool/web/member/a": {"addr": ["192.0.2.1"], "site": "fra"}, "pool/web/member/b": {"addr": ["192.0.2.2"], "site": "nyc"}`)
	then := registry(t, database(t), `"pool/web/member/a": {"addr": ["192.0.2.1"], "site": "fra"}, "pool/web/member/b": {"addr": ["192.0.2.2"], "weight": 2}`)
	ask := func(procs int) string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		r, err := simulate.Run(t.Context(), q, now, then)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one := ask(1)
	if many := ask(4); many != one {
		t.Errorf("with four goroutines\n%s\nwith one\n%s", many, one)
	}
	if want := int64(2 * q.Times()); told.Load() != want || q.Times() < 19_000 {
		t.Errorf("told of %d draws, want %d", told.Load(), want)
	}
	q.Seed++
	if other := ask(4); other == one {
		t.Error("another seed makes no difference")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := simulate.Run(ctx, q, now, then); !errors.Is(err, context.Canceled) {
		t.Errorf("done: %v", err)
	}
}

// BenchmarkRun asks for a million clients.
func BenchmarkRun(b *testing.B) {
	d := database(b)
	q := question(b, "10.0.0.1", 1)
	q.Clients = nil
	for i := range 1_000_000 {
		a := netip.AddrFrom4([4]byte{byte(10 + i%3), byte(i >> 16), byte(i >> 8), byte(i)})
		q.Clients = append(q.Clients, simulate.Client{Net: netip.PrefixFrom(a, 32), Weight: 1})
	}
	for _, bench := range []struct{ name, now, then string }{
		{"weighted", `"pool/web/member/a": "192.0.2.1", "pool/web/member/b": "192.0.2.2"`, ""},
		{"geo", `"pool/web/policy": {"policy": "geo"}, "pool/web/member/a": {"addr": ["192.0.2.1"], "site": "fra", "serves": ["continent:EU"]},
			"pool/web/member/b": {"addr": ["192.0.2.2"], "site": "nyc"}`, ""},
		{"sticky, compared", before, after},
	} {
		b.Run(bench.name, func(b *testing.B) {
			now := registry(b, d, bench.now)
			var then *simulate.Registry
			if bench.then != "" {
				then = registry(b, d, bench.then)
			}
			for b.Loop() {
				if _, err := simulate.Run(b.Context(), q, now, then); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(q.Clients)*b.N)/b.Elapsed().Seconds(), "clients/s")
		})
	}
}
