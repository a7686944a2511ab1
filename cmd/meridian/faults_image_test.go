//go:build faults

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFaultBootWithImage: the server is started while etcd is down, and has an image. It answers right away.
func TestFaultBootWithImage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	var took []time.Duration
	for range 5 {
		r.changesFor(500 * time.Millisecond)
		r.awaitImage()
		sees := r.oracle.cutOff()
		r.etcd.kill()
		took = append(took, r.restartServer())
		r.awaitReady()
		if s := r.status(); !s.Image || s.Lost.IsZero() {
			t.Errorf("started without etcd, the status is %+v", s)
		}
		r.awaitMetric("meridian_registry_from_image 1")
		r.letPass(500 * time.Millisecond)
		r.startEtcd("etcd")
		sees(healed)
		r.await("etcd is in reach", func() bool { s := r.status(); return s.Lost.IsZero() && !s.Image })
	}
	r.changesFor(time.Second)
	r.result("first answers after the start " + tellTimes(took))
}

func tellTimes(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("%v to %v", took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// TestFaultBootWithoutImage: there is neither etcd nor an image. The server is not ready, refuses, and comes up by
// itself when etcd does.
func TestFaultBootWithoutImage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(r.registry())
	r.etcd.stop()
	answers := map[string]string{}
	for _, c := range r.records {
		answers[c.question] = c.answer(0)
		r.oracle.is(c.question, "REFUSED")
	}
	goes := r.oracle.halted()
	r.startServer()
	r.await("it listens", func() bool { return askOnce(r.dnsAddr(), r.records[0].question, time.Second) == "REFUSED" })
	goes(0)
	r.ask()
	r.await("HTTP answers", func() bool { status, _ := r.get("/readyz"); return status != 0 })
	for until := time.Now().Add(*faultPause); time.Now().Before(until); {
		if status, body := r.get("/readyz"); status != 503 {
			t.Fatalf("readyz: %d %s", status, body)
		}
		r.letPass(100 * time.Millisecond)
	}
	done := r.allBecome(func(c *record) string { return answers[c.question] })
	start := time.Now()
	r.startEtcd("etcd")
	up := time.Now()
	r.awaitReady()
	done()
	r.changesFor(time.Second)
	r.result(fmt.Sprintf("ready %v after etcd, which took %v", time.Since(up).Round(time.Millisecond), up.Sub(start).Round(time.Millisecond)))
}

// manyNames is how large the registry is whose image is written while the server is killed.
const manyNames = 100_000

// TestFaultKilled: the server is killed at random moments, while it writes the image of many names, and started again
// without etcd.
func TestFaultKilled(t *testing.T) {
	r := newRig(t)
	many := map[string]string{"zone/many.test/soa": `{"ns":["ns1.many.test."]}`}
	for i := range manyNames {
		many[fmt.Sprintf("zone/many.test/name/n%d/A", i)] = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	}
	manifest, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("many.json"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if out, err := r.run("apply", "--etcd-endpoints", r.etcdAddr(), r.path("many.json")); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	r.say("%d names put in %v", manyNames, time.Since(began).Round(time.Millisecond))
	for range 300 { // some of them are asked for
		i := r.random.IntN(manyNames)
		r.oracle.is(fmt.Sprintf("n%d.many.test. A", i), fmt.Sprintf("A 10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	r.up()
	r.await("an image", func() bool { return !r.status().ImageSaved.IsZero() })
	stop := r.changes(50)
	var took []time.Duration
	within := 0 // killed while it wrote
	for round := range 10 {
		r.awaitWriting()
		r.letPass(time.Duration(r.random.IntN(30)) * time.Millisecond)
		sees, goes := r.oracle.cutOff(), r.oracle.halted()
		r.server.pause() // as if the power went here
		if r.writing() {
			within++
		}
		if round%2 == 0 {
			r.etcd.pause() // connections to it hang
		} else {
			r.etcd.kill() // and are refused
		}
		took = append(took, r.restartServer())
		goes(0)
		r.awaitReady()
		r.letPass(300 * time.Millisecond)
		if s := r.status(); !s.Image || s.Names < manyNames {
			t.Errorf("round %d: started without etcd, the status is %+v", round, s)
		}
		if round%2 == 0 {
			r.etcd.resume()
		} else {
			r.startEtcd("etcd")
		}
		sees(healed)
		r.await("etcd is in reach", func() bool { return r.status().Lost.IsZero() })
	}
	r.letPass(time.Second)
	size, _ := os.Stat(r.path("server/registry.image"))
	r.result(fmt.Sprintf("%d changes", stop()), fmt.Sprintf("killed within a write %d times of %d", within, len(took)),
		"first answers after the start "+tellTimes(took),
		fmt.Sprintf("image %d MB, resident %d MB", size.Size()>>20, r.server.rss()>>20))
}

// writing says whether an image is being written: beside the one there is.
func (r *rig) writing() bool {
	_, err := os.Stat(r.path("server/registry.image.tmp"))
	return err == nil
}

// awaitWriting waits until an image is being written.
func (r *rig) awaitWriting() {
	r.t.Helper()
	for start := time.Now(); !r.writing(); time.Sleep(500 * time.Microsecond) {
		if time.Since(start) > patience {
			r.t.Fatalf("no image was written within %v of changes", patience)
		}
	}
}

// TestFaultDiskFull: the data directory is on a disk without room. The server serves on, and says so.
func TestFaultDiskFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := r.path("server")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("a small disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if r.server != nil {
			r.server.kill()
		}
		unix.Unmount(dir, 0)
	})
	filler := r.path("server/filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	fill()
	r.up() // on a full disk from the start
	r.changesFor(time.Second)
	r.await("the full disk is told", func() bool { return r.status().ImageError != "" })
	r.say("image error: %s", r.status().ImageError)
	r.awaitMetric("meridian_image_failed 1")
	r.tells("no space left on device")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.changesFor(time.Second)
	r.await("there is room again", func() bool { s := r.status(); return s.ImageError == "" && !s.ImageSaved.IsZero() })

	fill() // full while it runs: the image there is stays readable
	r.changesFor(time.Second)
	sees := r.oracle.cutOff()
	r.oracle.forget(time.Minute) // the image is from before the disk was full
	r.etcd.kill()
	r.restartServer()
	r.awaitReady()
	r.letPass(time.Second)
	r.startEtcd("etcd")
	sees(healed)
	r.await("etcd is in reach", func() bool { return r.status().Lost.IsZero() })
	r.changesFor(time.Second)
	r.result()
}
