package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"meridian/health"
)

// A prober looks once at a target. nil: it answered as expected. Otherwise the error is why not,
// short and in an operator's words; what it returns once ctx, which ends at the target's timeout,
// is done counts only as waitedError.
//
// It owns t.seen and t.idle while it runs, and may leave a connection there for its next look at t.
type prober func(ctx context.Context, t *target) error

// target is a health.Target with its place in the schedule. A Runner's lock guards what follows
// probe, but for seen and idle while a look is in flight.
type target struct {
	health.Target
	probe   prober
	counter health.Counter
	due     time.Time
	regular time.Time          // when the look after the next is due, of which that is an extra one; zero: it is not
	index   int                // in the queue
	cancel  context.CancelFunc // of the look in flight
	seen    seen
	idle    io.Closer     // kept from the last look for the next
	told    health.Report // the last

	found  seen     // as of the last look
	asked  bool     // by who set the targets, and not as a part alone
	wholes []*whole // that t is a part of
}

// seen is what looks have found besides whether the target is up.
type seen struct {
	rtt     time.Duration // measured last; 0: not yet
	load    *float64      // of this look; nil: not said
	warning string        // of this look; "": none
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

// errSilent says that a connection kept from an earlier look broke without a sign of life, which tells
// nothing of the target: it is for the look to be made again.
var errSilent = errors.New("kept connection is silent")

// waitedError says for what a look waited until its time was over, or in vain.
type waitedError struct{ what string }

func (e waitedError) Error() string { return e.what }

// timeoutError says how long a look waited in vain.
type timeoutError struct {
	after time.Duration
	what  string // it waited for; "" where that goes without saying
}

func (e timeoutError) Error() string {
	if e.what != "" {
		return fmt.Sprintf("timed out after %v: %s", e.after, e.what)
	}
	return fmt.Sprintf("timed out after %v", e.after)
}

var errInverted = errors.New("the check succeeds, which it is not to (invert)")

// look makes one look at t, within its timeout. ctx ends when it is broken off.
func (t *target) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	err := t.hedge(ctx)
	if errors.Is(err, syscall.ENETUNREACH) && !routed(t.Addr.Addr()) {
		err = &unableError{"not checked from here: this machine has no route to it"}
	}
	if !t.Spec.Invert || saysNothing(err) {
		return err
	}
	if err != nil {
		return nil
	}
	return errInverted
}

// hedge looks by the connection that was kept, if one was. That may be long dead, or a packet lost on it, while the
// backend is well: where it gives no answer within a third of the timeout a new one is tried beside it, and where it
// breaks at once. The first of both to succeed counts.
func (t *target) hedge(ctx context.Context) error {
	if t.idle == nil {
		return t.attempt(ctx)
	}
	kept, stopKept := context.WithCancel(ctx)
	defer stopKept()
	other, stopOther := context.WithCancel(ctx)
	defer stopOther()
	fresh := &target{Target: t.Target, probe: t.probe, seen: t.seen}
	done := make(chan error, 1)
	beside := time.AfterFunc(t.timeout()/3, func() {
		err := fresh.attempt(other)
		if err == nil {
			stopKept()
		}
		done <- err
	})
	err := t.attempt(kept)
	silent, alone := errors.Is(err, errSilent) || errors.As(err, new(timeoutError)), beside.Stop()
	switch {
	case alone && silent:
		return t.attempt(ctx)
	case alone:
		return err
	case silent:
		err = <-done
		t.idle, t.seen = fresh.idle, fresh.seen
		return err
	}
	stopOther()
	<-done
	fresh.closeIdle()
	return err
}

// routed says whether this machine has a route to an address, be there a network behind it or not: one without IPv6
// has none to any address of that. Connecting a socket of UDP asks the kernel for it, and sends nothing.
func routed(a netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err == nil {
		c.Close()
	}
	return !errors.Is(err, syscall.ENETUNREACH)
}

// saysNothing holds for what went wrong on this side.
func saysNothing(err error) bool {
	var void *voidError
	var unable *unableError
	return errors.As(err, &void) || errors.As(err, &unable)
}

// attempt runs the prober until ctx is done.
func (t *target) attempt(ctx context.Context) error {
	t.seen.load, t.seen.warning = nil, ""
	err := t.probe(ctx, t)
	if err == nil || errors.Is(err, errSilent) {
		return err
	}
	if ctx.Err() != nil || isTimeout(err) {
		var waited waitedError
		errors.As(err, &waited)
		return timeoutError{t.timeout(), waited.what}
	}
	return err
}

// isTimeout holds for deadlines of ours; the kernel giving up (ETIMEDOUT) is another thing.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
