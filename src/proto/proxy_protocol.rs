//! The PROXY protocol, versions 1 and 2: what a proxy sends in front of a connection's own bytes to tell whose connection
//! it is. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
//!
//! Owns: the form of both headers, read and written, and the limit on their size. Never: decides whose header is read. Anybody can
//! send one.
//!
//! The outcome depends on the bytes alone, not on how they were cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header that is read. An extension of version 2 (a TLV) may make it longer than the addresses need;
/// the names of a certificate fit.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Bytes of the longest header of version 1, with its line end.
const LINE_BYTES_MAX: usize = 107;

/// The beginning of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The beginning of a header of version 1.
const PROXY: &[u8; 6] = b"PROXY ";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The connection belongs to the client at this address.
    Client(SocketAddr),
    /// The proxy speaks for itself (LOCAL), or does not know the address of its client (UNKNOWN): the address of the
    /// connection counts.
    Unknown,
}

/// Why the bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader(&'static str);

impl std::fmt::Display for BadHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadHeader {}

/// Parses the header at the beginning of `bytes`: what it says, and its length. `None`: there is more to come, at most
/// [`HEADER_BYTES_MAX`] in all.
pub fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, BadHeader> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => parse_line(bytes),
        Some(b'\r') => parse_binary(bytes),
        Some(_) => Err(BadHeader("no PROXY header comes first")),
    }
}

/// The form of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Appends the header of a connection from `client` to `server`. If one of both is no IP address, such as a Unix socket's, the
/// header says that nothing is known of them. Version 2 also says that the client speaks TLS, if `is_tls`.
pub fn encode(
    version: Version,
    client: Option<SocketAddr>,
    server: Option<SocketAddr>,
    is_tls: bool,
    out: &mut Vec<u8>,
) {
    let addresses = client.zip(server).map(|(client, server)| {
        let (from, to) = (client.ip().to_canonical(), server.ip().to_canonical());
        (from, to, client.port(), server.port())
    });
    match version {
        Version::V1 => out.extend_from_slice(line_of(addresses).as_bytes()),
        Version::V2 => encode_binary(addresses, is_tls, out),
    }
}

/// Whether a header says that the client speaks TLS: whole, as [`parse`] has measured it.
pub fn is_tls(header: &[u8]) -> bool {
    let Some(&[version_and_command, family, ..]) = header.get(12..) else {
        return false;
    };
    let addresses_bytes = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        _ => return false,
    };
    if version_and_command != 0x21 || !header.starts_with(SIGNATURE) {
        return false;
    }
    let mut rest = header.get(16 + addresses_bytes..).unwrap_or_default();
    while let [kind, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, more)) = behind.split_at_checked(len) else {
            return false;
        };
        if *kind == EXTENSION_TLS {
            return value.first().is_some_and(|bits| bits & SPEAKS_TLS != 0);
        }
        rest = more;
    }
    false
}

type Addresses = (IpAddr, IpAddr, u16, u16);

/// The extension that tells of TLS (PP2_TYPE_SSL), and the bit in it that says that the client speaks it.
const EXTENSION_TLS: u8 = 0x20;
const SPEAKS_TLS: u8 = 0x01;

/// That extension: the client speaks TLS, and its certificate, if it has shown one, is not told ("verify" is not 0).
const TLS: [u8; 8] = [EXTENSION_TLS, 0, 5, SPEAKS_TLS, 0, 0, 0, 1];

/// Both addresses, in the form of version 6 if one of them has that.
fn of_one_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    let wide = |address| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    match from.is_ipv4() && to.is_ipv4() {
        true => (from, to),
        false => (wide(from), wide(to)),
    }
}

fn line_of(addresses: Option<Addresses>) -> String {
    let Some((from, to, from_port, to_port)) = addresses else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let (from, to) = of_one_family(from, to);
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n")
}

