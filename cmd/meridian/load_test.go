package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// shedding puts a pool of two backends, of which m1 tells load, and a policy that sheds it from 60 % on.
func (in *instance) shedding(load *atomic.Value) {
	for i := range 2 {
		b := startBackendAt(in.t, fmt.Sprintf("127.0.0.%d:0", 31+i))
		if i == 1 {
			b.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("endpoint-load-metrics", load.Load().(string))
			})
		}
		in.put(fmt.Sprintf("pool/web/member/m%d", i), fmt.Sprintf(`{"addr":[%q],"port":%d}`, b.addr.Addr(), b.addr.Port()))
	}
	in.put("check/web", `{"http":{},"interval":"100ms","rise":1,"fall":3}`)
	in.put("pool/web/policy", `{"steps":["up",{"shed":{"low":"60%","high":"90%"}},{"take":{"n":2}}],"check":"web"}`)
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
}

// What a backend tells the server's own checks sheds it, without any key; what somebody puts wins.
func TestLoadHeardHere(t *testing.T) {
	in := startInstance(t, t.TempDir())
	var load atomic.Value
	load.Store("TEXT application_utilization=0.95,cpu_utilization=0.3")
	in.shedding(&load)
	in.explains("load 95% (told to 1 checker)")
	in.givesAll("127.0.0.31")
	in.measure("load/web/m1", `{"load":0.2}`)
	in.explains("load 20% (put)")
	in.givesAll("127.0.0.31", "127.0.0.32")
	in.unmeasure("load/web/m1")
	in.givesAll("127.0.0.31")
	load.Store("")
	in.givesAll("127.0.0.31", "127.0.0.32")
	if keys := in.liveKeys("utilization/"); len(keys) != 0 {
		t.Errorf("a server writes %v", keys)
	}
}

// Checkers write what they are told, and take it away.
func TestLoadHeardByCheckers(t *testing.T) {
	in := startInstanceWith(t, t.TempDir(), func(c *Config) { c.Checker.Enabled = false })
	var load atomic.Value
	load.Store("JSON {\"cpu_utilization\":0.95}")
	in.shedding(&load)
	var stops []func()
	for _, site := range []string{"fra", "nyc"} {
		_, stop := startChecker(t, in, site+"-1", site, nil)
		stops = append(stops, stop)
	}
	in.explains("load 95% (told to 2 checkers)")
	in.givesAll("127.0.0.31")
	if got, want := in.liveKey("/gslb-live/utilization/fra-1/web", true), `{"m1":{"127.0.0.32":0.95}}`; got != want {
		t.Errorf("written %s, expected %s", got, want)
	}
	load.Store("BIN SZqZmZmZmbk/") // 0.1
	in.explains("load 10% (told to 2 checkers)")
	in.givesAll("127.0.0.31", "127.0.0.32")
	stops[0]()
	in.explains("load 10% (told to 1 checker)")
	load.Store("")
	in.liveKey("/gslb-live/utilization/nyc-1/web", false)
}

// liveKeys are the live keys below a directory.
func (in *instance) liveKeys(dir string) (keys []string) {
	in.t.Helper()
	got, err := in.etcd.Get(in.t.Context(), "/gslb-live/"+dir, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		in.t.Fatal(err)
	}
	for _, kv := range got.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}
