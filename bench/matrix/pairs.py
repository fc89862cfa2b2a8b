"""Servers that stay alive together and take short turns under one driver: what bench/pairs and bench/open share.

All run on one CPU, of which each has all while it is its turn; the driver runs on another. The order within a round is drawn anew for each.
A ratio is taken within a round, so that what disturbs the machine for longer than a round disturbs both of its sides.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

from matrix import peers
from matrix.contestants import CONTESTANTS, Server


def programs():
    """Where the programs are unless the command line says otherwise."""
    own = peers.release_of(peers.REPOSITORY)
    return {
        **peers.binaries(),
        "ringway": own / "server",
        "wsperf": own / "ringway",
        "driver": peers.release_of(peers.REPOSITORY / "bench/driver") / "echo-driver",
        "bare-ring": own / "examples/bare_echo",
    }


def contestant(given):
    """(contestant, path or None) of NAME, NAME=PATH or NAME@epoll=PATH: a name that the matrix does not know is a build of Ringway."""
    name, _, path = given.partition("=")
    known = CONTESTANTS.get(name)
    if known is None and not path:
        raise argparse.ArgumentTypeError(f"{name} is no contestant of the matrix; a build of the server is NAME=PATH")
    tier = name.partition("@")[2] or "uring"
    known = known or dataclasses.replace(CONTESTANTS[f"ringway-{tier}"], name=name)
    return known, Path(path) if path else None


def parser(description):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("servers", nargs="+", type=contestant, metavar="SERVER", help="NAME=PATH, NAME@epoll=PATH, or a contestant of the matrix")
    made.add_argument("--ringway", type=Path, metavar="PATH", help="the program whose wsperf drives")
    made.add_argument("--rounds", type=int, default=15)
    made.add_argument("--slice", type=float, default=0.25, metavar="S", help="length of a turn's window")
    made.add_argument("--server-cpu", type=int, default=0)
    made.add_argument("--driver-cpu", type=int, default=1)
    made.add_argument("--seed", type=int, default=1, help="of the order")
    return made


def quartiles(values):
    first, median, third = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{median:.4g} ({first:.4g}–{third:.4g})"


def summary(cell, costs):
    """A line per server: its cost, and the ratio to the first one of the same round. `costs` is {name: [µs, …]}, all as long."""
    first = next(iter(costs.values()))
    for name, values in costs.items():
        if not values:
            yield f"{cell:>12} {name:<16} no round without a failure"
            continue
        ratios = [value / base for value, base in zip(values, first)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        verdict = "" if values is first else " tie" if low <= 1 <= high else " more" if low > 1 else " less"
        yield f"{cell:>12} {name:<16} {quartiles(values)} µs, ratio {quartiles(ratios)}{verdict}, {len(values)} rounds"


def run(options, cells, turn):
    """`turn(binaries, server, cell)` → (report with server_cpu_us_per_message, error). A JSON object per turn goes to stdout."""
    binaries = programs()
    if options.ringway:
        binaries["wsperf"] = options.ringway
    draw = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="pairs-"))
        servers = [
            stack.enter_context(Server(known, path or binaries[known.binary], options.server_cpu, None, 0, scratch))
            for known, path in options.servers
        ]
        for cell in cells:
            costs = {server.contestant.name: [] for server in servers}
            for round_ in range(options.rounds):
                row = {}
                for server in draw.sample(servers, len(servers)):
                    name = server.contestant.name
                    report, error = turn(binaries, server, cell)
                    found = {"cell": cell, "round": round_, "server": name, "load_average": os.getloadavg()[0], **(report or {})}
                    print(json.dumps({**found, "error": error}), flush=True)
                    row[name] = None if error else report["server_cpu_us_per_message"]
                if all(row.values()):
                    for name, cost in row.items():
                        costs[name].append(cost)
            for line in summary(cell, costs):
                print(line, file=sys.stderr, flush=True)
