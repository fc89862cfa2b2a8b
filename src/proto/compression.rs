//! Which extension compresses the messages of a connection, if any: permessage-deflate (RFC 7692), or permessage-bzip2 or
//! permessage-snappy as Autobahn has them. Each has its own module; here a client's offers meet a server's terms.
//!
//! All three say with RSV1 that a message is compressed, so at most one of them holds on a connection.

use crate::handshake::Extension;
use crate::{bzip2, deflate, http, snappy};

#[cfg(any(feature = "bzip2", feature = "deflate", feature = "snappy"))]
pub use crate::progress::{Hooks, Progress};

/// What an endpoint is willing to do. Without the feature of an extension there is no engine for it: its terms stay `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// permessage-deflate.
    pub deflate: Option<deflate::Terms>,
    /// permessage-snappy.
    pub snappy: Option<snappy::Terms>,
    /// permessage-bzip2.
    pub bzip2: Option<bzip2::Terms>,
}

impl Terms {
    /// No compression.
    pub const NONE: Self = Self {
        deflate: None,
        snappy: None,
        bzip2: None,
    };
}

/// What both endpoints agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// permessage-deflate.
    Deflate(deflate::Agreed),
    /// permessage-snappy.
    Snappy(snappy::Agreed),
    /// permessage-bzip2.
    Bzip2(bzip2::Agreed),
}

/// A server's answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// permessage-deflate.
    Deflate(deflate::Answer),
    /// permessage-snappy.
    Snappy(snappy::Answer),
    /// permessage-bzip2.
    Bzip2(bzip2::Answer),
}

/// Why a server's answer is none to what was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It names another extension.
    NotOffered,
    /// Its parameters are wrong, or wider than the offer.
    Parameters,
}

/// The server's choice: the first offer, in the client's order, that it can meet. `None`: the answer names no extension.
pub fn accept<'b>(
    terms: &Terms,
    mut offers: impl Iterator<Item = Extension<'b>>,
) -> Option<(Agreed, Answer)> {
    offers.find_map(|offer| {
        let is = |name: &str| offer.name.eq_ignore_ascii_case(name);
        if is(deflate::NAME) {
            let (agreed, answer) = deflate::accept_one(terms.deflate.as_ref()?, &offer)?;
            Some((Agreed::Deflate(agreed), Answer::Deflate(answer)))
        } else if is(snappy::NAME) {
            let (agreed, answer) = snappy::accept_one(terms.snappy.as_ref()?, &offer)?;
            Some((Agreed::Snappy(agreed), Answer::Snappy(answer)))
        } else if is(bzip2::NAME) {
            let (agreed, answer) = bzip2::accept_one(terms.bzip2.as_ref()?, &offer)?;
            Some((Agreed::Bzip2(agreed), Answer::Bzip2(answer)))
        } else {
            None
        }
    })
}

/// Appends the server's header that says `answer`.
pub fn encode_answer(answer: &Answer, out: &mut Vec<u8>) {
    http::push(&["Sec-WebSocket-Extensions: "], out);
    match answer {
        Answer::Deflate(answer) => deflate::push_answer(answer, out),
        Answer::Snappy(answer) => snappy::push_answer(answer, out),
        Answer::Bzip2(answer) => bzip2::push_answer(answer, out),
    }
    http::push(&["\r\n"], out);
}

/// Appends the client's header that asks for `terms`, or nothing. deflate comes first, because most servers know it, and
/// bzip2 last, because it costs the most. One header has them all: Autobahn refuses a request with two.
pub fn encode_offers(terms: &Terms, out: &mut Vec<u8>) {
    let mut before = "Sec-WebSocket-Extensions: ";
    let mut next = |out: &mut Vec<u8>| http::push(&[std::mem::replace(&mut before, ", ")], out);
    if let Some(terms) = &terms.deflate {
        next(out);
        deflate::push_offers(terms, out);
    }
    if let Some(terms) = &terms.snappy {
        next(out);
        snappy::push_offer(terms, out);
    }
    if let Some(terms) = &terms.bzip2 {
        next(out);
        bzip2::push_offer(terms, out);
    }
    if *terms != Terms::NONE {
        http::push(&["\r\n"], out);
    }
}

