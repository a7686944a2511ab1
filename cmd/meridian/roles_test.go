package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// guarded is an etcd with users, of which each has one role.
type guarded struct {
	t         *testing.T
	endpoints []string
	root      *clientv3.Client
	users     map[string]*clientv3.Client
}

const password = "secret"

// rolesOf are the users and their roles, as meridian roles takes them.
var rolesOf = map[string]string{
	"ns1": "server ns1", "fra1": "checker fra1", "alice": "zone example.com", "bob": "pool shop", "carol": "pool shop.",
	"shop": "service shop", "dave": "operator",
}

// startEtcd starts an etcd that is not a server's own.
func startEtcd(t *testing.T, scheme string, change func(*embed.Config)) (endpoint string) {
	t.Helper()
	client, peer := url.URL{Scheme: scheme, Host: "127.0.0.1:0"}, url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	c := embed.NewConfig()
	c.Dir = t.TempDir()
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{peer} // nobody listens there
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 20, 100
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	change(c)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return scheme + "://" + e.Clients[0].Addr().String()
}

// startGuarded starts an etcd and makes the roles and users, but does not have etcd look at them yet.
func startGuarded(t *testing.T) *guarded {
	t.Helper()
	endpoint := startEtcd(t, "http", func(c *embed.Config) { c.BcryptCost = 4 }) // the least: hundreds of log-ins
	g := &guarded{t: t, endpoints: []string{endpoint}, users: map[string]*clientv3.Client{}}
	root := g.dial("root")
	t.Cleanup(func() { root.Close() })
	g.root = root
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.UserAdd(t.Context(), "root", password))
	must(root.UserGrantRole(t.Context(), "root", "root"))
	for user, role := range rolesOf {
		out, _, err := run(t, "", append([]string{"roles", "--apply", "--etcd-endpoints=" + g.endpoints[0]}, strings.Fields(role)...)...)
		if err != nil || !strings.HasPrefix(out, "gslb:"+strings.ReplaceAll(role, " ", ":")+": made\n") {
			t.Fatalf("%s: %v\n%s", role, err, out)
		}
		must(root.UserAdd(t.Context(), user, password))
		must(root.UserGrantRole(t.Context(), user, "gslb:"+strings.ReplaceAll(role, " ", ":")))
	}
	return g
}

