package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "tools", "member", "snap", "db")
	if err := os.MkdirAll(filepath.Dir(db), 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := lockFile(db, os.O_RDWR|os.O_CREATE) // as etcd's own tools hold it
	if err != nil {
		t.Fatal(err)
	}
	ours, err := lockDir(filepath.Join(dir, "ours"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, dir, want string }{
		{"a file", "file", "data_dir: mkdir DIR/file: not a directory"},
		{"below a file", "file/etcd", "data_dir: mkdir DIR/file: not a directory"},
		{"in use by us", "ours", "data_dir: DIR/ours is in use by another process"},
		{"in use by etcd's tools", "tools", "data_dir: DIR/tools is in use by another process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := lockDir(filepath.Join(dir, tt.dir))
			if err == nil {
				f.Close()
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	held.Close()
	ours.Close()
	for _, name := range []string{"ours", "tools"} {
		f, err := lockDir(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("given free: %v", err)
			continue
		}
		defer f.Close()
	}
}

func TestLockDirNotWritable(t *testing.T) {
	if unix.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := lockDir(dir)
	if want := "data_dir: open " + dir + "/lock: permission denied"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
