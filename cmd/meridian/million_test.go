//go:build million

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meridian/server"
	"meridian/store"
	"meridian/zones"
)

// names is how many there are: the first half static, of one address, the others steered.
var names = func() int {
	if n, err := strconv.Atoi(os.Getenv("NAMES")); err == nil {
		return n
	}
	return 1_000_000
}()

const millionZone = "million.test"

// TestMain is the server that TestMillion measures, where it was started by that.
func TestMain(m *testing.M) {
	if os.Getenv("MERIDIAN_MILLION") != "" {
		serveMillion(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// TestMillion prints a table of what a registry of a million names costs. It needs two cores, gcc and
// taskset.
func TestMillion(t *testing.T) {
	dir := t.TempDir()
	table := &table{t: t}
	fmt.Printf("| %d names | |\n|---|---|\n", names)
	table.memory("static", 0)
	table.memory("steered", 1)
	table.manifest(dir)
	table.image(dir)
	table.changes()
	table.tail(dir)
}

type table struct{ t *testing.T }

func (*table) row(what, format string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

// entry is the key of name i and its value. Names come from names of kind 0, static, and 1, steered.
func entry(i, kind int, revision int64) store.Entry {
	if kind == 0 {
		return store.Entry{Key: fmt.Sprintf("zone/%s/name/h%d/A", millionZone, i), Value: fmt.Appendf(nil, "192.1.%d.%d", i>>8&255, i&255), Revision: revision}
	}
	return store.Entry{Key: fmt.Sprintf("zone/%s/name/h%d/steer", millionZone, i), Value: []byte(`{"pool":"web","ttl":30}`), Revision: revision}
}

// registry is all there is at a revision, as a read of etcd gives it: by key. kind is that of name i.
func registry(revision int64, kind func(i int) int) store.Update {
	u := store.Update{Revision: revision, Cluster: 1, Full: true, Entries: make([]store.Entry, 0, names+3)}
	for i := range names {
		u.Entries = append(u.Entries, entry(i, kind(i), revision))
	}
	u.Entries = append(u.Entries,
		store.Entry{Key: "pool/web/policy", Value: []byte(`{"policy":"weighted"}`), Revision: 1},
		store.Entry{Key: "pool/web/member/a", Value: []byte("192.0.2.1"), Revision: 1},
		store.Entry{Key: "zone/" + millionZone + "/soa", Value: []byte(`{"ns":["ns1.example.net."]}`), Revision: 1})
	slices.SortFunc(u.Entries, func(x, y store.Entry) int { return strings.Compare(x.Key, y.Key) })
	return u
}

func mixed(i int) int { return min(1, i/(names/2)) }

func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// memory: the live heap of a registry that holds nothing but names of one kind, without the bytes of
// their RRsets (RDATA and its length; of a steered name, none).
func (table *table) memory(what string, kind int) {
	before := liveBytes()
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	s := r.Apply(registry(1, func(int) int { return kind }))
	size := liveBytes() - before
	rdata := 0
	if kind == 0 {
		rdata = names * (2 + 4)
	}
	if s.Names != names+1 || len(r.Faults()) > 0 {
		table.t.Fatalf("%d names, %d faults", s.Names, len(r.Faults()))
	}
	table.row("memory beyond RRset bytes, "+what, "%.0f bytes a name", float64(size-int64(rdata))/float64(names))
	runtime.KeepAlive(r)
}

// manifest: meridian lint of a manifest with all names, in a process of its own.
func (table *table) manifest(dir string) {
	path := filepath.Join(dir, "million.json")
	f, err := os.Create(path)
	if err != nil {
		table.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i, e := range registry(1, mixed).Entries {
		value := string(e.Value)
		if value[0] != '{' {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(w, "%s\n%q: %s", []string{",", "{"}[min(1, 1/(i+1))], e.Key, value)
	}
	fmt.Fprintln(w, "}")
	if err := w.Flush(); err != nil {
		table.t.Fatal(err)
	}
	f.Close()
	bin := filepath.Join(dir, "meridian")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		table.t.Fatalf("%v: %s", err, out)
	}
	c := exec.Command(bin, "lint", path)
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		table.t.Fatalf("%v: %.300s", err, out)
	}
	table.row("manifest: read, checked, snapshot made (`meridian lint`)", "%.1f s, peak %d MB", time.Since(start).Seconds(), peak(c.ProcessState)>>20)
}

// peak is the resident memory of a process, at its most, in bytes.
func peak(p *os.ProcessState) int64 { return p.SysUsage().(*syscall.Rusage).Maxrss << 10 }

// image: the cold start from the disk image.
func (table *table) image(dir string) {
	path := filepath.Join(dir, "registry.image")
	r := store.NewRegistry(slog.New(slog.DiscardHandler))
	r.Apply(registry(1, mixed))
	size, err := store.WriteImage(path, r.Image())
	if err != nil {
		table.t.Fatal(err)
	}
	start := time.Now()
	img, err := store.ReadImage(path)
	if err != nil {
		table.t.Fatal(err)
	}
	store.NewApplier(slog.New(slog.DiscardHandler)).Restore(img)
	table.row("disk image: read, checked, snapshot made", "%.2f s (%d MB)", time.Since(start).Seconds(), size>>20)
}

// changes: from an update of one key to the snapshot that has it.
func (table *table) changes() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	a := store.NewApplier(slog.New(slog.DiscardHandler))
	updates := make(chan store.Update)
	go a.Run(ctx, updates, nil, nil)
	updates <- registry(1, mixed)
	<-a.Settled()
	runtime.GC()
	var took []time.Duration
	for i := range 2000 {
		revision := int64(i + 2)
		e := entry(i*(names/2000), mixed(i*(names/2000)), revision)
		if i%2 == 1 { // a name that comes
			e = entry(names+i, 0, revision)
		}
		start := time.Now()
		updates <- store.Update{Revision: revision, Cluster: 1, Entries: []store.Entry{e}}
		for a.Snapshot.Load().Revision != revision {
			runtime.Gosched()
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	table.row("one change, from its event to the snapshot", "p50 %.2f ms, p99 %.2f ms, at most %.2f ms",
		ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// tail: answers at 20,000 queries a second, at rest and while all names are read anew with other
// revisions, by a server on core 0; the generator is on core 1.
func (table *table) tail(dir string) {
	t := table.t
	lg := filepath.Join(dir, "lg")
	if out, err := exec.Command("gcc", "-O3", "-march=native", "-o", lg, "../../testdata/bench/lg.c", "../../testdata/bench/query.c", "../../testdata/bench/cost.c", "-lm").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	c := exec.Command("taskset", "-c", "0", os.Args[0])
	c.Env = append(os.Environ(), "MERIDIAN_MILLION=serve")
	c.Stderr = os.Stderr
	in, _ := c.StdinPipe()
	out, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	say := func(text string) string {
		if text != "" {
			fmt.Fprintln(in, text)
		}
		if !lines.Scan() {
			t.Fatal("the server has ended")
		}
		return lines.Text()
	}
	say("")
	addr, read, _ := strings.Cut(say(""), " ")
	_, port, _ := strings.Cut(addr, ":")
	table.row("all names taken in while nothing is answered, on one core", "%s", read)
	load := func(seconds int) string {
		out, err := exec.Command("taskset", "-c", "1", lg, "-s", "127.0.0.1", "-p", port, "-z", millionZone, "-n", strconv.Itoa(names/2),
			"-a", "1", "-r", "20000", "-x", "-d", strconv.Itoa(seconds), "-w", "0", "-k").Output()
		if err != nil {
			t.Fatalf("lg: %v", err)
		}
		columns := strings.Split(string(out), "\t")
		return fmt.Sprintf("p50 %s µs, p99 %s µs, p99.9 %s µs, lost %s%%, wrong %s", columns[8], columns[9], columns[10], columns[6], columns[7])
	}
	// Several short samples of each, in turn: what else runs on the machine is in few of them.
	for range 5 {
		table.row("20,000 queries a second, at rest", "%s", load(2))
		say("reload") // all are read; now they are taken in
		result := load(2)
		table.row("20,000 queries a second, within a reload of all names", "%s; reload %s", result, say(""))
	}
	in.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	table.row("peak memory of that server, the entries that it was given included", "%d MB", peak(c.ProcessState)>>20)
}

// serveMillion answers, and reads all names anew whenever a line comes. It says when they are read, and how
// long it took to take them in, at first with its address.
func serveMillion(in io.Reader, out io.Writer) {
	runtime.GOMAXPROCS(4) // a processor for the socket, one for the applier, and for the collector's sake two more
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	a := store.NewApplier(log)
	updates := make(chan store.Update)
	var parts sync.WaitGroup
	parts.Go(func() { a.Run(ctx, updates, nil, nil) })
	dns := server.New(server.Config{Listen: []string{"127.0.0.1:0"}, Log: log}, &a.Snapshot)
	if err := dns.Listen(); err != nil {
		panic(err)
	}
	parts.Go(func() { dns.Serve(ctx) })
	reload := func(revision int64) string {
		var start time.Time
		func() { // what was read is let go of
			u := registry(revision, mixed)
			fmt.Fprintln(out, "read")
			start = time.Now()
			updates <- u
		}()
		for served := (*zones.Snapshot)(nil); served == nil || served.Revision != revision; served = a.Snapshot.Load() {
			time.Sleep(time.Millisecond)
		}
		return fmt.Sprintf("%.1f s", time.Since(start).Seconds())
	}
	fmt.Fprintf(out, "%s %s\n", dns.Addrs()[0], reload(1))
	lines := bufio.NewScanner(in)
	for revision := int64(2); lines.Scan(); revision++ {
		fmt.Fprintln(out, reload(revision))
	}
	stop()
	parts.Wait()
}
