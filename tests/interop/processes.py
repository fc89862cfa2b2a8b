"""Processes of a check against other programs: started, waited for, and ended by whoever started them."""

import contextlib
import os
import re
import select
import subprocess
import time

READY_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10


class Difference(Exception):
    """What went otherwise than expected, in one line."""


def run(*command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


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
