package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"unsafe"
)

func TestAppendRData(t *testing.T) {
	const one, two, three, six, eight = "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::6", "2001:db8::8"
	tests := []struct {
		name    string
		members [][]netip.Addr
		picks   []Pick
		family  Family
		want    string
	}{
		{"nobody", [][]netip.Addr{addrs(one)}, nil, IPv4, ""},
		{"in the order of the picks", [][]netip.Addr{addrs(one), addrs(two), addrs(three)},
			[]Pick{newPick(2, 1, 0), newPick(0, 1, 0)}, IPv4, "[192.0.2.3 192.0.2.1]"},
		{"all of a member's", [][]netip.Addr{addrs(three), addrs(one + " " + six + " " + two + " " + eight)},
			[]Pick{newPick(1, 0b101, 0)}, IPv4, "[192.0.2.1 192.0.2.2]"},
		{"all of a member's, IPv6", [][]netip.Addr{addrs(three + " ::3"), addrs(one + " " + six + " " + two + " " + eight)},
			[]Pick{newPick(1, 0b1010, 0)}, IPv6, "[2001:db8::6 2001:db8::8]"},
		{"some of a member's", [][]netip.Addr{addrs(three), addrs(six + " " + one + " " + two)},
			[]Pick{newPick(1, 0b100, 0)}, IPv4, "[192.0.2.2]"},
		{"some of a member's, IPv6", [][]netip.Addr{addrs("::3"), addrs(six + " " + one + " " + eight)},
			[]Pick{newPick(1, 0b100, 0)}, IPv6, "[2001:db8::8]"},
		// RFC 2181 §5: a set has each RR once.
		{"an address that two share", [][]netip.Addr{addrs(one + " " + six), addrs(two + " " + one + " " + six)},
			[]Pick{newPick(1, 0b11, 0), newPick(0, 1, 0)}, IPv4, "[192.0.2.2 192.0.2.1]"},
		{"an address that two share, IPv6", [][]netip.Addr{addrs(one + " " + six), addrs(two + " " + one + " " + six)},
			[]Pick{newPick(0, 0b10, 0), newPick(1, 0b100, 0)}, IPv6, "[2001:db8::6]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var members []Member
			for i, list := range test.members {
				members = append(members, Member{Name: fmt.Sprint("m", i), Addrs: list})
			}
			d := Decision{Outcome: Chosen, Pool: New("web", Spec{}, members, Surroundings{}), Picks: test.picks}
			const before = "what is there"
			b, count := d.AppendRData([]byte(before), test.family)
			if string(b[:len(before)]) != before {
				t.Errorf("%q is gone", before)
			}
			want := test.want
			if want == "" {
				want = "[]"
			}
			if got := rdataAddrs(t, b[len(before):], test.family); fmt.Sprint(got) != want || count != len(got) {
				t.Errorf("gives %d: %v, want %s", count, got, want)
			}
		})
	}
}

// rdataAddrs reads what AppendRData appends.
func rdataAddrs(t *testing.T, b []byte, f Family) (list []netip.Addr) {
	t.Helper()
	size := 4 << (2 * f)
	for len(b) > 0 {
		if len(b) < 2+size || b[0] != 0 || int(b[1]) != size {
			t.Fatalf("%v: % x is no address of %v", list, b, f)
		}
		a, _ := netip.AddrFromSlice(b[2 : 2+size])
		list, b = append(list, a), b[2+size:]
	}
	return list
}

// A pool of few members begins with a cache line and takes no more of them than it needs.
func TestSmallPoolSize(t *testing.T) {
	if n := unsafe.Sizeof(smallPool{}); n <= 352 || n > 384 {
		t.Errorf("it takes %d bytes, want 353 to 384: of these the allocator makes six cache lines", n)
	}
	if n := unsafe.Sizeof(seat{}); n != 24 {
		t.Errorf("a seat takes %d bytes, want 24", n)
	}
}

// The addresses of all pools, each once.
func TestNestedAppendRData(t *testing.T) {
	w := &World{Pools: make([]*Pool, 3)}
	pool := func(id ID, members ...Member) {
		w.Pools[id] = New(fmt.Sprint("p", id), Spec{Steps: []Step{{Op: OpUp}}}, members, Surroundings{Pools: w.Pools})
	}
	pool(2, Member{Name: "x", Addrs: addrs("192.0.2.3 2001:db8::3 192.0.2.1")})
	pool(1, Member{Name: "y", Addrs: addrs("192.0.2.1")}, Member{Name: "z", Addrs: addrs("192.0.2.2 2001:db8::2")})
	pool(0, Member{Name: "a", Pool: "p2", Child: 2}, Member{Name: "b", Addrs: addrs("192.0.2.4")}, Member{Name: "c", Pool: "p1", Child: 1})
	for f, want := range map[Family]string{IPv4: "[192.0.2.3 192.0.2.1 192.0.2.4 192.0.2.2]", IPv6: "[2001:db8::3 2001:db8::2]"} {
		var d Decision
		Select(&d, w.Pools[0], w, &Client{Family: f}, 1, new(Scratch), nil)
		b, count := d.AppendRData(nil, f)
		if got := rdataAddrs(t, b, f); fmt.Sprint(got) != want || count != len(got) {
			t.Errorf("%v gives %d: %v, want %s", f, count, got, want)
		}
	}
}
