package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 20 * time.Second

// instance is a whole server in this process: its own etcd, DNS and HTTP on free ports.
type instance struct {
	t *testing.T
	running
	etcd *clientv3.Client
	stop func() // and wait
}

func startInstance(t *testing.T, dir string) *instance {
	t.Helper()
	return startInstanceWith(t, dir, func(*Config) {})
}

// startInstanceWith starts one whose configuration is changed first.
func startInstanceWith(t *testing.T, dir string, change func(*Config)) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := Config{
		ServerName: "ns1", Site: "here", DataDir: dir, HTTPListen: "127.0.0.1:0",
		DNS:     DNSConfig{Listen: []string{"127.0.0.1:0", "[::1]:0"}, Workers: 2, TCPMax: 100, TCPIdle: time.Second},
		Checker: CheckerConfig{Enabled: true},
		Etcd:    EtcdConfig{Listen: "127.0.0.1:0", Prefix: "/gslb"},
	}
	change(&cfg)
	up, ended := make(chan running, 1), make(chan error, 1)
	go func() {
		ended <- serve(ctx, cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), func(_ context.Context, r running) error {
			up <- r
			return nil
		})
	}()
	in := &instance{t: t}
	select {
	case in.running = <-up:
	case err := <-ended:
		cancel()
		t.Fatalf("serve: %v", err)
	}
	var err error
	if in.etcd, err = clientv3.New(clientv3.Config{Endpoints: in.endpoints, Context: ctx}); err != nil {
		t.Fatal(err)
	}
	stopped := false
	in.stop = func() {
		if stopped {
			return
		}
		stopped = true
		in.etcd.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(in.stop)
	return in
}

func (in *instance) put(key, value string) {
	in.t.Helper()
	if _, err := in.etcd.Put(in.t.Context(), "/gslb/"+key, value); err != nil {
		in.t.Fatal(err)
	}
}

func (in *instance) ask(name string, typ uint16) *dns.Msg {
	in.t.Helper()
	q := new(dns.Msg).SetQuestion(name, typ)
	q.SetEdns0(1232, false)
	c := dns.Client{Timeout: 2 * time.Second}
	r, _, err := c.Exchange(q, in.dns[0].String())
	if err != nil {
		in.t.Fatalf("%s: %v", name, err)
	}
	return r
}

// awaitAnswer asks until the answer is as wanted, and returns how long that took.
func (in *instance) awaitAnswer(name string, typ uint16, wanted func(*dns.Msg) bool) time.Duration {
	in.t.Helper()
	start := time.Now()
	for {
		r := in.ask(name, typ)
		if wanted(r) {
			return time.Since(start)
		}
		if time.Since(start) > patience {
			in.t.Fatalf("%s: still\n%s", name, r)
		}
	}
}

func (in *instance) get(path string) (status int, body string) {
	in.t.Helper()
	r, err := http.Get("http://" + in.http.String() + path)
	if err != nil {
		in.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// awaitMetric asks for the metrics until a line is among them.
func (in *instance) awaitMetric(line string) {
	in.t.Helper()
	for start := time.Now(); ; {
		_, body := in.get("/metrics")
		if strings.Contains(body, line+"\n") {
			return
		}
		if time.Since(start) > patience {
			in.t.Fatalf("no %s in\n%s", line, body)
		}
	}
}

// liveKey waits until a key that servers write is there, or is not, and returns its value.
func (in *instance) liveKey(key string, there bool) string {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), patience)
	defer cancel()
	now, err := in.etcd.Get(ctx, key)
	if err != nil {
		in.t.Fatal(err)
	}
	if len(now.Kvs) > 0 && there {
		return string(now.Kvs[0].Value)
	}
	if len(now.Kvs) == 0 && !there {
		return ""
	}
	for w := range in.etcd.Watch(ctx, key, clientv3.WithRev(now.Header.Revision+1)) {
		for _, e := range w.Events {
			if (e.Type == clientv3.EventTypePut) == there {
				return string(e.Kv.Value)
			}
		}
	}
	in.t.Fatalf("%s: expected there %v", key, there)
	return ""
}

// backend is a member that can be killed and started again at its address.
type backend struct {
	addr netip.AddrPort
	srv  *http.Server
}

func startBackendAt(t *testing.T, addr string) *backend {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: netip.MustParseAddrPort(l.Addr().String())}
	b.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	go b.srv.Serve(l)
	t.Cleanup(func() { b.srv.Close() })
	return b
}

func addresses(r *dns.Msg) (list []string) {
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			list = append(list, a.A.String())
		}
	}
	slices.Sort(list)
	return list
}

func TestProcessors(t *testing.T) {
	for _, test := range []struct{ usual, sockets, want int }{{1, 1, 4}, {2, 2, 4}, {4, 4, 5}, {8, 4, 8}, {8, 16, 17}} {
		if got := processors(test.usual, test.sockets); got != test.want {
			t.Errorf("%d usually, %d sockets: %d, want %d", test.usual, test.sockets, got, test.want)
		}
	}
}

