package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/policy/geo/mmdb"
	"meridian/store"
)

const geoFixtures = "../../testdata/geo/"

// TestGeoReload: databases are replaced, broken and removed under queries, and none is lost.
func TestGeoReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "places.mmdb")
	place := func(from string) {
		t.Helper()
		bytes, err := os.ReadFile(geoFixtures + from)
		if err == nil {
			err = os.WriteFile(path+".new", bytes, 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	place("country.mmdb")
	in := startInstanceWith(t, t.TempDir(), func(c *Config) {
		c.Geo = GeoConfig{Databases: []string{path, geoFixtures + "asn.mmdb"}, Interval: 100 * time.Millisecond}
	})
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.put("zone/example.com/name/www/A", "192.0.2.1")
	in.awaitAnswer("www.example.com.", dns.TypeA, func(r *dns.Msg) bool { return len(r.Answer) == 1 })

	done := make(chan struct{})
	var asking sync.WaitGroup
	for _, addr := range in.dns {
		asking.Go(func() { in.askAlways(addr, done) })
	}
	stop := sync.OnceFunc(func() { close(done); asking.Wait() })
	defer stop()
	metric := func(name, value string) string {
		return fmt.Sprintf("meridian_geo_%s{path=%q} %s", name, path, value)
	}
	networks := func(kind string, n int) string {
		return fmt.Sprintf("meridian_geo_networks{path=%q,type=%q} %d", path, kind, n)
	}
	in.awaitMetric(networks("DBIP-Country-Lite", countNetworks(t, "country.mmdb")))
	place("city.mmdb")
	in.awaitMetric(networks("GeoLite2-City", countNetworks(t, "city.mmdb")))
	place("city.json")
	in.awaitMetric(metric("failures_total", "1"))
	in.awaitMetric(networks("GeoLite2-City", countNetworks(t, "city.mmdb")))
	if _, body := in.get("/readyz"); !strings.Contains(body, "geo database "+path+": error opening database") {
		t.Errorf("readyz says\n%s", body)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	in.awaitMetric(metric("failures_total", "2"))
	place("country.mmdb")
	in.awaitMetric(networks("DBIP-Country-Lite", countNetworks(t, "country.mmdb")))
	in.awaitMetric(metric("failed", "0"))
	stop()

	_, body := in.get("/status")
	for _, want := range []string{`"path": "` + path + `"`, `"type": "DBIP-Country-Lite"`, `"type": "GeoLite2-ASN"`, `"built": "2026-05-28T20:26:40Z"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// askAlways asks until done is closed, and wants every query answered.
func (in *instance) askAlways(addr netip.AddrPort, done <-chan struct{}) {
	c := dns.Client{Timeout: patience}
	conn, err := c.Dial(addr.String())
	if err != nil {
		in.t.Error(err)
		return
	}
	defer conn.Close()
	for {
		select {
		case <-done:
			return
		default:
		}
		q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
		if r, _, err := c.ExchangeWithConn(q, conn); err != nil || len(r.Answer) != 1 {
			in.t.Errorf("%v: %v, %v", addr, err, r)
			return
		}
	}
}

func countNetworks(t *testing.T, name string) int {
	t.Helper()
	d, err := mmdb.Open(geoFixtures + name)
	if err != nil {
		t.Fatal(err)
	}
	return d.Files()[0].Networks
}

// TestGeoAtStart: a server starts without what it cannot read, and says so where it says how it stands.
func TestGeoAtStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.mmdb")
	in := startInstanceWith(t, t.TempDir(), func(c *Config) {
		c.Geo = GeoConfig{Databases: []string{missing, geoFixtures + "asn.mmdb"}, Interval: time.Minute}
	})
	in.put("zone/example.com/soa", `{"ns":["ns1.example.net."]}`)
	in.awaitAnswer("example.com.", dns.TypeSOA, func(r *dns.Msg) bool { return len(r.Answer) == 1 })
	in.awaitMetric(fmt.Sprintf("meridian_geo_failed{path=%q} 1", missing))
	in.awaitMetric(`meridian_geo_failed{path="../../testdata/geo/asn.mmdb"} 0`)
	live := in.liveKey("/gslb-live/server/ns1", true)
	for _, want := range []string{`"error":"no such file or directory, expected an MMDB file"`, `"type":"GeoLite2-ASN"`, `"knows":["asn"]`} {
		if !strings.Contains(live, want) {
			t.Errorf("no %s in %s", want, live)
		}
	}
}

// TestGeoFilesValid: what stands in a file may be no text, and the status must be JSON all the same.
func TestGeoFilesValid(t *testing.T) {
	s := mmdb.State{}
	s.Path, s.Type, s.Error = "a\xff", "b\xff", "c\xff"
	want := store.GeoFile{Path: "a�", Type: "b�", Error: "c�"}
	if got := geoFiles([]mmdb.State{s})[0]; got.Path != want.Path || got.Type != want.Type || got.Error != want.Error {
		t.Errorf("%+v", got)
	}
}
