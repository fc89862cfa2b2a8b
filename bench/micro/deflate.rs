//! What compressing and inflating 1 KiB of JSON costs, with one connection and with a thousand that take turns.
//!
//! ```text
//! cargo run --release --example deflate > results/DIR/micro.jsonl
//! cargo run --release --example deflate -- 1,12,5                    this level, window and memory level only
//! ```
//!
//! | way | engines | before each message |
//! |---|---|---|
//! | `own` | one per connection, with context takeover | nothing |
//! | `history` | one for all, with context takeover | restart from the connection's last bytes |
//! | `afresh` | one for all, without context takeover | restart from nothing |

use std::time::Instant;

use ringway::proto::deflate::{Deflater, Direction, History, Inflater, Place, Setup};

const MESSAGE_BYTES: usize = 1024;

/// Messages that are timed, after as many that warm up.
const MESSAGES: usize = 20_000;

/// The way in which engines and connections go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Own,
    History,
    Afresh,
}

fn main() {
    let only = std::env::args().nth(1);
    for (level, window_bits, mem_level) in [
        (1, 12, 5),
        (2, 12, 5),
        (3, 12, 5),
        (6, 12, 5),
        (1, 15, 8),
        (6, 15, 8),
    ] {
        let setup = Setup {
            level,
            window_bits,
            mem_level,
        };
        let name = format!("{level},{window_bits},{mem_level}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        for connections in [1, 1000] {
            for way in [Way::Own, Way::History, Way::Afresh] {
                measure(setup, connections, way);
            }
        }
    }
}

fn measure(setup: Setup, connections: usize, way: Way) {
    let direction = Direction {
        takeover: way != Way::Afresh,
        window_bits: setup.window_bits,
    };
    let engines = if way == Way::Own { connections } else { 1 };
    let mut deflaters: Vec<_> = (0..engines).map(|_| Deflater::new(setup)).collect();
    let mut inflaters: Vec<_> = (0..engines).map(|_| Inflater::new()).collect();
    let mut sent: Vec<_> = (0..connections).map(|_| History::default()).collect();
    let mut received: Vec<_> = (0..connections).map(|_| History::default()).collect();
    let mut compressed = vec![0; Deflater::compressed_bytes_max(MESSAGE_BYTES)];
    let mut inflated = vec![0; 2 * MESSAGE_BYTES];
    let (mut compress_ns, mut inflate_ns, mut wire) = (0, 0, 0);
    for nth in 0..2 * MESSAGES {
        let message = json(nth);
        let (of, engine) = (nth % connections, nth % engines);
        let began = Instant::now();
        if way != Way::Own {
            deflaters[engine].restart(&sent[of]);
        }
        let end = deflaters[engine].compress(&message, &mut compressed, 0);
        if way != Way::Own {
            sent[of].push(&message, direction);
        }
        let compressed_at = Instant::now();
        if way != Way::Own {
            inflaters[engine].restart(&received[of]);
        }
        let place = Place {
            out: &mut inflated,
            at: 0,
            bytes_max: MESSAGE_BYTES as u64,
        };
        let read = inflaters[engine]
            .inflate(
                &compressed[..end],
                &received[of],
                place,
                |_, _| {},
                |_| Ok(()),
            )
            .expect("it is valid");
        if way != Way::Own {
            received[of].push(&inflated[..read], direction);
        }
        let inflated_at = Instant::now();
        assert!(inflated[..read] == message);
        if nth >= MESSAGES {
            compress_ns += (compressed_at - began).as_nanos();
            inflate_ns += (inflated_at - compressed_at).as_nanos();
            wire += end;
        }
    }
    println!(
        "{{\"level\":{},\"window_bits\":{},\"mem_level\":{},\"connections\":{connections},\"way\":\"{way:?}\",\
         \"compress_ns\":{},\"inflate_ns\":{},\"ratio\":{:.3}}}",
        setup.level,
        setup.window_bits,
        setup.mem_level,
        compress_ns / MESSAGES as u128,
        inflate_ns / MESSAGES as u128,
        wire as f64 / (MESSAGES * MESSAGE_BYTES) as f64,
    );
}

/// Records as an exchange sends them: names repeat, values do not.
fn json(nth: usize) -> Vec<u8> {
    let mut text = String::with_capacity(MESSAGE_BYTES + 200);
    let mut state = nth as u64 + 1;
    while text.len() < MESSAGE_BYTES {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let draw = state >> 24;
        let side = if draw & 1 == 0 { "buy" } else { "sell" };
        text += &format!(
            r#"{{"order_id":{draw},"symbol":"EUR-USD","side":"{side}","price":{}.{:02},"quantity":{}}},"#,
            draw % 100_003,
            draw % 97,
            draw % 9_973
        );
    }
    text.truncate(MESSAGE_BYTES);
    text.into_bytes()
}
