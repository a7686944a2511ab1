package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
)

// backends of the sample registry.
var backends = [][2]string{
	{"fra1", "127.0.0.11:8080"},
	{"fra2", "127.0.0.12:8080"},
	{"nyc1", "127.0.0.13:8080"},
}

// demoCommand is serve, with something to serve.
func demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo MANIFEST",
		Short: "Serve, with a sample registry and three backends (make run)",
		Long: `Serve, with three small HTTP backends on loopback addresses, and MANIFEST put into the registry if
that is empty. Options are those of serve.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			m, err := readManifest(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			for _, b := range backends {
				if err := startBackend(ctx, b[0], b[1]); err != nil {
					return err
				}
			}
			return serve(ctx, cfg, newLog(cfg.Log), func(ctx context.Context, r running) error {
				now, err := r.registry.Read(ctx)
				if err != nil {
					return err
				}
				if len(now.Entries) == 0 {
					_, problems, err := apply(ctx, r.registry, m, "")
					if err != nil {
						return err
					}
					printProblems(cmd.ErrOrStderr(), args[0], problems)
				}
				select {
				case <-r.settled:
					fmt.Fprint(cmd.OutOrStdout(), whatToTry(cfg))
				case <-ctx.Done():
				}
				return nil
			})
		},
	}
	addServeFlags(c.Flags())
	return c
}

// startBackend starts one in a process of its own, which can be killed alone and goes with ctx.
func startBackend(ctx context.Context, name, addr string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, "backend", name, addr)
	c.Stderr = os.Stderr
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 2 * time.Second
	if err := c.Start(); err != nil {
		return err
	}
	go c.Wait()
	return nil
}

func whatToTry(cfg Config) string {
	_, port, _ := net.SplitHostPort(cfg.DNS.Listen[0])
	return fmt.Sprintf(`
Meridian answers. In another terminal, try:

  dig @127.0.0.1 -p %[1]s www.example.com +short      # one of three, by weight 2:1:1
  dig @127.0.0.1 -p %[1]s all.example.com +short      # all that are up
  dig @127.0.0.1 -p %[1]s app.example.com +short      # fra1, while it is up

  pkill -f 'meridian backend fra1'                   # a backend dies; a second or two later
  bin/meridian explain app.example.com               # the answer has changed, and this says why
  bin/meridian backend fra1 127.0.0.11:8080 &        # it comes back

  export ETCDCTL_ENDPOINTS=%[2]s
  etcdctl get --prefix %[3]s/pool/
  etcdctl put %[3]s/pool/web/member/nyc1 '{"addr":["127.0.0.13"],"port":8080,"weight":20,"site":"nyc"}'
  etcdctl put %[3]s/zone/example.com/name/hello/TXT '"a record of my own"'
  dig @127.0.0.1 -p %[1]s hello.example.com TXT +short
  etcdctl put %[3]s/pool/web/policy '{"policy":"failoover"}'    # a typo changes nothing …
  etcdctl get --prefix %[3]s-live/error/                       # … and is reported here

Ctrl-C ends it; the registry stays in %[4]s.

`, port, cfg.Etcd.Listen, cfg.Etcd.Prefix, cfg.DataDir)
}
