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
}

/// How the stream of a connection travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Travels {
    as_base64: bool,
}

impl Gateway {
    /// A gateway to one target, for `binary`, `base64`, and clients that offer nothing.
    pub const fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            subprotocols: Vec::new(),
            base64: true,
            require_subprotocol: false,
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

    /// The answer to a client that offers these subprotocols, and how its stream travels.
    fn choose<'a>(&self, offered: impl Iterator<Item = &'a str>) -> (Verdict, Travels) {
        let mut offered = offered.peekable();
        let binary = Travels { as_base64: false };
        if offered.peek().is_none() {
            return match self.require_subprotocol {
                false => (Verdict::accept(), binary),
                true => {
                    let body = format!("offer one of these subprotocols: {}\n", self.known());
                    (Verdict::refuse(406, &body), binary)
                }
            };
        }
        match offered.find(|name| self.knows(name)) {
            Some(name) => {
                let as_base64 = name == BASE64;
                let verdict = Verdict::accept().subprotocol(name);
                (verdict, Travels { as_base64 })
            }
            None => {
                let body = format!("none of the subprotocols is known, only {}\n", self.known());
                (Verdict::refuse(400, &body), binary)
            }
        }
    }
}

impl App for Gateway {
    type Session = Travels;

    fn connect(&mut self, opening: &mut Opening<'_>, travels: &mut Travels) -> Verdict {
        let (verdict, chosen) = self.choose(opening.request().subprotocols());
        *travels = chosen;
        verdict
    }

    fn open(&mut self, context: &mut Context<'_>, travels: &mut Travels) {
        let kind = match travels.as_base64 {
            true => Kind::Text,
            false => Kind::Binary,
        };
        context.join(&self.target, kind);
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Travels, _: Message<'_>) {
        unreachable!("the messages of a joined WebSocket are the stream's")
    }
}
