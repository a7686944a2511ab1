package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
)

func TestLateText(t *testing.T) {
	change := commitment{began: 800, revision: 812, deletes: true}
	server := func(name string, s store.Status) serverStatus { return serverStatus{Name: name, Status: s} }
	for _, test := range []struct {
		name    string
		servers []serverStatus
		want    string
	}{
		{"none", nil, "not answered after 10s: no server is live\n"},
		{"each in its own way", []serverStatus{
			server("ns1", store.Status{Revision: 812}),
			server("ns2", store.Status{Revision: 811}),
			server("ns3", store.Status{Revision: 2000, Refused: "etcd has no keys: not obeyed"}),
			server("ns4", store.Status{Revision: 812, Held: &store.Held{Names: 500, Accept: 800}}),
			server("ns5", store.Status{Revision: 700, Image: true}),
			server("ns6", store.Status{Revision: 700, Lost: noon}),
			server("ns7", store.Status{Revision: 900}),
		}, `not answered after 10s by 5 servers of 7:
  ns2: at revision 811, expected 812
  ns3: at revision 2000, what etcd holds is not obeyed: etcd has no keys: not obeyed
  ns4: deletes of 500 names are held back: all of it is served on
  ns5: at revision 700 of its disk image, expected 812: it has not heard of etcd yet
  ns6: at revision 700, expected 812: etcd has been out of its reach since 2026-11-23T12:00:00Z
answered by ns1, ns7
`},
	} {
		if got := change.lateText(test.servers, 10*time.Second); got != test.want {
			t.Errorf("%s:\n%s, want\n%s", test.name, got, test.want)
		}
	}
}

