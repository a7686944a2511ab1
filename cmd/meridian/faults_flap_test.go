//go:build faults

package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestFaultFlap: a backend is well for half a second and ill for half a second. It changes in the answers at most
// once in the time that it takes to be found up or down, and in a pool with a hold time once in that.
func TestFaultFlap(t *testing.T) {
	t.Parallel()
	const (
		flapping = 12 * time.Second
		hold     = 4 * time.Second
	)
	b := newBench(t)
	b.up("")
	b.put(map[string]string{"pool/p3/policy": fmt.Sprintf(`{"policy":"multivalue","check":"http","recover":%q}`, hold)})
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
	// A change takes two looks at least, of which the second may follow the first soon.
	free1, held1 := b.oracle.changes(free.addrs), b.oracle.changes(held.addrs)
	if most := int(flapping/b.check.interval) + 1; free1 > most {
		t.Errorf("it changed %d times in %v, expected at most %d", free1, flapping, most)
	}
	if most := int(flapping/hold) + 1; held1 > most {
		t.Errorf("with a hold time of %v it changed %d times in %v, expected at most %d", hold, held1, flapping, most)
	}
	b.during("they are well", func() {
		due := time.Now().Add(b.check.returns())
		b.oracle.returns(free.addrs, due)
		b.oracle.returns(held.addrs, due.Add(2*hold))
		b.letPass(time.Until(due.Add(2 * hold).Add(effect)))
	})
	b.result(fmt.Sprintf("%d changes in %v, with a hold time of %v %d", free1, flapping, hold, held1))
}
