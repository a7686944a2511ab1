package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// backendCommand is a member to try a registry with: an HTTP server that says its name.
func backendCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "backend NAME ADDRESS:PORT",
		Short:   "A small HTTP server to balance, for trying things out",
		Example: "  meridian backend fra1 127.0.0.11:8080",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := untilSignal()
			defer stop()
			mux := http.NewServeMux()
			mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
			mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from", args[0]) })
			s := &http.Server{Addr: args[1], Handler: mux, ReadHeaderTimeout: 5 * time.Second}
			go func() {
				<-ctx.Done()
				grace, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				s.Shutdown(grace)
			}()
			if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
}
