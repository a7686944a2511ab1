//go:build faults

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// deleteAll is etcdctl del --prefix.
func (r *rig) deleteAll(prefix string) (revision int64) {
	r.t.Helper()
	done, err := r.client.Delete(r.t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		r.t.Fatal(err)
	}
	return done.Header.Revision
}

// dump is all that the registry holds, by key below /gslb/.
func (r *rig) dump() map[string]string {
	r.t.Helper()
	got, err := r.client.Get(r.t.Context(), "/gslb/", clientv3.WithPrefix())
	if err != nil {
		r.t.Fatal(err)
	}
	keys := map[string]string{}
	for _, kv := range got.Kvs {
		keys[strings.TrimPrefix(string(kv.Key), "/gslb/")] = string(kv.Value)
	}
	return keys
}

// accept puts the operator's word, and returns what it was.
func (r *rig) accept(revision int64) {
	r.t.Helper()
	r.put(map[string]string{"control/accept-delete": strconv.FormatInt(revision, 10)})
}

// awaitHeld waits until the server holds deletes back, and sees to it that it says so everywhere. It
// returns the number to be put.
func (r *rig) awaitHeld() (accept int64) {
	r.t.Helper()
	r.await("deletes are held", func() bool { return r.status().Held != nil })
	h := r.status().Held
	r.say("held: %d names, %d members, %d others; accept %d", h.Names, h.Members, h.Others, h.Accept)
	number := strconv.FormatInt(h.Accept, 10)
	r.await("the live key tells of held deletes", func() bool {
		s := r.liveStatus()
		return s.Held != nil && s.Held.Accept == h.Accept
	})
	if status, body := r.get("/readyz"); status != 200 || !strings.Contains(body, number) {
		r.t.Errorf("readyz: %d %q, expected 200 and the number %s", status, body, number)
	}
	r.await("the error key tells what to put", func() bool {
		return strings.Contains(r.read("/gslb-live/error/ns1/control/accept-delete"), "put "+number)
	})
	r.awaitMetric(fmt.Sprintf(`meridian_registry_held_deletes{kind="names"} %d`, h.Names))
	r.awaitMetric(fmt.Sprintf(`meridian_registry_held_deletes{kind="members"} %d`, h.Members))
	r.tells("control/accept-delete " + number)
	return h.Accept
}

// tells asks meridian status, which must say so and that not all is well.
func (r *rig) tells(text string) {
	r.t.Helper()
	out, err := r.run("status", "--text", "--etcd-endpoints", r.etcdAddr(), "--server", fmt.Sprintf("127.0.0.1:%d", r.httpPort))
	if err == nil || !strings.Contains(out, text) {
		r.t.Errorf("meridian status: %v, expected exit status 1 and %q in\n%s", err, text, out)
	}
}

func (r *rig) awaitNotHeld() {
	r.t.Helper()
	r.await("nothing is held any more", func() bool { s := r.status(); return s.Held == nil && s.Refused == "" })
}

// restartHeld starts the server anew, which is no word that deletes were meant.
func (r *rig) restartHeld() {
	r.t.Helper()
	r.awaitImage()
	r.restartServer()
	r.await("the alarm stands after a restart", func() bool { s := r.status(); return s.Held != nil || s.Refused != "" })
	r.say("after a restart %+v %s", r.status().Held, r.status().Refused)
}

// TestFaultDeleteAll: all keys are deleted. Nothing is lost; it is told, undone by putting them back, and done
// once somebody says that it was meant.
func TestFaultDeleteAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	r.changesFor(time.Second)
	all := r.dump()

	r.deleteAll("/gslb/")
	r.awaitHeld()
	r.letPass(*faultPause)
	r.restartHeld()
	r.letPass(time.Second)
	r.put(all)
	r.awaitNotHeld()
	r.changesFor(time.Second)

	r.deleteAll("/gslb/")
	accept := r.awaitHeld()
	r.accept(accept - 1) // is not enough
	r.letPass(time.Second)
	if r.status().Held == nil {
		t.Errorf("let through by %d, expected %d", accept-1, accept)
	}
	done := r.allBecome(func(*record) string { return "REFUSED" }) // the zone is gone
	r.accept(accept)
	r.awaitNotHeld()
	done()
	r.letPass(followed + time.Second)
	r.result()
}

// TestFaultDeleteSlowly: meridian apply --prune, again and again, with a manifest that has lost some more names each
// time. Half of the names may go.
func TestFaultDeleteSlowly(t *testing.T) {
	t.Parallel()
	deleteSlowly(t, false)
}

// TestFaultDeleteSlowlyAndRestart is the same with a restart of the server as soon as something is held back: what was
// let through before counts on.
func TestFaultDeleteSlowlyAndRestart(t *testing.T) {
	t.Parallel()
	deleteSlowly(t, true)
}

func deleteSlowly(t *testing.T, restart bool) {
	r := newRig(t)
	r.up()
	left := r.dump()
	maps.DeleteFunc(left, func(key, _ string) bool { return !strings.HasPrefix(key, "zone/fault.test/name/") })
	all := len(left)
	byKey := map[string]*record{}
	for _, c := range r.records {
		byKey[c.key] = c
	}
	keys := slices.Sorted(maps.Keys(left))
	r.random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var pruned []*record
	var done []func()
	prune := func(batch []string) {
		for _, key := range batch {
			delete(left, key)
			if c := byKey[key]; c != nil {
				pruned = append(pruned, c)
				done = append(done, r.oracle.change(c.question, "NXDOMAIN"))
			}
		}
		manifest, err := json.Marshal(left)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.path("left.json"), manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := r.run("apply", "--etcd-endpoints", r.etcdAddr(), "--prune", "zone/fault.test/name/", r.path("left.json")); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
		r.letPass(100 * time.Millisecond)
	}
	static := slices.DeleteFunc(keys, func(key string) bool { return byKey[key] == nil })
	for batch := range slices.Chunk(static[:all*9/10], 11) {
		prune(batch)
		if restart && r.status().Held != nil {
			restart = false
			r.restartHeld()
		}
	}
	accept := r.awaitHeld()
	r.letPass(*faultPause)
	gone := 0
	for _, c := range pruned {
		if askOnce(r.dnsAddr(), c.question, lostAfter) == "NXDOMAIN" {
			gone++
		}
	}
	r.say("%d of %d names deleted, %d gone", len(pruned), all, gone)
	if 2*gone > all || gone == 0 {
		t.Errorf("%d of %d names were deleted little by little, and %d are gone, expected about half", len(pruned), all, gone)
	}
	r.accept(accept)
	r.awaitNotHeld()
	for _, each := range done {
		each()
	}
	r.letPass(followed + time.Second)
	r.result(fmt.Sprintf("%d of %d gone before it was held", gone, all))
}
