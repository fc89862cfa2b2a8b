"""bench/tls: the certificate, what a handshake of OpenSSL says, which handshakes count, and the summary of its runs."""

import importlib.machinery
import importlib.util
import io
import json
import ssl
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

from matrix import series, tls
from matrix.contestants import StartError

BENCH = Path(__file__).resolve().parent.parent
S_CLIENT = """CONNECTED(00000003)
ALPN protocol: http/1.1
Peer signature type: ECDSA
Server Temp Key: X25519, 253 bits
---
New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384
Server public key is 256 bit
"""


def report(cost, **more):
    return {
        "server_cpu_us_per_message": cost, "messages_per_s": 5e5 / cost, "server_utilisation": 0.5, "driver_utilisation": 0.99,
        "driver_cpu_us_per_message": 4.0, "server_resident_kib": 1, "server_saturated": False, "driver_saturated": True, "server_waiting": 0,
        "driver_waiting": 0, "tls_handshakes": 0, "tls_resumed": 0, **more,
    }


def record(round_, cell, server, way, cost, error=None, **more):
    return {"round": round_, "cell": cell, "server": server, "way": way, "driver": report(cost, **more), "error": error}


def program(name):
    """A program of the bench as a module."""
    loader = importlib.machinery.SourceFileLoader(f"bench_{name}", str(BENCH / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Certificate(unittest.TestCase):
    def test_a_client_that_trusts_the_authority_takes_the_certificate(self):
        with tempfile.TemporaryDirectory() as folder:
            files = tls.certificate(folder)
            server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=files.ca)
            server.load_cert_chain(files.chain, files.key)
            up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
            sides = [client.wrap_bio(down, up, server_hostname="127.0.0.1"), server.wrap_bio(up, down, server_side=True)]
            for _ in range(3):
                for side in sides:
                    try:
                        side.do_handshake()
                    except ssl.SSLWantReadError:
                        pass
            self.assertEqual(sides[0].version(), "TLSv1.3")
            self.assertIn(("IP Address", "127.0.0.1"), sides[0].getpeercert()["subjectAltName"])

    def test_what_was_negotiated_is_read_from_s_client(self):
        facts = tls.negotiated(S_CLIENT)
        self.assertEqual((facts["version"], facts["suite"], facts["group"]), ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519"))
        self.assertEqual((facts["signature"], facts["alpn"], facts["resumed"]), ("ECDSA", "http/1.1", False))
        self.assertTrue(tls.negotiated(S_CLIENT.replace("New,", "Reused,"))["resumed"])
        for text in ("", "connect:errno=111", S_CLIENT.replace("TLS_AES_256_GCM_SHA384", "(NONE)")):
            with self.assertRaisesRegex(ValueError, "no handshake"):
                tls.negotiated(text)


class Servers(unittest.TestCase):
    def test_each_gets_the_certificate_in_its_own_words(self):
        files = tls.Files(Path("ca.pem"), Path("chain.pem"), Path("key.pem"))
        self.assertEqual(tls.contestant("ringway-epoll", files).arguments[-2:], ("--cert=chain.pem", "--key=key.pem"))
        self.assertEqual(tls.contestant("beast", files).arguments[-3:], ("--tls", "chain.pem", "key.pem"))
        nginx = tls.contestant("nginx", files).arguments
        self.assertEqual(nginx[2:6], ("--tls", "chain.pem", "key.pem", "--"))
        self.assertIn("uring", nginx)
        for name in tls.NAMES:
            self.assertNotIn("chain.pem", " ".join(tls.contestant(name, None).arguments))

    def test_handshakes_of_another_kind_are_no_result(self):
        def fault(way, done, resumed):
            return tls.fault_of({"tls_handshakes": done, "tls_resumed": resumed}, way)

        for way, done, resumed in (("full", 100, 0), ("resumed", 100, 67), ("resumed", 100, 100), ("plain", 0, 0)):
            self.assertIsNone(fault(way, done, resumed))
        for way, done, resumed in (("full", 100, 1), ("full", 0, 0), ("resumed", 100, 50), ("plain", 3, 0)):
            self.assertIn("handshakes", fault(way, done, resumed))


class Summary(unittest.TestCase):
    def setUp(self):
        cell = [20, 100, 1]
        self.records = []
        for round_, factor in enumerate((1.0, 2.0, 1.0)):
            for server, way, cost in (
                ("ringway-uring", "tls", 4.0), ("ringway-uring", "plain", 2.0), ("ringway-epoll", "tls", 5.0), ("uwebsockets", "tls", 8.0), ("beast", "tls", 3.2)
            ):
                self.records.append(record(round_, cell, server, way, cost * factor))
            for server, way, cost in (("ringway-uring", "full", 200.0), ("ringway-uring", "resumed", 100.0), ("node-ws", "resumed", 400.0)):
                resumed = 67 if server == "node-ws" else 100
                self.records.append(record(round_, tls.HANDSHAKES, server, way, cost * factor, tls_handshakes=100, tls_resumed=0 if way == "full" else resumed))

    def test_ratios_are_paired_per_round_and_bars_are_judged_against_each_peer(self):
        found = {(cell, way, peer): (paired["median"], verdict) for cell, way, peer, paired, verdict, _ in tls.bars(tls.runs_of(self.records))}
        self.assertEqual(found[(20, 100, 1), "tls", "uwebsockets"], (0.5, "met"))
        self.assertEqual(found[(20, 100, 1), "tls", "beast"], (1.25, "missed"))
        self.assertEqual(found[tls.HANDSHAKES, "resumed", "node-ws"], (0.25, "met"))
        self.assertEqual(len(found), 3, "Ringway's other tier is no rival")

    def test_the_page_has_what_tls_costs_and_what_failed(self):
        self.records.append(record(3, [20, 100, 1], "nginx", "tls", 1.0, error="exited with 1"))
        facts = {"ringway-uring": tls.negotiated(S_CLIENT)}
        page = tls.markdown(self.records, {"host": "vm", "negotiated": facts, "servers_left_out": ["nginx: not there"]})
        self.assertIn("| ringway-uring | TLSv1.3 | TLS_AES_256_GCM_SHA384 | X25519 | ECDSA | http/1.1 | no |", page)
        self.assertIn("| 2.00 (2.00–4.00) | 2.000 (2.000–2.000) | 1.000 (1.000–1.000) |", page)
        self.assertIn("not saturated (50%)", page)
        self.assertIn("| 400 (400–800), 67% resumed | 2,500 |", page.replace("400.0", "400").replace("800.0", "800"))
        self.assertIn("- nginx, 20 B, 100 connections, 1 in flight, tls, round 3: exited with 1", page)
        self.assertIn("- nginx: not there", page)

    def test_the_table_of_the_readme(self):
        lines = tls.readme_table(self.records)
        self.assertEqual(lines[0], "| | 20 B × 1 | handshakes per CPU second: full | resumed |")
        self.assertEqual(lines[2], "| Ringway, io_uring | 4.00 | 5,000 | 10,000 |")
        self.assertIn("| beast | 3.20 | – | – |", lines)
        with self.assertRaisesRegex(ValueError, "none of the cells"):
            tls.readme_table([record(0, [21, 1, 1], "beast", "tls", 1.0)])


class Series(unittest.TestCase):
    def test_every_entry_runs_in_every_round_and_a_server_that_does_not_start_is_a_failed_run(self):
        def attempts(entry, cell):
            if entry == "absent":
                raise StartError("not there")
            yield {"driver": 1}, None, "first"
            if entry == "disturbed":
                yield {"driver": 2}, None, "second"

        file, options = io.StringIO(), SimpleNamespace(rounds=2, seed=7)
        with redirect_stdout(io.StringIO()):
            entries = ["absent", "calm", "disturbed"]
            records = list(series.measure(options, ["a", "b"], lambda _: entries, lambda entry, cell: {"server": entry, "cell": cell}, attempts, file))
        self.assertEqual(records, [json.loads(line) for line in file.getvalue().splitlines()])
        self.assertEqual(len(records), 2 * 2 * 4)
        self.assertEqual({record["error"] for record in records if record["server"] == "absent"}, {"not there"})
        self.assertEqual(sum(record["attempt"] for record in records), 4)

    def test_the_order_is_shuffled_and_the_same_again(self):
        entries = [str(number) for number in range(9)]
        orders = [series.order(1, round_, (20, 1), entries) for round_ in range(4)]
        self.assertEqual(orders[0], series.order(1, 0, (20, 1), reversed(entries)))
        self.assertGreater(len({tuple(order) for order in orders}), 1)


class Deflate(unittest.TestCase):
    def test_the_table_of_the_readme_has_the_cell_of_the_bar(self):
        deflate = program("deflate")

        def run(server, way, cost, wire):
            thread = {"wire_bytes_in": wire, "payload_bytes_in": 1000, "compressed_in": 10, "utilisation": 1.0}
            result = {"server_cpu_us_per_message": cost, "messages": 10, "driver": [thread]}
            result["server"] = {"processes": [{"utilisation": 1.0, "resident_bytes": 1 << 20}]}
            return {"server": server, "way": way, "size": 1024, "connections": 1000, "result": result, "error": None}

        lines = deflate.table([run("ringway -1", "takeover", 40.0, 220), run("beast", "takeover", 80.0, 340), run("ringway -1", "no-takeover", 30.0, 340)])
        self.assertEqual(lines[0], "| | takeover: ratio | µs | factor | no-takeover: ratio | µs | factor |")
        self.assertEqual(lines[2:], ["| Ringway, level 1 | 0.220 | 40.00 | | 0.340 | 30.00 | |", "| beast | 0.340 | 80.00 | 2.00 | – | – | |"])
        with self.assertRaisesRegex(ValueError, "1024x1000"):
            deflate.table([])


if __name__ == "__main__":
    unittest.main()
