package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
)

const (
	// firstPage is how many keys the first request reads: what makes a large registry large, its
	// names, comes last.
	firstPage = 1000

	// maxPage is how many any request reads. etcd counts all keys that follow at each page, so that
	// small pages of a million keys take it a minute.
	maxPage = 50_000

	// pageBytes is what a page is to hold, about: values may have 1.5 MiB, and a message 2 GiB.
	pageBytes = 8 << 20
)

// Read returns all there is below the prefix, at one revision.
func (r *Registry) Read(ctx context.Context) (store.Update, error) {
	c, err := r.client()
	if err != nil {
		return store.Update{}, fmt.Errorf("reading the registry: %w", err)
	}
	return r.read(ctx, c)
}

func (r *Registry) read(ctx context.Context, c *clientv3.Client) (store.Update, error) {
	u, err := readBelow(ctx, c, r.config, r.end())
	if err != nil {
		return u, fmt.Errorf("reading the registry: %w", err)
	}
	return u, nil
}

// ReadLive returns the live keys below a directory such as "server", or "" for all, at one revision.
// The entries' keys are below the directory: of "/gslb-live/error/ns1/pool/web/policy", read with
// "error", "ns1/pool/web/policy".
func (r *Registry) ReadLive(ctx context.Context, dir string) (entries []store.Entry, revision int64, err error) {
	prefix := r.live
	if dir != "" {
		prefix += dir + "/"
	}
	c, err := r.client()
	if err != nil {
		return nil, 0, fmt.Errorf("reading live keys: %w", err)
	}
	u, err := readBelow(ctx, c, prefix, clientv3.GetPrefixRangeEnd(prefix))
	if err != nil {
		return nil, 0, fmt.Errorf("reading live keys: %w", err)
	}
	return u.Entries, u.Revision, nil
}

// Earlier returns the value that a key, such as "pool/web/policy", had before a revision, that is at
// the one before it; so the Revision of what it returns asks for the value before that. Not ok: there
// was no such key then, or etcd has compacted what it was.
func (r *Registry) Earlier(ctx context.Context, key string, before int64) (e store.Entry, ok bool, err error) {
	if before <= 1 { // etcd takes revision 0, and those below, for the newest
		return e, false, nil
	}
	c, err := r.client()
	if err != nil {
		return e, false, fmt.Errorf("reading %s as it was before revision %d: %w", key, before, err)
	}
	was, err := get(ctx, c, r.config+key, clientv3.WithRev(before-1))
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return e, false, nil
	case err != nil:
		return e, false, fmt.Errorf("reading %s as it was before revision %d: %w", key, before, plain(err))
	case len(was.Kvs) == 0:
		return e, false, nil
	}
	kv := was.Kvs[0]
	return store.Entry{Key: key, Value: kv.Value, Revision: kv.ModRevision, Lease: kv.Lease}, true, nil
}

// end is the first key behind those of the configuration. Zones come last of those.
func (r *Registry) end() string {
	if r.cfg.NoZones {
		return r.config + "zone/"
	}
	return clientv3.GetPrefixRangeEnd(r.config)
}

// readBelow returns all keys with a prefix, and before end, at one revision, and without the prefix.
func readBelow(ctx context.Context, c *clientv3.Client, prefix, end string) (u store.Update, err error) {
	// A revision compacted away while its pages are read has us start over. etcd compacts every few
	// minutes, so twice is bad luck and more is something else.
	for range 3 {
		u, err = readPages(ctx, c, prefix, end, 0)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
	}
	if err != nil {
		return store.Update{}, plain(err)
	}
	return u, nil
}

// readPages is readBelow, at a revision; 0: the newest.
func readPages(ctx context.Context, c *clientv3.Client, prefix, end string, revision int64) (store.Update, error) {
	u := store.Update{Revision: revision, Full: true}
	size := firstPage
	for from := prefix; ; {
		page, err := get(ctx, c, from, clientv3.WithRange(end), clientv3.WithLimit(int64(size)), clientv3.WithRev(u.Revision))
		if err != nil {
			return u, err
		}
		if u.Revision == 0 { // the first page was of the newest, the others are of the same
			u.Revision = page.Header.Revision
		}
		if u.Entries == nil {
			u.Cluster = page.Header.ClusterId
			u.Entries = make([]store.Entry, 0, page.Count)
		}
		if page.Header.ClusterId != u.Cluster {
			return u, fmt.Errorf("%w: %x, after %x", errCluster, page.Header.ClusterId, u.Cluster)
		}
		bytes := 1
		for _, kv := range page.Kvs {
			bytes += len(kv.Key) + len(kv.Value)
			key := strings.TrimPrefix(string(kv.Key), prefix)
			u.Entries = append(u.Entries, store.Entry{Key: key, Value: kv.Value, Revision: kv.ModRevision, Lease: kv.Lease})
		}
		if !page.More {
			return u, nil
		}
		size = min(max(1, size*pageBytes/bytes), maxPage)
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func get(ctx context.Context, c *clientv3.Client, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return c.Get(ctx, key, opts...)
}
