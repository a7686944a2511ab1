// Meridian is an authoritative DNS server that balances load globally.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meridian/spec"
)

// version is set by the linker (see the Makefile).
var version = "unknown"

func main() {
	if err := rootCommand().Execute(); err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, "meridian:", err)
		}
		os.Exit(1)
	}
}

// untilSignal is the context of a command that runs until it is told to stop. A second signal ends
// the process at once.
func untilSignal() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// errSaid ends a command that has printed what is wrong.
var errSaid = errors.New("said already")

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "meridian",
		Short:         "An authoritative DNS server that balances load globally",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(suggestFlag)
	root.AddCommand(serveCommand(), checkerCommand(), explainCommand(), simulateCommand(), statusCommand(), lintCommand(), applyCommand(), importCommand(), exportCommand(), drainCommand(), undrainCommand(), rolesCommand(), demoCommand(), backendCommand(), referenceCommand())
	return root
}

// suggestFlag adds to the error of a misspelt flag the one that was meant.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return fmt.Errorf("%w%s", err, spec.Suggest(unknown.GetSpecifiedName(), known))
}

func newLog(c LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
