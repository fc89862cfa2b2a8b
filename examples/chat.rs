//! A chat for browsers: `cargo run --release --example chat -- ws://127.0.0.1:9000`, then open <http://127.0.0.1:9000/>.
//!
//! The same port serves the page and the WebSockets. A message is encoded once, and every connection of every worker gets it
//! from there: all of them have subscribed to one topic.

use std::process::ExitCode;

use ringway::proto::http;
use ringway::{
    App, Audience, BusOptions, CloseCode, Closed, Context, Kind, Message, Opening, Scope, Server,
    Verdict,
};

const PAGE: &str = include_str!("chat.html");

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 20;

/// The topic of the only room.
const ROOM: &str = "chat/lobby";

struct Chat;

/// Tells everybody in the room. A message larger than the bus takes is told to nobody, and its sender hears why.
fn say(context: &mut Context<'_>, text: &str) {
    if let Err(why) = context.publish(ROOM, Kind::Text, text.as_bytes(), Audience::All) {
        let _ = context.close(CloseCode::MessageTooBig, &why.to_string());
    }
}

impl App for Chat {
    /// The member's name.
    type Session = String;

    fn request<'a>(&'a mut self, _request: &'a http::Request<'_>) -> http::Answer<'a> {
        http::Answer {
            status: http::StatusCode(200),
            content_type: "text/html; charset=utf-8",
            headers: &[],
            body: PAGE.as_bytes(),
        }
    }

    fn connect(&mut self, opening: &mut Opening<'_>, name: &mut String) -> Verdict {
        let query = opening.request().query().unwrap_or_default();
        let given = query.strip_prefix("name=").unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if given.is_empty() || given.len() > NAME_CHARS_MAX || !given.chars().all(allowed) {
            return Verdict::refuse(400, "connect with ?name= and up to 20 letters or digits");
        }
        given.clone_into(name);
        Verdict::accept()
    }

    fn open(&mut self, context: &mut Context<'_>, name: &mut String) {
        match context.subscribe(ROOM) {
            Ok(()) => say(context, &format!("* {name} came")),
            Err(why) => {
                let _ = context.close(CloseCode::TryAgainLater, &why.to_string());
            }
        }
    }

    fn message(&mut self, context: &mut Context<'_>, name: &mut String, message: Message<'_>) {
        let Ok(text) = std::str::from_utf8(message.payload()) else {
            let _ = context.close(CloseCode::UnsupportedData, "text only");
            return;
        };
        say(context, &format!("{name}: {text}"));
    }

    fn close(&mut self, scope: &mut Scope<'_>, name: String, _closed: Closed<'_>) {
        // Fails only if the server has no bus.
        let _ = scope.publish(ROOM, Kind::Text, format!("* {name} left").as_bytes());
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri)
        .bus(BusOptions::default())
        .run(|_worker| Chat)
}
