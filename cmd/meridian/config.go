package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"meridian/health/check"
	"meridian/server"
	"meridian/spec"
)

// Config is what the process is told from outside. What each option means stands in options.
type Config struct {
	ServerName string
	Site       string // "" = none
	DataDir    string

	ImageInterval time.Duration // at least, between two disk images
	DNS           DNSConfig
	HTTPListen    string // host:port; "" = none, of a checker
	Geo           GeoConfig
	Checker       CheckerConfig
	Etcd          EtcdConfig
	Log           LogConfig
}

// DNSConfig is what is said under dns.
type DNSConfig struct {
	Listen          []string // host:port; the host is an IP address, "localhost" or ""
	Workers         int
	TCPMax          int
	TCPMaxPerClient int
	TCPIdle         time.Duration
	NSID            string // "" = not told
	Version         string // "" = not told
}

// GeoConfig is what is said under geo.
type GeoConfig struct {
	Databases []string // paths, the one that counts first first
	Interval  time.Duration
}

// CheckerConfig is what is said under checker.
type CheckerConfig struct {
	Enabled     bool // of serve
	ID          string
	Allow, Deny []netip.Prefix
	ExecDir     string           // "" = no commands are run
	Sentinels   []netip.AddrPort // by TCP, those without a port by ICMP
}

// looks is how checks are made, by a server that keeps the registry itself or by another process.
func (c *Config) looks(embedded bool, log *slog.Logger) check.Config {
	return check.Config{Networks: c.networks(embedded), ExecDir: c.Checker.ExecDir, Log: log}
}

