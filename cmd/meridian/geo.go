package main

import (
	"fmt"
	"strings"
	"time"

	"meridian/policy/geo/mmdb"
	"meridian/store"
)

// geoFiles is how the files of a watcher stand, as the status has it.
func geoFiles(states []mmdb.State) (files []store.GeoFile) {
	for _, s := range states {
		f := store.GeoFile{
			Path: valid(s.Path), Type: valid(s.Type), Built: s.Built, Loaded: s.Loaded, Networks: s.Networks,
			Error: valid(s.Error), Failed: s.Failed, Failures: s.Failures,
		}
		for _, k := range []struct {
			known bool
			what  string
		}{{s.Knows.ASN, "asn"}, {s.Knows.Country, "country"}, {s.Knows.Continent, "continent"},
			{s.Knows.Subdivision, "subdivision"}, {s.Knows.Location, "location"}} {
			if k.known {
				f.Knows = append(f.Knows, k.what)
			}
		}
		files = append(files, f)
	}
	return files
}

// valid is text that JSON and metrics take.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// writeGeo lists the files that say where clients are, those alike of several servers put together.
func (c cluster) writeGeo(b *strings.Builder, now time.Time, p paint) {
	type line struct{ path, text string }
	var lines []line
	on := map[line][]string{}
	for _, s := range c.Servers {
		for _, f := range s.Geo {
			l := line{clean(f.Path), geoText(f, now)}
			if on[l] == nil {
				lines = append(lines, l)
			}
			on[l] = append(on[l], s.Name)
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", p.in(bold, "geo databases:"))
	for _, l := range lines {
		fmt.Fprintf(b, "  %s\n    %s\n    %s\n", l.path, l.text, c.on(on[l]))
	}
}

// geoText is what was read of a file.
func geoText(f store.GeoFile, now time.Time) string {
	if f.Loaded.IsZero() {
		return "not read"
	}
	return fmt.Sprintf("%s, built %s (%s), %s networks: %s", clean(f.Type), f.Built.Format(time.DateOnly), age(now.Sub(f.Built)),
		grouped(f.Networks), strings.Join(f.Knows, ", "))
}

// geoRemarks says which files do not count as they are.
func geoRemarks(files []store.GeoFile) (list []remark) {
	for _, f := range files {
		if f.Error == "" {
			continue
		}
		r := remark{Kind: "geo", Wrong: true, Text: "geo database " + f.Path + ": " + f.Error, When: "found", At: f.Failed,
			Do: "nothing is known from it until the file is put right, which the server finds by itself"}
		if !f.Loaded.IsZero() {
			r.Do = "what was read of it before counts on until the file is put right, which the server finds by itself"
		}
		list = append(list, r)
	}
	return list
}
