"""TLS beside other servers: how each is started with it, what it negotiates, and the summary of the runs. Driven by bench/tls."""

import dataclasses
import re
import subprocess
from pathlib import Path

from matrix import peers, readme, summary
from matrix.contestants import CONTESTANTS, Contestant
from matrix.summary import OURS, mostly, number, paired_ratio, percent, ratio_form, with_spread

# Of an echo: tls or plain; of handshakes: plain (no TLS), full or resumed.
ECHO_WAYS = ("tls", "plain")
HANDSHAKE_WAYS = ("full", "resumed", "plain")
HANDSHAKES = "handshakes"
# A server is ahead when it costs less.
BAR = 1.0
NAMES = ("ringway-uring", "ringway-epoll", "uwebsockets", "beast", "tungstenite", "node-ws", "nginx")
OWN = ("ringway-uring", "ringway-epoll")
# What the driver offers, in its order (rustls with ring): what a server takes of that is what it is measured with.
SUITES = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
GROUPS = "X25519:P-256:P-384"
OPENSSL_TIMEOUT_S = 20


# --- the certificate ---


@dataclasses.dataclass(frozen=True)
class Files:
    """PEM files: who signed, the server's chain, and its key."""

    ca: Path
    chain: Path
    key: Path


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, timeout=OPENSSL_TIMEOUT_S, **options)


