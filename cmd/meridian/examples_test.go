package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const exampleFiles = "../../testdata/examples/"

// TestExamples types into a shell what an operator does, and looks at what it prints: testdata/examples/README.md says how
// it is written.
func TestExamples(t *testing.T) {
	paths, err := filepath.Glob(exampleFiles + "*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			commands, err := parseExample(string(text))
			if err != nil {
				t.Fatalf("%s:%v", path, err)
			}
			sh, begin := startShell(t), time.Now()
			for _, c := range commands {
				if err := sh.do(&c); err != nil {
					t.Fatalf("%s:%d: $ %s\n%v", path, c.line, c.text, err)
				}
			}
			t.Logf("%d commands in %v", len(commands), time.Since(begin).Round(time.Millisecond))
		})
	}
}

// command is one that an example types.
type command struct {
	line  int
	text  string
	watch bool     // over and over until it prints what it should
	want  []string // lines; those that begin with "about" are a number that chance decides and what is so many times there
}

// parseExample reads an example. Errors begin with the line.
func parseExample(text string) (commands []command, err error) {
	printed := false // the line is what a command prints
	for i, line := range strings.Split(text, "\n") {
		last := len(commands) - 1
		switch {
		case strings.HasPrefix(line, "$ "):
			c := command{line: i + 1}
			c.text, c.watch = strings.CutPrefix(line[2:], "watch ")
			commands, printed = append(commands, c), true
		case strings.HasPrefix(line, "> ") && printed && len(commands[last].want) == 0:
			commands[last].text += "\n" + line[2:]
		case line == "":
			printed = false
		case printed:
			commands[last].want = append(commands[last].want, line)
		}
	}
	for _, c := range commands {
		for _, line := range c.want {
			if _, _, err := aboutLine(line); err != nil {
				return nil, fmt.Errorf("%d: %v", c.line, err)
			}
		}
	}
	if commands == nil {
		return nil, fmt.Errorf(`1: expected commands, lines that begin with "$ "`)
	}
	return commands, nil
}

// aboutLine reads "about 950 127.0.0.11". n is 0 of any other line.
func aboutLine(line string) (n int, what string, err error) {
	rest, ok := strings.CutPrefix(line, "about ")
	if !ok {
		return 0, "", nil
	}
	count, what, _ := strings.Cut(rest, " ")
	if n, err = strconv.Atoi(count); err != nil || n < 5 || what == "" {
		return 0, "", fmt.Errorf(`%q: expected "about", a number from 5 on (for the sake of chi-square) and what is to be had`, line)
	}
	return n, what, nil
}

// countLine is what uniq -c prints.
var countLine = regexp.MustCompile(`^ *(\d+) (.*)$`)

// compare says what is wrong with what a command has printed, nil if nothing is.
func (c *command) compare(got []string) error {
	about, counts := map[string]int{}, map[string]int{}
	var want []string
	for _, line := range c.want {
		if n, what, _ := aboutLine(line); n > 0 {
			about[what] = n
		} else {
			want = append(want, line)
		}
	}
	var exact []string
	for _, line := range got {
		m := countLine.FindStringSubmatch(line)
		switch {
		case m != nil && about[m[2]] > 0:
			counts[m[2]], _ = strconv.Atoi(m[1])
		case m != nil:
			exact = append(exact, m[1]+" "+m[2])
		default:
			exact = append(exact, line)
		}
	}
	if slices.Equal(exact, want) && plausible(about, counts) {
		return nil
	}
	return fmt.Errorf("  want: %s\n  got:  %s", strings.Join(c.want, "\n        "), strings.Join(got, "\n        "))
}

// critical values of chi-square by degrees of freedom, at 1e-7.
var critical = []float64{0, 28.37, 32.24, 35.41, 38.29}

// plausible says whether counts are such as chance makes of the numbers expected.
func plausible(about, counts map[string]int) bool {
	var square float64
	wanted, all := 0, 0
	for _, what := range slices.Sorted(maps.Keys(about)) {
		wanted, all = wanted+about[what], all+counts[what]
		d := float64(counts[what] - about[what])
		square += d * d / float64(about[what])
	}
	freedom := max(0, len(about)-1)
	return all == wanted && freedom < len(critical) && square <= critical[freedom]
}

func TestParseExample(t *testing.T) {
	const text = "Prose.\n$ etcdctl put a 'b\n> c'\n\n$ watch dig x | sort\nabout 20 1.2.3.4\n3 5.6.7.8\nMore prose is output here.\n\nProse."
	commands, err := parseExample(text)
	want := []command{
		{line: 2, text: "etcdctl put a 'b\nc'"},
		{line: 5, text: "dig x | sort", watch: true, want: []string{"about 20 1.2.3.4", "3 5.6.7.8", "More prose is output here."}},
	}
	if fmt.Sprint(commands) != fmt.Sprint(want) || err != nil {
		t.Errorf("%+v, %v", commands, err)
	}
	for _, c := range []struct{ text, want string }{
		{"Prose.", `1: expected commands, lines that begin with "$ "`},
		{"\n$ dig x\nabout some", `2: "about some": expected "about", a number from 5 on (for the sake of chi-square) and what is to be had`},
		{"$ dig x\nabout 4 y", `1: "about 4 y": expected "about", a number from 5 on (for the sake of chi-square) and what is to be had`},
	} {
		if _, err := parseExample(c.text); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, expected %s", c.text, err, c.want)
		}
	}
}

func TestCompareOutput(t *testing.T) {
	for _, c := range []struct {
		want, got string
		well      bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"a|b", "a|b", true},
		{"a|b", "b|a", false},
		{"7 a", "      7 a", true},
		{"about 500 a|about 500 b", "  520 a|  480 b", true},
		{"about 500 a|about 500 b", "  600 a|  400 b", false},
		{"about 500 a|about 500 b", " 1000 a", false},
		{"about 500 a|about 500 b", "  500 a|  499 b", false},
		{"about 500 a|about 500 b", "  500 a|  500 b|    1 c", false},
		{"about 950 a|about 50 b", "  925 a|   75 b", true},
		{"about 950 a|about 50 b", "  900 a|  100 b", false},
		{"about 950 a|about 50 b", " 1000 a", false},
	} {
		lines := func(text string) []string {
			return slices.DeleteFunc(strings.Split(text, "|"), func(l string) bool { return l == "" })
		}
		command := command{want: lines(c.want)}
		if err := command.compare(lines(c.got)); (err == nil) != c.well {
			t.Errorf("%q for %q: %v", c.got, c.want, cmp.Or(err, fmt.Errorf("taken")))
		}
	}
}
