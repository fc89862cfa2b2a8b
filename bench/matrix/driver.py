"""The load driver of a run: its command line, its report, and what is added to that.

Nothing else knows how the driver is called. Another one is put in its place here: `drive` gets a running server and a load, and returns a
report with the fields that summary.py reads, and the reason why it does not count, if any.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from matrix import machine

TIMEOUT_S = 60


@dataclass(frozen=True)
class Load:
    """What a driver is asked for, in one run."""

    size: int
    connections: int
    in_flight: int
    duration: float
    warm_up: float
    payload: str
    wait: str
    cpu: int
    congestion: str  # or None: the system's


def kernel_threads(prefix):
    """{pid: name} of kernel threads such as ksoftirqd/0, whose work belongs to no process."""
    found = {}
    for comm in Path("/proc").glob("[0-9]*/comm"):
        name = machine.read(comm, "")
        if name.startswith(prefix):
            found[int(comm.parent.name)] = name
    return found


def stolen_ticks():
    """Ticks the hypervisor gave to others, all CPUs."""
    return int(machine.read("/proc/stat", "cpu 0 0 0 0 0 0 0 0").split("\n")[0].split()[8])


def command_of(binary, server, load, watched):
    command = [binary, "--address", server.address, "--mode", server.contestant.mode]
    command += ["--size", load.size, "--connections", load.connections, "--in-flight", load.in_flight]
    command += ["--duration", load.duration, "--warm-up", load.warm_up, "--payload", load.payload]
    command += ["--cpu", load.cpu, "--wait", load.wait]
    if load.congestion:
        command += ["--congestion", load.congestion]
    for pid in server.accounted:
        command += ["--pid", pid]
    for pid in watched:
        command += ["--watch", pid]
    return [str(part) for part in command]


def drive(binary, server, load):
    """Loads a running server. Returns (report, error): either may be None."""
    watched = {pid: "supervisor" for pid in server.watched}
    watched.update(kernel_threads("ksoftirqd/"))
    stolen = stolen_ticks()
    try:
        done = subprocess.run(command_of(binary, server, load, watched), capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, f"the driver did not end within {TIMEOUT_S} s"
    if not done.stdout:
        return None, f"the driver failed: {done.stderr.strip()}"
    report = json.loads(done.stdout)
    for pid, name in watched.items():
        value = report.pop(f"watched_{pid}_utilisation", 0)
        if value:
            report[f"{name}_utilisation"] = value
    report["stolen_ticks"] = stolen_ticks() - stolen
    error = report.get("error")
    if not error and not report["messages"]:
        # It would pass for a cost of zero.
        error = f"no message came back within the window of {load.duration} s"
    return report, error