/// What a client agreed on by its server's answer to the offer of `terms`.
///
/// # Errors
/// The answer is none to that offer.
pub fn answered(terms: &Terms, answer: &Extension<'_>) -> Result<Agreed, Unanswered> {
    let is = |name: &str| answer.name.eq_ignore_ascii_case(name);
    let agreed = match terms {
        Terms {
            deflate: Some(terms),
            ..
        } if is(deflate::NAME) => deflate::answered(terms, answer).map(Agreed::Deflate),
        Terms {
            snappy: Some(terms),
            ..
        } if is(snappy::NAME) => snappy::answered(terms, answer).map(Agreed::Snappy),
        Terms {
            bzip2: Some(terms), ..
        } if is(bzip2::NAME) => bzip2::answered(terms, answer).map(Agreed::Bzip2),
        _ => return Err(Unanswered::NotOffered),
    };
    agreed.ok_or(Unanswered::Parameters)
}

/// The same, for tests of one extension: offers in a header's value, and the server's answer without the header's name.
#[cfg(test)]
pub(crate) mod tried {
    use super::{Agreed, Terms, accept, encode_answer};
    use crate::handshake::{Extension, extensions};

    pub(crate) fn offers(value: &str) -> impl Iterator<Item = Extension<'_>> {
        extensions(value.as_bytes()).filter_map(Result::ok)
    }

    pub(crate) fn answer(terms: &Terms, value: &str) -> Option<(String, Agreed)> {
        let (agreed, answer) = accept(terms, offers(value))?;
        let mut header = Vec::new();
        encode_answer(&answer, &mut header);
        let header = String::from_utf8(header).expect("ASCII");
        let value = header.strip_prefix("Sec-WebSocket-Extensions: ");
        let value = value.expect("the header").trim_end().to_owned();
        Some((value, agreed))
    }
}

#[cfg(test)]
mod tests {
    use super::tried::{answer, offers};
    use super::*;

    const ALL: Terms = Terms {
        deflate: Some(deflate::Terms::ANY),
        snappy: Some(snappy::Terms::ANY),
        bzip2: Some(bzip2::Terms::ANY),
    };

    #[test]
    fn the_first_offer_that_can_be_met_gets_the_only_answer() {
        let without_snappy = Terms {
            snappy: None,
            ..ALL
        };
        for (terms, offer, expected) in [
            (
                ALL,
                "permessage-snappy, permessage-deflate, permessage-bzip2",
                Some("permessage-snappy"),
            ),
            (
                ALL,
                "permessage-bzip2, permessage-snappy",
                Some("permessage-bzip2"),
            ),
            // What has a bad parameter, or is not wanted here, is passed over.
            (
                ALL,
                "permessage-snappy; x, permessage-bzip2; server_max_compress_level=0, permessage-deflate",
                Some("permessage-deflate"),
            ),
            (
                without_snappy,
                "permessage-snappy, PERMESSAGE-BZIP2",
                Some("permessage-bzip2"),
            ),
            (without_snappy, "permessage-snappy", None),
            (Terms::NONE, "permessage-snappy, permessage-deflate", None),
            (ALL, "x-unknown", None),
        ] {
            let answer = answer(&terms, offer).map(|(answer, _)| answer);
            assert_eq!(answer.as_deref(), expected, "{offer}");
        }
    }

    #[test]
    fn a_client_offers_all_in_one_header_and_understands_each_answer() {
        let mut header = Vec::new();
        encode_offers(&ALL, &mut header);
        let header = String::from_utf8(header).expect("ASCII");
        assert_eq!(
            header,
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-deflate, \
             permessage-snappy; client_no_context_takeover, permessage-bzip2; client_max_compress_level\r\n"
        );
        let value = header.trim_start_matches("Sec-WebSocket-Extensions: ");
        for only in [
            Terms { ..ALL },
            Terms {
                deflate: None,
                ..ALL
            },
            Terms {
                bzip2: ALL.bzip2,
                ..Terms::NONE
            },
        ] {
            let (agreed, _) = accept(&only, offers(value.trim_end())).expect("a good offer");
            let (answer, _) = answer(&only, value.trim_end()).expect("an answer");
            let extension = offers(&answer).next().expect("one extension");
            assert_eq!(answered(&ALL, &extension), Ok(agreed));
            assert_eq!(
                answered(&Terms::NONE, &extension),
                Err(Unanswered::NotOffered)
            );
        }
        let mut nothing = Vec::new();
        encode_offers(&Terms::NONE, &mut nothing);
        assert!(nothing.is_empty());
    }
}
