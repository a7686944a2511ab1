// Nothing in here is concurrent, and the race detector makes minutes of it.

//go:build !race

package mmdb

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"meridian/policy/geo"
)

// realFolder has what make geodb fetches.
const realFolder = "../../../geodb"

var realFiles = []string{"geo-whois-asn-country.mmdb", "geo-whois-asn-country-ipv4.mmdb", "geo-whois-asn-country-ipv6.mmdb"}

func realPath(t testing.TB, file string) string {
	t.Helper()
	path := filepath.Join(realFolder, file)
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is none: make geodb fetches it")
	}
	return path
}

// run is a run of networks of one country, or of none.
type run struct {
	first, last netip.Addr
	code        string
}

// readRuns reads a file from its first network to its last.
func readRuns(t testing.TB, path string) (runs []run) {
	t.Helper()
	r, err := maxminddb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	extend := func(first, last netip.Addr, code string) {
		if n := len(runs); n > 0 && runs[n-1].code == code && runs[n-1].last.BitLen() == first.BitLen() {
			runs[n-1].last = last
			return
		}
		runs = append(runs, run{first, last, code})
	}
	families := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	next := families[0].Addr()
	end := func() { // of a family
		if next.IsValid() {
			family := families[0]
			if next.Is6() {
				family = families[1]
			}
			extend(next, lastOf(family), "")
		}
	}
	for result := range r.Networks() {
		p := result.Prefix()
		if p.Addr().Is6() && (!next.IsValid() || next.Is4()) {
			end()
			next = families[1].Addr()
		}
		if next != p.Addr() {
			extend(next, p.Addr().Prev(), "")
		}
		var code string
		if err := result.DecodePath(&code, "country_code"); err != nil {
			t.Fatal(err)
		}
		if _, err := geo.ParseCountry(code); err != nil {
			code = ""
		}
		extend(p.Addr(), lastOf(p), code)
		next = lastOf(p).Next()
	}
	end()
	return runs
}

// TestRealDatabase: every network of a real file is in the country that a reading from first to last gives, its
// first, last and a middle address with the length that follows from where its run ends.
func TestRealDatabase(t *testing.T) {
	for _, file := range realFiles {
		t.Run(file, func(t *testing.T) {
			path := realPath(t, file)
			begin := time.Now()
			d, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			runs := readRuns(t, path)
			known := 0
			for _, r := range runs {
				if r.code != "" {
					known++
				}
				for _, a := range []netip.Addr{r.first, between(r.first, r.last), r.last} {
					c, in, length := d.Country(a)
					if c.String() != r.code || in != c.Continent() {
						t.Fatalf("%v is in %q, %v, expected %q", a, c, in, r.code)
					}
					if want := r.length(a); length != want {
						t.Fatalf("%v: length %d, expected %d, of %v to %v", a, length, want, r.first, r.last)
					}
					p, exact, n := d.Location(a)
					if m, _ := c.Middle(); p != m || exact || n != length {
						t.Fatalf("%v is at %v, %v, length %d", a, p, exact, n)
					}
				}
			}
			i := 0
			for first, last := range d.Networks() {
				for runs[i].code == "" {
					i++
				}
				if first != runs[i].first || last != runs[i].last {
					t.Fatalf("%v to %v, expected %v to %v", first, last, runs[i].first, runs[i].last)
				}
				i++
			}
			f := d.Files()[0]
			t.Logf("%d networks of %v, %d runs, %d known; opened in %v, %d bytes of %d", f.Networks, f.Built, len(runs), known, took, d.Bytes(), f.Size)
		})
	}
}

// length is that of the shortest prefix around a that lies within r.
func (r run) length(a netip.Addr) uint8 {
	for length := 0; ; length++ {
		p, _ := a.Prefix(length)
		if !p.Addr().Less(r.first) && !r.last.Less(lastOf(p)) {
			return uint8(length)
		}
	}
}

// between is the first address that has one bit more in common with last than with first, or first.
func between(first, last netip.Addr) netip.Addr {
	x, y := first.AsSlice(), last.AsSlice()
	differ := false
	for i := range x {
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			if differ {
				y[i] &^= bit
			} else if x[i]&bit != y[i]&bit {
				differ = true
			}
		}
	}
	a, _ := netip.AddrFromSlice(y)
	return a
}

func BenchmarkOpen(b *testing.B) {
	path := realPath(b, realFiles[0])
	for b.Loop() {
		if _, err := Open(path); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDatabase asks for addresses all over the real file.
func BenchmarkDatabase(b *testing.B) {
	d, err := Open(realPath(b, realFiles[0]))
	if err != nil {
		b.Fatal(err)
	}
	var asked [2][]netip.Addr
	for first := range d.Networks() {
		family := first.BitLen() / 128
		asked[family] = append(asked[family], first)
	}
	random := rand.New(rand.NewPCG(7, 0))
	for family, name := range []string{"IPv4", "IPv6"} {
		a := asked[family]
		random.Shuffle(len(a), func(i, j int) { a[i], a[j] = a[j], a[i] })
		a = a[:1<<16]
		b.Run("Country/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				d.Country(a[i%len(a)])
			}
		})
		b.Run("Location/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				d.Location(a[i%len(a)])
			}
		})
	}
}
