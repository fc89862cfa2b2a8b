"""From raw runs to a summary: medians with their spread, ratios paired per round, and the bars, met or missed.

Pure functions over lists of records; nothing here runs or measures anything.
"""

import statistics
from operator import itemgetter

from matrix.contestants import CONTESTANTS

PEERS = tuple(name for name, contestant in CONTESTANTS.items() if contestant.role == "peer")
OURS = "ringway-uring"
COST = "server_cpu_us_per_message"
# Share of the window that a side waited for a CPU, above which it was disturbed by another process.
DISTURBED = 0.05

SMALL = (20, 1024)
LARGE = (16384, 102400, 1048576)


def cell_name(size, connections, in_flight):
    return f"{size} B × {connections} × {in_flight}"


def size_name(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def cell_title(cell):
    """A cell of the summary in words."""
    connections = f"{cell['connections']} connection{'s' if cell['connections'] != 1 else ''}"
    return f"{size_name(cell['size'])}, {connections}, {cell['in_flight']} in flight"


def cell_of(record):
    return (record["size"], record["connections"], record["in_flight"])


def is_disturbed(driver):
    """Whether anybody else used the CPUs during this run."""
    return max(driver.get("server_waiting", 0), driver.get("driver_waiting", 0)) > DISTURBED


def valid_runs(records, cell_of=cell_of, server_of=itemgetter("server")):
    """{cell: {server: {round: driver}}}: of several attempts the one least disturbed, failed ones left out.

    The choice looks at the waiting time alone, never at the result.
    """
    cells = {}
    for record in records:
        driver = record.get("driver")
        if not driver or driver.get("errors") or record.get("error"):
            continue
        rounds = cells.setdefault(cell_of(record), {}).setdefault(server_of(record), {})
        best = rounds.get(record["round"])
        waiting = driver["server_waiting"] + driver["driver_waiting"]
        if best is None or waiting < best["server_waiting"] + best["driver_waiting"]:
            rounds[record["round"]] = driver
    return cells


def spread(values):
    values = list(values)
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def server_summary(rounds):
    runs = list(rounds.values())

    def of(field):
        return spread(run[field] for run in runs)

    return {
        "cpu_us_per_message": of(COST),
        "messages_per_s": of("messages_per_s"),
        "server_utilisation": of("server_utilisation"),
        "driver_utilisation": of("driver_utilisation"),
        "driver_cpu_us_per_message": of("driver_cpu_us_per_message"),
        "server_resident_kib": of("server_resident_kib"),
        "runs": len(runs),
        "runs_server_saturated": sum(run["server_saturated"] for run in runs),
        "runs_driver_saturated": sum(run["driver_saturated"] for run in runs),
        "runs_disturbed": sum(is_disturbed(run) for run in runs),
    }


def paired_ratio(ours, theirs):
    """Per round that both have: ours / theirs; then the median and spread of these."""
    return spread(ours[r][COST] / theirs[r][COST] for r in sorted(ours.keys() & theirs.keys()) if theirs[r][COST] > 0)


def best_peer(servers):
    """The peer with the lowest median cost in this cell."""
    costs = {peer: statistics.median(run[COST] for run in servers[peer].values()) for peer in PEERS if servers.get(peer)}
    return min(costs, key=costs.get) if costs else None


def rivals(servers):
    """What OURS is compared with: {label: server}."""
    found = {name: name for name in ("bare-ring", "bare-epoll", "fastwebsockets", "ringway-epoll") if servers.get(name)}
    if peer := best_peer(servers):
        found["best peer"] = peer
    return found


def bars_of(size, in_flight):
    """The bars that apply to a cell: (label of the rival, highest ratio)."""
    if size in SMALL:
        return [("bare-ring", 1.05), ("fastwebsockets", 0.95)] if in_flight == 1 else [("bare-ring", 1.03)]
    if size in LARGE:
        return [("best peer", 0.97), ("ringway-epoll", 1.00)]
    return []


def mostly(count, total):
    return total > 0 and 2 * count > total


def judge(bar, ratio, ours, theirs):
    """One word for a bar, and what to know about it. A median decides; noise and idle servers are said, not hidden."""
    if ratio is None:
        return "no data", ""
    notes = []
    if ratio["min"] <= bar < ratio["max"]:
        notes.append("rounds on both sides of the bar")
    if ours["runs_disturbed"] or theirs["runs_disturbed"]:
        notes.append(f"disturbed runs: {ours['runs_disturbed']}/{ours['runs']} and {theirs['runs_disturbed']}/{theirs['runs']}")
    for side, name in ((ours, "ours"), (theirs, "rival")):
        if not mostly(side["runs_server_saturated"], side["runs"]):
            notes.append(f"{name} not saturated ({side['server_utilisation']['median']:.0%})")
    verdict = "met" if ratio["median"] <= bar else "missed"
    if any("not saturated" in note for note in notes):
        # The bars hold for a saturated server: otherwise the ratio is shown without a decision.
        verdict = f"not judged ({verdict} if it were)"
    return verdict, "; ".join(notes)


def summarise(records):
    """The whole summary as plain data."""
    cells = []
    for cell, servers in sorted(valid_runs(records).items()):
        size, connections, in_flight = cell
        summaries = {name: server_summary(rounds) for name, rounds in servers.items()}
        ratios, bars = {}, []
        if servers.get(OURS):
            against = rivals(servers)
            for label, rival in against.items():
                ratios[label] = {"server": rival, **(paired_ratio(servers[OURS], servers[rival]) or {})}
            for label, bar in bars_of(size, in_flight):
                rival = against.get(label)
                ratio = paired_ratio(servers[OURS], servers[rival]) if rival else None
                verdict, notes = judge(bar, ratio, summaries[OURS], summaries.get(rival))
                bars.append({"against": label, "server": rival, "bar": bar, "ratio": ratio, "verdict": verdict, "notes": notes})
        cells.append(
            {
                "size": size,
                "connections": connections,
                "in_flight": in_flight,
                "servers": summaries,
                "ratios": ratios,
                "bars": bars,
            }
        )
    failures = [
        {key: record.get(key) for key in ("size", "connections", "in_flight", "server", "round", "error")}
        for record in records
        if record.get("error")
    ]
    return {"cells": cells, "failures": failures}


def number(value):
    """Three significant digits are what these runs carry."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def with_spread(values, form=number):
    if not values or "median" not in values:
        return "–"
    return f"{form(values['median'])} ({form(values['min'])}–{form(values['max'])})"


def ratio_form(value):
    return f"{value:.3f}"


def percent(values):
    return f"{values['median']:.0%}" if values else "–"


def flags(server):
    """Marks of a row, explained under the table."""
    marks = []
    if server["runs_driver_saturated"]:
        marks.append(f"driver saturated {server['runs_driver_saturated']}/{server['runs']}")
    if not mostly(server["runs_server_saturated"], server["runs"]):
        marks.append("server not saturated")
    if server["runs_disturbed"]:
        marks.append(f"disturbed {server['runs_disturbed']}/{server['runs']}")
    return ", ".join(marks)


def markdown(summary, order, title, left_out):
    """The summary as a page."""
    lines = [f"# {title}", ""]
    lines += ["CPU of the server in µs per message, and messages per second: median (min–max) over the rounds.", ""]
    lines += bars_table(summary) + ratios_table(summary)
    lines += ["## Cells", ""]
    for cell in summary["cells"]:
        lines += cell_table(cell, order)
    lines += [
        "*Server not saturated*: in most rounds it neither ran nor was runnable for 95 % of the window; its cost then holds",
        "its sleeping and waking. *Driver saturated*: the driver was the bottleneck. *Disturbed*: one side waited for its",
        f"CPU for more than {DISTURBED:.0%} of the window, because somebody else used it.",
        "",
    ]
    if left_out:
        lines += ["## Left out", ""] + [f"- {reason}" for reason in left_out] + [""]
    if summary["failures"]:
        lines += ["## Failed runs", ""]
        for failure in summary["failures"]:
            name = cell_name(failure["size"], failure["connections"], failure["in_flight"])
            lines.append(f"- {failure['server']}, {name}, round {failure['round']}: {failure['error']}")
        lines.append("")
    return "\n".join(lines)


def bars_table(summary):
    rows = [(cell, bar) for cell in summary["cells"] for bar in cell["bars"]]
    if not rows:
        return []
    verdicts = [bar["verdict"].split(" (")[0] for _, bar in rows]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("met", "missed", "not judged", "no data"))
    lines = ["## Bars", "", f"{counts}.", ""]
    lines += ["| cell (size × connections × in flight) | against | bar | ratio | verdict | notes |", "|---|---|---|---|---|---|"]
    for cell, bar in rows:
        name = cell_name(cell["size"], cell["connections"], cell["in_flight"])
        against = bar["against"] if bar["against"] in (bar["server"], None) else f"{bar['against']}: {bar['server'] or '–'}"
        verdict = f"**{bar['verdict']}**" if bar["verdict"] == "missed" else bar["verdict"]
        ratio = with_spread(bar["ratio"], ratio_form)
        lines.append(f"| {name} | {against} | ≤ {bar['bar']:.2f} | {ratio} | {verdict} | {bar['notes']} |")
    return lines + [""]


def ratios_table(summary):
    labels = ("bare-ring", "bare-epoll", "fastwebsockets", "best peer", "ringway-epoll")
    cells = [cell for cell in summary["cells"] if cell["ratios"]]
    if not cells:
        return []
    lines = [f"## {OURS} divided by …", "", "Paired per round, then the median (min–max). Below 1: cheaper.", ""]
    lines += ["| cell | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for cell in cells:
        row = []
        for label in labels:
            ratio = cell["ratios"].get(label)
            text = with_spread(ratio, ratio_form)
            row.append(f"{text} {ratio['server']}" if label == "best peer" and ratio else text)
        lines.append(f"| {cell_name(cell['size'], cell['connections'], cell['in_flight'])} | " + " | ".join(row) + " |")
    return lines + [""]


def cell_table(cell, order):
    lines = [f"### {cell_name(cell['size'], cell['connections'], cell['in_flight'])}", ""]
    lines += ["| server | CPU µs/message | messages/s | server busy | driver busy | driver µs/message | remarks |"]
    lines += ["|---" * 7 + "|"]
    for name in order:
        server = cell["servers"].get(name)
        if server:
            lines.append(
                f"| {name} | {with_spread(server['cpu_us_per_message'])} | {with_spread(server['messages_per_s'])} "
                f"| {percent(server['server_utilisation'])} | {percent(server['driver_utilisation'])} "
                f"| {number(server['driver_cpu_us_per_message']['median'])} | {flags(server)} |"
            )
    return lines + [""]
