#!/usr/bin/env python3
"""report.py [--pair OLD NEW | --peers] SAMPLES: the tables of what was measured, in Markdown.

A line of SAMPLES: round, mode, label of the echo whose replies are as long, and what lg -k prints. Figures are medians
with their range. A ratio is the median of the ratios within each round, with the interval that holds the true median
with 95 % (by order statistics; the whole range where there are fewer than six rounds).

--pair adds the ratio of rows …-NEW to rows …-OLD; --peers a table of the ratios of peers to meridian.
Exit 1 if an answer was wrong, if any was lost at a rate that was given, or if a weighted row's shares are not 5:3:2.
"""
import argparse
import math
import statistics
import sys

COLUMNS = ("label", "qps", "cpu", "core", "busy", "user_ticks", "lost", "wrong", "p50", "p99", "p999", "switches",
           "bytes", "idle_polls", "generator", "server", "user", "growth", "shares")
MODES = {"max": "no EDNS, saturating", "ecs": "EDNS with a random client subnet, saturating",
         "20k": "20,000 queries a second"}
SHARES, TOLERANCE = (50, 30, 20), 2  # percent, points


def read(path):
    """mode → label → round → sample"""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            number, mode, echo, label, *figures, shares = line.rstrip("\n").split("\t")
            sample = dict(zip(COLUMNS[1:-1], map(float, figures)), label=label, echo=echo, shares=shares)
            rows.setdefault(mode, {}).setdefault(label, {})[int(number)] = sample
    return {mode: {label: rows[mode][label] for label in sorted(rows[mode], key=place)} for mode in MODES if mode in rows}


def place(label):
    """Where a row stands in its table: echoes, ours, peers."""
    return not label.startswith("echo+"), not label.startswith("meridian-"), label


def interval(values):
    """The closest order statistics that enclose the median with at least 95 %; the outermost where none do."""
    values, n, k, outside = sorted(values), len(values), 0, 0.0
    while k < n // 2:
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 0.05:
            break
        k += 1
    k = max(k - 1, 0)
    return values[k], values[n - 1 - k]


def ratio(ours, theirs):
    both = [s["cpu"] / theirs[r]["cpu"] for r, s in ours.items() if r in theirs and theirs[r]["cpu"]]
    if not both:
        return "–"
    return "%.3f (%.3f–%.3f)" % (statistics.median(both), *interval(both))


def spread(samples, form, of):
    values = [of(s) for s in samples.values()]
    return "%s (%s–%s)" % tuple(form % f(values) for f in (statistics.median, min, max))


def user(samples):
    """µs a query: the mean. Ticks are too coarse for a mode or a machine in which it is not watched."""
    values = [s["user"] for s in samples.values() if s["user"] >= 0]
    return "%.3f" % statistics.fmean(values) if values else "–"


def markdown(heads, lines):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads)] + lines)


def table(rows, pair):
    heads = ["server", "kqps", "CPU µs/q", "CPU ÷ echo's", "user µs/q", "p50 µs", "p99 µs", "reply bytes", "wrong",
             "lost %"]
    if pair:
        heads.insert(4, "÷ " + pair[0])
    lines = []
    for label, samples in rows.items():
        one = next(iter(samples.values()))
        cells = [
            label, spread(samples, "%.0f", lambda s: s["qps"] / 1e3), spread(samples, "%.2f", lambda s: s["cpu"]),
            "1" if label == one["echo"] else ratio(samples, rows.get(one["echo"], {})), user(samples),
            spread(samples, "%.0f", lambda s: s["p50"]), spread(samples, "%.0f", lambda s: s["p99"]),
            "query + %.0f" % one["growth"], "%.0f" % sum(s["wrong"] for s in samples.values()),
            "%.3f" % max(s["lost"] for s in samples.values())]
        if pair:
            old = rows.get(label.removesuffix(pair[1]) + pair[0], {}) if label.endswith("-" + pair[1]) else {}
            cells.insert(4, ratio(samples, old))
        lines.append(cells)
    return markdown(heads, lines)


def beside_peers(measured):
    """CPU a query of each peer ÷ meridian's, within the round: at the same work, or at static answers if it has none."""
    lines = []
    labels = list(dict.fromkeys(label for rows in measured.values() for label in rows))
    ours = [label for label in labels if label.startswith("meridian-")]
    peers = [label.rsplit("-", 1) for label in labels if not label.startswith(("meridian-", "echo+"))]
    for own in ours:
        work = own.split("-", 1)[1]
        for server in dict.fromkeys(name for name, _ in peers):
            label = "%s-%s" % (server, work if [server, work] in peers else "3A")
            if label in labels:
                lines.append([own, label] + [ratio(rows.get(label, {}), rows.get(own, {}))
                                             for rows in measured.values()])
    return markdown(["meridian", "peer"] + ["CPU ÷ meridian's, " + mode for mode in measured], lines)


def faults(measured):
    for mode, rows in measured.items():
        for label, samples in rows.items():
            if label.startswith("echo+"):
                continue
            if wrong := sum(s["wrong"] for s in samples.values()):
                yield label, "%s, %s: %d wrong answers" % (label, mode, wrong)
            if mode == "20k" and (lost := max(s["lost"] for s in samples.values())):
                yield label, "%s, %s: %.3f %% lost" % (label, mode, lost)
            if "weighted" in label:
                got = [statistics.fmean(v) for v in zip(*(map(float, s["shares"].split("/")) for s in samples.values()))]
                if any(abs(g - want) > TOLERANCE for g, want in zip(got, SHARES)):
                    yield label, "%s, %s: shares of %s %%, expected 50, 30, 20" % (label, mode, ", ".join("%.1f" % g for g in got))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--pair", nargs=2, metavar=("OLD", "NEW"))
    args.add_argument("--peers", action="store_true")
    args.add_argument("samples")
    args = args.parse_args()
    measured = read(args.samples)
    if not measured:
        sys.exit("report.py: %s: no samples" % args.samples)
    for mode, rows in measured.items():
        rounds = max(len(samples) for samples in rows.values())
        print("\nMode %s: %s. Rounds: %d\n\n%s" % (mode, MODES[mode], rounds, table(rows, args.pair)))
    if args.peers:
        print("\n" + beside_peers(measured))
    failed = False
    for label, fault in faults(measured):
        ours = not args.peers or label.startswith("meridian")
        print("\n%s: %s" % ("FAULT" if ours else "Of a peer", fault))
        failed |= ours
    sys.exit(failed)


if __name__ == "__main__":
    main()
