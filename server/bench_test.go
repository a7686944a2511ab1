package server

import (
	"net/netip"
	"testing"
)

// TestNoAllocation: nothing that a client can send makes the way from message to reply allocate.
func TestNoAllocation(t *testing.T) {
	client := netip.MustParseAddr("2001:db8::9")
	for _, stream := range []bool{false, true} {
		w := testWorker(stream)
		buf := make([]byte, maxTCP)
		for _, test := range wireTests {
			ask(w, test.msg) // memory that the worker keeps grows on first use
			if n := testing.AllocsPerRun(20, func() { w.reply(buf, copy(buf, test.msg), client) }); n != 0 {
				t.Errorf("%s: %v allocations", test.name, n)
			}
		}
	}
}

// benchQueries are what the benchmarks ask.
var benchQueries = []struct {
	name string
	msg  []byte
}{
	{"static", plain("www.example.com")},
	{"steered", plain("pool.example.com")},
	{"steered with subnet", withOPT("pool.example.com", opt(1232, subnet(1, 24, 0, 10, 2, 3)))},
	{"geo", withOPT("geo.example.com", opt(1232, subnet(1, 24, 0, 198, 51, 100)))},
	{"cname", plain("chain1.example.com")},
	{"nxdomain", plain("nothere.example.com")},
	{"truncated", plain("big.example.com")},
}

func BenchmarkParse(b *testing.B) {
	for _, q := range benchQueries[1:3] {
		b.Run(q.name, func(b *testing.B) {
			w := testWorker(false)
			for b.Loop() {
				w.own.read(q.msg)
			}
		})
	}
}

func BenchmarkReply(b *testing.B) {
	client := netip.MustParseAddr("203.0.113.9")
	for _, q := range benchQueries {
		b.Run(q.name, func(b *testing.B) {
			w := testWorker(false)
			buf := make([]byte, maxUDP)
			b.ReportAllocs()
			for b.Loop() {
				w.reply(buf, copy(buf, q.msg), client)
			}
		})
	}
}

// BenchmarkEncode writes the same answer again and again.
func BenchmarkEncode(b *testing.B) {
	for _, q := range benchQueries {
		b.Run(q.name, func(b *testing.B) {
			w := testWorker(false)
			buf := make([]byte, maxUDP)
			w.own.read(buf[:copy(buf, q.msg)])
			var r response
			w.ask(&w.own.query, &r)
			b.ReportAllocs()
			for b.Loop() {
				w.encode(buf, &r)
			}
		})
	}
}
