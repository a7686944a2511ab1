package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"meridian/policy"
	"meridian/policy/geo"
)

// measuredPool is a pool by round-trip time, of members in Frankfurt and Boston, and a pool around it.
var measuredPool = map[string]string{
	"zone/example.com/soa": `{"ns":["ns1"]}`, "zone/example.com/name/a/steer": `{"pool":"web"}`, "zone/example.com/name/b/steer": `{"pool":"top"}`,
	"site/fra": `{"lat":50.1,"lon":8.7}`, "site/bos": `{"lat":42.4,"lon":-71.1}`, "site/lon": `{"lat":51.5,"lon":-0.1}`,
	"pool/web/policy":     `{"policy":"latency"}`,
	"pool/web/member/bos": `{"addr":["192.0.2.2"],"site":"bos"}`,
	"pool/web/member/fra": `{"addr":["192.0.2.1","192.0.2.11"],"site":"fra"}`,
	"pool/top/policy":     `{"policy":"latency"}`,
	"pool/top/member/web": `{"pool":"web"}`,
}

// liveKeys is an update of live keys; a value of "" is a delete.
func liveKeys(revision int64, keys ...string) Update {
	u := Update{Revision: revision}
	for i := 0; i < len(keys); i += 2 {
		u.Entries = append(u.Entries, Entry{Key: keys[i], Value: []byte(keys[i+1]), Deleted: keys[i+1] == "", Revision: revision})
	}
	return u
}

// measuring is a registry that has read keys, and knows where a client in London is.
func measuring(t *testing.T, keys map[string]string) *Registry {
	t.Helper()
	l := geo.NewLayer()
	if err := l.Add(netip.MustParsePrefix("198.51.100.0/24"), geo.Record{Country: geo.CountryOf("GB"), Place: geo.PointAt(51.5, -0.1)}); err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(slog.New(slog.DiscardHandler))
	r.SetGeo(geo.Compile(l))
	if keys != nil {
		r.Apply(all(1, keys))
	}
	return r
}

