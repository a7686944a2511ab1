package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir makes dir if need be and takes it for this process alone, until the file returned is
// closed or the process ends. etcd itself would wait for ever for a directory in use.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	f, err := lockFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, inDir(dir, err)
	}
	// The data base is also locked by etcd's own tools, which do not know our lock.
	db, err := lockFile(filepath.Join(dir, "member", "snap", "db"), os.O_RDWR)
	switch {
	case err == nil:
		db.Close()
	case !errors.Is(err, os.ErrNotExist):
		f.Close()
		return nil, inDir(dir, err)
	}
	return f, nil
}

func inDir(dir string, err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("data_dir: %s is in use by another process", dir)
	}
	return fmt.Errorf("data_dir: %w", err)
}

// lockFile opens a file and locks it, or returns unix.EWOULDBLOCK where another has it locked.
func lockFile(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
