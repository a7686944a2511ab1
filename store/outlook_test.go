package store

import (
	"fmt"
	"strings"
	"testing"
)

// outlookRegistry has a pool in two sites, one of two regions with a pool to fall back to, and what people say of some.
var outlookRegistry = map[string]string{
	"site/fra": "{}", "site/nyc": "{}",
	"pool/web/member/fra1":             `{"addr":["192.0.2.1"],"site":"fra"}`,
	"pool/web/member/fra2":             `{"addr":["192.0.2.2"],"site":"fra"}`,
	"pool/web/member/nyc1":             `{"addr":["192.0.2.3"],"site":"nyc"}`,
	"pool/eu/member/fra1":              `{"addr":["192.0.2.1"],"site":"fra"}`,
	"pool/us/member/nyc1":              `{"addr":["192.0.2.3"],"site":"nyc"}`,
	"pool/us/member/nyc2":              `{"addr":["192.0.2.4"],"site":"nyc"}`,
	"pool/regions/member/eu":           `{"pool":"eu"}`,
	"pool/regions/member/us":           `{"pool":"us"}`,
	"pool/solo/member/a":               `{"addr":["192.0.2.5"],"site":"nyc"}`,
	"pool/closed/member/page":          "192.0.2.6",
	"pool/shop/member/a":               "192.0.2.7",
	"pool/shop/policy":                 `{"on_empty":["pool:closed","all"]}`,
	"zone/example.com/soa":             `{"ns":["ns1.example.net."]}`,
	"zone/example.com/name/www/steer":  `{"pool":"web"}`,
	"zone/example.com/name/@/steer":    `{"pool":"web"}`,
	"zone/example.com/name/r/steer":    `{"pool":"regions"}`,
	"zone/example.com/name/shop/steer": `{"pool":"shop"}`,
	"zone/example.com/name/text/TXT":   `"pool"`,
	"override/member/us/nyc2":          `{"state":"down"}`,
	"override/member/web/nyc1":         `{"state":"up"}`,
	"override/pool/eu":                 `{"state":"drain","until":"2020-01-01T00:00:00Z"}`,
}

func outlookOf(t *testing.T) *Outlook {
	t.Helper()
	now := Update{Revision: 7, Cluster: 1}
	for key, value := range outlookRegistry {
		now.Entries = append(now.Entries, Entry{Key: key, Value: []byte(value), Revision: 5})
	}
	o := NewOutlook(now)
	if faults := o.registry.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	return o
}

