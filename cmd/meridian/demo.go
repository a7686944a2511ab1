package main

import (
	"context"
	"fmt"
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
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
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
				fmt.Fprint(cmd.OutOrStdout(), whatToTry(cfg))
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
	return fmt.Sprintf(`
Meridian answers. In another terminal, try:

  dig @127.0.0.1 -p 5300 www.example.com +short          # weighted 2:1:1, again and again
  dig @127.0.0.1 -p 5300 all.example.com +short          # all that are up
  dig @127.0.0.1 -p 5300 app.example.com +short          # fra1, while it is up

  pkill -f 'meridian backend fra1'                       # a backend dies …
  bin/meridian explain app.example.com                   # … and the answer says why it changed
  bin/meridian backend fra1 127.0.0.11:8080 &            # … until it is back

  export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=%s
  etcdctl get --prefix /gslb/pool/web/
  etcdctl put /gslb/pool/web/member/fra2 127.0.0.12      # weight 1, no port: the check's default is 80, so it goes down
  etcdctl put /gslb/zone/example.com/name/hello/TXT '"a record of my own"'
  dig @127.0.0.1 -p 5300 hello.example.com TXT +short

Ctrl-C ends it; the registry stays in %s.
`, cfg.Etcd.Listen, cfg.DataDir)
}
