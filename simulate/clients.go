package simulate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"meridian/policy/geo"
	"meridian/spec"
)

// Client is a network that asks, each time with one of its addresses, and how much it counts.
type Client struct {
	Net    netip.Prefix // masked; of one address: all of its bits
	Weight float64      // above 0
}

// MaxWeight is the most that one client of a list may count.
const MaxWeight = 1e15

// maxLine is how many bytes a line of a list may have.
const maxLine = 64 << 10

// ReadClients reads a list of clients: on each line a network or an address, and perhaps a weight (default 1).
// Empty lines, and what follows "#", say nothing. Errors are *spec.Error with the line.
func ReadClients(r io.Reader) ([]Client, error) {
	var clients []Client
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	line := 0
	for lines.Scan() {
		line++
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		c, err := parseClient(words)
		if err != nil {
			return nil, &spec.Error{Line: line, Msg: err.Error()}
		}
		clients = append(clients, c)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, &spec.Error{Line: line + 1, Msg: "it is longer than 64 KiB, expected a network or an address, and perhaps a weight"}
	} else if err != nil {
		return nil, err
	}
	if len(clients) == 0 {
		return nil, &spec.Error{Msg: "there is no client in it, expected a network or an address on each line, and perhaps a weight"}
	}
	return clients, nil
}

func parseClient(words []string) (c Client, err error) {
	if len(words) > 2 {
		return c, fmt.Errorf("%q follows the weight, expected the end of the line", words[2])
	}
	if c.Net, err = parseNet(words[0]); err != nil {
		return c, err
	}
	c.Weight = 1
	if len(words) == 2 {
		if c.Weight, err = strconv.ParseFloat(words[1], 64); err != nil || !(c.Weight > 0 && c.Weight <= MaxWeight) {
			return c, fmt.Errorf("%q is not a weight, expected a number above 0 and at most %g", words[1], MaxWeight)
		}
	}
	return c, nil
}

func parseNet(text string) (netip.Prefix, error) {
	fault := fmt.Errorf("%q is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1", text)
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fault
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fault
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits set beyond the prefix, expected %s", p, p.Masked())
	}
	return p, nil
}

// siteBits is the length of the prefix that a site of IPv6 has (RFC 6177 §2).
const siteBits = 48

// Networks are those of a database that are of one family: each weighs as many addresses as it has, of IPv6 as
// many /48.
func Networks(d *geo.Database, six bool) []Client {
	var clients []Client
	for first, last := range d.Networks() {
		if first.Is6() != six {
			continue
		}
		for p := range prefixes(first, last) {
			size := 32 - p.Bits()
			if six {
				size = siteBits - p.Bits()
			}
			clients = append(clients, Client{p, math.Ldexp(1, size)})
		}
	}
	return clients
}

// prefixes yields the fewest prefixes that make up the addresses from first to last, in order.
func prefixes(first, last netip.Addr) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		for {
			length := longest(first)
			for length < first.BitLen() && last.Less(lastOf(netip.PrefixFrom(first, length))) {
				length++
			}
			p := netip.PrefixFrom(first, length)
			if end := lastOf(p); !yield(p) || end == last {
				return
			}
			first = lastOf(p).Next()
		}
	}
}

// longest is the length of the largest network that begins at a.
func longest(a netip.Addr) int {
	if a.Is4() {
		b := a.As4()
		return 32 - bits.TrailingZeros32(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if low != 0 {
		return 128 - bits.TrailingZeros64(low)
	}
	return 64 - bits.TrailingZeros64(high)
}

func lastOf(p netip.Prefix) netip.Addr { return with(p, math.MaxUint64, math.MaxUint64) }

// address is one of p's by chance.
func address(p netip.Prefix, r *rand.PCG) netip.Addr {
	switch bits := p.Addr().BitLen() - p.Bits(); {
	case bits == 0:
		return p.Addr()
	case bits <= 64:
		return with(p, 0, r.Uint64())
	}
	return with(p, r.Uint64(), r.Uint64())
}

// with is p's address with its host bits from a number of 128 bits.
func with(p netip.Prefix, high, low uint64) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		host := uint32(low) & uint32(uint64(math.MaxUint32)>>p.Bits())
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	if n := p.Bits(); n < 64 {
		high &= math.MaxUint64 >> n
	} else {
		high, low = 0, low&(math.MaxUint64>>(n-64))
	}
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])|high)
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])|low)
	return netip.AddrFrom16(b)
}
