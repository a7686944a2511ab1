package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/health"
	"meridian/policy/geo"
)

// decodeSpec reads a Spec as the registry does.
func decodeSpec(value string) (s Spec, err error) {
	if err = json.Unmarshal([]byte(value), &s, json.RejectUnknownMembers(true)); err == nil {
		err = s.Validate()
	}
	return s, err
}

// scene makes pools of text. A line that is not indented begins a pool: its name, its policy or
// chain, and perhaps "min_up" with its value and "on_empty" with its entries. The lines below are
// members: a name, then addresses, each 4 or 6 for its family and + (up), - (down) or ? (unknown), or
// pool=<pool> or cname=<name>, then w<weight>, t<tier>, @<site>, bias<percent>, load<percent>, drained or
// withdrawn, and terms of what it serves as needed:
//
//	web ["up","geo",{"take":{"n":2}}] min_up 2 on_empty pool:backup all
//	  a 4+ 6- w5 t2 @fra map:office/rome cidr:10.0.0.0/8
//
// Lines that begin with one of these words are what is around the pools: the tags of a map's networks,
// autonomous systems and countries, and perhaps its default; a site's latitude and longitude; of a network,
// in order, its country (which has a continent), subdivision, autonomous system and place; what the checkers
// at a site measure, in ms, by member; the latch of a pool:
//
//	map office 198.51.100.0/24=rome asn:64500=rome IT=rome default=berlin
//	site fra 50 8
//	net 198.51.100.0/24 DE DE-HE asn=64500 at=50,8
//	rtt web fra 10.5 -
//	latch web 2
func scene(t testing.TB, text string) []*Pool {
	t.Helper()
	return world(t, text).Pools
}

// world is a scene with its database.
func world(t testing.TB, text string) *World {
	t.Helper()
	type written struct {
		spec    Spec
		members []Member
		words   []func(health.Word) health.Word
	}
	var names []string
	pools := map[string]*written{}
	maps := map[string]*geo.Map{}
	sites := map[string]geo.Point{}
	var layer *geo.Layer
	var later [][]string // lines about pools that are made
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "map":
			maps[words[1]] = geoMap(t, words[1], words[2:])
		case words[0] == "site":
			sites[words[1]] = pointAt(t, words[2], words[3])
		case words[0] == "net":
			if layer == nil {
				layer = geo.NewLayer()
			}
			if err := layer.Add(netip.MustParsePrefix(words[1]), record(t, words[2:])); err != nil {
				t.Fatal(err)
			}
		case words[0] == "rtt" || words[0] == "latch":
			later = append(later, words)
		case strings.TrimLeft(line, " \t") == line:
			chain, onEmpty, _ := strings.Cut(strings.Join(words[1:], " "), " on_empty ")
			chain, minUp, _ := strings.Cut(chain, " min_up ")
			field := `"steps":` + chain
			if !strings.HasPrefix(chain, "[") {
				field = `"policy":` + strconv.Quote(chain)
			}
			if minUp != "" {
				field += `,"min_up":` + minUp
			}
			s, err := decodeSpec(`{"check":"web",` + field + `}`)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			s.OnEmpty = strings.Fields(onEmpty)
			names = append(names, words[0])
			pools[words[0]] = &written{spec: s}
		default:
			p := pools[names[len(names)-1]]
			m, word := member(t, words, len(p.members))
			p.members, p.words = append(p.members, m), append(p.words, word)
		}
	}
	made := make([]*Pool, len(names))
	var compile func(id ID)
	compile = func(id ID) { // after the pools within
		if made[id] != nil {
			return
		}
		w := pools[names[id]]
		for i := range w.members {
			if m := &w.members[i]; m.Pool != "" {
				m.Child = ID(slices.Index(names, m.Pool))
				compile(m.Child)
			}
		}
		made[id] = New(names[id], w.spec, w.members, Surroundings{OnEmpty: onEmpty(t, w.spec, names), Maps: maps, Sites: sites, Pools: made})
		for i, word := range w.words {
			made[id].SetWord(i, word(made[id].Health(i)))
		}
	}
	for id := range names {
		compile(ID(id))
	}
	rows := map[*Pool][]RTTs{}
	for _, words := range later {
		p := made[slices.Index(names, words[1])]
		if words[0] == "latch" {
			tier, _ := strconv.Atoi(words[2])
			p.SetLatch(uint16(tier))
			continue
		}
		row := RTTs{Site: words[2], At: sites[words[2]]}
		for _, word := range words[3:] {
			ms, err := strconv.ParseFloat(word, 64)
			if err != nil {
				ms = math.NaN()
			}
			row.MS = append(row.MS, ms)
		}
		rows[p] = append(rows[p], row)
		p.SetRTTs(rows[p])
	}
	w := &World{Pools: made}
	if layer != nil {
		w.Geo = geo.Compile(layer)
	}
	return w
}

