package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
)

// ReadAt returns all there was below the prefix at a revision. Where etcd has compacted that, or is not there
// yet, the error says which revisions it has.
func (r *Registry) ReadAt(ctx context.Context, revision int64) (store.Update, error) {
	fail := func(err error) (store.Update, error) {
		return store.Update{}, fmt.Errorf("reading the registry at revision %d: %w", revision, err)
	}
	if revision <= 0 { // etcd takes these for the newest
		return fail(errors.New("expected one from 1 on"))
	}
	c, err := r.client()
	if err != nil {
		return fail(err)
	}
	u, err := readPages(ctx, c, r.config, r.end(), revision)
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		oldest, watchErr := oldest(ctx, c, r.config, revision)
		if watchErr != nil {
			return fail(fmt.Errorf("etcd has compacted it (how far is not known: %w)", plain(watchErr)))
		}
		return fail(fmt.Errorf("etcd has compacted it; the oldest that it still has is %d", oldest))
	case errors.Is(err, rpctypes.ErrFutureRev):
		now, err := get(ctx, c, r.config, clientv3.WithCountOnly())
		if err != nil {
			return fail(plain(err))
		}
		return fail(fmt.Errorf("etcd has only come to %d", now.Header.Revision))
	case err != nil:
		return fail(plain(err))
	}
	return u, nil
}

// oldest is the oldest revision that is not compacted. A watch of one that is tells it.
func oldest(ctx context.Context, c *clientv3.Client, key string, compacted int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	for m := range c.Watch(ctx, key, clientv3.WithRev(compacted)) {
		if m.CompactRevision != 0 {
			return m.CompactRevision, nil
		}
	}
	return 0, ctx.Err()
}
