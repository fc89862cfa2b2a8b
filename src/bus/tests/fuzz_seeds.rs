//! Replays the seeds, and the corpora that `scripts/fuzz --keep` has written, through the bodies of the fuzz targets.

#[expect(unreachable_pub, reason = "in fuzz/ it is a library")]
#[path = "../../../fuzz/bus.rs"]
mod bus;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[test]
fn pubsub_binary() {
    replay("pubsub_binary", bus::pubsub_binary);
}

#[test]
fn pubsub_json() {
    replay("pubsub_json", bus::pubsub_json);
}

#[test]
fn topics() {
    replay("topics", bus::topics);
}

/// Each input as it is, and with each of its bytes changed or left out: a fuzzer's first steps, in the same order every time.
fn replay(target: &str, body: fn(&[u8])) {
    body(b"");
    let mut inputs = 0;
    for folder in ["seeds", "corpus"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let path = root.join(folder).join(format!("{target}.txt"));
        let lines = std::fs::read_to_string(&path).unwrap_or_default();
        for line in lines.lines().filter(|line| !line.starts_with('#')) {
            inputs += 1;
            let input = unescape(line);
            run(target, body, &input);
            for at in 0..input.len() {
                let mut changed = input.clone();
                for byte in [0, 1, b'"', b'\\', b'{', b'[', b'}', b'+', b'/', 0xff] {
                    changed[at] = byte;
                    run(target, body, &changed);
                }
                changed.remove(at);
                run(target, body, &changed);
                run(target, body, &input[..at]);
            }
        }
    }
    assert!(inputs >= 10, "{target} has {inputs} inputs");
}

fn run(target: &str, body: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        panic!("{target} fails with {:?}", String::from_utf8_lossy(input));
    }
}

/// Printable ASCII is itself; the rest is `\xNN`, `\r`, `\n` or `\\`.
fn unescape(mut line: &str) -> Vec<u8> {
    let mut bytes = vec![];
    while let Some((plain, escaped)) = line.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (name, rest) = escaped.split_at(1);
        let (byte, rest) = match name {
            "n" => (b'\n', rest),
            "r" => (b'\r', rest),
            "x" => {
                let (hex, rest) = rest.split_at(2);
                let byte = u8::from_str_radix(hex, 16).expect("two hexadecimal digits");
                (byte, rest)
            }
            _ => (b'\\', rest),
        };
        bytes.push(byte);
        line = rest;
    }
    bytes.extend_from_slice(line.as_bytes());
    bytes
}
