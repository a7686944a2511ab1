package store

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"

	"meridian/policy/geo"
)

// databaseOf says that 192.0.2.0/24 is in a country.
func databaseOf(t *testing.T, code string) *geo.Database {
	l := geo.NewLayer()
	if err := l.Add(netip.MustParsePrefix("192.0.2.0/24"), geo.Record{Country: geo.CountryOf(code)}); err != nil {
		t.Fatal(err)
	}
	return geo.Compile(l)
}

// country is where what is served says that 192.0.2.1 is; "none" where nothing is served.
func (r *running) country() string {
	s := r.Snapshot.Load()
	if s == nil {
		return "none"
	}
	c, _, _ := s.Geo.Country(netip.MustParseAddr("192.0.2.1"))
	return c.String()
}

func (r *running) expectCountry(t *testing.T, when, want string) {
	t.Helper()
	if got := r.country(); got != want {
		t.Errorf("%s: %q, expected %q", when, got, want)
	}
}

func TestApplierSetGeo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runApplier(t, nil, nil)
		r.SetGeo(databaseOf(t, "DE"))
		synctest.Wait()
		r.expectCountry(t, "before the registry is read", "none")
		r.send(all(7, checkedPool))
		r.expectCountry(t, "read", "DE")
		updates, revision := r.Stats().Updates, r.Snapshot.Load().Revision

		r.SetGeo(databaseOf(t, "FR"))
		synctest.Wait()
		r.expectCountry(t, "with another database", "FR")
		if s := r.Snapshot.Load(); s.Revision != revision || s.Names != 2 || r.Stats().Updates != updates {
			t.Errorf("revision %d, %d names, %d updates", s.Revision, s.Names, r.Stats().Updates)
		}
		r.send(Update{Revision: 8, Cluster: 1, Entries: []Entry{{Key: "zone/example.com/name/a/TXT", Value: []byte(`"x"`), Revision: 8}}})
		r.expectCountry(t, "after a change", "FR")
		if got := r.Image(r.ctx); got.Revision != 8 {
			t.Errorf("image of revision %d", got.Revision)
		}

		r.SetGeo(nil)
		synctest.Wait()
		r.expectCountry(t, "without one", "")
		r.SetGeo(databaseOf(t, "US"))
		r.SetGeo(databaseOf(t, "CA"))
		synctest.Wait()
		r.expectCountry(t, "the last of two", "CA")
	})
}

// TestImageWithGeo: what is served of the disk image knows where clients are, from the first answer on.
func TestImageWithGeo(t *testing.T) {
	t.Run("before Run", func(t *testing.T) {
		a := NewApplier(slog.New(slog.DiscardHandler))
		a.SetGeo(databaseOf(t, "DE"))
		a.Restore(imageServing(7, checkedPool, true))
		a.ServeImage()
		(&running{Applier: a}).expectCountry(t, "from the image", "DE")
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := runApplier(t, imageServing(7, checkedPool, true), nil)
			r.SetGeo(databaseOf(t, "DE"))
			synctest.Wait()
			r.expectCountry(t, "before it is served", "none")
			r.ServeImage()
			r.expectCountry(t, "as soon as it is served", "DE")
			r.SetGeo(databaseOf(t, "FR"))
			synctest.Wait()
			r.expectCountry(t, "with another", "FR")
			after(Patience)
			r.expectCountry(t, "when it would have been served anyway", "FR")
			r.send(all(8, checkedPool))
			r.expectCountry(t, "when etcd is read", "FR")
		})
	})
}
