//! Replays every corpus of `fuzz/` through the bodies of the fuzz targets: what the fuzzer found once stays found, and
//! needs no nightly compiler. `scripts/fuzz --keep` writes the corpora.

#[expect(unreachable_pub, reason = "in fuzz/ it is a library")]
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[test]
fn command() {
    replay("command", targets::command);
}

#[test]
fn header() {
    replay("header", targets::header);
}

#[test]
fn deflate_corpus() {
    replay("deflate", targets::deflate);
}

#[test]
fn inflate_corpus() {
    replay("inflate", targets::inflate);
}

#[cfg(all(feature = "bzip2", feature = "snappy"))]
#[test]
fn windowless() {
    replay("windowless", targets::windowless);
}

#[test]
fn proxy() {
    replay("proxy", targets::proxy);
}

#[test]
fn receive() {
    replay("receive", targets::receive);
}

#[test]
fn records() {
    replay("records", targets::records);
}

#[test]
fn request() {
    replay("request", targets::request);
}

#[test]
fn response() {
    replay("response", targets::response);
}

#[test]
fn utf8() {
    replay("utf8", targets::utf8);
}

fn replay(target: &str, body: fn(&[u8])) {
    body(b"");
    for folder in ["seeds", "corpus"] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/{folder}/{target}.txt"));
        let lines = std::fs::read_to_string(&path).expect("each target has seeds and a corpus");
        let inputs: Vec<&str> = lines.lines().filter(|l| !l.starts_with('#')).collect();
        assert!(inputs.len() >= 10, "{} is all but empty", path.display());
        for input in inputs {
            if catch_unwind(AssertUnwindSafe(|| body(&unescape(input)))).is_err() {
                panic!("fuzz/{folder}/{target}.txt fails with {input}");
            }
        }
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

#[test]
fn escapes_are_read_as_the_script_writes_them() {
    assert_eq!(unescape(r"a\x00\xff\r\n\\b"), b"a\x00\xff\r\n\\b");
}
