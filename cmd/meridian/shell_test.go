package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// shell is a bash with a server that its etcdctl writes to and its dig asks.
type shell struct {
	*instance
	typed    io.WriteCloser
	printed  *bufio.Scanner
	net      string // "127.x.y.": what it has in the place of 127.0.0.0/24
	backends map[string]*http.Server
	turns    int
}

// turnZone holds the record that says how far the server has come.
const turnZone = "turn.test"

func startShell(t *testing.T) *shell {
	t.Helper()
	sh := &shell{backends: map[string]*http.Server{}, net: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(255))}
	in := startInstanceWith(t, t.TempDir(), func(c *Config) {
		// A port that the kernel gives to nobody: dig, which shares ports as we do, would once in thousands of queries have
		// ours, and hear itself.
		c.DNS.Listen = []string{sh.net + "1:5300"}
		for _, file := range []string{"city.mmdb", "country.mmdb", "asn.mmdb"} {
			c.Geo.Databases = append(c.Geo.Databases, geoFixtures+file)
		}
		c.Geo.Interval = time.Minute
	})
	sh.instance = in
	in.put("zone/"+turnZone+"/soa", `{"ns":["ns1.example.net."]}`)
	dir := t.TempDir()
	dig := fmt.Sprintf("#!/bin/sh\nexec %s @%s -p %d +tries=2 +time=5 \"$@\"\n", program(t, "dig", "install it (bind9-dnsutils)"), in.dns[0].Addr(), in.dns[0].Port())
	if err := os.WriteFile(filepath.Join(dir, "dig"), []byte(dig), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program(t, "etcdctl", "make bin/etcdctl builds it"), filepath.Join(dir, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	bash := exec.CommandContext(ctx, "bash", "--noprofile", "--norc")
	bash.Dir = t.TempDir()
	bash.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "LC_ALL=C", "ETCDCTL_ENDPOINTS="+in.endpoints[0])
	var err error
	if sh.typed, err = bash.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := bash.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	bash.Stderr = bash.Stdout
	sh.printed = bufio.NewScanner(out)
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sh.typed.Close() // what it has in the background goes with etcd
		in.stop()
		cancel()
		bash.Wait()
		for _, b := range sh.backends {
			b.Close()
		}
	})
	return sh
}

// program finds one that make builds, or that is installed.
func program(t *testing.T, name, otherwise string) string {
	t.Helper()
	if built, err := filepath.Abs("../../bin/" + name); err == nil {
		if _, err := os.Stat(built); err == nil {
			return built
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: %s", name, otherwise)
	}
	return path
}

// writes says whether a command changes the registry.
var writes = regexp.MustCompile(`\betcdctl (put|del)\b`)

// do does what a command says, and returns what is wrong with what that prints.
func (sh *shell) do(c *command) error {
	words := strings.Fields(sh.here(c.text))
	if words[0] == "up" || words[0] == "down" {
		return sh.backend(words)
	}
	for begin := time.Now(); ; {
		got, err := sh.run(sh.here(c.text))
		if err != nil {
			return err
		}
		if writes.MatchString(c.text) {
			sh.turn()
			got = sh.withoutWord(got)
		}
		err = c.compare(got)
		if err == nil || !c.watch || time.Since(begin) > patience {
			return err
		}
	}
}

// here has the addresses of this shell in the place of those that are written.
func (sh *shell) here(text string) string { return strings.ReplaceAll(text, "127.0.0.", sh.net) }

// run types text and returns the lines that it prints.
func (sh *shell) run(text string) (lines []string, err error) {
	const mark = "== done =="
	if _, err := fmt.Fprintf(sh.typed, "%s\necho '%s'\n", text, mark); err != nil {
		return nil, err
	}
	for sh.printed.Scan() {
		line := sh.printed.Text()
		if before, ok := strings.CutSuffix(line, mark); ok {
			if before != "" {
				lines = append(lines, before)
			}
			return lines, nil
		}
		lines = append(lines, strings.ReplaceAll(line, sh.net, "127.0.0."))
	}
	return nil, fmt.Errorf("bash has ended: %v", sh.printed.Err())
}

// withoutWord leaves out what etcdctl says of a change: OK, or how many keys it has deleted.
func (sh *shell) withoutWord(lines []string) []string {
	if len(lines) == 1 && (lines[0] == "OK" || lines[0] != "0" && strings.Trim(lines[0], "0123456789") == "") {
		return nil
	}
	return lines
}

// turn waits until the server has taken in all that is in the registry: a record later than that.
func (sh *shell) turn() {
	sh.t.Helper()
	sh.turns++
	sh.put("zone/"+turnZone+"/name/@/TXT", fmt.Sprintf(`"%d"`, sh.turns))
	sh.awaitAnswer(turnZone+".", dns.TypeTXT, func(r *dns.Msg) bool {
		return len(r.Answer) == 1 && r.Answer[0].(*dns.TXT).Txt[0] == fmt.Sprint(sh.turns)
	})
}

// backend starts or stops one.
func (sh *shell) backend(words []string) error {
	if len(words) != 2 || !strings.HasPrefix(words[1], sh.net) || (sh.backends[words[1]] == nil) != (words[0] == "up") {
		return fmt.Errorf("expected up or down, and an address 127.0.0.N:PORT where a backend is not yet up, or is")
	}
	if words[0] == "down" {
		defer delete(sh.backends, words[1])
		return sh.backends[words[1]].Close()
	}
	l, err := net.Listen("tcp", words[1])
	if err != nil {
		return err
	}
	b := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	sh.backends[words[1]] = b
	go b.Serve(l)
	return nil
}
