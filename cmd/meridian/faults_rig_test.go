//go:build faults

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"meridian/store"
)

const (
	// followed is how soon a change is answered while nothing is amiss: milliseconds, but two cores
	// may be busy with other tests.
	followed = 2 * time.Second

	// healed is how soon the server follows again after etcd, or it itself, has come back: it waits for up to
	// three seconds between two tries.
	healed = 10 * time.Second

	// imageEvery is how often the servers of these tests may write their image.
	imageEvery = 200 * time.Millisecond

	// imageAge is how old an image may be then: writing takes at most a twentieth of the time, so that a large one
	// is written less often.
	imageAge = 5 * time.Second
)

// rig is a server, its etcd and those who ask, all but the askers in processes of their own.
type rig struct {
	trial
	etcdPort, dnsPort, httpPort int

	etcd   *process
	server *process
	client *clientv3.Client

	oracle  *oracle
	stream  *stream
	records []*record
	told    bool // the figures were
}

// newRig makes a rig with an etcd that runs and is empty, and no server.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		trial:    newTrial(t),
		etcdPort: unusedPort(t), dnsPort: unusedPort(t), httpPort: unusedPort(t),
		oracle: newOracle(followed),
	}
	t.Cleanup(r.tellFailed)
	r.startEtcd("etcd")
	r.dial()
	return r
}

func (r *rig) dial() {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{r.etcdAddr()}, Logger: zap.NewNop(), Context: r.t.Context(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond}, MinConnectTimeout: time.Second,
		})},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.client = c
	r.t.Cleanup(func() { c.Close() })
}

func (r *rig) etcdAddr() string { return fmt.Sprintf("127.0.0.1:%d", r.etcdPort) }
func (r *rig) dnsAddr() string  { return fmt.Sprintf("127.0.0.1:%d", r.dnsPort) }

// tellFailed shows the figures, and the end of what the processes said, if the test has failed.
func (r *rig) tellFailed() {
	if !r.t.Failed() {
		return
	}
	if c := r.oracle.result(); !r.told {
		r.t.Logf("until it failed: %v\n%s", c, strings.Join(c.examples, "\n"))
	}
	r.tellLogs()
}

// startEtcd starts the etcd whose data are in that directory of the rig's, and waits until it serves.
func (r *rig) startEtcd(dir string) {
	r.t.Helper()
	r.etcd = r.etcdAt(starter, dir, r.etcdAddr())
}

// copyEtcd copies the data of an etcd that is not running.
func (r *rig) copyEtcd(from, to string) {
	r.t.Helper()
	if err := os.CopyFS(r.path(to), os.DirFS(r.path(from))); err != nil {
		r.t.Fatal(err)
	}
}

// startServer starts the server and waits for nothing. Its directory and its ports are the same each time.
func (r *rig) startServer(args ...string) {
	r.t.Helper()
	args = append([]string{"serve",
		"--dns-listen", r.dnsAddr(), "--http-listen", fmt.Sprintf("127.0.0.1:%d", r.httpPort),
		"--etcd-endpoints", r.etcdAddr(), "--checker-allow", "127.0.0.0/8", "--data-dir", r.path("server"), "--server-name", "ns1",
		"--image-interval", imageEvery.String()}, args...)
	r.server = startProcess(r.t, "meridian", r.path("server.log"), nil, nil, meridian(r.t), args...)
}

// run runs a command of meridian and returns what it says.
func (r *rig) run(args ...string) (string, error) {
	r.t.Helper()
	out, err := exec.CommandContext(r.t.Context(), meridian(r.t), args...).CombinedOutput()
	return string(out), err
}

// get asks the server over HTTP. Status 0 is no answer.
func (r *rig) get(path string) (status int, body string) {
	c := http.Client{Timeout: 5 * time.Second}
	defer c.CloseIdleConnections()
	a, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.httpPort, path))
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	text, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(text)
}

