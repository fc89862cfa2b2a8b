//! Header fields: character classes, comma lists, the fields of a scanned head, the extension list.
//!
//! Everything here borrows from the head and allocates nothing.

/// Whether `bytes` is a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, TCHAR) == bytes.len()
}

/// Whether `bytes` can be a field value as it is: no control characters, no white space at its ends
/// (RFC 9110 §5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    run(bytes, FIELD) == bytes.len() && bytes.trim_ascii() == bytes
}

/// Whether `bytes` is `uri-host [ ":" port ]` with a host that is not empty (RFC 9110 §7.2).
pub fn is_host(bytes: &[u8]) -> bool {
    let (host_is_good, port) = if let Some(literal) = bytes.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|&b| b == b']') else {
            return false;
        };
        let (address, rest) = literal.split_at(end);
        let good = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
        (
            !address.is_empty() && address.iter().all(good),
            rest.get(1..).unwrap_or_default(),
        )
    } else {
        let (name, port) = bytes.split_at(run(bytes, REG_NAME));
        (!name.is_empty(), port)
    };
    let port_is_good = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    host_is_good && port_is_good
}

/// The elements of a comma list: trimmed, and without the empty ones.
// RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements"
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value
        .split(|&b| b == b',')
        .map(trim_ows)
        .filter(|element| !element.is_empty())
}

/// Whether the comma list `value` has `token` in it, ignoring ASCII case.
pub fn list_contains(value: &[u8], token: &[u8]) -> bool {
    list(value).any(|element| element.eq_ignore_ascii_case(token))
}

/// The header fields of a head that was scanned: names as sent, values without the white space around them.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'b> {
    lines: &'b [u8],
}

impl<'b> Headers<'b> {
    /// The fields of `head`, a whole head with its start line and the empty line at its end.
    pub(super) fn of_head(head: &'b [u8]) -> Self {
        let head = head.trim_ascii_start(); // empty lines before the start line
        let start_line = head
            .iter()
            .position(|&b| b == b'\n')
            .map_or(head.len(), |lf| lf + 1);
        Self {
            lines: head.get(start_line..).unwrap_or_default(),
        }
    }
}

impl<'b> Iterator for Headers<'b> {
    type Item = (&'b str, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.lines.iter().position(|&b| b == b'\r')?;
        let (line, rest) = self.lines.split_at(end);
        self.lines = rest.get(2..).unwrap_or_default();
        let colon = line.iter().position(|&b| b == b':')?; // none: the empty line
        let (name, value) = line.split_at(colon);
        Some((str::from_utf8(name).ok()?, trim_ows(value.get(1..)?)))
    }
}

/// One element of `Sec-WebSocket-Extensions`: an extension's name and its parameters, in a server's eyes an *offer*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'b> {
    /// The registered name, such as `permessage-deflate`.
    pub name: &'b str,
    params: &'b str,
}

impl<'b> Extension<'b> {
    /// The parameters in order: a name and, when there is one, a value. Quotes are gone; a backslash inside
    /// them (which no registered extension needs) is left.
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
            b'\\' if CLASS[usize::from(*bytes.get(at + 1)?)] & TCHAR != 0 => at += 2,
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

fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// How many of the first bytes are in `class`.
pub(super) fn run(bytes: &[u8], class: u8) -> usize {
    bytes
        .iter()
        .position(|&b| CLASS[usize::from(b)] & class == 0)
        .unwrap_or(bytes.len())
}

/// RFC 9110 §5.6.2 `tchar`.
pub(super) const TCHAR: u8 = 1;
/// RFC 9110 §5.5 `field-vchar`, space and tab.
pub(super) const FIELD: u8 = 2;
/// A visible ASCII character, what a request target is made of.
pub(super) const VCHAR: u8 = 4;
/// RFC 3986 §3.2.2 `reg-name` (and an IPv4 address).
const REG_NAME: u8 = 8;

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b: u8 = 0;
    loop {
        let mut class = 0;
        if b.is_ascii_alphanumeric() {
            class |= TCHAR | REG_NAME;
        }
        if matches!(
            b,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        ) {
            class |= TCHAR;
        }
        if matches!(
            b,
            b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'..=b',' | b';' | b'='
        ) {
            class |= REG_NAME;
        }
        if b.is_ascii_graphic() {
            class |= VCHAR;
        }
        if matches!(b, b'\t' | b' '..=b'~' | 0x80..) {
            class |= FIELD;
        }
        table[b as usize] = class;
        if b == u8::MAX {
            break table;
        }
        b += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_77_characters_of_rfc_9110() {
        let tokens: Vec<u8> = (0..=255).filter(|&b| is_token(&[b])).collect();
        assert_eq!(
            tokens,
            b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~"
        );
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
    }

    #[test]
    fn a_field_value_has_no_control_characters_and_no_white_space_around_it() {
        for good in [&b""[..], b"a", b"a b\tc", b"\xff", "ä".as_bytes()] {
            assert!(is_field_value(good), "{}", good.escape_ascii());
        }
        for bad in [
            &b" a"[..],
            b"a ",
            b"\ta",
            b"a\r\nB: c",
            b"a\nb",
            b"a\0b",
            b"\x7f",
        ] {
            assert!(!is_field_value(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in [
            &b"example.com"[..],
            b"example.com:8080",
            b"example.com:",
            b"127.0.0.1:9000",
            b"[::1]",
            b"[2001:db8::1]:9000",
            b"a_b",
            b"xn--bcher-kva.example",
        ] {
            assert!(is_host(good), "{}", good.escape_ascii());
        }
        for bad in [
            &b""[..],
            b":80",
            b"a:b",
            b"a:123456",
            b"[::1",
            b"[]:80",
            b"[::1]80",
            b"user@example.com",
            b"a/b",
            b"a b",
            b"a,b:1,c",
            b"\xc3\xa4",
        ] {
            assert!(!is_host(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_comma_list_is_trimmed_and_loses_its_empty_elements() {
        let elements: Vec<&[u8]> = list(b" , keep-alive,\t Upgrade ,,").collect();
        assert_eq!(elements, [&b"keep-alive"[..], b"Upgrade"]);
        assert!(list_contains(b"keep-alive, UPGRADE", b"upgrade"));
        assert!(!list_contains(b"keep-alive upgrade", b"upgrade"));
        assert!(!list_contains(b"upgrades", b"upgrade"));
        assert_eq!(list(b" ,, ").count(), 0);
    }

    #[test]
    fn fields_come_in_order_with_trimmed_values() {
        let head =
            b"\r\nGET / HTTP/1.1\r\nA: 1\r\nb:\t two words \r\nEmpty:\r\nurl:http://x:1\r\n\r\n";
        let fields: Vec<(&str, &[u8])> = Headers::of_head(head).collect();
        assert_eq!(
            fields,
            [
                ("A", &b"1"[..]),
                ("b", b"two words"),
                ("Empty", b""),
                ("url", b"http://x:1")
            ]
        );
        assert_eq!(Headers::of_head(b"GET / HTTP/1.1\r\n\r\n").count(), 0);
        assert_eq!(Headers::of_head(b"").count(), 0);
    }

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
