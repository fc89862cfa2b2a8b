//! Endpoint strings of Twisted and Autobahn: `tcp:9000:interface=127.0.0.1`,
//! `autobahn:tcp\:127.0.0.1\:9000:url=ws\://localhost\:9000`.
//!
//! Owns: their text, and the sentences for those that are wrong. Never: looks up a name or opens a file.
//!
//! A colon ends a value, the first `=` in it ends its name, and a backslash takes both their meaning. Values without a name
//! come in the order of the table:
//!
//! | kind | where to listen | where to connect |
//! |---|---|---|
//! | `tcp`, `tcp6` | port, interface, backlog | host, port, timeout |
//! | `unix` | address, mode, backlog | path, timeout |
//! | `ssl` | port, privateKey, certKey, interface, backlog | host, port, caFile, timeout |
//! | `stdio` | | – |
//! | `process` | the program, its arguments | the same |
//! | `serial` | the device, speed, mode, flow | the same |
//! | `autobahn` | another endpoint, url, compression, autofrag, subprotocol, debug | the same |

use super::SerialLine;

/// Longest text, bytes.
const BYTES_MAX: usize = 16_000;

/// What is carried on an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointString {
    /// Where it is.
    pub place: Place,
    /// How streams travel in WebSockets there. `None`: they do not.
    pub websocket: Option<Wrapping>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where to listen on TCP.
    Port {
        /// The address; empty: all of IPv4.
        interface: String,
        /// 0: any free one.
        port: u16,
        /// The certificate with its key, PEM files, if it speaks TLS.
        tls: Option<(String, String)>,
        /// Length of the accept queue.
        backlog: Option<u32>,
    },
    /// Where to connect to on TCP.
    Host {
        /// Name or address.
        host: String,
        /// At least 1.
        port: u16,
        /// Whether it speaks TLS.
        is_tls: bool,
        /// A PEM file with the certificates that may have signed its.
        ca: Option<String>,
        /// Seconds for the connect.
        timeout_s: Option<u32>,
    },
    /// A Unix socket, to listen or to connect.
    Unix {
        /// Absolute.
        path: String,
        /// Its mode where it listens.
        mode: Option<u32>,
        /// Length of the accept queue.
        backlog: Option<u32>,
        /// Seconds for the connect.
        timeout_s: Option<u32>,
    },
    /// Standard input and output.
    Stdio,
    /// A program and its arguments: a stream is its standard input and output.
    Process(Vec<String>),
    /// A serial device.
    Serial(SerialLine),
}

/// How streams travel in WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// The URI that the request is for; a server takes any.
    pub url: String,
    /// Whether messages may be compressed. `None`: it was not said.
    pub compression: Option<bool>,
    /// Payload bytes of the longest frame. 0: a frame has any length.
    pub autofrag: u32,
    /// A subprotocol beside `binary` and `base64`.
    pub subprotocol: Option<String>,
    /// Whether frames are logged.
    pub debug: bool,
}

/// Which side of a forwarder an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Listens,
    Connects,
}

/// Why a text is no endpoint: a sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadString(String);

impl std::fmt::Display for BadString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadString {}

fn bad(sentence: impl Into<String>) -> BadString {
    BadString(sentence.into())
}

/// Parses where to listen.
///
/// # Errors
/// What is wrong.
pub fn parse_listening(text: &str) -> Result<EndpointString, BadString> {
    parse(text, Side::Listens)
}

/// Parses where to connect.
///
/// # Errors
/// What is wrong.
pub fn parse_connecting(text: &str) -> Result<EndpointString, BadString> {
    parse(text, Side::Connects)
}

