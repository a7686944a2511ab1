package embedded

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store/etcd"
)

// A data base that is full says so, lets itself be read, followed and deleted from, and is written to
// again after the steps that README tells: compact, defragment, disarm.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{Dir: dir, quota: 1 << 20})
	c := dial(t, s)
	f := follow(t, open(t, s.Addr().String(), etcd.Config{}, silent))
	f.next()
	if got := s.Alarms(); len(got) != 0 {
		t.Fatalf("alarms of a new etcd: %q", got)
	}
	value := strings.Repeat("x", 50_000)
	var err error
	for i := 0; err == nil; i++ {
		_, err = c.Put(t.Context(), "/gslb/a", fmt.Sprint(i, value))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	// The write that is refused comes before the alarm that it raises.
	until(t, func() bool { return slices.Equal(s.Alarms(), []string{"NOSPACE"}) })

	for f.have["a"] == "" {
		f.next()
	}
	if _, err := c.Delete(t.Context(), "/gslb/a"); err != nil {
		t.Errorf("a delete: %v", err)
	}
	f.expect(map[string]string{})
	if _, err := c.Put(t.Context(), "/gslb/b", "1"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("after a delete alone a write gives %v, expected %v", err, rpctypes.ErrNoSpace)
	}
	s.Close()
	s = start(t, Config{Dir: dir, quota: 1 << 20, Listen: s.Addr().String()})
	if got := s.Alarms(); !slices.Equal(got, []string{"NOSPACE"}) {
		t.Errorf("alarms after a restart: %q", got)
	}

	now, err := c.Get(t.Context(), "/gslb/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		second(c.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical())),
		second(c.Defragment(t.Context(), s.Addr().String())),
		second(c.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Alarms(); len(got) != 0 {
		t.Errorf("alarms after all is done: %q", got)
	}
	put(t, c, "/gslb/b", "1")
	f.expect(map[string]string{"b": "1"})
}
