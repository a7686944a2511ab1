package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"meridian/health"
	"meridian/zones"
)

// someNames is a registry of n static names in zones of a thousand each, with one name steered by
// pool 1 in each. The text "n <revision>" at count.zone0000.example tells the revision.
func someNames(t testing.TB, n int, revision int64) *zones.Snapshot {
	e := zones.New().Edit()
	for i := range n {
		zone := fmt.Sprintf("zone%04d.example", i/1000)
		if i%1000 == 0 {
			apex := mustOwner(t, zone, "@")
			soa, ns, err := (&zones.SOA{NS: []string{"ns1.example.net."}}).Compile(apex, 1)
			if err != nil {
				t.Fatal(err)
			}
			e.Put(apex, soa)
			e.Put(apex, ns)
			e.Put(mustOwner(t, zone, "steered"), zones.SteeredPart(1, 30, zones.SteeredTypes, 1))
		}
		e.Put(mustOwner(t, zone, fmt.Sprintf("host%04d", i%1000)),
			zones.StaticPart(dns.TypeA, 300, [][]byte{{10, byte(i >> 16), byte(i >> 8), byte(i)}}, 1))
	}
	return counted(t, e.Commit(revision), revision)
}

// counted is s with another revision to tell.
func counted(t testing.TB, s *zones.Snapshot, revision int64) *zones.Snapshot {
	o := mustOwner(t, "zone0000.example", "count")
	p, err := zones.ParseRRset(o, dns.TypeTXT, fmt.Sprintf(`"n %d"`, revision), revision)
	if err != nil {
		t.Fatal(err)
	}
	e := s.Edit()
	e.Put(o, p)
	return e.Commit(revision)
}

