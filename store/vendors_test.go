package store

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

const vendorFiles = "../testdata/vendors/"

// vendorFile is a policy of another system, written as a registry of ours, and what that system's
// documentation says must come of it. testdata/vendors/README.md says more of the fields.
type vendorFile struct {
	Vendor   string         `json:"vendor"`
	Policy   string         `json:"policy"`
	Source   string         `json:"source"` // address of the page that says so
	Rule     string         `json:"rule"`
	Differs  []string       `json:"differs"`
	Registry jsontext.Value `json:"registry"` // a manifest
	Live     jsontext.Value `json:"live"`     // likewise, of the live prefix
	Cases    []vendorCase   `json:"cases"`

	path     string
	places   map[string]place
	database *geo.Database // that knows them
}

// vendorCase is one state of the world, and the answers that must follow. One of Want, AnyOf, Shares, Among,
// NoData and ServFail is there.
type vendorCase struct {
	Rule    string            `json:"rule"`
	Differs string            `json:"differs"`
	Name    string            `json:"name"`    // that is asked for, below example.com; default "www"
	Type    string            `json:"type"`    // default "A"
	Client  string            `json:"client"`  // a place of places.json, or a network; default "nowhere"
	Clients string            `json:"clients"` // many: the networks of 56 bits in this one
	Health  map[string]string `json:"health"`  // by "pool/member" or "pool/member/address": "down", "unknown"; the others are up
	Live    jsontext.Value    `json:"live"`    // beside the file's

	Want     []string           `json:"want"`   // these members, in every answer
	AnyOf    [][]string         `json:"any_of"` // one of these in every answer, each in some
	Shares   map[string]float64 `json:"shares"` // how often each, to the sum of all; several in one answer: "a+b"
	Among    []string           `json:"among"`  // Size of these in every answer, each in some
	Size     int                `json:"size"`
	NoData   bool               `json:"nodata"`
	ServFail bool               `json:"servfail"`
	Moves    []string           `json:"moves"` // only clients of these are given another than with everybody up
}

func TestVendors(t *testing.T) {
	places := readPlaces(t)
	known := database(t, places)
	paths, err := filepath.Glob(vendorFiles + "*-*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			v := vendorFile{path: path, places: places, database: known}
			readJSON(t, path, &v)
			if v.Vendor == "" || v.Policy == "" || !strings.HasPrefix(v.Source, "https://") || v.Rule == "" || len(v.Cases) == 0 {
				t.Errorf("%s: expected vendor, policy, the source's address, a rule and cases", path)
			}
			if f := v.registry(t, nil).Faults(); len(f) > 0 {
				t.Fatalf("%s: %s: %s", f[0].Key, f[0].Field, f[0].Error)
			}
			for _, c := range v.Cases {
				t.Run(c.Rule, func(t *testing.T) { v.run(t, &c) })
			}
		})
	}
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(file, to, json.RejectUnknownMembers(true))
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// manifest reads one, or nothing.
func (v *vendorFile) manifest(t *testing.T, text jsontext.Value) Manifest {
	t.Helper()
	if text == nil {
		return nil
	}
	m, err := ParseManifest(text)
	if err != nil {
		t.Fatalf("%s: %v", v.path, err)
	}
	return m
}

