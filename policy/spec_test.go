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
	"meridian/policy/geo"
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
		{`{"steps":[{"tier":{"trickle":"5%"}},{"take":{"n":64,"distinct":"site"}}]}`, "tier trickle 5%, take 64, distinct by site"},
		{`{"steps":[{"tier":{"trickle":"7%"}}]}`, "tier trickle 7%"},
		{`{"steps":["take",{"take":{"n":2}}]}`, "take 1, take 2"},
		{`{"policy":"geo"}`, "up, geo, weighted, take 1"},
		{`{"policy":"sticky"}`, "up, weighted by client, take 1"},
		{`{"policy":"geoproximity"}`, "up, nearest by distance, weighted, take 1"},
		{`{"policy":"latency"}`, "up, nearest by rtt, within 10ms, weighted, take 1"},
		{`{"steps":[{"nearest":{"by":"distance","within":"500km"}}]}`, "nearest by distance, within 500km"},
		{`{"steps":[{"nearest":{"by":"distance","within":"12.5%"}}]}`, "nearest by distance, within 12.5%"},
		{`{"steps":[{"nearest":{"by":"distance","within":"0"}}]}`, "nearest by distance, within 0"},
		{`{"steps":[{"nearest":{"by":"rtt"}}]}`, "nearest by rtt"},
		{`{"steps":[{"nearest":{"by":"rtt","within":"20%"}}]}`, "nearest by rtt, within 20%"},
		{`{"steps":[{"nearest":{"by":"rtt","within":"1m"}}]}`, "nearest by rtt, within 1m"},
		{`{"steps":[{"tier":{"failback":"auto"}},{"tier":{"failback":"manual"}},{"tier":{"failback":"5m","trickle":"1%"}}]}`,
			"tier, tier failback manual, tier trickle 1%, failback 5m"},
		{`{"steps":[{"shed":{"percent":"2.5%"}},{"shed":{"low":"70%","high":"100%"}},{"shed":{"low":"0%","high":"0.1%"}}]}`,
			"shed 2.5%, shed from 70% to 100% load, shed from 0% to 0.1% load"},
		{`{"steps":[{"weighted":{"by":"random"}},{"weighted":{"by":"client"}}]}`, "weighted, weighted by client"},
		{`{"steps":[{"take":{"n":8},"when":{"continent":["EU","NA"]}}]}`, "take 8, when continent is one of EU NA"},
		{`{"steps":[{"when":{"country":["DE"]},"geo":{"strict":true}}]}`, "geo strict, when country is one of DE"},
		{`{"steps":[{"up":{},"when":{"cidr":["192.0.2.0/24","2001:db8::/32"]}}]}`, "up when cidr is one of 192.0.2.0/24 2001:db8::/32"},
		{`{"steps":[{"weighted":{},"when":{"asn":[64500,64501],"qtype":["AAAA"]}}]}`,
			"weighted when asn is one of 64500 64501 and qtype is one of AAAA"},
		{`{"min_up":2}`, "up, weighted, take 1; min_up 2"},
		{`{"min_up":1000}`, "up, weighted, take 1; min_up 1000"},
		{`{"min_up":"50%"}`, "up, weighted, take 1; min_up 50%"},
		{`{"min_up":"100%"}`, "up, weighted, take 1; min_up 100%"},
		{`{"steps":["geo",{"geo":{}},{"geo":{"strict":false}},{"geo":{"strict":true}}]}`, "geo, geo, geo, geo strict"},
	}
	for _, test := range tests {
		s, err := decodeSpec(test.value)
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
			continue
		}
		var chain []string
		for _, step := range s.Chain() {
			chain = append(chain, step.String())
		}
		got := strings.Join(chain, ", ")
		if s.Check != "" {
			got += "; check " + s.Check
		}
		if s.MinUp != (MinUp{}) {
			got += "; min_up " + s.MinUp.String()
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
		{`{"policy":"wieghted"}`, `policy: unknown policy "wieghted", expected one of weighted, failover, multivalue, sticky, geo, geoproximity, latency (did you mean "weighted"?)`},
		{`{"policy":"random"}`, `policy: unknown policy "random", expected one of weighted, failover, multivalue, sticky, geo, geoproximity, latency`},
		{`{"policy":"weighted","steps":["up"]}`, `steps: a pool has either "policy" or "steps", not both`},
		{`{"steps":[]}`, `steps: a chain has at least one step`},
		{`{"steps":["upp"]}`, `unknown step "upp", expected one of up, geo, nearest, tier, shed, weighted, take (did you mean "up"?)`},
		{`{"steps":["up",{"nearby":{}}]}`, `unknown step "nearby", expected one of up, geo, nearest, tier, shed, weighted, take`},
		{`{"steps":[{}]}`, `a step without a name, expected one of up, geo, nearest, tier, shed, weighted, take`},
		{`{"steps":[7]}`, `expected a step's name, or an object such as {"take":{"n":8}}`},
		{`{"steps":[["up"]]}`, `expected a step's name, or an object such as {"take":{"n":8}}`},
		{`{"steps":[{"take":{"n":2},"up":{}}]}`, `a step has one name, expected the end of the object after "take"`},
		{`{"steps":[{"when":{"asn":[1]}}]}`, `a step without a name, expected one of up, geo, nearest, tier, shed, weighted, take`},
		{`{"steps":["nearest"]}`, `nearest.by: "" is not known, expected "distance" or "rtt"`},
		{`{"steps":[{"nearest":{"within":"500km"}}]}`, `nearest.by: "" is not known, expected "distance" or "rtt"`},
		{`{"steps":[{"nearest":{"by":"km"}}]}`, `nearest.by: "km" is not known, expected "distance" or "rtt"`},
		{`{"steps":[{"nearest":{"by":"distance","within":"500"}}]}`,
			`nearest.within: "500" is not known, by distance expected a length such as "500km" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"distance","within":"10ms"}}]}`,
			`nearest.within: "10ms" is not known, by distance expected a length such as "500km" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"distance","within":"-1km"}}]}`,
			`nearest.within: "-1km" is not known, by distance expected a length such as "500km" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"distance","within":"NaNkm"}}]}`,
			`nearest.within: "NaNkm" is not known, by distance expected a length such as "500km" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"distance","within":"-5%"}}]}`,
			`nearest.within: "-5%" is not known, by distance expected a length such as "500km" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"rtt","within":"500km"}}]}`,
			`nearest.within: "500km" is not known, by rtt expected a time such as "10ms" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"rtt","within":"-1ms"}}]}`,
			`nearest.within: "-1ms" is not known, by rtt expected a time such as "10ms" or a share such as "20%"`},
		{`{"steps":[{"nearest":{"by":"rtt","within":"61s"}}]}`,
			`nearest.within: "61s" is not known, by rtt expected a time such as "10ms" or a share such as "20%"`},
		{`{"steps":[{"tier":{"failback":"never"}}]}`, `tier.failback: "never" is not known, expected "auto", "manual" or a time such as "5m"`},
		{`{"steps":[{"tier":{"failback":"999ms"}}]}`, `tier.failback: 999ms is out of range, expected 1s to 24h`},
		{`{"steps":[{"tier":{"failback":"-5m"}}]}`, `tier.failback: -5m0s is out of range, expected 1s to 24h`},
		{`{"steps":[{"tier":{"failback":"25h"}}]}`, `tier.failback: 25h0m0s is out of range, expected 1s to 24h`},
		{`{"steps":["shed"]}`, `shed: expected "percent", or "low" and "high"`},
		{`{"steps":[{"shed":{"low":"70%"}}]}`, `shed: expected "percent", or "low" and "high"`},
		{`{"steps":[{"shed":{"high":"70%"}}]}`, `shed: expected "percent", or "low" and "high"`},
		{`{"steps":[{"shed":{"percent":"5%","low":"70%"}}]}`, `shed.percent: a step shed has either "percent", or "low" and "high"`},
		{`{"steps":[{"shed":{"low":"70%","high":"70%"}}]}`, `shed.low: 70% is not below high, 70%`},
		{`{"steps":[{"shed":{"percent":"101%"}}]}`, `"101%" is not a share from "0%" to "100%"`},
		{`{"steps":[{"weighted":{"by":"site"}}]}`, `weighted.by: "site" is not known, expected "random" or "client"`},
		{`{"steps":[{"up":{},"when":{}}]}`, `when: expected at least one of "cidr", "country", "continent", "asn" and "qtype"`},
		{`{"steps":[{"up":{},"when":null}]}`, `when: expected at least one of "cidr", "country", "continent", "asn" and "qtype"`},
		{`{"steps":[{"up":{},"when":{"cidr":[]}}]}`, `when.cidr: expected at least one entry: without any the step would never be done`},
		{`{"steps":[{"up":{},"when":{"country":[]}}]}`, `when.country: expected at least one entry: without any the step would never be done`},
		{`{"steps":[{"up":{},"when":{"continent":[]}}]}`, `when.continent: expected at least one entry: without any the step would never be done`},
		{`{"steps":[{"up":{},"when":{"asn":[]}}]}`, `when.asn: expected at least one entry: without any the step would never be done`},
		{`{"steps":[{"up":{},"when":{"qtype":[]}}]}`, `when.qtype: expected at least one entry: without any the step would never be done`},
		{`{"steps":[{"up":{},"when":{"cidr":["192.0.2.0/24","192.0.2.1/24"]}}]}`, `when.cidr[1]: "192.0.2.1/24" has bits set beyond the prefix, expected "192.0.2.0/24"`},
		{`{"steps":[{"up":{},"when":{"cidr":["cidr:192.0.2.0/24"]}}]}`, `when.cidr[0]: "cidr:192.0.2.0/24" is no network, expected one such as "192.0.2.0/24"`},
		{`{"steps":[{"up":{},"when":{"cidr":["::ffff:192.0.2.0/120"]}}]}`, `when.cidr[0]: "::ffff:192.0.2.0/120" is IPv4 in IPv6 form, expected "192.0.2.0/24"`},
		{`{"steps":[{"up":{},"when":{"country":["DE","de"]}}]}`, `when.country[1]: "de" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "DE"?)`},
		{`{"steps":[{"up":{},"when":{"continent":["XX"]}}]}`, `when.continent[0]: "XX" is not a continent: expected AF, AN, AS, EU, NA, OC or SA`},
		{`{"steps":[{"up":{},"when":{"asn":[64500,0]}}]}`, `when.asn[1]: 0 is no autonomous system, expected a number such as 64500`},
		{`{"steps":[{"up":{},"when":{"qtype":["aaaa"]}}]}`, `when.qtype[0]: "aaaa" is no type, expected one such as "AAAA"`},
		{`{"min_up":0}`, `0 is out of range, expected 1 to 1000 or a share such as "50%"`},
		{`{"min_up":-1}`, `-1 is out of range, expected 1 to 1000 or a share such as "50%"`},
		{`{"min_up":1001}`, `1001 is out of range, expected 1 to 1000 or a share such as "50%"`},
		{`{"min_up":1.5}`, `1.5 is out of range, expected 1 to 1000 or a share such as "50%"`},
		{`{"min_up":true}`, `true is out of range, expected 1 to 1000 or a share such as "50%"`},
		{`{"min_up":"0%"}`, `"0%" is no share of the members, expected one such as "50%", or a number`},
		{`{"min_up":"half"}`, `"half" is no share of the members, expected one such as "50%", or a number`},
		{`{"min_up":"101%"}`, `"101%" is no share of the members, expected one such as "50%", or a number`},
		{`{"on_empty":["all","nodata","all"]}`, `on_empty[2]: "all" is there twice`},
		{`{"steps":[` + strings.TrimSuffix(strings.Repeat(`"up",`, maxSteps+1), ",") + `]}`, `steps: expected at most 16 steps, found 17`},
		{`{"linger":"25h"}`, `linger: 25h0m0s is out of range, expected 0s to 24h`},
		{`{"linger":"-1s"}`, `linger: -1s is out of range, expected 0s to 24h`},
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
		{`{"steps":[{"take":8}]}`, `unmarshal JSON number into Go policy.Take`},
		{`{"steps":[{"up":{},"when":{"asn":["AS64500"]}}]}`, `unmarshal JSON string into Go uint32`},
		{`{"steps":[{"up":{},"when":{"asn":[4294967296]}}]}`, `unmarshal JSON number 4294967296 into Go uint32`},
		{`{"steps":[{"up":{},"when":{"city":["Rome"]}}]}`, `unknown object member name "city"`},
		{`{"steps":[{"up":{},"when":["DE"]}]}`, `unmarshal JSON array into Go policy.When`},
		{`{"steps":[{"up":{},"when":{"asn":[1]},"when":{"asn":[2]}}]}`, `duplicate object member name "when"`},
		{`{"steps":[{"tier":{"failback":true}}]}`, `unmarshal JSON boolean into Go string`},
		{`{"steps":[{"shed":{"low":70,"high":90}}]}`, `unmarshal JSON number into Go spec.Share`},
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

// The chain of most pools is run in one go, however it is written.
func TestSpecPlain(t *testing.T) {
	for value, want := range map[string]bool{
		`{}`:                                  true,
		`{"policy":"weighted","check":"web"}`: true,
		`{"steps":["up","weighted","take"]}`:  true,
		`{"steps":[{"up":{}},{"weighted":{}},{"take":{"n":1}}]}`: true,
		`{"steps":["up","weighted",{"take":{"n":2}}]}`:           false,
		`{"policy":"sticky"}`:                                    false,
		`{"policy":"failover"}`:                                  false,
	} {
		s, err := decodeSpec(value)
		if err != nil {
			t.Fatal(err)
		}
		if p := New("web", s, nil, Surroundings{}); p.plain != want {
			t.Errorf("%s: plain %t, want %t", value, p.plain, want)
		}
	}
}

// What is written of a Spec is read as the same.
func TestSpecRoundTrip(t *testing.T) {
	values := []string{
		`{"policy":"latency","check":"web","on_empty":["pool:shop.eu","all"],"min_up":2,"linger":"5m0s"}`,
		`{"steps":["up","geo","tier","weighted","take"],"min_up":"12.5%"}`,
		`{"steps":[{"geo":{"strict":true},"when":{"cidr":["192.0.2.0/24"],"country":["DE"],"continent":["EU"],"asn":[64500],"qtype":["AAAA"]}},{"up":{},"when":{"asn":[1]}}]}`,
		`{"steps":[{"nearest":{"by":"rtt","within":"10ms"}},{"tier":{"trickle":"7%","failback":"5m"}},{"shed":{"low":"70%","high":"95.5%"}},{"shed":{"percent":"0%"}}]}`,
		`{"steps":[{"weighted":{"by":"client"}},{"take":{"n":8,"distinct":"site"},"when":{"continent":["EU"]}}]}`,
	}
	for _, value := range values {
		s, err := decodeSpec(value)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if got := encodeSpec(t, s); got != value {
			t.Errorf("%s is written as\n%s", value, got)
		}
	}
	random := rand.New(rand.NewPCG(11, 12))
	for range 2_000 {
		s := randomSpec(random.IntN)
		if slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Shed.High != nil && *st.Shed.High > 1 }) {
			continue // nobody can write that
		}
		value := encodeSpec(t, s)
		back, err := decodeSpec(value)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if !reflect.DeepEqual(back, s) {
			t.Fatalf("%s is read as\n%+v, want\n%+v", value, back, s)
		}
	}
}

