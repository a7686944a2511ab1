package main

import (
	"github.com/spf13/cobra"

	"meridian/server/admin"
)

func explainCommand() *cobra.Command {
	var server, client, subnet string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain NAME [TYPE]",
		Short: "Show how a running server answers a query, step by step, and why",
		Example: "  meridian explain www.example.com\n" +
			"  meridian explain www.example.com AAAA --client 203.0.113.7 --json\n" +
			"  meridian explain www.example.com --subnet 203.0.113.0/24",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			typ := "" // the server's default, A
			if len(args) == 2 {
				typ = args[1]
			}
			e, err := admin.Fetch(cmd.Context(), server, args[0], typ, client, subnet)
			if err != nil {
				return err
			}
			if asJSON {
				return e.WriteJSON(cmd.OutOrStdout())
			}
			return e.WriteText(cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&server, "server", "127.0.0.1:8053", "`host:port` of the server's HTTP")
	c.Flags().StringVar(&client, "client", "", "`address` of the client (default the one that asks)")
	c.Flags().StringVar(&subnet, "subnet", "", "`network` of the client that a resolver asks for (RFC 7871)")
	c.Flags().BoolVar(&asJSON, "json", false, "JSON, for programs")
	return c
}
