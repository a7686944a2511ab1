package store

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/policy"
	"meridian/zones"
)

var update = flag.Bool("update", false, "write the transcripts anew instead of comparing them")

// TestTranscripts runs the commands of every transcript and compares what they print. A line that
// begins with "> " is a command; what follows it, up to the next blank line, is what it printed:
//
//	> put KEY VALUE       one change, one revision; \n in VALUE is a line break
//	> del KEY
//	> txn PUT | DEL | …   several changes in one revision
//	> read                everything is read anew, as after a lost watch
//	> restart             the same by a registry that remembers nothing
//	> restart image       a registry that has nothing but the disk image, and has not read yet
//	> puts N KEY VALUE    N changes in one revision, # in KEY being 1 to N
//	> dels N KEY
//	> lease KEY VALUE     put under a lease
//	> expire KEY          the lease ends
//	> pass DURATION       on the clock, which begins at 12:00
//	> etcd CLUSTER REV    is replaced by an empty one of another number, that is at a revision
//	> held                what the guard holds back
//	> refused             why what etcd holds is not obeyed
//	> state CHECK ADDRPORT up|down|unknown
//	> ask NAME TYPE       outcome and records; for steered names those of one draw
//	> ask NAME TYPE ADDR  the same for a resolver at an address
//	> faults
//	> targets
//	> members POOL        each with its states (of IPv4 and IPv6, of a pool) and weight
//	> why POOL            each address of which anything is to be said
//	> out NAME TYPE       who never came in, and why
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/registry/*.transcript")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".transcript"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runTranscript(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s (run with -update to accept):\n%s", file, diff(string(want), got))
			}
		})
	}
}

func runTranscript(t *testing.T, text string) string {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := newScene().at(&now)
	s.cluster = 1
	var out strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		command, isCommand := strings.CutPrefix(line, "> ")
		switch {
		case isCommand:
			out.WriteString(line)
			printed := s.run(t, strings.TrimSpace(command))
			out.WriteString(printed)
			skip = true
		case skip && strings.TrimSpace(line) != "":
			// what the command printed before
		default:
			skip = false
			out.WriteString(line)
		}
	}
	return out.String()
}

// scene is a registry and the etcd it would read, as far as a test needs one.
type scene struct {
	registry *Registry
	keys     map[string]Entry
	history  []Entry // all changes
	revision int64
	cluster  uint64
	served   *zones.Snapshot
}

func newScene() *scene {
	return &scene{registry: NewRegistry(slog.New(slog.NewTextHandler(io.Discard, nil))), keys: map[string]Entry{}}
}

func (s *scene) run(t *testing.T, command string) string {
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "put", "del":
		s.change(command)
	case "txn":
		s.change(strings.Split(rest, " | ")...)
	case "read":
		s.readAll()
	case "restart":
		if rest == "image" {
			s.restored()
			break
		}
		now := s.registry.now
		s.registry = newScene().registry
		s.registry.now = now
		s.readAll()
	case "puts", "dels":
		count, rest, _ := strings.Cut(rest, " ")
		key, value, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		var changes []string
		for i := range n {
			changes = append(changes, strings.TrimSuffix(verb, "s")+" "+strings.ReplaceAll(key, "#", strconv.Itoa(i+1))+" "+value)
		}
		s.change(changes...)
	case "lease", "expire":
		s.revision++
		key, value, _ := strings.Cut(rest, " ")
		e := Entry{Key: key, Value: []byte(value), Revision: s.revision, Lease: 7}
		if verb == "expire" {
			e.Value, e.Deleted, e.Expired = nil, true, true
			delete(s.keys, key)
		} else {
			s.keys[key] = e
		}
		s.history = append(s.history, e)
		s.served = s.registry.Apply(Update{Revision: s.revision, Cluster: s.cluster, Entries: []Entry{e}})
	case "pass":
		d, err := time.ParseDuration(rest)
		if err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		now := s.registry.now().Add(d)
		s.at(&now)
		s.lapse()
		s.registry.Return()
		s.registry.Believe()
	case "why":
		return s.why(rest)
	case "etcd":
		if _, err := fmt.Sscanf(rest, "%d %d", &s.cluster, &s.revision); err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		s.keys = map[string]Entry{}
	case "held":
		if h := s.registry.Held(); h != nil {
			return fmt.Sprintf("%d names, %d members, %d others, since %s: accept %d\n", h.Names, h.Members, h.Others, h.Since.Format("15:04:05"), h.Accept)
		}
		return "nothing\n"
	case "refused":
		if why := s.registry.Refused(); why != "" {
			return why + "\n"
		}
		return "obeyed\n"
	case "state":
		s.runState(rest)
	case "ask":
		name, typ, _ := strings.Cut(rest, " ")
		return s.ask(name, typ)
	case "members":
		return s.members(rest)
	case "out":
		name, typ, _ := strings.Cut(rest, " ")
		n, err := zones.ParseName(name)
		if err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		var trace zones.Trace
		s.resolve(n, typ, policy.Client{}, &trace)
		var b strings.Builder
		for _, step := range trace.Steps {
			if step.Decision == nil {
				continue
			}
			for _, run := range step.Decision.Runs {
				for _, m := range run.Members {
					if m.Out != "" {
						fmt.Fprintf(&b, "%s/%s: %s\n", run.Pool, m.Member, m.Out)
					}
				}
			}
		}
		return b.String()
	case "faults":
		var b strings.Builder
		for _, f := range s.registry.Faults() {
			fmt.Fprintf(&b, "%s @%d", f.Key, f.Revision)
			if f.Serving > 0 {
				fmt.Fprintf(&b, " (serving @%d)", f.Serving)
			}
			b.WriteString(": ")
			if f.Line > 0 {
				fmt.Fprintf(&b, "line %d: ", f.Line)
			}
			if f.Field != "" {
				b.WriteString(f.Field + ": ")
			}
			b.WriteString(f.Error + "\n")
		}
		return b.String()
	case "targets":
		var b strings.Builder
		for _, p := range s.served.Pools {
			if p == nil {
				continue
			}
			for _, w := range s.registry.targets.byPool[p.Name] {
				fmt.Fprintf(&b, "%s/%s %s %s", p.Name, p.Members[w.member].Name, w.Check, w.Addr)
				for _, part := range w.Parts {
					fmt.Fprintf(&b, ", %s %s", part.Check, part.Addr)
					if part.Spec == nil {
						b.WriteString(" (unknown)")
					}
				}
				b.WriteString("\n")
			}
		}
		return b.String()
	default:
		t.Fatalf("unknown command %q", command)
	}
	return ""
}

// runState reports a state: "CHECK ADDRPORT up".
func (s *scene) runState(text string) {
	f := strings.Fields(text)
	state := map[string]health.State{"up": health.Up, "down": health.Down, "unknown": health.Unknown}[f[2]]
	s.registry.targets.report(health.Report{TargetID: health.TargetID{Check: f[0], Addr: netip.MustParseAddrPort(f[1])}, State: state})
	s.registry.Believe()
}

func (s *scene) change(commands ...string) {
	s.revision++
	u := Update{Revision: s.revision, Cluster: s.cluster}
	for _, c := range commands {
		verb, rest, _ := strings.Cut(c, " ")
		key, value, _ := strings.Cut(rest, " ")
		e := Entry{Key: key, Revision: s.revision, Deleted: verb == "del"}
		if e.Deleted {
			delete(s.keys, key)
		} else {
			e.Value = []byte(strings.ReplaceAll(value, `\n`, "\n"))
			s.keys[key] = e
		}
		u.Entries = append(u.Entries, e)
	}
	s.history = append(s.history, u.Entries...)
	s.served = s.registry.Apply(u)
}

// lapse lets go of the members that linger no more, as the applier does each second.
func (s *scene) lapse() {
	if gone := s.registry.Lapsed(); len(gone) > 0 {
		s.served = s.registry.take(Update{Revision: s.served.Revision, Entries: gone})
	}
	if lifted := s.registry.Lift(); lifted != nil {
		s.served = lifted
	}
}

// members are those of a pool as it is served.
func (s *scene) why(name string) string {
	var b strings.Builder
	p := s.registry.pools[name].compiled
	for i := range p.Members {
		for j := range 2 {
			if why := p.Reason(i, j); why != "" {
				fmt.Fprintf(&b, "%s %d: %s\n", p.Members[i].Name, j+1, why)
			}
		}
	}
	return b.String()
}

func (s *scene) members(name string) string {
	p := s.registry.pools[name]
	if p == nil {
		return "no such pool\n"
	}
	var b strings.Builder
	for i := range p.compiled.Members {
		m, w := &p.compiled.Members[i], p.compiled.Health(i)
		fmt.Fprintf(&b, "%s", m.Name)
		n := len(m.Addrs)
		if m.Pool != "" {
			fmt.Fprintf(&b, " (pool %s)", m.Pool)
			n = 2
		} else if m.CNAME != "" {
			fmt.Fprintf(&b, " (%s)", m.CNAME)
			n = 1
		}
		for j := range n {
			fmt.Fprintf(&b, " %s", w.State(j))
		}
		if fmt.Fprintf(&b, ", weight %v", float64(w.Weight())/float64(p.compiled.Scale())); w.Drained() {
			b.WriteString(", drained")
		} else if w.Withdrawn() {
			b.WriteString(", withdrawn")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// earlier is the value that a key had just before a revision.
func (s *scene) earlier(key string, before int64) (e Entry, ok bool) {
	for _, h := range s.history {
		if h.Key == key && h.Revision < before {
			e, ok = h, !h.Deleted
		}
	}
	return e, ok
}

func (s *scene) readAll() {
	u := Update{Revision: s.revision, Cluster: s.cluster, Full: true}
	for _, e := range s.keys {
		u.Entries = append(u.Entries, e)
	}
	s.served = s.registry.Apply(u)
}

func (s *scene) ask(name, typ string) string {
	typ, addr, _ := strings.Cut(typ, " ")
	var client policy.Client
	if addr != "" {
		client.Addr = netip.MustParseAddr(addr)
	}
	n, err := zones.ParseName(name)
	if err != nil {
		return err.Error() + "\n"
	}
	q, a := s.resolve(n, typ, client, nil)
	lines := append([]string{a.Outcome.String()}, a.Text(q)...)
	return strings.ReplaceAll(strings.Join(lines, "\n"), "\t", " ") + "\n"
}

func (s *scene) resolve(n *zones.Name, typ string, client policy.Client, t *zones.Trace) (q *zones.Query, a zones.Answer) {
	q = &zones.Query{Name: *n, Type: dns.StringToType[typ], Client: client, Random: 1}
	zones.Resolve(s.served, q, &a, t)
	return q, a
}

// diff shows the first lines in which two texts differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := 0; i < len(w) || i < len(g); i++ {
		at := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "<the end>"
		}
		if at(w) != at(g) {
			return fmt.Sprintf("line %d\n  want: %s\n  got:  %s", i+1, at(w), at(g))
		}
	}
	return "the same"
}
