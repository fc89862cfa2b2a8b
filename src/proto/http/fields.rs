//! Header fields: character classes, comma lists, the fields of a scanned head.
//!
//! Everything here borrows from the head and allocates nothing.

/// Whether `bytes` is a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, TCHAR) == bytes.len()
}

/// Whether `bytes` is a valid field value: no control characters, and no white space at either end (RFC 9110 §5.5).
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
        Some((b':', digits)) => digits.is_empty() || is_port(digits),
        Some(_) => false,
    };
    host_is_good && port_is_good
}

fn is_port(digits: &[u8]) -> bool {
    let number = str::from_utf8(digits).map(str::parse::<u16>);
    digits.iter().all(u8::is_ascii_digit) && matches!(number, Ok(Ok(_)))
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

impl<'b> Headers<'b> {
    /// The values of all fields called `name` in any case, in order.
    pub fn all<'n>(self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'b, 'n> {
        self.filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
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

fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// How many of the first bytes are in `class`.
pub(crate) fn run(bytes: &[u8], class: u8) -> usize {
    bytes
        .iter()
        .position(|&b| CLASS[usize::from(b)] & class == 0)
        .unwrap_or(bytes.len())
}

/// Whether `byte` can be in a token.
pub(crate) fn is_tchar(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TCHAR != 0
}

/// RFC 9110 §5.6.2 `tchar`.
pub(crate) const TCHAR: u8 = 1;
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
            b"a:65536",
            b"a:+80",
            b"a:80:80",
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
}
