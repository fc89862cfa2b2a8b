"""The load drivers of a run: their command lines, their reports, and what is added to them.

Nothing else knows how a driver is called: `drive` gets a running server and a load, and returns a report and the reason why it does not
count, if any. There are two drivers. `wsperf` is Ringway's own, a WebSocket client that parses and compares everything. `replay`
(bench/driver) sends prepared bytes and compares memory, without a protocol: it drives the bare echoes, which speak none, and is
what wsperf's own cost is compared with. Of a report the rest of the bench reads

- server_cpu_us_per_message, messages_per_s, messages, driver_cpu_us_per_message, server_resident_kib;
- server_utilisation, driver_utilisation (CPU time ÷ window), server_waiting, driver_waiting (runnable without a core ÷ window);
- server_saturated, driver_saturated (true or false), and errors (a number; 0 or absent: none).
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
    driver: str = "wsperf"  # or "replay"
    unbatched: bool = False  # wsperf: a system call for each message
    # wsperf: who signed the server's certificate; None: no TLS.
    cacert: Path | None = None
    # wsperf: opening and closing handshakes instead of messages, this many in progress; 0: an echo.
    handshakes: int = 0
    resume: bool = False  # wsperf: TLS sessions of earlier handshakes


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


def driver_of(server, load):
    """Which driver loads this server: a bare echo speaks no WebSocket."""
    return load.driver if server.contestant.mode == "ws" else "replay"


def command_of(binaries, server, load, watched):
    if driver_of(server, load) == "wsperf":
        return wsperf_command(binaries["wsperf"], server, load)
    return replay_command(binaries["driver"], server, load, watched)


def wsperf_base(binary, scenario, server, cpu, duration, warm_up, cacert=None):
    """What every call of wsperf has: one thread on its own CPU, the window, and whose CPU time is read."""
    command = [binary, "wsperf", scenario, f"{'wss' if cacert else 'ws'}://{server.address}/", "--format=json", "--threads=1", f"--cpus={cpu}"]
    command += [f"--duration={duration * 1000:.0f}ms", f"--warmup={warm_up * 1000:.0f}ms", "--timeout=20s"]
    command += [f"--cacert={cacert}"] if cacert else []
    # With worker processes, the parent has their sum.
    accounted = server.accounted
    return [*command, f"--server-pid={accounted[0] if len(accounted) == 1 else server.process.pid}"]


def waiting_of(processes):
    """How long the process that waited most was kept from its CPU by others than the server's own processes, which share it."""
    total = sum(process["utilisation"] for process in processes)
    waited = (process["waiting"] - (total - process["utilisation"]) for process in processes)
    return max((0, *waited))


def wsperf_command(binary, server, load):
    scenario = "handshake" if load.handshakes else "echo"
    command = [*wsperf_base(binary, scenario, server, load.cpu, load.duration, load.warm_up, load.cacert)]
    if load.handshakes:
        command += [f"--high={load.handshakes}", f"--low={load.handshakes - 1}"]
        command += ["--tls-resume"] if load.resume else []
    else:
        command += [f"--size={load.size}", f"--connections={load.connections}", f"--in-flight={load.in_flight}"]
    if load.unbatched:
        command.append("--unbatched")
    if load.payload == "binary":
        command.append("--binary")
    if load.congestion:
        command.append(f"--congestion={load.congestion}")
    return [str(part) for part in command]


def wsperf_report(result, load):
    """wsperf's JSON object in the words of the summary."""
    server = result.get("server") or {"processes": []}
    driver = result["driver"][0]
    processes = server["processes"]
    report = {
        "driver": "wsperf",
        "mode": "ws",
        "payload": load.payload,
        "size": load.size,
        "connections": load.connections,
        "in_flight": load.in_flight,
        "seconds": result["duration_s"],
        "messages": result["messages"],
        "messages_per_s": result["messages_per_second"],
        "latency_us": result["latency_us"],
        "server_cpu_us_per_message": result.get("server_cpu_us_per_message"),
        "server_utilisation": sum(process["utilisation"] for process in processes),
        "server_waiting": waiting_of(processes),
        "server_saturated": bool(result.get("server_saturated")),
        "server_resident_kib": sum(process["resident_bytes"] for process in processes) // 1024,
        "server_context_switches": sum(process["context_switches"] for process in processes),
        "server_enters_per_message": server.get("enters_per_message"),
        "driver_saturated": result["driver_saturated"],
        "driver_cpu_us_per_message": result["driver_cpu_us_per_message"],
        "driver_user_us_per_message": result["driver_user_us_per_message"],
        "driver_utilisation": driver["utilisation"],
        "driver_waiting": driver.get("waiting", 0),
        "driver_messages_per_turn": result["messages"] / max(driver["enters"], 1),
        "tls_handshakes": driver.get("tls_handshakes", 0),
        "tls_resumed": driver.get("tls_resumed", 0),
        "errors": result["errors"],
        "notes": result["notes"],
    }
    if result["errors"]:
        report["error"] = f"{result['errors']} faults: {'; '.join(result['notes'])}"
    elif report["server_cpu_us_per_message"] is None:
        report["error"] = "the server's CPU time is not known"
    return report


def replay_command(binary, server, load, watched):
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


def drive(binaries, server, load):
    """Loads a running server. Returns (report, error): either may be None. `binaries` has "wsperf" (the program ringway) and "driver"."""
    watched = {pid: "supervisor" for pid in server.watched}
    watched.update(kernel_threads("ksoftirqd/"))
    stolen = stolen_ticks()
    try:
        done = subprocess.run(command_of(binaries, server, load, watched), capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, f"the driver did not end within {TIMEOUT_S} s"
    if not done.stdout:
        return None, f"the driver failed: {done.stderr.strip()}"
    report = json.loads(done.stdout)
    if driver_of(server, load) == "wsperf":
        report = wsperf_report(report, load)
    for pid, name in watched.items():
        value = report.pop(f"watched_{pid}_utilisation", 0)
        if value:
            report[f"{name}_utilisation"] = value
    report["stolen_ticks"] = stolen_ticks() - stolen
    error = report.get("error")
    if not error and not report["messages"]:
        # Without messages the cost would look like zero.
        error = f"no message came back within the window of {load.duration} s"
    return report, error