fn encode_binary(addresses: Option<Addresses>, is_tls: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let tls: &[u8] = match is_tls {
        true => &TLS,
        false => &[],
    };
    let more = u8::try_from(tls.len()).expect("it is short");
    let Some((from, to, from_port, to_port)) = addresses else {
        // Version 2, unspecified, no addresses: LOCAL, of which nothing more is read, or PROXY.
        out.extend_from_slice(&[0x20 | u8::from(is_tls), 0, 0, more]);
        return out.extend_from_slice(tls);
    };
    match of_one_family(from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12 + more]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36 + more]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        _ => unreachable!("both have the same form"),
    }
    out.extend_from_slice(&from_port.to_be_bytes());
    out.extend_from_slice(&to_port.to_be_bytes());
    out.extend_from_slice(tls);
}

/// Whether `bytes` begin like `whole`, as far as there are any.
fn begins(bytes: &[u8], whole: &[u8]) -> bool {
    bytes.iter().zip(whole).all(|(a, b)| a == b)
}

/// Version 1: `PROXY TCP4 192.0.2.7 192.0.2.1 50000 9000\r\n`.
fn parse_line(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, BadHeader> {
    if !begins(bytes, PROXY) {
        return Err(BadHeader("no PROXY header comes first"));
    }
    let window = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|b| *b == b'\n') else {
        return match bytes.len() {
            ..LINE_BYTES_MAX => Ok(None),
            _ => Err(BadHeader("the PROXY line is longer than 107 bytes")),
        };
    };
    let bad = BadHeader("the PROXY line has not the form of version 1");
    let line = window
        .get(PROXY.len()..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(bad)?;
    let mut words = line.split(' ');
    let proxied = match words.next() {
        // "the receiver must ignore anything presented before the CRLF is found"
        Some("UNKNOWN") => return Ok(Some((Proxied::Unknown, end + 1))),
        Some("TCP4") => line_addresses::<Ipv4Addr>(words),
        Some("TCP6") => line_addresses::<Ipv6Addr>(words),
        _ => None,
    };
    Ok(Some((proxied.ok_or(bad)?, end + 1)))
}

fn line_addresses<'b, A>(mut words: impl Iterator<Item = &'b str>) -> Option<Proxied>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let source: A = words.next()?.parse().ok()?;
    words.next()?.parse::<A>().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    let client = SocketAddr::new(source.into(), source_port);
    words.next().is_none().then_some(Proxied::Client(client))
}

/// A port in decimal, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let is_canonical = text == "0" || !text.starts_with('0');
    (digits && is_canonical)
        .then(|| text.parse().ok())
        .flatten()
}

