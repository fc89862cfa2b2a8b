//! The guide of a gateway: where each client is led, and whether it may.
//!
//! Owns: the order of the questions. Never: waits on a worker's thread; what takes time is a future.
//!
//! 1. The name in the client's certificate (403).
//! 2. `Authorization: Basic` (401 at once without it; the hash is computed beside the worker).
//! 3. A route by host and path; else the token (404 without a known one); else the one target.
//! 4. The addresses of the target's name (502).

use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use ringway::exit::Fatal;
use ringway::options::{SerialLine, ServerOptions};
use ringway::proto::handshake::Request;
use ringway::services::Verifier;
use ringway::services::gateway::{
    Found, Guide, Place, Refusal, Route, SessionOptions, Step, TokenFrom, Why, without_port,
};
use ringway::{Onward, Opening, Verdict};
use ringway_web::passwords::{CHALLENGE, Login, Passwords};

use super::blocking::{HASHES, blocking};
use super::devices;
use super::fetch;
use super::names::{Make, Names};
use super::programs::{Leads, Program};
use super::sources::{Miss, RedisSource, Source, TokenFile};
use super::wrap::Wrapped;

/// Bytes of a token: a signed one is long.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Leads clients as the options say.
pub(super) struct Directory(Arc<Inner>);

struct Inner {
    names: Names,
    target: Option<Place>,
    routes: Vec<Route>,
    source: Option<Arc<Source>>,
    token_from: TokenFrom,
    passwords: Option<Arc<Passwords>>,
    client_names: Vec<String>,
    programs: Option<Arc<Leads>>,
    wrapped: Option<Wrapped>,
    serial: Option<SerialLine>,
}

/// What leads to a target.
enum Lead {
    Place(Place),
    Token(String),
    Program(Box<Program>),
    /// The program that is wrapped.
    Wrapped,
    Device(SerialLine),
}

impl Directory {
    /// Reads what does not change while the gateway runs.
    ///
    /// # Errors
    /// A file cannot be read, or an address is none.
    pub(super) fn new(
        options: &ServerOptions,
        make: Make,
        programs: Option<Arc<Leads>>,
    ) -> Result<Self, Fatal> {
        let sessions = &options.gateway.sessions;
        let passwords = sessions.basic_auth.as_deref().map(Passwords::load);
        let passwords = passwords.transpose();
        let passwords = passwords.map_err(|why| Fatal::usage(format!("--basic-auth {why}")))?;
        let wrapped = Wrapped::new(options, &make)?;
        Ok(Self(Arc::new(Inner {
            names: Names::new(make),
            target: options.gateway.target.clone(),
            routes: sessions.routes.clone(),
            source: source(sessions)?.map(Arc::new),
            token_from: sessions.token_from.clone(),
            passwords: passwords.map(Arc::new),
            client_names: sessions.client_names.clone(),
            programs,
            wrapped,
            serial: options.gateway.serial.clone(),
        })))
    }
}

fn source(options: &SessionOptions) -> Result<Option<Source>, Fatal> {
    if let Some(path) = &options.token_file {
        let file = TokenFile::new(path.clone());
        if let Err(Miss::Unanswered(why)) = file.table() {
            return Err(Fatal::usage(format!("--token-file: {why}")));
        }
        return Ok(Some(Source::File(file)));
    }
    for (name, directory) in [
        ("token-names", &options.token_names),
        ("token-sockets", &options.token_sockets),
    ] {
        let Some(directory) = directory else { continue };
        if !directory.is_dir() {
            return Err(Fatal::usage(format!(
                "--{name} {}: this is no directory",
                directory.display()
            )));
        }
        return Ok(Some(match name {
            "token-names" => Source::Names(directory.clone()),
            _ => Source::Sockets(directory.clone()),
        }));
    }
    if let Some(address) = &options.token_url {
        let tls = address.starts_with("https:").then(fetch::tls).transpose();
        let tls = tls.map_err(|error| Fatal::environment(format!("--token-url: {error}")))?;
        let address = address.clone();
        return Ok(Some(Source::Url { address, tls }));
    }
    if let Some(url) = &options.token_redis {
        let redis = RedisSource::new(url, options.token_namespace.clone());
        let redis = redis.map_err(|error| Fatal::usage(format!("--token-redis: {error}")))?;
        return Ok(Some(Source::Redis(Box::new(redis))));
    }
    let keys = options
        .token_jwt
        .iter()
        .map(|file| crate::access::verifier("--token-jwt", file));
    let keys: Vec<Verifier> = keys.collect::<Result<_, _>>()?;
    Ok((!keys.is_empty()).then_some(Source::Jwt(keys)))
}

