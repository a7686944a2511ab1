package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"meridian/health"
	"meridian/policy"
	"meridian/policy/geo"
	"meridian/spec"
	"meridian/store"
	"meridian/zones"
)

// object is what a key of the registry holds.
type object struct {
	forms []string
	about string
	value any // nil: text
}

// objects are all there are, in the order of the reference.
var objects = []object{
	{[]string{"zone/<zone>/soa"}, "A zone: makes its SOA and its NS.", zones.SOA{}},
	{[]string{"zone/<zone>/name/<owner>/steer"}, "A name that a pool answers for. Owners are relative to the zone, `@` is its apex, `*` a wildcard.", zones.Steer{}},
	{[]string{"zone/<zone>/name/<owner>/<TYPE>"}, "Plain records, as text: an optional first line `$TTL seconds` (default 300), then one record a line, as zone files " +
		"have them (RFC 1035 §5.1). Names without a final dot are relative to the zone.", nil},
	{[]string{"site/<site>"}, "A place where members stand.", policy.Site{}},
	{[]string{"pool/<pool>/policy"}, "How a pool chooses among its members, and what watches them. A pool without this key is `weighted`.", policy.Spec{}},
	{[]string{"pool/<pool>/member/<member>"}, "A member of a pool. A bare address, such as `192.0.2.10`, is a member that says `addr` alone.", policy.MemberSpec{}},
	{[]string{"check/<check>"}, "How to find out whether an address works.", health.Check{}},
	{[]string{"map/<map>/<part>"}, "Tags of networks, autonomous systems and countries, looked at in this order, the longest network first. A map may have " +
		"any number of parts.", geo.Part{}},
	{[]string{"override/member/<pool>/<member>", "override/pool/<pool>", "override/site/<site>"},
		"A person's word, with a reason. That on a member goes before that on its pool, and that before that on its site.", health.Override{}},
	{[]string{"latch/<pool>"}, "A manual failback not yet made. Deleting the key makes it.", health.Latch{}},
	{[]string{"control/accept-delete"}, "A revision, as text: deletes held back up to it are let through.", nil},
}

// steps are those of a chain, and their options.
var steps = []struct {
	op      policy.Op
	options any
}{
	{policy.OpUp, nil}, {policy.OpGeo, policy.Geo{}}, {policy.OpNearest, policy.Nearest{}}, {policy.OpTier, policy.Tier{}},
	{policy.OpShed, policy.Shed{}}, {policy.OpWeighted, policy.Weighted{}}, {policy.OpTake, policy.Take{}},
}

// typeWords are the types that a value is written as.
var typeWords = map[reflect.Type]string{
	reflect.TypeFor[string]():                      "string",
	reflect.TypeFor[bool]():                        "true or false",
	reflect.TypeFor[int]():                         "whole number",
	reflect.TypeFor[int64]():                       "whole number",
	reflect.TypeFor[uint16]():                      "whole number",
	reflect.TypeFor[float64]():                     "number",
	reflect.TypeFor[[]string]():                    "list of strings",
	reflect.TypeFor[[]uint32]():                    "list of whole numbers",
	reflect.TypeFor[netip.Addr]():                  "address",
	reflect.TypeFor[[]netip.Addr]():                "list of addresses",
	reflect.TypeFor[[]netip.Prefix]():              "list of networks",
	reflect.TypeFor[map[netip.Prefix]string]():     "object: tags by network",
	reflect.TypeFor[map[uint32]string]():           "object: tags by number",
	reflect.TypeFor[map[string]string]():           "object: tags by code",
	reflect.TypeFor[map[string]zones.ParamValue](): "object: strings, or lists of such, by name",
	reflect.TypeFor[spec.Duration]():               "duration",
	reflect.TypeFor[spec.Share]():                  "share",
	reflect.TypeFor[policy.MinUp]():                "whole number or share",
	reflect.TypeFor[health.Quorum]():               "whole number or string",
	reflect.TypeFor[health.From]():                 "list of strings",
	reflect.TypeFor[health.Headers]():              "object: strings by name",
	reflect.TypeFor[[]policy.Step]():               "list of steps",
	reflect.TypeFor[time.Time]():                   "time",
}