fn parse(text: &str, side: Side) -> Result<EndpointString, BadString> {
    if text.len() > BYTES_MAX {
        return Err(bad("it is longer than 16000 bytes"));
    }
    let mut words = Words::cut(text)?;
    let kind = words.kind.clone();
    if kind != "autobahn" {
        let place = place(&kind, &mut words, side)?;
        words.finish(&kind)?;
        let websocket = None;
        return Ok(EndpointString { place, websocket });
    }
    let inner = words.take("endpoint").ok_or_else(|| {
        bad(
            "autobahn: names no endpoint that carries its WebSocket; write it first, with a backslash before each colon, as \
             autobahn:tcp\\:9000:url=ws\\://localhost\\:9000",
        )
    })?;
    let mut within = Words::cut(&inner)?;
    let kind = within.kind.clone();
    if matches!(kind.as_str(), "autobahn" | "stdio" | "process" | "serial") {
        return Err(bad(format!(
            "autobahn: cannot be carried by {kind}:; give tcp, tcp6, unix or ssl"
        )));
    }
    let place = place(&kind, &mut within, side)?;
    within.finish(&kind)?;
    let websocket = wrapping(&mut words)?;
    words.finish("autobahn")?;
    Ok(EndpointString {
        place,
        websocket: Some(websocket),
    })
}

fn wrapping(words: &mut Words) -> Result<Wrapping, BadString> {
    let url = words.named("url").ok_or_else(|| {
        bad("autobahn: needs a url, as url=ws\\://localhost\\:9000, with a backslash before each colon")
    })?;
    let scheme = url
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("ws" | "wss")) {
        return Err(bad(format!(
            "url={url} begins with neither ws:// nor wss://; write it with a backslash before each colon, as url=ws\\://localhost"
        )));
    }
    // The documentation says `compress`, the code `compression`.
    let compress = words.switch("compress")?;
    let compression = words.switch("compression")?.or(compress);
    let autofrag = words.number("autofrag")?.unwrap_or(0);
    let subprotocol = words
        .named("subprotocol")
        .map(|name| name.trim().to_ascii_lowercase());
    if let Some(name) = &subprotocol
        && (name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b",;\"\\/()<>@:[]?={}".contains(&b)))
    {
        return Err(bad(format!(
            "subprotocol={name} is no name of a subprotocol; write it as subprotocol=mqtt"
        )));
    }
    let debug = words.switch("debug")?.unwrap_or(false);
    Ok(Wrapping {
        url,
        compression,
        autofrag,
        subprotocol,
        debug,
    })
}

fn place(kind: &str, words: &mut Words, side: Side) -> Result<Place, BadString> {
    match (kind, side) {
        ("tcp" | "tcp6", Side::Listens) => listening_port(kind, words, false),
        ("ssl", Side::Listens) => listening_port(kind, words, true),
        ("tcp" | "tcp6", Side::Connects) => host(kind, words, false),
        ("ssl" | "tls", Side::Connects) => host(kind, words, true),
        ("unix", Side::Listens) => {
            let path = words.take("address");
            let mode = words.take("mode").map(|mode| {
                u32::from_str_radix(&mode, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o777)
                    .ok_or_else(|| {
                        bad(format!(
                            "mode={mode} is no mode of a file; write it as mode=660"
                        ))
                    })
            });
            Ok(Place::Unix {
                path: path_of(path)?,
                mode: mode.transpose()?,
                backlog: words.number("backlog")?,
                timeout_s: None,
            })
        }
        ("unix", Side::Connects) => Ok(Place::Unix {
            path: path_of(words.take("path").or_else(|| words.named("address")))?,
            mode: None,
            backlog: None,
            timeout_s: words.number("timeout")?,
        }),
        ("process", _) => process(words),
        ("serial", _) => serial(words).map(Place::Serial),
        ("stdio", Side::Listens) => Ok(Place::Stdio),
        ("stdio", Side::Connects) => Err(bad(
            "stdio: is one stream, and each connection needs one of its own; give it where to listen",
        )),
        _ => Err(bad(format!(
            "'{kind}:' is no kind of endpoint that is known here: give tcp, tcp6, unix, ssl, stdio, process, serial or \
             autobahn"
        ))),
    }
}

/// A word may have an equals sign: it is no name here.
fn process(words: &mut Words) -> Result<Place, BadString> {
    if let Some((name, _)) = words.named.first() {
        return Err(bad(format!(
            "process: has no {name}= here; write an equals sign in a word as \\="
        )));
    }
    let words: Vec<_> = words.positional.drain(..).collect();
    match words.first().is_some_and(|program| !program.is_empty()) {
        true if words.iter().any(|word| word.contains('\0')) => Err(bad(
            "process: has a word with a zero, which no program can get",
        )),
        true => Ok(Place::Process(words)),
        false => Err(bad(
            "process: names no program; write it as process:/usr/bin/program:argument",
        )),
    }
}

