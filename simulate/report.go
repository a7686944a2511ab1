package simulate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"meridian/policy"
	"meridian/zones"
)

// Report says who is given to the clients. Shares are of all weight, 0 to 1.
type Report struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Clients int      `json:"clients"`
	Weight  float64  `json:"weight"` // of all of them
	Draws   int      `json:"draws"`
	Seed    uint64   `json:"seed,string"`
	Now     *Result  `json:"now"`
	Against *Result  `json:"against,omitzero"`
	Moved   *Movings `json:"moved,omitzero"` // from now to against
}

// Result is what one registry answers.
type Result struct {
	Revision int64     `json:"revision"`
	Outcomes []Count   `json:"outcomes"`          // that there are, the most frequent first
	FailOpen float64   `json:"fail_open"`         // share of answers given although nobody was up
	Members  []Count   `json:"members"`           // those given, and who else could have been, the most frequent first
	Pools    []Count   `json:"pools"`             // that these are members of, likewise
	Sites    []Count   `json:"sites"`             // that these stand at, likewise; "" is none
	Distance *Distance `json:"distance,omitzero"` // where a database says where clients are
}

// Count is how much of the weight is somebody's.
type Count struct {
	Name   string   `json:"name"` // of members <pool>/<member>
	Site   string   `json:"site,omitzero"`
	Weight float64  `json:"weight"`
	Share  float64  `json:"share"`
	MeanKm *float64 `json:"mean_km,omitzero"` // from the clients, where that is known of any

	km, known float64
}

// Distance is that from clients to the members that they are given.
type Distance struct {
	MeanKm   *float64 `json:"mean_km,omitzero"` // absent where it is known of nobody, as is P95Km
	P95Km    *float64 `json:"p95_km,omitzero"`  // 95 % of the weight of which it is known lie within
	NoClient float64  `json:"no_client"`        // share given although nobody knows where the client is
	NoSite   float64  `json:"no_site"`          // share of which the client's place is known, but not the member's
}

// Movings are who is sent elsewhere.
type Movings struct {
	Weight  float64        `json:"weight"`
	Share   float64        `json:"share"`
	Ways    []Moving       `json:"ways"` // the most frequent first
	Clients []ClientMoving `json:"clients,omitzero"`
}

// Moving is what goes from a member, or an outcome without, to another.
type Moving struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Weight float64 `json:"weight"`
	Share  float64 `json:"share"`
}

// ClientMoving is one client's.
type ClientMoving struct {
	Client netip.Prefix `json:"client"`
	Moving              // Share is of the client's weight
}

func report(q *Question, x *index, w *worker) *Report {
	total := 0.0
	for i := range q.Clients {
		total += q.Clients[i].Weight
	}
	r := &Report{
		Name: dns.Fqdn(q.Name.String()), Type: dns.Type(q.Type).String(),
		Clients: len(q.Clients), Weight: round(total), Draws: w.draws, Seed: q.Seed,
		Now: w.tallies[0].result(x, total),
	}
	if len(w.tallies) == 1 {
		return r
	}
	r.Against = w.tallies[1].result(x, total)
	m := &Movings{Ways: make([]Moving, 0, len(w.moved))}
	for pair, weight := range w.moved {
		m.Weight += weight
		m.Ways = append(m.Ways, Moving{x.names[pair[0]], x.names[pair[1]], round(weight), round(weight / total)})
	}
	m.Weight, m.Share = round(m.Weight), round(m.Weight/total)
	slices.SortFunc(m.Ways, func(v, w Moving) int { return cmp.Or(cmp.Compare(w.Weight, v.Weight), v.compare(w)) })
	slices.SortFunc(w.clients, func(v, w clientMove) int {
		return cmp.Or(v.client-w.client, strings.Compare(x.names[v.from], x.names[w.from]), strings.Compare(x.names[v.to], x.names[w.to]))
	})
	for _, c := range w.clients {
		client := &q.Clients[c.client]
		m.Clients = append(m.Clients, ClientMoving{
			client.Net, Moving{x.names[c.from], x.names[c.to], round(c.weight), round(c.weight / client.Weight)},
		})
	}
	r.Moved = m
	return r
}

func (m Moving) compare(n Moving) int {
	return cmp.Or(strings.Compare(m.From, n.From), strings.Compare(m.To, n.To))
}

func (t *tally) result(x *index, total float64) *Result {
	r := &Result{Revision: t.Snapshot.Revision, FailOpen: round(t.failOpen / total)}
	outcomes := counts{}
	for o, weight := range t.outcomes {
		if weight > 0 {
			outcomes.add(zones.Outcome(o).String(), "", weight, 0, 0)
		}
	}
	members, pools, sites := counts{}, counts{}, counts{}
	for p := range t.within() {
		for i, s := range t.seats[p] {
			if p.Members[i].Pool != "" {
				continue
			}
			n, site := s.number, t.sites[s.number]
			members.add(x.names[n], site, t.members[n], t.km[n], t.known[n])
			pools.add(p.Name, "", t.members[n], t.km[n], t.known[n])
			sites.add(site, "", t.members[n], t.km[n], t.known[n])
		}
	}
	r.Outcomes, r.Members, r.Pools, r.Sites = outcomes.list(total), members.list(total), pools.list(total), sites.list(total)
	if t.Snapshot.Geo != nil {
		r.Distance = t.distances(total)
	}
	return r
}

// within are the pools that were asked, and those within them.
func (t *tally) within() map[*policy.Pool]bool {
	all := map[*policy.Pool]bool{}
	var add func(p *policy.Pool)
	add = func(p *policy.Pool) {
		if all[p] {
			return
		}
		all[p] = true
		for _, id := range p.Children() {
			add(t.Snapshot.Pools[id])
		}
	}
	for p := range t.asked {
		add(p)
	}
	return all
}

func (t *tally) distances(total float64) *Distance {
	d := &Distance{NoClient: round(t.noClient / total), NoSite: round(t.noSite / total)}
	km, known := 0.0, 0.0
	for i := range t.km {
		km, known = km+t.km[i], known+t.known[i]
	}
	if known > 0 {
		mean, p95 := roundKm(km/known), t.percentile(0.95)
		d.MeanKm, d.P95Km = &mean, &p95
	}
	return d
}

// counts are Counts on their way, by name.
type counts map[string]*Count

func (c counts) add(name, site string, weight, km, known float64) {
	one := c[name]
	if one == nil {
		one = &Count{Name: name, Site: site}
		c[name] = one
	}
	one.Weight += weight
	one.km += km
	one.known += known
}

func (c counts) list(total float64) []Count {
	list := make([]Count, 0, len(c))
	for _, one := range c {
		if one.known > 0 {
			mean := roundKm(one.km / one.known)
			one.MeanKm = &mean
		}
		one.Weight, one.Share = round(one.Weight), round(one.Weight/total)
		list = append(list, *one)
	}
	slices.SortFunc(list, func(v, w Count) int {
		return cmp.Or(cmp.Compare(w.Weight, v.Weight), strings.Compare(v.Name, w.Name))
	})
	return list
}

// round keeps nine digits: what comes after them depends on the order in which numbers were added.
func round(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 9, 64), 64)
	return v
}

func roundKm(v float64) float64 { return math.Round(v*10) / 10 }
