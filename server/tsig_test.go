package server

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/miekg/dns"
)

// TestBadKey: the reply to a key that is not known, byte for byte as BIND 9.18 and Knot 3.2 give
// it.
func TestBadKey(t *testing.T) {
	got := ask(testWorker(false), withOPT("www.subj.test", tsig("nokey")))
	want := "12348009000100000000000103777777047375626a04746573740000010001" +
		"056e6f6b65790000fa00ff00000000001d0b686d61632d7368613235360000006b03a74b012c0000123400110000"
	if hex.EncodeToString(got) != want {
		t.Errorf("reply %x\nwant  %s", got, want)
	}
}

// TestTSIGForm: names are understood in full, and what is malformed is a FORMERR (RFC 8945 §5.2).
func TestTSIGForm(t *testing.T) {
	algorithm, fixed, end := name("hmac-sha256"), make([]byte, 8), make([]byte, 6)
	signed := func(owner []byte, rdata ...[]byte) []byte {
		return withOPT("www.example.com", rr(owner, dns.TypeTSIG, dns.ClassANY, 0, bytes.Join(rdata, nil)))
	}
	key := []byte{3, 'k', 'e', 'y', 0}
	label := func(n byte) []byte { return append([]byte{n}, bytes.Repeat([]byte{'a'}, int(n))...) }
	for _, test := range []struct {
		name string
		msg  []byte
		want string
	}{
		{"no MAC", signed(key, algorithm, fixed, []byte{0, 0}, end), "NOTAUTH 1/0/0/1 tsig key. BADKEY"},
		{"other data", signed(key, algorithm, fixed, []byte{0, 0}, []byte{0, 0, 0, 0, 0, 2, 8, 9}), "NOTAUTH 1/0/0/1 tsig key. BADKEY"},
		{"key with a pointer into the question", signed([]byte{3, 'k', 'e', 'y', 0xc0, 16}, algorithm, fixed, []byte{0, 0}, end), "NOTAUTH 1/0/0/1 tsig key.example.com. BADKEY"},
		{"key that is a pointer", signed([]byte{0xc0, 16}, algorithm, fixed, []byte{0, 0}, end), "NOTAUTH 1/0/0/1 tsig example.com. BADKEY"},
		{"key of 255 bytes", signed(name(longName), algorithm, fixed, []byte{0, 0}, end), "NOTAUTH 1/0/0/1 tsig " + longName + ". BADKEY"},
		{"key of 256 bytes", signed(join(label(63), label(63), label(63), label(46), []byte{0xc0, 12}), algorithm, fixed, []byte{0, 0}, end), "FORMERR 1/0/0/0"},
		{"key that is a pointer to itself", signed([]byte{0xc0, 33}, algorithm, fixed, []byte{0, 0}, end), "FORMERR 1/0/0/0"},
		{"key with a pointer forward", signed([]byte{3, 'k', 'e', 'y', 0xc0, 49}, algorithm, fixed, []byte{0, 0}, end), "FORMERR 1/0/0/0"},
		{"algorithm with a pointer", signed(key, []byte{1, 'a', 0xc0, 0}, fixed, []byte{0, 0}, end), "FORMERR 1/0/0/0"},
		{"no RDATA", signed(key), "FORMERR 1/0/0/0"},
		{"time cut short", signed(key, algorithm, fixed[:7]), "FORMERR 1/0/0/0"},
		{"MAC cut short", signed(key, algorithm, fixed, []byte{0, 9}, end), "FORMERR 1/0/0/0"},
		{"other data cut short", signed(key, algorithm, fixed, []byte{0, 0}, []byte{0, 0, 0, 0, 0, 2, 8}), "FORMERR 1/0/0/0"},
		{"trailing bytes", signed(key, algorithm, fixed, []byte{0, 0}, end, []byte{0}), "FORMERR 1/0/0/0"},
	} {
		if got := shape(ask(testWorker(false), test.msg)); got != test.want {
			t.Errorf("%s:\nreply %s\nwant  %s", test.name, got, test.want)
		}
	}
}
