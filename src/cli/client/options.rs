//! The options of `ringway client`.
//!
//! Owns: their definitions, the texts of their values, and how they go together. Never: opens a file or looks a name up.

use std::path::PathBuf;
use std::time::Duration;

use ringway::proto::deflate::{Deflate, Direction};
use ringway::services::gateway::Place;
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{
    Bare, Choice, Count, FILE, OrOff, Size, Switch, Time, Unless, Words, Wrong,
};
use ringway_command::options::{Defined, Definition, Given, define, show_those, under};
use ringway_command::values;
use wsperf::load::compat::uri::Uri;
use wsperf::load::options::is_field_value;

use super::show::{BinaryForm, Color};
use crate::forward::USER;
use crate::gateway::{NAMES, TARGET};
use crate::opening::HEADERS;

/// Bytes of a message that `--max-message` may allow: it is held in memory.
const MESSAGE_BYTES_MAX: u64 = 1 << 30;

/// How the standard input becomes messages, and messages the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Messages {
    Lines,
    Chunks,
    Whole,
}

/// How what comes back is compared with a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    None,
    Count,
    Exact,
}

/// Everything that `ringway client` can be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientOptions {
    pub(super) url: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) to_address: Option<Place>,
    pub(super) proxy: Option<String>,
    pub(super) redirects: Option<u32>,
    pub(super) show_handshake: bool,
    pub(super) headers: Vec<(String, String)>,
    pub(super) basic_auth: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) subprotocols: Vec<String>,
    pub(super) cacert: Option<PathBuf>,
    pub(super) insecure: bool,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) deflate: bool,
    pub(super) compression: Deflate,
    pub(super) connect_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) ping_interval: Option<Duration>,
    pub(super) ping_timeout: Duration,
    pub(super) max_message: u64,
    pub(super) interactive: bool,
    pub(super) pipe: bool,
    pub(super) messages: Messages,
    /// Whether what is sent is text; `None`: as `messages` says.
    pub(super) send_text: Option<bool>,
    /// `None`: until the server closes.
    pub(super) linger: Option<Duration>,
    pub(super) count: Option<u64>,
    pub(super) lasts: Option<Duration>,
    pub(super) binary: Option<BinaryForm>,
    pub(super) json: bool,
    pub(super) times: bool,
    pub(super) color: Color,
    pub(super) history: Option<PathBuf>,
    pub(super) execute: Option<String>,
    pub(super) script: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) record: Option<PathBuf>,
    pub(super) replay: Option<PathBuf>,
    pub(super) speed: f64,
    pub(super) check: Check,
}

/// The options of `ringway client`, as [`Given`] reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientArgs;

impl Defined for ClientArgs {
    type Options = ClientOptions;

    fn definitions() -> Vec<Definition<ClientOptions>> {
        let mut all = Vec::from(place());
        all.extend(under("Opening handshake", opening()));
        all.extend(under("Compression", compression()));
        all.extend(under("Limits", limits()));
        all.extend(under("Input and output", manner()));
        all.extend(under("Scripts and recordings", scripts()));
        all
    }

