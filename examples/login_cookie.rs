//! A login that a cookie remembers: `cargo run --release --example login_cookie -- ws://127.0.0.1:9000`, then open
//! <http://127.0.0.1:9000/> and log in as `anna` with the password `open sesame`.
//!
//! | path | who may connect | what happens |
//! |---|---|---|
//! | `/login` | everybody | the answer sets a cookie; after the message `name:password` it is good, or 1008 comes |
//! | `/` | who has a good cookie | an echo that knows the name; any other client gets 401 |
//!
//! The workers are threads, so that they share the sessions. Over a network, serve this under TLS (`tls_server`), and add `Secure` to
//! the cookie. A real program keeps hashes of its passwords.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway::proto::http;
use ringway::{App, CloseCode, Context, Kind, Message, Opening, Server, Verdict};

const USERS: [(&str, &str); 2] = [("anna", "open sesame"), ("bert", "correct horse")];

/// How long a login is good.
const SESSION_TIME: Duration = Duration::from_secs(3600);
/// Sessions at most; above, nobody can log in until one is over.
const SESSIONS_MAX: usize = 10_000;

const PAGE: &str = include_str!("login_cookie.html");

/// Who has logged in, and until when: by the value of the cookie.
type Sessions = HashMap<String, (&'static str, Instant)>;

struct Login(Arc<Mutex<Sessions>>);

/// What a connection is for.
#[derive(Default)]
enum Caller {
    #[default]
    Unknown,
    /// To log in: then this cookie is good.
    LogsIn(String),
    Is(&'static str),
}

impl Login {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose session the cookie is of.
    fn name(&self, cookie: &str) -> Option<&'static str> {
        let (name, ends) = *self.sessions().get(cookie)?;
        (ends > Instant::now()).then_some(name)
    }

    /// Begins a session, unless there are too many.
    fn begin(&self, cookie: &str, name: &'static str) -> bool {
        let (mut sessions, now) = (self.sessions(), Instant::now());
        sessions.retain(|_, (_, ends)| *ends > now);
        let has_room = sessions.len() < SESSIONS_MAX;
        if has_room {
            sessions.insert(cookie.to_owned(), (name, now + SESSION_TIME));
        }
        has_room
    }
}

/// A value for a cookie, which nobody can guess.
fn cookie() -> std::io::Result<String> {
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

impl App for Login {
    type Session = Caller;

    fn request<'a>(&'a mut self, _: &'a http::Request<'_>) -> http::Answer<'a> {
        http::Answer {
            status: http::StatusCode(200),
            content_type: "text/html; charset=utf-8",
            headers: &[],
            body: PAGE.as_bytes(),
        }
    }

    fn connect(&mut self, opening: &mut Opening<'_>, caller: &mut Caller) -> Verdict {
        let request = opening.request();
        // A browser sends its cookies with the WebSockets of any page, and says whose page it is.
        let is_own = |origin: &str| {
            origin
                .split_once("://")
                .is_some_and(|it| it.1 == request.host())
        };
        if !request.origin().is_none_or(is_own) {
            return Verdict::refuse(403, "this page may not connect here");
        }
        if request.path() == "/login" {
            let Ok(cookie) = cookie() else {
                return Verdict::refuse(503, "no random numbers");
            };
            let set = format!("session={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600");
            *caller = Caller::LogsIn(cookie);
            return Verdict::accept().header("Set-Cookie", &set);
        }
        let name = request.headers().all("cookie").find_map(|cookies| {
            let mut cookies = std::str::from_utf8(cookies).ok()?.split("; ");
            self.name(cookies.find_map(|cookie| cookie.strip_prefix("session="))?)
        });
        let Some(name) = name else {
            return Verdict::refuse(401, "log in first");
        };
        *caller = Caller::Is(name);
        Verdict::accept()
    }

    fn message(&mut self, context: &mut Context<'_>, caller: &mut Caller, message: Message<'_>) {
        let text = String::from_utf8_lossy(message.payload());
        let answer = match caller {
            Caller::Is(name) => format!("{name} said: {text}"),
            Caller::LogsIn(cookie) => {
                let given = text.split_once(':');
                let user = USERS.iter().find(|user| Some(**user) == given);
                let welcome = user.filter(|(name, _)| self.begin(cookie, name));
                let Some((name, _)) = welcome else {
                    let _ = context.close(CloseCode::PolicyViolation, "wrong name or password");
                    return;
                };
                format!("welcome, {name}")
            }
            Caller::Unknown => return,
        };
        // Fails if the client does not read its answers: it gets no further ones.
        let _ = context.send(Kind::Text, answer.as_bytes());
    }
}

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    let uri = uri.as_deref().unwrap_or("ws://127.0.0.1:9000");
    let sessions = Arc::new(Mutex::new(Sessions::new()));
    Server::new(uri)
        .workers(2)
        .handshakes_per_address(20) // in each second: who guesses passwords is slowed down
        .run_threads(move |_worker| Login(Arc::clone(&sessions)))
}
