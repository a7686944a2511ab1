package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meridian/server/admin"
	"meridian/zones/explain"
)

// explainFlags are what is typed to explain.
type explainFlags struct {
	question explain.Question
	server   string // host:port
	revision int64  // 0: what the server serves now
	replay   string // path; "": none
	json     bool
}

func explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain NAME [TYPE]",
		Short: "Show how a query is answered, step by step, and why",
		Long: `Show how a running server answers a query, step by step, and why.

With --random and --revision, which every explanation ends with, it is made again: by the server, if that still serves
the revision, else from the registry as etcd has it at that revision, while it does (etcd forgets when it compacts). What
health was then nobody knows, but --replay takes it, and all else, from an explanation that was kept as JSON.

Over DNS an explanation is the TXT of _explain.NAME, of _aaaa._explain.NAME for another type than A, for those who
ask from the networks that the zone allows: "explain" of its soa, by default loopback.`,
		Example: "  meridian explain www.example.com\n" +
			"  meridian explain www.example.com AAAA --client 203.0.113.7 --json > answer.json\n" +
			"  meridian explain www.example.com --subnet 203.0.113.0/24 --random 812 --revision 1207\n" +
			"  meridian explain --replay answer.json",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.take(cmd.Flags(), args); err != nil {
				return err
			}
			e, err := f.explanation(cmd)
			if err != nil {
				return err
			}
			if f.json {
				return e.WriteJSON(cmd.OutOrStdout())
			}
			return e.WriteText(cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.server, "server", "127.0.0.1:8053", "`host:port` of the server's HTTP")
	c.Flags().StringVar(&f.question.Client, "client", "", "`address` of the client (default the one that asks)")
	c.Flags().StringVar(&f.question.Subnet, "subnet", "", "`network` of the client that a resolver asks for (RFC 7871)")
	c.Flags().StringVar(&f.question.Random, "random", "", "`number` that decides the draws (default a fresh one)")
	c.Flags().Int64Var(&f.revision, "revision", 0, "`revision` of the registry to answer from (default the newest)")
	c.Flags().StringVar(&f.replay, "replay", "", "`file` of an explanation as JSON, to be made again; - is standard input")
	c.Flags().BoolVar(&f.json, "json", false, "JSON, for programs")
	addPastFlags(c.Flags())
	return c
}

// take looks at what belongs together.
func (f *explainFlags) take(flags *pflag.FlagSet, args []string) error {
	if flags.Changed("revision") && f.revision <= 0 {
		return fmt.Errorf("--revision: %d is no revision, expected one from 1 on", f.revision)
	}
	switch {
	case f.replay == "" && len(args) == 0:
		return errors.New("which NAME? (meridian explain NAME [TYPE])")
	case f.replay == "":
		f.question.Name = args[0]
		if len(args) == 2 {
			f.question.Type = args[1]
		}
		return nil
	case len(args) > 0:
		return fmt.Errorf("--replay: the file says what is asked, so leave out %q", args[0])
	}
	for _, name := range []string{"client", "subnet", "random", "revision", "server"} {
		if flags.Changed(name) {
			return fmt.Errorf("--replay: the file says all that --%s does, so leave that out", name)
		}
	}
	return nil
}

func (f *explainFlags) explanation(cmd *cobra.Command) (*explain.Explanation, error) {
	if f.replay == "" && f.revision == 0 {
		return admin.Fetch(cmd.Context(), f.server, f.question)
	}
	asked, p := f.question, past{revision: f.revision}
	if f.replay != "" {
		before, err := readExplanation(cmd.InOrStdin(), f.replay)
		if err != nil {
			return nil, err
		}
		asked, p = before.Question(), past{before.Revision, before}
	}
	asked.Client = cmp.Or(asked.Client, "127.0.0.1")
	query, err := asked.Query(rand.Uint64())
	if err != nil {
		return nil, err
	}
	if f.replay == "" {
		// A server knows more than the registry did. That there is none is no obstacle.
		if e, err := admin.Fetch(cmd.Context(), f.server, f.question); err == nil && e.Revision == f.revision {
			return e, nil
		}
	}
	cfg, err := loadConfig(cmd.Flags(), os.Environ())
	if err != nil {
		return nil, err
	}
	return p.explain(cmd.Context(), cfg, query)
}
