//! The gateway: joins each WebSocket with a stream to a target.
//!
//! Owns: which subprotocol a client gets, and so how the stream travels in its messages. Never: sees a byte of a stream (the
//! worker carries them).
//!
//! | the client offers | it gets |
//! |---|---|
//! | nothing | binary messages, no subprotocol; or 406 where one is required |
//! | some, of which we know one or more | the first one that we know, in the client's order |
//! | some, of which we know none | 400 with the names that we know |

use std::sync::Arc;

use crate::proto::proxy_protocol::{self, Version};
use crate::proto::{Kind, Message};
use crate::protocol::{App, Context, Opening, Target, Verdict};

/// The subprotocol of binary messages, as websockify has it.
const BINARY: &str = "binary";

/// The subprotocol of text messages, each of which is base64.
const BASE64: &str = "base64";

/// The gateway application.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where the streams lead to.
    pub target: Arc<Target>,
    /// Subprotocols beside `binary` and `base64`; their messages are binary.
    pub subprotocols: Vec<String>,
    /// Whether clients may choose `base64`.
    pub base64: bool,
    /// Whether a client that offers no subprotocol is refused.
    pub require_subprotocol: bool,
    /// The PROXY header that tells the target whose stream it is. `None`: the stream begins with the client's bytes.
    pub proxy_header: Option<Version>,
}

/// What is kept of a client until its stream begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Travels {
    as_base64: bool,
    /// What the target gets first.
    header: Vec<u8>,
}

impl Gateway {
    /// A gateway to one target, for `binary`, `base64`, and clients that offer nothing.
    pub const fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            subprotocols: Vec::new(),
            base64: true,
            require_subprotocol: false,
            proxy_header: None,
        }
    }

    fn knows(&self, name: &str) -> bool {
        match name {
            BINARY => true,
            BASE64 => self.base64,
            other => self.subprotocols.iter().any(|known| known == other),
        }
    }

    fn known(&self) -> String {
        let base64 = self.base64.then_some(BASE64);
        let more = self.subprotocols.iter().map(String::as_str);
        let names = std::iter::once(BINARY).chain(base64).chain(more);
        names.collect::<Vec<_>>().join(", ")
    }

    /// The answer to a client that offers these subprotocols, and whether its stream travels as base64.
    fn choose<'a>(&self, offered: impl Iterator<Item = &'a str>) -> (Verdict, bool) {
        let mut offered = offered.peekable();
        if offered.peek().is_none() {
            return match self.require_subprotocol {
                false => (Verdict::accept(), false),
                true => {
                    let body = format!("offer one of these subprotocols: {}\n", self.known());
                    (Verdict::refuse(406, &body), false)
                }
            };
        }
        match offered.find(|name| self.knows(name)) {
            Some(name) => (Verdict::accept().subprotocol(name), name == BASE64),
            None => {
                let body = format!("none of the subprotocols is known, only {}\n", self.known());
                (Verdict::refuse(400, &body), false)
            }
        }
    }
}

impl App for Gateway {
    type Session = Travels;

    fn connect(&mut self, opening: &mut Opening<'_>, travels: &mut Travels) -> Verdict {
        let (verdict, as_base64) = self.choose(opening.request().subprotocols());
        travels.as_base64 = as_base64;
        if let Some(version) = self.proxy_header {
            let (client, own) = (opening.peer(), opening.local());
            proxy_protocol::encode(version, client, own, opening.is_tls(), &mut travels.header);
        }
        verdict
    }

    fn open(&mut self, context: &mut Context<'_>, travels: &mut Travels) {
        let kind = match travels.as_base64 {
            true => Kind::Text,
            false => Kind::Binary,
        };
        context.join(&self.target, kind, &std::mem::take(&mut travels.header));
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Travels, _: Message<'_>) {
        unreachable!("the messages of a joined WebSocket are the stream's")
    }
}