def certificate(folder):
    """A little authority, and a certificate of 127.0.0.1 and localhost that it signed: both ECDSA P-256."""
    folder = Path(folder)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca, chain, key, request, extensions = (folder / name for name in ("ca.pem", "chain.pem", "key.pem", "request.pem", "extensions"))
    openssl("req", "-x509", *curve, "-keyout", folder / "ca-key.pem", "-out", ca, "-days", 30, "-subj", "/CN=bench authority")
    openssl("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    extensions.write_text("basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    signed = ("-CA", ca, "-CAkey", folder / "ca-key.pem", "-CAcreateserial", "-days", 30, "-extfile", extensions)
    openssl("x509", "-req", "-in", request, *signed, "-out", chain)
    return Files(ca, chain, key)


# --- the servers ---


def contestant(name, files):
    """How a server is started with TLS, or without it when `files` is None."""
    if name == "nginx":
        secure = ("--tls", str(files.chain), str(files.key)) if files else ()
        behind = (str(peers.release_of(peers.REPOSITORY) / "server"), *CONTESTANTS[OURS].arguments)
        return Contestant(name, "ws", "nginx-front", ("--port", "0", *secure, "--", *behind), worker_is_child=True)
    known = CONTESTANTS[name]
    if files is None:
        secure = ()
    elif name in OWN:
        secure = (f"--cert={files.chain}", f"--key={files.key}")
    else:
        secure = ("--tls", str(files.chain), str(files.key))
    ready = known.ready.replace("ws://", "wss?://")
    return dataclasses.replace(known, arguments=(*known.arguments, *secure), ready=ready)


REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def s_client(address, files, *more):
    """What `openssl s_client` prints of a connection that asks for a page. Not every server closes then: it is ended after a while."""
    command = ["openssl", "s_client", "-connect", address, "-CAfile", str(files.ca), "-verify_return_error", "-ign_eof"]
    command += ["-ciphersuites", SUITES, "-groups", GROUPS, "-alpn", "http/1.1", *map(str, more)]
    try:
        done = subprocess.run(command, input=REQUEST, capture_output=True, timeout=2)
        return (done.stdout + done.stderr).decode(errors="replace")
    except subprocess.TimeoutExpired as ended:
        return (ended.stdout or b"").decode(errors="replace") + (ended.stderr or b"").decode(errors="replace")


def negotiated(printed):
    """{what: value} of what s_client printed of a handshake; ValueError when there was none."""
    found = re.search(r"^(New|Reused), (\S+), Cipher is (\S+)$", printed, re.M)
    if not found or found[3] == "(NONE)":
        raise ValueError(f"no handshake: {' | '.join(printed.strip().splitlines()[-3:])}")
    facts = {"version": found[2], "suite": found[3], "resumed": found[1] == "Reused"}
    for name, words in (("group", r"Server Temp Key: (\w+)"), ("signature", r"Peer signature type: (\S+)"), ("alpn", r"ALPN protocol: (\S+)")):
        fact = re.search(words, printed)
        facts[name] = fact[1] if fact else None
    return facts


def look(address, files, scratch):
    """What a server negotiates with what the driver offers, and whether it resumes the session of its ticket."""
    session = Path(scratch) / "session.pem"
    session.unlink(missing_ok=True)
    facts = negotiated(s_client(address, files, "-sess_out", session))
    if not session.exists():
        return {**facts, "resumed": False}
    return {**facts, "resumed": negotiated(s_client(address, files, "-sess_in", session))["resumed"]}


def fault_of(report, way):
    """Why handshakes are not of the kind that they were to be, or None."""
    done, resumed = report["tls_handshakes"], report["tls_resumed"]
    if way == "full" and (resumed or not done):
        return f"{resumed} of {done} TLS handshakes were resumed, none should be"
    # Node.js gives two tickets in a full handshake and none in a resumed one, so that every third is full; all others renew it.
    if way == "resumed" and resumed < 0.6 * done:
        return f"only {resumed} of {done} TLS handshakes were resumed"
    if way == "plain" and done:
        return f"{done} TLS handshakes on plain connections"
    return None


# --- the summary ---


def cell_of(record):
    return tuple(record["cell"]) if isinstance(record["cell"], list) else record["cell"]


def runs_of(records):
    """{cell: {(server, way): {round: report}}}"""
    return summary.valid_runs(records, cell_of, lambda record: (record["server"], record["way"]))


def cells_in_order(runs):
    return sorted(cell for cell in runs if cell != HANDSHAKES) + [HANDSHAKES] * (HANDSHAKES in runs)


def title_of(cell):
    if cell == HANDSHAKES:
        return "Handshakes"
    return summary.cell_title(dict(zip(("size", "connections", "in_flight"), cell)))


def ratio(runs, above, below):
    """Paired per round, as text; `above` and `below` are (server, way)."""
    return with_spread(paired_ratio(runs[above], runs[below]) if above in runs and below in runs else None, ratio_form)


def bars(runs):
    """Of every peer, whether Ringway on io_uring is ahead: [(cell, way, peer, ratio, verdict, notes)]."""
    found = []
    for cell in cells_in_order(runs):
        for way in ("full", "resumed") if cell == HANDSHAKES else ("tls",):
            ours = runs[cell].get((OURS, way))
            for peer in NAMES:
                theirs = runs[cell].get((peer, way))
                if peer in OWN or not ours or not theirs:
                    continue
                paired = paired_ratio(ours, theirs)
                verdict = "no data" if paired is None else "met" if paired["median"] < BAR else "missed"
                found.append((cell, way, peer, paired, verdict, notes_of(paired, ours, theirs)))
    return found


def notes_of(paired, ours, theirs):
    """What to know about a bar: noise and idle servers are said. The driver opens what the server seals, so it is often the fuller side."""
    notes = []
    if paired and paired["min"] < BAR <= paired["max"]:
        notes.append("rounds on both sides of the bar")
    for rounds, name in ((ours, "ours"), (theirs, "rival")):
        side = summary.server_summary(rounds)
        if not mostly(side["runs_server_saturated"], side["runs"]):
            notes.append(f"{name} not saturated ({side['server_utilisation']['median']:.0%})")
        if side["runs_disturbed"]:
            notes.append(f"{name} disturbed {side['runs_disturbed']}/{side['runs']}")
    return "; ".join(notes)


def rate(rounds):
    return number(1e6 / summary.server_summary(rounds)["cpu_us_per_message"]["median"]) if rounds else "–"


def echo_table(runs):
    lines = ["| server | TLS: CPU µs per message | messages/s | server busy | driver busy | plain: CPU µs | TLS ÷ plain | io_uring ÷ this | epoll ÷ this | remarks |"]
    lines.append("|---" * 10 + "|")
    for name in NAMES:
        rounds = runs.get((name, "tls"))
        if not rounds:
            continue
        side = summary.server_summary(rounds)
        plain = runs.get((name, "plain"))
        cost = with_spread(summary.server_summary(plain)["cpu_us_per_message"]) if plain else "–"
        lines.append(
            f"| {name} | {with_spread(side['cpu_us_per_message'])} | {number(side['messages_per_s']['median'])} | {percent(side['server_utilisation'])} "
            f"| {percent(side['driver_utilisation'])} | {cost} | {ratio(runs, (name, 'tls'), (name, 'plain'))} "
            f"| {ratio(runs, (OURS, 'tls'), (name, 'tls'))} | {ratio(runs, ('ringway-epoll', 'tls'), (name, 'tls'))} | {summary.flags(side)} |"
        )
    return lines


def share_of(rounds):
    """A remark, where not nearly all of the handshakes that were to be resumed were."""
    done, resumed = (sum(run[what] for run in (rounds or {}).values()) for what in ("tls_handshakes", "tls_resumed"))
    return f", {resumed / done:.0%} resumed" if resumed < 0.98 * done else ""


def handshake_table(runs):
    lines = ["| server | full: CPU µs | per CPU second | resumed: CPU µs | per CPU second | no TLS: CPU µs | io_uring ÷ this, full | resumed | server busy | driver busy |"]
    lines.append("|---" * 10 + "|")
    for name in NAMES:
        sides = {way: runs.get((name, way)) for way in HANDSHAKE_WAYS}
        if not any(sides.values()):
            continue
        costs = {way: summary.server_summary(rounds) if rounds else None for way, rounds in sides.items()}
        text = {way: with_spread(side["cpu_us_per_message"]) if side else "–" for way, side in costs.items()}
        text["resumed"] += share_of(sides["resumed"])
        busy = costs["full"] or costs["resumed"] or costs["plain"]
        lines.append(
            f"| {name} | {text['full']} | {rate(sides['full'])} | {text['resumed']} | {rate(sides['resumed'])} | {text['plain']} "
            f"| {ratio(runs, (OURS, 'full'), (name, 'full'))} | {ratio(runs, (OURS, 'resumed'), (name, 'resumed'))} "
            f"| {percent(busy['server_utilisation'])} | {percent(busy['driver_utilisation'])} |"
        )
    return lines


def bars_table(found):
    verdicts = [verdict for *_, verdict, _ in found]
    lines = [", ".join(f"{verdicts.count(word)} {word}" for word in ("met", "missed", "no data")) + ".", ""]
    lines += ["| cell | against | bar | ratio | verdict | notes |", "|---|---|---|---|---|---|"]
    for cell, way, peer, paired, verdict, notes in found:
        name = title_of(cell) + ("" if way == "tls" else f", {way}")
        lines.append(f"| {name} | {peer} | < {BAR:.2f} | {with_spread(paired, ratio_form)} | {'**missed**' if verdict == 'missed' else verdict} | {notes} |")
    return lines


def negotiated_table(found):
    lines = ["| server | version | suite | key exchange | signature | ALPN | session resumed |", "|---|---|---|---|---|---|---|"]
    for name, facts in found.items():
        words = (facts[what] or "–" for what in ("version", "suite", "group", "signature", "alpn"))
        lines.append(f"| {name} | {' | '.join(words)} | {'yes' if facts['resumed'] else 'no'} |")
    return lines


def markdown(records, plan):
    runs = runs_of(records)
    lines = [f"# TLS: CPU per message and per handshake ({plan['host']})", ""]
    lines += ["CPU of the server's processes in µs: median (min–max) over the rounds. Ratios are paired per round. *io_uring ÷ this*: Ringway's cost over the server's; below 1 it", "is cheaper.", ""]
    lines += ["## Negotiated", "", *negotiated_table(plan["negotiated"]), ""]
    lines += ["## Bars", "", *bars_table(bars(runs)), ""]
    for cell in cells_in_order(runs):
        lines += [f"## {title_of(cell)}", "", *(handshake_table(runs[cell]) if cell == HANDSHAKES else echo_table(runs[cell])), ""]
    if plan.get("servers_left_out"):
        lines += ["## Left out", "", *(f"- {reason}" for reason in plan["servers_left_out"]), ""]
    if failed := [record for record in records if record["error"]]:
        lines += ["## Failed runs", ""]
        lines += [f"- {record['server']}, {title_of(cell_of(record))}, {record['way']}, round {record['round']}: {record['error']}" for record in failed] + [""]
    return "\n".join(lines)


# --- the table of the README ---

LABELS = {**readme.LABELS, "nginx": "nginx before Ringway"}
README_CELLS = ((20, 100, 1), (20, 100, 16), (1024, 100, 1), (1024, 100, 16), (16384, 100, 1))


def readme_table(records):
    """The cells of the README as Markdown lines. ValueError when the result has none of them."""
    runs = runs_of(records)
    cells = [cell for cell in README_CELLS if cell in runs]
    if not cells:
        raise ValueError("gets nothing from this result: it has none of the cells of this table")
    head = [f"{summary.size_name(size)} × {in_flight}" for size, _, in_flight in cells] + ["handshakes per CPU second: full", "resumed"]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]
    for name in NAMES:
        costs = [runs[cell].get((name, "tls")) for cell in cells]
        if not any(costs):
            continue
        row = [readme.number(summary.server_summary(rounds)["cpu_us_per_message"]["median"]) if rounds else "–" for rounds in costs]
        row += [rate(runs.get(HANDSHAKES, {}).get((name, way))) for way in ("full", "resumed")]
        lines.append(f"| {LABELS.get(name, name)} | " + " | ".join(row) + " |")
    return lines
