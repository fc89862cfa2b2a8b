"""Processes of a check against other programs: started, waited for, and ended by whoever started them; and their Python."""

import contextlib
import os
import re
import select
import subprocess
import sys
import time

READY_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10


class Difference(Exception):
    """What went otherwise than expected, in one line."""


def run(*command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


def python_of(folder, requirements):
    """Python of an environment in `folder` that has just what `requirements` pins. The marker holds the pins that were installed."""
    marker, pins, python = folder / "installed", requirements.read_text(), folder / "venv/bin/python"
    if not (marker.exists() and marker.read_text() == pins):
        folder.mkdir(parents=True, exist_ok=True)
        run(sys.executable, "-m", "venv", "--clear", folder / "venv")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", requirements)
        marker.write_text(pins)
    return python


def line_of(process, pattern):
    """The first match of `pattern` in what a process prints."""
    deadline, text = time.monotonic() + READY_TIMEOUT_S, b""
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.1)[0]:
            more = os.read(process.stdout.fileno(), 4096)
            text += more
            if found := re.search(pattern, text.decode(errors="replace")):
                return found[1]
            if not more:
                break
    raise Difference(f"not ready: {text.decode(errors='replace').strip() or 'it printed nothing'}")


@contextlib.contextmanager
def started(command, **options):
    process = subprocess.Popen([str(part) for part in command], **{"stdout": subprocess.PIPE, **options})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
