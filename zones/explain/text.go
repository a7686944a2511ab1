package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"meridian/policy"
)

// WriteText writes e for people to read: what was asked and how it ended, how it came about step
// by step, the records as dig prints them, and the command that gives all of it again.
func (e *Explanation) WriteText(w io.Writer) error {
	_, err := io.WriteString(w, e.text())
	return err
}

func (e *Explanation) text() string {
	var b strings.Builder
	ended := e.Rcode
	if !strings.EqualFold(e.Outcome, e.Rcode) {
		ended += ", " + e.Outcome
	}
	by := ""
	if e.Server != "" {
		by = " by " + Clean(e.Server)
	}
	if e.Site != "" {
		by += " at site " + Clean(e.Site)
	}
	client := e.Client.String()
	if e.Subnet.IsValid() {
		client += " with client subnet " + e.Subnet.String()
	}
	fmt.Fprintf(&b, "%s %s for client %s%s, revision %d: %s\n", e.Name, e.Type, client, by, e.Revision, ended)
	for _, note := range e.Notes {
		fmt.Fprintf(&b, "%s\n", Clean(note))
	}
	b.WriteByte('\n')
	for i, step := range e.Trace.Steps {
		number := strconv.Itoa(i+1) + ". "
		if step.Decision == nil {
			fmt.Fprintf(&b, "%s%s\n", number, Clean(step.Text))
			continue
		}
		var d strings.Builder
		writeDecision(&d, step.Decision)
		b.WriteString(indented(d.String(), number, strings.Repeat(" ", len(number))))
	}
	section := ""
	for _, r := range e.Records {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(&b, "\n;; %s SECTION:\n", strings.ToUpper(section))
		}
		fmt.Fprintf(&b, "%s\n", r.Record)
	}
	if x := e.ExtendedError; x != nil {
		fmt.Fprintf(&b, "\n; EDE: %d (%s)", x.Code, x.Name)
		if x.Text != "" {
			fmt.Fprintf(&b, ": (%s)", Clean(x.Text))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nagain: %s\n", e.command())
	return b.String()
}

// command gives e again while its revision is to be had.
func (e *Explanation) command() string {
	q := e.Question()
	command := "meridian explain " + quoted(q.Name) + " " + q.Type + " --client " + q.Client
	if q.Subnet != "" {
		command += " --subnet " + q.Subnet
	}
	return fmt.Sprintf("%s --random %s --revision %d", command, q.Random, e.Revision)
}

// quoted is a name as a shell and a command take it.
func quoted(word string) string {
	if strings.HasPrefix(word, "-") { // it is no flag
		word = `\045` + word[1:]
	}
	plain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || strings.ContainsRune("._-", r)
	}
	if strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// indented is text with first before its first line, and rest before the others.
func indented(text, first, rest string) string {
	return first + strings.TrimSuffix(strings.ReplaceAll(text, "\n", "\n"+rest), rest)
}

// writeDecision writes each run of a pool's chain, pools within below those that asked them, and what
// came of all of them.
func writeDecision(b *strings.Builder, d *policy.Trace) {
	for i := range d.Runs {
		var run strings.Builder
		writeRun(&run, &d.Runs[i])
		deeper := strings.Repeat("    ", d.Runs[i].Depth)
		b.WriteString(indented(run.String(), deeper, deeper))
	}
	b.WriteString(d.Outcome)
	if len(d.Given) > 0 {
		fmt.Fprintf(b, ": %s", list(d.Given))
	}
	b.WriteByte('\n')
}

func writeRun(b *strings.Builder, run *policy.PoolTrace) {
	fmt.Fprintf(b, "pool %s", Clean(run.Pool))
	if run.Why != "" {
		fmt.Fprintf(b, ", %s", Clean(run.Why))
	}
	b.WriteByte('\n')
	writeMembers(b, run.Members)
	writeSteps(b, run.Steps)
	if run.Note != "" {
		fmt.Fprintf(b, "  %s\n", Clean(run.Note))
	}
}

func columns(b *strings.Builder) *tabwriter.Writer { return tabwriter.NewWriter(b, 0, 0, 2, ' ', 0) }

func writeMembers(b *strings.Builder, members []policy.MemberTrace) {
	t := columns(b)
	for _, m := range members {
		if m.Out != "" {
			fmt.Fprintf(t, "  %s\t%s\n", Clean(m.Member), Clean(m.Out))
			continue
		}
		rank := fmt.Sprintf("weight %v, tier %d", m.Weight, m.Tier)
		if m.Site != "" {
			rank += ", site " + Clean(m.Site)
		}
		if m.Load != nil {
			rank += fmt.Sprintf(", load %.4g%%", 100**m.Load)
			if m.LoadFrom != "" {
				rank += " (" + Clean(m.LoadFrom) + ")"
			}
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", Clean(m.Member), rank, list(m.Addrs))
	}
	t.Flush()
}

func writeSteps(b *strings.Builder, steps []policy.StepTrace) {
	t := columns(b)
	for _, s := range steps {
		name := Clean(s.Step)
		row := func(what, text string) {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", name, what, text)
			name = ""
		}
		for _, line := range s.LookedUp {
			row("looked up", Clean(line))
		}
		if len(s.Kept) > 0 {
			row("kept", list(s.Kept))
		}
		for _, d := range s.Dropped {
			row("dropped", Clean(d.Member)+": "+Clean(d.Why))
		}
		if s.Note != "" {
			row("note", Clean(s.Note))
		}
	}
	t.Flush()
}

func list(words []string) string { return Clean(strings.Join(words, ", ")) }

// Clean keeps what others wrote, down to the words of a member's HTTP server, from moving the
// cursor about.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '�'
		}
		return r
	}, s)
}