// TestReference: reference.md and REFERENCE.md are what the code makes, every key and every field included.
func TestReference(t *testing.T) {
	r, err := makeReference()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "reference.md", r.String())
	golden(t, "../../REFERENCE.md", r.String())
	if out, _, err := run(t, "", "reference"); err != nil || out != reference {
		t.Errorf("meridian reference: %v\n%s", err, out)
	}
	var have []string
	for _, o := range objects {
		have = append(have, o.forms...)
	}
	slices.Sort(have)
	if want := slices.Sorted(slices.Values(store.KeyForms())); !slices.Equal(have, want) {
		t.Errorf("keys %v, want %v", have, want)
	}
}

// withField are values that one more field makes whole, by what that is of: a key and the value.
var withField = map[string][2]string{
	"zone/<zone>/soa":                 {"zone/example.com/soa", `{"ns":["ns1"],%s}`},
	"zone/<zone>/name/<owner>/steer":  {"zone/example.com/name/www/steer", `{"pool":"web","types":["HTTPS"],%s}`},
	"site/<site>":                     {"site/fra", `{%s}`},
	"pool/<pool>/policy":              {"pool/web/policy", `{%s}`},
	"pool/<pool>/member/<member>":     {"pool/web/member/m", `{"addr":["192.0.2.2"],%s}`},
	"check/<check>":                   {"check/web", `{"tcp":{},%s}`},
	"override/member/<pool>/<member>": {"override/member/web/m", `{"state":"up",%s}`},
	"latch/<pool>":                    {"latch/web", `{%s}`},
	"tcp":                             {"check/web", `{"tcp":{%s}}`},
	"http":                            {"check/web", `{"http":{%s}}`},
	"https":                           {"check/web", `{"https":{"verify":false,%s}}`},
	"tls":                             {"check/web", `{"tls":{"verify":false,%s}}`},
	"grpc":                            {"check/web", `{"grpc":{"tls":true,"verify":false,%s}}`},
	"dns":                             {"check/web", `{"dns":{"name":"example.com",%s}}`},
	"tier":                            {"pool/web/policy", `{"steps":[{"tier":{%s}}]}`},
	"shed":                            {"pool/web/policy", `{"steps":[{"shed":{%s}}]}`},
	"take":                            {"pool/web/policy", `{"steps":[{"take":{%s}}]}`},
}

// alongside is said with a field that cannot stand alone.
var alongside = map[string]string{"lat": `"lon":0,`, "lon": `"lat":0,`, "low": `"high":"100%",`, "interval": `"timeout":"50ms",`, "timeout": `"interval":"1h",`}

// TestReferenceRanges: the lowest and the highest value that the reference names are taken, and none beyond.
func TestReferenceRanges(t *testing.T) {
	r, err := makeReference()
	if err != nil {
		t.Fatal(err)
	}
	problem := func(v valueRange, value string) string {
		t.Helper()
		with, ok := withField[v.at]
		if !ok {
			t.Fatalf("%s of %s: withField has no value to put it in", v.field, v.at)
		}
		text := fmt.Sprintf(with[1], alongside[v.field]+`"`+v.field+`":`+value)
		for _, p := range store.Lint(store.Manifest{{Key: with[0], Value: []byte(text)}}, store.Update{}) {
			if p.Key == with[0] && strings.HasSuffix(p.Field, v.field) {
				return p.Error
			}
		}
		return ""
	}
	for _, v := range r.ranges {
		for _, good := range []string{v.low, v.high} {
			if v.field == "low" && good == v.high { // nothing is above it
				continue
			}
			if why := problem(v, good); why != "" {
				t.Errorf("%s of %s: %s: %s", v.field, v.at, good, why)
			}
		}
		for _, bad := range []string{beyond(t, v.low, -1), beyond(t, v.high, 1)} {
			if bad == "" || bad == "0" && v.zero {
				continue
			}
			if why := problem(v, bad); why == "" {
				t.Errorf("%s of %s: %s is taken, the reference says %s to %s", v.field, v.at, bad, v.low, v.high)
			}
		}
	}
	if len(r.ranges) < 25 {
		t.Errorf("%d ranges", len(r.ranges))
	}
}

