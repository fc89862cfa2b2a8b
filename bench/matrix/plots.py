"""From a summary to SVG plots: per cell, cost and rate of every server; and one overview of what each costs against Ringway.

    python -m matrix.plots DIR      with the Python of bench/peers/.venv, which has matplotlib: bench/peers/install plots

Reads summary.json and plan.json of DIR, writes DIR/plots. bench/run starts it when it can. What a bar means and how it is coloured is
decided in `rows_of`, without matplotlib.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from matrix.contestants import CONTESTANTS
from matrix.summary import OURS, cell_title, mostly, number

# Quotient of the longest and the shortest bar above which the scale is logarithmic: short bars could not be
# distinguished.
LINEAR_QUOTIENT_MAX = 8
# The colours of each kind of bar, and its words in the legend.
KINDS = {
    "ours": ("#1257b0", "Ringway, io_uring"),
    "ours too": ("#7fb0ea", "Ringway, epoll"),
    "dearer": ("#c4c6c9", "peer"),
    "cheaper": ("#e8833a", "peer that costs less than Ringway, io_uring"),
    "floor": ("#eceef0", "bare echo of the same bytes, no protocol"),
}
INK = "#2b2e33"
FAINT = "#74787e"
UNSATURATED_HATCH = "////"
ROW_INCHES = 0.29


@dataclass(frozen=True)
class Row:
    """One server in one cell, ready to be drawn."""

    name: str
    kind: str
    cost: dict  # median, min, max
    rate: dict
    saturated: bool
    remark: str  # "" or what to know about it


def file_name(cell):
    return f"{cell['size']}x{cell['connections']}x{cell['in_flight']}.svg"


def kind_of(name, cost, ours):
    if name == OURS:
        return "ours"
    role = CONTESTANTS[name].role if name in CONTESTANTS else "peer"
    if role == "ours":
        return "ours too"
    if role == "floor":
        return "floor"
    return "cheaper" if ours is not None and cost < ours else "dearer"


def rows_of(cell):
    """The servers of a cell, the cheapest first."""
    ours = cell["servers"].get(OURS)
    ours_cost = ours["cpu_us_per_message"]["median"] if ours else None
    rows = []
    for name, server in cell["servers"].items():
        cost = server["cpu_us_per_message"]
        disturbed = server["runs_disturbed"]
        rows.append(
            Row(
                name=name,
                kind=kind_of(name, cost["median"], ours_cost),
                cost=cost,
                rate=server["messages_per_s"],
                saturated=mostly(server["runs_server_saturated"], server["runs"]),
                remark=f"disturbed {disturbed}/{server['runs']}" if disturbed else "",
            )
        )
    return sorted(rows, key=lambda row: row.cost["median"])


def verdict_of(rows):
    """One sentence on where Ringway stands among the peers, by medians."""
    peers = [row for row in rows if row.kind in ("dearer", "cheaper")]
    ours = next((row for row in rows if row.kind == "ours"), None)
    if ours is None or not peers:
        return ""
    cheaper = [row.name for row in rows if row.kind == "cheaper" or (row.kind == "ours too" and row.cost["median"] < ours.cost["median"])]
    ratio = ours.cost["median"] / peers[0].cost["median"]
    sentence = f"Ringway on io_uring costs {ratio:.2f} of the cheapest peer, {peers[0].name}"
    if not cheaper:
        return f"{sentence}."
    return f"{sentence}, and loses to {cheaper[0] if len(cheaper) == 1 else ', '.join(cheaper[:-1]) + ' and ' + cheaper[-1]}."


def is_logarithmic(rows, field):
    medians = [getattr(row, field)["median"] for row in rows]
    return min(medians) > 0 and max(medians) / min(medians) > LINEAR_QUOTIENT_MAX


def overview_of(cells):
    """[(title, [(row of a server, its median cost ÷ that of Ringway on io_uring)])], for the cells that Ringway ran in."""
    lines = []
    for cell in cells:
        rows = rows_of(cell)
        ours = next((row for row in rows if row.kind == "ours"), None)
        if ours and ours.cost["median"] > 0:
            lines.append((cell_title(cell), [(row, row.cost["median"] / ours.cost["median"]) for row in rows if row.kind != "ours"]))
    return lines


# --- drawing: everything below needs matplotlib ---


def panel(axes, rows, field, label, form):
    """Horizontal bars with min-max whiskers, their figures behind them."""
    places = range(len(rows))
    logarithmic = is_logarithmic(rows, field)
    highest = max(getattr(row, field)["max"] for row in rows)
    lowest = min(getattr(row, field)["min"] for row in rows)
    if logarithmic:
        axes.set_xscale("log")
        left = lowest / 1.6
        # Room for the figures: a fixed share of the width, also on a logarithmic scale.
        axes.set_xlim(left, highest * (highest / left) ** 0.3)
    else:
        left = 0
        axes.set_xlim(0, highest * (1.5 if any(row.remark for row in rows) else 1.3))
    for place, row in zip(places, rows):
        values = getattr(row, field)
        face, _ = KINDS[row.kind]
        axes.barh(
            place, values["median"] - left, left=left, height=0.7, color=face, zorder=2,
            edgecolor="#8a8e94" if row.kind == "floor" or not row.saturated else face, linewidth=0.6,
            hatch=None if row.saturated else UNSATURATED_HATCH,
        )  # fmt: skip
        # Drawn on a white line, so that it is visible on dark bars too.
        for colour, width, cap in (("white", 2.6, 3.3), (INK, 1.1, 2.6)):
            axes.errorbar(
                values["median"], place, xerr=[[values["median"] - values["min"]], [values["max"] - values["median"]]],
                color=colour, elinewidth=width, capsize=cap, capthick=width, zorder=3,
            )  # fmt: skip
        text = f"{form(values['median'])}"
        if field == "cost" and row.remark:
            text += f"  {row.remark}"
        axes.annotate(
            text, (values["max"], place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=INK, fontweight="bold" if row.kind == "ours" else "normal",
        )  # fmt: skip
    axes.set_xlabel(label + (", logarithmic" if logarithmic else ""), fontsize=9, color=INK)
    tidy(axes, logarithmic)


def tidy(axes, logarithmic):
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7, zorder=0)
    axes.tick_params(axis="both", which="both", length=0, labelsize=8.5, colors=INK)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    if logarithmic:
        low, high = axes.get_xlim()
        # Between two decades the powers of ten alone would leave one tick or none.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_name))
    axes.xaxis.set_minor_formatter(NullFormatter())


def tick_name(value, _=None):
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def rate_name(value):
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.1f} k" if value >= 1e4 else f"{value:,.0f}"


def legend_of(rows):
    from matplotlib.patches import Patch

    kinds = {row.kind for row in rows}
    handles = [
        Patch(facecolor=face, edgecolor="#8a8e94" if kind == "floor" else face, label=words)
        for kind, (face, words) in KINDS.items()
        if kind in kinds
    ]
    if not all(row.saturated for row in rows):
        handles.append(Patch(facecolor="white", edgecolor="#8a8e94", hatch=UNSATURATED_HATCH, label="not saturated: the cost holds sleeping and waking"))
    return handles


def draw_cell(plt, cell, host):
    rows = rows_of(cell)
    # All heights in inches: the figure grows with its rows, its margins do not.
    head, foot, body = 1.02, 1.12, ROW_INCHES * len(rows)
    height = head + body + foot
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, height), sharey=True, gridspec_kw={"width_ratios": (1.15, 1)})
    figure.subplots_adjust(left=0.135, right=0.985, top=1 - head / height, bottom=foot / height, wspace=0.08)
    panel(left, rows, "cost", "CPU of the server, µs per message: less is better", number)
    panel(right, rows, "rate", "messages per second: more is better", rate_name)
    left.set_yticks(range(len(rows)), [row.name for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    for label, row in zip(left.get_yticklabels(), rows):
        label.set_fontsize(9)
        if row.kind in ("ours", "ours too"):
            label.set_fontweight("bold")
            label.set_color(KINDS["ours"][0])
    figure.text(0.012, 1 - 0.28 / height, f"Echo, {cell_title(cell)}", fontsize=12.5, fontweight="bold", color=INK, va="center")
    runs = max(server["runs"] for server in cell["servers"].values())
    under = f"{host}, one core, median of {runs} round{'s' if runs != 1 else ''}, whiskers from the smallest to the largest."
    figure.text(0.012, 1 - 0.56 / height, under, fontsize=8.8, color=FAINT, va="center")
    figure.text(0.012, 1 - 0.79 / height, verdict_of(rows), fontsize=8.8, color=INK, va="center")
    figure.legend(
        handles=legend_of(rows), loc="lower left", bbox_to_anchor=(0.005, 0.0), ncols=3, frameon=False, fontsize=8.5, labelcolor=INK,
        handlelength=1.4, columnspacing=1.6,
    )  # fmt: skip
    return figure


def draw_overview(plt, cells, host):
    lines = overview_of(cells)
    names = sorted({row.name for _, quotients in lines for row, _ in quotients}, key=list(CONTESTANTS).index)
    # Servers are distinguished by markers, not by colours alone. Ringway's other tier has one ink, the floors another.
    markers = "osD^vPX<>*hpd8H"
    colours = plt.get_cmap("tab20").colors
    look = {name: (markers[index % len(markers)], colours[index % len(colours)]) for index, name in enumerate(names)}
    legend_columns = 6
    head, foot, body = 0.8, 0.75 + 0.21 * -(-len(names) // legend_columns), 0.3 * len(lines)
    height = head + body + foot
    figure, axes = plt.subplots(figsize=(10.5, height))
    figure.subplots_adjust(left=0.245, right=0.97, top=1 - head / height, bottom=foot / height)
    for place, (_, quotients) in enumerate(lines):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f5f6f8", zorder=0)
        for row, quotient in quotients:
            marker, colour = look[row.name]
            axes.plot(
                quotient, place, marker, markersize=6.5, zorder=3, markeredgewidth=1.1, markeredgecolor=colour,
                markerfacecolor=colour if row.saturated else "white",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.axvline(1, color=KINDS["ours"][0], linewidth=1.6, zorder=2)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.7), max(high, 1.5))
    axes.axvspan(axes.get_xlim()[0], 1, color="#fbeadd", zorder=0)
    axes.set_yticks(range(len(lines)), [title for title, _ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("CPU per message ÷ that of Ringway on io_uring, logarithmic; on the shaded side Ringway costs more", fontsize=9, color=INK)
    tidy(axes, True)
    figure.text(0.012, 1 - 0.28 / height, "What an echo costs, against Ringway on io_uring", fontsize=12.5, fontweight="bold", color=INK, va="center")
    under = f"{host}, one core, quotients of medians. Hollow: the server was not saturated."
    figure.text(0.012, 1 - 0.58 / height, under, fontsize=8.8, color=FAINT, va="center")
    handles = [plt.Line2D([], [], linestyle="", marker=look[name][0], color=look[name][1], markersize=6.5, label=name) for name in names]
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.005, 0.0), ncols=legend_columns, frameon=False, fontsize=8.5, labelcolor=INK, columnspacing=1.4)
    return figure


def draw(folder, suffix="svg"):
    """Draws everything of one results folder; returns how many files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # The same summary gives the same bytes, and text stays text.
    matplotlib.rcParams.update(
        {"svg.hashsalt": "ringway", "svg.fonttype": "none", "font.family": "sans-serif", "hatch.linewidth": 0.5, "hatch.color": "#8a8e94"}
    )
    cells = json.loads((folder / "summary.json").read_text())["cells"]
    host = json.loads((folder / "plan.json").read_text())["host"]
    out = folder / "plots"
    out.mkdir(exist_ok=True)
    jobs = [(file_name(cell), lambda cell=cell: draw_cell(plt, cell, host)) for cell in cells if cell["servers"]]
    if overview_of(cells):
        jobs.append(("overview.svg", lambda: draw_overview(plt, cells, host)))
    for name, job in jobs:
        figure = job()
        figure.savefig((out / name).with_suffix(f".{suffix}"), dpi=110, metadata={"Date": None, "Creator": None} if suffix == "svg" else None)
        plt.close(figure)
    return len(jobs)


if __name__ == "__main__":
    # A second argument, such as png, is another format to look at.
    print(f"{draw(Path(sys.argv[1]), *sys.argv[2:3])} plots")
