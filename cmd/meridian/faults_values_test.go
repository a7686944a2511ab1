//go:build faults

package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// count is how many keys there are with a prefix.
func (r *rig) count(prefix string) int64 {
	r.t.Helper()
	got, err := r.client.Get(r.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		r.t.Fatal(err)
	}
	return got.Count
}

const (
	wrongKeys   = 10_000
	maxReported = 1000
	maxResident = 400 << 20 // bytes, of a server that is fed the worst there is
)

// TestFaultValues: values that are huge, not UTF-8, nested without end, and very many wrong keys. These keys alone are
// wrong, and neither memory nor what is written back grows with them.
func TestFaultValues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.oracle.allowed = healed // a hundred megabytes of values have to be read first
	r.up()
	stop := r.changes(20)
	before := r.server.rss()

	const large = 1_400_000 // bytes; etcd takes 1.5 MiB a request
	bad := map[string]string{
		"record of 1.4 MB":         `"` + strings.Repeat("x", large) + `"`,
		"a million and more lines": strings.Repeat("\n", large),
		"records without end":      strings.Repeat("\"x\"\n", large/4),
		"not UTF-8":                "\"\xff\xfe\x80\" \xc3\x28",
		"zero bytes":               `"` + strings.Repeat("\x00", 1000),
		"brackets":                 strings.Repeat("[", large),
		"objects":                  strings.Repeat(`{"a":`, large/5),
		"parentheses":              strings.Repeat("( ", large/2),
		"a number without end":     `{"weight":` + strings.Repeat("9", large) + `}`,
		"a field without end":      `{"` + strings.Repeat("w", large) + `":1}`,
	}
	for what, value := range bad {
		// Over a good value, which serves on, and where there was none: a name of its own, and what others use.
		for _, key := range []string{"zone/fault.test/name/k1/TXT", "pool/p1/policy", "pool/p2/member/bad", "site/bad", "check/bad",
			"zone/fault.test/name/bad/TXT", "zone/bad.test/soa", "bad/bad"} {
			if _, err := r.client.Put(t.Context(), "/gslb/"+key, value); err != nil {
				t.Fatalf("%s into %s: %v", what, key, err)
			}
		}
	}
	if a := askOnce(r.dnsAddr(), "bad.fault.test. TXT", lostAfter); a != "SERVFAIL" {
		t.Errorf("a name that was never good answers %s, expected SERVFAIL", a)
	}
	r.say("%d bad values", len(bad))

	wrong := map[string]string{}
	for i := range wrongKeys {
		wrong[fmt.Sprintf("site/wrong%d", i)] = fmt.Sprintf(`{"cuntry":"X%d"}`, i)
	}
	r.put(wrong)
	rejected := func(atLeast, atMost int) func() bool {
		return func() bool { n := r.status().Rejected; return n >= atLeast && n <= atMost }
	}
	r.await("all wrong keys are counted", rejected(wrongKeys, wrongKeys+100))
	var most int64
	reported := func(want int64) func() bool {
		return func() bool {
			n := r.count("/gslb-live/error/ns1/")
			most = max(most, n)
			return n == want
		}
	}
	r.await("as many as may be are written back", reported(maxReported))
	r.letPass(2 * time.Second)
	if reported(maxReported)(); most > maxReported {
		t.Errorf("%d error keys were written back, expected at most %d", most, maxReported)
	}
	resident := r.server.rss()
	if resident > maxResident {
		t.Errorf("%d MB are resident, expected at most %d", resident>>20, maxResident>>20)
	}

	r.deleteAll("/gslb/site/wrong")
	r.await("the wrong keys are forgotten", rejected(1, 100))
	r.await("their errors are gone", func() bool { return r.count("/gslb-live/error/ns1/site/wrong") == 0 })
	r.result(fmt.Sprintf("%d changes", stop()), fmt.Sprintf("%d wrong keys, %d written back", wrongKeys, most),
		fmt.Sprintf("resident %d MB before and %d MB after", before>>20, resident>>20))
}

