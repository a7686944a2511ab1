package geo

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAgreement(t *testing.T) {
	tests := []struct {
		parts []string // added in order, as a, b, c, …
		want  string   // the conflict of the last
	}{
		{[]string{"10.0.0.0/8=a", "10.0.0.0/9=b 192.0.2.0/24=c"}, "none"},
		{[]string{"10.0.0.0/8=a AS1=a DE=a *=a", "10.0.0.0/8=a AS1=a DE=a *=a"}, "none"},
		{[]string{"10.0.0.0/8=a", "10.0.0.0/8=b"}, "net.10.0.0.0/8: b here, a in a"},
		{[]string{"10.0.0.0/8=a 9.0.0.0/8=x", "10.0.0.0/8=b 9.0.0.0/8=y 2001:db8::/32=z"}, "net.9.0.0.0/8: y here, x in a"},
		{[]string{"10.0.0.0/8=a 9.0.0.0/8=x 2001:db8::/32=z", "10.0.0.0/8=b"}, "net.10.0.0.0/8: b here, a in a"},
		{[]string{"AS9=a AS10=a", "AS10=b AS9=b"}, "asn[9]: b here, a in a"},
		{[]string{"DE=a US=a", "US=b DE=b"}, "country.DE: b here, a in a"},
		{[]string{"*=a", "*=b"}, "default: b here, a in a"},
		{[]string{"*=a", "DE=a", "*=b"}, "default: b here, a in a"},
		{[]string{"10.0.0.0/8=a AS1=a DE=a *=a", "10.0.0.0/8=b AS1=b DE=b *=b"}, "net.10.0.0.0/8: b here, a in a"},
		{[]string{"AS1=a DE=a *=a", "AS1=b DE=b *=b"}, "asn[1]: b here, a in a"},
		{[]string{"DE=a *=a", "DE=b *=b"}, "country.DE: b here, a in a"},
		{[]string{"DE=a", "US=a", "DE=b US=b"}, "country.DE: b here, a in a"},
		{[]string{"DE=a", "DE=a", "DE=b"}, "country.DE: b here, a in a"}, // the one that was there first
	}
	for _, test := range tests {
		var parts []Part
		var mentions []*Part
		for _, text := range test.parts {
			parts = append(parts, part(text))
		}
		for i := range parts {
			mentions = append(mentions, &parts[i])
		}
		last := len(parts) - 1
		// All are mentioned, or the last alone, since the others agree.
		for _, mentions := range [][]*Part{mentions, mentions[last:]} {
			agreement := NewAgreement(mentions...)
			var conflict *Conflict
			for i := range parts {
				conflict = agreement.Add(string(rune('a'+i)), &parts[i])
			}
			if got := conflictText(conflict); got != test.want {
				t.Errorf("%q: %s, expected %s", test.parts, got, test.want)
			}
		}
	}
}

// TestRefusedAddsNothing: neither what comes before the conflict nor what comes after.
func TestRefusedAddsNothing(t *testing.T) {
	first, refused, next := part("AS1=a"), part("10.0.0.0/8=b AS1=b DE=b *=b"), part("10.0.0.0/8=c DE=c *=c")
	agreement := NewAgreement(&first, &refused, &next)
	want := []string{"none", "asn[1]: b here, a in first", "none"}
	for i, got := range []*Conflict{agreement.Add("first", &first), agreement.Add("refused", &refused), agreement.Add("next", &next)} {
		if conflictText(got) != want[i] {
			t.Errorf("%s, expected %s", conflictText(got), want[i])
		}
	}
}

func conflictText(c *Conflict) string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s: %s here, %s in %s", c.Field, c.Here, c.There, c.With)
}

// TestRandomAgreements compares with looking through all parts, whatever is mentioned that must be.
func TestRandomAgreements(t *testing.T) {
	random := rand.New(rand.NewPCG(20261123, 8))
	for range 2000 {
		var taken []Part
		var standing []*Part // agree with each other
		parts := make([]Part, 1+random.IntN(6))
		var mentions []*Part
		for i := range parts {
			parts[i] = randomPart(random)
			agrees := true
			for _, other := range standing {
				agrees = agrees && conflicting(&parts[i], other) == 0
			}
			if agrees && random.IntN(2) == 0 {
				standing = append(standing, &parts[i])
			} else {
				mentions = append(mentions, &parts[i])
			}
		}
		agreement := NewAgreement(mentions...)
		for i := range parts {
			want := false
			for _, other := range taken {
				want = want || conflicting(&parts[i], &other) > 0
			}
			if conflict := agreement.Add(fmt.Sprint(i), &parts[i]); (conflict != nil) != want {
				t.Fatalf("%+v beside %+v: %s, expected a conflict: %v", parts[i], taken, conflictText(conflict), want)
			}
			if !want {
				taken = append(taken, parts[i])
			}
		}
	}
}

// conflicting counts what two parts give different tags.
func conflicting(p, q *Part) (n int) {
	n = differing(p.Net, q.Net) + differing(p.ASN, q.ASN) + differing(p.Country, q.Country)
	if p.Default != "" && q.Default != "" && p.Default != q.Default {
		n++
	}
	return n
}

func differing[K comparable](x, y map[K]string) (n int) {
	for key, tag := range x {
		if other, both := y[key]; both && other != tag {
			n++
		}
	}
	return n
}

// randomPart says little, of few things.
func randomPart(random *rand.Rand) (p Part) {
	tag := func() string { return []string{"a", "b", "c"}[random.IntN(3)] }
	for range random.IntN(8) {
		put(&p.Net, randomEntry(random).Prefix.Masked(), tag())
	}
	if random.IntN(3) == 0 {
		put(&p.Net, netip.MustParsePrefix("0.0.0.0/0"), tag())
	}
	for range random.IntN(3) * random.IntN(2) {
		put(&p.ASN, 1+random.Uint32N(4), tag())
	}
	for range random.IntN(3) * random.IntN(2) {
		put(&p.Country, []string{"DE", "US", "FR", "JP"}[random.IntN(4)], tag())
	}
	if random.IntN(3) == 0 {
		p.Default = tag()
	}
	return p
}
