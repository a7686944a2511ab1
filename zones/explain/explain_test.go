package explain

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"meridian/health"
	"meridian/policy"
	"meridian/zones"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

// TestText holds what people read: each question's answer is testdata/<owner>-<type>.txt.
func TestText(t *testing.T) {
	for _, question := range []string{
		"www A", "api A", "app AAAA", "web A", "nope A", "dead A", "down A", "www.example.org. A", "www ANY", "near A 203.0.113.0/25",
		"world A",
	} {
		name, typ, _ := strings.Cut(question, " ")
		typ, subnet, _ := strings.Cut(typ, " ")
		full := strings.TrimSuffix(name, ".")
		if full == name {
			full += ".example.com"
		}
		q, err := Question{Name: full, Type: typ, Client: "203.0.113.9", Subnet: subnet, Random: "812"}.Query(0)
		if err != nil {
			t.Fatal(err)
		}
		e := Resolve(snapshot(t), q)
		e.Server, e.Site = "ns1", "fra"
		var b strings.Builder
		if err := e.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", strings.TrimSuffix(name, ".")+"-"+typ+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", question, got, want)
		}
	}
}

// TestCommand: the last line is a command that a shell takes, and that asks the same.
func TestCommand(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"www.example.com", "www.example.com."},
		{"*.wild.example.com", "'*.wild.example.com.'"},
		{`it's\032\(odd\).example.com`, `'it'\''s\032(odd).example.com.'`},
		{"-x.example.com", `'\045x.example.com.'`},
		{".", "."},
	} {
		q, err := Question{Name: tt.name, Client: "203.0.113.9", Subnet: "2001:db8::/56", Random: "7"}.Query(0)
		if err != nil {
			t.Fatal(err)
		}
		e := Resolve(snapshot(t), q)
		want := "meridian explain " + tt.want + " A --client 203.0.113.9 --subnet 2001:db8::/56 --random 7 --revision 12"
		if got := e.command(); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, want)
		}
		word := strings.ReplaceAll(strings.Trim(tt.want, "'"), `'\''`, "'") // as a shell reads it
		again, err := Question{Name: word, Client: "203.0.113.9"}.Query(0)
		if err != nil || again.Name.String() != q.Name.String() {
			t.Errorf("%s: %v, %v, expected %s", word, again, err, q.Name.String())
		}
	}
}

// TestReplay: what is asked again with the random number is answered the same, by the server's code
// too; and by a snapshot that has all health from the explanation.
func TestReplay(t *testing.T) {
	s := snapshot(t)
	given := map[string]bool{}
	for random := range uint64(1000) {
		for _, name := range []string{"app", "world", "us-east", "dead"} {
			asked := Question{Name: name + ".example.com", Client: "203.0.113.9", Subnet: "198.51.100.0/24", Random: fmt.Sprint(random)}
			q, err := asked.Query(99)
			if err != nil {
				t.Fatal(err)
			}
			var a zones.Answer
			zones.Resolve(s, q, &a, nil)
			answer := a.Text(q)

			e := Resolve(s, q)
			again, err := e.Question().Query(99)
			if err != nil {
				t.Fatal(err)
			}
			if got := records(Resolve(s, again)); !slices.Equal(got, answer) {
				t.Fatalf("%s, random %d: again %q, answered %q", name, random, got, answer)
			}
			if again.Random != random {
				t.Fatalf("random %d was asked for, %d again", random, again.Random)
			}
			if name == "us-east" {
				given[strings.Join(answer, " ")] = true
			}

			if random%100 != 0 {
				continue
			}
			var file strings.Builder
			if err := e.WriteJSON(&file); err != nil {
				t.Fatal(err)
			}
			read, err := Read(strings.NewReader(file.String()))
			if err != nil {
				t.Fatal(err)
			}
			other := snapshot(t)
			for _, p := range other.Pools {
				for i := range p.Members {
					p.SetWord(i, health.Word(0))
				}
			}
			read.SetHealth(other)
			replayed := Resolve(other, again)
			if !slices.Equal(records(replayed), answer) {
				t.Fatalf("%s, random %d: replayed %q, answered %q", name, random, records(replayed), answer)
			}
		}
	}
	if len(given) != 2 {
		t.Errorf("%d different answers, want 2 orders", len(given))
	}
}

func records(e *Explanation) (lines []string) {
	for _, r := range e.Records {
		lines = append(lines, r.Record)
	}
	return lines
}

// TestSetHealth: members get all of what was read of them, and no others are touched.
func TestSetHealth(t *testing.T) {
	s := snapshot(t)
	q, err := Question{Name: "us-east.example.com", Client: "203.0.113.9"}.Query(1)
	if err != nil {
		t.Fatal(err)
	}
	e := Resolve(s, q)
	words := func(s *zones.Snapshot) (list [][]health.Word) {
		for _, p := range s.Pools {
			var pool []health.Word
			for i := range p.Members {
				pool = append(pool, p.Health(i))
			}
			list = append(list, pool)
		}
		return list
	}
	other := snapshot(t)
	want := words(other)
	const east = policy.ID(5)
	for i := range other.Pools[east].Members {
		other.Pools[east].SetWord(i, 0)
		other.Pools[east].SetWithdrawn(i, "")
	}
	e.SetHealth(other)
	if got := words(other); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if out := Resolve(other, q).Trace.Steps[2].Decision.Runs[0].Members[2].Out; out != "drained by alice: CHG-123" {
		t.Errorf("withdrawn: %q", out)
	}
}

// TestBadQuestions: each says which field is wrong, and what was expected.
func TestBadQuestions(t *testing.T) {
	for _, tt := range []struct {
		q    Question
		want string
	}{
		{Question{}, "name: expected one such as www.example.com"},
		{Question{Name: "a", Client: ""}, `client: "" is not an address such as 192.0.2.1 or 2001:db8::1`},
		{Question{Name: "a", Type: "AAA"}, `type: "AAA" is not a type such as A, MX or TYPE123 (did you mean "AAAA"?)`},
		{Question{Name: "a", Client: "::1", Random: "0x7"}, `random: "0x7" is not a number from 0 to 18446744073709551615`},
		{Question{Name: "a", Client: "::1", Subnet: "192.0.2.1/24"}, "subnet: 192.0.2.1/24 has bits set beyond the prefix, expected 192.0.2.0/24"},
	} {
		if _, err := tt.q.Query(0); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}
