package server

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestKeepalive: a client over TCP that asks is told how long it may be idle (RFC 7828 §3.3.2).
func TestKeepalive(t *testing.T) {
	w := testWorker(true)
	for _, test := range []struct {
		name    string
		options []byte
		want    string
	}{
		{"asked", edns(11), "NOERROR aa 1/2/0/1" + optOut + " 11=use tcp keep-alive, timeout 10000ms"},
		{"asked twice", join(edns(11), edns(11)), "NOERROR aa 1/2/0/1" + optOut + " 11=use tcp keep-alive, timeout 10000ms"},
		{"not asked", edns(100), "NOERROR aa 1/2/0/1" + optOut},
		{"with a time (§3.2.1)", edns(11, 0, 100), "FORMERR 1/0/0/1" + optOut},
		{"with a byte", edns(11, 0), "FORMERR 1/0/0/1" + optOut},
	} {
		if got := shape(ask(w, withOPT("www.example.com", opt(512, test.options)))); got != test.want {
			t.Errorf("%s:\nreply %s\nwant  %s", test.name, got, test.want)
		}
	}
}

// TestKeepaliveTime: the time told is the one that holds; none is left where no more connections
// may come, or the server ends.
func TestKeepaliveTime(t *testing.T) {
	for idle, want := range map[time.Duration]uint16{
		100 * time.Millisecond:               1,
		10*time.Second + 99*time.Millisecond: 100, // never more than holds
		3 * time.Hour:                        65535,
	} {
		if got := New(Config{TCPIdle: idle}, testView()).tcp.idle(); got != want {
			t.Errorf("%v: told %d00 ms, want %d00", idle, got, want)
		}
	}
	asking := frame(withOPT("www.example.com", opt(512, edns(11))))
	wantTold := func(t *testing.T, c net.Conn, want uint16) {
		t.Helper()
		msg, err := unframe(c)
		if err != nil {
			t.Fatal(err)
		}
		option := edns(11, byte(want>>8), byte(want)) // ends the reply
		if !bytes.HasSuffix(msg, option) {
			t.Fatalf("reply %x does not end with %x", msg, option)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		_, connect := piped(t, Config{TCPIdle: 10 * time.Second, TCPMax: 2})
		first := connect()
		must(first.Write(asking))
		wantTold(t, first, 100)
		second := connect()
		must(first.Write(asking))
		wantTold(t, first, 0)
		second.Close()
		synctest.Wait()
		must(first.Write(asking))
		wantTold(t, first, 100)
	})
	synctest.Test(t, func(t *testing.T) {
		s, connect := piped(t, Config{TCPIdle: 10 * time.Second})
		c := connect()
		must(c.Write(append(asking, asking...)))
		synctest.Wait() // it is in the middle of the first reply
		go s.stop()
		synctest.Wait()
		wantTold(t, c, 100)
		wantTold(t, c, 0)
	})
}
