//go:build linux

package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fullVariable in the environment makes a test the process in which the disk becomes full: the
// directory to write to.
const fullVariable = "IMAGE_FULL"

// inFull runs the test that calls it again in a process of its own, and says whether it is that process.
func inFull(t *testing.T, attr *syscall.SysProcAttr) bool {
	if os.Getenv(fullVariable) != "" {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), fullVariable+"="+t.TempDir())
	child.SysProcAttr = attr
	out, err := child.CombinedOutput()
	switch {
	case errors.Is(err, os.ErrPermission):
		t.Skipf("no mount namespace to fill a disk in: %v (it takes root, or user namespaces)", err)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case err != nil || !strings.Contains(string(out), "--- PASS"):
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// checkFull expects that want, an error of the system, keeps images from being written, and that
// nothing else comes of it.
func checkFull(t *testing.T, path string, good, next *Image, want error, others ...string) {
	t.Helper()
	size, err := WriteImage(path, next)
	if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "disk image: write ") || size != 0 {
		t.Errorf("%d bytes, error %v, want that writing failed: %v", size, err, want)
	}
	wantImage(t, mustRead(t, path), good)
	if got := files(t, filepath.Dir(path)); !slices.Equal(got, append([]string{"image"}, others...)) {
		t.Errorf("the directory holds %v, want the image alone", got)
	}
}

// A disk that becomes full at any place of the image.
func TestImageDiskFull(t *testing.T) {
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if id := os.Getuid(); id != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: id, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if !inFull(t, attr) {
		return
	}
	const pages, page = 32, 4096
	dir := os.Getenv(fullVariable)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*page)); err != nil {
		t.Skipf("no disk of its own to fill: mount: %v", err)
	}
	path, filler := filepath.Join(dir, "image"), filepath.Join(dir, "others")
	good, next := someImage(t, 10, 1), someImage(t, 20, 2)
	size := mustWrite(t, path, good)
	fill := pages - int((size+page-1)/page)
	for free := range int((size + page - 1) / page) {
		if err := os.WriteFile(filler, make([]byte, (fill-free)*page), 0o600); err != nil {
			t.Fatal(err)
		}
		checkFull(t, path, good, next, unix.ENOSPC, "others")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, next) // and when there is room again
	wantImage(t, mustRead(t, path), next)
}

// A limit to the size of files is met like a full disk; the signal that comes along ends nothing.
func TestImageFileLimit(t *testing.T) {
	if !inFull(t, nil) {
		return
	}
	path := filepath.Join(os.Getenv(fullVariable), "image")
	good, next := someImage(t, 10, 1), someImage(t, 20, 2)
	size := mustWrite(t, path, good)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	for limit := int64(0); limit < size; limit += 1000 {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(limit), Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		checkFull(t, path, good, next, unix.EFBIG)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, next)
	wantImage(t, mustRead(t, path), next)
}