func pointAt(t testing.TB, lat, lon string) geo.Point {
	t.Helper()
	north, err := strconv.ParseFloat(lat, 64)
	east, err2 := strconv.ParseFloat(lon, 64)
	if err != nil || err2 != nil {
		t.Fatalf("%s, %s is no place", lat, lon)
	}
	return geo.PointAt(north, east)
}

// record reads what is known of a network.
func record(t testing.TB, words []string) (r geo.Record) {
	t.Helper()
	for _, word := range words {
		var err error
		what, value, _ := strings.Cut(word, "=")
		switch {
		case what == "asn":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			r.ASN = uint32(n)
		case what == "at":
			lat, lon, _ := strings.Cut(value, ",")
			r.Place = pointAt(t, lat, lon)
		case len(word) == 2:
			r.Country, err = geo.ParseCountry(word)
			r.Continent = r.Country.Continent()
		default:
			r.Subdivision, err = geo.ParseSubdivision(word)
		}
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
	}
	return r
}

func geoMap(t testing.TB, name string, words []string) *geo.Map {
	t.Helper()
	part := geo.Part{Net: map[netip.Prefix]string{}, ASN: map[uint32]string{}, Country: map[string]string{}}
	for _, word := range words {
		of, tag, _ := strings.Cut(word, "=")
		number, isASN := strings.CutPrefix(of, "asn:")
		switch {
		case of == "default":
			part.Default = tag
		case isASN:
			n, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			part.ASN[uint32(n)] = tag
		case len(of) == 2:
			part.Country[of] = tag
		default:
			part.Net[netip.MustParsePrefix(of)] = tag
		}
	}
	return geo.NewMap(name, map[string]geo.Part{"all": part})
}

// member reads a member, and what becomes of its word.
func member(t testing.TB, words []string, index int) (Member, func(health.Word) health.Word) {
	t.Helper()
	m := Member{Name: words[0], Weight: 1, Tier: 1}
	var states []health.State
	load := -1.0
	withdrawn, drained := false, false
	for _, word := range words[1:] {
		number, err := strconv.ParseUint(word[1:], 10, 16)
		switch {
		case strings.HasPrefix(word, "bias"):
			bias, err := strconv.ParseInt(word[4:], 10, 8)
			if err != nil {
				t.Fatal(err)
			}
			m.Bias = int8(bias)
		case strings.HasPrefix(word, "load"):
			percent, err := strconv.ParseFloat(word[4:], 64)
			if err != nil {
				t.Fatal(err)
			}
			load = percent / 100
		case word == "drained":
			withdrawn, drained = true, true
		case word == "withdrawn":
			withdrawn = true
		case strings.HasPrefix(word, "pool="):
			m.Pool = word[5:]
		case strings.HasPrefix(word, "cname="):
			m.CNAME = word[6:]
		case word == "any" || strings.Contains(word, ":"):
			term, err := ParseTerm(word)
			if err != nil {
				t.Fatal(err)
			}
			m.Serves = append(m.Serves, term)
		case word[0] == '@':
			m.Site = word[1:]
		case word[0] == 'w' && err == nil:
			m.Weight = uint16(number)
		case word[0] == 't' && err == nil:
			m.Tier = uint16(number)
		case (word[0] == '4' || word[0] == '6') && len(word) == 2 && strings.Contains("?+-", word[1:]):
			m.Addrs = append(m.Addrs, addr(word[0] == '6', index, len(m.Addrs)))
			states = append(states, health.State(strings.Index("?+-", word[1:])))
		default:
			t.Fatalf("%q: what is %q?", words, word)
		}
	}
	return m, func(w health.Word) health.Word {
		for i, s := range states {
			w = w.With(i, s)
		}
		return w.WithLoad(load).WithDrain(withdrawn, drained)
	}
}

