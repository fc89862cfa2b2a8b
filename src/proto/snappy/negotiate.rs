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

/// The server's choice: the first offer without a bad parameter.
pub fn accept<'b>(
    terms: &Terms,
    offers: impl Iterator<Item = Extension<'b>>,
) -> Option<(Agreed, Answer)> {
    offers
        .filter(|offer| offer.name.eq_ignore_ascii_case(NAME))
        .find_map(|offer| accept_one(terms, &offer))
}

/// [`accept`] of one offer, which has the right name. A client that could do without takeover is not told to.
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
    use crate::handshake::extensions;

    fn one(value: &str) -> Extension<'_> {
        let mut all = extensions(value.as_bytes()).map(|one| one.expect("it is good"));
        all.next().expect("one extension")
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
            let (agreed, answer) =
                accept(&Terms::ANY, std::iter::once(one(offer))).expect("a good offer");
            let mut text = Vec::new();
            push_answer(&answer, &mut text);
            assert_eq!(String::from_utf8(text).as_deref(), Ok(expected));
            assert_eq!(agreed.server_takeover, takeover, "{offer}");
            assert!(agreed.client_takeover);
        }
        for bad in [
            "permessage-snappy; server_no_context_takeover=1",
            "permessage-snappy; server_no_context_takeover; server_no_context_takeover",
            "permessage-snappy; server_max_window_bits=9",
            "permessage-deflate",
        ] {
            let offer = std::iter::once(one(bad));
            assert_eq!(accept(&Terms::ANY, offer), None, "{bad}");
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
            let agreed = answered(&Terms::ANY, &one(answer));
            let agreed = agreed.map(|agreed| (agreed.server_takeover, agreed.client_takeover));
            assert_eq!(agreed, takeovers, "{answer}");
        }
    }
}