impl Guide for Directory {
    fn find(&self, opening: &Opening<'_>) -> Step {
        match self.0.begin(opening) {
            Err(refusal) => Step::Now(Err(refusal)),
            Ok((None, Lead::Place(place))) => match self.0.names.known(&place) {
                Some(target) => Step::Now(target.map(|target| Found {
                    target: Onward::Stream(target),
                    partner: None,
                    name: place.to_string().into(),
                    user: None,
                    token: None,
                })),
                None => Step::Later(Box::pin(Arc::clone(&self.0).end(None, Lead::Place(place)))),
            },
            Ok((None, Lead::Wrapped)) if self.0.wrapped().listens() => {
                Step::Now(Ok(self.0.to_wrapped(None)))
            }
            Ok((login, lead)) => Step::Later(Box::pin(Arc::clone(&self.0).end(login, lead))),
        }
    }
}

impl Inner {
    /// What can be said at once: a refusal, or what is left to find out.
    fn begin(&self, opening: &Opening<'_>) -> Result<(Option<Login>, Lead), Refusal> {
        if !self.client_names.is_empty() {
            let subject = opening.client_name();
            let name = subject.as_deref().and_then(common_name);
            if !name.is_some_and(|name| self.client_names.iter().any(|known| known == name)) {
                let sentence = "the certificate of this client is none of those that may come in";
                return Err(Refusal::new(Why::NotAllowed, 403, sentence));
            }
        }
        let request = opening.request();
        let login = match &self.passwords {
            None => None,
            Some(_) => {
                let login = request.header("authorization").and_then(Login::parse);
                Some(login.ok_or_else(unauthorized)?)
            }
        };
        if let Some(programs) = &self.programs {
            return Ok((login, Lead::Program(Box::new(programs.find(opening)?))));
        }
        if let Some(line) = &self.serial {
            return Ok((login, Lead::Device(line.clone())));
        }
        if let Some(route) = Route::find(&self.routes, request.host(), request.path()) {
            return Ok((login, Lead::Place(route.place.clone())));
        }
        if self.source.is_some() {
            let token = token(&self.token_from, request).filter(|token| !token.is_empty());
            let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX);
            let sentence = "this needs a token of a target, and there is none in the request";
            let token = token.ok_or_else(|| Refusal::new(Why::NoTarget, 404, sentence))?;
            return Ok((login, Lead::Token(token)));
        }
        if self.wrapped.is_some() {
            return Ok((login, Lead::Wrapped));
        }
        match &self.target {
            Some(place) => Ok((login, Lead::Place(place.clone()))),
            None => {
                let sentence = "there is no target at this path of this host";
                Err(Refusal::new(Why::NoTarget, 404, sentence))
            }
        }
    }

    /// The rest, beside the worker.
    async fn end(self: Arc<Self>, login: Option<Login>, lead: Lead) -> Result<Found, Refusal> {
        let mut user = None;
        if let (Some(login), Some(passwords)) = (login, &self.passwords) {
            let passwords = Arc::clone(passwords);
            let checked = blocking(&HASHES, move || passwords.check(&login)).await;
            user = Some(checked.flatten().ok_or_else(unauthorized)?);
        }
        let (place, token) = match lead {
            Lead::Program(program) => {
                let Some(leads) = &self.programs else {
                    unreachable!("a program is found where there are some")
                };
                return leads.programs.start(*program, user.as_deref());
            }
            Lead::Wrapped => {
                self.wrapped().wait().await;
                return Ok(self.to_wrapped(user));
            }
            Lead::Device(line) => return devices::find(&line, user),
            Lead::Place(place) => (place, None),
            Lead::Token(token) => {
                let label: Box<str> = label(&token).into();
                match self.look_up(token).await {
                    Ok(place) => (place, Some(label)),
                    Err(refusal) => {
                        let token = Some(label);
                        return Err(Refusal {
                            user,
                            token,
                            ..refusal
                        });
                    }
                }
            }
        };
        match self.names.find(&place).await {
            Ok(target) => Ok(Found {
                target: Onward::Stream(target),
                partner: None,
                name: place.to_string().into(),
                user,
                token,
            }),
            Err(refusal) => Err(Refusal {
                user,
                token,
                ..refusal
            }),
        }
    }

    fn wrapped(&self) -> &Wrapped {
        let Some(wrapped) = &self.wrapped else {
            unreachable!("sessions lead to a wrapped program where there is one")
        };
        wrapped
    }

    fn to_wrapped(&self, user: Option<Box<str>>) -> Found {
        let wrapped = self.wrapped();
        Found {
            target: Onward::Stream(Arc::clone(&wrapped.target)),
            partner: None,
            name: Arc::clone(&wrapped.name),
            user,
            token: None,
        }
    }

    async fn look_up(&self, token: String) -> Result<Place, Refusal> {
        let Some(source) = &self.source else {
            unreachable!("a token is looked for where there is a source")
        };
        source.find(token).await.map_err(|miss| match miss {
            Miss::Unknown => {
                let sentence = "no target belongs to this token";
                Refusal::new(Why::NoTarget, 404, sentence)
            }
            Miss::Unanswered(why) => {
                tracing::warn!("a token cannot be looked up: {why}");
                let sentence = "the target of this token is not to be had now: try again later";
                Refusal::new(Why::NoAnswer, 502, sentence)
            }
        })
    }
}

