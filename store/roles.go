package store

import (
	"fmt"
	"regexp"
	"strings"

	"meridian/zones"
)

// Access is what a permission lets its user do, in etcd's words.
type Access string

const (
	Read      Access = "read"
	Write     Access = "write"
	ReadWrite Access = "readwrite"
)

// Permission is for one key, or a range of them.
type Permission struct {
	Access Access
	Key    string // whole, and the first of a range: "/gslb/latch/"
	End    string // the first key behind the range, "/gslb/latch0"; "": for Key alone
}

// Below says whether a permission is for all that begin with Key, and no more.
func (p Permission) Below() bool { return p.End == behind(p.Key) }

// behind is the first key behind those that begin with a text.
func behind(text string) string {
	last := len(text) - 1
	return text[:last] + string(text[last]+1)
}

// Role is what somebody does with the registry, and may.
type Role struct {
	Name  string
	Of    string // of what: "<server>"; "" where there is no more than one
	About string

	check       func(of string) (canonical string, err error)
	permissions func(k keys, of string)
}

// Roles are those that there are. Whoever puts a key has to read all of the configuration, since what it means
// stands in the others; of what processes write, people read all. What is not needed for that nobody may.
//
// A pool's owner has all that says whom the pool gives, overrides and the latch too: who deploys it knows when a
// member is to be drained and when a tier is well again. Checks are the operator's: they make requests, and run
// commands, on the machines of others.
var Roles = []Role{
	{"server", "<server>", "answers, and says how it stands", func(of string) (string, error) { return of, CheckServer(of) }, func(k keys, of string) {
		k.read()
		k.below(Write, "latch/")
		k.live.one(Write, "server/"+of)
		k.live.below(Write, "error/"+of+"/")
	}},
	{"checker", "<checker>", "checks, and reports", named, func(k keys, of string) {
		k.before(Read, "zone/") // of which it has no use, and which are the last
		k.live.one(ReadWrite, "checker/"+of)
		for _, dir := range []string{"report/", "rtt/", "utilization/"} {
			k.live.below(ReadWrite, dir+of+"/")
		}
	}},
	{"zone", "<zone>", "owns a zone", canonicalZone, func(k keys, of string) {
		k.read()
		k.below(Write, "zone/"+of+"/")
	}},
	{"pool", "<pool>", "owns a pool, or with a dot at the end all pools of a team: shop.", namedOrTeam, func(k keys, of string) {
		one, sub := k.one, of+"/"
		if strings.HasSuffix(of, ".") {
			one, sub = k.below, of
		}
		k.read()
		k.below(Write, "pool/"+sub)
		one(Write, "override/pool/"+of)
		k.below(Write, "override/member/"+sub)
		one(Write, "latch/"+of)
		k.live.below(Write, "load/"+sub)
	}},
	{"service", "<pool>", "registers itself as a member of a pool, and writes its load", named, func(k keys, of string) {
		k.below(ReadWrite, "pool/"+of+"/member/")
		k.live.below(ReadWrite, "load/"+of+"/")
	}},
	{"operator", "", "configures everything, and decides for a while", func(of string) (string, error) { return "", nil }, func(k keys, _ string) {
		k.below(ReadWrite, "")
		k.live.below(Read, "")
	}},
}

// For returns the permissions of a role, of a registry with that prefix, and the role's name in etcd, such as
// "gslb:checker:fra1". Errors say what of has to be.
func (r *Role) For(of, prefix string) (name string, list []Permission, err error) {
	name = strings.TrimPrefix(prefix, "/") + ":" + r.Name
	switch {
	case r.Of == "" && of != "":
		return "", nil, fmt.Errorf("%s: there is one alone, expected nothing after it, found %q", r.Name, of)
	case r.Of != "" && of == "":
		return "", nil, fmt.Errorf("%s: expected %s after it", r.Name, r.Of)
	case r.Of != "":
		if of, err = r.check(of); err != nil {
			return "", nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		name += ":" + of
	}
	return name, r.list(of, prefix), nil
}

// Form are the permissions with Of in the place of a name.
func (r *Role) Form(prefix string) []Permission { return r.list(r.Of, prefix) }

func (r *Role) list(of, prefix string) (list []Permission) {
	k := keys{side{&list, prefix + "/"}, side{&list, prefix + "-live/"}}
	r.permissions(k, of)
	return list
}

// keys are those of a registry, for permissions to be listed of: the configuration, and live.
type keys struct {
	side
	live side
}

// read is what people and servers do.
func (k keys) read() {
	k.below(Read, "")
	k.live.below(Read, "")
}

// side is one of the two prefixes.
type side struct {
	list   *[]Permission
	prefix string
}

func (s side) one(a Access, key string) {
	*s.list = append(*s.list, Permission{a, s.prefix + key, ""})
}

// below is for all keys that begin with dir, "" for all of the side.
func (s side) below(a Access, dir string) {
	*s.list = append(*s.list, Permission{a, s.prefix + dir, behind(s.prefix + dir)})
}

// before is for all keys of the side before one.
func (s side) before(a Access, key string) {
	*s.list = append(*s.list, Permission{a, s.prefix, s.prefix + key})
}

func named(of string) (string, error) { return of, CheckName(of) }

func namedOrTeam(of string) (string, error) { return of, CheckName(strings.TrimSuffix(of, ".")) }

func canonicalZone(of string) (string, error) {
	if of != "." {
		of = strings.TrimSuffix(of, ".")
	}
	apex, err := zones.ParseOwner(of, "@")
	if err != nil {
		return "", err
	}
	return apex.ZoneText(), nil
}

var serverForm = regexp.MustCompile(`^[a-z0-9.-]+$`)

// CheckServer says whether text can name a server.
func CheckServer(text string) error {
	if !serverForm.MatchString(text) {
		return fmt.Errorf(`%q is not a name such as "ns1.example.net": small letters, digits and .- alone`, text)
	}
	return nil
}
