package store

import (
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// manyKeys are as many as take the applier longer than queries should have to wait for a processor.
const manyKeys = 2000

// atLeisure runs f, and waits for its end, so that queries hardly notice: at a low priority, and with
// the collector called rarely. What is small must not be run so, since queries might have it wait for long.
//
// Where no processor is free, the threads that answer come first. The priority is not the lowest:
// what else the applier has to do waits for f, health too.
//
// A collection stops the world, twice. The thread that begins one is the one that allocates: this one,
// which may then have to wait for a processor itself. By measure that took longer than all else: at
// 20,000 queries a second beside a reload of a million names the 99th percentile was 1 to 14 ms, and is 0.2 to 0.4.
func atLeisure(f func()) {
	if usual := debug.SetGCPercent(rarely); usual < 0 || usual > rarely {
		debug.SetGCPercent(usual)
	} else {
		defer debug.SetGCPercent(usual)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine: it may lower its priority, but not raise it again.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowPriority) // without it, it is done all the same
		f()
	}()
	<-done
}

const (
	lowPriority = 15  // a thirtieth of what another thread gets
	rarely      = 400 // percent of what is alive that may be garbage (GOGC); GOMEMLIMIT still holds
)

// appendInParts is append for what may be long. A copy of many megabytes cannot be interrupted, and would
// keep every goroutine waiting where the collector has to stop them all.
func appendInParts(list []Entry, more ...Entry) []Entry {
	const part = 1024
	if size := len(list) + len(more); size > cap(list) {
		longer := make([]Entry, 0, max(size, 2*cap(list)))
		for ; len(list) > part; list = list[part:] {
			longer = append(longer, list[:part]...)
		}
		list = append(longer, list...)
	}
	for ; len(more) > part; more = more[part:] {
		list = append(list, more[:part]...)
	}
	return append(list, more...)
}