// addr is the address of a member in place i: 10.<member>.<i>, 2001:db8::<member>:<i>.
func addr(v6 bool, member, i int) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x:%x", member+1, i+1))
	}
	return netip.AddrFrom4([4]byte{10, byte(member >> 8), byte(member), byte(i + 1)})
}

// onEmpty reads a spec's on_empty as the registry does. names are those of all pools, by ID.
func onEmpty(t testing.TB, s Spec, names []string) []Fallback {
	t.Helper()
	if len(s.OnEmpty) == 0 {
		return []Fallback{{Kind: FallbackAll}}
	}
	var list []Fallback
	for _, word := range s.OnEmpty {
		f, ok := ParseFallback(word)
		if !ok {
			t.Fatalf("on_empty: what is %q?", word)
		}
		if f.Kind == FallbackPool {
			f.Pool = ID(slices.Index(names, f.Name))
		}
		list = append(list, f)
	}
	return list
}

// text of a decision on the pool root: "nodata", "servfail", or who is given, in order: by name,
// with the places of the addresses where the member has others of that family, after the pool
// where that is not root: "fail open, backup: a/0,2 b".
func text(d Decision, root *Pool, f Family) string {
	if d.Outcome != Chosen {
		return d.Outcome.String()
	}
	var b strings.Builder
	if d.FailOpen {
		b.WriteString("fail open, ")
	}
	if d.Pool != root {
		b.WriteString(d.Pool.Name + ", ")
	}
	text := b.String()
	if text != "" {
		text = text[:len(text)-2] + ": "
	}
	var given []string
	for _, pick := range d.Picks {
		m := d.Member(pick)
		var places []string
		for i := range m.Addrs {
			if pick.Addrs()&(1<<i) != 0 {
				places = append(places, strconv.Itoa(i))
			}
		}
		name := m.Name
		if d.Of(pick) != d.Pool {
			name = d.Of(pick).Name + "/" + name
		}
		if pick.Addrs() != d.Of(pick).seats[pick.Member()].of(f) {
			name += "/" + strings.Join(places, ",")
		}
		given = append(given, name)
	}
	return text + strings.Join(given, " ")
}

// outcomes are the texts of many decisions, each once, sorted, joined by " | ".
func outcomes(pools []*Pool, f Family) string {
	return outcomesFor(&World{Pools: pools}, &Client{Family: f})
}

// outcomesFor are those of a client.
func outcomesFor(w *World, c *Client) string {
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var s Scratch
	var all []string
	for range 300 {
		var d Decision
		Select(&d, w.Pools[0], w, c, random.Uint64(), &s, nil)
		got := text(d, w.Pools[0], c.Family)
		if !seen[got] {
			seen[got] = true
			all = append(all, got)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " | ")
}

// selected is the decision of Select.
func selected(p *Pool, pools []*Pool, c *Client, random uint64, s *Scratch, t *Trace) (d Decision) {
	Select(&d, p, &World{Pools: pools}, c, random, s, t)
	return d
}

// decisionFor is what a client gets, by some random number.
func decisionFor(w *World, c *Client) (d Decision) {
	Select(&d, w.Pools[0], w, c, 1, new(Scratch), nil)
	return d
}
