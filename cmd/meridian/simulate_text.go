package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"meridian/simulate"
)

// writeReport writes a report as a table, CSV or JSON.
func writeReport(w io.Writer, r *simulate.Report, form string) error {
	switch form {
	case "csv":
		return csv.NewWriter(w).WriteAll(reportRows(r))
	case "json":
		text, err := json.Marshal(r, jsontext.WithIndent("  "))
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	}
	_, err := io.WriteString(w, reportText(r))
	return err
}

// reportRows are a report as lines of CSV, the first of which names the columns.
func reportRows(r *simulate.Report) [][]string {
	rows := [][]string{{"registry", "table", "client", "name", "to", "weight", "share", "mean_km", "p95_km"}}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	maybe := func(v *float64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	for _, one := range []struct {
		registry string
		*simulate.Result
	}{{"now", r.Now}, {"against", r.Against}} {
		if one.Result == nil {
			continue
		}
		for _, table := range []struct {
			name   string
			counts []simulate.Count
		}{{"outcome", one.Outcomes}, {"member", one.Members}, {"pool", one.Pools}, {"site", one.Sites}} {
			for _, c := range table.counts {
				rows = append(rows, []string{one.registry, table.name, "", c.Name, "", number(c.Weight), number(c.Share), maybe(c.MeanKm), ""})
			}
		}
		rows = append(rows, []string{one.registry, "fail_open", "", "", "", number(one.FailOpen * r.Weight), number(one.FailOpen), "", ""})
		if d := one.Distance; d != nil {
			known := 0.0
			for _, c := range one.Members {
				known += c.Share
			}
			rows = append(rows,
				[]string{one.registry, "distance", "", "known", "", "", number(max(0, known-d.NoClient-d.NoSite)), maybe(d.MeanKm), maybe(d.P95Km)},
				[]string{one.registry, "distance", "", "no_client", "", "", number(d.NoClient), "", ""},
				[]string{one.registry, "distance", "", "no_site", "", "", number(d.NoSite), "", ""})
		}
	}
	if r.Moved != nil {
		for _, m := range r.Moved.Ways {
			rows = append(rows, []string{"", "move", "", m.From, m.To, number(m.Weight), number(m.Share), "", ""})
		}
		for _, m := range r.Moved.Clients {
			rows = append(rows, []string{"", "client", m.Client.String(), m.From, m.To, number(m.Weight), number(m.Share), "", ""})
		}
	}
	return rows
}

// reportText is a report as people read it.
func reportText(r *simulate.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s of weight %s, %s, seed %d, revision %d\n", r.Name, r.Type,
		counted(r.Clients, "client"), weightText(r.Weight), counted(r.Draws, "draw"), r.Seed, r.Now.Revision)
	b.WriteString("members under a check count as up; where chance decides, shares are a sample\n")
	writeCounts(&b, "member", r, func(x *simulate.Result) []simulate.Count { return x.Members })
	if len(r.Now.Pools) > 1 || r.Against != nil && len(r.Against.Pools) > 1 {
		writeCounts(&b, "pool", r, func(x *simulate.Result) []simulate.Count { return x.Pools })
	}
	writeCounts(&b, "site", r, func(x *simulate.Result) []simulate.Count { return x.Sites })
	writeCounts(&b, "outcome", r, func(x *simulate.Result) []simulate.Count { return x.Outcomes })
	writeDistances(&b, r)
	if r.Moved != nil {
		writeMoved(&b, r.Moved)
	}
	return b.String()
}

// counted is count for numbers that may be large.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(n) + " " + what + "s"
}

