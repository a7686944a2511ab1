package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"meridian/store"
)

// value decodes what was said of one option into its field of a Config.
type value struct {
	form     string // what help calls it: "host:port"
	many     bool   // a list
	flagName string // where it is not spelt after the key
	secret   bool   // no flag: every user of the machine sees a command line
	set      func(raw any) error
}

// words is a value as text that is still to be decoded: from a flag, the environment or a
// default. Values from a file come with the type that the file gives them.
type words string

func kindOf(raw any) string {
	switch raw.(type) {
	case string, words:
		return "text"
	case bool:
		return "true or false"
	case int, int64, uint64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	}
	return "a date or time"
}

func textOf(raw any) (string, error) {
	switch v := raw.(type) {
	case words:
		return string(v), nil
	case string:
		return v, nil
	case []any, map[string]any:
		return "", fmt.Errorf("expected text, found %s", kindOf(raw))
	}
	return "", fmt.Errorf("expected text, found %s: put it in quotes", kindOf(raw))
}

// text is a text that check, if there is one, finds right.
func text(form string, field *string, check func(string) error) value {
	return value{form: form, set: func(raw any) error {
		s, err := textOf(raw)
		if err == nil && check != nil {
			err = check(s)
		}
		*field = s
		return err
	}}
}

func secret(field *string) value {
	v := text("text", field, nil)
	v.secret = true
	return v
}

// list is a list of texts, or one text with its elements set apart by commas. Empty text is the
// empty list.
func list(form string, field *[]string, check func([]string) error) value {
	return value{form: form + ",...", many: true, set: func(raw any) error {
		var elems []string
		switch v := raw.(type) {
		case []any:
			for _, e := range v {
				s, err := textOf(e)
				if err != nil {
					return fmt.Errorf("in the list: %w", err)
				}
				elems = append(elems, s)
			}
		case string, words:
			s, _ := textOf(v)
			if strings.TrimSpace(s) == "" {
				break
			}
			for e := range strings.SplitSeq(s, ",") {
				elems = append(elems, strings.TrimSpace(e))
			}
		default:
			return fmt.Errorf("expected a list of texts, found %s", kindOf(raw))
		}
		*field = elems
		return check(elems)
	}}
}

// files is a list of paths, whose flag names one of them.
func files(flag string, field *[]string) value {
	v := list("file", field, checkFiles)
	v.flagName = flag
	return v
}

// named gives an option a flag of another name than its key's.
func named(flag string, v value) value {
	v.flagName = flag
	return v
}

// sentinelList is a list of addresses, with a port or, for ICMP, with 0 for none, whose flag names one of them.
func sentinelList(field *[]netip.AddrPort) value {
	var texts []string
	return named("checker-sentinel", list("address", &texts, func(texts []string) error {
		*field = nil
		for _, text := range texts {
			a, err := netip.ParseAddrPort(text)
			if bare, ok := netip.ParseAddr(text); ok == nil {
				a, err = netip.AddrPortFrom(bare, 0), nil
			} else if a.Port() == 0 {
				err = errors.New("no such port")
			}
			if err != nil || a.Addr().Is4In6() {
				return fmt.Errorf(`%q is not an address such as "9.9.9.9", nor one with a TCP port such as "9.9.9.9:53" or "[2620:fe::fe]:53"`, text)
			}
			if slices.Contains(*field, a) {
				return fmt.Errorf("%s is named twice", text)
			}
			*field = append(*field, a)
		}
		return nil
	}))
}

// boolean is true or false.
func boolean(field *bool) value {
	return value{form: "true|false", set: func(raw any) error {
		switch v := raw.(type) {
		case bool:
			*field = v
			return nil
		case words:
			if v == "true" || v == "false" {
				*field = v == "true"
				return nil
			}
			return fmt.Errorf("%q is not true or false", string(v))
		}
		return fmt.Errorf("expected true or false, found %s", kindOf(raw))
	}}
}

func checkCheckerID(s string) error {
	if err := store.CheckName(s); err != nil {
		return fmt.Errorf("%w, such as \"fra-1\"", err)
	}
	return nil
}

func checkFiles(paths []string) error {
	for i, p := range paths {
		switch {
		case p == "":
			return errors.New("has an empty path")
		case slices.Contains(paths[:i], p):
			return fmt.Errorf("%q is named twice", p)
		}
	}
	return nil
}

