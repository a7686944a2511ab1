package zones

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
)

// bigSnapshot is a registry of n static names in zones of a thousand each, and one steered name
// "steered" in each zone, by a pool of three.
func bigSnapshot(t testing.TB, n int) *Snapshot {
	e := New().Edit()
	members := make([]policy.Member, 3)
	for i := range members {
		o := scene(t, fmt.Sprintf("pool web\n  a 192.0.2.%d+", i)).Pools[0].Members[0]
		members[i] = policy.Member{Name: fmt.Sprint("m", i), Addrs: o.Addrs, Weight: 1, Tier: 1}
	}
	pool := policy.New("web", policy.Spec{}, members, policy.Surroundings{})
	for i := range members {
		pool.SetHealth(i, 0, health.Up, "")
	}
	e.SetPool(0, pool)
	for i := range n {
		zone := fmt.Sprintf("zone%04d.example", i/1000)
		if i%1000 == 0 {
			putSOA(t, e, zone, "")
			e.Put(mustOwner(t, zone, "steered"), SteeredPart(0, 30, SteeredTypes, 1))
		}
		e.Put(mustOwner(t, zone, fmt.Sprintf("host%04d", i%1000)), StaticPart(dns.TypeA, 300, [][]byte{{10, byte(i >> 16), byte(i >> 8), byte(i)}}, 1))
	}
	return e.Commit(1)
}

func BenchmarkName(b *testing.B) {
	for _, text := range []string{"example.com", "www.example.com", "host0042.zone0007.example", "a-long-label-of-some-length.another-label.department.example.com"} {
		wire := mustName(b, text).Wire()
		b.Run(fmt.Sprint(len(wire)), func(b *testing.B) {
			var n Name
			for b.Loop() {
				n.Read(wire)
			}
		})
	}
}

func BenchmarkFind(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		s := bigSnapshot(b, size)
		names := make([]*Name, 1024)
		random := rand.New(rand.NewPCG(1, 2))
		for i := range names {
			h := random.IntN(size)
			names[i] = mustName(b, fmt.Sprintf("host%04d.zone%04d.example", h%1000, h/1000))
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				n := names[i%len(names)]
				if s.names.find(n.hash[0], n.Wire(), 2) == nil {
					b.Fatal(n)
				}
			}
		})
	}
}

// BenchmarkResolve reads each question's name from wire form, as a server does.
func BenchmarkResolve(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		s := bigSnapshot(b, size)
		for _, kind := range []struct {
			name, owner string
			want        Outcome
		}{
			{"static", "hostNNNN.zoneZZZZ.example", Found},
			{"steered", "steered.zoneZZZZ.example", Found},
			{"nodata", "zoneZZZZ.example", NoData},
			{"nxdomain", "nothereNNNN.zoneZZZZ.example", NXDomain},
			{"refused", "hostNNNN.zoneZZZZ.example.net", Refused},
		} {
			questions := make([][]byte, 1024)
			random := rand.New(rand.NewPCG(1, 2))
			for i := range questions {
				h := random.IntN(size)
				numbers := strings.NewReplacer("NNNN", fmt.Sprintf("%04d", h%1000), "ZZZZ", fmt.Sprintf("%04d", h/1000))
				questions[i] = mustName(b, numbers.Replace(kind.owner)).Wire()
			}
			b.Run(fmt.Sprintf("%s/%d", kind.name, size), func(b *testing.B) {
				b.ReportAllocs()
				var a Answer
				q := Query{Type: dns.TypeA}
				i := 0
				for b.Loop() {
					i++
					q.Name.Read(questions[i%len(questions)])
					q.Random = random.Uint64()
					Resolve(s, &q, &a, nil)
					if a.Outcome != kind.want {
						b.Fatal(a.Outcome, &q.Name)
					}
				}
			})
		}
	}
}

// BenchmarkCommit is the change of one record: put, the zone's serial, a snapshot. In a registry of
// a million names it should cost what it costs in a small one, but for its fuller shards.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1_000, 100_000, 1_000_000} {
		if size > 100_000 && testing.Short() {
			continue
		}
		before := heap()
		s := bigSnapshot(b, size)
		bytesPerName := float64(heap()-before) / float64(s.Names)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := mustOwner(b, "zone0000.example", fmt.Sprintf("host%04d", i%1000))
				e := s.Edit()
				e.Put(o, StaticPart(dns.TypeA, 300, [][]byte{{192, 0, 2, byte(i)}}, int64(i)))
				e.Touch(o, int64(i))
				s = e.Commit(int64(i))
			}
			b.ReportMetric(bytesPerName, "B/name")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkParse is what reading one key of the registry costs, and its value.
func BenchmarkParse(b *testing.B) {
	b.Run("owner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseOwner("zone0000.example", "host0042"); err != nil {
				b.Fatal(err)
			}
		}
	})
	o := mustOwner(b, "zone0000.example", "host0042")
	b.Run("rrset", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseRRset(o, dns.TypeA, "192.0.2.1", 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