    fn defaults() -> ClientOptions {
        ClientOptions {
            url: None,
            listen: None,
            to_address: None,
            proxy: None,
            redirects: Some(5),
            show_handshake: false,
            headers: Vec::new(),
            basic_auth: None,
            origin: None,
            subprotocols: Vec::new(),
            cacert: None,
            insecure: false,
            cert: None,
            key: None,
            deflate: false,
            // What a browser offers: takeover, and the largest windows.
            compression: Deflate {
                sends: Direction::FARTHEST,
                receives: Direction::FARTHEST,
                ..Deflate::default()
            },
            connect_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
            max_message: 16 << 20,
            interactive: false,
            pipe: false,
            messages: Messages::Lines,
            send_text: None,
            linger: Some(Duration::from_secs(1)),
            count: None,
            lasts: None,
            binary: None,
            json: false,
            times: false,
            color: Color::Auto,
            history: None,
            execute: None,
            script: None,
            timeout: Duration::from_secs(10),
            record: None,
            replay: None,
            speed: 1.0,
            check: Check::None,
        }
    }
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ClientOptions: $($name).+) };
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[rustfmt::skip] // one option per block, help last
fn place() -> [Definition<ClientOptions>; 6] {
    [
        define("url", field!(url), Unless(URL), "The server: ws://host/path, wss://, or ws+unix:/socket").positional(),
        define("listen", field!(listen), Unless(LISTEN),
            "Be a server at this port or host:port, in place of a URL, for one client at a time"),
        define("to-address", field!(to_address), Unless(TARGET),
            "The place to connect to, in place of the URL's host and port: host:port or unix:/path"),
        define("proxy", field!(proxy), Unless(VALUE),
            "An HTTP proxy to go through (CONNECT), as http://127.0.0.1:3128 or http://user:password@proxy:3128"),
        define("redirects", field!(redirects), OrOff(Count(1..=20, "a browser follows 20")),
            "Redirects to follow, with no credentials for another host"),
        define("show-handshake", field!(show_handshake), Switch,
            "Show heads, TLS and what was agreed on, on stderr; later also Pings. -v is the same"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn opening() -> [Definition<ClientOptions>; 8] {
    [
        define("header", field!(headers), HEADERS,
            "A header of the request, as 'Authorization: Bearer x'. May be given several times; in a file, one per line")
            .repeated_lines(),
        define("basic-auth", field!(basic_auth), Unless(USER), "User and password (Basic, RFC 7617)"),
        define("origin", field!(origin), Unless(VALUE), "The Origin, as of a browser's page"),
        define("subprotocol", field!(subprotocols), NAMES, "Subprotocols to offer, the one liked best first; with --listen to accept"),
        define("cacert", field!(cacert), Unless(FILE), "Certificates, PEM, of those that may have signed the server's")
            .default_said("those that this system trusts"),
        define("insecure", field!(insecure), Switch, "Take any certificate of the server"),
        define("cert", field!(cert), Unless(FILE), "A certificate of one's own to show, PEM; with --listen the server's"),
        define("key", field!(key), Unless(FILE), "Its private key, PEM; not encrypted"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn compression() -> [Definition<ClientOptions>; 4] {
    [
        define("deflate", field!(deflate), Switch, "Offer permessage-deflate (RFC 7692); with --listen accept it"),
        define("deflate-level", field!(compression.level), Count(1..=9, "1 is fast, 9 is small"), "Effort for what is sent"),
        define("deflate-takeover", field!(compression.receives.takeover), Switch, "Messages of the peer may refer to those before them"),
        define("deflate-window", field!(compression.receives.window_bits), Count(9..=15, "12 bits are 4 KiB, 15 are 32 KiB"),
            "How far back they may refer: 2 to the power of so many bytes"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn limits() -> [Definition<ClientOptions>; 5] {
    [
        define("connect-timeout", field!(connect_timeout), Time::from(MILLISECOND), "Time for names, addresses, TLS, redirects and handshake"),
        define("close-timeout", field!(close_timeout), Time::from(MILLISECOND), "Time for the closing handshake"),
        define("ping-interval", field!(ping_interval), OrOff(Time::from(MILLISECOND)), "Send a Ping after so much silence"),
        define("ping-timeout", field!(ping_timeout), Time::from(MILLISECOND), "Give up a peer that stays silent for so long after that Ping"),
        define("max-message", field!(max_message), Size(1..=MESSAGE_BYTES_MAX), "Longest message, line or file, either way"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn manner() -> [Definition<ClientOptions>; 12] {
    [
        define("interactive", field!(interactive), Switch, "Edit lines on a terminal; the default if stdin and stdout are one"),
        define("pipe", field!(pipe), Switch, "Pass stdin and stdout on; the default otherwise"),
        define("messages", field!(messages),
            Choice("HOW", &[("lines", Messages::Lines), ("chunks", Messages::Chunks), ("whole", Messages::Whole)]),
            "In a pipe a message is a line, what one read brings, or all of stdin"),
        define("send-as", field!(send_text), Unless(Choice("KIND", &[("text", true), ("binary", false)])),
            "Kind of the messages of a pipe")
            .default_said("text, and binary for chunks"),
        define("linger", field!(linger), LINGER, "In a pipe, after the end of stdin: close after so much silence; 0 at once, forever = the server closes"),
        define("count", field!(count), OrOff(Count(1..=u64::MAX, "write it as 10 or 1k")), "Close after so many messages have come"),
        define("for", field!(lasts), OrOff(Time::from(MILLISECOND)), "Close after this time"),
        define("binary", field!(binary), Unless(Choice("FORM", &[("hex", BinaryForm::Hex), ("base64", BinaryForm::Base64), ("raw", BinaryForm::Raw)])),
            "How binary messages are shown; chunks and whole are raw")
            .default_said("hex"),
        define("json", field!(json), Switch, "Indent text messages that are JSON"),
        define("times", field!(times), Switch, "Say when each message came (UTC)"),
        define("color", field!(color), Choice("WHEN", &[("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)]),
            "Colours; auto: on a terminal, unless NO_COLOR is set"),
        define("history", field!(history), Unless(FILE), "Where typed lines are kept; 'none' keeps them nowhere")
            .default_said("ringway/client-history in $XDG_STATE_HOME or ~/.local/state"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn scripts() -> [Definition<ClientOptions>; 7] {
    [
        define("execute", field!(execute), Unless(SCRIPT), "A line as it would be typed, or several; also /wait, /expect, /expect-close, /sleep. May be given several times")
            .repeated_lines(),
        define("script", field!(script), Unless(FILE), "A file with such lines"),
        define("timeout", field!(timeout), Time::from(MILLISECOND), "How long /wait, /expect, /expect-close and --check wait"),
        define("record", field!(record), Unless(FILE), "Write all messages with their times to a file"),
        define("replay", field!(replay), Unless(FILE), "Send what was sent in a recording, at its times"),
        define("speed", field!(speed), SPEED, "How fast: 2x takes half the time"),
        define("check", field!(check), Choice("HOW", &[("none", Check::None), ("count", Check::Count), ("exact", Check::Exact)]),
            "Compare what comes back with the recording"),
    ]
}

const URL: Words<String> = Words {
    value_name: "URL",
    parse: |text| {
        // The library reads users and passwords, which Unix sockets have not.
        let is_unix = text.starts_with("ws+unix:");
        match is_unix.then(|| Uri::parse(text)) {
            Some(Err(why)) => Err(Wrong::Because(format!(": {why}"))),
            None if !text.contains("://") => {
                Err(Wrong::not("a URL", "write it as ws://host:port/path"))
            }
            _ => Ok(text.to_owned()),
        }
    },
    show: |text| Some(text.clone()),
    bare: Bare::Refused,
};

const LISTEN: Words<String> = Words {
    value_name: "ADDRESS",
    parse: |text| {
        let place = match text.parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => text.to_owned(),
        };
        let port = place.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(place),
            _ => Err(Wrong::not(
                "a place to listen",
                "write it as 9000, or as 0.0.0.0:9000",
            )),
        }
    },
    show: |text| Some(text.clone()),
    bare: Bare::Refused,
};

/// A header value.
const VALUE: Words<String> = Words {
    value_name: "VALUE",
    parse: |text| match is_field_value(text.as_bytes()) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(Wrong::not(
            "a header value",
            "leave out control characters and white space at its ends",
        )),
    },
    show: |value| Some(value.clone()),
    bare: Bare::Refused,
};

const SCRIPT: Words<String> = Words {
    value_name: "LINE",
    parse: |text| Ok(text.to_owned()),
    show: |text| Some(text.clone()),
    bare: Bare::Refused,
};

const LINGER: Words<Option<Duration>> = Words {
    value_name: "TIME",
    parse: |text| match (text, values::duration(text)) {
        ("forever", _) => Ok(None),
        (_, Some(time)) => Ok(Some(time)),
        (_, None) => Err(Wrong::not(
            "a time or forever",
            "write it as 250ms, 10s or forever",
        )),
    },
    show: |linger| Some(linger.map_or_else(|| "forever".to_owned(), values::show_duration)),
    bare: Bare::Refused,
};

const SPEED: Words<f64> = Words {
    value_name: "FACTOR",
    parse: |text| {
        let factor = text.strip_suffix('x').unwrap_or(text).parse().ok();
        let factor = factor.filter(|factor| (0.001..=1e6).contains(factor));
        factor
            .ok_or_else(|| Wrong::not("a factor from 0.001x to 1000000x", "write it as 2x or 0.5x"))
    },
    show: |factor| Some(format!("{factor}x")),
    bare: Bare::Refused,
};

/// The options, and what does not go together refused.
pub(super) fn resolve(given: &Given<ClientArgs>) -> Resolved<ClientOptions> {
    let mut options = ClientArgs::defaults();
    given.apply(&mut options)?;
    if let Some((_, sentence)) = conflicts(&options).iter().find(|(is_so, _)| *is_so) {
        return Err(BadOption((*sentence).to_owned()));
    }
    for (names, has_effect, remedy) in effects(&options) {
        if let Some(name) = names.iter().find(|name| given.has(name) && !has_effect) {
            return Err(BadOption(format!("--{name} has no effect here: {remedy}")));
        }
    }
    Ok(options)
}

/// The options as a file that `--config` accepts.
pub(super) fn to_toml(options: &ClientOptions) -> String {
    let effects = effects(options);
    let idle = effects.iter().filter(|(_, has_effect, _)| !has_effect);
    show_those::<ClientArgs>(options, |name| {
        !idle.clone().any(|(names, ..)| names.contains(&name))
    })
}

impl ClientOptions {
    /// Whether a script says what is sent.
    pub(super) const fn is_script(&self) -> bool {
        self.execute.is_some() || self.script.is_some()
    }

    fn begins(&self, scheme: &str) -> bool {
        let begins = |url: &str| {
            url.get(..scheme.len())
                .is_some_and(|text| text.eq_ignore_ascii_case(scheme))
        };
        self.url.as_deref().is_some_and(begins)
    }
}

/// What excludes each other, with its sentence.
#[rustfmt::skip] // one conflict per block
fn conflicts(options: &ClientOptions) -> [(bool, &'static str); 9] {
    let (has_url, listens, replays) = (options.url.is_some(), options.listen.is_some(), options.replay.is_some());
    let to_unix = matches!(options.to_address, Some(Place::Unix(_)));
    [
        (!has_url && !listens, "what to connect to is missing: give a URL, as ws://127.0.0.1:9000, or --listen"),
        (has_url && listens, "--listen is for a server, which needs no URL: leave one of them off"),
        (options.interactive && options.pipe, "--interactive and --pipe exclude each other: leave one of them off"),
        (options.execute.is_some() && options.script.is_some(), "--execute and --script exclude each other: leave one of them off"),
        ((options.is_script() || replays) && (options.interactive || options.pipe) || options.is_script() && replays,
            "--execute or --script, --replay, --interactive and --pipe each say who sends: give one of them"),
        (replays && listens, "--replay sends what a client sent: give a URL in place of --listen"),
        (options.to_address.is_some() && options.proxy.is_some(), "--to-address and --proxy exclude each other: leave one of them off"),
        (to_unix && options.begins("wss:"), "--to-address: TLS goes over TCP only; give a ws:// URL"),
        (options.cert.is_some() != options.key.is_some(), "--cert and --key go together: give both"),
    ]
}

/// Which options have an effect, and what to do if they have none.
#[rustfmt::skip] // one group per block
fn effects(options: &ClientOptions) -> [(&'static [&'static str], bool, &'static str); 10] {
    let (listens, secure) = (options.listen.is_some(), options.begins("wss:"));
    let to_unix = options.begins("ws+unix:") || matches!(options.to_address, Some(Place::Unix(_)));
    let is_pipe = !options.interactive && !options.is_script() && options.replay.is_none();
    [
        (&["proxy", "redirects", "to-address", "header", "basic-auth", "origin", "cacert", "insecure"], !listens,
            "it is for a client; leave it off with --listen"),
        (&["to-address"], !options.begins("ws+unix:"), "a Unix socket leads to one place; leave it off"),
        (&["proxy", "redirects"], !to_unix, "a Unix socket leads to one place; leave it off"),
        (&["cacert", "insecure"], secure, "it is for TLS; give a wss:// URL, or leave it off"),
        (&["cert", "key"], secure || listens, "it is for TLS; give a wss:// URL or --listen"),
        (&["deflate-level", "deflate-takeover", "deflate-window"], options.deflate, "give --deflate too, or leave it off"),
        (&["ping-timeout"], options.ping_interval.is_some(), "give --ping-interval too, or leave it off"),
        (&["messages", "send-as", "linger"], is_pipe, "it is for a pipe; leave it off"),
        (&["binary"], options.messages == Messages::Lines, "chunks and whole are raw; leave it off"),
        (&["speed", "check"], options.replay.is_some(), "give --replay too, or leave it off"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_means_the_same() {
        let replay = "url = 'wss://h/p'\nheader = \"A: 1\\nB: 2\"\nspeed = '2x'\nreplay = 'r'\ncheck = 'exact'\ndeflate = true\n\
                      deflate-level = 3\nsubprotocol = 'a,b'\ntimes = true\nredirects = 0\nto-address = 'h:1'\n";
        let pipe = "url = 'ws://h/p'\nlinger = 'forever'\nmessages = 'whole'\n";
        for (text, shows) in [(replay, "speed = \"2x\""), (pipe, "linger = \"forever\"")] {
            let given = Given::<ClientArgs>::parse_file(text, "client.toml").expect("TOML");
            let options = resolve(&given).expect("options");
            let shown = to_toml(&options);
            assert!(shown.contains(shows), "{shown}");
            let given = Given::<ClientArgs>::parse_file(&shown, "client.toml").expect("TOML");
            assert_eq!(resolve(&given).expect("options"), options, "{shown}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (texts, why) in [
            (&[][..], "give a URL"),
            (
                &[("url", "ws://h"), ("listen", "1")],
                "leave one of them off",
            ),
            (
                &[("url", "ws://h"), ("cacert", "x")],
                "--cacert has no effect",
            ),
            (&[("url", "wss://h"), ("cert", "x")], "go together"),
            (&[("url", "ws+unix:/s"), ("proxy", "http://p")], "--proxy"),
            (&[("url", "ws://h"), ("speed", "2x")], "--replay"),
            (
                &[("url", "ws://h"), ("deflate-level", "2")],
                "--deflate too",
            ),
            (&[("url", "h:1")], "ws://host:port/path"),
            (&[("listen", "x")], "0.0.0.0:9000"),
        ] {
            let bad = resolve(&Given::typed(texts)).expect_err("refused").0;
            assert!(bad.contains(why), "{texts:?}: {bad}");
        }
    }
}