// networks is a list of networks, or of addresses.
func networks(field *[]netip.Prefix) value {
	var texts []string
	return list("network", &texts, func(texts []string) error {
		*field = nil
		for _, text := range texts {
			p, err := netip.ParsePrefix(text)
			if a, wrong := netip.ParseAddr(text); wrong == nil && a.Zone() == "" {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			if err != nil {
				return fmt.Errorf("%q is not a network such as 10.0.0.0/8", text)
			}
			*field = append(*field, p)
		}
		return nil
	})
}

// checkDir wants a directory by a path that means the same wherever the process is started.
func checkDir(s string) error {
	if s != "" && !filepath.IsAbs(s) {
		return fmt.Errorf("%q is not a path from the root, expected one such as /etc/meridian/checks", s)
	}
	return nil
}

// number is a whole number from lo to hi.
func number(field *int, lo, hi int) value {
	return value{form: "n", set: func(raw any) error {
		n := 0
		switch v := raw.(type) {
		case words:
			var err error
			if n, err = strconv.Atoi(string(v)); err != nil {
				return fmt.Errorf("%q is not a whole number from %d to %d", string(v), lo, hi)
			}
		case int:
			n = v
		case int64:
			n = int(v)
		case uint64: // YAML's beyond int
			n = math.MaxInt
		case float64: // all numbers of JSON
			if v != math.Trunc(v) {
				return fmt.Errorf("%v is not a whole number from %d to %d", v, lo, hi)
			}
			n = int(max(-1, min(v, float64(hi)+1))) // a float beyond int converts to anything
		default:
			return fmt.Errorf("expected a number, found %s", kindOf(raw))
		}
		if n < lo || n > hi {
			return fmt.Errorf("%v is out of range, expected %d to %d", raw, lo, hi)
		}
		*field = n
		return nil
	}}
}

// duration is a duration as text, from lo to hi.
func duration(field *time.Duration, lo, hi time.Duration) value {
	return value{form: "duration", set: func(raw any) error {
		s := ""
		switch v := raw.(type) {
		case words:
			s = string(v)
		case string:
			s = v
		default:
			return fmt.Errorf(`expected a duration such as "10s", found %s`, kindOf(raw))
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return fmt.Errorf(`%q is not a duration such as "10s" or "500ms"`, s)
		case d < lo || d > hi:
			return fmt.Errorf("%v is out of range, expected %v to %v", d, lo, hi)
		}
		*field = d
		return nil
	}}
}

// level is a level of the log.
func level(field *slog.Level) value {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	return text("level", new(string), func(s string) error {
		l, ok := levels[s]
		if !ok {
			return fmt.Errorf("%q is not a level, expected debug, info, warn or error", s)
		}
		*field = l
		return nil
	})
}

func checkLogFormat(s string) error {
	if s != "text" && s != "json" {
		return fmt.Errorf("%q is not a format of the log, expected text or json", s)
	}
	return nil
}

func checkSaid(s string) error {
	if s == "" {
		return fmt.Errorf("is empty")
	}
	return nil
}

// hostPort takes host:port apart; a port that is no number from 0 to 65535 is not ok.
func hostPort(s string) (host string, port uint16, ok bool) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err == nil
}

// checkListen wants an address to listen on. A name other than localhost is none: it may have
// several addresses, and others tomorrow. Port 0 is any free one.
func checkListen(s string) error {
	host, _, ok := hostPort(s)
	if _, err := netip.ParseAddr(host); ok && (host == "" || host == "localhost" || err == nil) {
		return nil
	}
	return fmt.Errorf(`%q is not an address and port such as "127.0.0.1:53", "[::1]:53" or ":53"`, s)
}

func checkDNSListen(addrs []string) error {
	if len(addrs) == 0 {
		return fmt.Errorf("is empty, expected at least one address and port")
	}
	for _, a := range addrs {
		if err := checkListen(a); err != nil {
			return err
		}
	}
	return nil
}

// checkEtcdListen wants an address, too: everybody may write to the embedded etcd who reaches it.
func checkEtcdListen(s string) error {
	if strings.HasPrefix(s, ":") || strings.HasPrefix(s, "localhost:") || checkListen(s) != nil {
		return fmt.Errorf(`%q is not an address and port such as "127.0.0.1:2379"`, s)
	}
	return nil
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func checkEndpoint(endpoints []string) error {
	for _, e := range endpoints {
		rest := strings.TrimPrefix(strings.TrimPrefix(e, "https://"), "http://")
		host, port, ok := hostPort(rest)
		if _, err := netip.ParseAddr(host); !ok || port == 0 || err != nil && !hostForm.MatchString(host) {
			return fmt.Errorf(`%q is not an endpoint such as "10.0.0.1:2379" or "https://etcd1.example.net:2379"`, e)
		}
	}
	return nil
}

var prefixForm = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

func checkPrefix(s string) error {
	if !prefixForm.MatchString(s) {
		return fmt.Errorf(`%q is not a prefix such as "/gslb": a leading slash, no trailing one, letters, digits and ._- between`, s)
	}
	return nil
}

// checkSite takes what the registry takes for the name of a site.
func checkSite(s string) error {
	if s == "" {
		return nil
	}
	return store.CheckName(s)
}

func checkServerName(s string) error {
	if s == "" {
		return nil
	}
	return store.CheckServer(s)
}
