package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Status lists the checkers: what each sees, that it says otherwise than is counted, and what it warns of.
func TestStatusCheckers(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) { c.Checker.Enabled = false })
	members := in.web(`{"http":{},"interval":"100ms","rise":1,"fall":2}`)
	members[2].srv.Close()
	for _, site := range []string{"ams", "fra"} {
		startChecker(t, in, site+"-1", site, nil)
	}
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	in.measure("checker/liar", `{"site":"lon"}`)
	in.measure("report/liar/web", `{"m0":{"127.0.0.31":{"state":"down","since":"2026-11-23T12:00:00Z"}},"m1":{"127.0.0.32":{"state":"up","since":"2026-11-23T12:00:00Z","warning":"certificate expires soon"}}}`)
	in.awaitMetric("meridian_health_disputed 1")
	in.awaitMetric("meridian_health_warned 1")
	l := looker{registry: in.registry, prefix: "/gslb"}
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		c, err := l.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, k := range c.Checkers {
			said = append(said, k.Name+" "+k.Site+" "+k.sees()+strings.Repeat(" differs", k.Differs))
		}
		warns := slices.ContainsFunc(c.Problems, func(p problem) bool {
			return p.Kind == "warning" && !p.Wrong && strings.HasSuffix(p.Text, ": certificate expires soon") && slices.Equal(p.Servers, []string{"ns1"})
		})
		if warns && slices.Equal(said, []string{"ams-1 ams 2 up, 1 down", "fra-1 fra 2 up, 1 down", "liar lon - differs"}) {
			break
		}
		if time.Since(start) > patience {
			t.Fatalf("checkers %q, problems %v", said, c.Problems)
		}
	}
}
