package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config says which etcd holds the registry and how to log in to it. Only Endpoints and Prefix must
// be set.
type Config struct {
	Endpoints []string // host:port, http://host:port or https://host:port, of one cluster
	Prefix    string   // of the configuration's keys, such as "/gslb"; live keys have it with "-live"

	NoZones bool // Read and Follow leave zones and their names out, as if there were none

	Username, Password string // both or neither

	CertFile, KeyFile string // PEM, shown to an etcd that asks for it; read again at every handshake
	CAFile            string // PEM, who signs etcd's certificate; default the system's

	Failed func() // if not nil, called by Follow whenever it does not reach etcd

	ResyncEvery time.Duration // how often Follow reads everything without cause, give or take a quarter; default 10m
	AskEvery    time.Duration // how often Follow asks etcd where it stands; it is lost when it does not answer three times; default 5s
	LeaseTTL    time.Duration // of a mirror's lease, whole seconds; default 30s

	connect func(ctx context.Context, hostport string) (net.Conn, error) // in place of TCP, of a test
}

const (
	defaultResync   = 10 * time.Minute
	defaultAsk      = 5 * time.Second
	defaultLeaseTTL = 30 * time.Second
)

// complete fills in the defaults and says what is wrong, naming the option as configuration files
// have it.
func (c *Config) complete() error {
	if c.ResyncEvery == 0 {
		c.ResyncEvery = defaultResync
	}
	if c.AskEvery == 0 {
		c.AskEvery = defaultAsk
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = defaultLeaseTTL
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return err
	}
	if err := c.checkEndpoints(); err != nil {
		return err
	}
	switch {
	case c.Username == "" && c.Password != "":
		return errors.New("etcd.username: missing, though etcd.password is set")
	case c.Username != "" && c.Password == "":
		return errors.New("etcd.password: missing, though etcd.username is set")
	case c.CertFile == "" && c.KeyFile != "":
		return errors.New("etcd.cert_file: missing, though etcd.key_file is set")
	case c.CertFile != "" && c.KeyFile == "":
		return errors.New("etcd.key_file: missing, though etcd.cert_file is set")
	}
	return nil
}

func checkPrefix(p string) error {
	if len(p) < 2 || p[0] != '/' || p[len(p)-1] == '/' {
		return fmt.Errorf("etcd.prefix: %q must begin with a slash and not end in one, such as \"/gslb\"", p)
	}
	return nil
}

// tlsFile is the first option that only makes sense over TLS, "" if none is set.
func (c *Config) tlsFile() string {
	switch {
	case c.CAFile != "":
		return "etcd.ca_file"
	case c.CertFile != "":
		return "etcd.cert_file"
	}
	return ""
}

// checkEndpoints holds what the client does not look at: it takes the first endpoint's word on TLS
// for all, and forgets the certificates where that begins with http.
func (c *Config) checkEndpoints() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcd.endpoints: none given, expected host:port of at least one etcd")
	}
	for _, e := range c.Endpoints {
		scheme, hostport, ok := strings.Cut(e, "://")
		if !ok {
			scheme, hostport = "", e
		}
		host, port, err := net.SplitHostPort(hostport)
		n, errPort := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || errPort != nil || n == 0 || ok && scheme != "http" && scheme != "https" {
			return fmt.Errorf("etcd.endpoints: %q is not host:port, http://host:port or https://host:port", e)
		}
		if scheme == "http" && c.tlsFile() != "" {
			return fmt.Errorf("etcd.endpoints: %q is without TLS, though %s is set; write https://%s", e, c.tlsFile(), hostport)
		}
		if (scheme == "https") != strings.HasPrefix(c.Endpoints[0], "https://") && c.tlsFile() == "" {
			return fmt.Errorf("etcd.endpoints: %q and %q: either all are https:// or none is", c.Endpoints[0], e)
		}
	}
	return nil
}

// tls is the configuration of the client's side, nil without TLS.
func (c *Config) tls() (*tls.Config, error) {
	if c.tlsFile() == "" && !strings.HasPrefix(c.Endpoints[0], "https://") {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd.ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		if _, err := c.keyPair(); err != nil {
			return nil, err
		}
		// Read at each handshake, so that a certificate renewed needs no restart.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.keyPair() }
	}
	return t, nil
}

func (c *Config) keyPair() (*tls.Certificate, error) {
	cert, err := os.ReadFile(c.CertFile)
	if err != nil {
		return nil, fmt.Errorf("etcd.cert_file: %w", err)
	}
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("etcd.key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("etcd.cert_file: %s and etcd.key_file %s: %w", c.CertFile, c.KeyFile, err)
	}
	return &pair, nil
}
