//! Offers and answers of permessage-bzip2: each side may limit the level of the other. Nothing here allocates, apart from
//! the header that is appended.

use super::{LEVEL_MAX, NAME};
use crate::handshake::Extension;
use crate::http;

/// What an endpoint is willing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The largest level of what we send, from 1 to 9.
    pub sends_level: u8,
    /// The largest level of what the peer sends, from 1 to 9.
    pub receives_level: u8,
}

impl Terms {
    /// Willing to do whatever the other side wants.
    pub const ANY: Self = Self {
        sends_level: LEVEL_MAX,
        receives_level: LEVEL_MAX,
    };
}

/// What both endpoints agreed on: the largest level of each side's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Of the server's messages.
    pub server_level: u8,
    /// Of the client's messages.
    pub client_level: u8,
}

/// The parameters of the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    server_max: Option<u8>,
    client_max: Option<u8>,
}

/// The parameters of an offer or answer, each at most once.
#[derive(Clone, Copy, Debug, Default)]
struct Params {
    server_max: Option<u8>,
    /// An offer has it without a value, an answer with one.
    client_max: Option<Option<u8>>,
}

impl Params {
    /// A parameter that is unknown, repeated, or has a bad value makes the whole offer or answer invalid.
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for (name, value) in extension.params() {
            let is_first = if name.eq_ignore_ascii_case("server_max_compress_level") {
                params.server_max.replace(level(value?)?).is_none()
            } else if name.eq_ignore_ascii_case("client_max_compress_level") {
                let value = match value {
                    Some(value) => Some(level(value)?),
                    None => None,
                };
                params.client_max.replace(value).is_none()
            } else {
                false
            };
            if !is_first {
                return None;
            }
        }
        Some(params)
    }
}

