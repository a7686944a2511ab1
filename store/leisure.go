package store

import (
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// manyKeys are as many as take the applier longer than queries should have to wait for a processor.
const manyKeys = 2000

// atLeisure runs f, and waits for its end, so that queries hardly notice: at a low priority, and without
// collections, unless GOMEMLIMIT asks for them: it takes half a gigabyte for a million names. What is small
// must not be run so, since queries might have it wait for long.
//
// Where no processor is free, the threads that answer come first. The priority is not the lowest:
// what else the applier has to do waits for f, health too.
//
// A collection stops the world, twice. The thread that begins one is the one that allocates: this one,
// which may then have to wait for a processor itself, with all others waiting for it: by measure, for
// 10 ms and more.
func atLeisure(f func()) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
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

const lowPriority = 10 // a ninth of what another thread gets

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