fn serial(words: &mut Words) -> Result<SerialLine, BadString> {
    let path = words.take("device");
    let speed = words.take("speed");
    let mode = words.take("mode");
    let flow = words.take("flow");
    SerialLine::read(path, speed, mode, flow).map_err(bad)
}

/// Reads `serial:/dev/ttyS0:115200:8N1:none`.
///
/// # Errors
/// What is wrong.
pub fn parse_serial(text: &str) -> Result<SerialLine, BadString> {
    let mut words = Words::cut(text)?;
    match words.kind.as_str() {
        "serial" => {
            let line = serial(&mut words)?;
            words.finish("serial")?;
            Ok(line)
        }
        _ => Err(bad(
            "it is no serial device; write it as serial:/dev/ttyS0:115200",
        )),
    }
}

/// A value as it stands in an endpoint string.
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, ':' | '=' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn path_of(path: Option<String>) -> Result<String, BadString> {
    let path = path.ok_or_else(|| bad("unix: has no path; write it as unix:/run/target.sock"))?;
    match path.starts_with('/') && path.len() < 108 {
        true => Ok(path),
        false => Err(bad(format!(
            "unix:{path} is no path of a socket: it begins with a slash and has at most 107 bytes"
        ))),
    }
}

fn listening_port(kind: &str, words: &mut Words, is_tls: bool) -> Result<Place, BadString> {
    let port = words.take("port").ok_or_else(|| {
        bad(format!(
            "{kind}: has no port; write it as {kind}:9000:interface=127.0.0.1"
        ))
    })?;
    let port = port_of(&port, kind).filter(|_| !port.is_empty());
    let port = port.ok_or_else(|| {
        bad(format!(
            "{kind}: needs a port from 0 to 65535 first, as {kind}:9000"
        ))
    })?;
    let tls = match is_tls {
        false => None,
        true => {
            let key = words
                .take("privateKey")
                .unwrap_or_else(|| "server.pem".to_owned());
            let certificate = words.take("certKey").unwrap_or_else(|| key.clone());
            Some((certificate, key))
        }
    };
    let interface = words.take("interface").unwrap_or_default();
    if interface.contains(['[', ']', '/', ' ']) {
        return Err(bad(format!(
            "interface={interface} is no address; write it as interface=127.0.0.1 or interface=\\:\\:1"
        )));
    }
    let interface = match kind == "tcp6" && interface.is_empty() {
        true => "::".to_owned(),
        false => interface,
    };
    Ok(Place::Port {
        interface,
        port,
        tls,
        backlog: words.number("backlog")?,
    })
}

