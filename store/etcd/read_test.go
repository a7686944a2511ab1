package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pages answers reads of keys k0, k1, … with values of some size, and compacts while they are read.
type pages struct {
	clientv3.KV
	keys, valueSize int
	compact         int // this many times, after a first page

	revision int64
	limits   []int64 // that were asked for
}

func (p *pages) Get(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	p.limits = append(p.limits, op.Limit())
	if op.Rev() != 0 && p.compact > 0 {
		p.compact--
		p.revision++
		return nil, rpctypes.ErrCompacted
	}
	if op.Rev() != 0 && op.Rev() != p.revision {
		return nil, fmt.Errorf("asked for revision %d, at %d", op.Rev(), p.revision)
	}
	resp := &clientv3.GetResponse{Header: &etcdserverpb.ResponseHeader{Revision: p.revision, ClusterId: 1}}
	for i := range p.keys {
		k := fmt.Sprintf("/gslb/k%06d", i)
		switch {
		case k < key:
		case len(resp.Kvs) == int(op.Limit()):
			resp.More = true
			return resp, nil
		default:
			resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: []byte(k), Value: make([]byte, p.valueSize), ModRevision: 1})
		}
	}
	return resp, nil
}

func TestReadCompacted(t *testing.T) {
	for _, tt := range []struct {
		times int
		err   error
	}{{0, nil}, {1, nil}, {2, nil}, {3, rpctypes.ErrCompacted}} {
		kv := &pages{keys: 2500, revision: 10, compact: tt.times}
		u, err := (&Registry{config: "/gslb/"}).read(context.Background(), &clientv3.Client{KV: kv})
		if !errors.Is(err, tt.err) {
			t.Errorf("compacted %d times: %v, expected %v", tt.times, err, tt.err)
		}
		if err == nil && (len(u.Entries) != kv.keys || u.Revision != kv.revision) {
			t.Errorf("compacted %d times: %d keys at revision %d, expected %d at %d", tt.times, len(u.Entries), u.Revision, kv.keys, kv.revision)
		}
	}
}

func TestPageSizes(t *testing.T) {
	for _, tt := range []struct {
		keys, valueSize int
		limits          []int64
	}{
		{999, 0, []int64{1000}},
		{60_000, 0, []int64{1000, maxPage, maxPage}},
		{1300, 1 << 16, []int64{1000, 127, 127, 127}},
	} {
		kv := &pages{keys: tt.keys, valueSize: tt.valueSize, revision: 10}
		u, err := (&Registry{config: "/gslb/"}).read(context.Background(), &clientv3.Client{KV: kv})
		if err != nil || len(u.Entries) != tt.keys {
			t.Errorf("%d keys: %d read, %v", tt.keys, len(u.Entries), err)
		}
		if !slices.Equal(kv.limits, tt.limits) {
			t.Errorf("%d keys of %d bytes: pages of %v, expected %v", tt.keys, tt.valueSize, kv.limits, tt.limits)
		}
		if len(u.Entries) > 0 && strings.HasPrefix(u.Entries[0].Key, "/") {
			t.Errorf("key %s is not relative", u.Entries[0].Key)
		}
	}
}
