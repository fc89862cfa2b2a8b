//! Replays every corpus of `fuzz/` through the bodies of the fuzz targets: what the fuzzer found once stays found, and
//! needs no nightly compiler. `scripts/fuzz --keep` writes the corpora.

#[expect(unreachable_pub, reason = "in fuzz/ it is a library")]
#[path = "../../fuzz/targets.rs"]
mod targets;

#[expect(unreachable_pub, reason = "another test includes it, too")]
#[path = "../../fuzz/inputs.rs"]
mod inputs;

use std::panic::{AssertUnwindSafe, catch_unwind};

use inputs::unescape;

#[test]
fn cgi_head() {
    replay("cgi_head", targets::cgi_head);
}

#[test]
fn cgi_path() {
    replay("cgi_path", targets::cgi_path);
}

#[test]
fn command() {
    replay("command", targets::command);
}

#[test]
fn endpoint() {
    replay("endpoint", targets::endpoint);
}

#[test]
fn header() {
    replay("header", targets::header);
}

#[test]
fn hixie() {
    replay("hixie", targets::hixie);
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
fn recordings() {
    replay("recordings", targets::recordings);
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
fn tokens() {
    replay("tokens", targets::tokens);
}

#[test]
fn utf8() {
    replay("utf8", targets::utf8);
}

fn replay(target: &str, body: fn(&[u8])) {
    body(b"");
    for folder in ["seeds", "corpus"] {
        let inputs = inputs::lines(folder, target).expect("each target has seeds and a corpus");
        assert!(inputs.len() >= 10, "{folder}/{target} is all but empty");
        for input in inputs {
            if catch_unwind(AssertUnwindSafe(|| body(&unescape(&input)))).is_err() {
                panic!("fuzz/{folder}/{target}.txt fails with {input}");
            }
        }
    }
}

#[test]
fn escapes_are_read_as_the_script_writes_them() {
    assert_eq!(unescape(r"a\x00\xff\r\n\\b"), b"a\x00\xff\r\n\\b");
}
