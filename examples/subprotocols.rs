//! A server whose answers depend on the subprotocol: `cargo run --release --example subprotocols -- ws://127.0.0.1:9000`, and
//! `cargo run -p ringway-client --example client_options -- ws://127.0.0.1:9000 --subprotocol=count.json`
//!
//! Subprotocols say what messages mean (RFC 6455 §1.9). The client offers some, the best one first; this server takes the
//! first that it knows, and refuses a client that offers none of them.

use std::process::ExitCode;

use ringway::{App, Context, Kind, Message, Opening, Server, Verdict};

/// The subprotocols of this server.
#[derive(Clone, Copy, Default)]
enum Speech {
    /// `count.text`: messages are answered with a sentence.
    #[default]
    Text,
    /// `count.json`: with a JSON object.
    Json,
    /// `count.binary`: with eight bytes, big-endian.
    Binary,
}

impl Speech {
    fn named(name: &str) -> Option<Self> {
        match name {
            "count.text" => Some(Self::Text),
            "count.json" => Some(Self::Json),
            "count.binary" => Some(Self::Binary),
            _ => None,
        }
    }
}

/// Counts the bytes of each message.
struct Counter;

impl App for Counter {
    type Session = Speech;

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut Speech) -> Verdict {
        for offered in opening.request().subprotocols() {
            if let Some(speech) = Speech::named(offered) {
                *session = speech;
                return Verdict::accept().subprotocol(offered);
            }
        }
        Verdict::refuse(
            400,
            "offer the subprotocol count.text, count.json or count.binary",
        )
    }

    fn message(&mut self, context: &mut Context<'_>, speech: &mut Speech, message: Message<'_>) {
        let bytes = message.len() as u64;
        // Fails if the client does not read its answers: it gets no further ones.
        let _ = match speech {
            Speech::Text => context.send(Kind::Text, format!("{bytes} bytes").as_bytes()),
            Speech::Json => context.send(Kind::Text, format!("{{\"bytes\":{bytes}}}").as_bytes()),
            Speech::Binary => context.send(Kind::Binary, &bytes.to_be_bytes()),
        };
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri).workers(2).run(|_worker| Counter)
}
