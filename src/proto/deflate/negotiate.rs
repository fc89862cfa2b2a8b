//! Offers and answers (RFC 7692 §5, §7.1). Nothing here allocates, apart from the header that is appended.

use super::NAME;
use crate::handshake::Extension;
use crate::http;

/// One direction of a connection, named by the side that compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// A message may refer to the messages before it.
    pub takeover: bool,
    /// How far back a reference may reach: 2 to the power of this, in bytes. From 8 (256 bytes) to 15 (32 KiB).
    pub window_bits: u8,
}

impl Direction {
    /// With takeover, as far back as there is: what asks nothing of the other side.
    pub const FARTHEST: Self = Self {
        takeover: true,
        window_bits: WINDOW_BITS_MAX,
    };
}

/// What an endpoint is willing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What we compress. The window has 9 bits or more.
    pub sends: Direction,
    /// What the peer compresses. Its takeover costs us its window in memory.
    pub receives: Direction,
}

impl Terms {
    /// Willing to do whatever the other side wants.
    pub const ANY: Self = Self {
        sends: Direction::FARTHEST,
        receives: Direction::FARTHEST,
    };
}

/// What both endpoints agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The server's messages.
    pub server: Direction,
    /// The client's messages.
    pub client: Direction,
}

/// The smallest window that we compress with, as zlib does: one of 8 bits holds 256 bytes.
pub(super) const COMPRESS_WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// The parameters of an offer or answer, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    /// RFC 7692 §7.1: a parameter that is unknown, repeated, or has a bad value makes the whole offer or answer invalid.
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut params = Self::default();
        for (name, value) in extension.params() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("server_no_context_takeover") {
                set(&mut params.server_no_context_takeover, value)?;
            } else if is("client_no_context_takeover") {
                set(&mut params.client_no_context_takeover, value)?;
            } else if is("server_max_window_bits") {
                let bits = window_bits(value?)?;
                once(params.server_max_window_bits.replace(bits).is_none())?;
            } else if is("client_max_window_bits") {
                let bits = match value {
                    Some(value) => Some(window_bits(value)?),
                    None => None,
                };
                once(params.client_max_window_bits.replace(bits).is_none())?;
            } else {
                return None;
            }
        }
        Some(params)
    }
}

fn once(first: bool) -> Option<()> {
    first.then_some(())
}

/// Notes a parameter that has no value.
fn set(flag: &mut bool, value: Option<&str>) -> Option<()> {
    once(value.is_none() && !std::mem::replace(flag, true))
}

/// RFC 7692 §7.1.2.1: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
fn window_bits(value: &str) -> Option<u8> {
    let digits = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
    let bits = value.parse().ok().filter(|_| digits)?;
    (8..=WINDOW_BITS_MAX).contains(&bits).then_some(bits)
}

/// The parameters of the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(Params);

/// The server's answer to an offer of this name. `None`: it asks for the impossible, or has a parameter that RFC 7692 does
/// not know (§5.1).
///
/// The client's window can be limited only if the client says so; else a client that may not keep a larger window than
/// `terms` say is told to start each message afresh.
pub(crate) fn accept_one(terms: &Terms, offer: &Extension<'_>) -> Option<(Agreed, Answer)> {
    let asked = Params::parse(offer)?;
    let server_max = asked.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
    if server_max < COMPRESS_WINDOW_BITS_MIN {
        return None;
    }
    let server = Direction {
        takeover: terms.sends.takeover && !asked.server_no_context_takeover,
        window_bits: terms.sends.window_bits.min(server_max),
    };
    let client_max = terms.receives.window_bits;
    let window_bits = match asked.client_max_window_bits {
        Some(hint) => client_max.min(hint.unwrap_or(WINDOW_BITS_MAX)),
        // RFC 7692 §7.1.2.2: the answer "MUST NOT include" the parameter then.
        None => WINDOW_BITS_MAX,
    };
    let client = Direction {
        takeover: terms.receives.takeover
            && !asked.client_no_context_takeover
            && window_bits <= client_max,
        window_bits,
    };
    let answer = Params {
        server_no_context_takeover: !server.takeover,
        client_no_context_takeover: !client.takeover,
        // Exactly what was asked: some clients refuse less.
        server_max_window_bits: asked.server_max_window_bits,
        client_max_window_bits: (window_bits < WINDOW_BITS_MAX).then_some(Some(window_bits)),
    };
    Some((Agreed { server, client }, Answer(answer)))
}