// TestFaultLeasedMember: a member whose lease ends stays while its check says up, and goes when it says down; one that is
// deleted goes at once.
func TestFaultLeasedMember(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := r.registry()
	listen := func(addr string) net.Listener {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		t.Cleanup(func() { l.Close() })
		return l
	}
	leased, person := listen("127.0.0.21:0"), listen("127.0.0.22:0")
	member := func(l net.Listener) string {
		a := l.Addr().(*net.TCPAddr)
		return fmt.Sprintf(`{"addr":[%q],"port":%d}`, a.IP, a.Port)
	}
	const both, one, question = "A 127.0.0.21, A 127.0.0.22", "A 127.0.0.22", "leased.fault.test. A"
	keys["check/leased"] = `{"tcp":{},"interval":"200ms","timeout":"150ms","rise":2,"fall":2}`
	keys["pool/leased/policy"] = `{"policy":"multivalue","check":"leased"}`
	keys["pool/leased/member/person"] = member(person)
	keys["zone/fault.test/name/leased/steer"] = `{"pool":"leased"}`
	register := func(seconds int64) {
		l, err := r.client.Grant(t.Context(), seconds)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.client.Put(t.Context(), "/gslb/pool/leased/member/own", member(leased), clientv3.WithLease(l.ID)); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(answer string, by func()) time.Duration {
		done := r.oracle.change(question, answer)
		start := time.Now()
		by()
		r.await(question+" is "+answer, func() bool { return askOnce(r.dnsAddr(), question, lostAfter) == answer })
		done()
		return time.Since(start)
	}

	r.put(keys)
	register(2)
	r.startServer()
	r.awaitReady()
	r.await("both are up", func() bool { return askOnce(r.dnsAddr(), question, lostAfter) == both })
	r.oracle.is(question, both)
	r.ask()
	stop := r.changes(20)
	r.await("the lease has ended", func() bool { return r.count("/gslb/pool/leased/member/own") == 0 })
	r.await("the member is marked", func() bool { return r.status().Unregistered == 1 })
	r.say("lease ended")
	r.awaitMetric("meridian_pool_members_unregistered 1")
	r.tells("pool/leased/member/own")
	r.letPass(*faultPause)

	// A restart of the server, and one of etcd, is no reason to drop it.
	sees := r.oracle.cutOff()
	r.etcd.kill()
	r.startEtcd("etcd")
	sees(healed)
	r.letPass(*faultPause)
	if n := r.status().Unregistered; n != 1 {
		t.Errorf("%d members are unregistered after etcd was away, expected 1", n)
	}

	down := becomes(one, func() { leased.Close() })
	r.await("nobody is marked", func() bool { return r.status().Unregistered == 0 })

	leased = listen(leased.Addr().String())
	becomes(both, func() { register(60) })
	gone := becomes(one, func() { r.deleteAll("/gslb/pool/leased/member/own") })
	r.letPass(time.Second)
	r.result(fmt.Sprintf("%d changes", stop()), fmt.Sprintf("gone %v after its check could fail, %v after its delete",
		down.Round(time.Millisecond), gone.Round(time.Millisecond)))
}

// TestFaultLastGood: a key that was good and is wrong serves its last good value after a restart without image, too, as
// long as etcd still has that.
func TestFaultLastGood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := r.registry()
	keys["pool/p0/policy"] = `{"policy":"multivalue"}`
	keys["pool/p0/member/m2"] = "10.200.0.1"
	r.put(keys)
	for _, c := range r.records {
		if c.question == "p0.fault.test. A" {
			c.value = nil
			r.oracle.is(c.question, "A 10.0.0.0, A 10.200.0.1")
		}
	}
	r.startServer()
	r.awaitReady()
	r.ask()
	r.changesFor(time.Second)

	wrong := map[string]string{
		"zone/fault.test/name/k1/TXT":   `no quotes "`,
		"zone/fault.test/name/p3/steer": `{"pool":"p3","tll":5}`,
		"zone/fault.test/soa":           `{"nss":[]}`,
		"pool/p0/policy":                `{"policy":"mutlivalue"}`,
		"pool/p0/member/m":              `10.0.0.256`,
	}
	r.put(wrong)
	r.put(wrong) // the value before is as wrong
	r.await("all are rejected", func() bool { return r.status().Rejected == len(wrong) })
	r.letPass(time.Second)

	r.stream.stop()
	r.server.stop()
	if err := os.RemoveAll(r.path("server")); err != nil {
		t.Fatal(err)
	}
	r.startServer()
	r.awaitReady()
	r.ask()
	r.changesFor(2 * time.Second)
	if n := r.status().Rejected; n != len(wrong) {
		t.Errorf("%d keys are rejected after the restart, expected %d", n, len(wrong))
	}
	r.result()
}
