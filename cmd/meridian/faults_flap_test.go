//go:build faults

package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestFaultFlap: a backend is well for half a second and ill for half a second, under a check that sees it. It changes
// in the answers about as often, and in a pool with a hold time at most once in that.
func TestFaultFlap(t *testing.T) {
	t.Parallel()
	const (
		flapping = 12 * time.Second
		hold     = 4 * time.Second
	)
	b := newBench(t)
	quick := checkTimes{interval: 500 * time.Millisecond, timeout: 500 * time.Millisecond, rise: 1, fall: 1}
	b.put(map[string]string{"check/quick": fmt.Sprintf(`{"http":{"host":%q},%v}`, serviceName, quick)})
	b.up("")
	b.put(map[string]string{
		"pool/p0/policy": `{"policy":"multivalue","check":"quick"}`,
		"pool/p3/policy": fmt.Sprintf(`{"policy":"multivalue","check":"quick","recover":%q}`, hold),
	})
	free, held := b.of("p0")[0], b.of("p3")[0]
	both := []*service{free, held}
	b.during("two flap", func() {
		for _, s := range both {
			b.oracle.leaves(s.addrs, time.Now().Add(time.Hour)) // either will do
		}
		for end := time.Now().Add(flapping); time.Now().Before(end); {
			for _, status := range []int{http.StatusInternalServerError, http.StatusOK} {
				for _, s := range both {
					s.status.Store(int64(status))
				}
				// Not in step with the checks, some of which would see nothing of it.
				b.letPass(400*time.Millisecond + time.Duration(b.random.Int64N(int64(200*time.Millisecond))))
			}
		}
	})
	most := int(flapping/hold) + 1
	freely, withHold := b.oracle.changes(free.addrs), b.oracle.changes(held.addrs)
	if freely <= most {
		t.Errorf("without a hold time it changed %d times in %v: too few to say much", freely, flapping)
	}
	if withHold > most || withHold == 0 {
		t.Errorf("with a hold time of %v it changed %d times in %v, expected 1 to %d", hold, withHold, flapping, most)
	}
	b.during("they are well", func() {
		due := time.Now().Add(quick.returns())
		b.oracle.returns(free.addrs, due)
		b.oracle.returns(held.addrs, due.Add(2*hold))
		b.letPass(time.Until(due.Add(2 * hold).Add(effect)))
	})
	b.result(fmt.Sprintf("%d changes in %v, with a hold time of %v %d", freely, flapping, hold, withHold))
}
