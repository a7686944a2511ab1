package admin

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"meridian/policy"
)

// WriteText writes e for people to read: what was asked and how it ended, how it came about step
// by step, and the records as dig prints them.
func (e *Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	ended := e.Rcode
	if !strings.EqualFold(e.Outcome, e.Rcode) {
		ended += ", " + e.Outcome
	}
	by := ""
	if e.Server != "" {
		by = " by " + clean(e.Server)
	}
	if e.Site != "" {
		by += " at site " + clean(e.Site)
	}
	client := e.Client.String()
	if e.Subnet.IsValid() {
		client += " with client subnet " + e.Subnet.String()
	}
	fmt.Fprintf(&b, "%s %s for client %s%s, revision %d: %s\n\n", e.Name, e.Type, client, by, e.Revision, ended)
	for i, step := range e.Trace.Steps {
		number := fmt.Sprintf("%d. ", i+1)
		if step.Decision == nil {
			fmt.Fprintf(&b, "%s%s\n", number, clean(step.Text))
			continue
		}
		var d strings.Builder
		writeDecision(&d, step.Decision)
		indent := strings.Repeat(" ", len(number))
		b.WriteString(number)
		b.WriteString(strings.TrimRight(strings.ReplaceAll(d.String(), "\n", "\n"+indent), " "))
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
			fmt.Fprintf(&b, ": (%s)", clean(x.Text))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeDecision writes each run of a pool's chain, and what came of all of them.
func writeDecision(b *strings.Builder, d *policy.Trace) {
	for _, run := range d.Runs {
		fmt.Fprintf(b, "pool %s", clean(run.Pool))
		if run.Why != "" {
			fmt.Fprintf(b, ", %s", clean(run.Why))
		}
		b.WriteByte('\n')
		writeMembers(b, run.Members)
		writeSteps(b, run.Steps)
		if run.Note != "" {
			fmt.Fprintf(b, "  %s\n", clean(run.Note))
		}
	}
	b.WriteString(d.Outcome)
	if len(d.Given) > 0 {
		fmt.Fprintf(b, ": %s", list(d.Given))
	}
	b.WriteByte('\n')
}

func columns(b *strings.Builder) *tabwriter.Writer { return tabwriter.NewWriter(b, 0, 0, 2, ' ', 0) }

func writeMembers(b *strings.Builder, members []policy.MemberTrace) {
	t := columns(b)
	for _, m := range members {
		if m.Out != "" {
			fmt.Fprintf(t, "  %s\t%s\n", clean(m.Member), clean(m.Out))
			continue
		}
		rank := fmt.Sprintf("weight %d, tier %d", m.Weight, m.Tier)
		if m.Site != "" {
			rank += ", site " + clean(m.Site)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", clean(m.Member), rank, list(m.Addrs))
	}
	t.Flush()
}

func writeSteps(b *strings.Builder, steps []policy.StepTrace) {
	t := columns(b)
	for _, s := range steps {
		name := clean(s.Step)
		row := func(what, text string) {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", name, what, text)
			name = ""
		}
		for _, line := range s.LookedUp {
			row("looked up", clean(line))
		}
		if len(s.Kept) > 0 {
			row("kept", list(s.Kept))
		}
		for _, d := range s.Dropped {
			row("dropped", clean(d.Member)+": "+clean(d.Why))
		}
		if s.Note != "" {
			row("note", clean(s.Note))
		}
	}
	t.Flush()
}

func list(words []string) string { return clean(strings.Join(words, ", ")) }

// clean keeps what others wrote, down to the words of a member's HTTP server, from moving the
// cursor about.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '�'
		}
		return r
	}, s)
}
