package store

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// manyKeys are as many as take the applier longer than queries should have to wait for a processor.
const manyKeys = 2000

// atLeisure runs f, and waits for its end, at the lowest priority there is: where no processor is free,
// the threads that answer queries come first. What is small must not be run so, since they might have it
// wait for long.
func atLeisure(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine: it may lower its priority, but not raise it again.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) // without it, it is done all the same
		f()
	}()
	<-done
}

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
