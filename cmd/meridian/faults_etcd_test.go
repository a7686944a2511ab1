//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFaultEtcdAway: etcd is gone for long while the server runs. Nothing is lost, nothing changes, the age is
// shown; the changes after it are followed.
func TestFaultEtcdAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	stop := r.changes(30)
	r.letPass(time.Second)
	sees := r.oracle.cutOff()
	r.etcd.kill()
	r.say("etcd killed")
	r.await("the loss is told", func() bool { return !r.status().Lost.IsZero() })
	since := r.status().Lost
	r.letPass(2 * *faultPause)
	if s := r.status(); !s.Lost.Equal(since) || !s.Ready || time.Since(s.Contact) < *faultPause {
		t.Errorf("after %v without etcd the status is %+v", 2**faultPause, s)
	}
	if status, body := r.get("/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	r.awaitMetric("meridian_registry_reachable 0")
	r.tells("etcd has been out of reach")
	r.startEtcd("etcd")
	sees(healed)
	back := r.await("etcd is in reach again", func() bool { return r.status().Lost.IsZero() })
	r.letPass(2 * time.Second)
	r.result(fmt.Sprintf("%d changes", stop()), fmt.Sprintf("followed again after %v", back.Round(time.Millisecond)))
}

// awaitMetric waits until a line is among the metrics.
func (r *rig) awaitMetric(line string) {
	r.t.Helper()
	r.await("metric "+line, func() bool {
		_, body := r.get("/metrics")
		return strings.Contains(body, "\n"+line+"\n")
	})
}

// TestFaultEtcdPaused: etcd stands still, and goes on as if nothing had been. Once for less time than it takes the
// server to give it up, and with -pause 30s for more.
func TestFaultEtcdPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	stop := r.changes(30)
	for range 2 {
		r.letPass(time.Second)
		sees := r.oracle.cutOff()
		r.etcd.pause()
		r.letPass(*faultPause)
		r.etcd.resume()
		sees(healed)
	}
	r.letPass(2 * time.Second)
	r.result(fmt.Sprintf("%d changes", stop()))
}

// TestFaultServerPaused: the server stands still while changes go on.
func TestFaultServerPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	stop := r.changes(30)
	for range 2 {
		r.letPass(time.Second)
		r.pauseServer(*faultPause, func() {})
	}
	r.letPass(2 * time.Second)
	r.result(fmt.Sprintf("%d changes", stop()))
}

// pauseServer stops the server for a while, at the end of which meanwhile is called.
func (r *rig) pauseServer(d time.Duration, meanwhile func()) {
	r.t.Helper()
	sees, goes := r.oracle.cutOff(), r.oracle.halted()
	r.server.pause()
	r.letPass(d)
	meanwhile()
	r.server.resume()
	goes(lostAfter)
	sees(healed)
}

// TestFaultCompaction: while the server hears nothing, what it would have to hear is compacted away; with its
// connection, and under a watch that is still there.
func TestFaultCompaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	stop := r.changes(60)
	for range 3 {
		r.letPass(time.Second)
		// The watch is to be behind the compaction: etcd is gone and back while the server stands still.
		r.pauseServer(time.Second, func() {
			r.etcd.stop()
			r.startEtcd("etcd")
			r.letPass(time.Second) // of changes
			r.compact()
		})
	}
	r.letPass(time.Second)
	r.pauseServer(0, func() {
		r.flood()
		r.compact()
	})
	r.await("a watch is told of the compaction", func() bool { return r.logged("etcd has compacted") })
	r.letPass(2 * time.Second)
	r.result(fmt.Sprintf("%d changes", stop()))
}

// flood writes more than a connection and etcd's buffer of 128 responses hold, so that a watch whose client does not
// read falls behind.
func (r *rig) flood() {
	r.t.Helper()
	value := strings.Repeat("x", 60_000)
	for range 500 {
		r.put(map[string]string{"site/flood": value})
	}
}

// logged says whether the server has said something.
func (r *rig) logged(text string) bool {
	r.t.Helper()
	said, err := os.ReadFile(r.path("server.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Contains(string(said), text)
}

// compact has etcd forget all but the newest revision.
func (r *rig) compact() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	now, err := r.client.Get(ctx, "/gslb/")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.client.Compact(ctx, now.Header.Revision); err != nil {
		r.t.Fatal(err)
	}
	r.say("compacted at %d", now.Header.Revision)
}

// TestFaultMix is a random sequence of all that etcd and the server must get over without being told.
func TestFaultMix(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	stop := r.changes(40)
	short := func() time.Duration { return time.Duration(r.random.IntN(1500)) * time.Millisecond }
	away := func(end func()) {
		sees := r.oracle.cutOff()
		end()
		r.letPass(short())
		r.startEtcd("etcd")
		sees(healed)
	}
	faults := []struct {
		name string
		make func()
	}{
		{"etcd killed", func() { away(r.etcd.kill) }},
		{"etcd stopped", func() { away(r.etcd.stop) }},
		{"etcd paused", func() {
			sees := r.oracle.cutOff()
			r.etcd.pause()
			r.letPass(short())
			r.etcd.resume()
			sees(healed)
		}},
		{"server paused", func() { r.pauseServer(short(), func() {}) }},
		{"server paused, compacted", func() { r.pauseServer(short(), r.compact) }},
		{"compacted", r.compact},
		{"etcd killed and compacted", func() { away(r.etcd.kill); r.compact() }},
		{"server killed", func() {
			sees := r.oracle.cutOff()
			r.restartServer()
			sees(healed)
		}},
	}
	for range 16 {
		f := faults[r.random.IntN(len(faults))]
		r.say("%s", f.name)
		f.make()
		r.letPass(short())
	}
	r.letPass(2 * time.Second)
	r.result(fmt.Sprintf("%d changes", stop()))
}
