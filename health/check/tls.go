package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"meridian/health"
)

func tlsConfig(spec *health.HTTPS) *tls.Config {
	return &tls.Config{
		ServerName:         spec.SNI,
		InsecureSkipVerify: !*spec.Verify,
		NextProtos:         []string{"http/1.1"},
	}
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
