//go:build !race

package mmdb

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"meridian/policy"
	"meridian/policy/geo"
)

// countriesOf are the countries of a continent, as GeoNames has them.
var countriesOf = map[string]string{
	"AF": "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG " +
		"RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
	"AN": "AQ BV GS HM TF",
	"AS": "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK " +
		"PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
	"EU": "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL NO " +
		"PL PT RO RS RU SE SI SJ SK SM UA VA XK",
	"NA": "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US VC VG VI",
	"OC": "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
	"SA": "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
}

// served are the countries that have a member of their own.
const served = "AU BR CA CN DE EG FR GB IN IT JP KE MC NZ PE RU SG TR US ZA"

// servingPool has a member for each of served, for six continents and for everybody, named as whom it serves.
func servingPool(t *testing.T) *policy.Pool {
	t.Helper()
	var terms []string
	for code := range strings.FieldsSeq(served) {
		terms = append(terms, "country:"+code)
	}
	for code := range strings.FieldsSeq("AF AS EU NA OC SA") {
		terms = append(terms, "continent:"+code)
	}
	addr := netip.MustParseAddr("192.0.2.0")
	var members []policy.Member
	for _, text := range append(terms, "any") {
		term, err := policy.ParseTerm(text)
		if err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
		members = append(members, policy.Member{Name: text, Addrs: []netip.Addr{addr}, Weight: 1, Tier: 1, Serves: []policy.Term{term}})
	}
	return policy.New("www", policy.Spec{Policy: "geo"}, members, policy.Surroundings{})
}

// TestRealSteering: the pool gives the client at either end of every network of a real file, and of every gap between
// them, the member that the country which the file says there demands.
func TestRealSteering(t *testing.T) {
	for _, file := range realFiles {
		t.Run(file, func(t *testing.T) {
			path := realPath(t, file)
			d, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := maxminddb.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			w := newWitness(t, servingPool(t), d)
			next := netip.IPv4Unspecified()
			gap := func(to netip.Addr) { // up to, but not with, to; an address not valid: to the family's last
				if next.IsValid() && next != to {
					w.look(next, "")
					if to = to.Prev(); !to.IsValid() {
						to = lastOf(netip.PrefixFrom(next, 0))
					}
					w.look(to, "")
					w.gaps++
				}
			}
			for result := range r.Networks() {
				p := result.Prefix()
				if p.Addr().Is6() && !next.Is6() {
					gap(netip.Addr{})
					next = netip.IPv6Unspecified()
				}
				gap(p.Addr())
				var code string
				if err := result.DecodePath(&code, "country_code"); err != nil {
					t.Fatal(err)
				}
				w.look(p.Addr(), code)
				w.look(lastOf(p), code)
				w.networks++
				next = lastOf(p).Next()
			}
			gap(netip.Addr{})
			t.Logf("%d networks and %d gaps between them: %d answers, of %d members; %d addresses that count as IPv4 left out",
				w.networks, w.gaps, w.answers, len(w.given), w.folded)
			if len(w.given) != len(w.pool.Members) {
				t.Errorf("%d of %d members were given", len(w.given), len(w.pool.Members))
			}
		})
	}
}

// witness asks a pool, and knows by the tables above what it should say.
type witness struct {
	t       *testing.T
	pool    *policy.Pool
	world   policy.World
	scratch policy.Scratch
	wants   map[string]string // by country: the name of a member
	given   map[string]bool   // members

	networks, gaps, answers, folded int
}

func newWitness(t *testing.T, p *policy.Pool, d *geo.Database) *witness {
	w := &witness{t: t, pool: p, world: policy.World{Pools: []*policy.Pool{p}, Geo: d}, wants: map[string]string{}, given: map[string]bool{}}
	for continent, countries := range countriesOf {
		for code := range strings.FieldsSeq(countries) {
			w.wants[code] = "continent:" + continent
			if p.Member("country:"+code) >= 0 {
				w.wants[code] = "country:" + code
			} else if p.Member(w.wants[code]) < 0 {
				w.wants[code] = "any"
			}
		}
	}
	return w
}

// look asks for the address, as a resolver's own and as that of a client.
func (w *witness) look(a netip.Addr, code string) {
	if _, carried := geo.FoldedIn(netip.PrefixFrom(a, a.BitLen())); carried {
		w.folded++
		return
	}
	want, known := w.wants[code]
	if !known {
		want = "any"
	}
	c := policy.Client{Addr: a, Type: 1, Family: policy.IPv4}
	w.ask(&c, a, code, want)
	if a.IsPrivate() { // as a client's it says nothing: the resolver's counts, which no file knows
		want = "any"
	}
	c = policy.Client{Addr: netip.MustParseAddr("127.0.0.1"), Subnet: netip.PrefixFrom(a, a.BitLen()), Type: 1, Family: policy.IPv4}
	w.ask(&c, a, code, want)
}

func (w *witness) ask(c *policy.Client, a netip.Addr, code, want string) {
	var d policy.Decision
	policy.Select(&d, w.pool, &w.world, c, 1, &w.scratch, nil)
	w.answers++
	if len(d.Picks) != 1 || d.Member(d.Picks[0]).Name != want {
		w.t.Fatalf("%v of %q, as %v: %d members, %v, expected %s", a, code, c.Subnet, len(d.Picks), d.Picks, want)
	}
	w.given[want] = true
}