// networks are those that checks may touch. What is on this host may be checked for a registry that is
// embedded here, too, and that nobody else writes.
func (c *Config) networks(embedded bool) check.Networks {
	allow := c.Checker.Allow
	if embedded {
		allow = slices.Concat(allow, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	}
	return check.NewNetworks(allow, c.Checker.Deny)
}

// EtcdConfig is what is said under etcd: all that a client of the registry needs.
type EtcdConfig struct {
	Endpoints []string // host:port, http://host:port or https://host:port; none = embedded
	Listen    string   // host:port
	Prefix    string   // with a leading slash and no trailing one
	Username  string
	Password  string
	CertFile  string
	KeyFile   string
	CAFile    string
}

// Dial is where a client of the registry connects: the endpoints, or else the embedded etcd of
// the server beside it.
func (e EtcdConfig) Dial() []string {
	if len(e.Endpoints) == 0 {
		return []string{e.Listen}
	}
	return e.Endpoints
}

// LogConfig is what is said under log.
type LogConfig struct {
	Level  slog.Level
	Format string // "text" or "json"
}

// option is one thing that can be configured. Its flag and its environment variable are spelt
// after its key.
type option struct {
	key string // as in the file: "dns.listen"
	def string // "" where it is nothing, or only known when the process starts
	value
	doc string
}

// options is the one place that says what can be configured; each option writes into c.
//
// The data directory is that of a service (FHS, /var/lib), not one below the directory the
// process happens to be started in: started elsewhere, a server would come up with an empty
// registry.
func (c *Config) options() []option {
	return []option{
		{"dns.listen", ":53", list("host:port", &c.DNS.Listen, checkDNSListen),
			"addresses that answer DNS over UDP and TCP; without host, all addresses"},
		{"dns.workers", "", number(&c.DNS.Workers, 1, 1024),
			"sockets per UDP address, each with a worker of its own (default one per CPU)"},
		{"dns.tcp_max", "1000", number(&c.DNS.TCPMax, 1, 1_000_000),
			"TCP connections open at once"},
		{"dns.tcp_max_per_client", "100", number(&c.DNS.TCPMaxPerClient, 1, 1_000_000),
			"of these, how many one IPv4 address or IPv6 /64 may have"},
		{"dns.tcp_idle", "10s", duration(&c.DNS.TCPIdle, 100*time.Millisecond, time.Hour),
			"how long a TCP connection may stay without a query"},
		{"dns.nsid", "", text("text", &c.DNS.NSID, checkIdentity),
			"who answers, told to those who ask (NSID, id.server); none tells nobody (default the server's name)"},
		{"dns.version", none, text("text", &c.DNS.Version, checkIdentity),
			"what answers, told to those who ask (version.server); none tells nobody"},
		{"http.listen", "127.0.0.1:8053", text("host:port", &c.HTTPListen, checkListen),
			"address of explain, metrics and readiness over HTTP"},
		{"geo.databases", "", files("geo-database", &c.Geo.Databases),
			"MMDB files that say where clients are; of several that know the same the first counts (default none)"},
		{"geo.interval", "2s", duration(&c.Geo.Interval, 100*time.Millisecond, time.Hour),
			"how often the MMDB files are looked at; one that has changed is read when it has stood still for as long"},
		{"checker.allow", "", networks(&c.Checker.Allow),
			"networks that checks may touch; loopback, link-local and multicast are denied unless they are here (default the loopback, of a server on its embedded etcd)"},
		{"checker.deny", "", networks(&c.Checker.Deny),
			"networks that checks must not touch; of all that cover an address the longest network decides (default none)"},
		{"checker.exec_dir", "", text("directory", &c.Checker.ExecDir, checkDir),
			"directory of the commands that exec checks may run (default none: they are not run)"},
		{"data_dir", "/var/lib/meridian", text("directory", &c.DataDir, checkSaid),
			"directory of what must outlive the process"},
		{"image_interval", "10s", duration(&c.ImageInterval, 100*time.Millisecond, time.Hour),
			"how often at most the disk image of what is served is written, into the data directory"},
		{"checker.enabled", "true", boolean(&c.Checker.Enabled),
			"whether the server checks the members itself, beside what checkers report"},
		{"checker.sentinels", "", sentinelList(&c.Checker.Sentinels),
			"addresses that always answer, by TCP or, without a port, by ICMP: while none of a family does, no member of it is said to be down (default none)"},
		{"checker.id", "", named("id", text("name", &c.Checker.ID, checkCheckerID)),
			"name of this checker among all checkers (default the host name)"},
		{"etcd.endpoints", "", list("endpoint", &c.Etcd.Endpoints, checkEndpoint),
			"etcd that holds the registry (default the embedded one of a server, in its data directory)"},
		{"etcd.listen", "127.0.0.1:2379", text("host:port", &c.Etcd.Listen, checkEtcdListen),
			"client address of the embedded etcd"},
		{"etcd.prefix", "/gslb", text("prefix", &c.Etcd.Prefix, checkPrefix),
			"where the registry's keys begin; what processes write begins with it and -live"},
		{"etcd.username", "", secret(&c.Etcd.Username),
			"user at etcd"},
		{"etcd.password", "", secret(&c.Etcd.Password),
			"that user's password"},
		{"etcd.cert_file", "", text("file", &c.Etcd.CertFile, nil),
			"client certificate (PEM) shown to etcd"},
		{"etcd.key_file", "", text("file", &c.Etcd.KeyFile, nil),
			"key (PEM) of the client certificate"},
		{"etcd.ca_file", "", text("file", &c.Etcd.CAFile, nil),
			"certificates (PEM) that sign etcd's (default the system's)"},
		{"site", "", text("site", &c.Site, checkSite),
			"site where this server and its checker stand (default none)"},
		{"server_name", "", text("name", &c.ServerName, checkServerName),
			"name of this server among all servers (default the host name)"},
		{"log.level", "info", level(&c.Log.Level),
			"what is logged: debug, info, warn or error, each with all that is graver"},
		{"log.format", "text", text("format", &c.Log.Format, checkLogFormat),
			"how it is logged: text or json"},
	}
}

// complete fills in the defaults that depend on the machine and checks what concerns several
// options.
func (c *Config) complete() error {
	if c.DNS.Workers == 0 {
		c.DNS.Workers = runtime.GOMAXPROCS(0) // minds the CPU limit of a container
	}
	for _, name := range []struct {
		key   string
		field *string
	}{{"server_name", &c.ServerName}, {"checker.id", &c.Checker.ID}} {
		if *name.field == "" {
			host, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("%s: not said, and the host name is not known: %w", name.key, err)
			}
			*name.field = nameOfHost(host)
		}
	}
	if c.DNS.NSID == "" {
		c.DNS.NSID = c.ServerName
		if err := checkIdentity(c.DNS.NSID); err != nil {
			return fmt.Errorf("dns.nsid: not said, and the server's name %w", err)
		}
	}
	for _, s := range []*string{&c.DNS.NSID, &c.DNS.Version} {
		if *s == none {
			*s = ""
		}
	}
	e := c.Etcd
	switch {
	case (e.CertFile == "") != (e.KeyFile == ""):
		return errors.New("etcd.cert_file and etcd.key_file: one is set without the other")
	case e.Password != "" && e.Username == "":
		return errors.New("etcd.password: set without etcd.username")
	case e.CertFile+e.CAFile != "" && len(e.Endpoints) == 0:
		return errors.New("etcd.cert_file, etcd.key_file, etcd.ca_file: set without etcd.endpoints; the embedded etcd speaks no TLS")
	}
	return nil
}

