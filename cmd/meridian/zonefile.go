package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"meridian/spec"
	"meridian/store"
	"meridian/store/etcd"
	"meridian/store/zonefile"
	"meridian/zones"
)

func importCommand() *cobra.Command {
	var zone string
	var put, prune, partial bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "import FILE --zone ZONE",
		Short: "Turn a zone file into a manifest, or put it into the registry",
		Long: `Turn a zone file into a manifest on standard output, or put it into the registry. "-" reads standard input.

It takes what BIND takes: $ORIGIN, $TTL, $GENERATE, and $INCLUDE of files below the folder of FILE.
What cannot be taken is said line by line, and then nothing is written. The records of a
signer (RRSIG, NSEC, NSEC3, NSEC3PARAM, DNSKEY, CDS, CDNSKEY, SIG, NXT) and ZONEMD are left out.`,
		Example: "  meridian import example.com.zone --zone example.com > example.com.json\n" +
			"  dig @ns1.example.net example.com AXFR | meridian import - --zone example.com --apply",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prune && !put {
				return errors.New("--prune: there is nothing to delete from without --apply")
			}
			if cmd.Flags().Changed("wait") && !put {
				return errors.New("--wait: there is nothing to wait for without --apply")
			}
			if err := checkWait(cmd.Flags(), wait); err != nil {
				return err
			}
			apex, err := parseZone(zone)
			if err != nil {
				return err
			}
			keys, remarks, err := readZone(cmd.InOrStdin(), args[0], apex)
			if err != nil {
				return err
			}
			if refused := printRemarks(cmd.ErrOrStderr(), remarks); refused > 0 && !partial {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s refused, so nothing was written; --partial writes the rest\n", count(refused, "line"))
				return errSaid
			}
			if !put {
				return zonefile.WriteManifest(cmd.OutOrStdout(), keys)
			}
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			registry, err := openRegistry(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer registry.Close()
			done, problems, err := putZone(cmd.Context(), registry, apex, keys, prune)
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				printZoneProblems(cmd.ErrOrStderr(), keys, problems)
				fmt.Fprintln(cmd.ErrOrStderr(), "nothing was put")
				return errSaid
			}
			fmt.Fprintln(cmd.OutOrStdout(), done.said)
			if wait > 0 {
				return awaitServers(cmd.Context(), registry, done, wait, cmd.OutOrStdout())
			}
			return nil
		},
	}
	addZoneFlag(c, &zone)
	c.Flags().BoolVar(&put, "apply", false, "put the keys into the registry, as apply does")
	addWaitFlag(c.Flags(), &wait)
	c.Flags().BoolVar(&prune, "prune", false, "with --apply, delete the zone's static records that the file does not have; steered names stay")
	c.Flags().BoolVar(&partial, "partial", false, "write what is good also if something is refused")
	c.MarkFlagsMutuallyExclusive("prune", "partial") // what is refused would be deleted
	addEtcdFlags(c.Flags())
	return c
}

func exportCommand() *cobra.Command {
	var zone string
	c := &cobra.Command{
		Use:   "export --zone ZONE",
		Short: "Write a zone of the registry as a zone file",
		Long: `Write a zone of the registry as a zone file on standard output. What a zone file cannot say, steered
names, and what is not served becomes a comment.`,
		Example: "  meridian export --zone example.com > example.com.zone",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			apex, err := parseZone(zone)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			registry, err := openRegistry(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer registry.Close()
			now, err := registry.Read(cmd.Context())
			if err != nil {
				return err
			}
			var file bytes.Buffer
			if err := writeZone(&file, apex, now); err != nil {
				return err
			}
			_, err = file.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	addZoneFlag(c, &zone)
	addEtcdFlags(c.Flags())
	return c
}

func addZoneFlag(c *cobra.Command, zone *string) {
	c.Flags().StringVar(zone, "zone", "", "`name` of the zone")
	c.MarkFlagRequired("zone")
}

func parseZone(text string) (zones.Owner, error) {
	if text != "." {
		text = strings.TrimSuffix(text, ".")
	}
	apex, err := zones.ParseOwner(text, "@")
	if err != nil {
		return apex, fmt.Errorf("--zone: %w", err)
	}
	return apex, nil
}

// readZone reads a zone file, and what it includes from its folder.
func readZone(stdin io.Reader, file string, apex zones.Owner) ([]zonefile.Key, []zonefile.Remark, error) {
	if file == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, nil, err
		}
		keys, remarks := zonefile.Read(file, text, apex, zonefile.Folder{})
		return keys, remarks, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, nil, err
	}
	// A root cannot be left, by ".." or by a symbolic link.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	keys, remarks := zonefile.Read(file, text, apex, zonefile.Folder{FS: root.FS(), Dir: dir})
	return keys, remarks, nil
}

