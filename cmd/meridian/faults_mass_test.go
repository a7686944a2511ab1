//go:build faults

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	massMembers = 1000
	massPool    = 20 // members of each of many pools
)

// TestFaultMass: a thousand members fail at once, in one pool and in fifty. What checkers write of it grows with the
// pools, and not with the members.
func TestFaultMass(t *testing.T) {
	b := newBench(t)
	b.check = checkTimes{interval: 2 * time.Second, timeout: time.Second, rise: 2, fall: 3}
	m := &mass{bench: b, host: newHost(t, b.wire, "mass")}
	keys := b.checkKeys("")
	keys["zone/fault.test/soa"] = `{"ns":["ns1.fault.test."]}`
	m.bench.put(keys)
	b.startServers("--checker-enabled=false")
	for _, n := range b.checkers {
		b.startChecker(n)
	}
	one := m.fails("1 pool of 1,000", func(int) string { return "one" })
	fifty := m.fails("50 pools of 20", func(i int) string { return fmt.Sprintf("m%d", i/massPool) })
	for pools, c := range map[int]cost{1: one, massMembers / massPool: fifty} {
		if most := writesOfPool * pools * len(b.checkers); c.writes > most || c.writes < pools*len(b.checkers) {
			t.Errorf("%d pools: %d reports were written, expected 1 to %d of each by each checker", pools, c.writes, writesOfPool)
		}
	}
}

// writesOfPool is how often a checker may write what it sees of a pool while all of its members turn down: they do so
// one after the other, for little more than an interval, and at most two writes a second follow each other for long.
const writesOfPool = 12

// mass are members at a thousand addresses of one host, behind one listener.
type mass struct {
	*bench
	host *host
	was  map[string]string // keys of the round before
}

// cost is what it took until all of them were down.
type cost struct {
	writes, bytes int // of reports
	took          time.Duration
}

// fails puts the members, each into a pool, waits until they are up, and has them all fail.
func (m *mass) fails(what string, poolOf func(i int) string) (c cost) {
	m.t.Helper()
	keys, pools := m.keys(poolOf)
	m.replace(keys)
	stop := m.serve()
	m.awaitPools(pools, "up")
	m.say("%s: all are up", what)
	watched := m.watchReports()
	cpu := m.cpu()
	packets := m.wire.counted()
	stop()
	c.took = m.awaitPools(pools, "down")
	if most := m.check.leavesInMass(); c.took > most {
		m.t.Errorf("%s: down after %v, expected at most %v", what, c.took, most)
	}
	c.writes, c.bytes = watched()
	after := m.wire.counted()
	m.t.Logf("figure: Mass: %s: down after %v, %d reports written (%d bytes), CPU %s, %d packets (%d bytes)", what,
		c.took.Round(time.Millisecond), c.writes, c.bytes, m.cpu().less(cpu), after.delivered-packets.delivered, after.bytes-packets.bytes)
	return c
}

// keys are those of the members, and how many members each pool has.
func (m *mass) keys(poolOf func(i int) string) (keys map[string]string, pools map[string]int) {
	keys, pools = map[string]string{}, map[string]int{}
	for i := range massMembers {
		pool := poolOf(i)
		keys[fmt.Sprintf("pool/%s/member/b%d", pool, i)] = m.host.addr4(i + 1).String()
		keys["pool/"+pool+"/policy"] = `{"policy":"multivalue","check":"http"}`
		keys["zone/fault.test/name/"+pool+"/steer"] = fmt.Sprintf(`{"pool":%q}`, pool)
		pools[pool]++
	}
	return keys, pools
}

// replace puts keys in the place of those of the round before. Deleting so many needs a word.
func (m *mass) replace(keys map[string]string) {
	m.t.Helper()
	var ops []clientv3.Op
	for key, value := range keys {
		ops = append(ops, clientv3.OpPut("/gslb/"+key, value))
	}
	m.commit(ops)
	ops = nil
	for key := range m.was {
		ops = append(ops, clientv3.OpDelete("/gslb/"+key))
	}
	if m.was = keys; ops != nil {
		m.put(map[string]string{"control/accept-delete": fmt.Sprint(m.commit(ops))})
	}
}

func (m *mass) commit(ops []clientv3.Op) (revision int64) {
	m.t.Helper()
	for len(ops) > 0 {
		n := min(len(ops), 128)
		done, err := m.client.Txn(m.t.Context()).Then(ops[:n]...).Commit()
		if err != nil {
			m.t.Fatal(err)
		}
		ops, revision = ops[n:], done.Header.Revision
	}
	return revision
}

// serve has all addresses answer until stop is called, which is as if their machine's process were killed.
func (m *mass) serve() (stop func()) {
	m.t.Helper()
	l, err := m.host.listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 80))
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	go srv.Serve(l)
	m.t.Cleanup(func() { srv.Close() })
	return func() { srv.Close() }
}

// awaitPools waits until all members of the pools are in a state on all servers, and returns how long that took.
func (m *mass) awaitPools(pools map[string]int, state string) time.Duration {
	m.t.Helper()
	began := time.Now()
	var lines []string
	for pool, n := range pools {
		lines = append(lines, fmt.Sprintf(`meridian_pool_members{pool=%q,state=%q} %d`, pool, state, n))
	}
	for _, s := range m.servers {
		m.awaitMetricsOf(s, 2*patience, lines...)
	}
	return time.Since(began)
}

// watchReports counts the reports that are written until count is called.
func (m *mass) watchReports() (count func() (writes, bytes int)) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	var writes, bytes int
	var watching sync.WaitGroup
	began := m.client.Watch(ctx, "/gslb-live/report/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-began
	watching.Go(func() {
		for u := range began {
			for _, e := range u.Events {
				writes++
				bytes += len(e.Kv.Value)
			}
		}
	})
	return func() (int, int) {
		time.Sleep(told) // those under way
		cancel()
		watching.Wait()
		return writes, bytes
	}
}

// processorTime is what processes have used of the processors, by kind.
type processorTime struct{ checkers, servers, etcd time.Duration }

func (m *mass) cpu() (used processorTime) {
	m.t.Helper()
	for _, n := range m.checkers {
		used.checkers += n.process.cpu()
	}
	for _, n := range m.servers {
		used.servers += n.process.cpu()
	}
	used.etcd = m.etcd.cpu()
	return used
}

func (p processorTime) less(q processorTime) processorTime {
	return processorTime{p.checkers - q.checkers, p.servers - q.servers, p.etcd - q.etcd}
}

func (p processorTime) String() string {
	return fmt.Sprintf("%v of the checkers, %v of the servers, %v of etcd", p.checkers, p.servers, p.etcd)
}

// cpu is the processor time that the process has used (proc_pid_stat(5): utime and stime, in hundredths of a second).
func (p *process) cpu() time.Duration {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold blanks
	var user, system int64
	fields := strings.Fields(rest)
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
