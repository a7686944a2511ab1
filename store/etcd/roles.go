package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"meridian/store"
)

// RoleChange is what MakeRole has done, permissions in words.
type RoleChange struct {
	Made             bool // there was no such role
	Granted, Revoked []string
}

// MakeRole makes a role of etcd, or has one that is there have these permissions and no others. It may be done
// again and again, also after an error, which may leave some of it undone. Once etcd has users it takes that of
// those with the role root alone.
func (r *Registry) MakeRole(ctx context.Context, name string, want []store.Permission) (done RoleChange, err error) {
	c, err := r.client()
	if err != nil {
		return done, fmt.Errorf("role %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if err := done.make(ctx, c, name, want); err != nil {
		return done, fmt.Errorf("role %s: %w", name, plain(err))
	}
	return done, nil
}

func (done *RoleChange) make(ctx context.Context, c *clientv3.Client, name string, want []store.Permission) error {
	var have []*authpb.Permission
	role, err := c.RoleGet(ctx, name)
	switch {
	case errors.Is(err, rpctypes.ErrRoleNotFound):
		if _, err := c.RoleAdd(ctx, name); err != nil {
			return err
		}
		done.Made = true
	case err != nil:
		return err
	default:
		have = role.Perm
	}
	// What is new comes first, so that nobody loses what the role is to keep. But of two permissions for keys that begin
	// alike etcd may change the wrong one, so that one for the same keys goes before.
	for _, p := range want {
		w := granted(p)
		there := slices.IndexFunc(have, func(h *authpb.Permission) bool { return sameKeys(h, w) })
		if there >= 0 && have[there].PermType == w.PermType {
			continue
		}
		if there >= 0 {
			if err := done.revoke(ctx, c, name, have[there]); err != nil {
				return err
			}
		}
		if _, err := c.RoleGrantPermission(ctx, name, string(w.Key), string(w.RangeEnd), clientv3.PermissionType(w.PermType)); err != nil {
			return err
		}
		done.Granted = append(done.Granted, permissionText(w))
	}
	for _, h := range have {
		if slices.ContainsFunc(want, func(p store.Permission) bool { return sameKeys(h, granted(p)) }) {
			continue
		}
		if err := done.revoke(ctx, c, name, h); err != nil {
			return err
		}
	}
	return nil
}

func (done *RoleChange) revoke(ctx context.Context, c *clientv3.Client, role string, p *authpb.Permission) error {
	if _, err := c.RoleRevokePermission(ctx, role, string(p.Key), string(p.RangeEnd)); err != nil {
		return err
	}
	done.Revoked = append(done.Revoked, permissionText(p))
	return nil
}

// granted is a permission as etcd has it.
func granted(p store.Permission) *authpb.Permission {
	g := &authpb.Permission{Key: []byte(p.Key), RangeEnd: []byte(p.End)}
	switch p.Access {
	case store.Read:
		g.PermType = authpb.Permission_READ
	case store.Write:
		g.PermType = authpb.Permission_WRITE
	case store.ReadWrite:
		g.PermType = authpb.Permission_READWRITE
	}
	return g
}

func sameKeys(a, b *authpb.Permission) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.RangeEnd, b.RangeEnd)
}

func permissionText(p *authpb.Permission) string {
	access := map[authpb.Permission_Type]store.Access{
		authpb.Permission_READ: store.Read, authpb.Permission_WRITE: store.Write, authpb.Permission_READWRITE: store.ReadWrite,
	}
	return string(access[p.PermType]) + " " + rangeText(string(p.Key), string(p.RangeEnd))
}

// rangeText is a key, "/gslb/latch/…" for all that begin so, or from where to where.
func rangeText(key, end string) string {
	switch end {
	case "", key + "\x00":
		return key
	case "\x00":
		return key + " and all after it"
	case clientv3.GetPrefixRangeEnd(key):
		return key + "…"
	}
	return key + " to " + end
}
