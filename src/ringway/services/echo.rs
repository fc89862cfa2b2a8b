//! The echo: sends every message back to its sender, with the same type and payload.

use std::fmt;
use std::str::FromStr;

use crate::proto::Message;
use crate::proto::http::is_token;
use crate::protocol::{App, Context, Opening, Verdict};

/// The echo application.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    /// The subprotocols that it accepts.
    pub subprotocols: Subprotocols,
}

/// Which subprotocol is chosen of those that a client offers (RFC 6455 §4.2.2). A browser that offers some fails the
/// connection if the server chooses none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subprotocols {
    /// The first one that the client offers.
    #[default]
    Any,
    /// None.
    None,
    /// The first one that the client offers and this list has. Without a match, the WebSocket opens without a
    /// subprotocol, and the client decides whether to go on.
    Of(Vec<String>),
}

impl Subprotocols {
    /// The choice from `offered`, which is in the client's order.
    pub fn choose<'a>(&self, mut offered: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        match self {
            Self::Any => offered.next(),
            Self::None => None,
            Self::Of(known) => offered.find(|name| known.iter().any(|known| known == name)),
        }
    }
}

impl Subprotocols {
    /// Accepts a client with the choice from its offer.
    pub(super) fn accept(&self, opening: &Opening<'_>) -> Verdict {
        match self.choose(opening.request().subprotocols()) {
            Some(name) => Verdict::accept().subprotocol(name),
            None => Verdict::accept(),
        }
    }
}

impl fmt::Display for Subprotocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::None => f.write_str("none"),
            Self::Of(names) => f.write_str(&names.join(",")),
        }
    }
}

impl FromStr for Subprotocols {
    type Err = String;

    /// Parses `any`, `none`, or names with commas between them.
    fn from_str(list: &str) -> Result<Self, String> {
        let names: Vec<&str> = list.split(',').map(str::trim).collect();
        match names[..] {
            ["any"] => return Ok(Self::Any),
            ["none"] => return Ok(Self::None),
            _ => {}
        }
        for (at, name) in names.iter().enumerate() {
            if !is_token(name.as_bytes()) {
                return Err(format!(
                    "'{name}' cannot be a subprotocol: give names without blanks and with commas between them, or any, \
                     or none"
                ));
            }
            if names[..at].contains(name) {
                return Err(format!("'{name}' is there twice: name it once"));
            }
        }
        Ok(Self::Of(names.into_iter().map(str::to_owned).collect()))
    }
}

impl App for Echo {
    type Session = ();

    fn connect(&mut self, opening: &mut Opening<'_>, (): &mut ()) -> Verdict {
        self.subprotocols.accept(opening)
    }

    #[inline(always)]
    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        // Fails only after this side has sent a Close, when nothing may follow.
        let _ = context.reply(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_that_the_client_offers_and_we_know_is_chosen() {
        let of = Subprotocols::Of(vec!["a".to_owned(), "b".to_owned()]);
        let choose =
            |from: &Subprotocols, offered: &[&'static str]| from.choose(offered.iter().copied());
        assert_eq!(choose(&of, &["c", "b", "a"]), Some("b"));
        assert_eq!(choose(&of, &["A", "c"]), None);
        assert_eq!(choose(&of, &[]), None);
        assert_eq!(choose(&Subprotocols::Any, &["c", "a"]), Some("c"));
        assert_eq!(choose(&Subprotocols::Any, &[]), None);
        assert_eq!(choose(&Subprotocols::None, &["a"]), None);
    }

    #[test]
    fn a_list_is_read_as_it_is_shown() {
        let of = |names: &[&str]| {
            Subprotocols::Of(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (text, meant) in [
            ("any", Subprotocols::Any),
            ("none", Subprotocols::None),
            ("b,a", of(&["b", "a"])),
            ("v1.mqtt", of(&["v1.mqtt"])),
        ] {
            assert_eq!(text.parse(), Ok(meant.clone()));
            assert_eq!(meant.to_string(), text);
        }
        assert_eq!("b , a".parse(), Ok(of(&["b", "a"])));
        for (text, why) in [
            ("", "'' cannot be"),
            ("a,,b", "'' cannot be"),
            ("a b", "'a b' cannot be"),
            ("a,b,a", "'a' is there twice"),
        ] {
            let error = text.parse::<Subprotocols>().unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