func TestOutlook(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes string // "override/… value" or "override/…" to delete it, one a line
		want    string // "pool left/members -out +back instead ?names", one a line
	}{
		{"a site, where a pool within a pool is left with nobody", `override/site/fra {"state":"drain"}`,
			"eu 0/1 -fra1\nregions 1/2 -eu\nweb 1/3 -fra1 -fra2"},
		{"another, whose member is held up", `override/site/nyc {"state":"down"}`,
			"regions 1/2 -us\nsolo 0/1 -a\nus 0/2 -nyc1"},
		{"both at once", "override/site/fra {\"state\":\"drain\"}\noverride/site/nyc {\"state\":\"drain\"}",
			"eu 0/1 -fra1\nregions 0/2 -eu -us ?r.example.com\nsolo 0/1 -a\nus 0/2 -nyc1\nweb 1/3 -fra1 -fra2"},
		{"a pool, but for the member that is held up", `override/pool/web {"state":"drain"}`, "web 1/3 -fra1 -fra2"},
		{"all of a pool", "override/pool/web {\"state\":\"drain\"}\noverride/member/web/nyc1 {\"state\":\"drain\"}",
			"web 0/3 -fra1 -fra2 -nyc1 ?example.com ?www.example.com"},
		{"a pool that falls back", `override/pool/shop {"state":"drain"}`, "shop 0/1 -a closed"},
		{"what it falls back to", `override/pool/closed {"state":"drain"}`, "closed 0/1 -page"},
		{"both", "override/pool/shop {\"state\":\"drain\"}\noverride/pool/closed {\"state\":\"drain\"}",
			"closed 0/1 -page\nshop 0/1 -a ?shop.example.com"},
		{"one back", "override/member/us/nyc2", "us 2/2 +nyc2"},
		{"a weight", `override/pool/web {"weight":5}`, ""},
		{"until a time that is over", `override/pool/web {"state":"drain","until":"2020-01-01T00:00:00Z"}`, ""},
		{"one that is out by another", `override/site/nyc {"state":"up"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var changes []Change
			for line := range strings.Lines(c.changes) {
				key, value, put := strings.Cut(strings.TrimSpace(line), " ")
				changes = append(changes, Change{Key: key, Value: []byte(value), Delete: !put})
			}
			var got []string
			for _, e := range outlookOf(t).Change(changes) {
				line := fmt.Sprintf("%s %d/%d", e.Pool, e.Left, e.Members)
				for _, m := range e.Out {
					line += " -" + m
				}
				for _, m := range e.Back {
					line += " +" + m
				}
				if e.Instead != "" {
					line += " " + e.Instead
				}
				for _, n := range e.Names {
					line += " ?" + n
				}
				got = append(got, line)
			}
			if got := strings.Join(got, "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestOutlookDown: whom the checkers report to be down counts as nobody.
func TestOutlookDown(t *testing.T) {
	now := Update{Revision: 7, Cluster: 1}
	for key, value := range map[string]string{
		"site/fra": "{}", "site/nyc": "{}", "check/tcp": `{"tcp":{"port":80}}`,
		"pool/web/policy":                 `{"check":"tcp"}`,
		"pool/web/member/fra1":            `{"addr":["192.0.2.1"],"site":"fra"}`,
		"pool/web/member/nyc1":            `{"addr":["192.0.2.3","192.0.2.4"],"site":"nyc"}`,
		"zone/example.com/soa":            `{"ns":["ns1.example.net."]}`,
		"zone/example.com/name/www/steer": `{"pool":"web"}`,
	} {
		now.Entries = append(now.Entries, Entry{Key: key, Value: []byte(value), Revision: 5})
	}
	reports := func(second string) []Update {
		checkers, said := liveKeys(8, "checker/a", `{"site":"ams"}`), liveKeys(8, "report/a/web",
			`{"nyc1":{"192.0.2.3":{"state":"down","since":"2026-11-23T12:00:00Z"},"192.0.2.4":{"state":"`+second+`","since":"2026-11-23T12:00:00Z"}}}`)
		checkers.Full, checkers.Below, said.Full, said.Below = true, "checker/", true, "report/"
		return []Update{checkers, said}
	}
	drain := []Change{{Key: "override/site/fra", Value: []byte(`{"state":"drain"}`)}}
	for _, c := range []struct{ second, want string }{
		{"up", "[{Pool:web Members:2 Left:1 Out:[fra1] Back:[] Down:[] Instead: Names:[]}]"},
		{"down", "[{Pool:web Members:2 Left:0 Out:[fra1] Back:[] Down:[nyc1] Instead: Names:[www.example.com]}]"},
	} {
		if got := fmt.Sprintf("%+v", NewOutlook(now, reports(c.second)...).Change(drain)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.second, got, c.want)
		}
	}
}

func TestOverrideTarget(t *testing.T) {
	o := outlookOf(t)
	for _, c := range []struct{ target, want string }{
		{"site/fra", ""}, {"pool/web", ""}, {"member/web/fra1", ""},
		{"site/fre", `site/fre is not there: the registry has no site/fre (did you mean "site/fra"?)`},
		{"pool/web2", `pool/web2 is not there: the registry has no pool/web2 (did you mean "pool/web"?)`},
		{"member/web/fra3", `member/web/fra3 is not there: the registry has no pool/web/member/fra3 (did you mean "member/web/fra1"?)`},
		{"member/quite/another", `member/quite/another is not there: the registry has no pool/quite/member/another`},
		{"fra", `"fra" is not a target, expected site/<site>, pool/<pool> or member/<pool>/<member>`},
		{"sites/fra", `"sites/fra" is not a target, expected site/<site>, pool/<pool> or member/<pool>/<member> (did you mean "site"?)`},
		{"pool/Web", `pool/Web: "Web" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"member/web", `member/web: no such kind of key, expected override/member/<pool>/<member> or override/pool/<pool> or override/site/<site>`},
	} {
		key, err := OverrideKey(c.target)
		if err == nil {
			if key != "override/"+c.target {
				t.Errorf("%s: key %s", c.target, key)
			}
			err = o.Check(c.target)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.target, got, c.want)
		}
	}
}
