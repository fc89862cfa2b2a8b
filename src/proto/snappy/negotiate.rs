//! Offers and answers of permessage-snappy. Nothing here allocates, apart from the header that is appended.

use super::NAME;
use crate::handshake::Extension;
use crate::http;

/// What an endpoint is willing to do: anything, because takeover costs neither side more than a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms;

impl Terms {
    /// Willing to do whatever the other side wants.
    pub const ANY: Self = Self;
}

/// What both endpoints agreed on: whether the stream of each side goes on from message to message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The server's stream.
    pub server_takeover: bool,
    /// The client's stream.
    pub client_takeover: bool,
}

/// The parameters of the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    server_no_context_takeover: bool,
}

/// The parameters of an offer or answer, each at most once and without a value.
#[derive(Clone, Copy, Debug, Default)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
}

impl Params {
    /// A parameter that is unknown, repeated, or has a value makes the whole offer or answer invalid.
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for (name, value) in extension.params() {
            let flag = if name.eq_ignore_ascii_case("server_no_context_takeover") {
                &mut params.server_no_context_takeover
            } else if name.eq_ignore_ascii_case("client_no_context_takeover") {
                &mut params.client_no_context_takeover
            } else {
                return None;
            };
            if value.is_some() || std::mem::replace(flag, true) {
                return None;
            }
        }
        Some(params)
    }
}

/// The server's answer to an offer of this name. `None`: it has a bad parameter. A client that could do without takeover is not told to.
pub(crate) fn accept_one(_: &Terms, offer: &Extension<'_>) -> Option<(Agreed, Answer)> {
    let asked = Params::parse(offer)?;
    let agreed = Agreed {
        server_takeover: !asked.server_no_context_takeover,
        client_takeover: true,
    };
    let answer = Answer {
        server_no_context_takeover: asked.server_no_context_takeover,
    };
    Some((agreed, answer))
}

/// Appends `answer` without the header's name.
pub(crate) fn push_answer(answer: &Answer, out: &mut Vec<u8>) {
    http::push(&[NAME], out);
    if answer.server_no_context_takeover {
        http::push(&["; server_no_context_takeover"], out);
    }
}

/// Appends the offer without the header's name. The server may tell us to begin each message afresh: we follow.
pub(crate) fn push_offer(_: &Terms, out: &mut Vec<u8>) {
    http::push(&[NAME, "; client_no_context_takeover"], out);
}

/// What a client agreed on by its server's answer, if the answer is one to the offer of `terms`.
pub fn answered(_: &Terms, answer: &Extension<'_>) -> Option<Agreed> {
    if !answer.name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let params = Params::parse(answer)?;
    Some(Agreed {
        server_takeover: !params.server_no_context_takeover,
        client_takeover: !params.client_no_context_takeover,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{
        self,
        tried::{self, offers},
    };

    fn answer(offer: &str) -> Option<(String, Agreed)> {
        let terms = compression::Terms {
            snappy: Some(Terms::ANY),
            ..compression::Terms::NONE
        };
        let (answer, agreed) = tried::answer(&terms, offer)?;
        let compression::Agreed::Snappy(agreed) = agreed else {
            panic!("{agreed:?}")
        };
        Some((answer, agreed))
    }

    #[test]
    fn each_offer_gets_the_narrowest_answer_that_holds() {
        for (offer, expected, takeover) in [
            ("permessage-snappy", "permessage-snappy", true),
            (
                "Permessage-Snappy; client_no_context_takeover",
                "permessage-snappy",
                true,
            ),
            (
                "permessage-snappy; client_no_context_takeover; SERVER_NO_CONTEXT_TAKEOVER",
                "permessage-snappy; server_no_context_takeover",
                false,
            ),
        ] {
            let (answer, agreed) = answer(offer).expect("a good offer");
            assert_eq!(answer, expected);
            assert_eq!(agreed.server_takeover, takeover, "{offer}");
            assert!(agreed.client_takeover);
        }
        for bad in [
            "permessage-snappy; server_no_context_takeover=1",
            "permessage-snappy; server_no_context_takeover; server_no_context_takeover",
            "permessage-snappy; server_max_window_bits=9",
            "permessage-deflate",
        ] {
            assert_eq!(answer(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_client_checks_the_answer() {
        for (answer, takeovers) in [
            ("permessage-snappy", Some((true, true))),
            (
                "permessage-snappy; client_no_context_takeover",
                Some((true, false)),
            ),
            (
                "permessage-snappy; server_no_context_takeover",
                Some((false, true)),
            ),
            ("permessage-snappy; client_no_context_takeover=1", None),
            ("permessage-snappy; unknown", None),
            ("permessage-bzip2", None),
        ] {
            let agreed = answered(&Terms::ANY, &offers(answer).next().expect("one"));
            let agreed = agreed.map(|agreed| (agreed.server_takeover, agreed.client_takeover));
            assert_eq!(agreed, takeovers, "{answer}");
        }
    }
}