// far is what is said of how far the members of a pool are for that client.
func (r *Registry) far(t *testing.T, pool string) string {
	t.Helper()
	var d policy.Decision
	var trace policy.Trace
	c := policy.Client{Addr: netip.MustParseAddr("198.51.100.1")}
	policy.Select(&d, r.pools[pool].compiled, &r.snapshot.World, &c, 1, new(policy.Scratch), &trace)
	var lines []string
	for _, step := range trace.Runs[0].Steps {
		for _, line := range step.LookedUp {
			if strings.Contains(line, " ms") || strings.Contains(line, "site") {
				line, _, _ = strings.Cut(line, ", the nearest")
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "; ")
}

const (
	byFrankfurt = "stands at site fra, 637 km away; "
	byLondon    = "stands at site lon, 0 km away; "
	estimated   = "no checker has measured anything: 100 km count as 1 ms; bos: 52.7 ms, estimated by distance; fra: 6.4 ms, estimated by distance"
)

// What rtt keys say reaches the decision, and the last that is known stays.
func TestTakeLiveRTT(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes []Update
		keys  []string // of the registry, put after that; "" deletes
		want  string
	}{
		{"nothing", nil, nil, estimated},
		{"one checker", []Update{liveKeys(2, "checker/a", `{"site":"fra","version":"1","started":"2026-11-23T10:00:00Z"}`,
			"rtt/a/web", `{"fra":{"192.0.2.1":3,"192.0.2.11":1.5},"bos":{"192.0.2.2":80}}`)}, nil,
			byFrankfurt + "bos: 80.0 ms, measured; fra: 1.5 ms, measured"},
		{"two of a site: the mean", []Update{liveKeys(2, "checker/a", `{"site":"fra"}`, "checker/b", `{"site":"fra"}`,
			"rtt/a/web", `{"bos":{"192.0.2.2":80}}`, "rtt/b/web", `{"bos":{"192.0.2.2":90},"fra":{"192.0.2.1":2}}`)}, nil,
			byFrankfurt + "bos: 85.0 ms, measured; fra: 2.0 ms, measured"},
		{"the site next to the client", []Update{liveKeys(2, "checker/a", `{"site":"fra"}`, "checker/b", `{"site":"lon"}`,
			"rtt/a/web", `{"bos":{"192.0.2.2":80}}`, "rtt/b/web", `{"bos":{"192.0.2.2":70}}`)}, nil,
			byLondon + "bos: 70.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"of an address that the member does not have", []Update{liveKeys(2, "checker/a", `{"site":"fra"}`,
			"rtt/a/web", `{"bos":{"192.0.2.99":80},"nobody":{"192.0.2.2":80}}`)}, nil,
			byFrankfurt + "bos: 59.0 ms, estimated by distance; fra: 0.0 ms, estimated by distance"},
		{"of a site that nobody knows", []Update{liveKeys(2, "checker/a", `{"site":"syd"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`)}, nil, estimated},
		{"whose site comes", []Update{liveKeys(2, "checker/a", `{"site":"syd"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`)},
			[]string{"site/syd", `{"lat":-33.9,"lon":151.2}`}, "stands at site syd, 16995 km away; bos: 80.0 ms, measured; fra: 164.8 ms, estimated by distance"},
		{"whose site goes", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`)},
			[]string{"site/lon", ""}, estimated},
		{"whose site moves", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`)},
			[]string{"site/lon", `{"lat":50.1,"lon":8.7}`}, "stands at site lon, 637 km away; bos: 80.0 ms, measured; fra: 0.0 ms, estimated by distance"},
		{"the checker's key comes last", []Update{liveKeys(2, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`), liveKeys(3, "checker/a", `{"site":"lon"}`)}, nil,
			byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"the checker is gone: the last known stays", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`),
			liveKeys(3, "checker/a", "", "rtt/a/web", "")}, nil, byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"all gone by a read", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`),
			{Full: true, Below: "rtt/"}}, nil, byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"another of the site measures anew", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`),
			liveKeys(3, "checker/a", "", "rtt/a/web", ""), liveKeys(4, "checker/b", `{"site":"lon"}`, "rtt/b/web", `{"bos":{"192.0.2.2":60}}`)}, nil,
			byLondon + "bos: 60.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"one of two is gone", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "checker/b", `{"site":"lon"}`,
			"rtt/a/web", `{"bos":{"192.0.2.2":80}}`, "rtt/b/web", `{"bos":{"192.0.2.2":60}}`), liveKeys(3, "rtt/a/web", "")}, nil,
			byLondon + "bos: 60.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"a checker moves: what it measured there stays there", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`),
			liveKeys(3, "checker/a", `{"site":"fra"}`, "rtt/a/web", `{"bos":{"192.0.2.2":90}}`)}, nil,
			byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"a wrong value changes nothing", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`),
			liveKeys(3, "rtt/a/web", `{"bos":{"192.0.2.2":-1}}`)}, nil, byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"the pool is compiled anew", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`)},
			[]string{"pool/web/member/fra", `{"addr":["192.0.2.3"],"site":"fra","weight":2}`}, byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"a member comes", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80},"ams":{"192.0.2.3":4}}`)},
			[]string{"pool/web/member/ams", "192.0.2.3"}, byLondon + "ams: 4.0 ms, measured; bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
		{"at another address", []Update{liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.200":80}}`)},
			[]string{"pool/web/member/bos", `{"addr":["192.0.2.2"],"check_addr":"192.0.2.200","site":"bos"}`}, byLondon + "bos: 80.0 ms, measured; fra: 6.4 ms, estimated by distance"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := liveKeys(9, tt.keys...)
			u.Cluster = 1
			for _, first := range []bool{false, true} { // live keys, before the registry
				r := measuring(t, nil)
				if !first {
					r.Apply(all(1, measuredPool))
				}
				for _, u := range tt.takes {
					r.TakeLive(u)
				}
				if first {
					r.Apply(all(1, measuredPool))
				}
				r.Apply(u)
				if got := r.far(t, "web"); got != tt.want {
					t.Errorf("live keys first: %v\ngot  %s\nwant %s", first, got, tt.want)
				}
			}
		})
	}
}

