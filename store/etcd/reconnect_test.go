package etcd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Of many that lose etcd at once each tries again and again, ever more seldom, and not all together; each says so
// once for each thing that it cannot do.
func TestReconnects(t *testing.T) {
	const (
		n       = 20
		away    = time.Minute
		settled = 20 * time.Second // from when the back-off has come to its end
		slot    = 50 * time.Millisecond
	)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		tries, slots := make([]int, n), map[time.Duration]int{}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		logs := make([]*logged, n)
		for i := range n {
			cfg := Config{Endpoints: []string{"fake:1"}, Prefix: "/gslb", connect: func(context.Context, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				tries[i]++
				if at := time.Since(began); at >= settled {
					slots[at/slot]++
				}
				return nil, errors.New("connection refused")
			}}
			logs[i] = new(logged)
			r, err := Open(ctx, cfg, slog.New(slog.NewTextHandler(logs[i], nil)))
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				defer r.Close()
				var parts sync.WaitGroup
				parts.Go(func() { r.Claim(ctx, "checker/fra1", "1") })
				m := r.Mirror("report/fra1")
				m.Set(map[string]string{"web": "1"})
				parts.Go(func() { m.Run(ctx) })
				parts.Wait()
			})
		}
		time.Sleep(away)
		cancel()
		running.Wait()
		for i, tried := range tries {
			if least, most := int(away/maxDelay), int(away/(time.Second/2)); tried < least || tried > most {
				t.Errorf("%d tries in %v, expected %d to %d", tried, away, least, most)
			}
			for _, said := range []string{`"live key cannot be held"`, `"live keys cannot be written"`} {
				if got := strings.Count(logs[i].String(), "msg="+said); got != 1 {
					t.Errorf("%s is said %d times:\n%s", said, got, logs[i])
				}
			}
		}
		for at, together := range slots {
			if together > n/2 {
				t.Errorf("%d of %d tried within %v, at %v", together, n, slot, at*slot)
			}
		}
	})
}
