package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// conn2 is a connection of HTTP/2 that may be kept for the next look.
type conn2 struct {
	client *http.ClientConn
	under  *conn
}

func (c *conn2) Close() error {
	err := c.client.Close()
	c.under.raw.Close()
	return err
}

// probeHTTP2 is probe by HTTP/2 (RFC 9113). Its connections are net/http's, which keep a goroutine
// each; redirects, proxies and decompression are the client's above, which is not used.
func (h *httpCheck) probeHTTP2(ctx context.Context, t *target) error {
	soon := time.Now().Add(t.timeout() / 3)
	c, kept := t.idle.(*conn2)
	t.idle = nil
	if !kept {
		under, err := h.open(ctx, t)
		if err != nil {
			return plain(err)
		}
		if c, err = h.client2(ctx, t, under); err != nil {
			under.Close()
			return err
		}
	}
	t.seen.warning = expiry(c.under.expires, h.warn)
	reusable, err := h.ask2(ctx, c, t, kept, soon)
	if ctx.Err() == nil && reusable && !time.Now().Add(t.interval()).After(c.under.until) {
		t.idle = c
	} else {
		c.Close()
	}
	return err
}

// client2 begins HTTP/2 on a connection.
func (h *httpCheck) client2(ctx context.Context, t *target, under *conn) (*conn2, error) {
	scheme := "http"
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	if secure, ok := under.Conn.(*tls.Conn); ok {
		if secure.ConnectionState().NegotiatedProtocol != "h2" {
			return nil, errors.New("server does not speak HTTP/2 over TLS")
		}
		scheme = "https"
		protocols = new(http.Protocols)
		protocols.SetHTTP2(true)
	}
	given := func(context.Context, string, string) (net.Conn, error) { return under.Conn, nil }
	transport := &http.Transport{
		Protocols: protocols, DialContext: given, DialTLSContext: given,
		DisableCompression: true, MaxResponseHeaderBytes: headLimit,
	}
	client, err := transport.NewClientConn(ctx, scheme, t.Addr.String())
	if err != nil {
		return nil, plainHTTP2(err)
	}
	return &conn2{client: client, under: under}, nil
}

// ask2 is ask by HTTP/2.
func (h *httpCheck) ask2(ctx context.Context, c *conn2, t *target, kept bool, soon time.Time) (reusable bool, err error) {
	stop := context.AfterFunc(ctx, func() { c.under.raw.Close() })
	defer stop()
	answer, err := c.client.RoundTrip(h.request2(ctx, t, c))
	switch {
	case err != nil && kept && ctx.Err() == nil:
		return false, errSilent
	case err != nil:
		return false, plainHTTP2(err)
	}
	defer answer.Body.Close()
	if ended, err := h.judge(t, answer); ended || err != nil {
		return false, err
	}
	_, err = io.CopyN(io.Discard, answer.Body, bodyLimit+1)
	return errors.Is(err, io.EOF) && time.Now().Before(soon), nil
}

// request2 is request for HTTP/2.
func (h *httpCheck) request2(ctx context.Context, t *target, c *conn2) *http.Request {
	target, _ := url.ParseRequestURI(h.spec.Path) // parses: the check is completed
	target.Scheme, target.Host = "http", h.host(t.Addr)
	if h.tls != nil {
		target.Scheme = "https"
	}
	q := &http.Request{Method: h.spec.Method, URL: target, Host: target.Host, Header: h.header(), Proto: "HTTP/2.0", ProtoMajor: 2}
	return q.WithContext(ctx)
}

// plainHTTP2 is plain for what net/http says of HTTP/2.
func plainHTTP2(err error) error {
	var op *net.OpError
	switch {
	case isTimeout(err), errors.As(err, &op):
		return plain(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed without an answer")
	case strings.Contains(err.Error(), "looked like an HTTP/1.1 header"), strings.Contains(err.Error(), "could not be established"):
		return errors.New("server does not speak HTTP/2, or closed the connection") // which of both is told depends on time
	}
	return fmt.Errorf("HTTP/2: %s", words(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "net/http: "), "http2: ")))
}