// TestHeldOn: deletes held back are a matter of ours only if they may be ours.
func TestHeldOn(t *testing.T) {
	for _, test := range []struct {
		name    string
		deletes bool
		accept  int64
		want    bool
	}{
		{"ours", true, 800, true},
		{"of before", true, 799, false},
		{"we deleted nothing", false, 800, false},
		{"none", true, 0, false},
	} {
		c := commitment{began: 800, revision: 812, deletes: test.deletes}
		s := serverStatus{Status: store.Status{Revision: 812}}
		if test.accept > 0 {
			s.Held = &store.Held{Accept: test.accept}
		}
		if got := c.heldOn(s); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestCommitmentFaults(t *testing.T) {
	c := commitment{revision: 812, keys: map[string]int64{"pool/web/policy": 812, "site/fra": 700}}
	fault := func(key string, revision int64) faultOn {
		return faultOn{key, store.Fault{Revision: revision, Field: "lat", Error: "expected a number"}, []string{"ns1", "ns2"}}
	}
	got := c.faultsText([]faultOn{
		fault("pool/web/policy", 811), // of the value before, about to go
		fault("pool/web/policy", 812),
		fault("site/fra", 700), // nothing to change, and wrong all the same
		fault("site/nyc", 900), // somebody else's
	})
	want := "pool/web/policy is not served as it stands by ns1, ns2: lat: expected a number\n" +
		"site/fra is not served as it stands by ns1, ns2: lat: expected a number\n"
	if got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// TestCountsAgree: servers write what is wrong apart from how many that is, of which only 1,000.
func TestCountsAgree(t *testing.T) {
	fault := func(key, text string, servers ...string) faultOn {
		return faultOn{key, store.Fault{Error: text}, servers}
	}
	var thousand []faultOn
	for i := range 1000 {
		thousand = append(thousand, fault(fmt.Sprint("site/s", i), "wrong", "ns1"))
	}
	for _, test := range []struct {
		name   string
		counts store.Status
		faults []faultOn
		want   bool
	}{
		{"none", store.Status{}, nil, true},
		{"not there yet", store.Status{Rejected: 1}, nil, false},
		{"not gone yet", store.Status{}, []faultOn{fault("site/fra", "wrong", "ns1")}, false},
		{"another's", store.Status{Rejected: 1}, []faultOn{fault("site/fra", "wrong", "ns2")}, false},
		{"all kinds", store.Status{Rejected: 1, Pending: 1, Unregistered: 1}, []faultOn{
			fault("site/fra", "wrong", "ns1", "ns2"),
			{"pool/web/policy", store.Fault{Awaits: "check/web"}, []string{"ns1"}},
			fault("pool/web/member/fra1", "its lease has ended: it is given", "ns1"),
			fault("control/accept-delete", "5 members deleted: held back", "ns1"),
		}, true},
		{"more than are written", store.Status{Rejected: 3000}, thousand, true},
	} {
		c := cluster{Servers: []serverStatus{{Name: "ns1", Status: test.counts}}, Faults: test.faults}
		if got := c.countsAgree(); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestWaitFlag(t *testing.T) {
	file := write(t, t.TempDir(), "m.json", "{}")
	for _, test := range []struct{ args, want string }{
		{"apply --wait=0s " + file, "--wait: 0s is no time to wait, expected one such as 10s"},
		{"apply --wait=-1s " + file, "--wait: -1s is no time to wait, expected one such as 10s"},
		{"import --zone example.com --wait " + file, "--wait: there is nothing to wait for without --apply"},
	} {
		if _, _, err := run(t, "", strings.Fields(test.args)...); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		}
	}
}

// putLive writes a live key as a server would.
func (in *instance) putLive(key string, value any) {
	in.t.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		_, err = in.etcd.Put(in.t.Context(), "/gslb-live/"+key, string(text))
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

// TestApplyWait: a real server answers what is applied, and others, of which there is only the word,
// do not, or not at once.
func TestApplyWait(t *testing.T) {
	in := startInstance(t, t.TempDir())
	apply := func(manifest string, args ...string) (string, error) {
		t.Helper()
		out, errOut, err := run(t, manifest, append([]string{"apply", "-", "--etcd-endpoints", strings.Join(in.endpoints, ",")}, args...)...)
		return out + errOut, err
	}
	expect := func(out string, err error, fails bool, want string) {
		t.Helper()
		if errors.Is(err, errSaid) != fails || err != nil && !fails {
			t.Errorf("error %v, expected one: %v", err, fails)
		}
		if !regexp.MustCompile(`^(?:` + want + `)$`).MatchString(out) {
			t.Errorf("%s\nwant %s", out, want)
		}
	}
	in.liveKey("/gslb-live/server/ns1", true)

	out, err := apply(`{"zone/example.com/soa": {"ns":["ns1.example.net."]}}`, "--wait=20s")
	expect(out, err, false, `changed at revision \d+: 1 key\nanswered by ns1 after \S+\n`)
	if r := in.ask("example.com.", 6); len(r.Answer) != 1 {
		t.Errorf("it does not answer:\n%s", r)
	}

	out, err = apply(`{"zone/example.com/soa": {"ns":["ns1.example.net."]}}`, "--wait")
	expect(out, err, false, `nothing to change: the registry holds all of it \(revision \d+\)\nanswered by ns1 after \S+\n`)

	in.putLive("server/ns2", store.Status{Revision: 1})
	out, err = apply(`{"zone/example.com/name/www/A": "192.0.2.1"}`, "--wait=300ms")
	expect(out, err, true, `changed at revision \d+: 1 key\nnot answered after 300ms by 1 server of 2:\n  ns2: at revision 1, expected \d+\nanswered by ns1\n`)

	// ns2 gets there while it is waited for, and then says that it does not take the value.
	const key = "/gslb/zone/example.com/name/www/TXT"
	now, err := in.etcd.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for w := range in.etcd.Watch(ctx, key, clientv3.WithRev(now.Header.Revision)) {
			revision := w.Events[0].Kv.ModRevision
			in.putLive("server/ns2", store.Status{Ready: true, Revision: revision, Rejected: 1})
			in.putLive("error/ns2/zone/example.com/name/www/TXT", store.Fault{Revision: revision, Line: 1, Error: "too long for me"})
			return
		}
	}()
	out, err = apply(`{"zone/example.com/name/www/TXT": "\"text\""}`, "--wait=20s")
	expect(out, err, true, `changed at revision \d+: 1 key\nanswered by ns1, ns2 after \S+\n`+
		`zone/example.com/name/www/TXT is not served as it stands by ns2: line 1: too long for me\n`)
	<-written

	// status says the same.
	out, _, err = run(t, "", "status", "--etcd-endpoints", strings.Join(in.endpoints, ","))
	var c cluster
	if jsonErr := json.Unmarshal([]byte(out), &c); jsonErr != nil || !errors.Is(err, errSaid) {
		t.Fatalf("%v, %v in\n%s", err, jsonErr, out)
	}
	if c.Well || len(c.Servers) != 2 || c.Servers[0].Name != "ns1" || c.Servers[0].Zones != 1 || len(c.Faults) != 1 || !slices.Equal(c.Faults[0].Servers, []string{"ns2"}) {
		t.Errorf("%s", out)
	}
}
