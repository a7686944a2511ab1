package zones

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

// TestParseRData: what is right is read in every form that BIND reads, and what is wrong is refused
// in either, text or \#.
func TestParseRData(t *testing.T) {
	const sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, c := range []struct{ typ, text, want string }{
		{"AMTRELAY", "10 1 1 192.0.2.1", "0a81c0000201"},
		{"AMTRELAY", `\# 6 0a81c0000201`, "0a81c0000201"},
		{"AMTRELAY", "10 1 3 r", "0a83017200"},
		{"AMTRELAY", "10 1 0 .", "0a80"},
		{"AMTRELAY", `\# 2 0a81`, "the gateway is missing"},
		{"AMTRELAY", "10 0 4 x", "type 4 of a gateway is not known, expected 0 to 3"},
		{"CAA", `\# 10 000569737375 65615c62`, "00056973737565615c62"},
		{"CAA", `0 issue "a\\b"`, "00056973737565615c62"},
		{"CAA", `0 is-sue "ca.example"`, `"is-sue" is not a tag, expected letters and digits`},
		{"CAA", `\# 2 0000`, `"" is not a tag, expected letters and digits`},
		{"URI", `\# 7 00010001615c62`, "00010001615c62"},
		{"NAPTR", "1 2 a b c .", "0001000201610162016300"},
		{"LOC", "42 N 71 06 W -24m", "00121613" + "89032100" + "70be5c40" + "00988d20"},
		{"LOC", "42 N 71 06 W -24.5", "00121613" + "89032100" + "70be5c40" + "00988cee"},
		{"LOC", "42 N 71 06 W -100000.00m", "00121613" + "89032100" + "70be5c40" + "00000000"},
		{"LOC", "42 N 71 06 W -100000.01m", "altitude -100000.01m is out of range, expected -100000 to 42849672.95 metres"},
		{"LOC", "42 N 71 06 W 42849672.96m", "altitude 42849672.96m is out of range, expected -100000 to 42849672.95 metres"},
		{"LOC", "42 0 nan N 71 06 W 0m", `"nan" is not a number`},
		{"LOC", "42 N 71 06 W 1e3m", `"1e3m" is not a number`},
		{"LOC", "90 N 180 W 0m", "00121613" + "934fd900" + "59604e00" + "00989680"},
		{"LOC", `\# 16 00121613 934fd901 59604e00 00989680`, "it lies beyond the poles, or beyond 180 degrees"},
		{"LOC", `\# 16 00121613 934fd900 59604dff 00989680`, "it lies beyond the poles, or beyond 180 degrees"},
		{"CSYNC", "66 3 AAAA A NS", "000000420003000460000008"},
		{"SSHFP", "1 1 0123", "a digest of type 1 has 40 digits, found 4"},
		{"SSHFP", `\# 4 01020123`, "a digest of type 2 has 64 digits, found 4"},
		{"SSHFP", "1 9 0123", "01090123"},
		{"SSHFP", "1 9", "SSHFP FingerPrint is missing"},
		{"DS", "1 8 SHA-256 " + sha256, "00010802" + sha256},
		{"DS", "1 RSASHA256 sha256 " + sha256, "00010802" + sha256},
		{"DS", "1 8 SHA-3 " + sha256, "bad DS DigestType"},
		{"DS", `\# 5 0001080201`, "a digest of type 2 has 64 digits, found 2"},
		{"DS", `\# 4 00010863`, "DS Digest is missing"},
		{"X25", "1234", "0431323334"},
		{"X25", "123", `"123" is not an address of X.25, expected four digits or more`},
		{"X25", "12a4", `"12a4" is not an address of X.25, expected four digits or more`},
		{"IPSECKEY", "10 1 0 192.0.2.1", "IPSECKEY PublicKey is missing"},
		{"IPSECKEY", `\# 7 0a0100c0000201`, "IPSECKEY PublicKey is missing"},
		{"IPSECKEY", `\# 2 0a04`, "these bytes are no IPSECKEY"},
		{"TLSA", "3 1 1", "TLSA Certificate is missing"},
		{"APL", "1:192.168.32.1/21", "extra bits in APL address"},
		{"TXT", `"\256"`, `\256 is not an escape, expected at most 255`},
		{"CNAME", `x\25`, `\25 is not an escape, expected three digits`},
		{"A", `\# 0`, "these bytes are no A"},
		{"A", `\# 5 0a00000101`, "these bytes are no A"},
		{"MX", `\# 0`, "these bytes are no MX"},
		{"MX", `\# 2 000a`, "MX Mx is missing"},
		{"MX", `\# 4 000ac000`, "these bytes are no MX"},
		{"SRV", `\# 4 00010002`, "these bytes are no SRV"},
		{"HTTPS", `\# 2 0001`, "HTTPS Target is missing"},
		{"NS", `\# 0`, "these bytes are no NS"},
		{"TXT", `\# 0`, "these bytes are no TXT"},
		{"APL", `\# 0`, ""},
		{"NULL", `\# 0`, ""},
		{"HTTPS", "1 . mandatory=key3 port=1", "000100000000020003000300020001"},
		{"HTTPS", "1 . mandatory=port alpn=h2", "port is mandatory, but not there"},
		{"HTTPS", "1 . mandatory=key3 alpn=h2", "port is mandatory, but not there"},
		{"HTTPS", "1 . mandatory=1 alpn=h2", "what is no key is mandatory, but not there"},
		{"HTTPS", "1 . key7=/q{?dns}", "000100000700082f717b3f646e737d"},
		{"HTTPS", "1 . alpn=", "alpn: expected at least one protocol"},
		{"HTTPS", "1 . no-default-alpn", "no-default-alpn stands beside an alpn"},
		{"HTTPS", "1 . ipv6hint=::ffff:192.0.2.1", `wrong at "ipv6hint=::ffff:192.0.2.1"`},
	} {
		_, wire, err := ParseRData(dns.StringToType[c.typ], c.text, ".")
		got := fmt.Sprintf("%x", wire)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.typ, c.text, got, c.want)
		}
	}
}
