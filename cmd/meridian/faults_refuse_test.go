//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// awaitRefused waits until the server does not obey what etcd holds, and returns the number to be put.
func (r *rig) awaitRefused() (accept int64) {
	r.t.Helper()
	r.await("what etcd holds is refused", func() bool { return r.status().Refused != "" })
	text := r.status().Refused
	r.say("refused: %s", text)
	_, number, _ := strings.Cut(text, "put ")
	if _, err := fmt.Sscan(number, &accept); err != nil {
		r.t.Fatalf("no number to put in %q", text)
	}
	if status, body := r.get("/readyz"); status != 200 || !strings.Contains(body, "not obeyed") {
		r.t.Errorf("readyz: %d %q, expected 200 and why etcd is not obeyed", status, body)
	}
	r.await("the live key tells why", func() bool { return r.liveStatus().Refused == text })
	r.awaitMetric("meridian_registry_refused 1")
	r.tells("not obeyed")
	return accept
}

func (r *rig) awaitObeyed() {
	r.t.Helper()
	r.await("etcd is obeyed", func() bool { s := r.status(); return s.Refused == "" && s.Lost.IsZero() })
}

// swapEtcd puts an etcd with other data in the place of the one there is.
func (r *rig) swapEtcd(dir string) {
	r.t.Helper()
	r.etcd.stop()
	r.startEtcd(dir)
}

// TestFaultWiped: etcd comes back empty, under a running server and under one that is started then.
func TestFaultWiped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	r.changesFor(time.Second)
	r.awaitImage()

	sees := r.oracle.cutOff()
	r.swapEtcd("empty")
	r.awaitRefused()
	r.letPass(*faultPause)
	took := r.restartServer()
	r.awaitRefused()
	r.letPass(*faultPause)

	r.swapEtcd("etcd")
	sees(healed)
	r.awaitObeyed()
	r.changesFor(2 * time.Second)
	r.result(fmt.Sprintf("first answer after a restart %v", took.Round(time.Millisecond)))
}

// TestFaultOtherCluster: another cluster with other content stands in etcd's place. It is obeyed once somebody says
// so.
func TestFaultOtherCluster(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mine := r.registry()
	other := map[string]string{}
	for _, c := range r.records {
		if c.value != nil {
			other[c.key] = c.value(1000)
		}
	}
	for key, value := range mine {
		if strings.HasSuffix(key, "/soa") || strings.HasSuffix(key, "/steer") {
			other[key] = value
		}
	}
	r.put(other)
	r.swapEtcd("mine")
	r.put(mine)
	r.startServer()
	r.awaitReady()
	r.ask()
	r.changesFor(time.Second)

	r.swapEtcd("etcd")
	accept := r.awaitRefused()
	r.letPass(*faultPause)
	done := r.allBecome(func(c *record) string {
		if c.value == nil {
			return "NXDOMAIN"
		}
		return c.answer(1000)
	})
	r.accept(accept)
	r.awaitObeyed()
	done()
	r.letPass(followed + time.Second)
	r.result()
}

// TestFaultOlder: etcd is set back to an older state of its own, as by a member that lags or by a backup. What was read
// later serves on, until etcd is as it was, or somebody says that it is right so.
func TestFaultOlder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(r.registry())
	r.etcd.stop()
	r.copyEtcd("etcd", "older")
	r.startEtcd("etcd")
	r.startServer()
	r.awaitReady()
	r.ask()
	r.changesFor(2 * time.Second)

	r.say("etcd is older")
	r.swapEtcd("older")
	r.awaitRefused()
	r.letPass(*faultPause)
	r.say("etcd is as it was")
	sees := r.oracle.cutOff()
	r.swapEtcd("etcd")
	sees(healed)
	r.awaitObeyed()
	r.changesFor(time.Second)

	r.say("etcd is older, and is meant to be")
	r.etcd.stop()
	if err := os.RemoveAll(r.path("older")); err != nil {
		t.Fatal(err)
	}
	r.copyEtcd("etcd", "older")
	r.startEtcd("etcd")
	before := map[*record]string{}
	for _, c := range r.records {
		before[c] = askOnce(r.dnsAddr(), c.question, lostAfter)
	}
	sees = r.oracle.cutOff()
	stop := r.changes(40)
	sees(healed)
	r.letPass(time.Second)
	stop()
	r.await("all changes have come", func() bool { return r.followsAll() })
	r.swapEtcd("older")
	accept := r.awaitRefused()
	done := r.allBecome(func(c *record) string { return before[c] })
	r.accept(accept)
	r.awaitObeyed()
	done()
	r.letPass(followed + time.Second)
	r.result()
}

// followsAll says whether the server has taken in all that etcd holds now.
func (r *rig) followsAll() bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	got, err := r.client.Get(ctx, "/gslb/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		r.t.Fatal(err)
	}
	return len(got.Kvs) == 0 || r.status().Revision >= got.Kvs[0].ModRevision
}
