package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"meridian/health"
)

func TestSpec(t *testing.T) {
	tests := []struct {
		value string
		want  string // the chain, the check and on_empty as they are understood
	}{
		{`{}`, "up, weighted, take 1"},
		{`{"policy":"weighted"}`, "up, weighted, take 1"},
		{`{"policy":"failover"}`, "up, tier, weighted, take 1"},
		{`{"policy":"multivalue","check":"web"}`, "up, weighted, take 8; check web"},
		{`{"on_empty":["pool:shop.eu","all","nodata","servfail"]}`, "up, weighted, take 1; on_empty [pool:shop.eu all nodata servfail]"},
		{`{"steps":["up"]}`, "up"},
		{`{"steps":["up","tier","weighted","take"]}`, "up, tier, weighted, take 1"},
		{`{"steps":[{"up":{}},{"tier":{}},{"weighted":{}},{"take":{}}]}`, "up, tier, weighted, take 1"},
		{`{"steps":[{"tier":{"trickle":"5%"}},{"take":{"n":64,"distinct":"site"}}]}`, "tier (trickle 5%), take 64, distinct by site"},
		{`{"steps":[{"tier":{"trickle":"7%"}}]}`, "tier (trickle 7%)"},
		{`{"steps":["take",{"take":{"n":2}}]}`, "take 1, take 2"},
		{`{"policy":"geo"}`, "up, geo, weighted, take 1"},
		{`{"steps":["geo",{"geo":{}},{"geo":{"strict":false}},{"geo":{"strict":true}}]}`, "geo, geo, geo, geo, strict"},
	}
	for _, test := range tests {
		s, err := decodeSpec(test.value)
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
			continue
		}
		var chain []string
		for _, step := range s.chain() {
			chain = append(chain, step.String())
		}
		got := strings.Join(chain, ", ")
		if s.Check != "" {
			got += "; check " + s.Check
		}
		if s.OnEmpty != nil {
			got += fmt.Sprintf("; on_empty %v", s.OnEmpty)
		}
		if got != test.want {
			t.Errorf("%s is understood as %q, want %q", test.value, got, test.want)
		}
	}
}

// What is not understood. Errors of Validate come as they are, those met while decoding within the
// words of the JSON library (of which it changes some from build to build), which whoever decodes
// puts into words for people.
func TestSpecErrors(t *testing.T) {
	tests := []struct{ value, want string }{
		{`{"policy":"wieghted"}`, `policy: unknown policy "wieghted", expected one of weighted, failover, multivalue, geo (did you mean "weighted"?)`},
		{`{"policy":"random"}`, `policy: unknown policy "random", expected one of weighted, failover, multivalue, geo`},
		{`{"policy":"weighted","steps":["up"]}`, `steps: a pool has either "policy" or "steps", not both`},
		{`{"steps":[]}`, `steps: a chain has at least one step`},
		{`{"steps":["upp"]}`, `unknown step "upp", expected one of up, geo, tier, weighted, take (did you mean "up"?)`},
		{`{"steps":["up",{"nearest":{}}]}`, `unknown step "nearest", expected one of up, geo, tier, weighted, take`},
		{`{"steps":[{}]}`, `a step without a name, expected one of up, geo, tier, weighted, take`},
		{`{"steps":[7]}`, `expected a step's name, or an object such as {"take":{"n":8}}`},
		{`{"steps":[["up"]]}`, `expected a step's name, or an object such as {"take":{"n":8}}`},
		{`{"steps":[{"take":{"n":2},"when":{}}]}`, `a step has one name, expected the end of the object after "take"`},
		{`{"steps":[{"take":{"n":0}}]}`, `take.n: 0 is out of range, expected 1 to 64`},
		{`{"steps":[{"take":{"n":-1}}]}`, `take.n: -1 is out of range, expected 1 to 64`},
		{`{"steps":[{"take":{"n":65}}]}`, `take.n: 65 is out of range, expected 1 to 64`},
		{`{"steps":[{"take":{"distinct":"country"}}]}`, `take.distinct: "country" is not known, expected "site"`},
		{`{"steps":[{"tier":{"trickle":"5"}}]}`, `"5" is not a share from "0%" to "100%"`},
		{`{"steps":[{"tier":{"trickle":"101%"}}]}`, `"101%" is not a share from "0%" to "100%"`},
		{`{"on_empty":["everything"]}`, `on_empty[0]: "everything" is not known, expected "all", "pool:<pool>", "nodata" or "servfail"`},
		{`{"on_empty":["all","pool:"]}`, `on_empty[1]: "pool:" is not known, expected "all", "pool:<pool>", "nodata" or "servfail"`},
		{`{"on_empty":[""]}`, `on_empty[0]: "" is not known, expected "all", "pool:<pool>", "nodata" or "servfail"`},
		{`{"on_empty":[]}`, `on_empty: expected at least one entry; "nodata" gives nobody`},
		// What the JSON library says, in its own words.
		{`{"polcy":"weighted"}`, `unknown object member name "polcy"`},
		{`{"steps":[{"take":{"m":8}}]}`, `unknown object member name "m"`},
		{`{"steps":[{"geo":{"strict":"yes"}}]}`, `unmarshal JSON string into Go bool`},
		{`{"steps":[{"geo":{"stirct":true}}]}`, `unknown object member name "stirct"`},
		{`{"steps":[{"up":{"n":8}}]}`, `unknown object member name "n"`},
		{`{"steps":[{"take":{"n":1,"n":2}}]}`, `duplicate object member name "n"`},
		{`{"steps":[{"take":8}]}`, `unmarshal JSON number into Go struct`},
		{`{"steps":[{"take":{"n":"8"}}]}`, `unmarshal JSON string into Go int`},
		{`{"steps":"up"}`, `unmarshal JSON string into Go []policy.Step`},
		{`{"on_empty":"all"}`, `unmarshal JSON string into Go []string`},
	}
	for _, test := range tests {
		_, err := decodeSpec(test.value)
		got := fmt.Sprint(err)
		if got != test.want && !(strings.HasPrefix(got, "json") && strings.Contains(got, test.want)) {
			t.Errorf("%s: %s, want %s", test.value, got, test.want)
		}
	}
}

