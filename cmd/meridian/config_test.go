package main

import (
	"cmp"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"meridian/health/check"
)

// load is loadConfig with serve's flags, told args and environ, and of file, where it has text,
// as --config. In the error, FILE stands for the file's path.
func load(t *testing.T, fileName, text string, environ, args []string) (Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), fileName)
	if text != "" {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addServeFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(flags, environ)
	if err != nil {
		if !reflect.ValueOf(c).IsZero() {
			t.Errorf("with an error, Config is %+v, expected none", c)
		}
		return c, strings.ReplaceAll(err.Error(), path, "FILE")
	}
	return c, ""
}

func TestConfigDefaults(t *testing.T) {
	c, err := load(t, "", "", nil, nil)
	if err != "" {
		t.Fatal(err)
	}
	if c.DNS.Workers < 1 || c.ServerName == "" || c.DNS.NSID != c.ServerName {
		t.Errorf("workers %d, server name %q, NSID %q: expected all known", c.DNS.Workers, c.ServerName, c.DNS.NSID)
	}
	c.DNS.Workers, c.ServerName, c.DNS.NSID, c.Checker.ID = 0, "", "", ""
	want := Config{
		DataDir: "/var/lib/meridian",

		ImageInterval: 10 * time.Second,
		DNS:           DNSConfig{Listen: []string{":53"}, TCPMax: 1000, TCPMaxPerClient: 100, TCPIdle: 10 * time.Second},
		HTTPListen:    "127.0.0.1:8053",
		Geo:           GeoConfig{Interval: 2 * time.Second},
		Checker:       CheckerConfig{Enabled: true},
		Etcd:          EtcdConfig{Listen: "127.0.0.1:2379", Prefix: "/gslb"},
		Log:           LogConfig{Level: slog.LevelInfo, Format: "text"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// everything sets each option to something that is not its default.
var everything = Config{
	ServerName: "ns1.example.net",
	Site:       "fra",
	DataDir:    "/tmp/m",

	ImageInterval: 2 * time.Second,
	DNS: DNSConfig{
		Listen: []string{"192.0.2.1:53", "[2001:db8::1]:53"}, Workers: 3, TCPMax: 7, TCPMaxPerClient: 5,
		TCPIdle: 1500 * time.Millisecond, NSID: "fra, 1", Version: "9.9",
	},
	HTTPListen: "localhost:80",
	Geo:        GeoConfig{Databases: []string{"/geo/city.mmdb", "asn.mmdb"}, Interval: time.Minute},
	Checker:    CheckerConfig{ID: "fra-1", Sentinels: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:53"), netip.MustParseAddrPort("[2620:fe::fe]:53"), netip.AddrPortFrom(netip.MustParseAddr("1.1.1.1"), 0)}},
	Etcd: EtcdConfig{
		Endpoints: []string{"10.0.0.1:2379", "https://etcd1.example.net:2379"},
		Listen:    "[::1]:1", Prefix: "/a/b", Username: "me", Password: "a,b: c",
		CertFile: "c.pem", KeyFile: "k.pem", CAFile: "ca.pem",
	},
	Log: LogConfig{Level: slog.LevelWarn, Format: "json"},
}

func TestConfigSources(t *testing.T) {
	const yaml = `
server_name: ns1.example.net
site: fra
data_dir: /tmp/m
image_interval: 2s
dns:
  listen: ["192.0.2.1:53", "[2001:db8::1]:53"]
  workers: 3
  tcp_max: 7
  tcp_max_per_client: 5
  tcp_idle: 1.5s
  nsid: fra, 1
  version: "9.9"
http:
  listen: localhost:80
geo:
  databases: [/geo/city.mmdb, asn.mmdb]
  interval: 1m
checker:
  enabled: false
  id: fra-1
  sentinels: ["9.9.9.9:53", "[2620:fe::fe]:53", 1.1.1.1]
etcd:
  endpoints: 10.0.0.1:2379, https://etcd1.example.net:2379
  listen: "[::1]:1"
  prefix: /a/b
  username: me
  password: "a,b: c"
  cert_file: c.pem
  key_file: k.pem
  ca_file: ca.pem
log:
  level: warn
  format: json
`
	const json = `{"server_name":"ns1.example.net","site":"fra","data_dir":"/tmp/m","image_interval":"2s",
"dns":{"listen":["192.0.2.1:53","[2001:db8::1]:53"],"workers":3,"tcp_max":7,"tcp_max_per_client":5,"tcp_idle":"1.5s",
"nsid":"fra, 1","version":"9.9"},
"http":{"listen":"localhost:80"},"geo":{"databases":["/geo/city.mmdb","asn.mmdb"],"interval":"1m"},
"checker":{"enabled":false,"id":"fra-1","sentinels":["9.9.9.9:53","[2620:fe::fe]:53","1.1.1.1"]},
"etcd":{"endpoints":["10.0.0.1:2379","https://etcd1.example.net:2379"],"listen":"[::1]:1","prefix":"/a/b",
"username":"me","password":"a,b: c","cert_file":"c.pem","key_file":"k.pem","ca_file":"ca.pem"},
"log":{"level":"warn","format":"json"}}`
	const toml = `
server_name = "ns1.example.net"
site = "fra"
data_dir = "/tmp/m"
image_interval = "2s"
dns.listen = ["192.0.2.1:53", "[2001:db8::1]:53"]
dns.workers = 3
dns.tcp_max = 7
dns.tcp_max_per_client = 5
dns.tcp_idle = "1.5s"
dns.nsid = "fra, 1"
dns.version = "9.9"
http.listen = "localhost:80"
geo.databases = ["/geo/city.mmdb", "asn.mmdb"]
geo.interval = "1m"
checker.enabled = false
checker.id = "fra-1"
checker.sentinels = ["9.9.9.9:53", "[2620:fe::fe]:53", "1.1.1.1"]
[etcd]
endpoints = ["10.0.0.1:2379", "https://etcd1.example.net:2379"]
listen = "[::1]:1"
prefix = "/a/b"
username = "me"
password = "a,b: c"
cert_file = "c.pem"
key_file = "k.pem"
ca_file = "ca.pem"
[log]
level = "warn"
format = "json"
`
	secrets := []string{"MERIDIAN_CHECKER_ID=fra-1", // it has a flag of meridian checker alone
		"MERIDIAN_ETCD_USERNAME=me", "MERIDIAN_ETCD_PASSWORD=a,b: c"}
	environ := append([]string{
		"MERIDIAN_SERVER_NAME=ns1.example.net", "MERIDIAN_SITE=fra", "MERIDIAN_DATA_DIR=/tmp/m", "MERIDIAN_IMAGE_INTERVAL=2s",
		"MERIDIAN_DNS_LISTEN=192.0.2.1:53, [2001:db8::1]:53", "MERIDIAN_DNS_WORKERS=3", "MERIDIAN_DNS_TCP_MAX=7",
		"MERIDIAN_DNS_TCP_MAX_PER_CLIENT=5", "MERIDIAN_DNS_TCP_IDLE=1.5s", "MERIDIAN_DNS_NSID=fra, 1",
		"MERIDIAN_DNS_VERSION=9.9", "MERIDIAN_HTTP_LISTEN=localhost:80",
		"MERIDIAN_GEO_DATABASES=/geo/city.mmdb, asn.mmdb", "MERIDIAN_GEO_INTERVAL=1m",
		"MERIDIAN_CHECKER_ENABLED=false", "MERIDIAN_CHECKER_SENTINELS=9.9.9.9:53,[2620:fe::fe]:53,1.1.1.1",
		"MERIDIAN_ETCD_ENDPOINTS=10.0.0.1:2379,https://etcd1.example.net:2379", "MERIDIAN_ETCD_LISTEN=[::1]:1",
		"MERIDIAN_ETCD_PREFIX=/a/b", "MERIDIAN_ETCD_CERT_FILE=c.pem", "MERIDIAN_ETCD_KEY_FILE=k.pem",
		"MERIDIAN_ETCD_CA_FILE=ca.pem", "MERIDIAN_LOG_LEVEL=warn", "MERIDIAN_LOG_FORMAT=json",
	}, secrets...)
	args := []string{
		"--server-name=ns1.example.net", "--site=fra", "--data-dir=/tmp/m", "--image-interval=2s",
		"--dns-listen=192.0.2.1:53", "--dns-listen=[2001:db8::1]:53", "--dns-workers=3", "--dns-tcp-max=7",
		"--dns-tcp-max-per-client=5", "--dns-tcp-idle=1.5s", "--dns-nsid=fra, 1", "--dns-version=9.9",
		"--http-listen=localhost:80",
		"--geo-database=/geo/city.mmdb", "--geo-database=asn.mmdb", "--geo-interval=1m",
		"--checker-enabled=false", "--checker-sentinel=9.9.9.9:53", "--checker-sentinel=[2620:fe::fe]:53", "--checker-sentinel=1.1.1.1",
		"--etcd-endpoints=10.0.0.1:2379,https://etcd1.example.net:2379", "--etcd-listen=[::1]:1",
		"--etcd-prefix=/a/b", "--etcd-cert-file=c.pem", "--etcd-key-file=k.pem", "--etcd-ca-file=ca.pem",
		"--log-level=warn", "--log-format=json",
	}
	for _, tc := range []struct {
		name, file, text string
		environ, args    []string
	}{
		{name: "yaml", file: "c.yaml", text: yaml},
		{name: "json", file: "c.json", text: json},
		{name: "toml", file: "c.toml", text: toml},
		{name: "environment", environ: environ},
		{name: "flags", environ: secrets, args: args},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := load(t, tc.file, tc.text, tc.environ, tc.args)
			if err != "" {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(c, everything) {
				t.Errorf("got  %+v\nwant %+v", c, everything)
			}
		})
	}
}

func TestConfigPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name, file    string
		environ, args []string
		want          string
	}{
		{name: "default", want: "/gslb"},
		{name: "file", file: "etcd:\n  prefix: /file", want: "/file"},
		{name: "file says null", file: "etcd:\n  prefix:\nsite: fra", want: "/gslb"},
		{name: "file with an empty section", file: "etcd:\n#  prefix: /file", want: "/gslb"},
		{name: "environment over file", file: "etcd:\n  prefix: /file",
			environ: []string{"MERIDIAN_ETCD_PREFIX=/env"}, want: "/env"},
		{name: "empty variable", file: "etcd:\n  prefix: /file",
			environ: []string{"MERIDIAN_ETCD_PREFIX="}, want: "/file"},
		{name: "flag over environment", file: "etcd:\n  prefix: /file",
			environ: []string{"MERIDIAN_ETCD_PREFIX=/env"}, args: []string{"--etcd-prefix", "/flag"}, want: "/flag"},
		// What decides is right; what it hides is not looked at.
		{name: "flag over a wrong one", environ: []string{"MERIDIAN_ETCD_PREFIX=env"},
			args: []string{"--etcd-prefix", "/flag"}, want: "/flag"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := load(t, "c.yaml", tc.file, tc.environ, tc.args)
			if err != "" {
				t.Fatal(err)
			}
			if c.Etcd.Prefix != tc.want {
				t.Errorf("prefix %s, expected %s", c.Etcd.Prefix, tc.want)
			}
		})
	}
	t.Run("an empty flag empties a list", func(t *testing.T) {
		c, err := load(t, "", "", []string{"MERIDIAN_ETCD_ENDPOINTS=10.0.0.1:2379"}, []string{"--etcd-endpoints", ""})
		if err != "" || len(c.Etcd.Endpoints) != 0 {
			t.Errorf("endpoints %q, error %q", c.Etcd.Endpoints, err)
		}
	})
	t.Run("a site as the registry spells it", func(t *testing.T) {
		if c, err := load(t, "", "", nil, []string{"--site=us_east.1"}); err != "" || c.Site != "us_east.1" {
			t.Errorf("site %q, error %q", c.Site, err)
		}
	})
	t.Run("MERIDIAN_CONFIG", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "c.yml")
		if err := os.WriteFile(path, []byte("site: fra"), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := load(t, "", "", []string{"MERIDIAN_CONFIG=" + path}, nil); err != "" || c.Site != "fra" {
			t.Errorf("site %q, error %q", c.Site, err)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	env := func(v ...string) []string { return v }
	for _, tc := range []struct {
		name, file, text string
		environ, args    []string
		want             string
	}{
		{name: "unknown key", file: "c.yaml", text: "dns:\n  # a comment\n  lsten: ':53'",
			want: `FILE:3: dns.lsten: unknown key (did you mean "dns.listen"?)`},
		{name: "unknown key, json", file: "c.json", text: `{"data_dri": "/x"}`,
			want: `FILE:1: data_dri: unknown key (did you mean "data_dir"?)`},
		{name: "unknown key, toml", file: "c.toml", text: "site = 'fra'\n[etcd]\nprefx = '/x'",
			want: `FILE:3: etcd.prefx: unknown key (did you mean "etcd.prefix"?)`},
		{name: "unknown key like none", file: "c.yaml", text: "colour: blue",
			want: `FILE:1: colour: unknown key`},
		{name: "unknown key whose line is not certain", file: "c.yaml", text: "http:\n  level: x\nlog:\n  level: info",
			want: `FILE: http.level: unknown key (did you mean "http.listen"?)`},
		{name: "value where a section should be", file: "c.yaml", text: "dns: 53",
			want: `FILE:1: dns: expected a section, found a number`},
		{name: "section where a value should be", file: "c.yaml", text: "site:\n  name: fra",
			want: `FILE:1: site: expected text, found a section`},
		{name: "no network", args: []string{"--checker-allow=10.0.0.0/8", "--checker-allow=localhost"},
			want: `--checker-allow: "localhost" is not a network such as 10.0.0.0/8`},
		{name: "network too long", environ: []string{"MERIDIAN_CHECKER_DENY=10.0.0.0/33"},
			want: `MERIDIAN_CHECKER_DENY: "10.0.0.0/33" is not a network such as 10.0.0.0/8`},
		{name: "commands anywhere", args: []string{"--checker-exec-dir=checks"},
			want: `--checker-exec-dir: "checks" is not a path from the root, expected one such as /etc/meridian/checks`},
		{name: "database named twice", args: []string{"--geo-database=a.mmdb", "--geo-database=b.mmdb", "--geo-database=a.mmdb"},
			want: `--geo-database: "a.mmdb" is named twice`},
		{name: "database without a path", environ: env("MERIDIAN_GEO_DATABASES=a.mmdb,"),
			want: `MERIDIAN_GEO_DATABASES: has an empty path`},
		{name: "databases of another type", file: "c.yaml", text: "geo:\n  databases: 1",
			want: `FILE:2: geo.databases: expected a list of texts, found a number`},
		{name: "a database that is a section", file: "c.json", text: `{"geo":{"databases":[{"path":"a.mmdb"}]}}`,
			want: `FILE:1: geo.databases: in the list: expected text, found a section`},
		{name: "singular", file: "c.yaml", text: "geo:\n  database: a.mmdb",
			want: `FILE:2: geo.database: unknown key (did you mean "geo.databases"?)`},
		{name: "interval out of range", args: []string{"--geo-interval=2h"},
			want: `--geo-interval: 2h0m0s is out of range, expected 100ms to 1h0m0s`},
		{name: "sentinel of port 0", args: []string{"--checker-sentinel=9.9.9.9:0"},
			want: `--checker-sentinel: "9.9.9.9:0" is not an address such as "9.9.9.9", nor one with a TCP port such as "9.9.9.9:53" or "[2620:fe::fe]:53"`},
		{name: "sentinel by name", file: "c.yaml", text: "checker:\n  sentinels: [dns.example.net]",
			want: `FILE:2: checker.sentinels: "dns.example.net" is not an address such as "9.9.9.9", nor one with a TCP port such as "9.9.9.9:53" or "[2620:fe::fe]:53"`},
		{name: "sentinel in IPv6 form", args: []string{"--checker-sentinel=::ffff:9.9.9.9"},
			want: `--checker-sentinel: "::ffff:9.9.9.9" is not an address such as "9.9.9.9", nor one with a TCP port such as "9.9.9.9:53" or "[2620:fe::fe]:53"`},
		{name: "sentinel named twice", environ: env("MERIDIAN_CHECKER_SENTINELS=9.9.9.9:53,9.9.9.9:53"),
			want: `MERIDIAN_CHECKER_SENTINELS: 9.9.9.9:53 is named twice`},
		{name: "neither true nor false", args: []string{"--checker-enabled=no"},
			want: `--checker-enabled: "no" is not true or false`},
		{name: "text for true or false", file: "c.yaml", text: "checker:\n  enabled: 'yes'",
			want: `FILE:2: checker.enabled: expected true or false, found text`},
		{name: "id of a checker", environ: env("MERIDIAN_CHECKER_ID=fra/1"),
			want: `MERIDIAN_CHECKER_ID: "fra/1" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends, such as "fra-1"`},
		{name: "number for text", file: "c.yaml", text: "etcd: {password: 1234, username: me}",
			want: `FILE:1: etcd.password: expected text, found a number: put it in quotes`},
		{name: "boolean for text", file: "c.yaml", text: "site: true",
			want: `FILE:1: site: expected text, found true or false: put it in quotes`},
		{name: "date for text", file: "c.toml", text: "site = 2026-11-22",
			want: `FILE:1: site: expected text, found a date or time: put it in quotes`},
		{name: "list for text", file: "c.json", text: `{"site": ["fra"]}`,
			want: `FILE:1: site: expected text, found a list`},
		{name: "number for a list", file: "c.yaml", text: "dns:\n  listen: 53",
			want: `FILE:2: dns.listen: expected a list of texts, found a number`},
		{name: "number in a list", file: "c.yaml", text: "dns:\n  listen: [53]",
			want: `FILE:2: dns.listen: in the list: expected text, found a number: put it in quotes`},
		{name: "text for a number", file: "c.yaml", text: "dns:\n  workers: many",
			want: `FILE:2: dns.workers: expected a number, found text`},
		{name: "fraction", file: "c.json", text: `{"dns": {"workers": 1.5}}`,
			want: `FILE:1: dns.workers: 1.5 is not a whole number from 1 to 1024`},
		{name: "number out of range, yaml", file: "c.yaml", text: "dns:\n  workers: 18446744073709551615",
			want: `FILE:2: dns.workers: 18446744073709551615 is out of range, expected 1 to 1024`},
		{name: "number out of range, json", file: "c.json", text: `{"dns": {"workers": 1e30}}`,
			want: `FILE:1: dns.workers: 1e+30 is out of range, expected 1 to 1024`},
		{name: "number for a duration", file: "c.yaml", text: "dns:\n  tcp_idle: 10",
			want: `FILE:2: dns.tcp_idle: expected a duration such as "10s", found a number`},
		{name: "syntax, yaml", file: "c.yaml", text: "site: fra\ndns: [",
			want: "FILE: yaml: line 2: did not find expected node content"},
		{name: "key twice", file: "c.yaml", text: "site: fra\nsite: ams",
			want: "FILE: yaml: unmarshal errors:\n  line 2: mapping key \"site\" already defined at line 1"},
		{name: "key twice, json", file: "c.json", text: "{\"site\": \"fra\",\n\"site\": \"ams\"}",
			want: `FILE:2: jsontext: duplicate object member name "site"`},
		{name: "key twice, toml", file: "c.toml", text: "site = 'fra'\nsite = 'ams'",
			want: "FILE: toml: key site is already defined"},
		{name: "syntax, json", file: "c.json", text: `{"site": "fra",}`,
			want: `FILE:1: jsontext: invalid character ',' at start of value after offset 14`},
		{name: "unknown format", file: "c.conf", text: "site: fra",
			want: `--config: "FILE" does not end in .yaml, .yml, .json or .toml`},
		{name: "no such file", args: env("--config", "no/such.yaml"),
			want: `--config: open no/such.yaml: no such file or directory`},
		{name: "no such file, environment", environ: env("MERIDIAN_CONFIG=no/such.yaml"),
			want: `MERIDIAN_CONFIG: open no/such.yaml: no such file or directory`},

		{name: "unknown variable", environ: env("MERIDIAN_DNS_LISTN=:53"),
			want: `unknown environment variable MERIDIAN_DNS_LISTN (did you mean "MERIDIAN_DNS_LISTEN"?)`},
		{name: "unknown variable that ends like a Kubernetes one", environ: env("MERIDIAN_HTTP_PORT=8053"),
			want: `unknown environment variable MERIDIAN_HTTP_PORT (did you mean "MERIDIAN_HTTP_LISTEN"?)`},
		{name: "not a number, environment", environ: env("MERIDIAN_DNS_WORKERS=many"),
			want: `MERIDIAN_DNS_WORKERS: "many" is not a whole number from 1 to 1024`},

		{name: "number out of range, flag", args: env("--dns-tcp-max=0"),
			want: `--dns-tcp-max: 0 is out of range, expected 1 to 1000000`},
		{name: "number out of range, flag of one client", args: env("--dns-tcp-max-per-client=0"),
			want: `--dns-tcp-max-per-client: 0 is out of range, expected 1 to 1000000`},
		{name: "empty NSID", args: env("--dns-nsid="),
			want: `--dns-nsid: is empty, expected a text or none`},
		{name: "long version", args: env("--dns-version=" + strings.Repeat("x", 129)),
			want: `--dns-version: has 129 bytes, expected at most 128`},
		{name: "long server name", args: env("--server-name=" + strings.Repeat("x", 129)),
			want: `dns.nsid: not said, and the server's name has 129 bytes, expected at most 128`},
		{name: "not a duration", args: env("--dns-tcp-idle=10"),
			want: `--dns-tcp-idle: "10" is not a duration such as "10s" or "500ms"`},
		{name: "duration out of range", args: env("--dns-tcp-idle=2h"),
			want: `--dns-tcp-idle: 2h0m0s is out of range, expected 100ms to 1h0m0s`},
		{name: "no port", args: env("--dns-listen=127.0.0.1"),
			want: `--dns-listen: "127.0.0.1" is not an address and port such as "127.0.0.1:53", "[::1]:53" or ":53"`},
		{name: "port too high", args: env("--http-listen=127.0.0.1:65536"),
			want: `--http-listen: "127.0.0.1:65536" is not an address and port such as "127.0.0.1:53", "[::1]:53" or ":53"`},
		{name: "name as address", args: env("--http-listen=www.example.com:80"),
			want: `--http-listen: "www.example.com:80" is not an address and port such as "127.0.0.1:53", "[::1]:53" or ":53"`},
		{name: "one wrong of two", args: env("--dns-listen=:53,53"),
			want: `--dns-listen: "53" is not an address and port such as "127.0.0.1:53", "[::1]:53" or ":53"`},
		{name: "nowhere to listen", args: env("--dns-listen="),
			want: `--dns-listen: is empty, expected at least one address and port`},
		{name: "etcd on every address", args: env("--etcd-listen=:2379"),
			want: `--etcd-listen: ":2379" is not an address and port such as "127.0.0.1:2379"`},
		{name: "endpoint without port", args: env("--etcd-endpoints=http://10.0.0.1"),
			want: `--etcd-endpoints: "http://10.0.0.1" is not an endpoint such as "10.0.0.1:2379" or "https://etcd1.example.net:2379"`},
		{name: "endpoint with path", args: env("--etcd-endpoints=http://10.0.0.1:2379/v3"),
			want: `--etcd-endpoints: "http://10.0.0.1:2379/v3" is not an endpoint such as "10.0.0.1:2379" or "https://etcd1.example.net:2379"`},
		{name: "prefix with final slash", args: env("--etcd-prefix=/gslb/"),
			want: `--etcd-prefix: "/gslb/" is not a prefix such as "/gslb": a leading slash, no trailing one, letters, digits and ._- between`},
		{name: "site", args: env("--site=FRA 1"),
			want: `--site: "FRA 1" is not a name: expected 1 to 63 small letters, digits, dots, hyphens and underscores, a letter or digit at both ends`},
		{name: "server name", args: env("--server-name=a/b"),
			want: `--server-name: "a/b" is not a name such as "ns1.example.net": small letters, digits and .- alone`},
		{name: "data directory", args: env("--data-dir="),
			want: `--data-dir: is empty`},
		{name: "level", args: env("--log-level=warning"),
			want: `--log-level: "warning" is not a level, expected debug, info, warn or error`},
		{name: "log format", args: env("--log-format=logfmt"),
			want: `--log-format: "logfmt" is not a format of the log, expected text or json`},

		{name: "certificate without key", args: env("--etcd-cert-file=c.pem", "--etcd-endpoints=e:2379"),
			want: `etcd.cert_file and etcd.key_file: one is set without the other`},
		{name: "password without user", environ: env("MERIDIAN_ETCD_PASSWORD=x"),
			want: `etcd.password: set without etcd.username`},
		{name: "TLS to the embedded etcd", args: env("--etcd-ca-file=ca.pem"),
			want: `etcd.cert_file, etcd.key_file, etcd.ca_file: set without etcd.endpoints; the embedded etcd speaks no TLS`},

		{name: "all at once", file: "c.yaml", text: "colour: blue\netcd:\n  prefix: gslb\n",
			environ: env("MERIDIAN_STIE=fra", "MERIDIAN_LOG_LEVEL=loud"), args: env("--dns-workers=0"),
			want: `unknown environment variable MERIDIAN_STIE (did you mean "MERIDIAN_SITE"?)
FILE:1: colour: unknown key
--dns-workers: 0 is out of range, expected 1 to 1024
FILE:3: etcd.prefix: "gslb" is not a prefix such as "/gslb": a leading slash, no trailing one, letters, digits and ._- between
MERIDIAN_LOG_LEVEL: "loud" is not a level, expected debug, info, warn or error`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := load(t, tc.file, tc.text, tc.environ, tc.args); err != tc.want {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
		})
	}
}

// TestConfigNone: who and what answers can both be kept back, in the environment too.
func TestConfigNone(t *testing.T) {
	c, err := load(t, "", "", []string{"MERIDIAN_DNS_NSID=none"}, []string{"--dns-version=none", "--server-name=ns1"})
	if err != "" || c.DNS.NSID != "" || c.DNS.Version != "" {
		t.Errorf("NSID %q, version %q, error %q", c.DNS.NSID, c.DNS.Version, err)
	}
}

// TestConfigKubernetes starts where Services are named meridian and meridian-dns.
func TestConfigKubernetes(t *testing.T) {
	_, err := load(t, "", "", []string{
		"MERIDIAN_SERVICE_HOST=10.0.0.5", "MERIDIAN_SERVICE_PORT=8053", "MERIDIAN_SERVICE_PORT_HTTP=8053",
		"MERIDIAN_PORT=tcp://10.0.0.5:8053", "MERIDIAN_PORT_8053_TCP=tcp://10.0.0.5:8053",
		"MERIDIAN_PORT_8053_TCP_PROTO=tcp", "MERIDIAN_PORT_8053_TCP_ADDR=10.0.0.5", "MERIDIAN_PORT_8053_TCP_PORT=8053",
		"MERIDIAN_DNS_SERVICE_HOST=10.0.0.6", "MERIDIAN_DNS_PORT=udp://10.0.0.6:53", "MERIDIAN_DNS_PORT_53_UDP=udp://10.0.0.6:53",
	}, nil)
	if err != "" {
		t.Error(err)
	}
}

// TestConfigOptions holds what the table of options promises of each: a flag unless it is a
// secret, a spelling of its own, and a field of Config that it alone sets.
func TestConfigOptions(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addServeFlags(flags)
	ofCheckers := pflag.NewFlagSet("checker", pflag.ContinueOnError)
	addCheckerFlags(ofCheckers)
	reference := configReference(flags) + configReference(ofCheckers)
	var fields func(v reflect.Value) int
	fields = func(v reflect.Value) int {
		if v.Kind() != reflect.Struct {
			return 1
		}
		n := 0
		for _, f := range v.Fields() {
			n += fields(f)
		}
		return n
	}
	options := new(Config).options()
	if n := fields(reflect.ValueOf(Config{})); n != len(options) {
		t.Errorf("%d options, %d fields", len(options), n)
	}
	for _, o := range options {
		if f := cmp.Or(flags.Lookup(o.flag()), ofCheckers.Lookup(o.flag())); (f == nil) != o.secret {
			t.Errorf("%s: flag %v, secret %v", o.key, f, o.secret)
		}
		if !strings.Contains(reference, "\n    "+o.doc) || !strings.Contains(reference, o.env()+"\n") && !o.secret {
			t.Errorf("%s is not in the reference:\n%s", o.key, reference)
		}
	}
	if flags.Lookup("etcd-password") != nil {
		t.Error("the password has a flag")
	}
	usage := flags.FlagUsages()
	if want := "--dns-listen host:port,...       addresses that answer DNS over UDP and TCP; without host, all addresses (default :53)"; !strings.Contains(usage, want) {
		t.Errorf("usage lacks %q:\n%s", want, usage)
	}
}

func TestConfigClient(t *testing.T) {
	flags := pflag.NewFlagSet("apply", pflag.ContinueOnError)
	addEtcdFlags(flags)
	if flags.Lookup("etcd-listen") != nil || flags.Lookup("dns-listen") != nil {
		t.Error("a client has flags of the server")
	}
	for args, want := range map[string]string{
		"":                               "10.0.0.9:1",
		"--etcd-endpoints=a:2379,b:2379": "a:2379 b:2379",
	} {
		if err := flags.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		c, err := loadConfig(flags, []string{"MERIDIAN_ETCD_LISTEN=10.0.0.9:1"})
		if got := strings.Join(c.Etcd.Dial(), " "); err != nil || got != want {
			t.Errorf("%q: connects to %s, expected %s (error %v)", args, got, want, err)
		}
		flags = pflag.NewFlagSet("apply", pflag.ContinueOnError)
		addEtcdFlags(flags)
	}
}

// What checks may touch, flags repeated, and the loopback where the registry is embedded.
func TestCheckerNetworks(t *testing.T) {
	loopback := []string{"127.0.0.0/8", "::1/128"}
	for _, test := range []struct {
		args                []string
		wantAllow, wantDeny []string
	}{
		{nil, loopback, nil},
		{[]string{"--etcd-endpoints=etcd1:2379"}, nil, nil},
		{[]string{"--etcd-endpoints=etcd1:2379", "--checker-allow=127.0.0.0/8", "--checker-allow=fe80::1"}, []string{"127.0.0.0/8", "fe80::1/128"}, nil},
		{[]string{"--checker-deny=10.0.0.0/8,192.0.2.1", "--checker-deny=127.0.0.0/8"}, loopback, []string{"10.0.0.0/8", "192.0.2.1/32", "127.0.0.0/8"}},
	} {
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		addServeFlags(flags)
		if err := flags.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		cfg, err := loadConfig(flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		prefixes := func(texts []string) (list []netip.Prefix) {
			for _, text := range texts {
				list = append(list, netip.MustParsePrefix(text))
			}
			return list
		}
		if got, want := cfg.networks(len(cfg.Etcd.Endpoints) == 0), check.NewNetworks(prefixes(test.wantAllow), prefixes(test.wantDeny)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", test.args, got, want)
		}
	}
}

func TestNameOfHost(t *testing.T) {
	if got := nameOfHost("Web_01.Example.net"); got != "web-01.example.net" {
		t.Error(got)
	}
}
