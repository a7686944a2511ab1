package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
)

// MaxChanges is how many keys one transaction may change: etcd's own limit unless it is told
// another (--max-txn-ops).
const MaxChanges = 128

// ConflictError says that keys changed between when they were read and when they were to be
// written. Nothing has been written.
type ConflictError struct {
	Keys []string // below the prefix
}

func (e *ConflictError) Error() string {
	return "changed in the meantime: " + strings.Join(e.Keys, ", ")
}

// Commit makes all the changes or none, and returns the revision they made. Where one of the keys is
// no longer at its ReadRevision it makes none and returns a *ConflictError. After any other error
// it is not known whether the changes were made.
func (r *Registry) Commit(ctx context.Context, changes []store.Change) (revision int64, err error) {
	if err := checkChanges(changes); err != nil {
		return 0, err
	}
	var unchanged []clientv3.Cmp
	var writes, looks []clientv3.Op
	size := 0
	for _, ch := range changes {
		key := r.config + ch.Key
		unchanged = append(unchanged, clientv3.Compare(clientv3.ModRevision(key), "=", ch.ReadRevision))
		looks = append(looks, clientv3.OpGet(key, clientv3.WithKeysOnly()))
		if ch.Delete {
			writes = append(writes, clientv3.OpDelete(key))
			continue
		}
		writes = append(writes, clientv3.OpPut(key, string(ch.Value)))
		size += len(ch.Value)
	}
	c, err := r.client()
	if err != nil {
		return 0, fmt.Errorf("writing to the registry: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	done, err := c.Txn(ctx).If(unchanged...).Then(writes...).Else(looks...).Commit()
	if err != nil {
		keys := "1 key"
		if n := len(changes); n != 1 {
			keys = fmt.Sprintf("%d keys", n)
		}
		return 0, fmt.Errorf("writing %s of %d bytes to the registry: %w", keys, size, plain(err))
	}
	if done.Succeeded {
		return done.Header.Revision, nil
	}
	conflict := &ConflictError{}
	for i, ch := range changes {
		var now int64
		if kvs := done.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			now = kvs[0].ModRevision
		}
		if now != ch.ReadRevision {
			conflict.Keys = append(conflict.Keys, ch.Key)
		}
	}
	return 0, conflict
}

func checkChanges(changes []store.Change) error {
	if len(changes) == 0 {
		return errors.New("no changes to write")
	}
	if len(changes) > MaxChanges {
		return fmt.Errorf("%d keys to write, expected at most %d in one transaction", len(changes), MaxChanges)
	}
	seen := make(map[string]bool, len(changes))
	for _, ch := range changes {
		if seen[ch.Key] {
			return fmt.Errorf("key %q twice in one transaction", ch.Key)
		}
		seen[ch.Key] = true
	}
	return nil
}
