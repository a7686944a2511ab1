// Package store gives the registry's keys their meaning: it decodes values strictly, validates
// them, keeps the last good value of each, and turns changes into snapshots. It knows no etcd:
// updates come in as values.
package store

import "meridian/zones"

// Update is what a source of the registry tells: either everything there is at a revision, or
// the changes that led to it.
type Update struct {
	Revision int64  // the registry's revision after this update
	Cluster  uint64 // the etcd cluster that says so; 0: none, a manifest's
	Full     bool   // Entries is all there is; what is not listed is gone
	Below    string // where not "", of live keys, and Full of those below this directory: "rtt/"
	Entries  []Entry

	compared *zones.Snapshot // that compare was called with; nil if it was not
	found    []found         // of Entries: what compared has of them
}

// Entry is one key and its value.
type Entry struct {
	Key      string // below the prefix, or that of live keys, without leading slash: "pool/web/policy"
	Value    []byte // nil if Deleted
	Deleted  bool
	Revision int64 // of the change that made it so (etcd's mod_revision; of the delete, if deleted)
	Lease    int64 // that the key is under, or was when it was deleted; 0: none
	Expired  bool  // Deleted, and not by anybody's hand: its lease has ended
}
