//go:build faults

package main

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trial is what every test of faults has: a directory, a random sequence that its seed and its name repeat, a clock.
type trial struct {
	t      *testing.T
	dir    string
	random *rand.Rand
	began  time.Time
}

func newTrial(t *testing.T) trial {
	t.Helper()
	t.Logf("seed %d", *faultSeed)
	meridian(t)
	h := fnv.New64()
	io.WriteString(h, t.Name())
	return trial{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(*faultSeed, h.Sum64())), began: time.Now()}
}

// path is a file of the trial.
func (r *trial) path(name string) string { return filepath.Join(r.dir, name) }

// say logs a line with the time since the beginning.
func (r *trial) say(format string, args ...any) {
	r.t.Helper()
	r.t.Logf("%7.3fs %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// tellLogs shows the end of what the processes said.
func (r *trial) tellLogs() {
	logs, _ := filepath.Glob(r.path("*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		r.t.Logf("%s, the end of %d lines:\n%s", filepath.Base(path), len(lines), strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// etcdAt starts an etcd by a starter, whose data are in a directory of the trial's, and waits until it serves at
// host:port.
func (r *trial) etcdAt(starter chan func(), dir, addr string) *process {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	said, w, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	defer said.Close()
	p := startProcessBy(starter, r.t, "etcd", r.path("etcd.log"), w, []string{etcdVariable + "=" + r.path(dir) + "@" + addr}, self)
	w.Close()
	if line, _ := bufio.NewReader(said).ReadString('\n'); line != "ready\n" {
		<-p.exited
		r.t.Fatal("etcd has not started")
	}
	return p
}