fn port_of(text: &str, _kind: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn host(kind: &str, words: &mut Words, is_tls: bool) -> Result<Place, BadString> {
    let wrong = || {
        bad(format!(
            "{kind}: needs a host and a port from 1 to 65535, as {kind}:127.0.0.1:9000"
        ))
    };
    let host = words
        .take("host")
        .filter(|host| !host.is_empty())
        .ok_or_else(wrong)?;
    let port = words.take("port").ok_or_else(wrong)?;
    let port = port_of(&port, kind)
        .filter(|port| *port > 0)
        .ok_or_else(wrong)?;
    if host.contains(['[', ']', '/', ' ']) {
        return Err(bad(format!(
            "'{host}' is no name of a host; write an IPv6 address as {kind}:\\:\\:1:9000"
        )));
    }
    let ca = match is_tls {
        true => words.take("caFile"),
        false => None,
    };
    Ok(Place::Host {
        host,
        port,
        is_tls,
        ca,
        timeout_s: words.number("timeout")?,
    })
}

/// The values of a text that were not taken yet.
struct Words {
    kind: String,
    positional: std::collections::VecDeque<String>,
    named: Vec<(String, String)>,
}

impl Words {
    fn cut(text: &str) -> Result<Self, BadString> {
        let mut words = Self {
            kind: String::new(),
            positional: Default::default(),
            named: Vec::new(),
        };
        let (mut name, mut value) = (None, String::new());
        let mut is_first = true;
        let mut chars = text.chars();
        loop {
            let next = chars.next();
            match next {
                Some('\\') => match chars.next() {
                    Some(escaped) => value.push(escaped),
                    None => {
                        return Err(bad(
                            "it ends with a backslash, behind which something must stand",
                        ));
                    }
                },
                Some('=') if name.is_none() => name = Some(std::mem::take(&mut value)),
                Some(':') | None => {
                    let value = std::mem::take(&mut value);
                    match name.take() {
                        None if is_first => words.kind = value,
                        None => words.positional.push_back(value),
                        Some(_) if is_first => {
                            return Err(bad(
                                "it names no kind of endpoint first, as tcp: or autobahn:",
                            ));
                        }
                        Some(name) => words.add(name, value)?,
                    }
                    is_first = false;
                    if next.is_none() {
                        break;
                    }
                }
                Some(plain) => value.push(plain),
            }
        }
        // `stdio:` has an empty value behind its colon.
        if words.positional.len() == 1 && words.positional[0].is_empty() && words.named.is_empty() {
            words.positional.clear();
        }
        Ok(words)
    }

    fn add(&mut self, name: String, value: String) -> Result<(), BadString> {
        match self.named.iter().any(|(known, _)| *known == name) {
            true => Err(bad(format!("{name}= is given twice"))),
            false => {
                self.named.push((name, value));
                Ok(())
            }
        }
    }

    fn named(&mut self, name: &str) -> Option<String> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.swap_remove(at).1)
    }

    /// The value with this name, or the next one without.
    fn take(&mut self, name: &str) -> Option<String> {
        self.named(name).or_else(|| self.positional.pop_front())
    }

    fn switch(&mut self, name: &str) -> Result<Option<bool>, BadString> {
        match self.named(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(bad(format!("{name}={other} is neither true nor false"))),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u32>, BadString> {
        let Some(text) = self.named(name) else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number
            .map(Some)
            .ok_or_else(|| bad(format!("{name}={text} is no whole number")))
    }

    fn finish(&self, kind: &str) -> Result<(), BadString> {
        if let Some((name, _)) = self.named.first() {
            return Err(bad(format!("{kind}: has no {name}= here; leave it out")));
        }
        match self.positional.front() {
            None => Ok(()),
            Some(more) => Err(bad(format!(
                "{kind}: has a value too many: '{more}'; write a colon within a value as \\:"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(text: &str) -> EndpointString {
        parse_listening(text).expect(text)
    }

    fn port(text: &str) -> (String, u16) {
        match listening(text).place {
            Place::Port {
                interface, port, ..
            } => (interface, port),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn twisteds_ways_to_listen_are_read() {
        assert_eq!(port("tcp:9000"), (String::new(), 9000));
        assert_eq!(
            port("tcp:0:interface=127.0.0.1"),
            ("127.0.0.1".to_owned(), 0)
        );
        assert_eq!(
            port(r"tcp:port=9000:interface=\:\:1"),
            ("::1".to_owned(), 9000)
        );
        assert_eq!(port("tcp6:9000"), ("::".to_owned(), 9000));
        assert_eq!(listening("stdio:").place, Place::Stdio);
        assert_eq!(listening("stdio").place, Place::Stdio);
        let Place::Unix { path, mode, .. } = listening(r"unix:/run/a\:b.sock:mode=660").place
        else {
            panic!("a path");
        };
        assert_eq!((path.as_str(), mode), ("/run/a:b.sock", Some(0o660)));
        let Place::Port { tls, .. } = listening("ssl:443:privateKey=k.pem:certKey=c.pem").place
        else {
            panic!("a port");
        };
        assert_eq!(tls, Some(("c.pem".to_owned(), "k.pem".to_owned())));
    }

    #[test]
    fn autobahns_examples_are_read() {
        let server = listening(
            r"autobahn:tcp\:9000\:interface\=127.0.0.1:url=ws\://localhost\:9000:compress=false",
        );
        assert_eq!(
            server.place,
            Place::Port {
                interface: "127.0.0.1".to_owned(),
                port: 9000,
                tls: None,
                backlog: None
            }
        );
        let wrapping = server.websocket.expect("a WebSocket");
        assert_eq!(
            (wrapping.url.as_str(), wrapping.compression),
            ("ws://localhost:9000", Some(false))
        );
        let text = r"autobahn:tcp\:127.0.0.1\:9000:url=ws\://localhost\:9000:autofrag=1024:subprotocol= MQTT :debug=true:compression=true";
        let client = parse_connecting(text).expect("it is one");
        let Place::Host { host, port, .. } = client.place else {
            panic!("a host");
        };
        assert_eq!((host.as_str(), port), ("127.0.0.1", 9000));
        let wrapping = client.websocket.expect("a WebSocket");
        assert_eq!((wrapping.autofrag, wrapping.debug), (1024, true));
        assert_eq!(wrapping.subprotocol.as_deref(), Some("mqtt"));
    }

    #[test]
    fn programs_and_devices_are_read_on_either_side() {
        for parse in [parse_listening, parse_connecting] {
            let place = |text: &str| parse(text).expect(text).place;
            let words = ["/bin/sh", "-c", "a=1; echo a:b", ""].map(str::to_owned);
            let text = words.each_ref().map(|word| escape(word)).join(":");
            assert_eq!(
                place(&format!("process:{text}")),
                Place::Process(words.into())
            );
            let Place::Serial(line) = place("serial:/dev/ttyS0:9600:7E2:flow=rtscts") else {
                panic!("a device");
            };
            assert_eq!(line.to_string(), "serial:/dev/ttyS0:9600:7E2:rtscts");
            assert_eq!(parse_serial(&line.to_string()), Ok(line));
            let Place::Serial(line) = place(r"serial:/dev/serial/by-path/pci-0\:1:115200") else {
                panic!("a device");
            };
            assert_eq!(
                line.to_string(),
                r"serial:/dev/serial/by-path/pci-0\:1:115200:8N1:none"
            );
            for (text, why) in [
                ("process:", "names no program"),
                ("process", "names no program"),
                ("process:/bin/env:A=1", "has no A= here"),
                ("serial:", "names no device"),
                ("serial:ttyS0:9600", "begins with /dev/"),
                ("serial:/dev/../etc/x:9600", "begins with /dev/"),
                ("serial:/dev/ttyS0", "needs a speed"),
                ("serial:/dev/ttyS0:9601", "9601 is no speed"),
                ("serial:/dev/ttyS0:9600:9N1", "is no mode"),
                ("serial:/dev/ttyS0:9600:8N1:maybe", "is no flow control"),
                ("serial:/dev/ttyS0:9600:8N1:none:more", "a value too many"),
                (
                    r"autobahn:process\:cat:url=ws\://a",
                    "cannot be carried by process",
                ),
            ] {
                let error = parse(text).expect_err(text).to_string();
                assert!(error.contains(why), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, why) in [
            ("", "':' is no kind of endpoint"),
            ("tcp:", "tcp: has no port"),
            ("tcp:x", "needs a port from 0"),
            ("tcp:9000:interfaces=a", "has no interfaces= here"),
            ("tcp:1:2:3:4", "a value too many"),
            ("tcp:1:interface=a:interface=b", "given twice"),
            ("udp:1", "'udp:' is no kind of endpoint"),
            ("a=b:1", "no kind of endpoint first"),
            ("tcp:1\\", "ends with a backslash"),
            ("unix:a", "is no path of a socket"),
            ("autobahn:", "names no endpoint"),
            (r"autobahn:tcp\:1", "needs a url"),
            (r"autobahn:tcp\:1:url=http\://a", "neither ws:// nor wss://"),
            (
                r"autobahn:tcp\:1:url=ws\://a:compression=maybe",
                "neither true nor false",
            ),
            (
                r"autobahn:tcp\:1:url=ws\://a:autofrag=-1",
                "no whole number",
            ),
            (
                r"autobahn:stdio\::url=ws\://a",
                "cannot be carried by stdio",
            ),
            (r"autobahn:tcp:9000:url=ws\://a", "tcp: has no port"),
        ] {
            let error = parse_listening(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("stdio:", "is one stream"),
            ("tcp:9000", "needs a host and a port"),
            ("tcp:a:0", "needs a host and a port"),
            ("tcp:a b:1", "no name of a host"),
        ] {
            let error = parse_connecting(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
