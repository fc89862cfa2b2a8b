//! A chat for browsers: `cargo run --release --example chat -- ws://127.0.0.1:9000`, then open <http://127.0.0.1:9000/>.
//!
//! The same port serves the page and the WebSockets. A message is encoded once, and every connection sends from that
//! memory. There is one worker, because a worker can reach only its own connections.

use std::process::ExitCode;

use ringway::proto::http;
use ringway::{
    App, CloseCode, Closed, Commands, ConnId, Context, Kind, Message, Opening, Prepared, Scope,
    Server, Verdict,
};

const PAGE: &str = include_str!("chat.html");

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 20;

#[derive(Default)]
struct Chat {
    members: Vec<ConnId>,
}

impl Chat {
    /// Sends `message` to every member.
    fn tell(&self, commands: &mut Commands, message: &Prepared) {
        for member in &self.members {
            commands.send_prepared(*member, message, 0);
        }
    }

    fn say(&self, context: &mut Context<'_>, text: &str) {
        if let Ok(prepared) = context.prepare(&[(Kind::Text, text.as_bytes())]) {
            self.tell(context.commands(), &prepared);
        }
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
        self.members.push(context.id());
        self.say(
            context,
            &format!("* {name} came, {} here", self.members.len()),
        );
    }

    fn message(&mut self, context: &mut Context<'_>, name: &mut String, message: Message<'_>) {
        let Ok(text) = std::str::from_utf8(message.payload()) else {
            let _ = context.close(CloseCode::UnsupportedData, "text only");
            return;
        };
        self.say(context, &format!("{name}: {text}"));
    }

    fn close(&mut self, scope: &mut Scope<'_>, name: String, _closed: Closed<'_>) {
        let gone = scope.id();
        self.members.retain(|member| *member != gone);
        let text = format!("* {name} left, {} here", self.members.len());
        for member in &self.members {
            scope.commands().send(*member, Kind::Text, text.as_bytes());
        }
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    Server::new(uri).workers(1).run(|_worker| Chat::default())
}
