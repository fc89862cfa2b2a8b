//! Several services on one port, each with limits of its own:
//! `cargo run --release --example several_services -- ws://127.0.0.1:9000`
//!
//! `/echo` sends everything back, up to 1 MiB. `/count/{unit}` counts what it gets, in the unit that its path names, and takes at
//! most 1 KiB at a time. Any other path is answered 404.

use std::process::ExitCode;
use std::time::Duration;

use ringway::{App, Context, Echo, Kind, Limits, Message, Opening, Server, Verdict};

struct Counter;

/// What a connection counts.
#[derive(Default)]
struct Tally {
    unit: String,
    count: u64,
}

impl App for Counter {
    type Session = Tally;

    fn connect(&mut self, opening: &mut Opening<'_>, tally: &mut Tally) -> Verdict {
        match opening.place("unit") {
            Some(unit @ ("messages" | "bytes")) => unit.clone_into(&mut tally.unit),
            _ => return Verdict::refuse(404, "count messages or bytes"),
        }
        Verdict::accept()
    }

    fn message(&mut self, context: &mut Context<'_>, tally: &mut Tally, message: Message<'_>) {
        tally.count += match tally.unit.as_str() {
            "bytes" => message.len() as u64,
            _ => 1,
        };
        let answer = format!("{} {}", tally.count, tally.unit);
        let _ = context.send(Kind::Text, answer.as_bytes());
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    let mut large = Limits::default();
    large.message_bytes_max = Some(1 << 20);
    let mut small = Limits::default();
    small.message_bytes_max = Some(1 << 10);
    small.idle_timeout = Some(Duration::from_secs(60));
    Server::new(uri)
        .workers(2)
        .service_with("/echo", large, |_worker| Echo::default())
        .service_with("/count/{unit}", small, |_worker| Counter)
        .run()
}