/// Appends `answer` without the header's name.
pub(crate) fn push_answer(answer: &Answer, out: &mut Vec<u8>) {
    encode_params(&answer.0, out);
}

/// Appends the offers without the header's name. Servers that know no parameters find a second one without any.
pub(crate) fn push_offers(terms: &Terms, out: &mut Vec<u8>) {
    encode_params(&offer(terms), out);
    http::push(&[", ", NAME], out);
}

fn offer(terms: &Terms) -> Params {
    let bits = |direction: Direction| {
        (direction.window_bits < WINDOW_BITS_MAX).then_some(direction.window_bits)
    };
    Params {
        server_no_context_takeover: !terms.receives.takeover,
        client_no_context_takeover: !terms.sends.takeover,
        server_max_window_bits: bits(terms.receives),
        client_max_window_bits: Some(bits(terms.sends)),
    }
}

fn encode_params(params: &Params, out: &mut Vec<u8>) {
    http::push(&[NAME], out);
    if params.server_no_context_takeover {
        http::push(&["; server_no_context_takeover"], out);
    }
    if params.client_no_context_takeover {
        http::push(&["; client_no_context_takeover"], out);
    }
    if let Some(bits) = params.server_max_window_bits {
        http::push(&["; server_max_window_bits"], out);
        push_bits(bits, out);
    }
    if let Some(bits) = params.client_max_window_bits {
        http::push(&["; client_max_window_bits"], out);
        if let Some(bits) = bits {
            push_bits(bits, out);
        }
    }
}

/// `bits` has at most two digits.
fn push_bits(bits: u8, out: &mut Vec<u8>) {
    out.push(b'=');
    if bits >= 10 {
        out.push(b'0' + bits / 10);
    }
    out.push(b'0' + bits % 10);
}