func printRemarks(w io.Writer, remarks []zonefile.Remark) (refused int) {
	for _, r := range remarks {
		fmt.Fprintln(w, r)
		if r.Refused {
			refused++
		}
	}
	return refused
}

// printZoneProblems says what keeps keys of a zone file from being put, and in which line they begin.
func printZoneProblems(w io.Writer, keys []zonefile.Key, problems []store.Problem) {
	places := map[string]zonefile.Place{}
	for _, k := range keys {
		places[k.Key] = k.Place
	}
	for _, p := range problems {
		if at, ok := places[p.Key]; ok {
			fmt.Fprintf(w, "%s: ", at)
		}
		fmt.Fprintln(w, p)
	}
}

// putZone puts the keys of a zone. Problems are what keeps them from being put.
func putZone(ctx context.Context, registry *etcd.Registry, apex zones.Owner, keys []zonefile.Key, prune bool) (done commitment, problems []store.Problem, err error) {
	now, err := registry.Read(ctx)
	if err != nil {
		return done, nil, err
	}
	changes, problems := planZone(apex, keys, prune, now)
	if len(problems) > 0 {
		return done, problems, nil
	}
	done, err = commit(ctx, registry, changes, now)
	wanted := map[string]bool{}
	for _, k := range keys {
		wanted[k.Key] = true
	}
	done.found(wanted, now)
	return done, nil, err
}

// planZone is store.Plan for a zone. prune deletes the names' static RRsets that keys lack. Steered
// names stay, since no zone file can have them.
func planZone(apex zones.Owner, keys []zonefile.Key, prune bool, now store.Update) ([]store.Change, []store.Problem) {
	var m store.Manifest
	wanted := map[string]bool{}
	for _, k := range keys {
		m = append(m, store.ManifestEntry{Key: k.Key, Value: k.Value})
		wanted[k.Key] = true
	}
	names := "zone/" + apex.ZoneText() + "/name/"
	var deletes []store.Change
	kept := now // what the keys must be able to stand beside
	kept.Entries = nil
	for _, e := range now.Entries {
		if prune && strings.HasPrefix(e.Key, names) && !strings.HasSuffix(e.Key, "/steer") && !wanted[e.Key] {
			deletes = append(deletes, store.Change{Key: e.Key, Delete: true, ReadRevision: e.Revision})
		} else {
			kept.Entries = append(kept.Entries, e)
		}
	}
	changes, problems := store.Plan(m, "", kept)
	return append(changes, deletes...), problems
}

// writeZone writes a zone of what the registry holds.
func writeZone(w io.Writer, apex zones.Owner, now store.Update) error {
	registry := store.NewRegistry(slog.New(slog.DiscardHandler))
	snapshot := registry.Apply(now)
	var keys []zonefile.Key
	for _, e := range now.Entries {
		if strings.HasPrefix(e.Key, "zone/"+apex.ZoneText()+"/name/") {
			keys = append(keys, zonefile.Key{Key: e.Key, Value: e.Value})
		}
	}
	faults := map[string]string{}
	for _, f := range registry.Faults() {
		faults[f.Key] = (&spec.Error{Field: f.Field, Line: f.Line, Msg: f.Error}).Error()
	}
	return zonefile.Write(w, snapshot, apex, keys, faults)
}