// writeCounts writes a table of the report, with what is compared beside what is now.
func writeCounts(b *strings.Builder, what string, r *simulate.Report, of func(*simulate.Result) []simulate.Count) {
	now, then := of(r.Now), []simulate.Count(nil)
	head := []string{what, "share"}
	if r.Against != nil {
		then = of(r.Against)
		head = []string{what, "now", "against", "change"}
	}
	all := slices.Clone(now) // and what is in then alone
	for _, c := range then {
		if find(now, c.Name) == nil {
			all = append(all, c)
		}
	}
	hasKm := func(c simulate.Count) bool { return c.MeanKm != nil }
	far := slices.ContainsFunc(now, hasKm) || slices.ContainsFunc(then, hasKm)
	if far {
		head = append(head, "mean distance")
	}
	sited := slices.ContainsFunc(all, func(c simulate.Count) bool { return c.Site != "" })
	if sited {
		head = append(head, "site")
	}
	rows := [][]cell{cells(head...)}
	for _, c := range all {
		row := []string{cmp.Or(c.Name, "none"), percent(c.Share)}
		if r.Against != nil {
			before, after := find(now, c.Name), find(then, c.Name)
			row = []string{row[0], percent(share(before)), percent(share(after)), points(share(after) - share(before))}
			c = *cmp.Or(after, before)
		}
		if far {
			row = append(row, kmText(c.MeanKm))
		}
		if sited {
			row = append(row, cmp.Or(c.Site, "-"))
		}
		rows = append(rows, cells(row...))
	}
	if len(all) > 0 {
		b.WriteByte('\n')
		writeTable(b, rows, false)
	}
}

func cells(words ...string) (row []cell) {
	for _, w := range words {
		row = append(row, cell{text: w})
	}
	return row
}

func find(counts []simulate.Count, name string) *simulate.Count {
	i := slices.IndexFunc(counts, func(c simulate.Count) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &counts[i]
}

func share(c *simulate.Count) float64 {
	if c == nil {
		return 0
	}
	return c.Share
}

// writeDistances says how far clients are from what they are given, and how many answers were given although
// nobody was up.
func writeDistances(b *strings.Builder, r *simulate.Report) {
	type line struct {
		label string
		*simulate.Result
	}
	lines := []line{{"", r.Now}}
	if r.Against != nil {
		lines = []line{{"now: ", r.Now}, {"against: ", r.Against}}
	}
	b.WriteByte('\n')
	for _, l := range lines {
		if l.FailOpen > 0 {
			fmt.Fprintf(b, "%sfail open: %s is given although nobody is up\n", l.label, percent(l.FailOpen))
		}
		d := l.Distance
		switch {
		case d == nil:
			fmt.Fprintf(b, "%sdistance: not known without a geo database\n", l.label)
			continue
		case d.MeanKm == nil:
			fmt.Fprintf(b, "%sdistance: not known", l.label)
		default:
			fmt.Fprintf(b, "%sdistance: mean %s, 95 %% within %s", l.label, kmText(d.MeanKm), kmText(d.P95Km))
		}
		fmt.Fprintf(b, "; not counted: %s from places not known, %s to places not known\n", percent(d.NoClient), percent(d.NoSite))
	}
}

// writeMoved says who would be sent elsewhere.
func writeMoved(b *strings.Builder, m *simulate.Movings) {
	if len(m.Ways) == 0 {
		b.WriteString("\nnobody would move\n")
		return
	}
	fmt.Fprintf(b, "\n%s would move:\n", percent(m.Share))
	rows := [][]cell{cells("from", "to", "share", "weight")}
	for _, w := range m.Ways {
		rows = append(rows, cells(w.From, w.To, percent(w.Share), weightText(w.Weight)))
	}
	writeTable(b, rows, false)
	if len(m.Clients) == 0 {
		return
	}
	b.WriteByte('\n')
	rows = [][]cell{cells("client", "from", "to", "of it", "weight")}
	for _, c := range m.Clients {
		rows = append(rows, cells(clientText(c.Client), c.From, c.To, percent(c.Share), weightText(c.Weight)))
	}
	writeTable(b, rows, false)
}

// clientText is a client as a list has it.
func clientText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func percent(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }

// points is a difference of shares, in percentage points.
func points(change float64) string {
	if math.Abs(change) < 0.00005 {
		return "-"
	}
	return fmt.Sprintf("%+.2f", 100*change)
}

func kmText(km *float64) string {
	if km == nil {
		return "-"
	}
	return grouped(int(*km+0.5)) + " km"
}

func weightText(v float64) string {
	if v >= 1000 {
		return grouped(int(v + 0.5))
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
