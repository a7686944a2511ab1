package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/health"
)

// gives waits until an answer is one address and no other.
func (in *instance) gives(name, want string) {
	in.t.Helper()
	in.awaitAnswer(name, dns.TypeA, func(r *dns.Msg) bool { return slices.Equal(addresses(r), []string{want}) })
}

func (in *instance) measure(key, value string) {
	in.t.Helper()
	if _, err := in.etcd.Put(in.t.Context(), "/gslb-live/"+key, value); err != nil {
		in.t.Fatal(err)
	}
}

// Live keys steer: round-trip times as checkers measure them, and loads.
func TestServeLive(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) {
		c.Geo = GeoConfig{Databases: []string{geoFixtures + "city.mmdb"}, Interval: time.Minute}
	})
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("site/fra", `{"lat":50.1,"lon":8.7}`)
	in.put("site/bos", `{"lat":42.4,"lon":-71.1}`)
	in.put("pool/web/member/fra", `{"addr":["127.0.0.11"],"site":"fra"}`)
	in.put("pool/web/member/bos", `{"addr":["127.0.0.12"],"site":"bos"}`)
	in.put("pool/web/policy", `{"policy":"latency"}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	in.put("pool/full/member/a", "127.0.0.13")
	in.put("pool/full/member/b", `{"addr":["127.0.0.14"],"tier":2}`)
	in.put("pool/full/policy", `{"steps":["up",{"shed":{"low":"80%","high":"100%"}},"tier",{"take":{"n":1}}]}`)
	in.put("zone/example.com/name/full/steer", `{"pool":"full"}`)
	const subnet = "192.0.2.0/25" // in Frankfurt, says the database
	farther := func(want string) {
		t.Helper()
		path := "/explain?name=www.example.com&type=A&subnet=" + subnet
		for start := time.Now(); ; {
			_, body := in.get(path)
			if strings.Contains(body, want) {
				return
			}
			if time.Since(start) > patience {
				t.Fatalf("no %q in\n%s", want, body)
			}
		}
	}
	farther("no checker has measured anything")
	in.measure("checker/here", `{"site":"fra","version":"1"}`)
	in.measure("rtt/here/web", `{"fra":{"127.0.0.11":95.5},"bos":{"127.0.0.12":11.9}}`)
	farther("bos: 11.9 ms, measured")
	farther("fra: 95.5 ms, measured")
	if _, err := in.etcd.Delete(t.Context(), "/gslb-live/rtt/here/web"); err != nil {
		t.Fatal(err)
	}
	in.measure("checker/there", `{"site":"nowhere"}`)
	in.awaitMetric("meridian_live_unplaced_checkers 1")
	farther("bos: 11.9 ms, measured")

	in.gives("full.example.com.", "127.0.0.13")
	in.measure("load/full/a", `{"load":1.5}`)
	in.gives("full.example.com.", "127.0.0.14")
	in.measure("load/full/a", `{"laod":0.5}`)
	in.awaitMetric("meridian_live_wrong_keys 1")
	in.gives("full.example.com.", "127.0.0.14")
	in.measure("load/full/a", `{"load":0.5}`)
	in.gives("full.example.com.", "127.0.0.13")
	in.awaitMetric("meridian_live_wrong_keys 0")
	in.awaitMetric("meridian_live_rejected_total 1")
}

// A pool with manual failback stays where it went until a person deletes its latch.
func TestServeLatch(t *testing.T) {
	dir := t.TempDir()
	in := startInstance(t, dir)
	first, second := startBackendAt(t, "127.0.0.11:0"), startBackendAt(t, "127.0.0.12:0")
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("check/web", `{"http":{},"interval":"100ms","rise":1,"fall":1}`)
	in.put("pool/web/policy", `{"steps":["up",{"tier":{"failback":"manual"}},{"take":{"n":1}}],"check":"web"}`)
	in.put("pool/web/member/a", fmt.Sprintf(`{"addr":[%q],"port":%d}`, first.addr.Addr(), first.addr.Port()))
	in.put("pool/web/member/b", fmt.Sprintf(`{"addr":[%q],"port":%d,"tier":2}`, second.addr.Addr(), second.addr.Port()))
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	in.gives("www.example.com.", "127.0.0.11")
	in.awaitMetric(`meridian_pool_latch{pool="web"} 0`)

	first.srv.Close()
	in.gives("www.example.com.", "127.0.0.12")
	var l health.Latch
	if text := in.liveKey("/gslb/latch/web", true); json.Unmarshal([]byte(text), &l) != nil || l.Tier != 2 || l.By != "ns1" || l.Since == nil {
		t.Errorf("latch %s", text)
	}
	startBackendAt(t, first.addr.String())
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	in.awaitMetric(`meridian_pool_latch{pool="web"} 2`)
	in.gives("www.example.com.", "127.0.0.12")

	// A new start forgets nothing.
	in.stop()
	in = startInstance(t, dir)
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 2`)
	in.gives("www.example.com.", "127.0.0.12")
	if _, err := in.etcd.Delete(t.Context(), "/gslb/latch/web"); err != nil {
		t.Fatal(err)
	}
	in.gives("www.example.com.", "127.0.0.11")
	in.awaitMetric(`meridian_pool_latch{pool="web"} 0`)
}
