package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
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
	expires  time.Time // when the first of its certificates does; zero: it has none
}

// httpCheck looks at targets by HTTP/1.1 over a connection of its own. Not by net/http's client:
// that keeps two goroutines for each idle connection, follows a redirect and heeds proxies unless
// told otherwise, and does not say whether a connection failed or the backend.
type httpCheck struct {
	*vantage
	spec    *health.HTTP
	status  []health.StatusRange
	match   *regexp.Regexp // nil: the body need not match any
	tls     *tls.Config    // nil: without
	warn    time.Duration  // before certificates expire; 0: never
	usual   uint16         // the port that a Host header leaves out
	headers string         // as they are sent
	method  *http.Request  // what the response is to; it decides whether a body follows
}

func (v *vantage) newHTTP(spec *health.HTTP) prober {
	h := newHTTPCheck(v, spec, 80)
	if spec.HTTP2 {
		return h.probeHTTP2
	}
	return h.probe
}

func (v *vantage) newHTTPS(spec *health.HTTPS) prober {
	h := newHTTPCheck(v, &spec.HTTP, 443)
	h.warn = warning(&spec.Certificate)
	if spec.HTTP2 {
		h.tls = tlsConfig(&spec.Certificate, "h2")
		return h.probeHTTP2
	}
	h.tls = tlsConfig(&spec.Certificate, "http/1.1")
	return h.probe
}

func newHTTPCheck(v *vantage, spec *health.HTTP, usual uint16) *httpCheck {
	h := &httpCheck{vantage: v, spec: spec, usual: usual, method: &http.Request{Method: spec.Method}}
	h.status, _ = health.ParseStatus(spec.Status) // parses: the check is completed
	if spec.BodyRegexp != "" {
		h.match = regexp.MustCompile(spec.BodyRegexp)
	}
	headers := h.header()
	if spec.Method == http.MethodPost {
		headers["Content-Length"] = []string{"0"}
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h.headers += name + ": " + headers[name][0] + "\r\n"
	}
	return h
}

// header is what is sent besides Host and what frames the message.
func (h *httpCheck) header() http.Header {
	header := http.Header{"User-Agent": {"meridian-check"}, "Accept": {"*/*"}}
	for name, value := range h.spec.Headers {
		header.Set(name, value)
	}
	return header
}

func (h *httpCheck) probe(ctx context.Context, t *target) error {
	soon := time.Now().Add(t.timeout() / 3)
	c, kept := t.idle.(*conn)
	t.idle = nil
	if !kept {
		var err error
		if c, err = h.open(ctx, t); err != nil {
			return plain(err)
		}
	}
	t.seen.warning = expiry(c.expires, h.warn)
	stop := context.AfterFunc(ctx, func() { c.raw.Close() }) // ends every read and write of ask
	reusable, err := h.ask(c, t, kept, soon)
	if stop() && reusable && !time.Now().Add(t.interval()).After(c.until) {
		t.idle = c
	} else {
		c.Close()
	}
	return err
}

// ask sends the request and judges the response. reusable: c stands where the next request may
// follow. soon is when a third of the timeout is over.
func (h *httpCheck) ask(c *conn, t *target, kept bool, soon time.Time) (reusable bool, err error) {
	head := &io.LimitedReader{R: c, N: headLimit}
	in := readers.Get().(*bufio.Reader)
	in.Reset(head)
	defer func() { in.Reset(nil); readers.Put(in) }()

	// A kept connection may be long dead, closed or cut, while the backend is well: what fails on
	// it before the first byte is asked again on a new one.
	_, err = c.Write(h.request(t.Addr))
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

	answer, err := readHead(in, h.method)
	if err != nil {
		return false, headFault(err, head)
	}
	head.N = 2 * bodyLimit // with what chunks add
	if ended, err := h.judge(t, answer); ended || err != nil {
		return false, err
	}

	// A backend that needs more than a third of the timeout would be asked twice on a kept one.
	c.SetDeadline(soon)
	reusable = !answer.Close && readOut(answer) && in.Buffered() == 0 && time.Now().Before(soon)
	c.SetDeadline(time.Time{})
	return reusable, nil
}

// judge holds a response against what is expected. ended: the body broke off after what was looked for.
func (h *httpCheck) judge(t *target, answer *http.Response) (ended bool, err error) {
	t.seen.load = loadOf(answer.Header)
	if !h.expects(answer.StatusCode) {
		return false, fmt.Errorf("status %d, expected %s", answer.StatusCode, h.spec.Status)
	}
	if h.spec.Body == "" && h.match == nil {
		return false, nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, bodyLimit))
	missing := h.missing(body)
	switch {
	case missing == "":
		return err != nil, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return false, errors.New("connection closed within the body")
	case err != nil:
		return false, plain(err)
	}
	return false, errors.New(missing)
}

// missing says what a body lacks, "" if nothing.
func (h *httpCheck) missing(body []byte) string {
	switch {
	case !bytes.Contains(body, []byte(h.spec.Body)):
		return fmt.Sprintf("body does not contain %q", h.spec.Body)
	case h.match != nil && !h.match.Match(body):
		return fmt.Sprintf("body does not match %q", h.spec.BodyRegexp)
	}
	return ""
}

// open connects, and shakes hands if the check is https.
func (h *httpCheck) open(ctx context.Context, t *target) (*conn, error) {
	raw, err := h.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, until: time.Now().Add(keepFor)}
	if h.tls == nil {
		return c, nil
	}
	secure, err := shake(ctx, raw, h.tls)
	if err != nil {
		return nil, err
	}
	c.Conn = secure
	state := secure.ConnectionState()
	c.expires = firstExpiry(state)
	// A certificate that expires is seen to only in the next handshake.
	if len(state.VerifiedChains) > 0 {
		c.until = earlier(c.until, c.expires)
	}
	return c, nil
}

// request is the request as it is sent. Nothing in it holds what would end a line: the check is
// completed.
func (h *httpCheck) request(addr netip.AddrPort) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", h.spec.Method, h.spec.Path, h.host(addr), h.headers)
}

// host is the Host header.
func (h *httpCheck) host(addr netip.AddrPort) string {
	if h.spec.Host != "" {
		return h.spec.Host
	}
	return hostOf(addr, h.usual)
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
func readHead(in *bufio.Reader, to *http.Request) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(in, to)
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
