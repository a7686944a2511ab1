package embedded

import (
	"bytes"
	"context"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store/etcd"
)

// propose runs proposals of which the greater value stays, until the test ends.
func propose(t *testing.T, r *etcd.Registry) *etcd.Proposals {
	t.Helper()
	p := r.Proposals(func(there, to []byte) bool { return bytes.Compare(there, to) < 0 })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func TestProposals(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{}, silent)
	f := follow(t, r)
	put(t, c, "/gslb/latch/less", "1", "/gslb/latch/same", "2", "/gslb/latch/more", "3")
	same := keyRevision(t, c, "/gslb/latch/same")
	p := propose(t, r)
	p.Set(map[string]string{"latch/less": "2", "latch/same": "2", "latch/more": "2", "latch/new": "2"})
	f.expect(map[string]string{"latch/less": "2", "latch/same": "2", "latch/more": "3", "latch/new": "2"})
	if got := keyRevision(t, c, "/gslb/latch/same"); got != same {
		t.Errorf("what was there was written again: revision %d, before %d", got, same)
	}

	// One that a person deletes stays away until it is proposed again.
	if _, err := c.Delete(t.Context(), "/gslb/latch/new"); err != nil {
		t.Fatal(err)
	}
	p.Set(map[string]string{"latch/other": "1"})
	f.expect(map[string]string{"latch/less": "2", "latch/same": "2", "latch/more": "3", "latch/other": "1"})
	p.Set(map[string]string{"latch/new": "1"})
	f.expect(map[string]string{"latch/less": "2", "latch/same": "2", "latch/more": "3", "latch/other": "1", "latch/new": "1"})
}

func keyRevision(t *testing.T, c *clientv3.Client, key string) int64 {
	t.Helper()
	now, err := c.Get(t.Context(), key)
	if err != nil || len(now.Kvs) == 0 {
		t.Fatalf("%s: %v", key, err)
	}
	return now.Kvs[0].ModRevision
}

// What is proposed while etcd is away is written when it is back; that it is away is said once.
func TestProposalsEtcdAway(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	way := newProxy(t, s.Addr().String())
	log, entries := recorded(0)
	r := open(t, way.addr, etcd.Config{}, log)
	p := propose(t, r)
	count := func(text string) (n int) {
		for _, line := range entries() {
			if strings.Contains(line, text) {
				n++
			}
		}
		return n
	}
	way.cut(true)
	p.Set(map[string]string{"latch/web": "2"})
	until(t, func() bool { return count("proposed key cannot be written") > 0 })
	way.cut(false)
	until(t, func() bool { return count("proposed keys are written again") == 1 })
	keyRevision(t, c, "/gslb/latch/web")
	if n := count("proposed key cannot be written"); n != 1 {
		t.Errorf("said %d times: %q", n, entries())
	}
}
