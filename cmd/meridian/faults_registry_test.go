//go:build faults

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// record is a part of the registry that the answer to one question depends on.
type record struct {
	question string
	key      string // below /gslb/
	value    func(version int) string
	answer   func(version int) string
	goes     bool // it is deleted now and then

	version int
	gone    bool
}

// registry makes the keys of a small registry, whose records the oracle knows from then on: static ones,
// some that come and go, members of pools, and some that never change.
func (r *rig) registry() map[string]string {
	for i := range 40 {
		r.add(fmt.Sprintf("s%d", i), false)
		r.add(fmt.Sprintf("k%d", i), false).value = nil
	}
	for i := range 6 {
		r.add(fmt.Sprintf("c%d", i), true)
	}
	keys := map[string]string{
		"zone/fault.test/soa":       `{"ns":["ns1.fault.test."],"negative_ttl":30}`,
		"zone/fault.test/name/@/MX": "10 mail.example.net.",
	}
	for _, c := range r.records {
		keys[c.key] = fmt.Sprintf(`"%s v0"`, c.label())
	}
	for i := range 10 {
		name := fmt.Sprintf("p%d", i)
		address := func(v int) string { return fmt.Sprintf("10.%d.%d.%d", i, v>>8, v&255) }
		r.records = append(r.records, &record{
			question: name + ".fault.test. A", key: "pool/" + name + "/member/m", value: address,
			answer: func(v int) string { return "A " + address(v) },
		})
		keys["pool/"+name+"/member/m"] = address(0)
		keys["zone/fault.test/name/"+name+"/steer"] = fmt.Sprintf(`{"pool":%q}`, name)
	}
	for _, c := range r.records {
		r.oracle.is(c.question, c.answer(0))
	}
	return keys
}

// add adds a TXT record.
func (r *rig) add(label string, goes bool) *record {
	c := &record{
		question: label + ".fault.test. TXT", key: "zone/fault.test/name/" + label + "/TXT", goes: goes,
		value:  func(v int) string { return fmt.Sprintf(`"%s v%d"`, label, v) },
		answer: func(v int) string { return fmt.Sprintf("TXT %s v%d", label, v) },
	}
	r.records = append(r.records, c)
	return c
}

func (c *record) label() string {
	label, _, _ := strings.Cut(c.question, ".")
	return label
}

// record is the one of a label.
func (r *rig) record(label string) *record {
	for _, c := range r.records {
		if c.label() == label {
			return c
		}
	}
	r.t.Fatalf("no record %s", label)
	return nil
}

// allBecome says that every answer is about to become what to says of its record.
func (r *rig) allBecome(to func(*record) string) (done func()) {
	var all []func()
	for _, c := range r.records {
		all = append(all, r.oracle.change(c.question, to(c)))
	}
	return func() {
		for _, each := range all {
			each()
		}
	}
}

// changes changes records at random, so many a second, until the function returned is called, which waits
// for the last one. A put that fails is made again until it succeeds: whether it was made is then known.
func (r *rig) changes(perSecond int) (stop func() (made int)) {
	ctx, cancel := context.WithCancel(r.t.Context())
	random := rand.New(rand.NewPCG(r.random.Uint64(), 0))
	var changing []*record
	for _, c := range r.records {
		if c.value != nil {
			changing = append(changing, c)
		}
	}
	made := 0
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if r.change(changing[random.IntN(len(changing))]) {
				made++
			}
		}
	})
	var once sync.Once
	stop = func() int {
		once.Do(func() { cancel(); running.Wait() })
		return made
	}
	r.t.Cleanup(func() { stop() })
	return stop
}

// change makes one change of a record and says whether it is known to be made.
func (r *rig) change(c *record) bool {
	var op clientv3.Op
	var done func()
	if c.goes && !c.gone {
		c.gone = true
		done = r.oracle.change(c.question, "NXDOMAIN")
		op = clientv3.OpDelete("/gslb/" + c.key)
	} else {
		c.gone = false
		c.version++
		done = r.oracle.change(c.question, c.answer(c.version))
		op = clientv3.OpPut("/gslb/"+c.key, c.value(c.version))
	}
	for start := time.Now(); time.Since(start) < time.Minute; {
		ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Second)
		_, err := r.client.Do(ctx, op)
		cancel()
		if err == nil {
			done()
			return true
		}
		select {
		case <-r.t.Context().Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	slog.Error("a put was tried in vain for a minute", "key", c.key)
	return false
}

// changesFor makes changes for a while, and lets the last one arrive.
func (r *rig) changesFor(d time.Duration) {
	r.t.Helper()
	stop := r.changes(40)
	r.letPass(d)
	if made := stop(); made == 0 {
		r.t.Error("no changes were made")
	}
	r.letPass(300 * time.Millisecond)
}
