package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meridian/store"
)

// nameRefused has a call that etcd does not permit say to whom it does not, and what: etcd says no more than that.
func (c *Config) nameRefused(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	switch known := rpctypes.Error(err); {
	case errors.Is(known, rpctypes.ErrPermissionDenied) && strings.HasPrefix(method, "/etcdserverpb.Auth/"):
		return status.Errorf(codes.PermissionDenied, "etcd permits roles to be made to users with the role root alone, and user %q has it not", c.user())
	case errors.Is(known, rpctypes.ErrPermissionDenied):
		return status.Errorf(codes.PermissionDenied, "etcd does not permit user %q to %s", c.user(),
			wantedText(lacking(ctx, etcdserverpb.NewAuthClient(cc), c.user(), wantedBy(req))))
	case errors.Is(known, rpctypes.ErrUserEmpty) && c.Username == "": // with one, the client logs in again
		return status.Error(codes.InvalidArgument, "etcd has users, and this is none of them: "+
			"set etcd.username and etcd.password, or etcd.cert_file for an etcd that takes users from certificates (--client-cert-auth)")
	}
	return err
}

// user is as whom etcd knows us: where no user is said, the common name of the certificate, if etcd looks at that.
func (c *Config) user() string {
	if c.Username != "" || c.CertFile == "" {
		return c.Username
	}
	pair, err := c.keyPair()
	if err != nil || pair.Leaf == nil {
		return ""
	}
	return pair.Leaf.Subject.CommonName
}

// wanted is a permission that a call needs.
type wanted struct {
	access   store.Access // Read or Write
	key, end string       // as etcd has ranges
}

func (w wanted) String() string { return string(w.access) + " " + rangeText(w.key, w.end) }

// grantedBy says whether a permission is enough for it.
func (w wanted) grantedBy(p *authpb.Permission) bool {
	from, end := string(p.Key), string(p.RangeEnd)
	switch {
	case p.PermType != authpb.Permission_READWRITE && (p.PermType == authpb.Permission_READ) != (w.access == store.Read):
		return false
	case end == "":
		return w.key == from && (w.end == "" || w.end == w.key+"\x00")
	case end == "\x00":
		return w.key >= from
	case w.end == "":
		return w.key >= from && w.key < end
	}
	return w.key >= from && w.end <= end && w.end != "\x00"
}

// wantedBy is what a call needs; nil where that is not known.
func wantedBy(req any) (all []wanted) {
	want := func(a store.Access, key, end []byte) {
		if w := (wanted{a, string(key), string(end)}); !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	switch r := req.(type) {
	case *etcdserverpb.RangeRequest:
		want(store.Read, r.Key, r.RangeEnd)
	case *etcdserverpb.TxnRequest:
		for _, op := range slices.Concat(r.Success, r.Failure) {
			if it := op.GetRequestPut(); it != nil {
				want(store.Write, it.Key, nil)
			} else if it := op.GetRequestDeleteRange(); it != nil {
				want(store.Write, it.Key, it.RangeEnd)
			}
		}
		for _, it := range r.Compare {
			want(store.Read, it.Key, it.RangeEnd)
		}
	}
	return all
}

// lacking leaves of what a call needs that which the user is not granted: of several keys etcd does not tell which
// it was. Who they are may always ask for their own roles; where that fails, or explains nothing, it is all.
func lacking(ctx context.Context, auth etcdserverpb.AuthClient, user string, all []wanted) []wanted {
	if len(all) < 2 {
		return all
	}
	u, err := auth.UserGet(ctx, &etcdserverpb.AuthUserGetRequest{Name: user})
	if err != nil {
		return all
	}
	var granted []*authpb.Permission
	for _, name := range u.Roles {
		role, err := auth.RoleGet(ctx, &etcdserverpb.AuthRoleGetRequest{Role: name})
		if err != nil {
			return all
		}
		granted = append(granted, role.Perm...)
	}
	left := slices.DeleteFunc(slices.Clone(all), func(w wanted) bool { return slices.ContainsFunc(granted, w.grantedBy) })
	if len(left) == 0 {
		return all
	}
	return left
}

// maxWanted is how many permissions are named that are lacking.
const maxWanted = 3

func wantedText(all []wanted) string {
	var b strings.Builder
	for i, w := range all {
		switch {
		case i == maxWanted:
			fmt.Fprintf(&b, " and %d more", len(all)-i)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(w.String())
	}
	if b.Len() == 0 {
		return "do that"
	}
	return b.String()
}
