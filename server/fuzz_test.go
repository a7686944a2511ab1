package server

import (
	"bytes"
	"encoding/binary"
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
		if !stream && len(reply) > maxUDP {
			t.Fatalf("%d bytes over UDP", len(reply))
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
		if (m.IsEdns0() != nil) != w.in.edns {
			t.Fatalf("OPT in the query: %v; the reply:\n%v", w.in.edns, m)
		}
	})
}