func mustOwner(t testing.TB, zone, owner string) zones.Owner {
	t.Helper()
	o, err := zones.ParseOwner(zone, owner)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// someImage is an image with something in each of its fields.
func someImage(t testing.TB, names int, revision int64) *Image {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	target := func(check, addr string) health.TargetID {
		return health.TargetID{Check: check, Addr: netip.MustParseAddrPort(addr)}
	}
	return &Image{
		Prefix: "/gslb", Cluster: 1<<64 - 1, Revision: revision, Saved: at,
		Objects: []Entry{
			{Key: "check/web", Value: []byte(`{"http":{}}`), Revision: 2, Deleted: true},
			{Key: "pool/web/member/a", Value: []byte("192.0.2.1"), Revision: 1<<63 - 1, Lease: 1<<62 + 1},
			{Key: "site/fra", Value: []byte{}, Revision: revision},
		},
		Pools:        []string{"", "web"},
		Unregistered: map[string]time.Time{"pool/web/member/a": at.Add(-time.Minute), "pool/web/member/b": at},
		Held:         []Entry{{Key: "zone/zone0000.example/soa", Deleted: true, Revision: 9, Lease: 3, Expired: true}},
		Health: []health.Report{
			{TargetID: target("tls", "[2001:db8::1]:443"), State: health.Down, Reason: "timed out after 3s"},
			{TargetID: target("web", "192.0.2.1:80"), State: health.Up},
			{TargetID: target("web", "192.0.2.2:80")},
		},
		Names: someNames(t, names, revision),
	}
}

// wantImage compares an image that was read with the one that was written.
func wantImage(t *testing.T, got, want *Image) {
	t.Helper()
	g, w := *got, *want
	g.Names, w.Names = nil, nil
	if !reflect.DeepEqual(g, w) {
		t.Errorf("read\n%+v\nwant\n%+v", g, w)
	}
	if got.Names.Names != want.Names.Names || got.Names.Zones() != want.Names.Zones() || got.Names.Revision != want.Names.Revision {
		t.Errorf("%d names in %d zones of revision %d, want %d, %d, %d", got.Names.Names, got.Names.Zones(), got.Names.Revision,
			want.Names.Names, want.Names.Zones(), want.Names.Revision)
	}
	want.Names.Each(func(o zones.Owner, p zones.Part) {
		if q, ok := got.Names.Part(o, p.Type); !ok || !reflect.DeepEqual(q, p) {
			t.Fatalf("%s: %+v, want %+v", zones.KeyOf(o, p.Type), q, p)
		}
	})
}

// files are the names of what is in a directory.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func mustWrite(t testing.TB, path string, img *Image) (size int64) {
	t.Helper()
	size, err := WriteImage(path, img)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func mustRead(t testing.TB, path string) *Image {
	t.Helper()
	img, err := ReadImage(path)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	for _, img := range []*Image{
		someImage(t, 1000, 812),
		someImage(t, 3000, 813),
		{Names: zones.New()},
	} {
		size := mustWrite(t, path, img)
		stat, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if stat.Size() != size || stat.Mode() != 0o600 {
			t.Errorf("the file has %d bytes and mode %v, want %d and 0600", stat.Size(), stat.Mode(), size)
		}
		wantImage(t, mustRead(t, path), img)
		if got := files(t, dir); !slices.Equal(got, []string{"image"}) {
			t.Errorf("the directory holds %v, want the image alone", got)
		}
	}
}

// The same state makes the same bytes, in whichever order it comes.
func TestImageOrder(t *testing.T) {
	dir := t.TempDir()
	img := someImage(t, 1000, 812)
	mustWrite(t, filepath.Join(dir, "a"), img)
	slices.Reverse(img.Objects)
	slices.Reverse(img.Health)
	mustWrite(t, filepath.Join(dir, "b"), img)
	if img.Objects[0].Key != "site/fra" {
		t.Error("writing has changed the image itself")
	}
	a, b := mustFile(t, filepath.Join(dir, "a")), mustFile(t, filepath.Join(dir, "b"))
	if !bytes.Equal(a, b) {
		t.Error("the files differ")
	}
}

func mustFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The form's number is what keeps one version from reading what another has written.
func TestImageForm(t *testing.T) {
	img := someImage(t, 10, 812)
	img.Objects, img.Health = img.Objects[:2], img.Health[:1]
	img.Deleted = map[string]time.Time{"pool/web/member/c": time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	got, err := img.json()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`{"prefix":"/gslb","cluster":18446744073709551615,"revision":812,"saved":"2026-11-23T12:00:00.123456789Z",
"objects":[{"Key":"check/web","Value":"eyJodHRwIjp7fX0=","Deleted":true,"Revision":2},
{"Key":"pool/web/member/a","Value":"MTkyLjAuMi4x","Revision":9223372036854775807,"Lease":4611686018427387905}],
"pools":["","web"],
"unregistered":{"pool/web/member/a":"2026-11-23T11:59:00.123456789Z","pool/web/member/b":"2026-11-23T12:00:00.123456789Z"},
"held":[{"Key":"zone/zone0000.example/soa","Deleted":true,"Revision":9,"Lease":3,"Expired":true}],
"deleted":{"pool/web/member/c":"2026-11-23T12:00:00Z"},
"health":[{"Check":"tls","Addr":"[2001:db8::1]:443","State":2,"Reason":"timed out after 3s"}]}`, "\n", "") + "\n"
	if string(got) != want {
		t.Errorf("the form of images has changed: raise imageForm, then put this here:\n%s", got)
	}
}

// A check's reason is what some backend sent.
func TestImageReasonNoUTF8(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	img := &Image{Names: zones.New(), Health: []health.Report{{State: health.Down, Reason: "status \xff\xfe"}}}
	mustWrite(t, path, img)
	if got := mustRead(t, path).Health[0].Reason; got != "status \ufffd\ufffd" {
		t.Errorf("reason %q", got)
	}
}

// What a killed write has left is gone after the next one, and does not disturb it.
func TestImageLeftover(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path+".tmp", bytes.Repeat([]byte("x"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadImage(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that there is none", err)
	}
	img := someImage(t, 1000, 812)
	mustWrite(t, path, img)
	wantImage(t, mustRead(t, path), img)
	if got := files(t, dir); !slices.Equal(got, []string{"image"}) {
		t.Errorf("the directory holds %v, want the image alone", got)
	}
	if stat, _ := os.Stat(path); stat.Mode() != 0o600 {
		t.Errorf("mode %v", stat.Mode())
	}
}

// An image that could not be served from is not written: the former one stays.
func TestWriteImageRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	good := someImage(t, 1000, 812)
	mustWrite(t, path, good)
	addr := netip.MustParseAddrPort("192.0.2.1:80")
	tests := []struct {
		spoil func(img *Image)
		want  string
	}{
		{func(img *Image) { img.Pools = []string{"web"} }, "disk image: not written: names refer to pool 1, which has no name"},
		{func(img *Image) { img.Pools = []string{"web", ""} }, "disk image: not written: names refer to pool 1, which has no name"},
		{func(img *Image) { img.Pools = []string{"web", "web"} }, `disk image: not written: pool "web" has two IDs`},
		{func(img *Image) {
			img.Health = []health.Report{{TargetID: health.TargetID{Check: "web", Addr: addr}, State: 3}}
		}, `disk image: not written: check "web" of 192.0.2.1:80 has State(3)`},
	}
	for _, test := range tests {
		img := *good
		test.spoil(&img)
		if _, err := WriteImage(path, &img); err == nil || err.Error() != test.want {
			t.Errorf("error %v, want %s", err, test.want)
		}
		wantImage(t, mustRead(t, path), good)
	}
	if _, err := WriteImage(filepath.Join(dir, "nowhere", "image"), good); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that the directory is not there", err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"image"}) {
		t.Errorf("the directory holds %v, want the image alone", got)
	}
}

// sealed is a file of these parts, with sizes and checksum that are right.
func sealed(text, names []byte) []byte {
	file := fmt.Appendf(nil, "%s%d\n"+imageSizes, imageMagic, imageForm, len(text), len(names))
	return seal(append(append(file, text...), names...))
}

func seal(file []byte) []byte {
	sum := sha256.Sum256(file)
	return append(file, sum[:]...)
}

func namesOf(t testing.TB, s *zones.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Dump(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadImageFaults(t *testing.T) {
	empty, some := namesOf(t, zones.New()), namesOf(t, someNames(t, 1000, 1))
	good := sealed([]byte("{}\n"), empty)
	tests := []struct {
		name string
		file []byte
		is   error
		want string
	}{
		{"empty", nil, ErrDamaged, `its first line is not "meridian image, form 3"`},
		{"zeros", make([]byte, 4096), ErrDamaged, `its first line is not "meridian image, form 3"`},
		{"another file", []byte("{}\n"), ErrDamaged, `its first line is not "meridian image, form 3"`},
		{"no number", []byte("meridian image, form one\n"), ErrDamaged, `its first line is not "meridian image, form 3"`},
		{"older", []byte("meridian image, form 0\nwhatever it had"), ErrForm, "form 0, expected 3"},
		{"newer", []byte("meridian image, form 12\nwhatever it has"), ErrForm, "form 12, expected 3"},
		{"no sizes", seal([]byte("meridian image, form 3\n\n")), ErrDamaged, `its second line is not such as "100 bytes of JSON, 200 of names"`},
		{"negative size", seal([]byte("meridian image, form 3\n-1 bytes of JSON, 1 of names\n")), ErrDamaged, `its second line is not such as "100 bytes of JSON, 200 of names"`},
		{"other sizes", seal([]byte("meridian image, form 3\n1 bytes of JSON, 1 of names and more\n")), ErrDamaged, `its second line is not such as "100 bytes of JSON, 200 of names"`},
		{"sizes beyond numbers", seal([]byte("meridian image, form 3\n9999999999999999999 bytes of JSON, 1 of names\n")), ErrDamaged, `its second line is not such as "100 bytes of JSON, 200 of names"`},
		{"sizes beyond the file", seal([]byte("meridian image, form 3\n9000000000000000000 bytes of JSON, 1 of names\n{}")), ErrDamaged, "it has 103 bytes, expected 9000000000000000102"},
		{"cut short", good[:len(good)-1], ErrDamaged, "it has 355 bytes, expected 356"},
		{"longer", append(bytes.Clone(good), 0), ErrDamaged, "it has 357 bytes, expected 356"},
		{"checksum", append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), ErrDamaged, "the checksum of its 324 bytes is not the one at its end"},
		{"no JSON", sealed(nil, empty), ErrDamaged, "from byte 53: "},
		{"unknown field", sealed([]byte(`{"serial":1}`), empty), ErrDamaged, "from byte 54: "},
		{"no names", sealed([]byte("{}"), nil), ErrDamaged, "names, from byte 53: the names end in their head: EOF"},
		{"names cut", sealed([]byte("{}"), empty[:100]), ErrDamaged, "names, from byte 55: the names end in shard 22 of 64: EOF"},
		{"more names", sealed([]byte("{}"), append(bytes.Clone(empty), 0)), ErrDamaged, "names, from byte 55: they end before the 269 bytes do that they should take"},
		{"pools", sealed([]byte(`{"pools":["web"]}`), some), ErrDamaged, "names refer to pool 1, which has no name"},
		{"state", sealed([]byte(`{"health":[{"Check":"web","State":3}]}`), empty), ErrDamaged, `check "web" of invalid AddrPort has State(3)`},
	}
	path := filepath.Join(t.TempDir(), "image")
	for _, test := range tests {
		if err := os.WriteFile(path, test.file, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadImage(path)
		want := path + ": " + fmt.Sprint(test.is) + ": " + test.want
		if !errors.Is(err, test.is) || err.Error() != want && !(strings.HasSuffix(want, " ") && strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: error %v\nwant %s", test.name, err, want)
		}
	}
	if _, err := ReadImage(path + "s"); !errors.Is(err, fs.ErrNotExist) || err.Error() != "disk image: open "+path+"s: no such file or directory" {
		t.Errorf("no image: error %v", err)
	}
	if _, err := ReadImage(filepath.Dir(path)); err == nil || errors.Is(err, ErrForm) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: error %v", err)
	}
}

// Whichever byte is another, or missing: the image is refused, and said to be damaged. (Where the
// byte is the form's digit, it may be that of another form.)
func TestImageDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	mustWrite(t, path, someImage(t, 10, 812))
	file := mustFile(t, path)
	read := func(b []byte) error {
		_, err := readImage(bytes.NewReader(b), int64(len(b)))
		return err
	}
	if err := read(file); err != nil {
		t.Fatal(err)
	}
	for at := range file {
		bad := bytes.Clone(file)
		bad[at] ^= byte(1 << (at % 8))
		if err := read(bad); !errors.Is(err, ErrDamaged) && !(at == len(imageMagic) && errors.Is(err, ErrForm)) {
			t.Errorf("byte %d of %d changed: error %v", at, len(file), err)
		}
		if err := read(file[:at]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d of %d bytes: error %v", at, len(file), err)
		}
	}
	for digit := byte('0'); digit <= '9'; digit++ {
		other := bytes.Clone(file)
		other[len(imageMagic)] = digit
		if err := read(other); strconv.Itoa(imageForm) != string(digit) && !errors.Is(err, ErrForm) {
			t.Errorf("form %c: error %v", digit, err)
		}
	}
}

// FuzzReadImage reads any bytes: as a file, or as the JSON (the first line) and the names of a file
// whose sizes and checksum are right. What can be read can be written, and is then read as it was.
func FuzzReadImage(f *testing.F) {
	path := filepath.Join(f.TempDir(), "image")
	mustWrite(f, path, someImage(f, 10, 812))
	file := mustFile(f, path)
	f.Add(file, false)
	start, text, names, err := readHead(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file[start:start+text+names], true)
	f.Add(append([]byte("{}\n"), namesOf(f, zones.New())...), true)
	f.Fuzz(func(t *testing.T, file []byte, fits bool) {
		if fits {
			text, names, _ := bytes.Cut(file, []byte("\n"))
			file = sealed(text, names)
		}
		img, err := readImage(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForm) {
				t.Fatalf("error %v", err)
			}
			return
		}
		var first, second bytes.Buffer
		if size, err := writeImage(&first, img); err != nil || size != int64(first.Len()) {
			t.Fatalf("written again: %d of %d bytes, error %v", first.Len(), size, err)
		}
		again, err := readImage(bytes.NewReader(first.Bytes()), int64(first.Len()))
		if err != nil {
			t.Fatalf("read again: %v", err)
		}
		if _, err := writeImage(&second, again); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("written once more, it is another: %v", err)
		}
	})
}

// An image of 100,000 names, with what is known of 1,000 members.
func bigImage(t testing.TB, revision int64) *Image {
	img := someImage(t, 100_000, revision)
	for i := range 1000 {
		addr := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		img.Objects = append(img.Objects, Entry{Key: fmt.Sprintf("pool/web/member/m%d", i), Value: []byte(addr.String()), Revision: 1, Lease: 7})
		img.Health = append(img.Health, health.Report{
			TargetID: health.TargetID{Check: "web", Addr: netip.AddrPortFrom(addr, 80)}, State: health.Down, Reason: "connection refused",
		})
	}
	return img
}

func BenchmarkWriteImage(b *testing.B) {
	path := filepath.Join(b.TempDir(), "image")
	img := bigImage(b, 1)
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		size = mustWrite(b, path, img)
	}
	b.ReportMetric(float64(size)/1e6, "MB")
}

func BenchmarkReadImage(b *testing.B) {
	path := filepath.Join(b.TempDir(), "image")
	mustWrite(b, path, bigImage(b, 1))
	b.ReportAllocs()
	for b.Loop() {
		mustRead(b, path)
	}
}
