//! The opening handshakes of Hixie-75 and Hixie-76, on the server's side.
//!
//! Owns: whether a request is one of theirs, the checks of it, the digest that answers the two keys of Hixie-76, and the 101.
//! Never: knows a frame ([`crate::hixie`] does), or whether the client may connect.
//!
//! Hixie-76 sends eight bytes behind the head of its request, which belong to the handshake and are no body in the sense of HTTP.

use md5::{Digest as _, Md5};

use super::Versions;
use super::http::{self, Body, Once, Progress, Refusal, Resume, Version, list_contains};
use super::server::{self, Asked, Request, SUBPROTOCOL, bad, check_subprotocols, origin_of};
use crate::hixie::Draft;

/// Bytes behind the head of a request of Hixie-76.
const KEY3_BYTES: usize = 8;

/// What the answer to a client of these protocols needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    /// The digest that proves that the request was read. `None` in Hixie-75, which has none.
    digest: Option<[u8; 16]>,
    /// The URL that the answer repeats begins with `wss`.
    pub(super) is_tls: bool,
}

impl Opening {
    pub(super) const fn draft(self) -> Draft {
        match self.digest {
            None => Draft::Hixie75,
            Some(_) => Draft::Hixie76,
        }
    }

    pub(super) const fn subprotocol_header(self) -> &'static str {
        subprotocol_header(self.draft())
    }

    /// Appends the 101. No `Server` line is in it: a client of Hixie-75 compares the first three lines byte by byte.
    pub(super) fn encode(
        self,
        request: &Request<'_>,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
        out: &mut Vec<u8>,
    ) {
        let (status, sec) = match self.draft() {
            Draft::Hixie75 => ("Web Socket Protocol Handshake", ""),
            Draft::Hixie76 => ("WebSocket Protocol Handshake", "Sec-"),
        };
        let status = ["HTTP/1.1 101 ", status];
        http::push(&status, out);
        http::push(&["\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"], out);
        if let Some(origin) = request.origin() {
            http::push(&[sec, "WebSocket-Origin: ", origin, "\r\n"], out);
        }
        let scheme = match self.is_tls {
            true => "wss://",
            false => "ws://",
        };
        let location = [
            sec,
            "WebSocket-Location: ",
            scheme,
            request.host(),
            request.path(),
        ];
        http::push(&location, out);
        if let Some(query) = request.query() {
            http::push(&["?", query], out);
        }
        http::push(&["\r\n"], out);
        if let Some(subprotocol) = subprotocol {
            http::push(&[sec, "WebSocket-Protocol: ", subprotocol, "\r\n"], out);
        }
        http::push_headers(headers, out);
        http::push(&["\r\n"], out);
        out.extend_from_slice(self.digest.as_ref().map_or(&[], |digest| digest.as_slice()));
    }
}

const fn subprotocol_header(draft: Draft) -> &'static str {
    match draft {
        Draft::Hixie75 => "WebSocket-Protocol",
        Draft::Hixie76 => SUBPROTOCOL,
    }
}

/// Whether a request opens a WebSocket of these protocols: it asks for the upgrade, and has nothing of what later versions send.
pub(super) fn is_asked_for(versions: Versions, request: &http::Request<'_>) -> bool {
    let upgrades = || {
        let mut upgrades = request.headers().all("Upgrade");
        upgrades.any(|value| list_contains(value, b"websocket"))
    };
    let later = ["Sec-WebSocket-Version", "Sec-WebSocket-Key"];
    versions == Versions::Legacy
        && request.method() == "GET"
        && request.version() >= Version::HTTP_1_1
        && upgrades()
        && later.iter().all(|name| request.header(name).is_none())
}

/// Checks a request whose head is the first `head_bytes` of `bytes`, all that was received so far. It is incomplete while bytes
/// behind the head are missing.
pub(super) fn classify<'b>(
    request: &http::Request<'b>,
    bytes: &'b [u8],
    head_bytes: usize,
) -> Result<Progress<Asked<'b>>, Refusal> {
    let [mut origin, mut key1, mut key2] = [Once::Absent; 3];
    for (name, value) in request.headers() {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            6 if is("Origin") => origin.add(value),
            18 if is("Sec-WebSocket-Key1") => key1.add(value),
            18 if is("Sec-WebSocket-Key2") => key2.add(value),
            _ => {}
        }
    }
    let keys = match (key1, key2) {
        (Once::Absent, Once::Absent) => None,
        (Once::One(key1), Once::One(key2)) => Some([number_of(key1)?, number_of(key2)?]),
        _ => return Err(bad("a request of Hixie-76 has each of its two keys once")),
    };
    let draft = match keys {
        None => Draft::Hixie75,
        Some(_) => Draft::Hixie76,
    };
    let is_body_good = match (request.body(), draft) {
        (Body::None, _) => true,
        // Some clients announce the bytes behind the head, and a proxy in between may.
        (Body::Length(length), Draft::Hixie76) => length == KEY3_BYTES as u64,
        _ => false,
    };
    if request.host().is_empty() || !request.asks_to_upgrade() || !is_body_good {
        return Err(bad(
            "an opening handshake needs a Host and Connection: Upgrade, and announces no body",
        ));
    }
    check_subprotocols(request.headers(), subprotocol_header(draft))?;
    let origin = origin_of(origin)?;
    let (digest, body_bytes) = match keys {
        None => (None, 0),
        Some(numbers) => {
            let behind = bytes.get(head_bytes..).and_then(<[u8]>::first_chunk);
            let Some(key3) = behind else {
                let resume = Resume::default();
                return Ok(Progress::Incomplete { resume });
            };
            (Some(digest(numbers, key3)), KEY3_BYTES)
        }
    };
    let request = Request {
        http: *request,
        opening: server::Opening::Hixie(Opening {
            digest,
            is_tls: false,
        }),
        origin,
        version: 0,
        served: Versions::Legacy,
    };
    Ok(Progress::Complete {
        head: Asked::WebSocket(request),
        head_bytes: head_bytes + body_bytes,
    })
}