/// One digit from 1 to 9.
fn level(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

/// The server's answer to an offer of this name. `None`: it cannot be met.
pub(crate) fn accept_one(terms: &Terms, offer: &Extension<'_>) -> Option<(Agreed, Answer)> {
    let asked = Params::parse(offer)?;
    let client_max = match (asked.client_max, terms.receives_level) {
        // The value is the server's to give.
        (Some(Some(_)), _) => return None,
        (_, LEVEL_MAX) => None,
        (Some(None), limit) => Some(limit),
        // This client cannot be told that its blocks are too large for us.
        (None, _) => return None,
    };
    let server_max = asked.server_max.unwrap_or(LEVEL_MAX);
    let agreed = Agreed {
        server_level: terms.sends_level.min(server_max),
        client_level: client_max.unwrap_or(LEVEL_MAX),
    };
    let answer = Answer {
        server_max: asked.server_max,
        client_max,
    };
    Some((agreed, answer))
}

/// Appends `answer` without the header's name.
pub(crate) fn push_answer(answer: &Answer, out: &mut Vec<u8>) {
    http::push(&[NAME], out);
    push_level("; server_max_compress_level=", answer.server_max, out);
    push_level("; client_max_compress_level=", answer.client_max, out);
}

/// Appends the offer of `terms` without the header's name. The server may limit our level: we follow.
pub(crate) fn push_offer(terms: &Terms, out: &mut Vec<u8>) {
    http::push(&[NAME, "; client_max_compress_level"], out);
    let limit = Some(terms.receives_level).filter(|level| *level < LEVEL_MAX);
    push_level("; server_max_compress_level=", limit, out);
}

fn push_level(name: &str, level: Option<u8>, out: &mut Vec<u8>) {
    if let Some(level) = level {
        http::push(&[name], out);
        out.push(b'0' + level);
    }
}

/// What a client agreed on by its server's answer, if the answer is one to the offer of `terms`: a server that was told a
/// level keeps to it, and says so.
pub fn answered(terms: &Terms, answer: &Extension<'_>) -> Option<Agreed> {
    if !answer.name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let params = Params::parse(answer)?;
    let client_max = match params.client_max {
        None => LEVEL_MAX,
        Some(level) => level?,
    };
    let server_level = params.server_max.unwrap_or(LEVEL_MAX);
    (server_level <= terms.receives_level).then_some(Agreed {
        server_level,
        client_level: terms.sends_level.min(client_max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{
        self,
        tried::{self, offers},
    };

    const SMALL: Terms = Terms {
        sends_level: 5,
        receives_level: 2,
    };

    fn answer(terms: &Terms, offer: &str) -> Option<(String, Agreed)> {
        let terms = compression::Terms {
            bzip2: Some(*terms),
            ..compression::Terms::NONE
        };
        let (answer, agreed) = tried::answer(&terms, offer)?;
        let compression::Agreed::Bzip2(agreed) = agreed else {
            panic!("{agreed:?}")
        };
        Some((answer, agreed))
    }

    #[test]
    fn each_offer_gets_the_narrowest_answer_that_holds() {
        for (terms, offer, expected, levels) in [
            (Terms::ANY, "permessage-bzip2", "permessage-bzip2", (9, 9)),
            (
                Terms::ANY,
                "Permessage-Bzip2; client_max_compress_level",
                "permessage-bzip2",
                (9, 9),
            ),
            (
                Terms::ANY,
                "permessage-bzip2; server_max_compress_level=3; client_max_compress_level",
                "permessage-bzip2; server_max_compress_level=3",
                (3, 9),
            ),
            (
                SMALL,
                "permessage-bzip2; client_max_compress_level; SERVER_MAX_COMPRESS_LEVEL=\"7\"",
                "permessage-bzip2; server_max_compress_level=7; client_max_compress_level=2",
                (5, 2),
            ),
        ] {
            let (text, agreed) = answer(&terms, offer).expect(offer);
            assert_eq!(text, expected, "{offer}");
            let server = (agreed.server_level, agreed.client_level);
            assert_eq!(server, levels, "{offer}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_passed_over() {
        for bad in [
            "permessage-bzip2; server_max_compress_level",
            "permessage-bzip2; server_max_compress_level=0",
            "permessage-bzip2; server_max_compress_level=10",
            "permessage-bzip2; server_max_compress_level=01",
            "permessage-bzip2; server_max_compress_level=x",
            "permessage-bzip2; client_max_compress_level=5",
            "permessage-bzip2; client_max_compress_level; client_max_compress_level",
            "permessage-bzip2; server_max_compress_level=1; server_max_compress_level=1",
            "permessage-bzip2; unknown",
            "permessage-deflate",
        ] {
            assert_eq!(answer(&Terms::ANY, bad), None, "{bad}");
        }
        assert_eq!(answer(&SMALL, "permessage-bzip2"), None);
        let both = "permessage-bzip2, permessage-bzip2; client_max_compress_level";
        assert!(answer(&SMALL, both).is_some());
    }

    #[test]
    fn a_client_checks_the_answer() {
        let mut offer = Vec::new();
        push_offer(&SMALL, &mut offer);
        assert_eq!(
            offer,
            b"permessage-bzip2; client_max_compress_level; server_max_compress_level=2"
        );
        for (terms, answer, levels) in [
            (Terms::ANY, "permessage-bzip2", Some((9, 9))),
            (
                Terms::ANY,
                "permessage-bzip2; client_max_compress_level=4",
                Some((9, 4)),
            ),
            (
                SMALL,
                "permessage-bzip2; server_max_compress_level=2; client_max_compress_level=8",
                Some((2, 5)),
            ),
            (SMALL, "permessage-bzip2", None),
            (SMALL, "permessage-bzip2; server_max_compress_level=3", None),
            (
                Terms::ANY,
                "permessage-bzip2; client_max_compress_level",
                None,
            ),
            (Terms::ANY, "permessage-bzip2; unknown=1", None),
            (Terms::ANY, "permessage-snappy", None),
        ] {
            let agreed = answered(&terms, &offers(answer).next().expect("one"));
            let agreed = agreed.map(|agreed| (agreed.server_level, agreed.client_level));
            assert_eq!(agreed, levels, "{answer}");
        }
    }
}