// A member that is a pool is as far as its nearest member.
func TestTakeLiveNested(t *testing.T) {
	r := measuring(t, measuredPool)
	r.TakeLive(liveKeys(2, "checker/a", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80},"fra":{"192.0.2.1":9}}`))
	if got, want := r.far(t, "top"), byLondon+"web: 9.0 ms, measured"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What is kept is bounded by what is there: pools, sites, live keys.
func TestTakeLiveForgets(t *testing.T) {
	keys := []string{"checker/a", `{"site":"lon"}`, "checker/b", `{"site":"lon"}`, "rtt/a/web", `{"bos":{"192.0.2.2":80}}`, "rtt/b/web", `{"bos":{"192.0.2.2":80}}`,
		"rtt/a/none", `{"bos":{"192.0.2.2":80}}`, "load/web/bos", `{"load":0.5}`, "utilization/a/web", `{"bos":{"192.0.2.2":1}}`, "rtt/c/web", `{"bos":{"192.0.2.2":80}}`}
	var gone []string
	for i := 0; i < len(keys); i += 2 {
		gone = append(gone, keys[i], "")
	}
	for _, tt := range []struct {
		name string
		keys []string
		want int // measures
	}{
		{"nothing more", nil, 1},
		{"the pool goes", []string{"pool/web/policy", "", "pool/web/member/bos", "", "pool/web/member/fra", "", "pool/top/member/web", "", "zone/example.com/name/a/steer", ""}, 0},
		{"the site goes", []string{"site/lon", ""}, 0},
	} {
		for _, first := range []bool{false, true} {
			r := measuring(t, measuredPool)
			r.TakeLive(liveKeys(2, keys...))
			u := liveKeys(9, tt.keys...)
			u.Cluster = 1
			if first {
				r.Apply(u)
			}
			r.TakeLive(liveKeys(3, gone...))
			if !first {
				r.Apply(u)
			}
			n := 0
			for _, measures := range r.live.rtts {
				n += len(measures)
			}
			if n != tt.want || len(r.live.checkers)+len(r.live.loads)+len(r.live.told)+len(r.live.wrong) != 0 || len(r.live.rtts) != n {
				t.Errorf("%s, before the live keys %v: %d measures, expected %d; %+v", tt.name, first, n, tt.want, r.live)
			}
		}
	}
}

// A wrong live key is counted, and logged once.
func TestTakeLiveWrong(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"checker/a", `{"site":"fra","versoin":"1"}`, `versoin: unknown field (did you mean "version"?), expected site, version, started, targets, abstains`},
		{"checker/a", `{}`, `site: "" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"report/a/web", `{"fra":{"192.0.2.1":{"state":"upp","since":"2026-11-22T18:00:00Z"}}}`, `fra.192.0.2.1.state: "upp" is not known, expected "up" or "down"`},
		{"report/a/web", `{"fra":{"192.0.2.1":{"state":"up"}}}`, `fra.192.0.2.1.since: missing, expected a time such as "2026-11-22T18:00:00Z"`},
		{"report/a/web", `{"fra":{"192.0.2.1":{"sate":"up"}}}`, `fra.192.0.2.1.sate: unknown field (did you mean "state"?), expected state, since, reason, warning`},
		{"report/a/web", `{"fra":"up"}`, "fra: expected an object, found a string"},
		{"rtt/a/web", `{"fra":{"192.0.2.300":1}}`, `fra.192.0.2.300: "192.0.2.300" is not an IP address: IPv4 field has value >255`},
		{"rtt/a/web", `{"fra":{"192.0.2.1":"1ms"}}`, "fra.192.0.2.1: expected a number, found a string"},
		{"rtt/a/web", `{"fra":{"192.0.2.1":60001}}`, "fra.192.0.2.1: 60001 is out of range, expected 0 to 60000 ms"},
		{"rtt/a/web", `{"fra":{"192.0.2.1":-0.5}}`, "fra.192.0.2.1: -0.5 is out of range, expected 0 to 60000 ms"},
		{"rtt/a/web", `[]`, `expected a JSON object, found "[]"`},
		{"utilization/a/web", `{"fra":{"192.0.2.1":-0.5}}`, "fra.192.0.2.1: -0.5 is out of range, expected 0 or more"},
		{"utilization/a/web", `{"fra":{"192.0.2.1":"80%"}}`, "fra.192.0.2.1: expected a number, found a string"},
		{"utilization/a/web", `{"fra":{"fra1":0.5}}`, `fra.fra1: "fra1" is not an IP address: unable to parse IP`},
		{"utilization/a/web", `{"fra":0.5}`, "fra: expected an object, found a number"},
		{"utilization//web", `{}`, "no such kind of live key, expected checker/<checker>, report/<checker>/<pool>, rtt/<checker>/<pool>, utilization/<checker>/<pool> or load/<pool>/<member>"},
		{"load/web/fra", `{}`, "load: missing, expected a number, 1 where the member is just filled"},
		{"load/web/fra", `{"load":-1}`, "load: -1 is out of range, expected 0 or more"},
		{"load/web/fra", `0.5`, `expected a JSON object, found "0.5"`},
		{"latency/a/web", `{}`, "no such kind of live key, expected checker/<checker>, report/<checker>/<pool>, rtt/<checker>/<pool>, utilization/<checker>/<pool> or load/<pool>/<member>"},
		{"rtt/a", `{}`, "no such kind of live key, expected checker/<checker>, report/<checker>/<pool>, rtt/<checker>/<pool>, utilization/<checker>/<pool> or load/<pool>/<member>"},
	} {
		var log bytes.Buffer
		r := measuring(t, measuredPool)
		r.faults.log = slog.New(slog.NewTextHandler(&log, nil))
		for revision := range int64(3) {
			r.TakeLive(liveKeys(2+revision, tt.key, tt.value))
		}
		if n := strings.Count(log.String(), "live key ignored"); n != 1 || !strings.Contains(log.String(), fmt.Sprintf("error=%q", tt.want)) && !strings.Contains(log.String(), "error="+tt.want) {
			t.Errorf("%s %s: logged %d times\n%swant %q", tt.key, tt.value, n, &log, tt.want)
		}
		if s := r.liveStats(); s.Rejected != 3 || s.Wrong != 1 || len(r.Faults()) != 0 {
			t.Errorf("%s %s: %+v, faults %v", tt.key, tt.value, s, r.Faults())
		}
		r.TakeLive(liveKeys(5, tt.key, ""))
		if s := r.liveStats(); s.Wrong != 0 {
			t.Errorf("%s, deleted: %+v", tt.key, s)
		}
	}
	r := measuring(t, measuredPool)
	r.TakeLive(liveKeys(2, "checker/a", `{"site":"syd"}`, "checker/b", `{"site":"fra"}`))
	if s := r.liveStats(); s != (LiveStats{Unplaced: 1}) {
		t.Errorf("a checker at a site that is not there: %+v", s)
	}
}

