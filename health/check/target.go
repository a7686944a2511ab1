package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"meridian/health"
)

// A prober looks once at a target. nil: it answered as expected. Otherwise the error is why not,
// short and in an operator's words; what it returns once ctx, which ends at the target's timeout,
// is done does not matter.
//
// It owns t.idle while it runs, and may leave a connection there for its next look at t.
type prober func(ctx context.Context, t *target) error

// newProber makes the prober of a completed check.
func newProber(c *health.Check) prober {
	switch {
	case c.HTTP != nil:
		return newHTTP(c.HTTP)
	case c.HTTPS != nil:
		return newHTTPS(c.HTTPS)
	}
	return probeTCP
}

// target is a health.Target with its place in the schedule. A Runner's lock guards what follows
// probe, but for idle while a look is in flight.
type target struct {
	health.Target
	probe   prober
	counter health.Counter
	due     time.Time
	index   int                // in the queue
	cancel  context.CancelFunc // of the look in flight
	idle    *conn              // kept from the last look for the next
	said    string             // the reason of the last report
}

func (t *target) interval() time.Duration { return time.Duration(t.Spec.Interval) }
func (t *target) timeout() time.Duration  { return time.Duration(t.Spec.Timeout) }
func (t *target) inFlight() bool          { return t.index == notQueued }

func (t *target) closeIdle() {
	if t.idle != nil {
		t.idle.Close()
		t.idle = nil
	}
}

// errSilent says that a connection kept from an earlier look gave no sign of life, which tells
// nothing of the target: it is for the look to be made again.
var errSilent = errors.New("kept connection is silent")

// timeoutError says how long a look waited in vain.
type timeoutError time.Duration

func (e timeoutError) Error() string { return fmt.Sprintf("timed out after %v", time.Duration(e)) }

// attempt runs the prober within the timeout.
func (t *target) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	err := t.probe(ctx, t)
	if err == nil || errors.Is(err, errSilent) {
		return err
	}
	if ctx.Err() != nil || isTimeout(err) {
		return timeoutError(t.timeout())
	}
	return err
}

// isTimeout holds for deadlines of ours; the kernel giving up (ETIMEDOUT) is another thing.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