/// Version 2: the signature, version and command, family and transport, a length, then addresses and extensions.
fn parse_binary(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, BadHeader> {
    if !begins(bytes, SIGNATURE) {
        return Err(BadHeader("no PROXY header comes first"));
    }
    let Some(&[version_and_command, family, high, low]) = bytes.get(12..16) else {
        return Ok(None);
    };
    let end = 16 + usize::from(u16::from_be_bytes([high, low]));
    if end > HEADER_BYTES_MAX {
        return Err(BadHeader("the PROXY header is longer than 4096 bytes"));
    }
    if !matches!(version_and_command, 0x20 | 0x21) {
        return Err(BadHeader(
            "the PROXY header has a version or a command that is not known",
        ));
    }
    let Some(body) = bytes.get(16..end) else {
        return Ok(None);
    };
    // LOCAL: "The receiver must accept this connection as valid and must use the real connection endpoints and discard
    // the protocol block including the family which is ignored."
    if version_and_command == 0x20 {
        return Ok(Some((Proxied::Unknown, end)));
    }
    let short = BadHeader("the PROXY header is shorter than its addresses");
    let proxied = match family {
        // Unspecified, and the name of a Unix socket.
        0x00 | 0x31 => Proxied::Unknown,
        0x11 => client::<4, Ipv4Addr>(body, 8).ok_or(short)?,
        0x21 => client::<16, Ipv6Addr>(body, 32).ok_or(short)?,
        _ => {
            return Err(BadHeader(
                "the PROXY header is for a connection that is no stream over IP",
            ));
        }
    };
    Ok(Some((proxied, end)))
}

/// The source address at the beginning of `body`, with its port behind both addresses.
fn client<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(
    body: &[u8],
    addresses_bytes: usize,
) -> Option<Proxied> {
    // The port of the destination must be there too.
    body.get(..addresses_bytes + 4)?;
    let source: [u8; N] = *body.first_chunk()?;
    let port: [u8; 2] = *body.get(addresses_bytes..)?.first_chunk()?;
    let address: IpAddr = A::from(source).into();
    Some(Proxied::Client((address, u16::from_be_bytes(port)).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &len, body].concat()
    }

    fn addressed(bytes: &[u8]) -> Vec<u8> {
        let ports = [0x1f, 0x90, 0, 80];
        [bytes, bytes, &ports].concat()
    }

    /// Parses the bytes with others behind them, and every prefix: a cut changes nothing.
    #[track_caller]
    fn whole(bytes: &[u8]) -> Result<Proxied, BadHeader> {
        let mut outcome = Ok(None);
        let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        for cut in 0..=followed.len() {
            let before = outcome;
            outcome = parse(&followed[..cut]);
            if before != Ok(None) {
                assert_eq!(outcome, before, "cut at {cut}");
            }
        }
        outcome.map(|parsed| {
            let (proxied, header_bytes) = parsed.expect("it is complete");
            assert_eq!(header_bytes, bytes.len());
            proxied
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let of = |version, client: Option<&str>, server: Option<&str>| {
            let parsed = |text: &str| text.parse().expect("an address");
            let mut header = Vec::new();
            encode(
                version,
                client.map(parsed),
                server.map(parsed),
                false,
                &mut header,
            );
            header
        };
        let (v4, v6) = ("192.0.2.7:50000", "[2001:db8::7]:50000");
        for version in [Version::V1, Version::V2] {
            let header = of(version, Some(v4), Some("192.0.2.1:9000"));
            assert_eq!(whole(&header), Ok(at(v4)));
            let header = of(version, Some(v6), Some("[2001:db8::1]:9000"));
            assert_eq!(whole(&header), Ok(at(v6)));
            let header = of(version, Some(v4), Some("[2001:db8::1]:9000"));
            assert_eq!(whole(&header), Ok(at("[::ffff:192.0.2.7]:50000")));
            let header = of(
                version,
                Some("[::ffff:192.0.2.7]:50000"),
                Some("192.0.2.1:9000"),
            );
            assert_eq!(whole(&header), Ok(at(v4)));
            assert_eq!(whole(&of(version, None, Some(v4))), Ok(Proxied::Unknown));
        }
        assert_eq!(
            of(Version::V1, Some(v4), Some("192.0.2.1:9000")),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 9000\r\n"
        );
        assert_eq!(
            of(Version::V2, Some("192.0.2.7:256"), Some("192.0.2.1:2")),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x01\0\0\x02"
        );
    }

    #[test]
    fn a_header_of_version_2_says_whether_the_client_speaks_tls() {
        let v4: SocketAddr = "192.0.2.7:256".parse().expect("an address");
        let v6: SocketAddr = "[2001:db8::7]:256".parse().expect("an address");
        for (client, said) in [
            (Some(v4), Proxied::Client(v4)),
            (Some(v6), Proxied::Client(v6)),
            (None, Proxied::Unknown),
        ] {
            for speaks in [false, true] {
                let mut header = Vec::new();
                encode(Version::V2, client, client, speaks, &mut header);
                assert_eq!(whole(&header), Ok(said));
                assert_eq!(is_tls(&header), speaks, "{}", header.escape_ascii());
                for cut in 0..header.len() {
                    assert!(!is_tls(&header[..cut]));
                }
            }
        }
        let mut header = Vec::new();
        encode(Version::V2, Some(v4), Some(v4), true, &mut header);
        assert_eq!(header[28..], [0x20, 0, 5, 1, 0, 0, 0, 1]);
        // Behind another extension, and where the client speaks none.
        let addresses = addressed(&[192, 0, 2, 7]);
        for (bits, speaks) in [(1, true), (2, false)] {
            let more = [3, 0, 1, 9, 0x20, 0, 5, bits, 0, 0, 0, 1];
            let header = binary(0x21, 0x11, &[&addresses[..], &more].concat());
            assert_eq!(is_tls(&header), speaks);
        }
        let mut line = Vec::new();
        encode(Version::V1, Some(v4), Some(v4), true, &mut line);
        assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.7 256 256\r\n");
    }

    fn at(text: &str) -> Proxied {
        Proxied::Client(text.parse().expect("an address"))
    }

    #[test]
    fn headers_of_both_versions_name_the_client_however_they_are_cut() {
        let v6: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        for (header, said) in [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 9000\r\n".to_vec(),
                at("192.0.2.7:50000"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n".to_vec(),
                at("[2001:db8::7]:0"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Unknown),
            (
                b"PROXY UNKNOWN ffff::1 what ever 1 2\r\n".to_vec(),
                Proxied::Unknown,
            ),
            (
                binary(0x21, 0x11, &addressed(&[192, 0, 2, 7])),
                at("192.0.2.7:8080"),
            ),
            (
                binary(0x21, 0x21, &addressed(&v6.octets())),
                at("[2001:db8::7]:8080"),
            ),
            // With an extension behind the addresses.
            (
                binary(
                    0x21,
                    0x11,
                    &[&addressed(&[192, 0, 2, 7])[..], &[4, 0, 1, 9]].concat(),
                ),
                at("192.0.2.7:8080"),
            ),
            (binary(0x20, 0x00, b""), Proxied::Unknown),
            (binary(0x20, 0x77, b"ignored"), Proxied::Unknown),
            (binary(0x21, 0x00, b""), Proxied::Unknown),
            (binary(0x21, 0x31, &[0; 216]), Proxied::Unknown),
            (
                binary(0x21, 0x00, &[0; HEADER_BYTES_MAX - 16]),
                Proxied::Unknown,
            ),
        ] {
            assert_eq!(whole(&header), Ok(said), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_header_is_told_apart_at_the_first_byte_that_shows_it() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], "no PROXY"),
            (b"POST ", "no PROXY"),
            (b"\r\n\r\n\r\n", "no PROXY"),
            (b"\x16\x03\x01", "no PROXY"),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 9000\n",
                "the PROXY line has",
            ),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 50000\r\n",
                "the PROXY line has",
            ),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 3\r\n",
                "the PROXY line has",
            ),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n",
                "the PROXY line has",
            ),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 2\r\n",
                "the PROXY line has",
            ),
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n",
                "the PROXY line has",
            ),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", "the PROXY line has"),
            (b"PROXY TCP6 192.0.2.7 ::1 1 2\r\n", "the PROXY line has"),
            (
                b"PROXY TCP4  192.0.2.7 192.0.2.1 1 2\r\n",
                "the PROXY line has",
            ),
            (
                b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n",
                "the PROXY line has",
            ),
            (b"PROXY \xff\r\n", "the PROXY line has"),
        ] {
            let error = whole(bytes).expect_err("no header");
            assert!(error.to_string().starts_with(why), "{error}");
        }
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
        let error = whole(&long).expect_err("no header");
        assert!(error.to_string().contains("107 bytes"), "{error}");
        for (header, why) in [
            (binary(0x21, 0x00, &[0; HEADER_BYTES_MAX - 15]), "longer"),
            (binary(0x11, 0x11, &[0; 12]), "version or a command"),
            (binary(0x22, 0x11, &[0; 12]), "version or a command"),
            (binary(0x21, 0x11, &[0; 11]), "shorter"),
            (binary(0x21, 0x21, &[0; 35]), "shorter"),
            (binary(0x21, 0x12, &[0; 12]), "no stream"),
        ] {
            let error = whole(&header).expect_err("no header");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
