//go:build faults

package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// liveOf are the live keys that a checker writes, with their values and the revisions at which they came to be.
func (b *bench) liveOf(n *node) (values map[string]string, created map[string]int64) {
	b.t.Helper()
	values, created = map[string]string{}, map[string]int64{}
	for _, dir := range []string{"checker/", "report/", "rtt/"} {
		ctx, cancel := context.WithTimeout(b.t.Context(), patience)
		got, err := b.client.Get(ctx, "/gslb-live/"+dir+n.site+"-1", clientv3.WithPrefix())
		cancel()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, kv := range got.Kvs {
			key := strings.TrimPrefix(string(kv.Key), "/gslb-live/")
			values[key], created[key] = string(kv.Value), kv.CreateRevision
		}
	}
	return values, created
}

// reported is what a checker reports of a backend's first address: its state, "" where that is nothing.
func (b *bench) reported(n *node, s *service) string {
	b.t.Helper()
	values, _ := b.liveOf(n)
	var report map[string]map[string]struct{ State string }
	if text := values["report/"+n.site+"-1/"+s.pool]; text != "" {
		if err := json.Unmarshal([]byte(text), &report); err != nil {
			b.t.Fatal(err)
		}
	}
	return report[s.name][s.addrs[0].String()].State
}

// TestFaultCheckerPaused: a checker stands still until its lease has ended and beyond, and goes on as if nothing had
// been. Meanwhile a backend dies. It claims its key again and writes all that it reports anew, as it is now; no answer
// changes by that.
func TestFaultCheckerPaused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.up("")
	n, died := b.checkers[1], b.services[0]
	before, created := b.liveOf(n)
	if len(before) < 1+benchPools {
		t.Fatalf("it writes %v", slices.Sorted(maps.Keys(before)))
	}
	b.during("a checker stands still, and a backend dies", func() {
		n.process.pause()
		b.awaitCheckers(len(b.checkers) - 1)
		b.await("nothing of it is left", func() bool { values, _ := b.liveOf(n); return len(values) == 0 })
		b.oracle.leaves(died.addrs, time.Now().Add(b.check.leaves()))
		died.kill()
		b.await("who has died has left", func() bool { return b.oracle.everywhere(died.addrs, false) })
		b.letPass(effect)
	})
	b.during("it goes on", func() {
		n.process.resume()
		b.awaitCheckers(len(b.checkers))
		b.await("it says that who has died is down", func() bool { return b.reported(n, died) == "down" })
		b.awaitMetrics("meridian_health_disputed 0", "meridian_health_stale 0")
		b.await("all of its reports are there, and anew", func() bool {
			_, now := b.liveOf(n)
			for key := range before {
				if !strings.HasPrefix(key, "rtt/") && now[key] <= created[key] {
					return false
				}
			}
			return true
		})
		b.letPass(effect)
	})
	b.result()
}

// TestFaultCheckersLoseEtcd: etcd goes and comes back, for less and for more time than a lease lasts;
// servers leave checking to others. All checkers find it again by themselves, each at another moment.
func TestFaultCheckersLoseEtcd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.up("")
	for _, away := range []struct {
		what string
		long bool
	}{{"for a while", false}, {"for longer than a lease", true}} {
		b.during("etcd is away "+away.what, func() {
			b.etcd.kill()
			if b.letPass(*faultPause); away.long {
				b.letPass(lapses)
			}
			b.startEtcd()
		})
		b.during("it is back", func() {
			b.awaitCheckers(len(b.checkers))
			b.awaitMetrics("meridian_health_disputed 0", "meridian_health_stale 0", "meridian_registry_reachable 1")
			died := b.services[0]
			b.await("each has its key", func() bool {
				for _, n := range b.checkers {
					if values, _ := b.liveOf(n); values["checker/"+n.site+"-1"] == "" {
						return false
					}
				}
				return true
			})
			b.oracle.leaves(died.addrs, time.Now().Add(b.check.leaves()))
			died.kill()
			b.await("who dies leaves", func() bool { return b.oracle.everywhere(died.addrs, false) })
			died.start()
			b.oracle.returns(died.addrs, time.Now().Add(b.check.returns()))
			b.await("and comes back", func() bool { return b.oracle.everywhere(died.addrs, true) })
		})
	}
	for _, n := range b.checkers {
		if n.process.gone() {
			t.Errorf("%s has ended", n.name)
		}
	}
	b.result()
}
