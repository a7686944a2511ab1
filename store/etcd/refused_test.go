package etcd

import (
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"

	"meridian/store"
)

// TestGrantedBy: what a permission is enough for, as etcd has ranges.
func TestGrantedBy(t *testing.T) {
	read, both := authpb.Permission_READ, authpb.Permission_READWRITE
	for _, c := range []struct {
		wanted    wanted
		typ       authpb.Permission_Type
		from, end string
		want      bool
	}{
		{wanted{store.Read, "/a/b", ""}, read, "/a/b", "", true},
		{wanted{store.Read, "/a/b", "/a/b\x00"}, read, "/a/b", "", true},
		{wanted{store.Read, "/a/b", "/a/c"}, read, "/a/b", "", false},
		{wanted{store.Read, "/a/bc", ""}, read, "/a/b", "", false},
		{wanted{store.Read, "/a/b", ""}, read, "/a/", "/a0", true},
		{wanted{store.Read, "/a/", "/a0"}, read, "/a/", "/a0", true},
		{wanted{store.Read, "/a/b\x00", "/a0"}, read, "/a/", "/a0", true},
		{wanted{store.Read, "/a/", "/a1"}, read, "/a/", "/a0", false},
		{wanted{store.Read, "/a0", ""}, read, "/a/", "/a0", false},
		{wanted{store.Read, "/a", ""}, read, "/a/", "/a0", false},
		{wanted{store.Read, "/b", ""}, read, "/a/", "\x00", true},
		{wanted{store.Read, "/a/", "\x00"}, read, "/a/", "\x00", true},
		{wanted{store.Read, "/a/", "\x00"}, read, "/a/", "/a0", false},
		{wanted{store.Write, "/a/b", ""}, read, "/a/", "/a0", false},
		{wanted{store.Write, "/a/b", ""}, both, "/a/", "/a0", true},
		{wanted{store.Read, "/a/b", ""}, both, "/a/", "/a0", true},
		{wanted{store.Read, "/a/b", ""}, authpb.Permission_WRITE, "/a/", "/a0", false},
	} {
		p := &authpb.Permission{PermType: c.typ, Key: []byte(c.from), RangeEnd: []byte(c.end)}
		if got := c.wanted.grantedBy(p); got != c.want {
			t.Errorf("%s of %s: %v", c.wanted, permissionText(p), got)
		}
	}
}

func TestWantedText(t *testing.T) {
	one := func(key string) wanted { return wanted{store.Write, key, ""} }
	for _, c := range []struct {
		all  []wanted
		want string
	}{
		{nil, "do that"},
		{[]wanted{{store.Read, "/a/", "/a0"}}, "read /a/…"},
		{[]wanted{one("/a"), one("/b"), one("/c")}, "write /a, write /b, write /c"},
		{[]wanted{one("/a"), one("/b"), one("/c"), one("/d"), one("/e")}, "write /a, write /b, write /c and 2 more"},
	} {
		if got := wantedText(c.all); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
