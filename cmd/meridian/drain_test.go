package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"meridian/store"
)

func TestParseUntil(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		now, err := time.ParseInLocation("2006-01-02 15:04:05", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	for _, c := range []struct{ now, text, want string }{
		{"2026-11-23 12:00:30", "18:00", "2026-11-23T18:00:00+01:00"},
		{"2026-11-23 18:00:00", "18:00", "2026-11-24T18:00:00+01:00"},
		{"2026-11-30 20:00:00", "08:30", "2026-12-01T08:30:00+01:00"},
		{"2026-10-24 20:00:00", "18:00", "2026-10-25T18:00:00+01:00"}, // summer time ends that night
		{"2026-11-23 12:00:30", "2h", "2026-11-23T14:00:30+01:00"},
		{"2026-11-23 12:00:30", "2026-11-23T11:30:00Z", "2026-11-23T11:30:00Z"},
		{"2026-11-23 12:00:30", "2026-11-23T12:00:00+01:00", "2026-11-23T12:00:00+01:00 is over"},
		{"2026-11-23 12:00:30", "0s", "0s is no time to last, expected a second at least"},
		{"2026-11-23 12:00:30", "-2h", "-2h is no time to last, expected a second at least"},
		{"2026-11-23 12:00:30", "24:00", `"24:00" is not a time: expected one such as 2026-11-22T18:00:00+01:00, 18:00 or 2h`},
		{"2026-11-23 12:00:30", "tomorrow", `"tomorrow" is not a time: expected one such as 2026-11-22T18:00:00+01:00, 18:00 or 2h`},
		{"2026-11-23 12:00:30", "", `"" is not a time: expected one such as 2026-11-22T18:00:00+01:00, 18:00 or 2h`},
	} {
		end, err := parseUntil(c.text, at(c.now))
		got := end.Format(time.RFC3339)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s at %s:\ngot  %s\nwant %s", c.text, c.now, got, c.want)
		}
	}
}

// revisions are not the same twice.
var revisions = regexp.MustCompile(`revision [0-9]+`)