// none is a word of its own, since an empty environment variable says nothing.
const none = "none"

func checkIdentity(s string) error {
	switch {
	case s == "":
		return errors.New("is empty, expected a text or none")
	case len(s) > server.MaxIdentity:
		return fmt.Errorf("has %d bytes, expected at most %d", len(s), server.MaxIdentity)
	}
	return nil
}

// nameOfHost turns a host name into the form of a server's name.
func nameOfHost(host string) string {
	return regexp.MustCompile(`[^a-z0-9.-]`).ReplaceAllString(strings.ToLower(host), "-")
}

const envPrefix = "MERIDIAN_"

func (o option) flag() string {
	if o.flagName != "" {
		return o.flagName
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(o.key)
}

func (o option) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.key, ".", "_"))
}

// addServeFlags adds the flags of all options of a server, and --config.
func addServeFlags(flags *pflag.FlagSet) {
	addFlags(flags, ofServe)
}

// addCheckerFlags adds the flags of all options of a checker, and --config.
func addCheckerFlags(flags *pflag.FlagSet) {
	addFlags(flags, ofChecker)
	flags.Lookup("http-listen").DefValue = "" // a server beside it may have the usual one
}

// ofServe says whether an option is one of a server's.
func ofServe(key string) bool { return key != "checker.id" }

// ofChecker says whether an option is one of a checker's.
func ofChecker(key string) bool {
	return strings.HasPrefix(key, "checker.") && key != "checker.enabled" || strings.HasPrefix(key, "etcd.") && key != "etcd.listen" ||
		strings.HasPrefix(key, "log.") || key == "site" || key == "http.listen"
}

// addEtcdFlags adds the flags of a client of the registry, and --config.
func addEtcdFlags(flags *pflag.FlagSet) {
	addFlags(flags, func(key string) bool {
		return strings.HasPrefix(key, "etcd.") && key != "etcd.listen"
	})
}

func addFlags(flags *pflag.FlagSet, want func(key string) bool) {
	for _, o := range new(Config).options() {
		if want(o.key) && !o.secret {
			flags.Var(&flagText{text: o.def, value: o.value}, o.flag(), o.doc)
		}
	}
	flags.String("config", "", "`file` of options (.yaml, .json or .toml; default none)")
}

// flagText is a flag's value as it was typed; loadConfig decodes it, as it does those of the
// environment and the file.
type flagText struct {
	text  string
	typed bool
	value
}

func (f *flagText) String() string { return f.text }
func (f *flagText) Type() string   { return f.form }

// Set takes a list that is spread over several flags of one name, too.
func (f *flagText) Set(s string) error {
	if f.many && f.typed {
		s = f.text + "," + s
	}
	f.text, f.typed = s, true
	return nil
}

