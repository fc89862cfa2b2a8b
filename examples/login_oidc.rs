//! A login by a third party, in the manner of OpenID Connect: `cargo run --example login_oidc -- 127.0.0.1:8080 ws://127.0.0.1:9000`, then
//! open <http://127.0.0.1:8080/>
//!
//! ```text
//!  browser ── /login ──▶ axum ── 303 ──▶ provider: who are you? ── 303 with a code ──▶ axum ── code and secret ──▶ provider
//!  browser ◀── cookie `token` ───────────────────────────────────────────────────────── axum ◀── a signed token ───────┘
//!  browser ── WebSocket, with the cookie ──▶ Ringway: checks signature, issuer, audience and time; else 401
//! ```
//!
//! A program without a browser sends the same token as `Authorization: Bearer`. axum serves the pages, because who redeems a code waits for
//! another server. The provider of `oidc/provider.rs` runs beside it. Over a network, all of it belongs under TLS.

#[path = "oidc/pages.rs"]
mod pages;
#[path = "oidc/provider.rs"]
mod provider;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ringway::services::Verifier;
use ringway::time::unix_now;
use ringway::{
    App, CloseCode, Context, Kind, Message, Opening, OpeningOptions, Running, Server, Verdict,
};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A value that nobody can guess.
fn random() -> String {
    let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new());
    let random = random.expect("Linux has random numbers").expose();
    format!("{:032x}", u128::from_be_bytes(random))
}

/// The proof that who redeems a code is the one that asked for it (RFC 7636).
fn challenge(verifier: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// The value of a cookie.
fn cookie<'a>(cookies: &'a [u8], name: &str) -> Option<&'a str> {
    let cookies = std::str::from_utf8(cookies).ok()?.split("; ");
    let mut pairs = cookies.filter_map(|cookie| cookie.split_once('='));
    pairs.find_map(|(known, value)| (known == name).then_some(value))
}

/// Talks to those who bring a token.
struct Greeter(Arc<Verifier>);

/// Whom a token names, and until when it is good, since 1970.
#[derive(Default)]
struct Guest {
    name: String,
    until: Duration,
}

impl Greeter {
    fn guest(&self, opening: &Opening<'_>) -> Option<Guest> {
        let request = opening.request();
        let bearer = request.header("authorization");
        let bearer = bearer.and_then(|value| value.strip_prefix(b"Bearer "));
        let token = match bearer {
            Some(token) => std::str::from_utf8(token).ok()?,
            None => request
                .headers()
                .all("cookie")
                .find_map(|cookies| cookie(cookies, "token"))?,
        };
        let claims = self.0.claims(token, unix_now()).ok()?;
        let until = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?);
        Some(Guest {
            name: claims.get("sub")?.as_str()?.to_owned(),
            until: until.ok()?,
        })
    }
}

impl App for Greeter {
    type Session = Guest;

    fn connect(&mut self, opening: &mut Opening<'_>, guest: &mut Guest) -> Verdict {
        match self.guest(opening) {
            Some(named) => *guest = named,
            None => {
                return Verdict::refuse(401, "log in first").header("WWW-Authenticate", "Bearer");
            }
        }
        Verdict::accept()
    }

    fn message(&mut self, context: &mut Context<'_>, guest: &mut Guest, message: Message<'_>) {
        if unix_now() >= guest.until {
            let _ = context.close(CloseCode::PolicyViolation, "the login has expired");
            return;
        }
        let text = String::from_utf8_lossy(message.payload());
        // Fails if the client does not read its answers: it gets no further ones.
        let _ = context.send(
            Kind::Text,
            format!("{} said: {text}", guest.name).as_bytes(),
        );
    }
}

/// A Ringway server at `uri`, and the pages and the provider for one address of HTTP.
pub(crate) fn program(http: &str, uri: &str) -> Result<(Running, Router), Failure> {
    let issuer = format!("{http}/provider");
    let client = provider::Client {
        id: "greeter".to_owned(),
        secret: random() + &random(),
        redirect_uri: format!("{http}/callback"),
    };
    let verifier = Verifier::hs256(client.secret.as_bytes())?;
    let verifier = Arc::new(verifier.with_issuer(&issuer).with_audience(&client.id));
    // A browser sends its cookies with the WebSockets of any page.
    let mut opening = OpeningOptions::default();
    opening.allowed_origins = vec![http.parse()?];
    let own = Arc::clone(&verifier);
    let server = Server::new(uri).workers(2).opening(opening);
    let running = server.start(move |_worker| Greeter(Arc::clone(&own)))?;
    let provider = provider::router(&issuer, client.clone());
    let pages = pages::router(pages::Pages {
        client,
        issuer,
        verifier,
        websocket: running.url().to_owned(),
    });
    Ok((running, pages.nest("/provider", provider)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (http, uri) = (argument("127.0.0.1:8080"), argument("ws://127.0.0.1:9000"));
    let listener = TcpListener::bind(http).await?;
    let http = format!("http://{}", listener.local_addr()?);
    let (running, router) = program(&http, &uri)?;
    println!("open {http}/; the WebSocket is at {}", running.url());
    axum::serve(listener, router).await?;
    Ok(())
}