// registry returns one that has read the file, in the state of a case; nil: nothing is known.
func (v *vendorFile) registry(t *testing.T, c *vendorCase) *Registry {
	t.Helper()
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.SetGeo(v.database)
	u := Update{Revision: 1, Cluster: 1, Full: true}
	for _, e := range v.manifest(t, v.Registry) {
		u.Entries = append(u.Entries, Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	r.Apply(u)
	if c == nil {
		return r
	}
	live := Update{Full: true}
	for _, e := range append(v.manifest(t, v.Live), v.manifest(t, c.Live)...) {
		live.Entries = append(live.Entries, Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	r.TakeLive(live)
	if n := r.liveStats(); n != (LiveStats{}) {
		t.Errorf("%s: live keys: %+v", v.path, n)
	}
	states, told := map[health.TargetID]health.State{}, map[string]bool{}
	for name, watched := range r.targets.byPool {
		for _, w := range watched {
			// Members of one address share a target: a word for one is a word for all.
			if _, ok := states[w.TargetID]; !ok {
				states[w.TargetID] = health.Up
			}
			member := name + "/" + r.pools[name].compiled.Members[w.member].Name
			for _, key := range []string{member, member + "/" + w.Addr.Addr().String()} {
				if text, ok := c.Health[key]; ok {
					told[key], states[w.TargetID] = true, v.state(t, text)
				}
			}
		}
	}
	for id, state := range states {
		r.targets.report(health.Report{TargetID: id, State: state})
	}
	r.Believe()
	for key := range c.Health {
		if !told[key] {
			t.Errorf("%s: health: no check watches %s", v.path, key)
		}
	}
	return r
}

func (v *vendorFile) state(t *testing.T, text string) health.State {
	t.Helper()
	for _, s := range []health.State{health.Down, health.Unknown} {
		if s.String() == text {
			return s
		}
	}
	t.Fatalf(`%s: health: %q, expected "down" or "unknown"`, v.path, text)
	return 0
}

// run asks, and compares.
func (v *vendorFile) run(t *testing.T, c *vendorCase) {
	q := v.question(t, c)
	a := asking{snapshot: v.registry(t, c).snapshot, names: v.names(t)}
	if c.Clients != "" {
		v.runClients(t, c, q, a)
		return
	}
	draws := 300
	if c.Shares != nil {
		draws = 20_000
	}
	random := rand.New(rand.NewPCG(1, 2))
	counts := map[string]int{}
	for range draws {
		q.Random = random.Uint64()
		counts[a.ask(q)]++
	}
	v.compare(t, c, counts)
}

// runClients asks for many clients, each twice: the answers are the client's own.
func (v *vendorFile) runClients(t *testing.T, c *vendorCase, q *zones.Query, a asking) {
	random := rand.New(rand.NewPCG(1, 2))
	ask := func(a asking) string {
		q.Random = random.Uint64()
		return a.ask(q)
	}
	before := a
	before.snapshot = v.registry(t, &vendorCase{Live: c.Live}).snapshot
	within := netip.MustParsePrefix(c.Clients)
	counts := map[string]int{}
	const clients = 4096
	for i := range clients {
		net := within.Addr().As16()
		net[5], net[6] = net[5]|byte(i>>8), byte(i)
		q.Client = policy.Client{Addr: netip.AddrFrom16(net), Subnet: netip.PrefixFrom(netip.AddrFrom16(net), 56)}
		got := ask(a)
		counts[got]++
		if again := ask(a); again != got {
			t.Fatalf("%v is given %s, then %s", q.Client.Subnet, got, again)
		}
		if c.Moves == nil {
			continue
		}
		was := ask(before)
		if (was != got) != slices.Contains(c.Moves, was) {
			t.Fatalf("%v is given %s, and was given %s when everybody was up: expected only clients of %v to move", q.Client.Subnet, got, was, c.Moves)
		}
	}
	v.compare(t, c, counts)
}

// compare says what is wrong with the answers.
func (v *vendorFile) compare(t *testing.T, c *vendorCase, counts map[string]int) {
	want := map[string]float64{} // by answer, its share; 0: some
	switch {
	case c.NoData:
		want["nodata"] = 1
	case c.ServFail:
		want["servfail"] = 1
	case c.Want != nil:
		want[together(c.Want)] = 1
	case c.AnyOf != nil:
		for _, one := range c.AnyOf {
			want[together(one)] = 0
		}
	case c.Among != nil:
		compareAmong(t, c, counts)
		return
	case c.Shares != nil:
		for answer, share := range c.Shares {
			want[together(strings.Split(answer, "+"))] = share
		}
	default:
		t.Fatalf("%s: expected one of want, any_of, shares, among, nodata and servfail", v.path)
	}
	for answer, n := range counts {
		if _, ok := want[answer]; !ok {
			t.Errorf("%d answers are %s, expected %s", n, answer, strings.Join(slices.Sorted(maps.Keys(want)), " or "))
		}
	}
	for answer := range want {
		if counts[answer] == 0 {
			t.Errorf("no answer is %s", answer)
		}
	}
	if c.Shares != nil && !t.Failed() && !likely(counts, want) {
		t.Errorf("counts %v, expected shares %v", counts, c.Shares)
	}
}

func compareAmong(t *testing.T, c *vendorCase, counts map[string]int) {
	seen := map[string]bool{}
	for answer := range counts {
		members := strings.Split(answer, "+")
		for _, m := range members {
			seen[m] = true
		}
		if len(members) != c.Size {
			t.Errorf("an answer is %s, expected %d", answer, c.Size)
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, c.Among) {
		t.Errorf("answers hold %v, expected %v", got, c.Among)
	}
}

// likely says whether the counts differ from the shares by no more than chance makes them once in some 30,000
// times: the cube root of chi² a degree of freedom is about normal (Wilson and Hilferty).
func likely(counts map[string]int, shares map[string]float64) bool {
	total, all := 0, 0.0
	for answer, share := range shares {
		total += counts[answer]
		all += share
	}
	chi, freedom := 0.0, float64(len(shares)-1)
	for answer, share := range shares {
		expected := share / all * float64(total)
		chi += (float64(counts[answer]) - expected) * (float64(counts[answer]) - expected) / expected
	}
	spread := 2 / (9 * freedom)
	return (math.Cbrt(chi/freedom)-(1-spread))/math.Sqrt(spread) < 4
}

// together is how answers of several members are written.
func together(members []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(members))), "+")
}

// question is what a case asks, but for the random number.
func (v *vendorFile) question(t *testing.T, c *vendorCase) *zones.Query {
	t.Helper()
	name, typ, client := c.Name, c.Type, c.Client
	if name == "" {
		name = "www"
	}
	if typ == "" {
		typ = "A"
	}
	if client == "" {
		client = "nowhere"
	}
	n, err := zones.ParseName(name + ".example.com")
	if err != nil {
		t.Fatal(err)
	}
	q := &zones.Query{Name: *n, Type: dns.StringToType[typ]}
	at, known := v.places[client]
	if !known {
		if at.Net, err = netip.ParsePrefix(client); err != nil {
			t.Fatalf("%s: client: %q is neither a place nor a network", v.path, client)
		}
	}
	q.Client.Addr, q.Client.Subnet = at.Net.Addr(), at.Net
	return q
}

// asking is somebody to ask.
type asking struct {
	snapshot *zones.Snapshot
	names    map[string]string // members by their addresses, or the names they stand for
}

// ask returns the members of the answer, together, or its outcome if that is no answer.
func (a *asking) ask(q *zones.Query) string {
	var answer zones.Answer
	zones.Resolve(a.snapshot, q, &answer, nil)
	if answer.Outcome != zones.Found {
		return answer.Outcome.String()
	}
	var members []string
	for _, line := range answer.Text(q) {
		target := line[strings.LastIndexByte(line, '\t')+1:]
		name, ok := a.names[target]
		if !ok {
			name = fmt.Sprintf("<%s, which is no member's>", target)
		}
		members = append(members, name)
	}
	return together(members)
}

// names of the members, by address and target.
func (v *vendorFile) names(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, e := range v.manifest(t, v.Registry) {
		parts := strings.Split(e.Key, "/")
		if len(parts) != 4 || parts[2] != "member" {
			continue
		}
		m := struct {
			Addr  []string `json:"addr"`
			CNAME string   `json:"cname"`
		}{Addr: []string{string(e.Value)}}
		if isObject(e.Value) {
			m.Addr = nil
			if err := json.Unmarshal(e.Value, &m); err != nil {
				t.Fatalf("%s: %s: %v", v.path, e.Key, err)
			}
		}
		if m.CNAME != "" {
			m.Addr = append(m.Addr, m.CNAME)
		}
		for _, target := range m.Addr {
			if other := names[target]; other != "" && other != parts[3] {
				t.Fatalf("%s: %s is both %s and %s", v.path, target, other, parts[3])
			}
			names[target] = parts[3]
		}
	}
	return names
}
