package main

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

// reference is made of the Go types that values are decoded into, and of the comments of their fields.
//
//go:generate go test . -run ^TestReference$ -update
//go:embed reference.md
var reference string

func referenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Write what can stand in the registry: each key, its fields, their types, defaults and ranges",
		Long: `Write what can stand in the registry, in Markdown: each key, the fields of its value, and their types,
defaults and ranges. It is REFERENCE.md of this version.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), reference)
			return err
		},
	}
}