// configReference describes the options that have a flag, or may not have one, for people.
func configReference(flags *pflag.FlagSet) string {
	var b strings.Builder
	for _, o := range new(Config).options() {
		f := flags.Lookup(o.flag())
		if f == nil && !o.secret {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n    %s", o.key, o.form, o.doc)
		if f != nil && f.DefValue != "" {
			fmt.Fprintf(&b, " (default %s)", f.DefValue)
		}
		if o.secret {
			fmt.Fprintf(&b, "\n    environment %s, no flag\n", o.env())
		} else {
			fmt.Fprintf(&b, "\n    flag --%s, environment %s\n", o.flag(), o.env())
		}
	}
	return b.String()
}

// loadConfig makes the Config out of flags, environment (as of os.Environ), file and defaults;
// the first of these that says anything of an option decides. An empty environment variable
// says nothing. flags may lack any of the options. All faults found are in the error, one a
// line, each with the flag, the variable or the file and key it is in.
func loadConfig(flags *pflag.FlagSet, environ []string) (Config, error) {
	var c Config
	options := c.options()
	env, errs := readEnv(environ, options)
	path, from := configPath(flags, env)
	file, fileErrs := readFile(path, from, options)
	errs = append(errs, fileErrs...)
	for _, o := range options {
		raw, from := o.find(flags, env, file)
		if raw == nil {
			continue
		}
		if err := o.set(raw); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", from, err))
		}
	}
	if len(errs) == 0 {
		if err := c.complete(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	return c, nil
}

func configPath(flags *pflag.FlagSet, env map[string]string) (path, from string) {
	if f := flags.Lookup("config"); f != nil && f.Changed {
		return f.Value.String(), "--config"
	}
	return env[envPrefix+"CONFIG"], envPrefix + "CONFIG"
}

// find returns what was said of o, and where. Nothing said and no default is nil.
func (o option) find(flags *pflag.FlagSet, env map[string]string, file configFile) (raw any, from string) {
	if f := flags.Lookup(o.flag()); f != nil && f.Changed {
		return words(f.Value.String()), "--" + f.Name
	}
	if s := env[o.env()]; s != "" {
		return words(s), o.env()
	}
	if v := file.Get(o.key); v != nil {
		return v, file.at(o.key)
	}
	def := o.def
	if f := flags.Lookup(o.flag()); f != nil {
		def = f.DefValue
	}
	if def != "" {
		return words(def), "default of " + o.key
	}
	return nil, ""
}

// serviceLink is what Kubernetes puts into the environment of every container for a Service
// whose name begins with "meridian".
var serviceLink = regexp.MustCompile(`^MERIDIAN_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=|PORT=\w+://|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// readEnv picks the variables that are ours. One that no option has is an error.
func readEnv(environ []string, options []option) (env map[string]string, errs []error) {
	known := []string{envPrefix + "CONFIG"}
	for _, o := range options {
		known = append(known, o.env())
	}
	env = make(map[string]string)
	for _, v := range slices.Sorted(slices.Values(environ)) {
		name, val, _ := strings.Cut(v, "=")
		switch {
		case slices.Contains(known, name):
			env[name] = val
		case strings.HasPrefix(name, envPrefix) && !serviceLink.MatchString(v):
			errs = append(errs, fmt.Errorf("unknown environment variable %s%s", name, spec.Suggest(name, known)))
		}
	}
	return env, errs
}

// configFile is a file of options, decoded; without file, it is empty.
type configFile struct {
	*viper.Viper
	path string
	text []byte
}

// readFile reads the file at path, whose ending says its format; from is who named it. A key
// that no option has is an error, the others can be used all the same.
func readFile(path, from string, options []option) (configFile, []error) {
	file := configFile{Viper: viper.New(), path: path}
	if path == "" {
		return file, nil
	}
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	if !slices.Contains([]string{"yaml", "yml", "json", "toml"}, format) {
		return file, []error{fmt.Errorf("%s: %q does not end in .yaml, .yml, .json or .toml", from, path)}
	}
	var err error
	if file.text, err = os.ReadFile(path); err != nil {
		return file, []error{fmt.Errorf("%s: %w", from, err)}
	}
	if format == "json" { // viper's decoder takes the last of two equal keys
		var all any
		err := json.Unmarshal(file.text, &all)
		if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return file, []error{fmt.Errorf("%s:%d: %w", path, file.line(int(syntax.ByteOffset)), err)}
		}
	}
	file.SetConfigType(format)
	if err := file.ReadConfig(bytes.NewReader(file.text)); err != nil {
		if parse, ok := errors.AsType[viper.ConfigParseError](err); ok {
			err = parse.Unwrap()
		}
		return file, []error{fmt.Errorf("%s: %w", path, err)}
	}
	return file, file.unknownKeys(options)
}

func (f configFile) unknownKeys(options []option) (errs []error) {
	var known []string
	for _, o := range options {
		known = append(known, o.key)
	}
	within := func(key, section string) bool { return strings.HasPrefix(key, section+".") }
	for _, key := range slices.Sorted(slices.Values(f.AllKeys())) {
		switch {
		case slices.Contains(known, key),
			// A section where a value should be: decoding the value says so.
			slices.ContainsFunc(known, func(k string) bool { return within(key, k) }):
		case slices.ContainsFunc(known, func(k string) bool { return within(k, key) }):
			if v := f.Get(key); v != nil {
				errs = append(errs, fmt.Errorf("%s: expected a section, found %s", f.at(key), kindOf(v)))
			}
		default:
			errs = append(errs, fmt.Errorf("%s: unknown key%s", f.at(key), spec.Suggest(key, known)))
		}
	}
	return errs
}

// at names the place of key as file:line: key. The line is left out where the text does not
// tell it for certain: the formats' decoders do not keep it.
func (f configFile) at(key string) string {
	last := key[strings.LastIndexByte(key, '.')+1:]
	found := regexp.MustCompile(`(?im)(?:^|[\s{,."'])(`+regexp.QuoteMeta(last)+`)["']?\s*[:=]`).
		FindAllSubmatchIndex(f.text, -1)
	if len(found) != 1 {
		return f.path + ": " + key
	}
	return fmt.Sprintf("%s:%d: %s", f.path, f.line(found[0][2]), key)
}

// line is the number, from 1, of the line that the byte at offset is on.
func (f configFile) line(offset int) int {
	return 1 + bytes.Count(f.text[:offset], []byte("\n"))
}