func TestMemberSpec(t *testing.T) {
	tests := []struct {
		value string
		want  Member
	}{
		{`{"addr":["192.0.2.10"]}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1}},
		{`{"addr":["192.0.2.10","2001:db8::10"],"weight":10,"tier":2,"site":"fra","check_addr":"10.0.0.1","port":443}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10 2001:db8::10"), Weight: 10, Tier: 2, Site: "fra"}},
		{`{"addr":["192.0.2.10"],"weight":0}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 0, Tier: 1}},
		{`{"addr":["192.0.2.10"],"weight":65535,"tier":65535}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 65535, Tier: 65535}},
		{`{"addr":["192.0.2.10"],"serves":["map:office/berlin","cidr:192.0.2.0/24","cidr:::/0","any"]}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1, Serves: []Term{
				{Kind: TermMap, Map: "office", Tag: "berlin"},
				{Kind: TermCIDR, Net: netip.MustParsePrefix("192.0.2.0/24")},
				{Kind: TermCIDR, Net: netip.MustParsePrefix("::/0")},
				{Kind: TermAny},
			}}},
		{`{"addr":["127.0.0.1","::1","10.0.0.1","fe80::1"]}`,
			Member{Name: "fra1", Addrs: addrs("127.0.0.1 ::1 10.0.0.1 fe80::1"), Weight: 1, Tier: 1}},
	}
	for _, test := range tests {
		m, err := decodeMemberSpec(test.value)
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
		} else if got := m.Compile("fra1"); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.value, got, test.want)
		}
	}
}

func TestMemberSpecErrors(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`"192.0.2.1",`, health.MaxAddrs+1), ",")
	manyTerms := strings.TrimSuffix(strings.Repeat(`"any",`, MaxServes+1), ",")
	const terms = `expected "cidr:<prefix>", "map:<map>/<tag>" or "any"`
	tests := []struct{ value, want string }{
		{`{}`, `addr: expected 1 to 16 addresses, found 0`},
		{`{"addr":[]}`, `addr: expected 1 to 16 addresses, found 0`},
		{`{"addr":[` + many + `]}`, `addr: expected 1 to 16 addresses, found 17`},
		{`{"addr":["192.0.2.1","192.0.2.1"]}`, `addr[1]: 192.0.2.1 is there twice`},
		{`{"addr":["2001:db8::1","2001:DB8:0::1"]}`, `addr[1]: 2001:db8::1 is there twice`},
		{`{"addr":[""]}`, `addr[0]: expected an address, found an empty string`},
		{`{"addr":["fe80::1%eth0"]}`, `addr[0]: fe80::1%eth0 has a zone, which means nothing elsewhere`},
		{`{"addr":["::ffff:192.0.2.1"]}`, `addr[0]: ::ffff:192.0.2.1 is IPv4 in IPv6 form, expected 192.0.2.1`},
		{`{"addr":["0.0.0.0"]}`, `addr[0]: 0.0.0.0 is no address of one host`},
		{`{"addr":["::"]}`, `addr[0]: :: is no address of one host`},
		{`{"addr":["224.0.0.1"]}`, `addr[0]: 224.0.0.1 is no address of one host`},
		{`{"addr":["255.255.255.255"]}`, `addr[0]: 255.255.255.255 is no address of one host`},
		{`{"addr":["192.0.2.1"],"check_addr":"ff02::1"}`, `check_addr: ff02::1 is no address of one host`},
		{`{"addr":["192.0.2.1"],"weight":-1}`, `weight: -1 is out of range, expected 0 to 65535`},
		{`{"addr":["192.0.2.1"],"weight":65536}`, `weight: 65536 is out of range, expected 0 to 65535`},
		{`{"addr":["192.0.2.1"],"tier":0}`, `tier: 0 is out of range, expected 1 to 65535`},
		{`{"addr":["192.0.2.1"],"tier":65536}`, `tier: 65536 is out of range, expected 1 to 65535`},
		{`{"addr":["192.0.2.1"],"serves":[]}`, `serves: expected at least one term; "any" serves everybody, as a member without it does`},
		{`{"addr":["192.0.2.1"],"serves":[` + manyTerms + `]}`, `serves: expected at most 256 terms, found 257: networks without end are for a map`},
		{`{"addr":["192.0.2.1"],"serves":["any","EU"]}`, `serves[1]: "EU" is not known, ` + terms},
		{`{"addr":["192.0.2.1"],"serves":["continent:EU"]}`, `serves[0]: "continent:EU": no database says in what continent a client is, ` + terms},
		{`{"addr":["192.0.2.1"],"serves":["country:DE"]}`, `serves[0]: "country:DE": no database says in what country a client is, ` + terms},
		{`{"addr":["192.0.2.1"],"serves":["subdivision:DE-HE"]}`, `serves[0]: "subdivision:DE-HE": no database says in what subdivision a client is, ` + terms},
		{`{"addr":["192.0.2.1"],"serves":["asn:64500"]}`, `serves[0]: "asn:64500": no database says what a client's asn is, ` + terms},
		{`{"addr":["192.0.2.1"],"serves":["cidr:192.0.2.0"]}`, `serves[0]: "cidr:192.0.2.0" is no network, expected one such as "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:192.0.2.1/24"]}`, `serves[0]: "cidr:192.0.2.1/24" has bits set beyond the prefix, expected "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:::ffff:192.0.2.0/120"]}`, `serves[0]: "cidr:::ffff:192.0.2.0/120" is IPv4 in IPv6 form, expected "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["map:office"]}`, `serves[0]: "map:office" names no tag of a map, expected "map:<map>/<tag>"`},
		{`{"addr":["192.0.2.1"],"serves":["map:Office/eu"]}`, `serves[0]: "Office" is not the name of a map: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{`{"addr":["192.0.2.1"],"serves":["map:/eu"]}`, `serves[0]: "map:/eu" names no tag of a map, expected "map:<map>/<tag>"`},
		{`{"addr":["192.0.2.1"],"serves":["map:office/EU"]}`, `serves[0]: "EU" is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:2001:db8::/32","any","cidr:2001:DB8::/32"]}`, `serves[2]: "cidr:2001:DB8::/32" is there twice`},
		{`{"addr":["192.0.2"]}`, `ParseAddr("192.0.2"): IPv4 address too short`},
		{`{"addr":"192.0.2.1"}`, `unmarshal JSON string into Go []netip.Addr`},
		{`{"addr":["192.0.2.1"],"port":65536}`, `unmarshal JSON number 65536 into Go uint16`},
		{`{"addr":["192.0.2.1"],"wieght":1}`, `unknown object member name "wieght"`},
	}
	for _, test := range tests {
		_, err := decodeMemberSpec(test.value)
		if got := fmt.Sprint(err); got != test.want && !(strings.HasPrefix(got, "json:") && strings.Contains(got, test.want)) {
			t.Errorf("%s: %s, want %s", test.value, got, test.want)
		}
	}
}

func TestMemberSpecMaps(t *testing.T) {
	m := MemberSpec{Serves: []string{"any", "map:office/berlin", "cidr:10.0.0.0/8", "map:as/eu", "map:office/rome"}}
	if got, want := m.Maps(), []string{"office", "as"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func decodeMemberSpec(value string) (m MemberSpec, err error) {
	if err = json.Unmarshal([]byte(value), &m, json.RejectUnknownMembers(true)); err == nil {
		err = m.Validate()
	}
	return m, err
}

func addrs(text string) (list []netip.Addr) {
	for _, word := range strings.Fields(text) {
		list = append(list, netip.MustParseAddr(word))
	}
	return list
}

func TestSite(t *testing.T) {
	tests := []struct{ value, want string }{
		{`{}`, "<nil>"},
		{`{"country":"DE","subdivision":"DE-HE","continent":"EU","lat":50.1,"lon":8.7}`, "<nil>"},
		{`{"subdivision":"GB-ENG"}`, "<nil>"},
		{`{"subdivision":"FR-1"}`, "<nil>"},
		{`{"lat":0,"lon":0}`, "<nil>"},
		{`{"lat":-90,"lon":180}`, "<nil>"},
		{`{"country":"de"}`, `country: "de" is not a country, expected two capitals such as "DE"`},
		{`{"country":"DEU"}`, `country: "DEU" is not a country, expected two capitals such as "DE"`},
		{`{"subdivision":"DE"}`, `subdivision: "DE" is not a subdivision, expected a code such as "DE-HE"`},
		{`{"subdivision":"DE-HESSE"}`, `subdivision: "DE-HESSE" is not a subdivision, expected a code such as "DE-HE"`},
		{`{"country":"FR","subdivision":"DE-HE"}`, `subdivision: "DE-HE" does not lie in country "FR"`},
		{`{"continent":"XX"}`, `continent: "XX" is not a continent, expected one of AF, AN, AS, EU, NA, OC, SA`},
		{`{"continent":"Europe"}`, `continent: "Europe" is not a continent, expected one of AF, AN, AS, EU, NA, OC, SA`},
		{`{"lat":50.1}`, `"lat" and "lon" go together`},
		{`{"lon":8.7}`, `"lat" and "lon" go together`},
		{`{"lat":90.1,"lon":0}`, `lat: 90.1 is out of range, expected -90 to 90`},
		{`{"lat":0,"lon":-180.1}`, `lon: -180.1 is out of range, expected -180 to 180`},
	}
	for _, test := range tests {
		var s Site
		err := json.Unmarshal([]byte(test.value), &s, json.RejectUnknownMembers(true))
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
		} else if got := fmt.Sprint(s.Validate()); got != test.want {
			t.Errorf("%s: %s, want %s", test.value, got, test.want)
		}
	}
}

func TestParseFallback(t *testing.T) {
	for _, word := range []string{"all", "nodata", "servfail", "pool:web", "pool:shop.web"} {
		if f, ok := ParseFallback(word); !ok || f.String() != word {
			t.Errorf("%q is read as %v, %t", word, f, ok)
		}
	}
	for _, word := range []string{"", "All", "pool:", "pool", "web", " all"} {
		if f, ok := ParseFallback(word); ok {
			t.Errorf("%q is read as %v", word, f)
		}
	}
}

func TestFallbackPools(t *testing.T) {
	s := Spec{OnEmpty: []string{"all", "pool:eu", "nodata", "pool:shop.us", "servfail"}}
	if got, want := s.FallbackPools(), []string{"", "eu", "", "shop.us", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever decodes and is valid compiles, runs, and is what its twin makes of it.
func FuzzSpec(f *testing.F) {
	f.Add(`{}`, uint64(1))
	f.Add(`{"policy":"failover","check":"web","on_empty":["pool:web","all","nodata","servfail"]}`, uint64(2))
	f.Add(`{"steps":["up",{"tier":{"trickle":"5%"}},"weighted",{"take":{"n":2,"distinct":"site"}}],"on_empty":["all"]}`, uint64(3))
	f.Add(`{"steps":[{"take":{"n":64}},{"up":{}},"weighted"]}`, uint64(4))
	f.Add(`{"steps":[{"take":null}]}`, uint64(5))
	f.Add(`{"steps":[null],"on_empty":null}`, uint64(6))
	f.Fuzz(func(t *testing.T, value string, random uint64) {
		s, err := decodeSpec(value)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		choose := rand.New(rand.NewPCG(random, 0)).IntN
		pool := randomPools(choose)[0]
		var list []Fallback
		for _, word := range s.OnEmpty {
			fallback, _ := ParseFallback(word)
			list = append(list, fallback) // every pool is pool 0: itself
		}
		p := New("p0", s, list, pool.Members, nil)
		for i, m := range p.Members {
			for j := range m.Addrs {
				p.SetHealth(i, j, health.State(choose(3)), "")
			}
		}
		checkSelect(t, []*Pool{p}, randomClient(choose), random, new(Scratch))
	})
}
