package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"meridian/spec"
	"meridian/store"
	"meridian/store/etcd"
)

func rolesCommand() *cobra.Command {
	var apply bool
	c := &cobra.Command{
		Use:   "roles [ROLE [NAME...]]",
		Short: "Show who needs which permissions in etcd, and make roles of them",
		Long: `Show who needs which permissions in etcd, and make roles of them.

Alone it lists the roles and what each may. With a role, and whose it is, it prints the etcdctl commands that make
it, one role of etcd a name. With --apply it makes them itself: a role that is there already is given what it
lacks, and what it is not to have is taken from it. etcd's users, their passwords and their roles are yours.`,
		Example: "  meridian roles\n  meridian roles checker fra-1 lon-1\n  meridian roles pool shop. --apply\n  meridian roles operator --apply",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if apply {
					return fmt.Errorf("--apply: of which role? One of %s", strings.Join(roleNames(), ", "))
				}
				return writeRoles(cmd.OutOrStdout(), cfg.Etcd.Prefix)
			}
			list, err := chooseRoles(args, cfg.Etcd.Prefix)
			if err != nil {
				return err
			}
			if !apply {
				return writeCommands(cmd.OutOrStdout(), list)
			}
			registry, err := openRegistry(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer registry.Close()
			for _, r := range list {
				done, err := registry.MakeRole(cmd.Context(), r.name, r.permissions)
				if text := changeText(r.name, done); text != "" {
					fmt.Fprint(cmd.OutOrStdout(), text)
				} else if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing to change\n", r.name)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&apply, "apply", false, "make the roles in etcd")
	addEtcdFlags(c.Flags())
	return c
}

// etcdRole is a role as etcd knows it.
type etcdRole struct {
	name        string
	permissions []store.Permission
}

func roleNames() (names []string) {
	for _, r := range store.Roles {
		names = append(names, r.Name)
	}
	return names
}

// chooseRoles reads a role and whose it is.
func chooseRoles(args []string, prefix string) (list []etcdRole, err error) {
	i := slices.Index(roleNames(), args[0])
	if i < 0 {
		return nil, fmt.Errorf("%q is no role, expected one of %s%s", args[0], strings.Join(roleNames(), ", "), spec.Suggest(args[0], roleNames()))
	}
	of := args[1:]
	if len(of) == 0 {
		of = []string{""}
	}
	for _, it := range of {
		var r etcdRole
		if r.name, r.permissions, err = store.Roles[i].For(it, prefix); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// writeRoles writes the table of all roles.
func writeRoles(w io.Writer, prefix string) error {
	rows := [][]cell{{{text: "ROLE"}, {text: "MAY"}, {text: "KEYS"}}}
	for _, r := range store.Roles {
		name := strings.TrimSpace(r.Name + " " + r.Of)
		for _, p := range r.Form(prefix) {
			keys := p.Key
			switch {
			case p.Below():
				keys += "…"
			case p.End != "":
				keys += " to " + p.End
			}
			rows = append(rows, []cell{{text: name}, {text: string(p.Access)}, {text: keys}})
			name = ""
		}
	}
	var b strings.Builder
	writeTable(&b, rows, false)
	b.WriteByte('\n')
	for _, r := range store.Roles {
		fmt.Fprintf(&b, "%-9s %s\n", r.Name, r.About)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCommands writes the commands that make roles.
func writeCommands(w io.Writer, list []etcdRole) error {
	for _, r := range list {
		if _, err := fmt.Fprintf(w, "etcdctl role add %s\n", quoted(r.name)); err != nil {
			return err
		}
		for _, p := range r.permissions {
			option, keys := "", quoted(p.Key)
			switch {
			case p.Below():
				option = "--prefix "
			case p.End != "":
				keys += " " + quoted(p.End)
			}
			if _, err := fmt.Fprintf(w, "etcdctl role grant-permission %s%s %s %s\n", option, quoted(r.name), p.Access, keys); err != nil {
				return err
			}
		}
	}
	return nil
}

// plainWord is what a shell leaves as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9:./_-]+$`)

// quoted is a word for a POSIX shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// changeText says what has been done to a role, "" for nothing, such as
//
//	gslb:checker:fra1: made
//	  granted read /gslb/…
func changeText(name string, done etcd.RoleChange) string {
	var b strings.Builder
	switch {
	case done.Made:
		fmt.Fprintf(&b, "%s: made\n", name)
	case len(done.Granted)+len(done.Revoked) > 0:
		fmt.Fprintf(&b, "%s: changed\n", name)
	default:
		return ""
	}
	for _, p := range done.Granted {
		fmt.Fprintf(&b, "  granted %s\n", p)
	}
	for _, p := range done.Revoked {
		fmt.Fprintf(&b, "  revoked %s\n", p)
	}
	return b.String()
}
