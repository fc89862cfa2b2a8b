//! Replays the seeds, and the corpora that `scripts/fuzz --keep` has written, through the bodies of the fuzz targets.

#[expect(unreachable_pub, reason = "in fuzz/ it is a library")]
#[path = "../../../fuzz/bus.rs"]
mod bus;

#[expect(unreachable_pub, reason = "another test includes it, too")]
#[path = "../../../fuzz/inputs.rs"]
mod inputs;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn pubsub_binary() {
    replay("pubsub_binary", bus::pubsub_binary);
}

#[test]
fn pubsub_json() {
    replay("pubsub_json", bus::pubsub_json);
}

#[test]
fn pubsub_event() {
    replay("pubsub_event", bus::pubsub_event);
}

#[test]
fn station() {
    replay("station", bus::station);
}

#[test]
fn topics() {
    replay("topics", bus::topics);
}

/// Each input as it is, and with each of its bytes changed or left out: a fuzzer's first steps, in the same order every time.
fn replay(target: &str, body: fn(&[u8])) {
    body(b"");
    let mut count = 0;
    for folder in ["seeds", "corpus"] {
        for line in inputs::lines(folder, target).unwrap_or_default() {
            count += 1;
            let input = inputs::unescape(&line);
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
    assert!(count >= 10, "{target} has {count} inputs");
}

fn run(target: &str, body: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        panic!("{target} fails with {:?}", String::from_utf8_lossy(input));
    }
}
