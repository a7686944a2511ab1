package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"sync"
	"time"

	"meridian/health"
)

const (
	headLimit = 64 << 10 // bytes of status line and header, interim responses included
	bodyLimit = 64 << 10 // bytes of body that are looked at

	// keepFor is the longest that one connection serves looks. A backend that takes no new
	// connections must not pass for long on an old one.
	keepFor = time.Minute
)

// conn is a connection that may be kept for the next look.
type conn struct {
	net.Conn           // TLS, if it is https
	raw      net.Conn  // what it runs over; closing this one never waits
	until    time.Time // of its last use
}

// httpCheck looks at targets by HTTP/1.1 over a connection of its own. Not by net/http's client:
// that keeps two goroutines for each idle connection, follows a redirect and heeds proxies unless
// told otherwise, and does not say whether a connection failed or the backend.
type httpCheck struct {
	spec   *health.HTTP
	status []health.StatusRange
	tls    *tls.Config // nil: without
	usual  uint16      // the port that a Host header leaves out
}

func newHTTP(spec *health.HTTP) prober {
	h := &httpCheck{spec: spec, usual: 80}
	h.status, _ = health.ParseStatus(spec.Status) // parses: the check is completed
	return h.probe
}

func newHTTPS(spec *health.HTTPS) prober {
	h := &httpCheck{spec: &spec.HTTP, usual: 443, tls: tlsConfig(spec)}
	h.status, _ = health.ParseStatus(spec.Status)
	return h.probe
}

func (h *httpCheck) probe(ctx context.Context, t *target) error {
	half := time.Now().Add(t.timeout() / 2)
	c, kept := t.idle, t.idle != nil
	t.idle = nil
	if !kept {
		var err error
		if c, err = h.open(ctx, t.Addr); err != nil {
			return plain(err)
		}
	}
	stop := context.AfterFunc(ctx, func() { c.raw.Close() }) // ends every read and write of ask
	reusable, err := h.ask(c, t.Addr, kept, half)
	if stop() && reusable && !time.Now().Add(t.interval()).After(c.until) {
		t.idle = c
	} else {
		c.Close()
	}
	return err
}

// ask sends the request and judges the response. reusable: c stands where the next request may
// follow. half is when half of the timeout is over.
func (h *httpCheck) ask(c *conn, addr netip.AddrPort, kept bool, half time.Time) (reusable bool, err error) {
	head := &io.LimitedReader{R: c, N: headLimit}
	in := readers.Get().(*bufio.Reader)
	in.Reset(head)
	defer func() { in.Reset(nil); readers.Put(in) }()

	// A kept connection may be long dead, closed or cut, while the backend is well: what fails on
	// it before the first byte, or is not there after half the time, is asked again on a new one.
	if kept {
		c.SetDeadline(half)
	}
	_, err = c.Write(h.request(addr))
	if err == nil {
		_, err = in.Peek(1)
	}
	switch {
	case err != nil && kept:
		return false, errSilent
	case errors.Is(err, io.EOF):
		return false, errors.New("connection closed without an answer")
	case err != nil:
		return false, plain(err)
	}
	c.SetDeadline(time.Time{})

	answer, err := readHead(in)
	if err != nil {
		return false, headFault(err, head)
	}
	if !h.expects(answer.StatusCode) {
		return false, fmt.Errorf("status %d, expected %s", answer.StatusCode, h.spec.Status)
	}
	head.N = 2 * bodyLimit // with what chunks add
	if h.spec.Body != "" {
		body, err := io.ReadAll(io.LimitReader(answer.Body, bodyLimit))
		found := bytes.Contains(body, []byte(h.spec.Body))
		switch {
		case found && err != nil:
			return false, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return false, errors.New("connection closed within the body")
		case err != nil:
			return false, plain(err)
		case !found:
			return false, fmt.Errorf("body does not contain %q", h.spec.Body)
		}
	}

	// A backend that needs more than half of the timeout would be asked twice on a kept one.
	c.SetDeadline(half)
	reusable = !answer.Close && readOut(answer) && in.Buffered() == 0 && time.Now().Before(half)
	c.SetDeadline(time.Time{})
	return reusable, nil
}

// open connects, and shakes hands if the check is https.
func (h *httpCheck) open(ctx context.Context, addr netip.AddrPort) (*conn, error) {
	raw, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, until: time.Now().Add(keepFor)}
	if h.tls == nil {
		return c, nil
	}
	secure := tls.Client(raw, h.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, handshakeError{err}
	}
	c.Conn = secure
	// A certificate that expires is seen to only in the next handshake.
	for _, chain := range secure.ConnectionState().VerifiedChains {
		for _, cert := range chain {
			c.until = earlier(c.until, cert.NotAfter)
		}
	}
	return c, nil
}

// request is the request as it is sent. Path and Host have been seen to hold nothing that would
// end a line.
func (h *httpCheck) request(addr netip.AddrPort) []byte {
	host := h.spec.Host
	if host == "" {
		host = hostOf(addr, h.usual)
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: meridian-check\r\nAccept: */*\r\n\r\n", h.spec.Path, host)
}

// hostOf is the Host header of an address (RFC 9110 section 7.2): without the usual port, and
// without a zone, which means nothing to another host (RFC 6874 section 4).
func hostOf(addr netip.AddrPort, usual uint16) string {
	a := netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port())
	switch {
	case a.Port() != usual:
		return a.String()
	case a.Addr().Is6():
		return "[" + a.Addr().String() + "]"
	}
	return a.Addr().String()
}

func (h *httpCheck) expects(status int) bool {
	for _, r := range h.status {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

// readers are the buffers of looks in flight: an idle connection has none.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// readHead reads up to the body of the final response. Interim ones are passed over (RFC 9110
// section 15.2), but for 101, after which HTTP ends.
func readHead(in *bufio.Reader) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, err
		}
	}
}

func headFault(err error, head *io.LimitedReader) error {
	var (
		op        *net.OpError
		malformed textproto.ProtocolError
	)
	switch {
	case head.N == 0:
		return errors.New("header is longer than 64 KiB")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("connection closed within the header")
	case errors.As(err, &op):
		return plain(err)
	case errors.As(err, &malformed):
		return errors.New("malformed header")
	}
	return errors.New("answer is not HTTP/1.1")
}

// readOut reads the rest of a body of up to bodyLimit bytes and says whether it came to the end,
// so that the next response may follow on the same connection.
func readOut(answer *http.Response) bool {
	if answer.ContentLength > bodyLimit {
		return false
	}
	_, err := io.CopyN(io.Discard, answer.Body, bodyLimit+1)
	return errors.Is(err, io.EOF)
}
