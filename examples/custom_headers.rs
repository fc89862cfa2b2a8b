//! Reads headers of the opening handshake, and adds some to the answer:
//! `cargo run --release --example custom_headers -- ws://127.0.0.1:9000`
//!
//! A client that sends no `Authorization` is refused with 401. Every other client gets a cookie, and the subprotocol `v2`
//! or `v1` if it offers one of them.

use std::process::ExitCode;

use ringway::{App, Context, Message, Opening, Server, Verdict};

/// The subprotocols of this server, the best one first.
const SUBPROTOCOLS: [&str; 2] = ["v2", "v1"];

#[derive(Default)]
struct Greeter {
    visits: u64,
}

impl App for Greeter {
    /// The name that the client has given.
    type Session = String;

    fn connect(&mut self, opening: &mut Opening<'_>, who: &mut String) -> Verdict {
        let request = opening.request();
        let Some(authorization) = request.header("Authorization") else {
            return Verdict::refuse(401, "say who you are")
                .header("WWW-Authenticate", "Basic realm=\"greeter\"");
        };
        *who = String::from_utf8_lossy(authorization).into_owned();
        self.visits += 1;
        let verdict = Verdict::accept().header("Set-Cookie", &format!("visit={}", self.visits));
        let spoken = SUBPROTOCOLS
            .iter()
            .find(|ours| request.subprotocols().any(|offered| offered == **ours));
        match spoken {
            Some(name) => verdict.subprotocol(name),
            None => verdict,
        }
    }

    fn message(&mut self, context: &mut Context<'_>, who: &mut String, message: Message<'_>) {
        let said = String::from_utf8_lossy(message.payload()).into_owned();
        let answer = format!("{who} said: {said}");
        let _ = context.send(message.kind(), answer.as_bytes());
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri)
        .workers(1)
        .run(|_worker| Greeter::default())
}
