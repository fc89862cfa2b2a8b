"""The table of the README, written from the summary of one result."""

from matrix.contestants import CONTESTANTS
from matrix.summary import cell_title

BEGIN = "<!-- This table is written by bench/run --readme. -->"
END = "<!-- End of the table. -->"
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
    value = cell["servers"][server]["cpu_us_per_message"]["median"]
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


def rewrite(text, lines):
    """`text` with `lines` between the markers. ValueError when they are not there once each, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"needs {BEGIN} and, below it, {END}, once each")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"