// loads are the loads of the members of web, "bos 0.5", of those that have one.
func (r *Registry) loads() string {
	var said []string
	p := r.pools["web"].compiled
	for i := range p.Members {
		if load, ok := p.Health(i).Load(); ok {
			said = append(said, fmt.Sprintf("%s %g", p.Members[i].Name, load))
		}
	}
	return strings.Join(said, ", ")
}

// A load counts for a minute after it came, whatever is read again meanwhile.
func TestApplierLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := runApplier(t, nil, nil)
		take := func(u Update) {
			t.Helper()
			a.Live() <- u
			synctest.Wait()
		}
		expect := func(when, want string) {
			t.Helper()
			if got := a.registry.loads(); got != want {
				t.Errorf("%s: %q, expected %q", when, got, want)
			}
		}
		take(Update{Full: true, Below: "load/", Entries: liveKeys(2, "load/web/bos", `{"load":0.5}`, "load/nowhere/a", `{"load":1}`).Entries})
		a.send(all(7, measuredPool))
		expect("before the registry was read", "bos 0.5")
		after(30 * time.Second)
		take(liveKeys(8, "load/web/fra", `{"load":1.2}`))
		expect("later", "bos 0.5, fra 1.2")
		a.send(Update{Revision: 9, Cluster: 1, Entries: []Entry{{Key: "pool/web/member/fra", Value: []byte("192.0.2.9"), Revision: 9}}})
		expect("the pool is compiled anew", "bos 0.5, fra 1.2")
		after(29 * time.Second)
		expect("after 59 s", "bos 0.5, fra 1.2")
		after(2 * time.Second)
		expect("after 61 s", "fra 1.2")
		take(Update{Full: true, Below: "load/", Entries: append(liveKeys(2, "load/web/bos", `{"load":0.5}`).Entries, liveKeys(8, "load/web/fra", `{"load":1.2}`).Entries...)})
		expect("the same read again", "fra 1.2")
		a.send(Update{Revision: 10, Cluster: 1, Entries: []Entry{{Key: "pool/web/member/fra", Value: []byte("192.0.2.8"), Revision: 10}}})
		expect("compiled anew", "fra 1.2")
		take(liveKeys(11, "load/web/bos", `{"load":0.25}`, "load/web/fra", ""))
		expect("one is new, one is gone", "bos 0.25")
		take(Update{Full: true, Below: "rtt/"})
		expect("of rtt keys there are none", "bos 0.25")
		take(Update{Full: true, Below: "load/"})
		expect("of load keys there are none", "")
	})
}
