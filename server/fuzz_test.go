package server

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// FuzzReply: no message makes the server panic, a reply is never answered, and whatever is said is
// well formed, of the right size, and about what was asked.
func FuzzReply(f *testing.F) {
	for _, test := range wireTests {
		f.Add(test.msg, false)
		f.Add(test.msg, true)
	}
	udp, tcp := testWorker(false), testWorker(true)
	f.Fuzz(func(t *testing.T, msg []byte, stream bool) {
		w := udp
		if stream {
			w = tcp
		}
		if len(msg) > maxTCP {
			return
		}
		reply := ask(w, msg)
		if len(msg) < headerSize || msg[2]&flagQR != 0 {
			if reply != nil {
				t.Fatalf("a reply to %x: %x", msg, reply)
			}
			return
		}
		if reply == nil {
			t.Fatalf("silence after %x", msg)
		}
		if binary.BigEndian.Uint16(reply) != binary.BigEndian.Uint16(msg) || reply[2]&flagQR == 0 || opcode(reply) != opcode(msg) {
			t.Fatalf("header %x of a reply to %x", reply[:headerSize], msg[:headerSize])
		}
		if w.in.end > headerSize && !bytes.Equal(reply[headerSize:w.in.end], msg[headerSize:w.in.end]) {
			t.Fatalf("question %x came back as %x", msg[headerSize:w.in.end], reply[headerSize:w.in.end])
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("reply %x to %x does not unpack: %v", reply, msg, err)
		}
		checkOPT(t, w, m)
		if limit := w.limit(); len(reply) > limit {
			t.Fatalf("%d bytes where %d are allowed", len(reply), limit)
		}
		if m.Truncated && len(m.Answer)+len(m.Ns) > 0 {
			t.Fatalf("records beside TC:\n%v", m)
		}
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			if rr.Header().Class != m.Question[0].Qclass {
				t.Fatalf("a record of another class than the question:\n%v", m)
			}
		}
		if m.IsTsig() != nil && (m.Rcode != dns.RcodeNotAuth || m.IsTsig().MACSize != 0) {
			t.Fatalf("signed:\n%v", m)
		}
	})
}

// checkOPT: OPT is there where the query has one; so are NSID and keepalive, the latter over TCP
// alone.
func checkOPT(t *testing.T, w *worker, m *dns.Msg) {
	o := m.IsEdns0()
	if (o != nil) != w.in.edns {
		t.Fatalf("OPT in the query: %v; the reply:\n%v", w.in.edns, m)
	}
	if o == nil {
		return
	}
	has := map[uint16]int{}
	for _, option := range o.Option {
		has[option.Option()]++
	}
	if has[dns.EDNS0EDE] > 1 {
		t.Fatalf("%d extended errors", has[dns.EDNS0EDE])
	}
	delete(has, dns.EDNS0EDE)
	for code, asked := range map[uint16]bool{
		dns.EDNS0NSID: w.in.nsid, dns.EDNS0SUBNET: w.in.subnetSize > 0, dns.EDNS0TCPKEEPALIVE: w.in.keepalive && w.in.stream,
	} {
		if asked != (has[code] == 1) {
			t.Fatalf("option %d: asked %v, %d in the reply:\n%v", code, asked, has[code], m)
		}
		delete(has, code)
	}
	if len(has) > 0 {
		t.Fatalf("options that nobody asked for:\n%v", m)
	}
}
