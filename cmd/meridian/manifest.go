package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meridian/store"
	"meridian/store/etcd"
)

func lintCommand() *cobra.Command {
	var expand bool
	c := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check manifests: every key, value and reference",
		Long: `Check manifests: every key, value and reference. "-" reads standard input.

Without --etcd-endpoints a manifest is looked at for itself, and must hold all that it refers to.
With them it is looked at together with what the registry holds now.

--expand shows what the policies mean: the chain of steps behind a short name, and what is not said.`,
		Example: "  meridian lint testdata/sample.json\n  meridian lint --expand testdata/sample.json\n" +
			"  meridian lint --etcd-endpoints 127.0.0.1:2379 change.json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			var now store.Update
			if len(cfg.Etcd.Endpoints) > 0 {
				registry, err := openRegistry(cmd.Context(), cfg)
				if err != nil {
					return err
				}
				defer registry.Close()
				if now, err = registry.Read(cmd.Context()); err != nil {
					return err
				}
			}
			faulty := false
			for _, file := range files {
				m, err := readManifest(cmd.InOrStdin(), file)
				if err != nil {
					return err
				}
				problems := store.Lint(m, now)
				printProblems(cmd.OutOrStdout(), file, problems)
				if faulty = faulty || len(problems) > 0; len(problems) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, all good\n", file, count(len(m), "key"))
				}
				if expand {
					if err := writePolicies(cmd.OutOrStdout(), store.Policies(m, now)); err != nil {
						return err
					}
				}
			}
			if faulty {
				return errSaid
			}
			return nil
		},
	}
	c.Flags().BoolVar(&expand, "expand", false, "show the steps and defaults of each pool's policy")
	addEtcdFlags(c.Flags())
	return c
}

func applyCommand() *cobra.Command {
	var prune string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a manifest into the registry, all of it or nothing",
		Long: `Put a manifest into the registry. "-" reads standard input.

All of it is checked first, together with what the registry holds; one wrong key, and nothing is put.
Up to 128 changed keys go in as one transaction, which fails if somebody else changed one of them
meanwhile. More go in as several, in an order in which nothing refers to what is not there yet.

With --wait it ends when every live server answers the change, and says which does not, or which keys
of the manifest a server does not serve as they stand.`,
		Example: "  meridian apply change.json\n  meridian apply --prune pool/shop/ shop.json\n  meridian apply --wait=30s change.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if err := checkPrune(prune); cmd.Flags().Changed("prune") && err != nil {
				return err
			}
			if err := checkWait(cmd.Flags(), wait); err != nil {
				return err
			}
			m, err := readManifest(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			registry, err := openRegistry(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer registry.Close()
			done, problems, err := apply(cmd.Context(), registry, m, prune)
			if err != nil {
				return err
			}
			printProblems(cmd.OutOrStdout(), args[0], problems)
			if len(problems) > 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing was put")
				return errSaid
			}
			fmt.Fprintln(cmd.OutOrStdout(), done.said)
			if wait > 0 {
				return awaitServers(cmd.Context(), registry, done, wait, cmd.OutOrStdout())
			}
			return nil
		},
	}
	addWaitFlag(c.Flags(), &wait)
	c.Flags().StringVar(&prune, "prune", "", "delete the keys below this `prefix/` that the manifest does not have")
	addEtcdFlags(c.Flags())
	return c
}

// checkPrune keeps --prune from reaching a neighbour: pool/web is also the start of pool/web2/.
func checkPrune(prefix string) error {
	if strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") {
		return fmt.Errorf(`--prune: %q is not a prefix such as "pool/web/": no leading slash, a trailing one`, prefix)
	}
	return nil
}

// apply puts m. Problems are what keeps it from being put.
func apply(ctx context.Context, registry *etcd.Registry, m store.Manifest, prune string) (done commitment, problems []store.Problem, err error) {
	now, err := registry.Read(ctx)
	if err != nil {
		return done, nil, err
	}
	changes, problems := store.Plan(m, prune, now)
	if len(problems) > 0 {
		return done, problems, nil
	}
	done, err = commit(ctx, registry, changes, now)
	keys := map[string]bool{}
	for _, e := range m {
		keys[e.Key] = true
	}
	done.found(keys, now)
	return done, nil, err
}

// commitment is a change of the registry that was made.
type commitment struct {
	said     string           // in words
	began    int64            // revision of its first transaction
	revision int64            // of its last; where there was nothing to change, of the registry's last change before
	deletes  bool             // it took keys away
	keys     map[string]int64 // those that it put, or found there already, and their revisions
}

// commit makes changes that were planned on what there is now.
func commit(ctx context.Context, registry *etcd.Registry, changes []store.Change, now store.Update) (commitment, error) {
	c := commitment{keys: map[string]int64{}}
	if len(changes) == 0 {
		c.said = fmt.Sprintf("nothing to change: the registry holds all of it (revision %d)", now.Revision)
		for _, e := range now.Entries {
			c.revision = max(c.revision, e.Revision)
		}
		c.began = c.revision
		return c, nil
	}
	done, transactions := 0, 0
	for done < len(changes) {
		batch := changes[done:min(done+etcd.MaxChanges, len(changes))]
		revision, err := registry.Commit(ctx, batch)
		var conflict *etcd.ConflictError
		switch {
		case errors.As(err, &conflict):
			return c, fmt.Errorf("%d of %d changes were put; %w: apply it again", done, len(changes), err)
		case err != nil:
			return c, fmt.Errorf("%d of %d changes were put: %w", done, len(changes), err)
		}
		c.made(batch, revision)
		done += len(batch)
		transactions++
	}
	c.said = fmt.Sprintf("changed at revision %d: %s", c.revision, count(done, "key"))
	if transactions > 1 {
		c.said = fmt.Sprintf("%d keys changed in %d transactions, the last at revision %d: not atomic, servers saw it come in parts",
			done, transactions, c.revision)
	}
	return c, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func readManifest(stdin io.Reader, file string) (store.Manifest, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	m, err := store.ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

func printProblems(w io.Writer, file string, problems []store.Problem) {
	for _, p := range problems {
		fmt.Fprintf(w, "%s:%s\n", file, p)
	}
}

// openRegistry connects a command to the registry: the endpoints, or the embedded etcd of a server
// on this host.
func openRegistry(ctx context.Context, cfg Config) (*etcd.Registry, error) {
	return etcd.Open(ctx, etcdConfig(cfg.Etcd), slog.New(slog.DiscardHandler))
}

func etcdConfig(c EtcdConfig) etcd.Config {
	return etcd.Config{
		Endpoints: c.Dial(),
		Prefix:    c.Prefix,
		Username:  c.Username,
		Password:  c.Password,
		CertFile:  c.CertFile,
		KeyFile:   c.KeyFile,
		CAFile:    c.CAFile,
	}
}
