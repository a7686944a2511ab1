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
	"meridian/zones"
)

// manyNames has n names in one zone, each of its own pool of three if steered, else with three addresses.
func manyNames(n int, steered bool) *atomic.Pointer[zones.Snapshot] {
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
		if !steered {
			e.Put(o, must(zones.ParseRRset(o, dns.TypeA, fmt.Sprintf("10.1.%d.%d\n10.2.%[1]d.%[2]d\n10.3.%[1]d.%[2]d", i>>8&255, i&255), 1)))
			continue
		}
		members := make([]policy.Member, 3)
		for m := range members {
			members[m] = policy.Member{Name: fmt.Sprint("m", m), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(m), byte(i >> 8), byte(i)})}, Weight: uint16(5 - m), Tier: 1}
		}
		e.SetPool(policy.ID(i), policy.New(fmt.Sprint("p", i), policy.Spec{}, []policy.Fallback{{}}, members, nil))
		e.Put(o, zones.SteeredPart(policy.ID(i), 30, zones.SteeredTypes, 1))
	}
	view := new(atomic.Pointer[zones.Snapshot])
	view.Store(e.Commit(1))
	return view
}

// BenchmarkBatch answers queries for random names as a socket does, batch by batch, but without a
// socket. The time is that of one query.
func BenchmarkBatch(b *testing.B) {
	for _, steered := range []bool{false, true} {
		for _, n := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", map[bool]string{false: "static", true: "steered"}[steered], n), func(b *testing.B) {
				u := &udpSocket{worker: newWorker(manyNames(n, steered), testSelf, new(counters), false)}
				queries := make([][]byte, 1<<14)
				for i := range queries {
					queries[i] = plain(fmt.Sprintf("h%d.example.com", rand.IntN(n)))
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