// await waits until something is so, and returns how long that took.
func (r *rig) await(what string, so func() bool) time.Duration {
	r.t.Helper()
	start := time.Now()
	for !so() {
		if time.Since(start) > patience {
			r.t.Fatalf("waited %v: %s is still not so", patience, what)
		}
		if r.server != nil && r.server.gone() {
			r.t.Fatalf("the server has ended while waiting for: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

func (r *rig) awaitReady() {
	r.t.Helper()
	r.await("ready", func() bool { status, _ := r.get("/readyz"); return status == 200 })
}

// status is how the server says that it stands.
func (r *rig) status() (s store.Status) {
	r.t.Helper()
	code, body := r.get("/status")
	if code == 0 {
		return s
	}
	if code != 200 {
		r.t.Fatalf("/status: %d %s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		r.t.Fatalf("/status: %v in %s", err, body)
	}
	return s
}

// liveStatus is the same as it stands in etcd.
func (r *rig) liveStatus() (s store.Status) {
	r.t.Helper()
	if text := r.read("/gslb-live/server/ns1"); text != "" {
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			r.t.Fatalf("/gslb-live/server/ns1: %v in %s", err, text)
		}
	}
	return s
}

// read is the value of a key, "" if it is not there.
func (r *rig) read(key string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	got, err := r.client.Get(ctx, key)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(got.Kvs) == 0 {
		return ""
	}
	return string(got.Kvs[0].Value)
}

// put puts keys below /gslb/, as many at once as etcd takes, and returns the last revision.
func (r *rig) put(keys map[string]string) (revision int64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(keys)), 128) {
		var ops []clientv3.Op
		for _, key := range batch {
			ops = append(ops, clientv3.OpPut("/gslb/"+key, keys[key]))
		}
		done, err := r.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			r.t.Fatal(err)
		}
		revision = done.Header.Revision
	}
	return revision
}

// up puts the small registry, starts the server and, when that is ready, the stream.
func (r *rig) up(args ...string) {
	r.t.Helper()
	r.put(r.registry())
	r.startServer(args...)
	r.awaitReady()
	r.ask()
}

// ask starts the stream.
func (r *rig) ask() {
	r.stream = startStream(r.oracle, r.dnsAddr(), r.random.Uint64())
	r.t.Cleanup(r.stream.stop)
}

// letPass lets queries and changes go on for a while.
func (r *rig) letPass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

// result ends the stream, prints the scenario's figures, and fails if any query ended badly.
func (r *rig) result(more ...string) {
	r.t.Helper()
	if r.stream != nil {
		r.stream.stop()
	}
	if n := r.status().Drift; n > 0 {
		r.t.Errorf("%d keys were found other than they should have been", n)
	}
	c := r.oracle.result()
	r.told = true
	line := c.String()
	for _, m := range more {
		line += ", " + m
	}
	r.t.Logf("figure: %s: %s", strings.TrimPrefix(r.t.Name(), "TestFault"), line)
	if c.bad() > 0 {
		r.t.Errorf("%d queries ended badly:\n%s", c.bad(), strings.Join(c.examples, "\n"))
	}
	if c.queries == 0 {
		r.t.Error("nothing was asked")
	}
}

// restartServer kills the server and starts it again, and returns how long it took from the start until the first
// answer. The oracle is told to expect none in between, or REFUSED.
func (r *rig) restartServer(args ...string) time.Duration {
	r.t.Helper()
	goes := r.oracle.halted()
	r.server.kill()
	r.oracle.forget(imageAge)
	start := time.Now()
	r.startServer(args...)
	c := r.records[0]
	for {
		if a := askOnce(r.dnsAddr(), c.question, 100*time.Millisecond); a != string(lost) && a != "REFUSED" {
			break
		}
		if time.Since(start) > patience || r.server.gone() {
			r.t.Fatalf("no answer %v after the start", time.Since(start))
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	goes(0)
	return took
}

// awaitImage waits until the disk image has all that was changed before.
func (r *rig) awaitImage() {
	r.t.Helper()
	now := time.Now()
	r.await("the image is written", func() bool {
		s := r.status()
		return !s.ImageSaved.IsZero() && (s.ImageSaved.After(now) || time.Since(now) > 5*imageEvery)
	})
}
