package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	text := filepath.Join(dir, "text.pem")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"127.0.0.1:2379"}
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // DIR stands for dir
	}{
		{"no prefix", Config{Endpoints: one}, `etcd.prefix: "" must begin with a slash and not end in one, such as "/gslb"`},
		{"prefix without slash", Config{Endpoints: one, Prefix: "gslb"}, `etcd.prefix: "gslb" must begin with a slash and not end in one, such as "/gslb"`},
		{"prefix with two", Config{Endpoints: one, Prefix: "/gslb/"}, `etcd.prefix: "/gslb/" must begin with a slash and not end in one, such as "/gslb"`},
		{"prefix of all", Config{Endpoints: one, Prefix: "/"}, `etcd.prefix: "/" must begin with a slash and not end in one, such as "/gslb"`},
		{"no endpoint", Config{Prefix: "/gslb"}, `etcd.endpoints: none given, expected host:port of at least one etcd`},
		{"no port", Config{Endpoints: []string{"etcd1"}, Prefix: "/gslb"}, `etcd.endpoints: "etcd1" is not host:port, http://host:port or https://host:port`},
		{"no host", Config{Endpoints: []string{":2379"}, Prefix: "/gslb"}, `etcd.endpoints: ":2379" is not host:port, http://host:port or https://host:port`},
		{"a path", Config{Endpoints: []string{"http://etcd1:2379/v3"}, Prefix: "/gslb"}, `etcd.endpoints: "http://etcd1:2379/v3" is not host:port, http://host:port or https://host:port`},
		{"a port too high", Config{Endpoints: []string{"etcd1:65536"}, Prefix: "/gslb"}, `etcd.endpoints: "etcd1:65536" is not host:port, http://host:port or https://host:port`},
		{"another scheme", Config{Endpoints: []string{"ftp://etcd1:21"}, Prefix: "/gslb"}, `etcd.endpoints: "ftp://etcd1:21" is not host:port, http://host:port or https://host:port`},
		{"TLS and none", Config{Endpoints: []string{"https://a:1", "b:1"}, Prefix: "/gslb"}, `etcd.endpoints: "https://a:1" and "b:1": either all are https:// or none is`},
		{"TLS files for plain text", Config{Endpoints: []string{"http://a:1"}, Prefix: "/gslb", CAFile: cert}, `etcd.endpoints: "http://a:1" is without TLS, though etcd.ca_file is set; write https://a:1`},
		{"password alone", Config{Endpoints: one, Prefix: "/gslb", Password: "x"}, `etcd.username: missing, though etcd.password is set`},
		{"user alone", Config{Endpoints: one, Prefix: "/gslb", Username: "x"}, `etcd.password: missing, though etcd.username is set`},
		{"key alone", Config{Endpoints: one, Prefix: "/gslb", KeyFile: key}, `etcd.cert_file: missing, though etcd.key_file is set`},
		{"certificate alone", Config{Endpoints: one, Prefix: "/gslb", CertFile: cert}, `etcd.key_file: missing, though etcd.cert_file is set`},
		{"no such CA", Config{Endpoints: one, Prefix: "/gslb", CAFile: dir + "/none"}, `etcd.ca_file: open DIR/none: no such file or directory`},
		{"a CA that is none", Config{Endpoints: one, Prefix: "/gslb", CAFile: text}, `etcd.ca_file: DIR/text.pem holds no certificate in PEM`},
		{"no such certificate", Config{Endpoints: one, Prefix: "/gslb", CertFile: dir + "/none", KeyFile: key}, `etcd.cert_file: open DIR/none: no such file or directory`},
		{"no such key", Config{Endpoints: one, Prefix: "/gslb", CertFile: cert, KeyFile: dir + "/none"}, `etcd.key_file: open DIR/none: no such file or directory`},
		{"a key that is none", Config{Endpoints: one, Prefix: "/gslb", CertFile: cert, KeyFile: text}, `etcd.cert_file: DIR/cert.pem and etcd.key_file DIR/text.pem: tls: failed to find any PEM data in key input`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open(context.Background(), tt.cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				r.Close()
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)

	plain := Config{Endpoints: []string{"a:1"}}
	if got, err := plain.tls(); got != nil || err != nil {
		t.Errorf("without https and files: %v, %v", got, err)
	}
	system := Config{Endpoints: []string{"https://a:1"}}
	if got, err := system.tls(); err != nil || got == nil || got.RootCAs != nil {
		t.Errorf("https without files: %v, %v, expected the system's authorities", got, err)
	}
	all := Config{Endpoints: []string{"a:1"}, CAFile: cert, CertFile: cert, KeyFile: key}
	got, err := all.tls()
	if err != nil {
		t.Fatal(err)
	}
	if got.RootCAs == nil {
		t.Error("etcd.ca_file is not used")
	}
	for serial := int64(2); serial < 4; serial++ { // renewed while we run
		writePair(t, cert, key, serial)
		shown, err := got.GetClientCertificate(&tls.CertificateRequestInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if shown.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("certificate shown is %v, expected %v", shown.Leaf.SerialNumber, serial)
		}
	}
}

// writePair writes a certificate that has signed itself, and its key.
func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
