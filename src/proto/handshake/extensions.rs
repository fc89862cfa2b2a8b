//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1): names and parameters.
//!
//! Everything here borrows from the head and allocates nothing.

use crate::http::{TCHAR, is_tchar, run};

/// One element of `Sec-WebSocket-Extensions`: an extension's name and its parameters, in a server's eyes an *offer*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'b> {
    /// The registered name, such as `permessage-deflate`.
    pub name: &'b str,
    params: &'b str,
}

impl<'b> Extension<'b> {
    /// The parameters in order: a name and, when there is one, a value. Quotes are removed. A backslash inside quotes
    /// stays, because no registered extension needs one.
    pub fn params(&self) -> impl Iterator<Item = (&'b str, Option<&'b str>)> + use<'b> {
        let mut rest = self.params;
        std::iter::from_fn(move || {
            let (param, after) = take_param(rest)?;
            rest = after;
            Some(param)
        })
    }
}

/// The extensions in one value of `Sec-WebSocket-Extensions`. An `Err(())` element, always the last, says that the
/// value breaks the grammar of RFC 6455 §9.1.
pub fn extensions(value: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, ()>> {
    let mut rest = str::from_utf8(value).map_err(|_| ());
    std::iter::from_fn(move || {
        let text = rest.ok()?.trim_start_matches([',', ' ', '\t']);
        rest = Ok(text);
        if text.is_empty() {
            return None;
        }
        let taken = take_extension(text);
        rest = taken.map_or(Err(()), |(_, after)| Ok(after));
        Some(taken.map(|(extension, _)| extension).ok_or(()))
    })
    .chain(str::from_utf8(value).is_err().then_some(Err(())))
}

/// `extension = extension-token *( ";" extension-param )` (RFC 6455 §9.1), up to the comma or the end.
fn take_extension(text: &str) -> Option<(Extension<'_>, &str)> {
    let (name, params) = take_token(text)?;
    let mut rest = params;
    while let Some((_, after)) = take_param(rest) {
        rest = after;
    }
    if !(rest.is_empty() || rest.starts_with(',')) {
        return None;
    }
    let params = params.get(..params.len() - rest.len())?;
    Some((Extension { name, params }, rest))
}

/// What [`take_param`] took: the name, the value, and the text after both.
type Taken<'b> = ((&'b str, Option<&'b str>), &'b str);

/// `";" token [ "=" (token | quoted-string) ]`.
fn take_param(text: &str) -> Option<Taken<'_>> {
    let (name, rest) = take_token(skip_ows(text.strip_prefix(';')?))?;
    let Some(rest) = rest.strip_prefix('=') else {
        return Some(((name, None), rest));
    };
    let rest = skip_ows(rest);
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => take_quoted(quoted)?,
        None => take_token(rest)?,
    };
    Some(((name, Some(value)), rest))
}

/// The inside of a quoted string up to its closing quote.
fn take_quoted(text: &str) -> Option<(&str, &str)> {
    // RFC 6455 §9.1: "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST
    // conform to the 'token' ABNF."
    let mut at = 0;
    let bytes = text.as_bytes();
    loop {
        at += run(bytes.get(at..)?, TCHAR);
        match bytes.get(at)? {
            b'"' if at > 0 => {
                return Some((text.get(..at)?, skip_ows(text.get(at + 1..)?)));
            }
            b'\\' if is_tchar(*bytes.get(at + 1)?) => at += 2,
            _ => return None,
        }
    }
}

/// A token and what follows it and its white space.
fn take_token(text: &str) -> Option<(&str, &str)> {
    let end = run(text.as_bytes(), TCHAR);
    let token = text.get(..end).filter(|token| !token.is_empty())?;
    Some((token, skip_ows(text.get(end..)?)))
}

fn skip_ows(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name;param=value;…` of each element, `!` for a broken one.
    fn shown(value: &[u8]) -> String {
        let mut out = Vec::new();
        for element in extensions(value) {
            let Ok(extension) = element else {
                out.push("!".to_owned());
                continue;
            };
            let mut text = extension.name.to_owned();
            for (name, value) in extension.params() {
                text +=
                    &value.map_or_else(|| format!(";{name}"), |value| format!(";{name}={value}"));
            }
            out.push(text);
        }
        out.join("|")
    }

    #[test]
    fn an_extension_list_has_names_and_parameters() {
        assert_eq!(shown(b"permessage-deflate"), "permessage-deflate");
        assert_eq!(
            shown(b"permessage-deflate; client_max_window_bits"),
            "permessage-deflate;client_max_window_bits"
        );
        // RFC 6455 §9.1 prints these.
        assert_eq!(shown(b"deflate-stream"), "deflate-stream");
        assert_eq!(
            shown(b"mux; max-channels=4; flow-control, deflate-stream"),
            "mux;max-channels=4;flow-control|deflate-stream"
        );
        assert_eq!(shown(b"private-extension"), "private-extension");
        assert_eq!(shown(b"a;b=\"10\" , c ; d = 1"), "a;b=10|c;d=1");
        assert_eq!(shown(b",, a ,\t, b,"), "a|b");
        assert_eq!(shown(b"a;b=\"1\\0\""), "a;b=1\\0");
        assert_eq!(shown(b""), "");
    }

    #[test]
    fn an_extension_list_that_breaks_the_grammar_ends_with_an_error() {
        for (value, expected) in [
            (&b";"[..], "!"),
            (b"a;", "!"),
            (b"a b", "!"),
            (b"a;b=", "!"),
            (b"a;=b", "!"),
            (b"a;b=\"", "!"),
            (b"a;b=\"\"", "!"),
            (b"a;b=\"x y\"", "!"),
            (b"a;b=\"x\\", "!"),
            (b"a;b=\"x\"y", "!"),
            (b"a, b c, d", "a|!"),
            (b"\xff", "!"),
        ] {
            assert_eq!(shown(value), expected, "{}", value.escape_ascii());
        }
    }
}
