package check

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"meridian/health"
	"meridian/spec"
)

func TestTCPConversation(t *testing.T) {
	// redis answers PING as such a server does; it waits for more.
	redis := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			buf := make([]byte, 100)
			n, _ := c.Read(buf)
			if string(buf[:n]) == "PING\r\n" {
				fmt.Fprint(c, answer)
			}
			io.Copy(io.Discard, c)
		}
	}
	smtp := func(c net.Conn) {
		fmt.Fprint(c, "220 mail.example")
		time.Sleep(time.Millisecond) // in two segments, most likely
		fmt.Fprint(c, " ESMTP\r\n")
		io.Copy(io.Discard, c)
	}
	says := func(text string) func(net.Conn) { return func(c net.Conn) { io.WriteString(c, text) } }
	const brief = spec.Duration(50 * time.Millisecond)
	tests := []struct {
		name    string
		serve   func(net.Conn)
		check   health.TCP
		timeout spec.Duration // 0: none that is reached
		want    string
	}{
		{"redis", redis("+PONG\r\n"), health.TCP{Send: "PING\r\n", Expect: "+PONG"}, 0, ""},
		{"redis that wants a password", redis("-NOAUTH Authentication required.\r\n"), health.TCP{Send: "PING\r\n", Expect: "+PONG"}, spec.Duration(time.Second),
			`timed out after 1s: answer "-NOAUTH Authentication required.\r\n" does not contain "+PONG"`},
		{"redis that hangs", redis(""), health.TCP{Send: "PING\r\n", Expect: "+PONG"}, brief, "timed out after 50ms"},
		{"smtp", smtp, health.TCP{ExpectRegexp: "^220 .*ESMTP"}, 0, ""},
		{"smtp that is closing", says("421 too busy 220\r\n"), health.TCP{ExpectRegexp: "^220 "}, 0, `answer "421 too busy 220\r\n" does not match "^220 "`},
		{"bytes", says("\x00\xd2N"), health.TCP{ExpectHex: "d2 4e"}, 0, ""},
		{"other bytes", says("\x00\xd2"), health.TCP{ExpectHex: "d2 4e"}, 0, `answer "\x00\xd2" does not contain d2 4e`},
		{"bytes sent", func(c net.Conn) { io.CopyN(c, c, 2); io.Copy(io.Discard, c) }, health.TCP{SendHex: "d2 4e", ExpectHex: "d24e"}, 0, ""},
		{"nothing", says(""), health.TCP{Expect: "x"}, 0, "connection closed without an answer"},
		{"nothing asked for", says("whatever"), health.TCP{Send: "hello"}, 0, ""},
		{"within", says(strings.Repeat(".", bodyLimit-4) + "here"), health.TCP{Expect: "here"}, 0, ""},
		{"beyond", says(strings.Repeat(".", bodyLimit-3) + "here"), health.TCP{Expect: "here"}, 0,
			`the first 64 KiB of the answer "` + strings.Repeat(".", maxQuote) + `"… does not contain "here"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			to := at(t, serveRaw(t, test.serve), health.Check{TCP: &test.check, Timeout: test.timeout})
			if test.timeout == 0 {
				to.Spec.Timeout = long
			}
			wantWords(t, look(t, to), test.want)
			if to.seen.rtt <= 0 {
				t.Errorf("round trip %v", to.seen.rtt)
			}
		})
	}
}

// In whatever pieces it comes, no more is looked at than is said.
func TestTCPLimit(t *testing.T) {
	c := &conversation{expect: []byte("here"), words: "does not contain"}
	for dots, want := range map[int]bool{bodyLimit - 4: true, bodyLimit - 3: false} {
		came := io.MultiReader(strings.NewReader("."), strings.NewReader(strings.Repeat(".", dots-1)+"here and more"))
		if err := c.await(came); (err == nil) != want {
			t.Errorf("after %d bytes: %v", dots, err)
		}
	}
}

// A check that is to fail.
func TestInvert(t *testing.T) {
	c := health.Check{TCP: &health.TCP{}, Invert: true}
	wantWords(t, look(t, at(t, listen(t).Addr(), c)), "the check succeeds, which it is not to (invert)")
	wantWords(t, look(t, at(t, closedPort(t), c)), "")
	to := at(t, listen(t).Addr(), c)
	to.probe = newVantage(Networks{}, "").prober(to.Spec) // what is not looked at has not failed
	wantWords(t, look(t, to), "not checked from here: 127.0.0.1 is in 127.0.0.0/8 (loopback), see checker.allow")
}
