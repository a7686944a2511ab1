package embedded

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store/etcd"
)

// hold runs a claim until the test ends, or stop is called; over then has what it returned.
func hold(t *testing.T, c *etcd.Claim) (stop func(), over <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		ended <- c.Run(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop, ended
}

func TestClaim(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	r := open(t, s.Addr().String(), etcd.Config{LeaseTTL: 3 * time.Second}, silent)
	there := func() (value string, lease int64) {
		t.Helper()
		now, err := c.Get(t.Context(), "/gslb-live/checker/fra1")
		if err != nil {
			t.Fatal(err)
		}
		if len(now.Kvs) == 0 {
			return "", 0
		}
		return string(now.Kvs[0].Value), now.Kvs[0].Lease
	}
	claim := func(value string) (*etcd.Claim, error) { return r.Claim(t.Context(), "checker/fra1", value) }

	first, err := claim("first")
	if err != nil {
		t.Fatal(err)
	}
	stop, _ := hold(t, first)
	if v, lease := there(); v != "first" || lease == 0 {
		t.Errorf("there is %q under lease %d", v, lease)
	}

	// Of two that live the later is refused, and the first is not disturbed.
	_, err = claim("second")
	var taken *etcd.TakenError
	if want := "live key checker/fra1 is another process's: first"; !errors.As(err, &taken) || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	stop()
	if v, _ := there(); v != "" {
		t.Errorf("it was given back, and is %q", v)
	}

	// One that has died is waited for.
	if _, err = claim("dead"); err != nil {
		t.Fatal(err)
	}
	third, err := claim("third")
	if err != nil {
		t.Fatal(err)
	}
	_, over := hold(t, third)

	// A lease that has ended, as in a pause: it is claimed again.
	_, lease := there()
	if _, err := c.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { v, now := there(); return v == "third" && now != lease })

	// Another has come meanwhile, for good.
	_, lease = there()
	txn(t, c, clientv3.OpDelete("/gslb-live/checker/fra1"), clientv3.OpPut("/gslb-live/checker/fra2", "by hand"))
	put(t, c, "/gslb-live/checker/fra1", "by hand")
	if _, err := c.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	if err, want := <-over, "live key checker/fra1 is another process's: by hand"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// While etcd is away a claim waits, and ends with its context.
func TestClaimEtcdAway(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	way := newProxy(t, s.Addr().String())
	r := open(t, way.addr, etcd.Config{}, silent)
	way.cut(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.Claim(ctx, "checker/fra1", "1")
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() {
		_, err := r.Claim(t.Context(), "checker/fra1", "1")
		ended <- err
	}()
	way.cut(false)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A claim has the value that it was given last: at once, when the key was taken away by hand, and when etcd is back
// after longer than the lease lasts. Its lease is the same as long as it lives.
func TestClaimSet(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: t.TempDir()})
	c := dial(t, s)
	way := newProxy(t, s.Addr().String())
	r := open(t, way.addr, etcd.Config{LeaseTTL: 2 * time.Second}, silent)
	there := func() (value string, lease int64) {
		t.Helper()
		now, err := c.Get(t.Context(), "/gslb-live/checker/fra1")
		if err != nil {
			t.Fatal(err)
		}
		if len(now.Kvs) == 0 {
			return "", 0
		}
		return string(now.Kvs[0].Value), now.Kvs[0].Lease
	}
	is := func(want string) func() bool { return func() bool { v, _ := there(); return v == want } }
	patient := open(t, s.Addr().String(), etcd.Config{LeaseTTL: 10 * time.Minute}, silent) // which it renews after some minutes
	claim, err := patient.Claim(t.Context(), "checker/fra1", "0")
	if err != nil {
		t.Fatal(err)
	}
	stop, _ := hold(t, claim)
	claim.Set("0, at once")
	until(t, is("0, at once"))
	stop()
	if claim, err = r.Claim(t.Context(), "checker/fra1", "1"); err != nil {
		t.Fatal(err)
	}
	_, lease := there()
	_, over := hold(t, claim)
	claim.Set("2")
	until(t, is("2"))
	if _, now := there(); now != lease {
		t.Errorf("lease %d, expected that of before, %d", now, lease)
	}
	if _, err := c.Delete(t.Context(), "/gslb-live/checker/fra1"); err != nil {
		t.Fatal(err)
	}
	claim.Set("3")
	until(t, is("3"))
	way.cut(true)
	claim.Set("4")
	until(t, is("")) // its lease has ended
	way.cut(false)
	until(t, is("4"))
	if _, now := there(); now == lease {
		t.Error("its lease has ended, and is there")
	}

	// Another has taken it while it was away.
	if _, err := c.Delete(t.Context(), "/gslb-live/checker/fra1"); err != nil {
		t.Fatal(err)
	}
	put(t, c, "/gslb-live/checker/fra1", "by hand")
	claim.Set("5")
	if err, want := <-over, "live key checker/fra1 is another process's: by hand"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
