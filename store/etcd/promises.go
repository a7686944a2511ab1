package etcd

import (
	"errors"
	"sync"
)

// reason is why Follow reads all there is: an error that ends a watch, or no error at all.
//
// Most are a promise of etcd's that was broken. Follow relies on these, of a watch and the read that
// it began with:
//
//	promise                                                         broken: error         in Stats
//	the changes since the read are still there                      errCompacted          compacted
//	a watch goes on until we end it                                 errCancelled          cancelled
//	so does the stream that it is in                                errClosed             closed
//	all of it is of one cluster                                     errCluster            cluster
//	etcd is never behind what it has told                           errBack               back
//	a change is told once                                           errTwice              twice
//	changes are told in the order of their revisions                errOrder              order
//	no change is left out (seen where the key changes once more)    errMissing            missing
//	etcd answers when it is asked where it stands                   errSilent             silent
//
// What none of them is, a connection refused for one, counts as lost. A change left out of a key that
// does not change again shows by nothing: the read without cause repairs it.
//
// That a read is as new as the one before, and of the same cluster, is not among them: Follow tells
// what it reads, and store.Registry obeys or does not.
type reason struct {
	name string // in Stats
	text string
}

func (r *reason) Error() string { return r.text }

var (
	atStart     = &reason{"start", "nothing has been read yet"}
	errPeriodic = &reason{"periodic", "time to read all again"}
	errAsked    = &reason{"asked", "the receiver wants all read again"}
	errLost     = &reason{"lost", "etcd is out of reach"}

	errCompacted = &reason{"compacted", "etcd has compacted what was to be watched"}
	errCancelled = &reason{"cancelled", "etcd has ended the watch"}
	errClosed    = &reason{"closed", "etcd has closed the stream of the watch"}
	errCluster   = &reason{"cluster", "etcd has become another cluster"}
	errBack      = &reason{"back", "etcd has gone back"}
	errTwice     = &reason{"twice", "etcd has sent a change twice"}
	errOrder     = &reason{"order", "etcd has sent changes out of order"}
	errMissing   = &reason{"missing", "etcd has left out a change"}
	errSilent    = &reason{"silent", "etcd has not answered"}
)

var reasons = []*reason{atStart, errPeriodic, errAsked, errLost, errCompacted, errCancelled, errClosed,
	errCluster, errBack, errTwice, errOrder, errMissing, errSilent}

// reasonOf is the reason that an error is, or has in it.
func reasonOf(err error) *reason {
	var r *reason
	if errors.As(err, &r) {
		return r
	}
	return errLost
}

// Stats are figures of Follow.
type Stats struct {
	// Reads is how often all there is was read, by reason: start, periodic and asked, where nothing
	// was wrong; lost, compacted, cancelled, closed, cluster, back, twice, order, missing, silent.
	// Every reason is there.
	Reads map[string]int64
}

// Stats may be called by any goroutine.
func (r *Registry) Stats() Stats {
	s := Stats{Reads: make(map[string]int64, len(reasons))}
	r.reads.mu.Lock()
	defer r.reads.mu.Unlock()
	for _, why := range reasons {
		s.Reads[why.name] = r.reads.by[why]
	}
	return s
}

// reads counts the reads of Follow.
type reads struct {
	mu sync.Mutex
	by map[*reason]int64
}

func (r *reads) count(why *reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = make(map[*reason]int64, len(reasons))
	}
	r.by[why]++
}
