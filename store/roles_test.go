package store

import (
	"fmt"
	"strings"
	"testing"
)

func TestRoleFor(t *testing.T) {
	for _, c := range []struct{ role, of, want string }{
		{"server", "ns1.example.net", "gslb:server:ns1.example.net"},
		{"checker", "fra-1", "gslb:checker:fra-1"},
		{"zone", "Example.COM.", "gslb:zone:example.com"},
		{"zone", ".", "gslb:zone:."},
		{"pool", "shop", "gslb:pool:shop"},
		{"pool", "shop.", "gslb:pool:shop."},
		{"service", "shop", "gslb:service:shop"},
		{"operator", "", "gslb:operator"},
		{"operator", "fra", `operator: there is one alone, expected nothing after it, found "fra"`},
		{"server", "", "server: expected <server> after it"},
		{"server", "ns1/", `server: "ns1/" is not a name such as "ns1.example.net": small letters, digits and .- alone`},
		{"checker", "fra/1", `checker: "fra/1" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"zone", "a..b", `zone: "a..b" has an empty label`},
		{"pool", ".", `pool: "" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"service", "shop.", `service: "shop." is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
	} {
		for _, r := range Roles {
			if r.Name != c.role {
				continue
			}
			got, list, err := r.For(c.of, "/gslb")
			if err != nil {
				got = err.Error()
			}
			if got != c.want || (err == nil) != (len(list) > 0) {
				t.Errorf("%s %s: %d permissions\ngot  %s\nwant %s", c.role, c.of, len(list), got, c.want)
			}
		}
	}
}

// TestRolePrefix: a role has nothing outside of its registry, and what is for all that begins with a key ends where a
// neighbour's name cannot go on.
func TestRolePrefix(t *testing.T) {
	of := map[string]string{"server": "a", "checker": "a", "zone": "a", "pool": "a", "service": "a", "operator": ""}
	for _, r := range Roles {
		_, list, err := r.For(of[r.Name], "/x/y")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(list), strings.ReplaceAll(fmt.Sprint(r.Form("/x/y")), r.Of, "a"); r.Of != "" && got != want {
			t.Errorf("%s: %s, in the table %s", r.Name, got, want)
		}
		for _, p := range list {
			if !strings.HasPrefix(p.Key, "/x/y/") && !strings.HasPrefix(p.Key, "/x/y-live/") || (p.End != "") != strings.HasSuffix(p.Key, "/") {
				t.Errorf("%s: %+v", r.Name, p)
			}
		}
	}
}
