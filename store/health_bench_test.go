package store

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
)

// manyPools is a registry of pools with so many members each, all with that policy.
func manyPools(pools, members int, policy string) (*Registry, *time.Time) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keys := map[string]string{"check/http": `{"http":{},"interval":"10s"}`}
	for i := range pools {
		keys[fmt.Sprintf("pool/p%d/policy", i)] = policy
		for j := range members {
			keys[fmt.Sprintf("pool/p%d/member/m%d", i, j)] = poolsAddr(i*members + j).String()
		}
	}
	return reporting(keys, &now), &now
}

func poolsAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// allSee has the own checker see all of them in a state.
func allSee(r *Registry, s health.State) {
	for id := range r.targets.byID {
		r.targets.report(health.Report{TargetID: id, State: s})
	}
	r.Believe()
}

// BenchmarkReturn: each second of 100,000 members, in pools of 10, that do not come back, and that climb.
func BenchmarkReturn(b *testing.B) {
	for _, climb := range []bool{false, true} {
		b.Run(fmt.Sprintf("climb=%v", climb), func(b *testing.B) {
			r, now := manyPools(10_000, 10, `{"check":"http","recover":"1s","ramp":"24h"}`)
			allSee(r, health.Up)
			if climb {
				allSee(r, health.Down)
				*now = now.Add(time.Hour)
				r.Believe()
				*now = now.Add(time.Hour)
				r.Believe()
				allSee(r, health.Up)
				*now = now.Add(time.Minute)
				r.Return()
			}
			b.ReportAllocs()
			for b.Loop() {
				*now = now.Add(time.Second)
				r.Return()
			}
		})
	}
}

// BenchmarkReport: a checker reports a pool of 1,000 members all in another state, of which three other pools are made.
func BenchmarkReport(b *testing.B) {
	r, _ := manyPools(1, 1000, `{"check":"http"}`)
	u := ofCluster(2)
	for i := range 3 {
		u.Entries = append(u.Entries, Entry{Key: "pool/top" + strconv.Itoa(i) + "/member/p", Value: []byte(`{"pool":"p0"}`), Revision: 2})
	}
	r.Apply(u)
	allSee(r, health.Up)
	texts := [2]string{}
	for i, state := range []string{"up", "down"} {
		s := reportSpec{}
		for j, m := range r.pools["p0"].compiled.Members {
			s[m.Name] = map[netip.Addr]seen{m.Addrs[0]: {State: state, Since: r.now().Add(time.Duration(j) * time.Second)}}
		}
		text, _ := json.Marshal(s)
		texts[i] = string(text)
	}
	r.TakeLive(liveKeys(2, "checker/a", `{"site":"ams"}`, "checker/b", `{"site":"bos"}`, "report/b/p0", texts[0]))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.TakeLive(liveKeys(3, "report/a/p0", texts[i%2]))
		r.Believe()
		r.Relatch()
	}
}

// BenchmarkReportsRead: five checkers' reports of 10,000 pools of 10 members are read anew, as they were.
func BenchmarkReportsRead(b *testing.B) {
	r, _ := manyPools(10_000, 10, `{"check":"http"}`)
	u := Update{Full: true, Below: "report/", Revision: 3}
	for c := range 5 {
		checker := fmt.Sprintf("c%d", c)
		r.TakeLive(liveKeys(2, "checker/"+checker, fmt.Sprintf(`{"site":"s%d"}`, c)))
		for name, p := range r.pools {
			s := reportSpec{}
			for _, m := range p.compiled.Members {
				s[m.Name] = map[netip.Addr]seen{m.Addrs[0]: {State: "up", Since: r.now()}}
			}
			text, _ := json.Marshal(s)
			u.Entries = append(u.Entries, Entry{Key: "report/" + checker + "/" + name, Value: text, Revision: 2})
		}
	}
	r.TakeLive(u)
	b.ReportAllocs()
	for b.Loop() {
		r.TakeLive(u)
		r.Believe()
	}
}