func (g *guarded) dial(user string) *clientv3.Client {
	g.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: g.endpoints, Context: context.Background(), Username: user, Password: password, Logger: zap.NewNop()})
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// enable has etcd look at users, and logs all of them in.
func (g *guarded) enable() {
	g.t.Helper()
	if _, err := g.root.AuthEnable(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	for user := range rolesOf {
		c := g.dial(user)
		g.users[user] = c
		g.t.Cleanup(func() { c.Close() })
	}
}

// as runs a command as a user, which must succeed.
func (g *guarded) as(user, stdin string, args ...string) string {
	g.t.Helper()
	out, err := g.try(user, stdin, args...)
	if err != nil {
		g.t.Fatalf("%s as %s: %v\n%s", strings.Join(args, " "), user, err, out)
	}
	return out
}

func (g *guarded) try(user, stdin string, args ...string) (out string, err error) {
	g.t.Helper()
	g.t.Setenv("MERIDIAN_ETCD_USERNAME", user)
	if g.t.Setenv("MERIDIAN_ETCD_PASSWORD", password); user == "" {
		g.t.Setenv("MERIDIAN_ETCD_PASSWORD", "")
	}
	out, _, err = run(g.t, stdin, append(args, "--etcd-endpoints="+g.endpoints[0])...)
	return out, err
}

// TestRoles: with each role what it is for can be done, and nothing else.
func TestRoles(t *testing.T) {
	g := startGuarded(t)
	with := func(user string) func(*Config) {
		return func(c *Config) {
			c.Etcd.Endpoints, c.Etcd.Username, c.Etcd.Password = g.endpoints, user, password
			c.Checker.Enabled = false
		}
	}
	in := startInstanceWith(t, t.TempDir(), with("ns1"))
	in.etcd.Close()
	in.etcd = g.dial("root")
	startChecker(t, in, "fra1", "fra", with("fra1"))
	in.put("site/fra", "{}")
	first, second := startBackendAt(t, "127.0.0.41:0"), startBackendAt(t, "127.0.0.42:0")
	in.put("check/shop", `{"http":{},"interval":"100ms","rise":1,"fall":1}`)
	in.put("pool/shop/member/a", fmt.Sprintf(`{"addr":["127.0.0.41"],"port":%d,"site":"fra"}`, first.addr.Port()))
	in.put("pool/shop/policy", `{"policy":"multivalue"}`)
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"shop"}`)
	in.givesAll("127.0.0.41")

	// They have logged in before they had to.
	g.enable()

	// An owner of a zone, whose change is waited for: the server answers, and says so.
	out := g.as("alice", `{"zone/example.com/name/new/TXT":"\"one\""}`, "apply", "-", "--wait")
	if !strings.Contains(out, "\nanswered by ns1 after ") {
		t.Errorf("%s", out)
	}
	// An owner of a pool: its check, its members, an override and back again.
	g.as("bob", fmt.Sprintf(`{"pool/shop/policy":{"policy":"failover","check":"shop"},"pool/shop/member/b":{"addr":["127.0.0.42"],"port":%d,"tier":2}}`,
		second.addr.Port()), "apply", "-")
	in.awaitMetric(`meridian_pool_members{pool="shop",state="up"} 2`) // the checker has reported
	in.givesAll("127.0.0.41")
	g.as("bob", "", "drain", "member/shop/a", "--reason", "CHG-1")
	in.givesAll("127.0.0.42")
	g.as("bob", "", "undrain", "member/shop/a")
	// A service, which registers itself and goes.
	lease, err := g.users["shop"].Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.users["shop"].Put(t.Context(), "/gslb/pool/shop/member/c", "127.0.0.43", clientv3.WithLease(lease.ID)); err != nil {
		t.Error(err)
	}
	if _, err := g.users["shop"].KeepAliveOnce(t.Context(), lease.ID); err != nil {
		t.Error(err)
	}
	if _, err := g.users["carol"].Revoke(t.Context(), lease.ID); err == nil || err.Error() != rpctypes.ErrPermissionDenied.Error() {
		t.Errorf("another's lease: %v", err)
	}
	if _, err := g.users["shop"].Revoke(t.Context(), lease.ID); err != nil {
		t.Error(err)
	}
	// An operator.
	g.as("dave", "", "drain", "site/fra")
	in.givesAll("127.0.0.42")
	g.as("dave", "", "undrain", "site/fra")
	in.givesAll("127.0.0.41")
	// A server writes what is wrong with a key, and the latch of a pool that has failed over.
	g.as("bob", `{"pool/shop/policy":{"check":"shop","steps":["up",{"tier":{"failback":"manual"}},"take"]}}`, "apply", "-")
	first.srv.Close()
	in.liveKey("/gslb/latch/shop", true)
	if _, err := g.users["bob"].Delete(t.Context(), "/gslb/latch/shop"); err != nil {
		t.Error(err)
	}
	if _, err := g.users["bob"].Put(t.Context(), "/gslb/pool/shop/policy", `{"polcy":"failover"}`); err != nil {
		t.Error(err)
	}
	in.liveKey("/gslb-live/error/ns1/pool/shop/policy", true)

	g.matrix()
	g.refusals()
}

// matrix tries each user at each key.
func (g *guarded) matrix() {
	g.t.Helper()
	readers := map[string]string{"/gslb/": "ns1 alice bob carol dave", "/gslb-live/": "ns1 alice bob carol dave"}
	for _, c := range []struct {
		key, writers string
		also         string // reads it too
	}{
		{"/gslb/zone/example.com/soa", "alice dave", ""},
		{"/gslb/zone/example.com/name/www/A", "alice dave", ""},
		{"/gslb/zone/example.com", "dave", ""},
		{"/gslb/zone/example.com.au/soa", "dave", ""},
		{"/gslb/zone/www.example.com/soa", "dave", ""},
		{"/gslb/zone/example.comm/soa", "dave", ""},
		{"/gslb/pool/shop/policy", "bob dave", ""},
		{"/gslb/pool/shop/member/a", "bob shop dave", "shop"},
		{"/gslb/pool/shop.web/policy", "carol dave", ""},
		{"/gslb/pool/shop.web/member/a", "carol dave", ""},
		{"/gslb/pool/shopping/policy", "dave", ""},
		{"/gslb/pool/shopping/member/a", "dave", ""},
		{"/gslb/pool/sho/member/a", "dave", ""},
		{"/gslb/override/pool/shop", "bob dave", ""},
		{"/gslb/override/pool/shop.web", "carol dave", ""},
		{"/gslb/override/pool/shopping", "dave", ""},
		{"/gslb/override/member/shop/a", "bob dave", ""},
		{"/gslb/override/member/shop.web/a", "carol dave", ""},
		{"/gslb/override/member/shopping/a", "dave", ""},
		{"/gslb/override/site/fra", "dave", ""},
		{"/gslb/latch/shop", "ns1 bob dave", ""},
		{"/gslb/latch/shop.web", "ns1 carol dave", ""},
		{"/gslb/latch/shopping", "ns1 dave", ""},
		{"/gslb/site/fra", "dave", ""},
		{"/gslb/check/shop", "dave", ""},
		{"/gslb/check/shop.web", "dave", ""},
		{"/gslb/map/office/nets", "dave", ""},
		{"/gslb/control/accept-delete", "dave", ""},
		{"/gslb-live/server/ns1", "ns1", ""},
		{"/gslb-live/server/ns10", "", ""},
		{"/gslb-live/error/ns1/pool/shop/policy", "ns1", ""},
		{"/gslb-live/error/ns10/pool/shop/policy", "", ""},
		{"/gslb-live/checker/fra1", "fra1", "fra1"},
		{"/gslb-live/checker/fra10", "", ""},
		{"/gslb-live/report/fra1/shop", "fra1", "fra1"},
		{"/gslb-live/report/fra10/shop", "", ""},
		{"/gslb-live/rtt/fra1/shop", "fra1", "fra1"},
		{"/gslb-live/rtt/fra10/shop", "", ""},
		{"/gslb-live/utilization/fra1/shop", "fra1", "fra1"},
		{"/gslb-live/utilization/fra10/shop", "", ""},
		{"/gslb-live/load/shop/a", "bob shop", "shop"},
		{"/gslb-live/load/shop.web/a", "carol", ""},
		{"/gslb-live/load/shopping/a", "", ""},
		{"/gslb", "", ""},
		{"/gslb-live", "", ""},
		{"/gslb0", "", ""},
		{"/gslb2/pool/shop/policy", "", ""},
		{"/else", "", ""},
	} {
		reads := strings.Fields(c.also)
		if strings.HasPrefix(c.key, "/gslb/") && !strings.HasPrefix(c.key, "/gslb/zone/") {
			reads = append(reads, "fra1")
		}
		for prefix, users := range readers {
			if strings.HasPrefix(c.key, prefix) {
				reads = append(reads, strings.Fields(users)...)
			}
		}
		for user, client := range g.users {
			_, err := client.Get(g.t.Context(), c.key)
			g.expect(user, "read", c.key, slices.Contains(reads, user), err)
			// What a transaction does not come to has to be permitted all the same.
			_, err = client.Txn(g.t.Context()).Else(clientv3.OpPut(c.key, "")).Commit()
			g.expect(user, "write", c.key, slices.Contains(strings.Fields(c.writers), user), err)
		}
	}
	// What reaches over the end of a name.
	for user, key := range map[string]string{
		"alice": "/gslb/zone/example.com", "bob": "/gslb/pool/shop", "carol": "/gslb/pool/shop", "shop": "/gslb/pool/shop/",
		"fra1": "/gslb-live/report/fra1", "ns1": "/gslb-live/error/ns1", "dave": "/gslb",
	} {
		_, err := g.users[user].Txn(g.t.Context()).Else(clientv3.OpDelete(key, clientv3.WithPrefix())).Commit()
		g.expect(user, "delete all from", key, false, err)
	}
}

func (g *guarded) expect(user, what, key string, may bool, err error) {
	g.t.Helper()
	if denied := err != nil && err.Error() == rpctypes.ErrPermissionDenied.Error(); denied == may || err != nil && !denied {
		g.t.Errorf("%s may %s %s: %v expected, %v", user, what, key, may, err)
	}
}

// refusals: what is missing is said.
func (g *guarded) refusals() {
	g.t.Helper()
	for _, c := range []struct{ user, stdin, command, want string }{
		{"alice", `{"zone/example.com/name/a/A":"192.0.2.1","pool/shop.web/member/a":"192.0.2.1","zone/example.com/name/b/A":"192.0.2.1"}`, "apply -",
			`0 of 3 changes were put: writing 3 keys of 27 bytes to the registry: etcd does not permit user "alice" to write /gslb/pool/shop.web/member/a`},
		{"bob", "", "drain site/fra --by bob",
			`writing 1 key of 28 bytes to the registry: etcd does not permit user "bob" to write /gslb/override/site/fra`},
		{"shop", "", "export --zone example.com", `reading the registry: etcd does not permit user "shop" to read /gslb/…`},
		{"alice", "", "roles operator --apply", `role gslb:operator: etcd permits roles to be made to users with the role root alone, and user "alice" has it not`},
		{"", "", "export --zone example.com",
			"reading the registry: etcd has users, and this is none of them: set etcd.username and etcd.password, or etcd.cert_file for an etcd that takes users from certificates (--client-cert-auth)"},
	} {
		_, err := g.try(c.user, c.stdin, strings.Fields(c.command)...)
		if err == nil || err.Error() != c.want {
			g.t.Errorf("%s as %s:\ngot  %v\nwant %s", c.command, c.user, err, c.want)
		}
	}
}

// TestRoleRefused: a process that lacks a permission says so in its log.
func TestRoleRefused(t *testing.T) {
	g := startGuarded(t)
	g.enable()
	cfg := Config{Site: "fra", Checker: CheckerConfig{ID: "fra10"},
		Etcd: EtcdConfig{Endpoints: g.endpoints, Prefix: "/gslb", Username: "fra1", Password: password}}
	read, written := io.Pipe()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- runChecker(ctx, cfg, slog.New(slog.NewTextHandler(written, nil)), nil)
		written.Close()
	}()
	line := ""
	for lines := bufio.NewScanner(read); lines.Scan(); {
		if line == "" {
			line = lines.Text()
			cancel()
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := `level=WARN msg="live key cannot be held" key=checker/fra10 reason="etcd does not permit user \"fra1\" to write /gslb-live/checker/fra10, read /gslb-live/checker/fra10"`
	if _, got, _ := strings.Cut(line, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRolesAgain: a role is given what it lacks, and what it is not to have is taken from it; the commands printed
// make the same.
func TestRolesAgain(t *testing.T) {
	g := startGuarded(t)
	has := func(role string) (list []string) {
		t.Helper()
		r, err := g.root.RoleGet(t.Context(), role)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Perm {
			list = append(list, fmt.Sprintf("%v %q to %q", p.PermType, p.Key, p.RangeEnd))
		}
		return list
	}
	const role = "gslb:zone:example.com"
	before := has(role)
	for _, p := range []struct {
		key, end string
		access   clientv3.PermissionType
	}{
		{"/gslb/", "/gslb0", clientv3.PermissionType(clientv3.PermReadWrite)},
		{"/gslb/zone/example.com/", "", clientv3.PermissionType(clientv3.PermWrite)},
		{"/gslb/zone/example.com.au/", "/gslb/zone/example.com.au0", clientv3.PermissionType(clientv3.PermWrite)},
		{"/z", "\x00", clientv3.PermissionType(clientv3.PermRead)},
		{"/y", "/y2", clientv3.PermissionType(clientv3.PermRead)},
	} {
		if _, err := g.root.RoleGrantPermission(t.Context(), role, p.key, p.end, p.access); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.root.RoleRevokePermission(t.Context(), role, "/gslb-live/", "/gslb-live0"); err != nil {
		t.Fatal(err)
	}
	apply := func() string {
		t.Helper()
		out, _, err := run(t, "", "roles", "zone", "example.com", "--apply", "--etcd-endpoints="+g.endpoints[0])
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := role + `: changed
  granted read /gslb/…
  granted read /gslb-live/…
  revoked readwrite /gslb/…
  revoked write /gslb/zone/example.com.au/…
  revoked write /gslb/zone/example.com/
  revoked read /y to /y2
  revoked read /z and all after it
`
	if got := apply(); got != want || !slices.Equal(has(role), before) {
		t.Errorf("got\n%s%s\nwant\n%s%s", got, has(role), want, before)
	}
	if got := apply(); got != role+": nothing to change\n" {
		t.Errorf("again: %s", got)
	}

	for _, args := range [][]string{{"server", "ns1"}, {"checker", "fra1"}, {"zone", "it's.0/25.example.com"}, {"pool", "shop", "shop."}, {"service", "shop"}, {"operator"}} {
		args = append([]string{"roles", "--etcd-prefix=/other", "--etcd-endpoints=" + g.endpoints[0]}, args...)
		commands, _, err := run(t, "", args...)
		if err != nil {
			t.Fatal(err)
		}
		sh := exec.CommandContext(t.Context(), "sh", "-eu")
		sh.Stdin = strings.NewReader(strings.ReplaceAll("\n"+commands, "\netcdctl ", "\n"+program(t, "etcdctl", "make bin/etcdctl builds it")+" "))
		sh.Env = append(os.Environ(), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+g.endpoints[0])
		if out, err := sh.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", commands, err, out)
		}
		out, _, err := run(t, "", append(args, "--apply")...)
		if err != nil || strings.Count(out, ": nothing to change\n") != strings.Count(commands, "role add") {
			t.Errorf("%v\n%s\nafter\n%s", err, out, commands)
		}
	}
}

func TestRolesErrors(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"roles --apply", "--apply: of which role? One of server, checker, zone, pool, service, operator"},
		{"roles chekcer fra1", `"chekcer" is no role, expected one of server, checker, zone, pool, service, operator (did you mean "checker"?)`},
		{"roles checker", "checker: expected <checker> after it"},
		{"roles checker fra1 fra/2", `checker: "fra/2" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{"roles operator dave", `operator: there is one alone, expected nothing after it, found "dave"`},
	} {
		if out, _, err := run(t, "", strings.Fields(c.command)...); err == nil || err.Error() != c.want || out != "" {
			t.Errorf("%s:\ngot  %v %s\nwant %s", c.command, err, out, c.want)
		}
	}
}

// TestRolesTable: what the roles may, for people.
func TestRolesTable(t *testing.T) {
	out, _, err := run(t, "", "roles")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/roles.txt", out)
}
