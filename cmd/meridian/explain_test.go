package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/health"
	"meridian/zones/explain"
)

// explainJSON runs the command, with --json.
func explainJSON(t *testing.T, stdin string, args ...string) *explain.Explanation {
	t.Helper()
	out, _, err := run(t, stdin, append([]string{"explain", "--json"}, args...)...)
	if err != nil {
		t.Fatalf("explain %s: %v", strings.Join(args, " "), err)
	}
	e, err := explain.Read(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func answered(e *explain.Explanation) (list []string) {
	for _, r := range e.Records {
		list = append(list, r.Record)
	}
	return list
}

// TestExplainPast: an explanation is made again from what etcd held, with the health that it shows, for as long
// as etcd has the revision.
func TestExplainPast(t *testing.T) {
	in := startInstance(t, t.TempDir())
	http, etcd := "--server="+in.http.String(), "--etcd-endpoints="+strings.TrimPrefix(in.endpoints[0], "http://")
	alive := startBackendAt(t, "127.0.0.11:0")
	in.put("check/web", `{"tcp":{},"interval":"100ms","rise":1,"fall":1}`)
	in.put("pool/web/policy", `{"check":"web"}`)
	in.put("pool/web/member/a", fmt.Sprintf(`{"addr":["127.0.0.11"],"port":%d}`, alive.addr.Port()))
	in.put("pool/web/member/b", `{"addr":["127.0.0.12"],"port":1}`)
	in.put("pool/web/member/c", `{"addr":["127.0.0.13"],"port":1}`)
	for i := range 10 {
		in.put(fmt.Sprintf("pool/all/member/m%d", i), fmt.Sprintf("192.0.2.%d", i))
	}
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	in.put("zone/example.com/name/all/steer", `{"pool":"all"}`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="down"} 2`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 1`)
	in.awaitAnswer("all.example.com.", dns.TypeA, func(r *dns.Msg) bool { return len(r.Answer) == 1 })

	www := explainJSON(t, "", http, "www.example.com", "--client=203.0.113.7", "--random=3")
	all := explainJSON(t, "", http, "all.example.com", "--client=203.0.113.7", "--subnet=198.51.100.0/24")
	revision := fmt.Sprintf("--revision=%d", all.Revision)
	random := fmt.Sprintf("--random=%d", all.Random)
	if www.Random != 3 || len(www.Records) != 1 || !strings.HasSuffix(www.Records[0].Record, "\t127.0.0.11") {
		t.Fatalf("%+v", www)
	}

	// The server still has the revision, and knows health.
	now := explainJSON(t, "", http, etcd, revision, "--random=3", "www.example.com")
	if now.Server != "ns1" || now.Notes != nil || !slices.Equal(answered(now), answered(www)) {
		t.Errorf("at the server's revision: %+v", now)
	}

	// All else, and health too, changes.
	if _, err := in.etcd.Delete(t.Context(), "/gslb/pool/all/member/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	in.put("pool/all/member/other", "192.0.2.99")
	alive.srv.Close()
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 0`)
	in.awaitAnswer("all.example.com.", dns.TypeA, func(r *dns.Msg) bool { return slices.Equal(addresses(r), []string{"192.0.2.99"}) })

	again := explainJSON(t, "", http, etcd, revision, random, "all.example.com", "--client=203.0.113.7", "--subnet=198.51.100.0/24")
	if !slices.Equal(answered(again), answered(all)) || again.Revision != all.Revision || again.Server != "" {
		t.Errorf("at revision %d: %q by %q, expected %q", again.Revision, answered(again), again.Server, answered(all))
	}
	const unknown = "made from the registry as it was at that revision; what health was then is not known: members that are checked count as unknown"
	if !slices.Equal(again.Notes, []string{unknown}) {
		t.Errorf("notes %q", again.Notes)
	}
	kept := func(e *explain.Explanation) []string { return e.Trace.Steps[2].Decision.Runs[0].Steps[0].Kept }
	forgotten := explainJSON(t, "", "--server=127.0.0.1:1", etcd, revision, "www.example.com") // no server is needed
	if got := kept(forgotten); !slices.Equal(got, []string{"a", "b", "c"}) || forgotten.Client.String() != "127.0.0.1" {
		t.Errorf("without health %q were kept, for %s", got, forgotten.Client)
	}

	// --replay has all of it from a file, health included.
	var file strings.Builder
	www.WriteJSON(&file)
	path := write(t, t.TempDir(), "www.json", file.String())
	replayed := explainJSON(t, "", etcd, "--replay="+path)
	want := []string{"made from the registry as it was at that revision; the health of members is that of the explanation replayed", "the answer is the one replayed"}
	if !slices.Equal(answered(replayed), answered(www)) || !slices.Equal(replayed.Notes, want) || replayed.Random != 3 || replayed.Client != www.Client {
		t.Errorf("replayed: %+v", replayed)
	}
	if got := kept(replayed); !slices.Equal(got, []string{"a"}) {
		t.Errorf("replayed, %q were kept", got)
	}
	// One with other health is another answer, and says so.
	www.Trace.Steps[2].Decision.Runs[0].Members[0].Health = health.Word(0).WithWeight(1).With(0, health.Down)
	www.Trace.Steps[2].Decision.Runs[0].Members[2].Health = health.Word(0).WithWeight(1).With(0, health.Up)
	changed, err := json.Marshal(www)
	if err != nil {
		t.Fatal(err)
	}
	other := explainJSON(t, string(changed), etcd, "--replay=-")
	if got, want := other.Notes[1], "the answer replayed was another, NOERROR: www.example.com. 30 IN A 127.0.0.11"; got != want || !strings.HasSuffix(answered(other)[0], "\t127.0.0.13") {
		t.Errorf("%q, noted %q, want %q", answered(other), got, want)
	}

	// What etcd does not have.
	ask := func(revision int64) string {
		_, _, err := run(t, "", "explain", "www.example.com", http, etcd, fmt.Sprintf("--revision=%d", revision))
		return fmt.Sprint(err)
	}
	head, err := in.etcd.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ask(1<<40), "reading the registry at revision 1099511627776: etcd has only come to "; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
	if _, err := in.etcd.Compact(t.Context(), head.Header.Revision); err != nil {
		t.Fatal(err)
	}
	want1 := fmt.Sprintf("reading the registry at revision %d: etcd has compacted it; the oldest that it still has is %d", all.Revision, head.Header.Revision)
	if got := ask(all.Revision); got != want1 {
		t.Errorf("got  %s\nwant %s", got, want1)
	}
	if got := ask(head.Header.Revision); got != "<nil>" {
		t.Errorf("the oldest that it still has: %s", got)
	}
}

// TestExplainPastSays what an explanation had to do without.
func TestExplainPastSays(t *testing.T) {
	in := startInstance(t, t.TempDir())
	etcd := "--etcd-endpoints=" + strings.TrimPrefix(in.endpoints[0], "http://")
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/near/steer", `{"pool":"near"}`)
	in.put("pool/near/policy", `{"policy":"geo"}`)
	in.put("pool/near/member/a", `{"addr":["192.0.2.1"],"serves":["cidr:203.0.113.0/24"]}`)
	for i := range 4 {
		in.put(fmt.Sprintf("zone/example.com/name/bad%d/A", i), "192.0.2.300")
	}
	head, err := in.etcd.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	e := explainJSON(t, "", "--server=127.0.0.1:1", etcd, fmt.Sprintf("--revision=%d", head.Header.Revision), "near.example.com")
	want := []string{
		"no geo database is given (--geo-database): where the client is nobody knows",
		"not valid at that revision, though a server may have served an earlier value: zone/example.com/name/bad0/A, " +
			"zone/example.com/name/bad1/A, zone/example.com/name/bad2/A, and 1 more",
	}
	if !slices.Equal(e.Notes[1:], want) {
		t.Errorf("notes %q, want %q", e.Notes[1:], want)
	}
	database, err := filepath.Abs("../../testdata/geo/country.mmdb")
	if err != nil {
		t.Fatal(err)
	}
	e = explainJSON(t, "", "--server=127.0.0.1:1", etcd, "--geo-database="+database, fmt.Sprintf("--revision=%d", head.Header.Revision), "near.example.com")
	if !slices.Equal(e.Notes[1:], want[1:]) {
		t.Errorf("with a geo database: notes %q", e.Notes[1:])
	}
}

// TestExplainFlags: what does not go together is said before anybody is asked.
func TestExplainFlags(t *testing.T) {
	dir := t.TempDir()
	html := write(t, dir, "page.html", "<html>")
	empty := write(t, dir, "empty.json", "{}")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "which NAME? (meridian explain NAME [TYPE])"},
		{[]string{"a..b", "--revision=7"}, `name: "a..b" has an empty label`},
		{[]string{"a", "AAA", "--revision=7"}, `type: "AAA" is not a type such as A, MX or TYPE123 (did you mean "AAAA"?)`},
		{[]string{"a", "--revision=7", "--random=x"}, `random: "x" is not a number from 0 to 18446744073709551615`},
		{[]string{"a", "--revision=0"}, "--revision: 0 is no revision, expected one from 1 on"},
		{[]string{"a", "--revision=-1"}, "--revision: -1 is no revision, expected one from 1 on"},
		{[]string{"a", "--replay=x"}, `--replay: the file says what is asked, so leave out "a"`},
		{[]string{"--replay=x", "--random=7"}, "--replay: the file says all that --random does, so leave that out"},
		{[]string{"--replay=x", "--server=x"}, "--replay: the file says all that --server does, so leave that out"},
		{[]string{"--replay=" + dir + "/none"}, "--replay: open " + dir + "/none: " + os.ErrNotExist.Error()},
		{[]string{"--replay=" + html}, "--replay: " + html + " is no explanation as meridian explain --json gives it: "},
		{[]string{"--replay=" + empty}, "--replay: " + empty + " is no explanation as meridian explain --json gives it: "},
		{[]string{"a", "--revison=7"}, `unknown flag: --revison (did you mean "revision"?)`},
	} {
		_, _, err := run(t, "", append([]string{"explain"}, tt.args...)...)
		if got := strings.ReplaceAll(fmt.Sprint(err), "no such file or directory", os.ErrNotExist.Error()); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v:\ngot  %s\nwant %s", tt.args, got, tt.want)
		}
	}
}