// beyond is a little less or more than a value of a range, "" where there is nothing less.
func beyond(t *testing.T, value string, by int) string {
	t.Helper()
	text := strings.Trim(value, `"`)
	if n, err := strconv.Atoi(text); err == nil {
		return strconv.Itoa(n + by)
	}
	if digits, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`"%d%%"`, n+by)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Quote((d + time.Duration(by)).String())
}

// TestFieldComment: what a comment of a field has to say.
func TestFieldComment(t *testing.T) {
	for _, test := range []struct{ comment, want string }{
		{"its share; default 1; 0 to 65535", "its share|1|0 to 65535"},
		{"of HTTPS; of SRV; default none; 1 to 2; not 3", "of HTTPS; of SRV|none|1 to 2; not 3"},
		{"a match or nothing; default false: all stay", "a match or nothing|false: all stay|"},
		{"that chooses; required; a pool", "that chooses|required|a pool"},
		{"", "has no comment, expected one such as \"its share; default 1; 0 to 65535\""},
		{"its share", "\"its share\" says no default, expected one such as \"its share; default 1; 0 to 65535\""},
		{"default 1; 0 to 65535", "\"default 1; 0 to 65535\" does not say what it is, expected one such as \"its share; default 1; 0 to 65535\""},
	} {
		c, err := parseComment(test.comment)
		got := strings.Join([]string{c.meaning, c.def, c.values}, "|")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.comment, got, test.want)
		}
	}
}

// comment is that of a field.
type comment struct{ meaning, def, values string }

func parseComment(text string) (c comment, err error) {
	const form = `expected one such as "its share; default 1; 0 to 65535"`
	if text == "" {
		return c, errors.New("has no comment, " + form)
	}
	clauses := strings.Split(text, "; ")
	at := slices.IndexFunc(clauses, func(s string) bool { return s == "required" || strings.HasPrefix(s, "default ") })
	switch at {
	case -1:
		return c, fmt.Errorf("%q says no default, %s", text, form)
	case 0:
		return c, fmt.Errorf("%q does not say what it is, %s", text, form)
	}
	c.meaning, c.values = strings.Join(clauses[:at], "; "), strings.Join(clauses[at+1:], "; ")
	c.def = strings.TrimPrefix(clauses[at], "default ")
	return c, nil
}

// source has the comments of the packages' struct fields and constants, as "policy.Spec.Policy" and "policy.OpUp".
type source map[string]string

func (s source) read(dir string) error {
	files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := f.Name.Name + "."
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if fields, ok := n.Type.(*ast.StructType); ok {
					for _, field := range fields.Fields.List {
						for _, name := range field.Names {
							s[pkg+n.Name.Name+"."+name.Name] = commentText(field.Doc, field.Comment)
						}
					}
				}
			case *ast.ValueSpec:
				for _, name := range n.Names {
					s[pkg+name.Name] = commentText(n.Doc, n.Comment)
				}
			}
			return true
		})
	}
	return nil
}

func makeReference() (*referenceText, error) {
	s := source{}
	for _, dir := range []string{"health", "policy", "policy/geo", "zones"} {
		if err := s.read(dir); err != nil {
			return nil, err
		}
	}
	r := &referenceText{source: s}
	r.say("# Reference\n\nEvery key of the registry, below its prefix (`/gslb/`), and every field of its value. It is made from the code: `meridian reference`\n" +
		"writes that of your version. Values are JSON objects unless it says otherwise, and read strictly: an unknown field is an error.\n" +
		"Durations are written `\"2s\"`, shares `\"5%%\"`, times as in RFC 3339. Names of zones, pools, members, sites, checks and maps are in small letters.\n")
	for _, o := range objects {
		r.at = o.forms[0]
		r.say("\n## `%s`\n\n%s\n", strings.Join(o.forms, "`, `"), o.about)
		if o.value != nil {
			r.fields(reflect.TypeOf(o.value), "###")
		}
		if _, ok := o.value.(policy.Spec); ok {
			r.chains()
		}
	}
	return r, errors.Join(r.errs...)
}

// referenceText is the reference as far as it is written, and what is missing.
type referenceText struct {
	strings.Builder
	source source
	errs   []error

	at     string // what the fields written now are of: a key, a kind of check, a step
	ranges []valueRange
}