fn unauthorized() -> Refusal {
    let sentence = "a user and a password are needed here";
    let mut refusal = Refusal::new(Why::NotAllowed, 401, sentence);
    let verdict = std::mem::replace(&mut refusal.verdict, Verdict::accept());
    refusal.verdict = verdict.header("WWW-Authenticate", CHALLENGE);
    refusal
}

/// What stands for a token in the log: eight hexadecimal digits of its SHA-256. Whoever has the token finds its lines, and whoever
/// has the lines does not find the token.
fn label(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    let mut label = String::new();
    for byte in digest.as_ref().iter().take(4) {
        let _ = write!(label, "{byte:02x}");
    }
    label
}

/// The CN of a subject as RFC 4514 writes it.
fn common_name(subject: &str) -> Option<&str> {
    // A value may have a comma itself, behind a backslash: what follows it is no name.
    let mut is_escaped = false;
    let mut parts = subject.split(|letter| {
        let ends = !is_escaped && matches!(letter, ',' | '+');
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    parts.find_map(|part| part.trim_start().strip_prefix("CN="))
}

/// The token of a request.
fn token(from: &TokenFrom, request: &Request<'_>) -> Option<String> {
    let text = |value| std::str::from_utf8(value).ok();
    match from {
        TokenFrom::Query(name) => {
            let mut pairs = request.query()?.split('&');
            let value = pairs.find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='));
            decoded(&value?.replace('+', " "))
        }
        TokenFrom::Path => decoded(request.path().split('/').nth(1)?),
        TokenFrom::Host => Some(without_port(request.host()).to_ascii_lowercase()),
        TokenFrom::Header(name) => Some(text(request.header(name)?)?.trim().to_owned()),
        TokenFrom::Cookie(name) => {
            let headers = request.headers();
            let cookies = headers.all("cookie").filter_map(text);
            let mut pairs = cookies
                .flat_map(|cookies| cookies.split(';'))
                .map(str::trim);
            let value = pairs.find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='));
            decoded(value?)
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    let bytes = percent_decode_str(text).decode_utf8().ok()?;
    Some(bytes.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use ringway::proto::handshake::{Asked, Progress, parse_request};

    use super::*;

    fn token_in(from: &TokenFrom, target: &str, headers: &str) -> Option<String> {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: Vnc7.example:6080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        let parsed = parse_request(head.as_bytes(), &ringway::proto::http::Limits::default());
        let Ok(Progress::Complete {
            head: Asked::WebSocket(request),
            ..
        }) = parsed
        else {
            panic!("a request")
        };
        token(from, &request)
    }

    #[test]
    fn a_token_stands_where_the_operator_says() {
        let query = TokenFrom::default();
        let get = |from: &TokenFrom, target, headers| token_in(from, target, headers);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            get(&query, "/x?a=1&token=a%2Fb%0A&token=c", ""),
            some("a/b")
        );
        assert_eq!(get(&query, "/x?tokens=1", ""), None);
        assert_eq!(get(&query, "/x?token=%ff", ""), None);
        assert_eq!(
            get(&TokenFrom::Path, "/al%20ice/more?token=x", ""),
            some("al ice")
        );
        assert_eq!(get(&TokenFrom::Path, "/", ""), some(""));
        assert_eq!(get(&TokenFrom::Host, "/", ""), some("vnc7.example"));
        let header = TokenFrom::Header("X-Token".to_owned());
        assert_eq!(get(&header, "/", "x-token:  t \r\n"), some("t"));
        let cookie = TokenFrom::Cookie("vnc".to_owned());
        assert_eq!(get(&cookie, "/", "Cookie: a=1; vnc=t%3D\r\n"), some("t="));
    }

    #[test]
    fn a_name_is_the_cn_of_a_subject() {
        assert_eq!(common_name("CN=alice,O=Example"), Some("alice"));
        assert_eq!(common_name("O=Example, CN=bob"), Some("bob"));
        assert_eq!(common_name("O=CN=eve"), None);
        assert_eq!(common_name("O=a\\, CN=eve"), None);
        assert_eq!(common_name("O=a\\\\,CN=ada+OU=x"), Some("ada"));
    }

    #[test]
    fn a_label_does_not_tell_the_token() {
        assert_eq!(label("secret"), "2bb80d53");
    }
}
