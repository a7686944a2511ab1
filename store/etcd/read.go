package etcd

import (
	"context"
	"errors"
	"fmt"

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
	u, _, err := r.read(ctx, c)
	return u, err
}

// read is Read, and says which cluster it was.
func (r *Registry) read(ctx context.Context, c *clientv3.Client) (u store.Update, cluster uint64, err error) {
	// A revision compacted away while its pages are read has us start over. etcd compacts every few
	// minutes, so twice is bad luck and more is something else.
	for range 3 {
		u, cluster, err = r.readPages(ctx, c)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
	}
	if err != nil {
		return store.Update{}, 0, fmt.Errorf("reading the registry: %w", plain(err))
	}
	return u, cluster, nil
}

func (r *Registry) readPages(ctx context.Context, c *clientv3.Client) (store.Update, uint64, error) {
	u := store.Update{Full: true}
	end := clientv3.GetPrefixRangeEnd(r.config)
	size := firstPage
	for from := r.config; ; {
		page, err := get(ctx, c, from, clientv3.WithRange(end), clientv3.WithLimit(int64(size)), clientv3.WithRev(u.Revision))
		if err != nil {
			return u, 0, err
		}
		if u.Revision == 0 { // the first page was of the newest, the others are of the same
			u.Revision = page.Header.Revision
			u.Entries = make([]store.Entry, 0, page.Count)
		}
		bytes := 1
		for _, kv := range page.Kvs {
			bytes += len(kv.Key) + len(kv.Value)
			u.Entries = append(u.Entries, store.Entry{Key: r.relative(kv.Key), Value: kv.Value, Revision: kv.ModRevision})
		}
		if !page.More {
			return u, page.Header.ClusterId, nil
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
