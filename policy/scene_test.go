package policy

import (
	"fmt"
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
// chain, and perhaps "on_empty" with its entries. The lines below are members: a name, then
// addresses, each 4 or 6 for its family and + (up), - (down) or ? (unknown), then w<weight>,
// t<tier>, @<site> and terms of what it serves as needed. A line that begins with "map" is a map: its
// name, networks and their tags, and perhaps a default:
//
//	web ["up","geo",{"take":{"n":2}}] on_empty pool:backup all
//	  a 4+ 6- w5 t2 @fra map:office/rome cidr:10.0.0.0/8
//	map office 198.51.100.0/24=rome default=berlin
func scene(t testing.TB, text string) []*Pool {
	t.Helper()
	type written struct {
		spec    Spec
		members []Member
		states  [][]health.State
	}
	var names []string
	pools := map[string]*written{}
	maps := map[string]*geo.Map{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "map":
			maps[words[1]] = geoMap(t, words[1], words[2:])
		case strings.TrimLeft(line, " \t") == line:
			chain, onEmpty, _ := strings.Cut(strings.Join(words[1:], " "), " on_empty ")
			field := `"steps":` + chain
			if !strings.HasPrefix(chain, "[") {
				field = `"policy":` + strconv.Quote(chain)
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
			m, states := member(t, words, len(p.members))
			p.members, p.states = append(p.members, m), append(p.states, states)
		}
	}
	var made []*Pool
	for _, name := range names {
		w := pools[name]
		p := New(name, w.spec, onEmpty(t, w.spec, names), w.members, maps)
		for i, states := range w.states {
			for j, s := range states {
				p.SetHealth(i, j, s, "")
			}
		}
		made = append(made, p)
	}
	return made
}

func geoMap(t testing.TB, name string, words []string) *geo.Map {
	t.Helper()
	part := geo.Part{Net: map[netip.Prefix]string{}}
	for _, word := range words {
		net, tag, _ := strings.Cut(word, "=")
		if net == "default" {
			part.Default = tag
		} else {
			part.Net[netip.MustParsePrefix(net)] = tag
		}
	}
	return geo.NewMap(name, map[string]geo.Part{"all": part})
}

func member(t testing.TB, words []string, index int) (Member, []health.State) {
	t.Helper()
	m := Member{Name: words[0], Weight: 1, Tier: 1}
	var states []health.State
	for _, word := range words[1:] {
		number, err := strconv.ParseUint(word[1:], 10, 16)
		switch {
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
	return m, states
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
		m := d.Pool.Members[pick.Member()]
		var places []string
		for i := range m.Addrs {
			if pick.Addrs()&(1<<i) != 0 {
				places = append(places, strconv.Itoa(i))
			}
		}
		name := m.Name
		if pick.Addrs() != d.Pool.seats[pick.Member()].addrs[f] {
			name += "/" + strings.Join(places, ",")
		}
		given = append(given, name)
	}
	return text + strings.Join(given, " ")
}

// outcomes are the texts of many decisions, each once, sorted, joined by " | ".
func outcomes(pools []*Pool, f Family) string {
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	var s Scratch
	var all []string
	for range 300 {
		got := text(selected(pools[0], pools, &Client{Family: f}, random.Uint64(), &s, nil), pools[0], f)
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
	Select(&d, p, pools, c, random, s, t)
	return d
}
