package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"meridian/store"
	"meridian/store/zonefile"
)

const exampleZone = `$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 30
@ NS ns1
ns1 A 192.0.2.53
www CNAME web
web A 192.0.2.1
0/25 PTR web
`

// run runs a command as a person would, and returns what it prints.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := rootCommand()
	c.SetArgs(args)
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&errOut)
	err = c.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret", "root:x:0:0\n")
	write(t, dir, "zones/more", "more A 192.0.2.2\n")
	file := write(t, dir, "zones/db", exampleZone+"$INCLUDE more\n$INCLUDE "+dir+"/zones/more eu\n")
	out, errOut, err := run(t, "", "import", file, "--zone", "Example.COM.")
	if err != nil || errOut != "" {
		t.Fatalf("%v\n%s", err, errOut)
	}
	m, err := store.ParseManifest([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	if problems := store.Lint(m, store.Update{}); len(problems) > 0 || len(m) != 7 {
		t.Errorf("%v\n%s", problems, out)
	}
	if again, _, err := run(t, exampleZone+"more A 192.0.2.2\nmore.eu A 192.0.2.2\n", "import", "-", "--zone", "example.com"); err != nil || again != out {
		t.Errorf("from standard input: %v\n%s\nexpected\n%s", err, again, out)
	}

	bad := write(t, dir, "zones/bad", exampleZone+"x A 192.0.2.256\n$INCLUDE ../secret\ny A 192.0.2.3\n@ NSEC a A\n")
	want := bad + ":8: \"192.0.2.256\" is not RDATA of type A (bad A A)\n" +
		bad + ":9: $INCLUDE ../secret: it lies outside of " + dir + "/zones, the folder of the zone file\n" +
		bad + ":11: NSEC is left out: a signer makes it\n"
	out, errOut, err = run(t, "", "import", bad, "--zone", "example.com")
	if err != errSaid || out != "" || errOut != want+"2 lines refused, so nothing was written; --partial writes the rest\n" {
		t.Errorf("%v, printed %q\n%s", err, out, errOut)
	}
	out, errOut, err = run(t, "", "import", bad, "--zone", "example.com", "--partial")
	if err != nil || errOut != want || strings.Contains(out, "name/x") || !strings.Contains(out, `"zone/example.com/name/y/A": "$TTL 60\n192.0.2.3"`) {
		t.Errorf("--partial: %v\n%s%s", err, errOut, out)
	}
}

func TestImportErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"no zone", `required flag(s) "zone" not set`, []string{"import", "-"}},
		{"no zone to export", `required flag(s) "zone" not set`, []string{"export"}},
		{"not a zone", `--zone: "a..b" has an empty label`, []string{"import", "-", "--zone", "a..b"}},
		{"no file", `open none: no such file or directory`, []string{"import", "none", "--zone", "a"}},
		{"prune a manifest", `--prune: there is nothing to delete from without --apply`, []string{"import", "-", "--zone", "a", "--prune"}},
		{"prune what is refused", `if any flags in the group [prune partial] are set none of the others can be; [partial prune] were all set`,
			[]string{"import", "-", "--zone", "a", "--apply", "--prune", "--partial"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, _, err := run(t, "", c.args...); err == nil || err.Error() != c.want || out != "" {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestPlanZone(t *testing.T) {
	apex, err := parseZone("example.com")
	if err != nil {
		t.Fatal(err)
	}
	keys, remarks := zonefile.Read("z", []byte(exampleZone), apex, zonefile.Folder{})
	if remarks != nil {
		t.Fatal(remarks)
	}
	now := store.Update{Revision: 9}
	for key, value := range map[string]string{
		"zone/example.com/soa":             `{"ns":["old.example.net."]}`,
		"zone/example.com/name/web/CNAME":  "elsewhere", // the file has an A
		"zone/example.com/name/old/A":      "192.0.2.9",
		"zone/example.com/name/ns1/A":      "$TTL 60\n192.0.2.53", // as in the file
		"zone/example.com/name/gslb/steer": `{"pool":"web"}`,
		"zone/example.com/name/bad/A":      "no address",
		"zone/example.com.au/soa":          `{"ns":["a.example.net."]}`,
		"zone/example.com.au/name/old/A":   "192.0.2.9",
		"pool/web/member/a":                "192.0.2.10",
	} {
		now.Entries = append(now.Entries, store.Entry{Key: key, Value: []byte(value), Revision: 5})
	}
	slices.SortFunc(now.Entries, func(x, y store.Entry) int { return strings.Compare(x.Key, y.Key) })

	_, problems := planZone(apex, keys, false, now)
	if len(problems) != 1 || problems[0].String() != "zone/example.com/name/web/A: it cannot stand beside zone/example.com/name/web/CNAME, which was written earlier" {
		t.Errorf("without --prune: %v", problems)
	}
	changes, problems := planZone(apex, keys, true, now)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	for _, c := range changes {
		what := "put "
		if c.Delete {
			what = "delete "
		}
		got = append(got, what+c.Key)
		if old := c.Delete || strings.HasSuffix(c.Key, "/soa"); old != (c.ReadRevision == 5) {
			t.Errorf("%s: read at revision %d", c.Key, c.ReadRevision)
		}
	}
	want := []string{
		`put zone/example.com/name/0\04725/PTR`, "put zone/example.com/name/web/A", "put zone/example.com/name/www/CNAME", "put zone/example.com/soa",
		"delete zone/example.com/name/bad/A", "delete zone/example.com/name/old/A", "delete zone/example.com/name/web/CNAME",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestImportAndExport goes from a file into a registry that is served, out of it, and in again.
func TestImportAndExport(t *testing.T) {
	in := startInstance(t, t.TempDir())
	endpoints := "--etcd-endpoints=" + strings.Join(in.endpoints, ",")
	in.put("pool/web/member/a", "192.0.2.10")
	in.put("zone/example.com/name/gslb/steer", `{"pool":"web"}`)
	in.put("zone/example.com/name/old/A", "192.0.2.9")

	out, errOut, err := run(t, exampleZone, "import", "-", "--zone", "example.com", "--apply", "--prune", endpoints)
	if err != nil || errOut != "" || !strings.HasPrefix(out, "changed at revision ") || !strings.HasSuffix(out, ": 6 keys\n") {
		t.Fatalf("%v\n%s%s", err, out, errOut)
	}
	in.awaitAnswer("www.example.com.", dns.TypeA, func(m *dns.Msg) bool { return len(m.Answer) == 2 })
	if m := in.ask("old.example.com.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("old.example.com is still there:\n%s", m)
	}
	in.awaitAnswer("gslb.example.com.", dns.TypeA, func(m *dns.Msg) bool { return len(m.Answer) == 1 })

	exported, _, err := run(t, "", "export", "--zone", "example.com", endpoints)
	if err != nil || !strings.Contains(exported, "; gslb.example.com. is steered") || !strings.Contains(exported, "\nwww.example.com.\t60\tIN\tCNAME\tweb.example.com.\n") {
		t.Fatalf("%v\n%s", err, exported)
	}
	out, errOut, err = run(t, exported, "import", "-", "--zone", "example.com", "--apply", "--prune", endpoints)
	if err != nil || errOut != "" || !strings.HasPrefix(out, "nothing to change") {
		t.Errorf("%v\n%s%s", err, out, errOut)
	}

	// What stands against what is there is said, with the line that it comes from.
	out, errOut, err = run(t, exampleZone+"gslb A 192.0.2.3\n", "import", "-", "--zone", "example.com", "--apply", endpoints)
	want := "-:8: zone/example.com/name/gslb/A: it cannot stand beside zone/example.com/name/gslb/steer, which was written earlier\nnothing was put\n"
	if err != errSaid || out != "" || errOut != want {
		t.Errorf("%v\n%s%s", err, out, errOut)
	}

	if out, _, err = run(t, "", "export", "--zone", "example.net", endpoints); err == nil || err.Error() != "zone/example.net/soa: the registry has no such zone" || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}
