package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"meridian/spec"
)

// paint colours text, where it is true (ECMA-48, SGR).
type paint bool

func (p paint) in(code, text string) string {
	if !p || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// maxListed is how many keys of a kind the text lists; JSON has all.
const maxListed = 20

// text is a cluster as people read it: a line for each server and checker, then what is wrong and what to do.
func (c cluster) text(now time.Time, p paint) string {
	var b strings.Builder
	if c.Etcd != "" {
		fmt.Fprintf(&b, "%s\n", p.in(red, "etcd does not answer: "+clean(c.Etcd)))
		if len(c.Servers) > 0 {
			fmt.Fprintf(&b, "this is what the server at %s says of itself:\n", c.Asked)
		}
	} else if len(c.Servers) > 0 {
		fmt.Fprintf(&b, "registry at revision %d, %s live\n", c.Revision, count(len(c.Servers), "server"))
	}
	if len(c.Servers) > 0 {
		b.WriteByte('\n')
		writeTable(&b, c.table(now), p)
	}
	if len(c.Checkers) > 0 {
		b.WriteByte('\n')
		writeTable(&b, c.checkerTable(now), p)
	}
	c.writeGeo(&b, now, p)
	for _, problem := range c.Problems {
		if slices.Contains([]string{"rejected", "pending", "unregistered"}, problem.Kind) && c.listsAll(problem.Servers) {
			continue // each of them is said below
		}
		c.writeProblem(&b, problem, now, p)
	}
	c.writeFaults(&b, p)
	if len(c.Problems)+len(c.Faults) == 0 {
		fmt.Fprintf(&b, "\n%s\n", p.in(green, "all is well"))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// cell is a place of a table; colour "" is none.
type cell struct{ text, colour string }

// table is a row for each server, below one of headings.
func (c cluster) table(now time.Time) [][]cell {
	rows := [][]cell{{
		{"SERVER", bold}, {"SITE", bold}, {"VERSION", bold}, {"UP", bold}, {"REVISION", bold}, {"ZONES", bold}, {"NAMES", bold},
		{"REJECTED", bold}, {"PENDING", bold}, {"HELD", bold}, {"UNREGISTERED", bold}, {"ALARMS", bold}, {"IMAGE", bold},
	}}
	number := func(n int, colour string) cell {
		if n == 0 {
			return cell{text: "-"}
		}
		return cell{grouped(n), colour}
	}
	for _, s := range c.Servers {
		held := 0
		if s.Held != nil {
			held = s.Held.Names + s.Held.Members + s.Held.Others
		}
		rows = append(rows, []cell{
			{text: orDash(s.Name)}, {text: orDash(s.Site)}, {text: orDash(s.Version)}, {text: since(s.Started, now)}, s.revision(),
			{text: grouped(s.Zones)}, {text: grouped(s.Names)},
			number(s.Rejected, red), number(s.Pending, yellow), number(held, red), number(s.Unregistered, yellow),
			{orDash(strings.Join(s.Alarms, ",")), red}, s.image(now),
		})
	}
	return withoutEmpty(rows)
}

// withoutEmpty takes the columns away in which no row below the first has anything.
func withoutEmpty(rows [][]cell) [][]cell {
	for column := len(rows[0]) - 1; column >= 0; column-- {
		if !slices.ContainsFunc(rows[1:], func(row []cell) bool { return row[column].text != "-" }) {
			for i := range rows {
				rows[i] = slices.Delete(rows[i], column, column+1)
			}
		}
	}
	return rows
}

// revision is that which is answered, and what is amiss with it.
func (s serverStatus) revision() cell {
	text := strconv.FormatInt(s.Revision, 10)
	switch {
	case s.Revision == 0:
		return cell{"none", red}
	case s.Refused != "":
		return cell{text + " etcd refused", red}
	case s.Image:
		return cell{text + " from image", red}
	case s.Behind:
		return cell{text + " behind", red}
	}
	return cell{text: text}
}

// image is how old the disk image is.
func (s serverStatus) image(now time.Time) cell {
	if s.ImageError != "" {
		return cell{"failed", red}
	}
	return cell{text: since(s.ImageSaved, now)}
}

func since(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return age(now.Sub(at))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return clean(text)
}

// grouped writes a number as 1,234,567.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// writeTable lines up columns. text/tabwriter would count colours as text.
func writeTable(b *strings.Builder, rows [][]cell, p paint) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			colour := c.colour
			if c.text == "-" {
				colour = ""
			}
			b.WriteString(p.in(colour, c.text))
			if i == len(row)-1 {
				b.WriteByte('\n')
				break
			}
			b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text)+2))
		}
	}
}