/// The number in a key: its digits, divided by how many spaces it has.
// Hixie-76 §5.2: without a space, or if the number of spaces does not divide it, the connection is aborted: a page of another
// protocol may have made the request.
fn number_of(key: &[u8]) -> Result<u32, Refusal> {
    let (mut digits, mut spaces) = (Some(0_u64), 0_u64);
    for byte in key {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                digits = digits
                    .and_then(|number| number.checked_mul(10))
                    .and_then(|number| number.checked_add(digit));
            }
            b' ' => spaces += 1,
            _ => {}
        }
    }
    digits
        .filter(|digits| spaces > 0 && digits.is_multiple_of(spaces))
        .and_then(|digits| u32::try_from(digits / spaces).ok())
        .ok_or(bad(
            "a key of Hixie-76 is a number of 32 bits, multiplied by how many spaces it has",
        ))
}

fn digest(numbers: [u32; 2], key3: &[u8; KEY3_BYTES]) -> [u8; 16] {
    let [one, two] = numbers.map(u32::to_be_bytes);
    Md5::new()
        .chain_update(one)
        .chain_update(two)
        .chain_update(key3)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::{Date, Limits, Verdict, encode_verdict, parse_request_for};
    use super::*;

    /// The example of Hixie-76 §1.2, which hybi-00 repeats.
    const HIXIE_76: &[u8] = b"GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nSec-WebSocket-Protocol: sample\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nOrigin: http://example.com\r\n\r\n^n:ds[4U";

    /// The example of Hixie-75 §1.2.
    const HIXIE_75: &[u8] = b"GET /demo HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
        Host: example.com\r\nOrigin: http://example.com\r\nWebSocket-Protocol: sample\r\n\r\n";

    fn parse(bytes: &[u8], resume: Resume) -> Result<Progress<Asked<'_>>, Refusal> {
        parse_request_for(Versions::Legacy, bytes, resume, &Limits::default())
    }

    fn answered(bytes: &[u8], is_tls: bool) -> Vec<u8> {
        let Ok(Progress::Complete {
            head: Asked::WebSocket(mut request),
            head_bytes,
        }) = parse(bytes, Resume::default())
        else {
            panic!("a good request")
        };
        assert_eq!(head_bytes, bytes.len());
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["sample"]);
        assert_eq!((request.key(), request.version()), (None, 0));
        if is_tls {
            request = request.under_tls();
        }
        let verdict = Verdict::Accept {
            subprotocol: Some("sample"),
            compression: None,
            headers: &[("Set-Cookie", "a=b")],
        };
        let (mut out, date) = (Vec::new(), Date::from_unix_s(0));
        encode_verdict(&request, &verdict, &date, &mut out).expect("a good verdict");
        out
    }

    #[test]
    fn the_examples_of_the_drafts_get_the_answers_of_the_drafts() {
        let answer = b"HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Origin: http://example.com\r\nSec-WebSocket-Location: ws://example.com/demo\r\n\
            Sec-WebSocket-Protocol: sample\r\nSet-Cookie: a=b\r\n\r\n8jKS'y:G*Co,Wxa-";
        assert_eq!(answered(HIXIE_76, false), answer);
        let answer = b"HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
            WebSocket-Origin: http://example.com\r\nWebSocket-Location: wss://example.com/demo\r\n\
            WebSocket-Protocol: sample\r\nSet-Cookie: a=b\r\n\r\n";
        assert_eq!(answered(HIXIE_75, true), answer);
    }

    #[test]
    fn the_keys_of_the_drafts_have_the_numbers_of_the_drafts() {
        // Hixie-76 §1.3 and §5.2.
        for (key, number) in [
            ("4 @1  46546xW%0l 1 5", Some(829_309_203)),
            ("12998 5 Y3 1  .P00", Some(259_970_620)),
            ("3e6b263  4 17 80", Some(906_585_445)),
            ("17  9 G`ZD9   2 2b 7X 3 /r90", Some(179_922_739)),
            ("123", None),
            ("12 4 6", Some(623)),
            ("1 2 3", None),
            ("a b", Some(0)),
            ("42949672 95", Some(u32::MAX)),
            ("42949672 96", None),
            ("99999999999999999999 9", None),
        ] {
            assert_eq!(number_of(key.as_bytes()).ok(), number, "{key}");
        }
        // The second example of §1.3 and its digest.
        assert_eq!(
            digest([906_585_445, 179_922_739], b"WjN}|M(6"),
            *b"n`9eBk9z$R8pOtVb"
        );
        assert_eq!(
            digest([829_309_203, 259_970_620], b"^n:ds[4U"),
            *b"8jKS'y:G*Co,Wxa-"
        );
    }

    #[test]
    fn a_request_is_complete_with_its_last_byte_however_it_is_cut() {
        for whole in [HIXIE_75, HIXIE_76] {
            for cut in 0..whole.len() {
                match parse(&whole[..cut], Resume::default()) {
                    Ok(Progress::Incomplete { resume }) => {
                        let parsed = parse(whole, resume);
                        let Ok(Progress::Complete { head_bytes, .. }) = parsed else {
                            panic!("cut at {cut}: {parsed:?}");
                        };
                        assert_eq!(head_bytes, whole.len());
                    }
                    other => panic!("cut at {cut}: {other:?}"),
                }
            }
            // What follows is the first frame.
            let more = [whole, b"\0a\xff"].concat();
            let parsed = parse(&more, Resume::default());
            let Ok(Progress::Complete { head_bytes, .. }) = parsed else {
                panic!("{parsed:?}");
            };
            assert_eq!(head_bytes, whole.len());
        }
    }

    #[test]
    fn other_servers_and_wrong_requests_refuse() {
        let status = |versions, text: &[u8]| match parse_request_for(
            versions,
            text,
            Resume::default(),
            &Limits::default(),
        ) {
            Err(refusal) => Some(refusal.status().0),
            Ok(_) => None,
        };
        for versions in [Versions::Rfc6455, Versions::Hybi10, Versions::Both] {
            assert_eq!(status(versions, HIXIE_75), Some(426));
            assert_eq!(status(versions, HIXIE_76), Some(426));
        }
        let changed = |from: &str, to: &str| {
            let text = str::from_utf8(HIXIE_76).expect("ASCII");
            assert!(text.contains(from));
            status(Versions::Legacy, text.replace(from, to).as_bytes())
        };
        assert_eq!(changed("Origin", "Origin"), None);
        assert_eq!(changed("Origin: http://example.com\r\n", ""), None);
        assert_eq!(
            changed(
                "Upgrade: WebSocket",
                "Content-Length: 8\r\nUpgrade: WebSocket"
            ),
            None
        );
        assert_eq!(
            changed(
                "Upgrade: WebSocket",
                "Content-Length: 9\r\nUpgrade: WebSocket"
            ),
            Some(400)
        );
        assert_eq!(
            changed("Connection: Upgrade", "Connection: close"),
            Some(400)
        );
        assert_eq!(changed("Key2", "Key1"), Some(400));
        assert_eq!(changed("Key2", "Key3"), Some(400));
        assert_eq!(
            changed("4 @1  46546xW%0l 1 5", "4@146546xW%0l15"),
            Some(400)
        );
        assert_eq!(changed("Protocol: sample", "Protocol: sam ple"), Some(400));
        assert_eq!(
            changed("Origin: http", "Origin: a\r\nOrigin: http"),
            Some(400)
        );
        // A version makes it a request of a later protocol, which has another key.
        assert_eq!(
            changed("Origin", "Sec-WebSocket-Version: 8\r\nOrigin"),
            Some(400)
        );
    }

    #[test]
    fn version_7_is_served_beside_8_and_13() {
        for (version, served) in [("13", 13), ("8", 8), ("7", 7)] {
            let text = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n\
                 Sec-WebSocket-Origin: http://draft\r\nOrigin: http://final\r\n\r\n"
            );
            let parsed = parse(text.as_bytes(), Resume::default());
            let Ok(Progress::Complete {
                head: Asked::WebSocket(request),
                ..
            }) = parsed
            else {
                panic!("{parsed:?}");
            };
            let origin = match served {
                13 => "http://final",
                _ => "http://draft",
            };
            assert_eq!(
                (request.version(), request.origin()),
                (served, Some(origin))
            );
            assert_eq!((request.hixie(), request.key().is_some()), (None, true));
        }
        let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 6\r\n\r\n";
        let parsed = parse(text.as_bytes(), Resume::default());
        let refusal = parsed.expect_err("another version");
        assert_eq!(refusal.status().0, 426);
        assert!(refusal.reason().contains("13, 8 and 7"), "{refusal}");
    }
}
