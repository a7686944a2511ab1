package zonefile

import (
	"regexp"
	"strings"
	"testing"
)

// manyGenerated is a $GENERATE of so many records that a fuzzer would do nothing else.
var manyGenerated = regexp.MustCompile(`(?i)\$GENERATE[^\n]*\d{3}`)

// FuzzZoneFile reads any file: it never panics, whatever comes out can be applied, and is the same
// when it is exported and read again.
func FuzzZoneFile(f *testing.F) {
	for _, x := range fixtures(f) {
		f.Add(x.text, x.apex.ZoneText())
	}
	f.Add([]byte(top+"a A 192.0.2.1\n$INCLUDE x\n"), "example.com")
	f.Fuzz(func(t *testing.T, text []byte, zone string) {
		if len(text) > 1<<14 || manyGenerated.Match(text) {
			t.Skip()
		}
		apex, err := parseName(zone)
		if err != nil {
			t.Skip()
		}
		owner := apexOwner(t, apex.String())
		for _, head := range []string{"", top} { // with a SOA that is good, too
			keys, remarks := Read("z", append([]byte(head), text...), owner, Folder{})
			for _, r := range remarks {
				if r.Text == "" {
					t.Errorf("%s: nothing said", r.Place)
				}
			}
			if len(keys) > 0 && strings.HasSuffix(keys[0].Key, "/soa") {
				lint(t, keys)
				checkRoundTrip(t, owner, keys)
				return
			}
		}
	})
}
