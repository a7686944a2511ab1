package check

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

// script writes a command into dir.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// command makes a target of an exec check.
func command(t *testing.T, dir string, spec *health.Exec, timeout spec.Duration) *target {
	t.Helper()
	c := &health.Check{Exec: spec, Timeout: timeout}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if timeout == 0 {
		c.Timeout = long
	}
	id := health.TargetID{Check: "db", Addr: netip.MustParseAddrPort("[2001:db8::1]:5432")}
	return &target{Target: health.Target{TargetID: id, Spec: c}, probe: newVantage(Networks{}, dir).prober(c)}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MERIDIAN_ETCD_PASSWORD", "secret")
	for name, text := range map[string]string{
		"yes":      "exit 0",
		"no":       "exit 3",
		"says":     "echo; echo '  out of disk  ' >&2; echo more; exit 1",
		"garbled":  `printf 'a\377\033[31mb\n'; exit 1`,
		"much":     "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; n=$((n+1)); test $n -lt 2000 || exit 1; done",
		"long":     "printf '%0200d' 0; exit 1",
		"env":      `test "$MERIDIAN_ADDR $MERIDIAN_PORT" = "2001:db8::1 5432" && test -z "$MERIDIAN_ETCD_PASSWORD" && test "$(pwd)" = ` + dir,
		"args":     `test $# = 2 && test "$1" = '$(id) *' && test "$2" = ''`,
		"killed":   "kill -9 $$",
		"lingers":  "sleep 3 & exit 0",
		"lingers1": "sleep 3 & echo gone; exit 1",
	} {
		script(t, dir, name, text)
	}
	os.WriteFile(filepath.Join(dir, "plain"), []byte("#!/bin/sh\n"), 0o600)
	os.WriteFile(filepath.Join(dir, "garbage"), []byte("\x00\x01"), 0o700)
	os.Mkdir(filepath.Join(dir, "folder"), 0o700)
	tests := []struct {
		spec health.Exec
		want string
	}{
		{health.Exec{Command: "yes"}, ""},
		{health.Exec{Command: "no"}, "exit status 3"},
		{health.Exec{Command: "says"}, "out of disk"},
		{health.Exec{Command: "garbled"}, "a[31mb"},
		{health.Exec{Command: "much"}, strings.Repeat("y", 79)},
		{health.Exec{Command: "long"}, strings.Repeat("0", maxQuote) + "…"},
		{health.Exec{Command: "env"}, ""},
		{health.Exec{Command: "args", Args: []string{"$(id) *", ""}}, ""},
		{health.Exec{Command: "args"}, "exit status 1"},
		{health.Exec{Command: "killed"}, "signal: killed"},
		{health.Exec{Command: "lingers"}, ""},
		{health.Exec{Command: "lingers1"}, "gone"},
		{health.Exec{Command: "absent"}, "absent in checker.exec_dir: no such file or directory"},
		{health.Exec{Command: "plain"}, "plain in checker.exec_dir: permission denied"},
		{health.Exec{Command: "folder"}, "folder in checker.exec_dir: permission denied"},
		{health.Exec{Command: "garbage"}, "garbage in checker.exec_dir: exec format error"},
	}
	for _, test := range tests {
		t.Run(strings.Join(append([]string{test.spec.Command}, test.spec.Args...), " "), func(t *testing.T) {
			err := look(t, command(t, dir, &test.spec, 0))
			wantWords(t, err, test.want)
			if saysNothing(err) != strings.Contains(test.want, "checker.exec_dir") {
				t.Errorf("%v: says nothing of the target = %t", err, saysNothing(err))
			}
		})
	}
	t.Run("not allowed", func(t *testing.T) {
		wantWords(t, look(t, command(t, "", &health.Exec{Command: "yes"}, 0)), "exec is not allowed here, see checker.exec_dir")
	})
}

// What takes too long ends at the timeout, with all that it has started.
func TestExecTimeout(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "slow", `echo $$ >pid.new; sleep 300 & echo $! >child.new; mv pid.new pid; mv child.new child; wait`)
	to := command(t, dir, &health.Exec{Command: "slow"}, spec.Duration(time.Second))
	for begun := false; !begun; { // a busy machine may not have begun it within its second
		wantWords(t, look(t, to), "timed out after 1s")
		_, err := os.Stat(filepath.Join(dir, "child"))
		begun = err == nil
	}
	for _, name := range []string{"pid", "child"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		// One that was killed may take a moment to die, and await its parent's attention.
		gone := func() bool {
			stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
		}
		for deadline := time.Now().Add(10 * time.Second); !gone(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s %d is still there", name, pid)
			}
		}
	}
}

// Of a thousand commands a bounded number runs at once. To wait for its turn counts as no failure of a command, and no
// other look waits for that.
func TestExecInTurn(t *testing.T) {
	run(t, func(r *Runner, backend *fake, _ *bytes.Buffer) {
		const n = 1000
		var mu sync.Mutex
		running, most := 0, 0
		takes := func(d time.Duration) prober {
			return func(context.Context, *target) error {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					running--
				}()
				time.Sleep(d) // one that does not die at once
				return nil
			}
		}
		c := &health.Check{Exec: &health.Exec{Command: "x"}, Interval: spec.Duration(10 * time.Second), Timeout: spec.Duration(time.Second), Rise: 1, Fall: 1}
		var targets []health.Target
		for i := range n {
			targets = append(targets, health.Target{TargetID: id(i), Spec: c})
			backend.answers(id(i), takes(900*time.Millisecond))
		}
		other := health.Target{TargetID: id(n), Spec: tcpCheck(time.Second, time.Second)}
		r.Set(append(targets, other))
		sleep(time.Minute)
		if s := r.Stats(); s.Timeouts+s.Failures+s.Void != 0 || s.Targets[health.Up] != n+1 {
			t.Errorf("%+v, expected no failure, and all up", s)
		}
		if most != maxCommands {
			t.Errorf("%d commands at once, expected %d", most, maxCommands)
		}
		if looks := len(backend.looks(id(n))); looks < 58 {
			t.Errorf("the other was looked at %d times in a minute, expected once a second", looks)
		}
		// Those that wait are dropped at once.
		r.Set([]health.Target{other})
		sleep(0)
		if s := r.Stats(); s.InFlight != len(r.commands) {
			t.Errorf("%+v, expected the %d that run", s, len(r.commands))
		}
		sleep(time.Second)
		if s := r.Stats(); s.InFlight != 0 || len(r.commands) != 0 {
			t.Errorf("%+v, %d places taken, expected none", s, len(r.commands))
		}
	})
}