func encodeSpec(t *testing.T, s Spec) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMemberSpec(t *testing.T) {
	tests := []struct {
		value string
		want  Member
	}{
		{`{"addr":["192.0.2.10"]}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1}},
		{`{"addr":["192.0.2.10","2001:db8::10"],"weight":10,"tier":2,"site":"fra","check_addr":"10.0.0.1","port":443}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10 2001:db8::10"), Weight: 10, Tier: 2, Site: "fra", Port: 443}},
		{`{"addr":["192.0.2.10"],"bias":-99}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1, Bias: -99}},
		{`{"addr":["192.0.2.10"],"bias":99,"leaving":true}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1, Bias: 99}},
		{`{"cname":"x.example.org."}`,
			Member{Name: "fra1", CNAME: "x.example.org.", Weight: 1, Tier: 1}},
		{`{"cname":"x\\.y.example.org.","check_addr":"192.0.2.7","port":8443}`,
			Member{Name: "fra1", CNAME: `x\.y.example.org.`, Weight: 1, Tier: 1, Port: 8443, Checks: 1}},
		{`{"pool":"shop.eu","weight":3,"tier":2,"site":"fra","serves":["continent:EU"],"bias":50}`,
			Member{Name: "fra1", Pool: "shop.eu", Weight: 3, Tier: 2, Site: "fra", Bias: 50, Serves: []Term{
				{Kind: TermContinent, Continent: geo.ContinentOf("EU")},
			}}},
		{`{"addr":["192.0.2.10"],"serves":["asn:64500","asn:4294967295","subdivision:DE-HE","country:DE","continent:EU"]}`,
			Member{Name: "fra1", Addrs: addrs("192.0.2.10"), Weight: 1, Tier: 1, Serves: []Term{
				{Kind: TermASN, ASN: 64500},
				{Kind: TermASN, ASN: 4294967295},
				{Kind: TermSubdivision, Subdivision: geo.SubdivisionOf(geo.CountryOf("DE"), "HE")},
				{Kind: TermCountry, Country: geo.CountryOf("DE")},
				{Kind: TermContinent, Continent: geo.ContinentOf("EU")},
			}}},
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
	const terms = `expected "cidr:<prefix>", "asn:<number>", "map:<map>/<tag>", "subdivision:<code>", "country:<code>", "continent:<code>" or "any"`
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
		{`{"addr":["192.0.2.1"],"serves":["continent:Europe"]}`, `serves[0]: "Europe" is not a continent: expected AF, AN, AS, EU, NA, OC or SA`},
		{`{"addr":["192.0.2.1"],"serves":["country:de"]}`, `serves[0]: "de" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "DE"?)`},
		{`{"addr":["192.0.2.1"],"serves":["country:XX"]}`, `serves[0]: "XX" is not a country: expected a code of ISO 3166-1 such as "DE" (did you mean "AX"?)`},
		{`{"addr":["192.0.2.1"],"serves":["subdivision:DE"]}`, `serves[0]: "DE" is not a subdivision: expected a code of ISO 3166-2 such as "DE-HE"`},
		{`{"addr":["192.0.2.1"],"serves":["subdivision:XX-HE"]}`, `serves[0]: "XX-HE" is not a subdivision: "XX" is not a country: expected a code of ISO 3166-2 such as "DE-HE" (did you mean "AX"?)`},
		{`{"addr":["192.0.2.1"],"serves":["asn:0"]}`, `serves[0]: "asn:0" is no autonomous system, expected a number such as "asn:64500"`},
		{`{"addr":["192.0.2.1"],"serves":["asn:AS64500"]}`, `serves[0]: "asn:AS64500" is no autonomous system, expected a number such as "asn:64500"`},
		{`{"addr":["192.0.2.1"],"serves":["asn:4294967296"]}`, `serves[0]: "asn:4294967296" is no autonomous system, expected a number such as "asn:64500"`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:2002:c000:200::/40"]}`, `serves[0]: "cidr:2002:c000:200::/40" is IPv4 carried in IPv6 (2002::/16), which counts as that IPv4: expected a network of it`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:192.0.2.0"]}`, `serves[0]: "cidr:192.0.2.0" is no network, expected one such as "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:192.0.2.1/24"]}`, `serves[0]: "cidr:192.0.2.1/24" has bits set beyond the prefix, expected "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:::ffff:192.0.2.0/120"]}`, `serves[0]: "cidr:::ffff:192.0.2.0/120" is IPv4 in IPv6 form, expected "cidr:192.0.2.0/24"`},
		{`{"addr":["192.0.2.1"],"serves":["map:office"]}`, `serves[0]: "map:office" names no tag of a map, expected "map:<map>/<tag>"`},
		{`{"addr":["192.0.2.1"],"serves":["map:Office/eu"]}`, `serves[0]: "Office" is not the name of a map: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{`{"addr":["192.0.2.1"],"serves":["map:/eu"]}`, `serves[0]: "map:/eu" names no tag of a map, expected "map:<map>/<tag>"`},
		{`{"addr":["192.0.2.1"],"serves":["map:office/EU"]}`, `serves[0]: "EU" is not a tag: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{`{"addr":["192.0.2.1"],"serves":["cidr:2001:db8::/32","any","cidr:2001:DB8::/32"]}`, `serves[2]: "cidr:2001:DB8::/32" is there twice`},
		{`{"cname":"x.example.org"}`, `cname: "x.example.org" does not end in a dot, expected "x.example.org.": a pool is of no zone that it could be relative to`},
		{`{"cname":"."}`, `cname: "." is no name, expected one such as "x.example.org."`},
		{`{"cname":"x..example.org."}`, `cname: "x..example.org." is no name, expected one such as "x.example.org."`},
		{`{"cname":"` + strings.Repeat("x", 64) + `.example.org."}`, `cname: "` + strings.Repeat("x", 64) + `.example.org." is no name, expected one such as "x.example.org."`},
		{`{"cname":""}`, `addr: expected 1 to 16 addresses, found 0`},
		{`{"addr":["192.0.2.1"],"cname":"x.example.org."}`, `cname: a member has either "addr" or "cname"`},
		{`{"addr":[],"cname":"x.example.org."}`, `cname: a member has either "addr" or "cname"`},
		{`{"addr":["192.0.2.1"],"pool":"eu"}`, `pool: a member has either "addr" or "pool"`},
		{`{"cname":"x.example.org.","pool":"eu"}`, `pool: a member has either "cname" or "pool"`},
		{`{"pool":"eu","check_addr":"192.0.2.1"}`, `check_addr: a member that is a pool is as its own members are: it is not checked itself`},
		{`{"pool":"eu","port":443}`, `port: a member that is a pool has the ports of its members`},
		{`{"addr":["192.0.2.1"],"bias":100}`, `bias: 100 is out of range, expected -99 to 99`},
		{`{"addr":["192.0.2.1"],"bias":-100}`, `bias: -100 is out of range, expected -99 to 99`},
		{`{"addr":["192.0.2.1"],"bias":0.5}`, `unmarshal JSON number 0.5 into Go int`},
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
	f.Add(`{"policy":"sticky","min_up":"50%"}`, uint64(7))
	f.Add(`{"steps":["up",{"nearest":{"by":"rtt","within":"10ms"}},{"shed":{"low":"50%","high":"100%"}},{"weighted":{"by":"client"}},{"take":{"n":3}}]}`, uint64(8))
	f.Add(`{"steps":[{"geo":{"strict":true},"when":{"cidr":["10.0.0.0/8"],"qtype":["A"]}},{"tier":{"failback":"manual"}}],"min_up":2}`, uint64(9))
	f.Fuzz(func(t *testing.T, value string, random uint64) {
		s, err := decodeSpec(value)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		choose := rand.New(rand.NewPCG(random, 0)).IntN
		scene := randomScene(choose)
		var list []Fallback
		for _, word := range s.OnEmpty {
			fallback, _ := ParseFallback(word)
			list = append(list, fallback) // every pool is pool 0: itself
		}
		p := New("p0", s, scene.Pools[0].Members, Surroundings{OnEmpty: list, Maps: scene.compiled, Sites: scene.sites, Pools: scene.Pools})
		scene.Pools[0], scene.specs[0] = p, s
		scene.measure(p, choose)
		checkSelect(t, scene, randomClient(choose), random, new(Scratch))
	})
}
