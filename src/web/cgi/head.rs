//! The head of a CGI program's answer (RFC 3875 §6): bytes in, a status and fields out.
//!
//! Owns: what a program may say there, and its limits. Never: reads anything itself.

use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::http::uri::PathAndQuery;

/// Bytes of a head. Chosen: as many as a request may have.
pub const HEAD_BYTES_MAX: usize = 32 << 10;

/// Fields of a head.
const FIELDS_MAX: usize = 128;

/// What a program says in front of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// An answer to the client; the body follows. A redirect to somewhere else is one, too.
    Answer {
        /// Of 200 to 599.
        status: StatusCode,
        /// All fields but `Status`.
        fields: HeaderMap,
    },
    /// The answer is the one to another path of this server (§6.2.2).
    Elsewhere(PathAndQuery),
}

/// Where the body begins, when `bytes` have the whole head. The first `seen` of them were looked through before.
pub fn end(bytes: &[u8], seen: usize) -> Option<usize> {
    let ends_line = |before: &[u8]| matches!(before.last(), None | Some(b'\n'));
    let is_end = |at: usize| {
        let line = &bytes[..at];
        bytes[at] == b'\n' && (ends_line(line) || line.strip_suffix(b"\r").is_some_and(ends_line))
    };
    (seen..bytes.len()).find(|at| is_end(*at)).map(|at| at + 1)
}

/// Reads a head up to its [`end`].
///
/// # Errors
/// It is none: the rest of a sentence that begins with the program.
pub fn parse(head: &[u8]) -> Result<Head, &'static str> {
    let mut fields = HeaderMap::new();
    let mut status = None;
    let mut count = 0;
    let lines = head.split(|byte| *byte == b'\n');
    for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > FIELDS_MAX {
            return Err("answers with too many fields");
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or("answers with a line that is no field")?);
        let name = HeaderName::from_bytes(name).map_err(|_| "answers with a name that is none")?;
        let value = HeaderValue::from_bytes(value[1..].trim_ascii())
            .map_err(|_| "answers with a value that no field has")?;
        if name == "status" {
            let code = status_of(&value).ok_or("answers with a status that is none")?;
            if status.replace(code).is_some() {
                return Err("answers with two statuses");
            }
            continue;
        }
        let is_single = [CONTENT_LENGTH, CONTENT_TYPE, LOCATION].contains(&name);
        if is_single && fields.contains_key(&name) {
            return Err("answers twice with a field that there is one of");
        }
        if name == CONTENT_LENGTH && !value.as_bytes().iter().all(u8::is_ascii_digit) {
            return Err("answers with a length that is none");
        }
        fields.append(name, value);
    }
    let location = fields.get(LOCATION);
    if status.is_none() && location.is_none() && !fields.contains_key(CONTENT_TYPE) {
        return Err("answers without a Content-Type, a Location or a Status");
    }
    // With more fields it is an answer of its own: none of them is lost.
    if let (None, 1, Some(path)) = (status, fields.len(), location.and_then(local)) {
        return Ok(Head::Elsewhere(path));
    }
    let default = match location {
        Some(_) => StatusCode::FOUND,
        None => StatusCode::OK,
    };
    let status = status.unwrap_or(default);
    Ok(Head::Answer { status, fields })
}

/// `404`, `404 Not Found`. What follows the number means nothing.
fn status_of(value: &HeaderValue) -> Option<StatusCode> {
    let digits = value.as_bytes().split(|byte| *byte == b' ').next()?;
    let status = StatusCode::from_bytes(digits).ok()?;
    (200..600).contains(&status.as_u16()).then_some(status)
}

/// The path of a redirect within this server. `//host/path` leads to another one, and what has a fragment is for the client.
fn local(location: &HeaderValue) -> Option<PathAndQuery> {
    let bytes = location.as_bytes();
    let is_local = bytes.starts_with(b"/") && !bytes.starts_with(b"//") && !bytes.contains(&b'#');
    is_local.then(|| PathAndQuery::try_from(bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&'static str, &str)]) -> Result<Head, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().expect("a value"));
        }
        Ok(Head::Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            fields: map,
        })
    }

    #[test]
    fn a_head_is_a_document_a_redirect_or_another_path() {
        let kind = ("content-type", "text/plain");
        for (head, expected) in [
            ("Content-Type: text/plain\n\n", answer(200, &[kind])),
            ("content-type:text/plain\r\n\r\n", answer(200, &[kind])),
            (
                "Status: 404 Not Found\nContent-Type: text/plain\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n",
                answer(404, &[kind, ("set-cookie", "a=1"), ("set-cookie", "b=2")]),
            ),
            ("Status: 204\n\n", answer(204, &[])),
            (
                "Location: http://a.example/b#c\n\n",
                answer(302, &[("location", "http://a.example/b#c")]),
            ),
            (
                "Status: 301 Moved\nLocation: /a\n\n",
                answer(301, &[("location", "/a")]),
            ),
            (
                "Location: /a\nSet-Cookie: b=1\n\n",
                answer(302, &[("location", "/a"), ("set-cookie", "b=1")]),
            ),
            (
                "Location: //evil/\n\n",
                answer(302, &[("location", "//evil/")]),
            ),
            ("Location: /a#b\n\n", answer(302, &[("location", "/a#b")])),
            (
                "Location: /a/b?c=d\n\n",
                Ok(Head::Elsewhere(PathAndQuery::from_static("/a/b?c=d"))),
            ),
        ] {
            assert_eq!(end(head.as_bytes(), 0), Some(head.len()), "{head:?}");
            assert_eq!(parse(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let many = "A: b\n".repeat(200);
        for head in [
            "\n",
            "Set-Cookie: a=1\n\n",
            "HTTP/1.1 200 OK\nContent-Type: a/b\n\n",
            "Content-Type : a/b\n\n",
            " Content-Type: a/b\n\n",
            "Content-Type: a/b\n folded\n\n",
            ": a\n\n",
            "Content-Type: a\x00b\n\n",
            "Content-Type: a/b\nContent-Type: a/b\n\n",
            "Content-Type: a/b\nContent-Length: 1\nContent-Length: 1\n\n",
            "Content-Type: a/b\nContent-Length: +1\n\n",
            "Status: 100\n\n",
            "Status: 99\n\n",
            "Status: ok\n\n",
            "Status: 600\n\n",
            "Status: 200\nStatus: 200\n\n",
            &format!("{many}\n"),
        ] {
            assert!(parse(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn the_end_is_found_however_the_head_comes() {
        for (bytes, at) in [("a: b\r\n\r\nbody", 8), ("a: b\n\nbody", 6), ("\n\n", 1)] {
            assert_eq!(end(bytes.as_bytes(), 0), Some(at));
            for cut in 0..bytes.len() {
                let found = end(&bytes.as_bytes()[..cut], 0);
                assert_eq!(found, (cut >= at).then_some(at));
                let later = end(bytes.as_bytes(), cut.min(at - 1));
                assert_eq!(later, Some(at));
            }
        }
    }
}