/// What a client agreed on by its server's answer, if the answer is one to the offer of `terms`. The answer decides; a
/// server's window that is larger than was asked is possible only by the second offer.
///
/// A server that answers `client_max_window_bits=8` gets no compressed message.
pub fn answered(terms: &Terms, answer: &Extension<'_>) -> Option<Agreed> {
    if !answer.name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let params = Params::parse(answer)?;
    let client_bits = match params.client_max_window_bits {
        None => WINDOW_BITS_MAX,
        // RFC 7692 §7.1.2.2 knows no answer without a value.
        Some(bits) => bits?,
    };
    Some(Agreed {
        server: Direction {
            takeover: !params.server_no_context_takeover,
            window_bits: params.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
        },
        client: Direction {
            takeover: terms.sends.takeover && !params.client_no_context_takeover,
            window_bits: terms.sends.window_bits.min(client_bits),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{
        self,
        tried::{self, offers},
    };

    const fn direction(takeover: bool, window_bits: u8) -> Direction {
        Direction {
            takeover,
            window_bits,
        }
    }

    /// A server that keeps 4 KiB of what it sends, and nothing of what it receives.
    const SERVER: Terms = Terms {
        sends: direction(true, 12),
        receives: direction(false, 15),
    };

    const GENEROUS: Terms = Terms::ANY;

    const fn alone(terms: Terms) -> compression::Terms {
        compression::Terms {
            deflate: Some(terms),
            ..compression::Terms::NONE
        }
    }

    /// What is agreed on, and the answer to `offer` without the header's name.
    fn answer(terms: &Terms, offer: &str) -> Option<(String, Agreed)> {
        let (answer, agreed) = tried::answer(&alone(*terms), offer)?;
        let compression::Agreed::Deflate(agreed) = agreed else {
            panic!("{agreed:?}")
        };
        Some((answer, agreed))
    }

    #[test]
    fn each_offer_gets_the_narrowest_answer_that_holds() {
        for (terms, offer, expected) in [
            (GENEROUS, "permessage-deflate", "permessage-deflate"),
            (
                GENEROUS,
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate",
            ),
            (
                GENEROUS,
                "permessage-deflate; client_max_window_bits=10",
                "permessage-deflate; client_max_window_bits=10",
            ),
            (
                GENEROUS,
                "permessage-deflate; client_max_window_bits=8",
                "permessage-deflate; client_max_window_bits=8",
            ),
            (
                GENEROUS,
                "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
            ),
            (
                GENEROUS,
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
            (
                SERVER,
                "permessage-deflate; server_max_window_bits=15",
                "permessage-deflate; client_no_context_takeover; server_max_window_bits=15",
            ),
            // Upper case, quotes, spaces, and an offer of something else.
            (
                GENEROUS,
                "x-unknown; a=1, Permessage-Deflate ; SERVER_MAX_WINDOW_BITS = \"10\"",
                "permessage-deflate; server_max_window_bits=10",
            ),
        ] {
            let (answer, _) = answer(&terms, offer).expect(offer);
            assert_eq!(answer, expected, "{offer}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_met_is_passed_over() {
        for bad in [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=1x",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=8; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; unknown",
            "x-webkit-deflate-frame",
        ] {
            assert_eq!(answer(&GENEROUS, bad), None, "{bad}");
            let both = format!("{bad}, permessage-deflate");
            let (next, _) = answer(&GENEROUS, &both).expect(&both);
            assert_eq!(next, "permessage-deflate", "{both}");
        }
    }

    #[test]
    fn a_client_keeps_no_larger_window_than_the_server_wants_to_keep_for_it() {
        let small = Terms {
            receives: direction(true, 12),
            ..GENEROUS
        };
        let agreed = |offer| answer(&small, offer).expect("it is met").1;
        let limited = agreed("permessage-deflate; client_max_window_bits");
        assert_eq!(limited.client, direction(true, 12));
        // This client's window cannot be limited.
        let unlimited = agreed("permessage-deflate");
        assert_eq!(unlimited.client, direction(false, 15));
    }

    #[test]
    fn both_sides_agree_on_the_same() {
        let sides = [true, false].map(|takeover| [9, 12, 15].map(|bits| direction(takeover, bits)));
        let sides = sides.as_flattened();
        for (sends, receives) in sides
            .iter()
            .flat_map(|a| sides.iter().map(move |b| (*a, *b)))
        {
            let client = Terms { sends, receives };
            let mut header = Vec::new();
            compression::encode_offers(&alone(client), &mut header);
            let header = String::from_utf8(header).expect("ASCII");
            let (_, offer) = header.trim_end().split_once(": ").expect("a header");
            for (sends, receives) in sides
                .iter()
                .flat_map(|a| sides.iter().map(move |b| (*a, *b)))
            {
                let server = Terms { sends, receives };
                let (answer, ours) = answer(&server, offer).expect("a good offer");
                let answer = offers(&answer).next().expect("one extension");
                let theirs = answered(&client, &answer).expect("a good answer");
                assert_eq!(ours.server.takeover, theirs.server.takeover);
                assert_eq!(ours.client.takeover, theirs.client.takeover);
                // Each side's own compressor may use less than was agreed on.
                assert!(ours.server.window_bits <= theirs.server.window_bits);
                assert!(theirs.client.window_bits <= ours.client.window_bits);
                assert!(ours.client.window_bits <= receives.window_bits || !ours.client.takeover);
            }
        }
    }

    #[test]
    fn an_answer_that_says_what_no_server_may_is_none() {
        for bad in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; unknown=1",
            "permessage-bzip2",
        ] {
            let answer = offers(bad).next().expect("one extension");
            assert_eq!(answered(&GENEROUS, &answer), None, "{bad}");
        }
        let answer = offers("permessage-deflate; client_max_window_bits=8")
            .next()
            .expect("one extension");
        let agreed = answered(&GENEROUS, &answer).expect("a good answer");
        assert_eq!(agreed.client.window_bits, 8);
    }
}
