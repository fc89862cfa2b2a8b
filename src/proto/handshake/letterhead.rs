//! What an operator adds to every answer: the name of the server, and further fields.

use super::check_extra_headers;
use super::http::{Misuse, SERVER, is_field_value, push, push_headers};

/// The `Server` field and further fields of every answer. It is checked once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letterhead {
    /// These lines take the place of the usual `Server` line.
    lines: Vec<u8>,
}

impl Letterhead {
    /// The letterhead with this name of the server, none if it is empty, and these fields.
    ///
    /// # Errors
    /// A field cannot be sent, or the library writes it itself.
    pub fn new(server: &str, fields: &[(&str, &str)]) -> Result<Self, Misuse> {
        if !is_field_value(server.as_bytes()) {
            return Err(Misuse::HeaderValue);
        }
        check_extra_headers(fields)?;
        let mut lines = Vec::new();
        if !server.is_empty() {
            push(&["Server: ", server, "\r\n"], &mut lines);
        }
        push_headers(fields, &mut lines);
        Ok(Self { lines })
    }

    /// Puts the letterhead on an answer that this crate has encoded.
    pub fn put_on(&self, answer: &mut Vec<u8>) {
        let begin = line_end(answer);
        let server = begin..begin + SERVER.len();
        // Each answer has the line right behind its status line.
        if answer.get(server.clone()) == Some(SERVER.as_bytes()) {
            answer.splice(server, self.lines.iter().copied());
        }
    }
}

/// Where the line behind the first one begins.
fn line_end(answer: &[u8]) -> usize {
    let end = answer.iter().position(|b| *b == b'\n');
    end.map_or(answer.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Date, Refusal, encode_refusal};

    #[test]
    fn a_name_and_fields_take_the_place_of_the_usual_name() {
        let date = Date::from_unix_s(784_111_777);
        let answered = |letterhead: &Letterhead| {
            let mut out = Vec::new();
            encode_refusal(&Refusal::TIMEOUT, &date, &mut out);
            letterhead.put_on(&mut out);
            String::from_utf8(out).expect("text")
        };
        let all = Letterhead::new("gate", &[("X-Frame-Options", "DENY"), ("X-A", "1, 2")]);
        let begin = "HTTP/1.1 408 Request Timeout\r\n";
        let answer = answered(&all.expect("fields"));
        let expected =
            format!("{begin}Server: gate\r\nX-Frame-Options: DENY\r\nX-A: 1, 2\r\nDate: Sun");
        assert!(answer.starts_with(&expected), "{answer}");
        let answer = answered(&Letterhead::new("", &[]).expect("nothing"));
        assert!(answer.starts_with(&format!("{begin}Date: Sun")), "{answer}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for (server, fields, misuse) in [
            ("a\r\nb", &[][..], Misuse::HeaderValue),
            ("", &[("a b", "c")][..], Misuse::HeaderName),
            ("", &[("a", "c\n")][..], Misuse::HeaderValue),
            ("", &[("Date", "now")][..], Misuse::ReservedHeader),
            (
                "",
                &[("sec-websocket-accept", "x")][..],
                Misuse::ReservedHeader,
            ),
        ] {
            assert_eq!(Letterhead::new(server, fields), Err(misuse));
        }
    }
}
