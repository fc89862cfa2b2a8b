//! A server that sends each client a Ping every second, and tells it the round trip when the Pong comes.
//! `cargo run --release --example ping_server -- ws://127.0.0.1:9000 1`, and `ping_client` beside it
//!
//! The second argument is the interval in seconds. A server that only wants to notice dead peers needs no code for it:
//! `Limits::ping_interval` in `echo_variants`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use ringway::time::Instant;
use ringway::{App, Closed, ConnId, Context, Handle, Kind, Message, Scope, Server};

struct Pinger {
    interval: Duration,
    /// The next round of Pings.
    due: Instant,
    /// Open connections, and when each got its last Ping.
    pinged: HashMap<ConnId, Option<Instant>>,
}

/// What a Ping carries, and its Pong brings back.
const fn payload(sent: Instant) -> [u8; 8] {
    sent.nanos().to_be_bytes()
}

impl App for Pinger {
    type Session = ();

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.pinged.insert(context.id(), None);
    }

    fn message(&mut self, _: &mut Context<'_>, (): &mut (), _: Message<'_>) {}

    fn pong(&mut self, context: &mut Context<'_>, (): &mut (), pong: &[u8]) {
        // A peer may also send Pongs that nobody asked for (RFC 6455 §5.5.3).
        let sent = self.pinged.get(&context.id()).copied().flatten();
        if let Some(sent) = sent.filter(|sent| payload(*sent) == pong) {
            let told = format!("round trip {:.1?}", context.now().since(sent));
            // Fails if the client does not read what it is told: then it misses this one.
            let _ = context.send(Kind::Text, told.as_bytes());
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), _: Closed<'_>) {
        self.pinged.remove(&scope.id());
    }

    /// Called at the end of each turn of the worker, and when `wake_at` says so.
    fn turn(&mut self, worker: &mut Handle<'_>) {
        if self.pinged.is_empty() {
            return;
        }
        let now = worker.now();
        if self.due <= now {
            for (id, pinged) in &mut self.pinged {
                let context = worker.context(*id);
                let sent = context.and_then(|mut context| context.ping(&payload(now)).ok());
                *pinged = sent.map(|()| now);
            }
            self.due = now + self.interval;
        }
        worker.commands().wake_at(self.due);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next();
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    let seconds = arguments.next().map_or(Ok(1), |seconds| seconds.parse());
    let Ok(seconds @ 1..) = seconds else {
        eprintln!("ping_server: the interval is a number of seconds, 1 or more");
        return ExitCode::FAILURE;
    };
    Server::new(uri).workers(1).run(|_worker| Pinger {
        interval: Duration::from_secs(seconds),
        due: Instant::ZERO,
        pinged: HashMap::new(),
    })
}
