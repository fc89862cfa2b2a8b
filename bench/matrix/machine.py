"""What a result must say about the machine and the programs. Names neither the host nor any path."""

import hashlib
import json
import os
import platform
import re
import subprocess
from pathlib import Path

SYSCTLS = (
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/core/somaxconn",
    "net/core/default_qdisc",
    "kernel/io_uring_disabled",
    "kernel/sched_autogroup_enabled",
)
PACKAGES = ("fastwebsockets", "tokio-tungstenite", "tungstenite", "tokio-websockets", "tokio-uring", "tokio", "hyper", "io-uring", "simdutf8", "tokio-rustls", "rustls", "aws-lc-rs", "ring")


def read(path, default=None):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return default


def output(*command, cwd=None):
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cpu_model():
    info = read("/proc/cpuinfo", "")
    model = re.search(r"^model name\s*: (.*)$", info, re.M)
    return {
        "model": model[1] if model else platform.machine(),
        "logical_cpus": os.cpu_count(),
        "virtual_machine": " hypervisor" in info,
    }


def vulnerabilities():
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    found = {path.name: read(path) for path in sorted(folder.glob("*"))}
    return {name: state for name, state in found.items() if state and state != "Not affected"}


def locked_versions(lock):
    """Versions of the interesting packages of a Cargo.lock."""
    pairs = re.findall(r'^name = "(.*)"\nversion = "(.*)"$', read(lock, ""), re.M)
    return {name: version for name, version in pairs if name in PACKAGES}


def installed_peers(repository):
    """Versions of the peers that Cargo does not pin, as their installer finds them; None where one is missing."""
    parts = ("debian", "native", "python", "node", "gateway")
    # It exits with 1 when something is missing. The data then says what.
    done = subprocess.run([Path(repository) / "bench/peers/install", "--check", "--json", *parts], capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout else None


def describe(repository, binaries, rustflags, options):
    """The machine description of a result, ready for machine.json."""
    mitigations = re.search(r"\bmitigations=(\S+)", read("/proc/cmdline", ""))
    memory = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo", ""))
    return {
        "host": options["host"],
        "cpu": cpu_model(),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not exposed"),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "mitigations_option": mitigations[1] if mitigations else "default",
        "vulnerabilities": vulnerabilities(),
        "sysctl": {name.replace("/", "."): read(f"/proc/sys/{name}") for name in SYSCTLS},
        "congestion": options["congestion"] or f"system default ({read('/proc/sys/net/ipv4/tcp_congestion_control')})",
        "commit": output("git", "rev-parse", "HEAD", cwd=repository),
        "commit_has_changes": bool(output("git", "status", "--porcelain", "--untracked-files=no", cwd=repository)),
        "rustc": output("rustc", "--version"),
        "c++": (output("c++", "--version") or "none").split("\n")[0],
        "cflags": output(Path(repository) / "bench/peers/build.sh", "--print-cflags"),
        "rustflags": rustflags,
        "profile": "release: opt-level 3, lto fat, codegen-units 1, panic abort",
        "python": platform.python_version(),
        "versions": {
            "peers": locked_versions(Path(repository) / "bench/peers/Cargo.lock"),
            "driver": locked_versions(Path(repository) / "bench/driver/Cargo.lock"),
            "tokio": locked_versions(Path(repository) / "bench/tokio/Cargo.lock"),
            "ringway": locked_versions(Path(repository) / "Cargo.lock"),
            "installed": installed_peers(repository),
        },
        "binaries_sha256": {name: sha256(path) for name, path in sorted(binaries.items()) if Path(path).exists()},
    }
