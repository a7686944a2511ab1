package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	simulated = "testdata/simulate/"
	cityFile  = "../../testdata/geo/city.mmdb"
)

// TestSimulate: each form of the output, of one registry and of two.
func TestSimulate(t *testing.T) {
	common := []string{"--manifest", simulated + "now.json", "--clients", simulated + "clients.txt", "--draws", "1000"}
	database := append([]string{"--geo-database", cityFile}, common...)
	against := append([]string{"--against", simulated + "then.json"}, database...)
	for _, test := range []struct {
		golden string
		args   []string
	}{
		{"table.txt", append([]string{"www.example.com"}, database...)},
		{"table.csv", append([]string{"www.example.com", "--output", "csv"}, database...)},
		{"table.json", append([]string{"www.example.com", "--output", "json"}, database...)},
		{"against.txt", append([]string{"WWW.example.com.", "a", "--moves"}, against...)},
		{"against.csv", append([]string{"www.example.com", "--moves", "-o", "csv"}, against...)},
		{"against.json", append([]string{"www.example.com", "-o", "json"}, against...)},
		{"seed.txt", append([]string{"www.example.com", "--seed", "2"}, database...)},
		{"unlocated.txt", append([]string{"www.example.com"}, common...)},
		{"fallback.txt", append([]string{"near.example.com"}, database...)},
		{"nested.txt", append([]string{"tree.example.com"}, database...)},
		{"networks.txt", []string{"www.example.com", "--manifest", simulated + "now.json", "--geo-database", cityFile, "--networks", "ipv4"}},
		{"nobody.txt", []string{"near.example.com", "--manifest", simulated + "now.json", "--against", simulated + "now.json", "--clients", simulated + "clients.txt"}},
	} {
		out, errOut, err := run(t, "", append([]string{"simulate"}, test.args...)...)
		if err != nil || errOut != "" {
			t.Errorf("%s: %v\n%s", test.golden, err, errOut)
			continue
		}
		golden(t, simulated+test.golden, out)
	}
}

// TestSimulateReadme: what README.md shows is so.
func TestSimulateReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "    $ meridian simulate www.example.com ")
	command, shown, _ := strings.Cut(after, "\n")
	paths := strings.NewReplacer("city.mmdb", cityFile, "clients.txt", simulated+"clients.txt", "now.json", simulated+"now.json", "then.json", simulated+"then.json")
	out, _, err := run(t, "", append([]string{"simulate", "www.example.com"}, strings.Fields(paths.Replace(command))...)...)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll("\n"+strings.TrimSpace(out), "\n", "\n    ")
	want = strings.ReplaceAll(want, "\n    \n", "\n\n")
	if !strings.HasPrefix("\n"+shown, want+"\n") {
		t.Errorf("README.md has\n%s\nexpected to begin with\n%s", shown, want)
	}
}

