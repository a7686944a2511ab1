package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMirrorChanges(t *testing.T) {
	have := map[string]held{"same": {"1", 7}, "other": {"1", 7}, "gone": {"1", 7}, "left by another": {"1", 6}}
	want := map[string]string{"same": "1", "other": "2", "left by another": "1", "new": "1", "empty": ""}
	got := changes(have, want, 7)
	expected := []change{{key: "empty"}, {key: "gone", gone: true}, {"left by another", "1", false}, {"new", "1", false}, {"other", "2", false}}
	if !slices.Equal(got, expected) {
		t.Errorf("got  %v\nwant %v", got, expected)
	}
}

func TestMirrorBatches(t *testing.T) {
	big := strings.Repeat("x", maxBatch/2)
	many := make([]change, 300)
	for _, tt := range []struct {
		name string
		list []change
		want []int // lengths
	}{
		{"none", nil, nil},
		{"by number", many, []int{128, 128, 44}},
		{"by size", []change{{value: big}, {value: big}, {value: "x"}}, []int{2, 1}},
		{"one too large alone", []change{{value: "x"}, {value: big + big + big}, {value: "x"}}, []int{1, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			for b := range batches(tt.list) {
				got = append(got, len(b))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPace(t *testing.T) {
	var p pace
	for i, tt := range []struct{ since, want time.Duration }{ // in ms
		{0, 0}, {2, 48}, {2, 98}, {100, 100}, {0, 400}, {0, 500}, {450, 50}, {500, 0}, {49, 1}, {100, 0}, {1000, 0}, {0, 50},
	} {
		if got := p.wait(tt.since * time.Millisecond); got != tt.want*time.Millisecond {
			t.Errorf("%d. %d ms after the last time: %v, expected %d ms", i, tt.since, got, tt.want)
		}
	}
}

func TestMirrorOfAll(t *testing.T) {
	for _, dir := range []string{"", "/error", "error/"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Mirror(%q) is let through", dir)
				}
			}()
			new(Registry).Mirror(dir)
		}()
	}
}

// cutOff makes what is written, and then loses the answer.
type cutOff struct {
	clientv3.KV
	keys map[string]string
	lose bool
}

var errCutOff = errors.New("the answer is lost")

func (c *cutOff) Get(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp := &clientv3.GetResponse{}
	for _, k := range slices.Sorted(maps.Keys(c.keys)) {
		resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: []byte(k), Value: []byte(c.keys[k]), Lease: 7})
	}
	return resp, nil
}

func (c *cutOff) Txn(context.Context) clientv3.Txn { return &cutOffTxn{cutOff: c} }

type cutOffTxn struct {
	clientv3.Txn
	*cutOff
}

func (c *cutOffTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		if op.IsPut() {
			c.keys[string(op.KeyBytes())] = string(op.ValueBytes())
		} else {
			delete(c.keys, string(op.KeyBytes()))
		}
	}
	return c
}

func (c *cutOffTxn) Commit() (*clientv3.TxnResponse, error) {
	if c.lose {
		return nil, errCutOff
	}
	return &clientv3.TxnResponse{}, nil
}

// A write of which it is not known whether it was made is looked at again: it may have been, and what
// is wanted by then be what there was before.
func TestMirrorWriteInDoubt(t *testing.T) {
	kv := &cutOff{keys: map[string]string{"/gslb-live/d/a": "1"}}
	r := &Registry{live: "/gslb-live/", cfg: Config{ResyncEvery: time.Hour}, c: &clientv3.Client{KV: kv}}
	m := r.Mirror("d")
	l := lease{id: 7, renew: time.Now().Add(time.Hour)}
	for _, step := range []struct {
		want map[string]string
		lose bool
	}{
		{map[string]string{"a": "1"}, false},
		{map[string]string{"a": "2", "b": "1"}, true},
		{map[string]string{"a": "1"}, false},
	} {
		kv.lose = step.lose
		m.Set(step.want)
		if err := m.round(t.Context(), &l); errors.Is(err, errCutOff) != step.lose {
			t.Fatal(err)
		}
	}
	if want := map[string]string{"/gslb-live/d/a": "1"}; !maps.Equal(kv.keys, want) {
		t.Errorf("there is %v, expected %v", kv.keys, want)
	}
}

// What is to be written anew is, though it be there; nothing else is, and not twice.
func TestMirrorAnew(t *testing.T) {
	kv := &cutOff{keys: map[string]string{"/gslb-live/d/a": "1"}}
	r := &Registry{live: "/gslb-live/", cfg: Config{ResyncEvery: time.Hour}, c: &clientv3.Client{KV: kv}}
	m := r.Mirror("d")
	l := lease{id: 7, renew: time.Now().Add(time.Hour)}
	for _, step := range []struct {
		name   string
		want   map[string]string
		anew   []string
		writes int64 // so far
	}{
		{"there", map[string]string{"a": "1"}, nil, 0},
		{"anew, and another", map[string]string{"a": "1", "b": "1"}, []string{"a"}, 2},
		{"nothing more", map[string]string{"a": "1", "b": "1"}, nil, 2},
		{"anew, and gone", map[string]string{"a": "1"}, []string{"b"}, 3},
	} {
		m.SetAnew(step.want, step.anew)
		if err := m.round(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
		if n := m.Stats().Writes; n != step.writes || len(kv.keys) != len(step.want) {
			t.Errorf("%s: %d writes, expected %d; there is %v", step.name, n, step.writes, kv.keys)
		}
	}
}
