//! Answers of a server: the status line, the headers that every answer has, and a body.

use super::Misuse;
use super::date::Date;
use super::fields::{is_field_value, is_token};
use super::refusal::StatusCode;
use super::request::Request;

/// The answer to a request that opens no WebSocket. The connection is closed after it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// A status from 200 to 599.
    pub status: StatusCode,
    /// `Content-Type`; empty for none.
    pub content_type: &'a str,
    /// Further headers, such as `Location`; a 405 needs `Allow`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The content. The answer to a HEAD names its length and leaves it out.
    pub body: &'a [u8],
}

/// Appends the answer to `request`. The caller closes the connection as after [`encode_refusal`](super::encode_refusal).
pub fn encode_answer(
    request: &Request<'_>,
    answer: &Answer<'_>,
    date: &Date,
    out: &mut Vec<u8>,
) -> Result<(), Misuse> {
    if !(200..=599).contains(&answer.status.0) {
        return Err(Misuse::Status);
    }
    if !is_field_value(answer.content_type.as_bytes()) {
        return Err(Misuse::HeaderValue);
    }
    check_headers(answer.headers)?;
    check_allow(answer.status, answer.headers)?;
    push_status_line(answer.status, date, out);
    push(&["Connection: close\r\n"], out);
    push_headers(answer.headers, out);
    if !answer.content_type.is_empty() {
        push(&["Content-Type: ", answer.content_type, "\r\n"], out);
    }
    // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
    // (Informational) or 204 (No Content)." One with 304 would have to name the length of what is not sent.
    let has_content = !matches!(answer.status.0, 204 | 304);
    if has_content {
        push(&["Content-Length: "], out);
        push_decimal(answer.body.len(), out);
        push(&["\r\n"], out);
    }
    push(&["\r\n"], out);
    // RFC 9110 §9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send content in the response."
    if has_content && request.method() != "HEAD" {
        out.extend_from_slice(answer.body);
    }
    Ok(())
}

/// Appends an answer whose body is a sentence. The caller has checked `headers`.
pub(crate) fn encode_with(
    status: StatusCode,
    connection: &str,
    headers: &[(&str, &str)],
    reason: &str,
    date: &Date,
    out: &mut Vec<u8>,
) {
    push_status_line(status, date, out);
    push(&["Connection: ", connection, "\r\n"], out);
    push_headers(headers, out);
    push(
        &["Content-Type: text/plain; charset=utf-8\r\nContent-Length: "],
        out,
    );
    push_decimal(reason.len() + 1, out);
    push(&["\r\n\r\n", reason, "\n"], out);
}

/// Checks header fields that an application adds.
pub(crate) fn check_headers(headers: &[(&str, &str)]) -> Result<(), Misuse> {
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return Err(Misuse::HeaderName);
        }
        if !is_field_value(value.as_bytes()) {
            return Err(Misuse::HeaderValue);
        }
        if RESERVED
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
        {
            return Err(Misuse::ReservedHeader);
        }
    }
    Ok(())
}

/// Checks that a 405 says what is allowed.
// RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response"
pub(crate) fn check_allow(status: StatusCode, headers: &[(&str, &str)]) -> Result<(), Misuse> {
    let is_allow = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("Allow");
    if status == StatusCode::METHOD_NOT_ALLOWED && !headers.iter().any(is_allow) {
        return Err(Misuse::AllowMissing);
    }
    Ok(())
}

/// Appends the status line, the `Server` line and the `Date` line.
// RFC 9110 §6.6.1: "An origin server with a clock […] MUST generate a Date header field in all 2xx (Successful), 3xx
// (Redirection), and 4xx (Client Error) responses". It may in others: a 5xx has one, a 101 has none, because every
// opening handshake would carry it and no client of a WebSocket looks at it.
fn push_status_line(status: StatusCode, date: &Date, out: &mut Vec<u8>) {
    push(&["HTTP/1.1 "], out);
    push_decimal(usize::from(status.0), out);
    push(
        &[" ", status.reason_phrase(), "\r\n", SERVER, "Date: "],
        out,
    );
    out.extend_from_slice(date.as_bytes());
    push(&["\r\n"], out);
}

/// Appends `name: value` lines.
pub(crate) fn push_headers(headers: &[(&str, &str)], out: &mut Vec<u8>) {
    for (name, value) in headers {
        push(&[name, ": ", value, "\r\n"], out);
    }
}

pub(crate) fn push(parts: &[&str], out: &mut Vec<u8>) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends `n` in decimal, without the allocation of `to_string`.
fn push_decimal(mut n: usize, out: &mut Vec<u8>) {
    let at = out.len();
    loop {
        out.push(b"0123456789"[n % 10]);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out[at..].reverse();
}

/// The `Server` line.
pub(crate) const SERVER: &str = concat!("Server: ringway/", env!("CARGO_PKG_VERSION"), "\r\n");

/// Names that are written here or by the handshake, or that would change where the message ends.
const RESERVED: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Content-Type",
    "Date",
    "Host",
    "Server",
    "Transfer-Encoding",
    "Upgrade",
];
