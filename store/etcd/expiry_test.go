package etcd

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Keys of three leases go, however many: three questions tell how.
func TestExpiry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		keys    int
		prepare func(f *fakeEtcd)
		expired func(lease int64) bool
		asked   int
	}{
		{"one lease has ended", 10_000, func(f *fakeEtcd) { delete(f.leases, 2) }, func(lease int64) bool { return lease == 2 }, 3},
		{"etcd does not tell", 40, func(f *fakeEtcd) { f.leaseless = true }, func(int64) bool { return true }, 3},
		{"another cluster tells", 40, func(f *fakeEtcd) { f.elsewhere = true }, func(int64) bool { return true }, 3},
		{"a member tells that does not know of it", 40, func(f *fakeEtcd) { f.unaware = true }, func(int64) bool { return true }, 3},
		{"etcd does not answer", 40, func(f *fakeEtcd) { f.deaf = true }, func(int64) bool { return true }, 0},
		{"what was before is compacted away", 40, func(f *fakeEtcd) { f.compacted = f.head() + 1 }, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := startFake(t, 1)
				var puts, deletes []op
				for i := range tt.keys {
					puts = append(puts, op{fmt.Sprint("k", i), "1", int64(i % 4)})
					deletes = append(deletes, op{key: fmt.Sprint("k", i)})
				}
				f.do(func() {
					f.leases = map[int64]bool{1: true, 2: true, 3: true}
					f.commit(puts...)
				})
				r := follow(t, f, Config{})
				if e := r.next().Entries[0]; e.Key != "k0" || e.Lease != 0 {
					t.Errorf("read %+v", e)
				}
				f.until(t, func() bool { return f.told == f.head() })
				began := time.Now()
				f.do(func() {
					tt.prepare(f)
					f.commit(deletes...)
				})
				u := r.next()
				if took := time.Since(began); took > leaseTimeout {
					t.Errorf("the update comes after %v", took)
				}
				if len(u.Entries) != tt.keys {
					t.Fatalf("%d entries", len(u.Entries))
				}
				for i, e := range u.Entries {
					lease := int64(i % 4)
					if tt.expired == nil {
						lease = 0
					}
					if e.Lease != lease || e.Expired != (lease != 0 && tt.expired(lease)) {
						t.Fatalf("%+v, of lease %d", e, lease)
					}
				}
				f.do(func() {
					f.deaf = false
					if f.asked != tt.asked {
						t.Errorf("asked %d times, expected %d", f.asked, tt.asked)
					}
				})
			})
		})
	}
}

// One who asks again and again is served at once, and then less and less often.
func TestAskedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t, 1)
		r := follow(t, f, Config{})
		r.next()
		began := time.Now()
		var after []time.Duration
		for range 8 {
			r.ask()
			r.next()
			after = append(after, time.Since(began))
		}
		if after[0] != 0 || after[2] > time.Second || after[7] < 3*time.Second {
			t.Errorf("read after %v", after)
		}
		time.Sleep(maxDelay + 1)
		began = time.Now()
		r.ask()
		r.next()
		if took := time.Since(began); took != 0 {
			t.Errorf("after a while one is served after %v", took)
		}
	})
}

// What is asked for while an update waits to be taken is read before it.
func TestAskedWhileAnUpdateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t, 1)
		r := follow(t, f, Config{})
		r.next()
		f.until(t, func() bool { return f.told == f.head() })
		f.put("a", "1")
		synctest.Wait() // Follow has the update in its hand
		r.ask()
		synctest.Wait()
		if u := r.next(); !u.Full || u.Revision != 2 {
			t.Errorf("got %+v, expected all at revision 2", u)
		}
		if !r.etcd.Contact().InReach {
			t.Error("etcd counts as lost")
		}
	})
}
