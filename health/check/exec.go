package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"meridian/health"
)

// execCheck runs a command.
type execCheck struct {
	*vantage
	spec *health.Exec
}

func (v *vantage) newExec(spec *health.Exec) prober {
	c := &execCheck{v, spec}
	return c.probe
}

// maxCommands is how many commands run at once. Each is a process that wants memory and a processor, of which the other
// looks, that are timed, have need too. Where a command takes a tenth of a second, as many make 3,200 looks in 10 s.
const maxCommands = 32

// lookInTurn is t.look, of a command once one of the places for these is free. It waits in the order in which looks fell due,
// and before its timeout begins: that others take long says nothing of t.
func (r *Runner) lookInTurn(ctx context.Context, t *target) error {
	if t.Spec.Exec == nil {
		return t.look(ctx)
	}
	select {
	case r.commands <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.commands }()
	return t.look(ctx)
}

// stragglers is how long what a command has started may hold its output once it has ended itself.
const stragglers = 100 * time.Millisecond

func (c *execCheck) probe(ctx context.Context, t *target) error {
	if c.execDir == "" {
		return &unableError{"exec is not allowed here, see checker.exec_dir"}
	}
	if err := c.networks.permit(t.Addr.Addr()); err != nil { // the command is told whom to touch
		return err
	}
	var said head
	cmd := exec.CommandContext(ctx, filepath.Join(c.execDir, c.spec.Command), c.spec.Args...)
	cmd.Dir = c.execDir
	cmd.Env = c.environment(t)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and what it has started
	cmd.WaitDelay = stragglers
	if err := cmd.Start(); err != nil {
		return c.startFault(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case errors.As(err, &exit):
		if line := words(string(said)); line != "" {
			return errors.New(line)
		}
		return errors.New(exit.String())
	}
	return plain(err)
}

// environment is all that the command gets of ours: nothing of the checker's, which may hold passwords.
func (c *execCheck) environment(t *target) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "MERIDIAN_ADDR=" + t.Addr.Addr().String(), "MERIDIAN_PORT="}
	if port := t.Addr.Port(); port != 0 {
		env[2] += strconv.Itoa(int(port))
	}
	return env
}

// startFault is why a command did not start: where the file is what is wrong, that stays so until
// somebody mends it.
func (c *execCheck) startFault(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELOOP, syscall.EPERM:
			return &unableError{fmt.Sprintf("%s in checker.exec_dir: %v", c.spec.Command, errno)}
		}
	}
	return plain(err)
}

// head keeps the first 4 KiB that are written to it, and takes the rest.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 4096-len(*h))]...)
	return len(p), nil
}