// TestServe is the main job: registry in etcd → snapshot → answers, with health that changes them.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	in := startInstance(t, dir)
	if r := in.ask("www.example.com.", dns.TypeA); r.Rcode != dns.RcodeRefused {
		t.Errorf("an empty registry answers %s, expected REFUSED", dns.RcodeToString[r.Rcode])
	}

	in.put("check/web", `{"http":{"body":"ok"},"interval":"100ms","rise":2,"fall":2}`)
	in.put("pool/web/policy", `{"policy":"multivalue","check":"web"}`)
	var members []*backend
	for i := range 3 {
		b := startBackendAt(t, fmt.Sprintf("127.0.0.%d:0", 11+i))
		members = append(members, b)
		in.put(fmt.Sprintf("pool/web/member/m%d", i), fmt.Sprintf(`{"addr":[%q],"port":%d}`, b.addr.Addr(), b.addr.Port()))
	}
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/steer", `{"pool":"web"}`)
	all := []string{"127.0.0.11", "127.0.0.12", "127.0.0.13"}
	gives := func(want ...string) func(*dns.Msg) bool {
		return func(r *dns.Msg) bool { return slices.Equal(addresses(r), want) }
	}
	in.awaitMetric(`meridian_pool_members{pool="web",state="up"} 3`)
	in.awaitAnswer("www.example.com.", dns.TypeA, gives(all...))

	// A change is answered at once.
	in.put("zone/example.com/name/new/TXT", `"one"`)
	t.Logf("put to answer: %v", in.awaitAnswer("new.example.com.", dns.TypeTXT, func(r *dns.Msg) bool { return len(r.Answer) == 1 }))

	// A backend dies.
	members[0].srv.Close()
	t.Logf("death to answer (interval 100ms, fall 2): %v", in.awaitAnswer("www.example.com.", dns.TypeA, gives(all[1:]...)))

	// Explain says why, from the same code.
	status, body := in.get("/explain?name=www.example.com&type=A&client=203.0.113.7")
	if status != 200 || !strings.Contains(body, "connection refused") {
		t.Errorf("explain: status %d\n%s", status, body)
	}

	// All die: they are given all the same, and the answer says so.
	members[1].srv.Close()
	members[2].srv.Close()
	in.awaitAnswer("www.example.com.", dns.TypeA, func(r *dns.Msg) bool {
		return slices.Equal(addresses(r), all) && r.Answer[0].Header().Ttl == 10 && len(r.IsEdns0().Option) == 1
	})

	// One comes back.
	startBackendAt(t, members[2].addr.String())
	in.awaitAnswer("www.example.com.", dns.TypeA, gives(all[2]))

	// A typo changes nothing, and is written back; mended, the error goes.
	in.put("pool/web/policy", `{"policy":"mutlivalue","check":"web"}`)
	var fault struct{ Field, Error string }
	if err := json.Unmarshal([]byte(in.liveKey("/gslb-live/error/ns1/pool/web/policy", true)), &fault); err != nil {
		t.Fatal(err)
	}
	if want := `unknown policy "mutlivalue", expected one of weighted, failover, multivalue, sticky, geo, geoproximity, latency (did you mean "multivalue"?)`; fault.Field != "policy" || fault.Error != want {
		t.Errorf("fault %+v", fault)
	}
	if got := addresses(in.ask("www.example.com.", dns.TypeA)); !slices.Equal(got, all[2:]) {
		t.Errorf("after a typo %v", got)
	}
	in.put("pool/web/policy", `{"policy":"weighted","check":"web"}`)
	in.liveKey("/gslb-live/error/ns1/pool/web/policy", false)

	if status, body := in.get("/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	in.awaitMetric(`meridian_pool_members{pool="web",state="down"} 2`)

	// A new start on the same directory serves the same.
	in.stop()
	again := startInstance(t, dir)
	again.awaitAnswer("new.example.com.", dns.TypeTXT, func(r *dns.Msg) bool { return len(r.Answer) == 1 })
	again.awaitAnswer("www.example.com.", dns.TypeA, gives(all[2]))
}

// TestServeErrors names the option at fault, and leaves nothing behind.
func TestServeErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"dns", func(c *Config) { c.DNS.Listen = []string{taken.Addr().String()} }, "dns.listen: "},
		{"http", func(c *Config) { c.HTTPListen = taken.Addr().String() }, "http.listen: "},
		{"etcd", func(c *Config) { c.Etcd.Listen = taken.Addr().String() }, "etcd.listen: "},
		{"data_dir", func(c *Config) { c.DataDir = "/dev/null" }, "data_dir: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{
				ServerName: "ns1", DataDir: t.TempDir(), HTTPListen: "127.0.0.1:0",
				DNS:  DNSConfig{Listen: []string{"127.0.0.1:0"}, Workers: 1},
				Etcd: EtcdConfig{Listen: "127.0.0.1:0", Prefix: "/gslb"},
			}
			c.change(&cfg)
			err := serve(t.Context(), cfg, slog.New(slog.DiscardHandler), nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, expected %s…", err, c.want)
			}
		})
	}
}