func (c cluster) writeProblem(b *strings.Builder, it problem, now time.Time, p paint) {
	colour := yellow
	if it.Wrong {
		colour = red
	}
	fmt.Fprintf(b, "\n%s\n", p.in(colour, clean(it.Text)))
	var where []string
	if len(it.Servers) > 0 {
		where = append(where, c.on(it.Servers))
	}
	if it.When != "" {
		where = append(where, it.when(now))
	}
	if len(where) > 0 {
		fmt.Fprintf(b, "  %s\n", strings.Join(where, ", "))
	}
	if it.Do != "" {
		fmt.Fprintf(b, "  %s\n", it.Do)
	}
}

// on names servers.
func (c cluster) on(servers []string) string {
	if len(servers) > 1 && len(servers) == len(c.Servers) {
		return "on all servers"
	}
	return "on " + clean(strings.Join(servers, ", "))
}

// writeFaults lists the keys that are not served as they stand, each kind apart. Those of the guard are
// among the problems.
func (c cluster) writeFaults(b *strings.Builder, p paint) {
	by := map[faultKind][]faultOn{}
	for _, f := range c.Faults {
		by[f.kind()] = append(by[f.kind()], f)
	}
	c.writeList(b, p.in(red, "rejected, put them right:"), by[faultRejected])
	c.writeList(b, p.in(yellow, "pending, put what they refer to:"), by[faultPending])
	c.writeList(b, p.in(yellow, "unregistered, see why their services do not hold their leases:"), by[faultUnregistered])
}

func (c cluster) writeList(b *strings.Builder, head string, list []faultOn) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", head)
	for i, f := range list {
		if i == maxListed {
			fmt.Fprintf(b, "  and %s more; all of them: meridian status --json\n", grouped(len(list)-i))
			break
		}
		at := spec.Error{Field: f.Field, Line: f.Line, Msg: f.Error}
		fmt.Fprintf(b, "  %s\n    %s\n", clean(f.Key), clean(at.Error()))
		fmt.Fprintf(b, "    revision %d, %s", f.Revision, c.on(f.Servers))
		if f.Serving > 0 {
			fmt.Fprintf(b, "; revision %d is served instead", f.Serving)
		}
		b.WriteByte('\n')
	}
}

// listsAll says whether all the faults of these servers are known: each writes back 1,000.
func (c cluster) listsAll(servers []string) bool {
	listed := c.listed()
	return !slices.ContainsFunc(c.Servers, func(s serverStatus) bool {
		return slices.Contains(servers, s.Name) && listed[s.Name] < s.counted()
	})
}

// counted is how many faults a server counts.
func (s serverStatus) counted() int { return s.Rejected + s.Pending + s.Unregistered }

// redraw puts text onto a terminal from its first line on, and nothing else.
func redraw(text string) string {
	return "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
}

// sgr are the colours in a text.
var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// fit cuts text to the rows of a terminal of so many columns, where long lines go on in the next
// row. 0 rows are as many as it takes.
func fit(text string, rows, columns int) string {
	if rows == 0 || columns == 0 {
		return text
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	used := make([]int, len(lines)+1) // rows of the lines before
	for i, line := range lines {
		length := utf8.RuneCountInString(strings.TrimSuffix(sgr.ReplaceAllString(line, ""), "\n"))
		used[i+1] = used[i] + max(1, (length+columns-1)/columns)
	}
	if used[len(lines)] < rows {
		return text
	}
	kept := len(lines)
	for kept > 0 && used[kept] > rows-2 {
		kept--
	}
	return strings.Join(lines[:kept], "") + fmt.Sprintf("… %s more\n", count(len(lines)-kept, "line"))
}

// clean keeps what others wrote from moving the cursor about.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '�'
		}
		return r
	}, s)
}