// TestDrain takes members out of answers and back, as with etcdctl.
func TestDrain(t *testing.T) {
	in := startInstance(t, t.TempDir())
	endpoints := "--etcd-endpoints=" + strings.Join(in.endpoints, ",")
	in.put("site/fra", "{}")
	in.put("pool/web/member/fra1", `{"addr":["192.0.2.1"],"site":"fra"}`)
	in.put("pool/web/member/fra2", `{"addr":["192.0.2.2"],"site":"fra"}`)
	in.put("pool/web/member/nyc1", "192.0.2.3")
	in.put("pool/web/policy", `{"policy":"multivalue"}`)
	in.put("override/member/web/nyc1", `{"weight":5}`)
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	in.givesAll("192.0.2.1", "192.0.2.2", "192.0.2.3")
	for _, c := range []struct {
		name, command, want string
		gives               []string
	}{
		{"a site", "drain site/fra --until 2099-11-22T18:00:00+01:00 --reason CHG-123 --by alice",
			"changed at revision N:\n" +
				`  override/site/fra {"state":"drain","reason":"CHG-123","by":"alice","until":"2099-11-22T18:00:00+01:00"}` + "\n" +
				"pool/web: fra1, fra2 out, 1 of 3 members left\n",
			[]string{"192.0.2.3"}},
		{"what would leave nobody", "drain member/web/nyc1 --by alice",
			"pool/web: nyc1 out, none of 3 members left\n  nobody is left to be given for www.example.com\n" +
				"nothing was put: --force drains all the same\n",
			[]string{"192.0.2.3"}},
		{"in the place of another's", "drain site/fra pool/web --state down --by bob --force",
			"changed at revision N:\n" +
				`  override/site/fra {"state":"down","by":"bob"}` + "\n" +
				`    was {"state":"drain","reason":"CHG-123","by":"alice","until":"2099-11-22T18:00:00+01:00"}` + "\n" +
				`  override/pool/web {"state":"down","by":"bob"}` + "\n" +
				"no pool gives anybody less or more\n",
			[]string{"192.0.2.3"}}, // whose own override comes first
		{"back, one of three", "undrain site/fra pool/web member/web/fra1",
			"override/member/web/fra1: there is none\nchanged at revision N:\n" +
				`  override/site/fra deleted, was {"state":"down","by":"bob"}` + "\n" +
				`  override/pool/web deleted, was {"state":"down","by":"bob"}` + "\n" +
				"pool/web: fra1, fra2 back, 3 of 3 members left\n",
			[]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
		{"none", "undrain pool/web", "override/pool/web: there is none\n", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
	} {
		out, _, err := run(t, "", append(strings.Fields(c.command), endpoints)...)
		if refused := strings.Contains(c.want, "nothing was put"); refused != errors.Is(err, errSaid) || !refused && err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := revisions.ReplaceAllString(out, "revision N"); got != c.want {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", c.name, got, c.want)
		}
		in.givesAll(c.gives...)
	}

	// It waits for the servers if it is asked to.
	out, _, err := run(t, "", "drain", "site/fra", "--until", "2h", "--wait", endpoints)
	if err != nil || !strings.Contains(out, `"by":"`+userName()+`","until":`) || !strings.Contains(out, "\nanswered by ns1 after ") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := addresses(in.ask("www.example.com.", dns.TypeA)); !slices.Equal(got, []string{"192.0.2.3"}) {
		t.Errorf("drained at the word of all servers, and %v are given", got)
	}
}

// TestDrainErrors: nothing is written.
func TestDrainErrors(t *testing.T) {
	in := startInstance(t, t.TempDir())
	in.put("site/fra", "{}")
	for _, c := range []struct{ command, want string }{
		{"drain", "requires at least 1 arg(s), only received 0"},
		{"drain fra", `"fra" is not a target, expected site/<site>, pool/<pool> or member/<pool>/<member>`},
		{"drain site/fra site/fra", "site/fra is said twice"},
		{"drain site/fra site/frb", `site/frb is not there: the registry has no site/frb (did you mean "site/fra"?)`},
		{"undrain site/frb", `site/frb is not there: the registry has no site/frb (did you mean "site/fra"?)`},
		{"drain site/fra --state drian", `--state: "drian" is not known, expected drain or down (did you mean "drain"?)`},
		{"drain site/fra --until later", `--until: "later" is not a time: expected one such as 2026-11-22T18:00:00+01:00, 18:00 or 2h`},
		{"drain site/fra --wait=0s", "--wait: 0s is no time to wait, expected one such as 10s"},
	} {
		out, _, err := run(t, "", append(strings.Fields(c.command), "--etcd-endpoints="+strings.Join(in.endpoints, ","))...)
		if err == nil || err.Error() != c.want || out != "" {
			t.Errorf("%s:\ngot  %v %s\nwant %s", c.command, err, out, c.want)
		}
	}
	if now, err := in.registry.Read(t.Context()); err != nil || len(now.Entries) != 1 {
		t.Errorf("%v, %v", err, now.Entries)
	}
}

// TestDrainRace: an override that somebody has put in the meantime stays.
func TestDrainRace(t *testing.T) {
	in := startInstance(t, t.TempDir())
	in.put("site/fra", "{}")
	cmd := &cobra.Command{}
	addEtcdFlags(cmd.Flags())
	cmd.SetContext(t.Context())
	cmd.SetOut(io.Discard)
	if err := cmd.Flags().Set("etcd-endpoints", strings.Join(in.endpoints, ",")); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{`{"state":"up","by":"bob"}`, `{"state":"down","by":"bob"}`, ""} {
		err := override(cmd, []string{"site/fra"}, 0, func(v *overriding) error {
			if value == "" {
				if _, err := in.etcd.Delete(t.Context(), "/gslb/override/site/fra"); err != nil {
					return err
				}
				return v.undrain(t.Context(), 0)
			}
			in.put("override/site/fra", value)
			return v.drain(t.Context(), []byte(`{"state":"drain"}`), false, 0)
		})
		if want := "nothing was changed: changed in the meantime: override/site/fra"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		now, err := in.registry.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there := slices.ContainsFunc(now.Entries, func(e store.Entry) bool { return fmt.Sprint(e.Key, string(e.Value)) == "override/site/fra"+value })
		if there != (value != "") {
			t.Errorf("after %s: %v", value, now.Entries)
		}
	}
}
