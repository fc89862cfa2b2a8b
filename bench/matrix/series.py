"""What every series of runs side by side has: one build, one machine for itself, a plan, shuffled rounds, raw data.

bench/run is the matrix; bench/deflate and bench/tls are smaller series beside it, whose options and rounds are here.
"""

import argparse
import datetime
import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from matrix import machine, peers
from matrix.contestants import Server, StartError
from matrix.peers import REPOSITORY, release_of

BUILD = REPOSITORY / "bench/peers/build.sh"


# --- before ---


def rustflags():
    """The flags of all contestants in Rust."""
    return subprocess.run([BUILD, "--print-flags"], capture_output=True, text=True, check=True).stdout.strip()


def build(flags, wanted):
    """Builds the drivers, the peers, and of Ringway what `wanted` says to Cargo; all with the same flags."""
    subprocess.run([BUILD], check=True)
    command = ["cargo", "build", "--release", "--locked", *wanted]
    subprocess.run(command, check=True, cwd=REPOSITORY, env={**os.environ, "RUSTFLAGS": flags})


def binaries():
    own = release_of(REPOSITORY)
    return {"wsperf": own / "ringway", "ringway": own / "server", **peers.binaries()}


def alone():
    """Waits until no other series measures on this machine; the lock ends with the process."""
    lock = open(Path(tempfile.gettempdir()) / "ringway-bench.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another series is measuring on this machine; waiting for it to end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def check_cpus(plan):
    allowed = os.sched_getaffinity(0)
    missing = {plan["server_cpu"], plan["driver_cpu"]} - allowed
    if missing or plan["server_cpu"] == plan["driver_cpu"]:
        sys.exit(f"server and driver need two different CPUs of {sorted(allowed)}: --server-cpu, --driver-cpu")


def load_raw(path):
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            # Only the last line can be incomplete: the run was killed while writing it.
            if number < len(lines):
                raise
    return records


# --- the options and rounds of a small series ---


def parser(description):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--duration", type=float, default=1.5, metavar="S", help="measured window (default: %(default)s)")
    made.add_argument("--warm-up", type=float, default=0.5, metavar="S")
    made.add_argument("--seed", type=int, default=1, help="of the order in which the servers run (default: %(default)s)")
    made.add_argument("--server-cpu", type=int, default=0)
    made.add_argument("--driver-cpu", type=int, default=1)
    made.add_argument("--host", default="unnamed", help="a generic name for the machine")
    made.add_argument("--out", type=Path, metavar="DIR", help="folder for raw data and summary")
    made.add_argument("--no-build", action="store_true", help="use the binaries that are there")
    made.add_argument("--summarise", type=Path, metavar="DIR", help="only write the summary of DIR again")
    made.add_argument("--readme", type=Path, metavar="DIR", help="only write the table of README.md from the raw runs of DIR")
    made.add_argument("--readme-file", type=Path, default=REPOSITORY / "README.md", metavar="PATH", help="instead of README.md")
    return made


def known(made, what, names, all_names):
    """`names`, all of them among `all_names`; otherwise the parser ends the program."""
    if unknown := [name for name in names if name not in all_names]:
        made.error(f"unknown {what}: {', '.join(unknown)}; known: {', '.join(all_names)}")
    return names


def started(contestant, size, options, scratch):
    """A server that is about to run; a context manager."""
    return Server(contestant, binaries()[contestant.binary], options.server_cpu, None, size, scratch)


def result_folder(options, topic, plan, programs=None):
    """A new folder with plan.json and machine.json. `programs`: {name: path} of what is measured; default: `binaries()`."""
    out = options.out or REPOSITORY / "results" / f"{datetime.date.today()}-{options.host}-{topic}"
    if (out / "raw.jsonl").exists():
        sys.exit(f"{out.name} holds a result already: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    names = ("host", "rounds", "duration", "warm_up", "seed", "server_cpu", "driver_cpu")
    plan = {"congestion": None, **{name: getattr(options, name) for name in names}, **plan}
    (out / "plan.json").write_text(json.dumps(plan, indent=2, ensure_ascii=False) + "\n")
    there = {name: path for name, path in (programs or binaries()).items() if path.exists()}
    description = machine.describe(REPOSITORY, there, rustflags(), plan)
    (out / "machine.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    return out


def order(seed, round_, cell, entries):
    """The entries of a cell in their order in this round: shuffled, and the same again with the same seed."""
    shuffled = sorted(entries)
    random.Random(f"{seed}/{round_}/{cell}").shuffle(shuffled)
    return shuffled


def measure(options, cells, entries_of, fields_of, attempts, file):
    """Runs every entry of every cell in every round: yields the records, and writes them to `file`.

    A cell is any value that `entries_of(cell)` gives the entries of; `fields_of(entry, cell)` is what names a run in its record.
    `attempts(entry, cell)` yields, for each time it ran, what was measured (fields of the record), an error or None, and a line to be printed.
    """
    todo = [(round_, cell) for round_ in range(options.rounds) for cell in cells]
    print(f"seed {options.seed}, {sum(len(entries_of(cell)) for _, cell in todo)} runs", flush=True)
    for at, (round_, cell) in enumerate(todo):
        print(f"[{at + 1}/{len(todo)}] round {round_}, {cell}", flush=True)
        for entry in order(options.seed, round_, cell, entries_of(cell)):
            name = entry if isinstance(entry, str) else " ".join(entry)
            for attempt, (measured, error, line) in enumerate(caught(attempts(entry, cell))):
                record = {"round": round_, **fields_of(entry, cell), "attempt": attempt}
                record |= {"time": int(time.time()), "load": os.getloadavg()[0], **measured, "error": error}
                file.write(json.dumps(record) + "\n")
                file.flush()
                print(f"    {name:24} {error or line}", flush=True)
                yield record


def caught(attempts):
    """A server that does not start, and a driver that does not end, are failed runs and not the end of the series."""
    try:
        yield from attempts
    except (StartError, subprocess.TimeoutExpired) as why:
        yield {}, str(why), ""
