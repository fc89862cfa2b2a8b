//! The control connections: a welcome, commands in, replies out.
//!
//! Owns: who may connect, and the tests that each client still waits for. Never: runs a test.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::super::uri::Uri;
use super::super::{command, reply};
use super::jobs::{Job, Jobs, Said};
use super::master::Master;
use crate::io::ConnId;
use crate::proto::{Kind, Message};
use crate::worker::{App, Closed, Context, Failure, Handle, Opening, Scope, Verdict};

/// Most unanswered commands of one client. Chosen, untested.
const OUTSTANDING_MAX: usize = 16;

/// The subprotocol between masters and control servers. A client that offers it gets it.
pub(super) const SUBPROTOCOL: &str = "wsperf";

/// Who may connect (RFC 6455 §10.2). Without this check, any page in a browser could make this machine produce load.
///
/// - A client that sends no `Origin`: it is no browser.
/// - A page of this host, if the host is an address, `localhost`, or the name that the server listens on. The owner of
///   any other name could point it here after the page was loaded (DNS rebinding).
/// - An origin that is allowed by name. A page opened from a file is `null`; so is a sandboxed page of a stranger, which
///   is why `null` must be allowed by name too.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Allowed origins as browsers send them: `http://example.com:8080`, or `null`.
    pub(super) allowed: Vec<String>,
    /// The host on which the server listens.
    pub(super) own_host: String,
}

impl Origins {
    pub(super) fn let_in(&self, origin: Option<&str>, host: &str) -> bool {
        let Some(origin) = origin else { return true };
        if self.allowed.iter().any(|a| a.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else {
            return false;
        };
        let name = |authority: &str| Uri::parse(&format!("ws://{authority}")).map(|uri| uri.host);
        match (name(authority), name(host)) {
            (Ok(page), Ok(here)) => page.eq_ignore_ascii_case(&here) && self.is_fixed(&here),
            _ => false,
        }
    }

    fn is_fixed(&self, host: &str) -> bool {
        host.parse::<std::net::IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || host.eq_ignore_ascii_case(&self.own_host)
    }
}

/// The application of the control socket.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) origins: Origins,
    pub(super) welcome: String,
    pub(super) jobs: Arc<Jobs>,
    pub(super) said: Receiver<Said>,
    /// Receives a byte for every reply of a test.
    pub(super) wake: UnixStream,
    pub(super) clients: HashMap<ConnId, Client>,
    /// The connection to the master, if there is one.
    pub(super) master: Option<Master>,
}

/// One control connection.
#[derive(Debug, Default)]
pub(super) struct Client {
    outstanding: usize,
    /// Cancels its tests.
    gone: Arc<AtomicBool>,
}

impl Control {
    /// Queues the test that a message asks for. The error is the answer to send instead.
    fn obey(&mut self, id: ConnId, message: &Message<'_>) -> Result<(), String> {
        let invalid = |why| reply::error("", "Invalid Command", why);
        let text = message.text().ok_or_else(|| invalid("commands are text"))?;
        let test = command::parse(text).map_err(|refusal| reply::refused(&refusal))?;
        let token = test.token().to_owned();
        let full = |why: &str| reply::error(&token, "Queue full", why);
        let client = self.clients.entry(id).or_default();
        if client.outstanding == OUTSTANDING_MAX {
            return Err(full("16 commands of this connection are not answered yet"));
        }
        tracing::debug!("{test}");
        let cancelled = client.gone.clone();
        let job = Job {
            asker: id,
            test,
            cancelled,
        };
        if !self.jobs.push(job) {
            return Err(full("64 tests are waiting"));
        }
        client.outstanding += 1;
        Ok(())
    }
}

impl App for Control {
    type Session = ();

    fn connect(&mut self, opening: &mut Opening<'_>, (): &mut ()) -> Verdict {
        let request = opening.request();
        if !self.origins.let_in(request.origin(), request.host()) {
            let sentence = "pages of this origin may not drive tests; --allow-origin permits one";
            return Verdict::refuse(403, sentence);
        }
        match request.subprotocols().find(|name| *name == SUBPROTOCOL) {
            Some(name) => Verdict::accept().subprotocol(name),
            None => Verdict::accept(),
        }
    }

    fn connected(&mut self, _scope: &mut Scope<'_>, (): &mut ()) {
        if let Some(master) = &mut self.master {
            master.connected();
        }
    }

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failed: Failure) {
        if let Some(master) = &mut self.master {
            master.failed(&failed);
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.clients.insert(context.id(), Client::default());
        let _ = context.send(Kind::Text, self.welcome.as_bytes());
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        if let Err(error) = self.obey(context.id(), &message) {
            // If the client's send queue is full, `turn` ends the connection once there is a result.
            let _ = context.send(Kind::Text, error.as_bytes());
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        if let Some(master) = &mut self.master {
            master.connect(reach);
        }
        // Empties the socket before the channel: a reply after this writes a new byte.
        let mut bytes = [0; 256];
        while matches!((&self.wake).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        while let Ok(Said { to, text, last }) = self.said.try_recv() {
            if let Some(client) = self.clients.get_mut(&to) {
                client.outstanding -= usize::from(last);
            }
            let Some(mut context) = reach.context(to) else {
                continue;
            };
            if let Err(error) = context.send(Kind::Text, text.as_bytes()) {
                tracing::warn!("a client that does not read its results is dropped: {error:?}");
                reach.reset(to);
            }
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), _closed: Closed<'_>) {
        if let Some(client) = self.clients.remove(&scope.id()) {
            client.gone.store(true, Ordering::Relaxed);
        }
        if let Some(master) = &mut self.master {
            master.lost("the connection is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_host_are_let_in_and_others_are_not() {
        let origins = Origins {
            allowed: vec!["http://example.com:8080".to_owned()],
            own_host: "driver.lan".to_owned(),
        };
        let cases = [
            (None, "localhost:9050", true),
            (Some("http://localhost:8081"), "localhost:9050", true),
            (Some("http://127.0.0.1:8081"), "127.0.0.1:9050", true),
            (Some("http://[::1]:8081"), "[::1]:9050", true),
            (Some("https://Driver.LAN"), "driver.lan:9050", true),
            (Some("http://example.com:8080"), "localhost:9050", true),
            (Some("file://"), "localhost:9050", false),
            (Some("null"), "localhost:9050", false),
            (Some("http://example.com"), "localhost:9050", false),
            (Some("http://localhost:8081"), "127.0.0.1:9050", false),
            // A name whose owner has pointed it here (DNS rebinding).
            (Some("http://evil.test"), "evil.test:9050", false),
            (Some("http://localhost.evil.test"), "localhost:9050", false),
            (Some("http://localhost@evil.test"), "localhost:9050", false),
            (Some("localhost"), "localhost:9050", false),
            (Some("http://"), "localhost:9050", false),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(
                origins.let_in(origin, host),
                expected,
                "{origin:?} at {host}"
            );
        }
    }

    #[test]
    fn null_is_let_in_by_name() {
        let origins = Origins {
            allowed: vec!["null".to_owned()],
            own_host: String::new(),
        };
        assert!(origins.let_in(Some("null"), "localhost"));
        assert!(!origins.let_in(Some("http://a"), "localhost"));
    }
}
