package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"meridian/health"
	"meridian/server"
	"meridian/store"
)

var update = flag.Bool("update", false, "write the transcripts of dig anew instead of comparing them")

// TestDig asks a server on real sockets with the dig that operators have. A transcript
// testdata/dig/NAME.dig is asked of the registry NAME.json beside it. Its lines that begin with
// "$ dig" are the commands, "$ down CHECK ADDRESS:PORT" tells the server of a failed check, "$ serve
// nsid=NAME version=NAME" what it is to say of itself; what follows up to the next of them is what dig
// printed, ids and random numbers set to 0 and the records of an RRset in order.
func TestDig(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/dig/*.dig")
	if len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dig"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := digTranscript(t, string(want), strings.TrimSuffix(file, ".dig")+".json")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
			for i := range min(len(w), len(g)) {
				if w[i] != g[i] {
					t.Fatalf("%s:%d (run with -update to accept)\n  want: %s\n  got:  %s", file, i+1, w[i], g[i])
				}
			}
			if len(w) != len(g) {
				t.Fatalf("%s: %d lines, expected %d", file, len(g), len(w))
			}
		})
	}
}

func digTranscript(t *testing.T, text, manifest string) string {
	file, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := store.ParseManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	u := store.Update{Revision: 1, Full: true}
	for _, e := range m {
		u.Entries = append(u.Entries, store.Entry{Key: e.Key, Value: e.Value, Revision: 1})
	}
	var self server.Config
	if m := serveLine.FindStringSubmatch(text); m != nil {
		self.NSID, self.Version = m[1], m[2]
	}
	d := startDig(t, u, self)
	var out strings.Builder
	inOutput := false
	for line := range strings.Lines(text) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "$" {
			if !inOutput {
				out.WriteString(line)
			}
			continue
		}
		inOutput = true
		out.WriteString(line)
		if args[1] == "dig" {
			out.WriteString(d.run(t, args[2:]) + "\n")
			continue
		}
		if args[1] == "serve" { // it does
			out.WriteString("\n")
			continue
		}
		state := map[string]health.State{"down": health.Down, "up": health.Up}[args[1]]
		d.reports <- health.Report{TargetID: health.TargetID{Check: args[2], Addr: netip.MustParseAddrPort(args[3])}, State: state}
		d.checked <- struct{}{} // taken in when the applier comes back for the next
		d.checked <- struct{}{}
		out.WriteString("\n")
	}
	return out.String()
}

type digServer struct {
	port    string
	reports chan health.Report
	checked chan struct{}
}

func startDig(t *testing.T, u store.Update, config server.Config) *digServer {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	applier := store.NewApplier(log)
	published := make(chan struct{})
	publish := sync.OnceFunc(func() { close(published) })
	applier.SetFaults = func([]store.Fault) { publish() } // the first time with the first snapshot
	updates := make(chan store.Update)
	d := &digServer{reports: make(chan health.Report, 1), checked: make(chan struct{})}
	go applier.Run(ctx, updates, d.checked, func() []health.Report {
		select {
		case r := <-d.reports:
			return []health.Report{r}
		default:
			return nil
		}
	})
	updates <- u
	<-published
	config.Listen, config.Log = []string{"127.0.0.1:0"}, log
	s := server.New(config, &applier.Snapshot)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	go func() { s.Serve(ctx); close(done) }()
	d.port = strconv.Itoa(int(s.Addrs()[0].Port()))
	return d
}

var (
	messageID = regexp.MustCompile(`id: \d+`)
	random    = regexp.MustCompile(`--random \d+`)
	serveLine = regexp.MustCompile(`(?m)^\$ serve nsid=(\S+) version=(\S+)$`)
	records   = regexp.MustCompile(`(?m)^[^;\s].*$`)
)

func (d *digServer) run(t *testing.T, args []string) string {
	args = append([]string{"@127.0.0.1", "-p", d.port, "+nostats", "+nocmd", "+time=2", "+tries=1"}, args...)
	out, err := exec.Command("dig", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	text := messageID.ReplaceAllString(string(out), "id: 0")
	text = random.ReplaceAllString(text, "--random 0")
	text = strings.NewReplacer("\t\t", " ", "\t", " ").Replace(text)
	// The order within an RRset means nothing, and a draw may decide it.
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for from := 0; from < len(lines); from++ {
		to := from
		for to < len(lines) && records.MatchString(lines[to]) && sameSet(lines[from], lines[to]) {
			to++
		}
		slices.Sort(lines[from:to])
	}
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" || l == ";; Got answer:" }), "\n") + "\n"
}

// sameSet says whether two records have owner, TTL, class and type in common.
func sameSet(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) > 4 && len(y) > 4 && slices.Equal(x[:4], y[:4])
}
