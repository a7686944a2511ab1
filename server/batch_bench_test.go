package server

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"meridian/policy"
	"meridian/policy/geo"
	"meridian/zones"
)

// manyNames has n names in one zone, each with three addresses, or of its own pool of three: weighted
// or geo.
func manyNames(n int, kind string) *atomic.Pointer[zones.Snapshot] {
	sites := geo.NewMap("sites", map[string]geo.Part{"nets": {Net: map[netip.Prefix]string{}}})
	spec := policy.Spec{Policy: kind}
	if kind == "geo" {
		nets := map[netip.Prefix]string{}
		for i := 1; i < 224; i++ {
			nets[netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i)}), 8)] = fmt.Sprint("dc", i%3)
		}
		sites = geo.NewMap("sites", map[string]geo.Part{"nets": {Net: nets}})
	}
	e := zones.New().Edit()
	apex := must(zones.ParseOwner("example.com", "@"))
	soa, ns, err := (&zones.SOA{NS: []string{"ns1.example.net."}}).Compile(apex, 1)
	if err != nil {
		panic(err)
	}
	e.Put(apex, soa)
	e.Put(apex, ns)
	for i := range n {
		o := must(zones.ParseOwner("example.com", fmt.Sprintf("h%d", i)))
		if kind == "static" {
			e.Put(o, must(zones.ParseRRset(o, dns.TypeA, fmt.Sprintf("10.1.%d.%d\n10.2.%[1]d.%[2]d\n10.3.%[1]d.%[2]d", i>>8&255, i&255), 1)))
			continue
		}
		members := make([]policy.Member, 3)
		for m := range members {
			members[m] = policy.Member{Name: fmt.Sprint("m", m), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(m), byte(i >> 8), byte(i)})}, Weight: uint16(5 - m), Tier: 1}
			if kind == "geo" {
				members[m].Serves = []policy.Term{must(policy.ParseTerm(fmt.Sprint("map:sites/dc", m)))}
			}
		}
		e.SetPool(policy.ID(i), policy.New(fmt.Sprint("p", i), spec, members, policy.Surroundings{OnEmpty: []policy.Fallback{{}}, Maps: map[string]*geo.Map{"sites": sites}}))
		e.Put(o, zones.SteeredPart(policy.ID(i), 30, zones.SteeredTypes, 1))
	}
	view := new(atomic.Pointer[zones.Snapshot])
	view.Store(e.Commit(1))
	return view
}

// BenchmarkBatch answers queries for random names as a socket does, batch by batch, but without a
// socket. The time is that of one query.
func BenchmarkBatch(b *testing.B) {
	for _, kind := range []string{"static", "weighted", "geo"} {
		for _, n := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				u := &udpSocket{worker: newWorker(manyNames(n, kind), testSelf, new(counters), false)}
				queries := make([][]byte, 1<<14)
				for i := range queries {
					name := fmt.Sprintf("h%d.example.com", rand.IntN(n))
					if queries[i] = plain(name); kind == "geo" {
						queries[i] = withOPT(name, opt(1232, subnet(1, 24, 0, byte(1+rand.IntN(223)), byte(rand.IntN(256)), byte(rand.IntN(256)))))
					}
				}
				batch := newBatch()
				for i := range batch.datagrams {
					*(*unix.RawSockaddrInet4)(unsafe.Pointer(&batch.datagrams[i].client)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(i % 6), Addr: [4]byte{127, 0, 0, 1}}
					batch.in[i].Hdr.SetControllen(0)
				}
				at := 0
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N / batchSize {
					for i := range batchSize {
						q := queries[at%len(queries)]
						at++
						copy(batch.datagrams[i].buf[:], q)
						batch.in[i].Len = uint32(len(q))
					}
					batch.queued, batch.packed, batch.replies, batch.sent = 0, 0, 0, 0
					u.answer(batch, batchSize)
					u.worker.settle()
					batch.pack()
				}
			})
		}
	}
}