// valueRange is what the reference says of a field that has a lowest and a highest value.
type valueRange struct {
	at, field, low, high string // low and high as JSON has them
	zero                 bool   // 0 is the default
}

var rangeForm = regexp.MustCompile(`^(-?[0-9]+|"[0-9a-z.%]+")(?: \([^)]*\))? to (-?[0-9]+|"[0-9a-z.%]+")`)

func (r *referenceText) say(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// chains writes the policies and the steps.
func (r *referenceText) chains() {
	r.say("\n### Policies\n\n| policy | steps |\n|---|---|\n")
	names := slices.SortedFunc(maps.Keys(policy.Policies), func(x, y string) int {
		return cmp.Or(len(policy.Policies[x])-len(policy.Policies[y]), strings.Compare(x, y))
	})
	for _, name := range names {
		text, err := json.Marshal(policy.Policies[name])
		if err != nil {
			r.errs = append(r.errs, err)
		}
		r.say("| `%s` | `%s` |\n", name, text)
	}
	r.say("\n### Steps\n\nA step is its name, or an object of its name with options, and perhaps of `when`: `{\"take\":{\"n\":8},\"when\":{\"continent\":[\"EU\"]}}`.\n")
	for _, s := range steps {
		name := s.op.String()
		about := r.source["policy.Op"+strings.ToUpper(name[:1])+name[1:]]
		if about == "" {
			r.errs = append(r.errs, fmt.Errorf("step %s: has no comment", name))
		}
		r.say("\n#### `%s`\n\nIt %s.\n", name, about)
		if r.at = name; s.options != nil {
			r.fields(reflect.TypeOf(s.options), "")
		}
	}
	r.say("\n#### `when`\n\nLimits a step to some queries: to those that fit each of the fields that are there, by one entry of it at least.\n")
	r.fields(reflect.TypeFor[policy.When](), "")
}

// fields writes the fields of a struct, and below heading those of the structs within.
func (r *referenceText) fields(t reflect.Type, heading string) {
	if t.NumField() == 0 {
		r.say("\nIt has no fields.\n")
		return
	}
	r.say("\n| field | what it is | type | default | values |\n|---|---|---|---|---|\n")
	var within []reflect.StructField
	r.rows(t, &within)
	for _, f := range within {
		r.at = jsonName(f)
		r.say("\n%s `%s`\n", heading, r.at)
		r.fields(f.Type.Elem(), heading)
	}
}

func (r *referenceText) rows(t reflect.Type, within *[]reflect.StructField) {
	for f := range t.Fields() {
		name := jsonName(f)
		switch {
		case f.Anonymous:
			r.rows(f.Type, within)
			continue
		case name == "":
			continue
		}
		place := t.String() + "." + f.Name
		c, err := parseComment(r.source[place])
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s: %w", place, err))
			continue
		}
		typ := f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		word, ok := typeWords[typ]
		switch {
		case ok:
		case f.Type.Kind() == reflect.Pointer && typ.Kind() == reflect.Struct:
			word = "object, see below"
			*within = append(*within, f)
		default:
			r.errs = append(r.errs, fmt.Errorf("%s: typeWords does not say how a %s is written", place, typ))
		}
		if m := rangeForm.FindStringSubmatch(c.values); m != nil && typ.Kind() != reflect.Slice {
			r.ranges = append(r.ranges, valueRange{r.at, name, m[1], m[2], f.Type.Kind() != reflect.Pointer})
		}
		r.say("| `%s` | %s | %s | %s | %s |\n", name, markdown(c.meaning), word, markdown(c.def), markdown(c.values))
	}
}

// jsonName is a field's name in JSON, "" if it has none.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// literal is what JSON would have, and keys.
var literal = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|_?[a-z]*[./]?<[a-z]+>(?:[./]<[a-z]+>)*`)

// markdown marks what is literal.
func markdown(text string) string {
	text = strings.ReplaceAll(text, "|", `\|`)
	return literal.ReplaceAllString(text, "`$0`")
}

// commentText is a comment in one line, without its slashes.
func commentText(groups ...*ast.CommentGroup) string {
	var all []string
	for _, g := range groups {
		all = append(all, strings.Fields(g.Text())...)
	}
	return strings.Join(all, " ")
}
