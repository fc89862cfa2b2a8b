//! A WebSocket echo server on two worker processes: `cargo run --release --example echo_server -- ws://127.0.0.1:9000`

use std::process::ExitCode;

use ringway::{App, Context, Message, Server};

struct Echo;

impl App for Echo {
    type Session = ();

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let _ = context.reply(message); // refused only after a close
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri).workers(2).run(|_worker| Echo)
}
