package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"meridian/health"
)

// tlsConfig is what is shaken hands with; protocols are those of ALPN (RFC 7301), if any.
func tlsConfig(spec *health.Certificate, protocols ...string) *tls.Config {
	return &tls.Config{
		ServerName:         spec.SNI,
		InsecureSkipVerify: !*spec.Verify,
		NextProtos:         protocols,
	}
}

// shake makes a TLS connection of raw, or closes it.
func shake(ctx context.Context, raw net.Conn, config *tls.Config) (*tls.Conn, error) {
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, handshakeError{err}
	}
	return secure, nil
}

// firstExpiry is when the first certificate expires that the handshake depends on: of the chain that
// lasts longest, or of what was shown where nothing was verified.
func firstExpiry(state tls.ConnectionState) (last time.Time) {
	chains := state.VerifiedChains
	if len(chains) == 0 {
		chains = [][]*x509.Certificate{state.PeerCertificates}
	}
	for _, chain := range chains {
		var first time.Time
		for _, cert := range chain {
			if first.IsZero() || cert.NotAfter.Before(first) {
				first = cert.NotAfter
			}
		}
		last = later(last, first)
	}
	return last
}

// warning is how long before certificates expire a check warns.
func warning(spec *health.Certificate) time.Duration {
	return time.Duration(*spec.WarnDays) * 24 * time.Hour
}

// expiry warns of certificates of which the first expires within that time, "" if there is nothing
// to warn of. It names the day and not how many are left, so as not to be said anew each day.
func expiry(first time.Time, within time.Duration) string {
	switch left := time.Until(first); {
	case first.IsZero() || within == 0 || left > within:
		return ""
	case left <= 0: // of one that is not verified
		return "certificate expired " + first.UTC().Format(time.RFC3339)
	}
	return "certificate expires " + first.UTC().Format(time.RFC3339)
}

// tlsCheck is content with a handshake.
type tlsCheck struct {
	*vantage
	config *tls.Config
	warn   time.Duration
}

func (v *vantage) newTLS(spec *health.TLS) prober {
	c := &tlsCheck{v, tlsConfig(&spec.Certificate), warning(&spec.Certificate)}
	return c.probe
}

func (c *tlsCheck) probe(ctx context.Context, t *target) error {
	raw, err := c.dial(ctx, t)
	if err != nil {
		return plain(err)
	}
	secure, err := shake(ctx, raw, c.config)
	if err != nil {
		return plain(err)
	}
	defer secure.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() }) // Close sends an alert, and may wait
	defer stop()
	t.seen.warning = expiry(firstExpiry(secure.ConnectionState()), c.warn)
	return nil
}

// handshakeError is what went wrong between the connection and the first byte of HTTP.
type handshakeError struct{ err error }

func (e handshakeError) Unwrap() error { return e.err }

func (e handshakeError) Error() string {
	var (
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		op      *net.OpError
	)
	switch err := e.err; {
	case errors.As(err, &host):
		return bare(host)
	case errors.As(err, &unknown):
		return "certificate signed by unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		// One word of x509's for two faults.
		if from := invalid.Cert.NotBefore; time.Now().Before(from) {
			return "certificate is not valid before " + from.UTC().Format(time.RFC3339)
		}
		return "certificate expired " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
	case errors.As(err, &invalid):
		return "certificate: " + bare(invalid)
	case errors.As(err, &record):
		return "answer is not TLS"
	case errors.As(err, &op) && op.Op == "remote error":
		return "TLS refused by the server: " + bare(op.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed within the TLS handshake"
	}
	return "TLS: " + bare(e.err)
}

// bare is err without the name of the package that it comes from.
func bare(err error) string {
	s := err.Error()
	for _, prefix := range []string{"tls: ", "x509: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}
