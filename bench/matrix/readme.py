"""The tables of the README, each written from one result: of bench/run, bench/deflate and bench/tls, each between its own markers."""

import os
import sys

from matrix.contestants import CONTESTANTS
from matrix.summary import cell_title

END = "<!-- End of the table. -->"


def begin(program):
    """The marker above the table that a program writes; below it is the next END."""
    return f"<!-- This table is written by {program} --readme. -->"


BEGIN = begin("bench/run")
# The cells of the README, few enough to be read at a glance: (size, connections, in flight).
CELLS = (
    (20, 100, 1),
    (20, 100, 16),
    (1024, 100, 1),
    (1024, 100, 16),
    (16384, 100, 1),
    (102400, 100, 1),
    (102400, 1000, 1),
    (1048576, 100, 1),
)
LABELS = {"ringway-uring": "Ringway, io_uring", "ringway-epoll": "Ringway, epoll", "bare-ring": "bare", "bare-epoll": "bare, epoll"}
# Most servers that are columns. With more the page would be too narrow, and they become rows.
COLUMNS_MAX = 7


def figure(cell, server):
    """The median cost in µs, in three digits or two decimals."""
    if server not in cell["servers"]:
        return "–"
    return number(cell["servers"][server]["cpu_us_per_message"]["median"])


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def table(summary):
    """The table as Markdown lines. ValueError when the result has none of its cells."""
    found = {(cell["size"], cell["connections"], cell["in_flight"]): cell for cell in summary["cells"]}
    cells = [found[key] for key in CELLS if key in found]
    if not cells:
        raise ValueError(f"gets nothing from this result: it has none of {', '.join('x'.join(map(str, cell)) for cell in CELLS)}")
    servers = [name for name in CONTESTANTS if any(name in cell["servers"] for cell in cells)]
    grid = [["", *(LABELS.get(name, name) for name in servers)]]
    grid += [[cell_title(cell), *(figure(cell, name) for name in servers)] for cell in cells]
    if len(servers) > COLUMNS_MAX:
        grid = [list(column) for column in zip(*grid)]
    lines = ["| " + " | ".join(row) + " |" for row in grid]
    # An empty corner is one space wide.
    lines[0] = lines[0].replace("|  |", "| |", 1)
    return [lines[0], "|" + "---|" * len(grid[0]), *lines[1:]]


def rewrite(text, lines, program="bench/run"):
    """`text` with `lines` between the markers of `program`. ValueError when they are not there once each, in order."""
    marker = begin(program)
    before, found, rest = text.partition(marker)
    table_, end, after = rest.partition(END)
    if not found or not end or marker in rest or "<!-- This table is written by " in table_:
        raise ValueError(f"needs {marker} and, below it, {END}, once each")
    return f"{before}{marker}\n" + "\n".join(lines) + f"\n{END}{after}"


def write(out, page, table_of, program="bench/run"):
    """Puts the table of one result into a page; the words around it stay somebody's work. Returns the exit code."""
    place, text = os.path.relpath(page), page.read_text()
    try:
        page.write_text(rewrite(text, table_of(out), program))
    except ValueError as error:
        sys.exit(f"{place} {error}")
    print(f"{place}: the table of {os.path.relpath(out)}; read the sentences around it again")
    if out.resolve().name not in text:
        print(f"{place} does not name {out.resolve().name} yet: its link leads to another result")
    return 0