// TestSimulateErrors: one fault each.
func TestSimulateErrors(t *testing.T) {
	dir := t.TempDir()
	now, clients := simulated+"now.json", simulated+"clients.txt"
	bad := write(t, dir, "bad.json", "{\n  \"site/fra\": {\"lat\": 95, \"lon\": 8.7}\n}")
	empty := write(t, dir, "empty", "# none\n")
	broken := write(t, dir, "broken.mmdb", "broken")
	asn := filepath.Join(filepath.Dir(cityFile), "flat-ipv6.mmdb")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"www.example.com"}, "at least one of the flags in the group [clients networks] is required"},
		{[]string{"www.example.com", "--clients", clients, "--networks", "ipv4"},
			"if any flags in the group [clients networks] are set none of the others can be; [clients networks] were all set"},
		{[]string{"www..com", "--clients", clients}, `NAME: "www..com" has an empty label`},
		{[]string{"www.example.com", "AAAAA", "--clients", clients}, `TYPE: "AAAAA" is not a type (did you mean "AAAA"?)`},
		{[]string{"www.example.com", "--clients", clients, "-o", "jsn"}, `--output: "jsn" is not known, expected one of table, csv, json (did you mean "json"?)`},
		{[]string{"www.example.com", "--networks", "ip4"}, `--networks: "ip4" is not known, expected ipv4 or ipv6 (did you mean "ipv4"?)`},
		{[]string{"www.example.com", "--clients", clients, "--draws", "0"}, "--draws: 0 is out of range, expected 1 to 1000000000"},
		{[]string{"www.example.com", "--clients", clients, "--moves"}, "--moves: nobody moves without --against"},
		{[]string{"www.example.com", "--clients", clients, "--prune", "pool/"},
			"--prune: there is nothing to delete from without --against, or with --manifest"},
		{[]string{"www.example.com", "--clients", clients, "--against", now, "--prune", "pool"},
			`--prune: "pool" is not a prefix such as "pool/web/": no leading slash, a trailing one`},
		{[]string{"www.example.com", "--clients", "-", "--manifest", "-"},
			`--clients, --manifest, --against: one of them at most can be "-", standard input`},
		{[]string{"www.example.com", "--clients", dir + "/none"}, "--clients: open " + dir + "/none: no such file or directory"},
		{[]string{"www.example.com", "--clients", empty},
			empty + ": there is no client in it, expected a network or an address on each line, and perhaps a weight"},
		{[]string{"www.example.com", "--clients", "-", "--manifest", now},
			`standard input: line 2: "x" is not a client, expected a network such as 203.0.113.0/24 or an address such as 2001:db8::1`},
		{[]string{"www.example.com", "--networks", "ipv4"}, "--networks: there is no database, expected --geo-database FILE"},
		{[]string{"www.example.com", "--networks", "ipv4", "--geo-database", asn}, "--networks: the databases have no network of ipv4"},
		{[]string{"www.example.com", "--networks", "ipv4", "--geo-database", broken}, "geo database " + broken +
			": error opening database: invalid MaxMind DB file, expected an MMDB file"},
		{[]string{"www.example.com", "--clients", clients, "--manifest", bad}, bad + ":2: site/fra: lat: 95 is out of range, expected -90 to 90\nsaid already"},
		{[]string{"www.example.com", "--clients", clients, "--manifest", now, "--against", bad},
			bad + ":2: site/fra: lat: 95 is out of range, expected -90 to 90\nsaid already"},
		{[]string{"wwww.example.com", "--clients", clients, "--manifest", now}, "wwww.example.com A: no pool answers it, it is nxdomain for everybody"},
	} {
		out, errOut, err := run(t, "192.0.2.1\nx\n", append([]string{"simulate"}, test.args...)...)
		if err == nil || out != "" || errOut+err.Error() != test.want {
			t.Errorf("%q: printed %q\n got %s%v\nwant %s", test.args, out, errOut, err, test.want)
		}
	}
}

// TestSimulateRegistry: the running registry answers as its manifest does, and a change is seen as apply makes it.
func TestSimulateRegistry(t *testing.T) {
	in := startInstance(t, t.TempDir())
	endpoints := strings.Join(in.endpoints, ",")
	if out, errOut, err := run(t, "", "apply", simulated+"now.json", "--etcd-endpoints", endpoints); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errOut)
	}
	simulate := func(args ...string) string {
		t.Helper()
		out, errOut, err := run(t, "", append([]string{"simulate", "www.example.com", "--etcd-endpoints", endpoints, "--geo-database", cityFile,
			"--clients", simulated + "clients.txt", "--draws", "1000"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`revision \d+`).ReplaceAllString(errOut+out, "revision 1")
	}
	for file, args := range map[string][]string{
		"table.txt": nil, "against.txt": {"--against", simulated + "change.json", "--moves"},
	} {
		want, err := os.ReadFile(simulated + file)
		if err != nil {
			t.Fatal(err)
		}
		if got := simulate(args...); got != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
		}
	}
	got := simulate("--against", simulated+"change.json", "--prune", "pool/web/member/")
	if !regexp.MustCompile(`web/lax1 +\S+ % +0\.00 %`).MatchString(got) || !strings.Contains(got, "web/lax1  web/") {
		t.Errorf("pruned:\n%s", got)
	}

	in.put("pool/web/member/lax1", `{"adr":["192.0.2.20"]}`)
	if got, want := simulate(), "1 key not right, and counted as if never valid where a server may have a value from before: "+
		`the first is pool/web/member/lax1: adr: unknown field (did you mean "addr"?), expected `; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestProgress(t *testing.T) {
	p := &progress{of: 4_000_000, what: "draws"}
	if got, want := p.text(time.Second), "[--------------------]   0 %"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.add(1_000_000)
	if got, want := p.text(2*time.Second), "[#####---------------]  25 %, 500,000 draws/s, 6s left"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.add(3_000_000)
	if got, want := p.text(8*time.Second), "[####################] 100 %, 500,000 draws/s, 0s left"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var out bytes.Buffer
	p = newProgress(&out, 10, "draws")
	p.add(10)
	p.stop()
	if out.Len() > 0 {
		t.Errorf("drew on what is no terminal: %q", &out)
	}
}
