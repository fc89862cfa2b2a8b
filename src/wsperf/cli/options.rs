//! The options of all scenarios, each defined once: name, field, kind of value with its range, and help. The default is the field's
//! own, as [`Run::new`] has it for a scenario.
//!
//! Owns: these definitions, and what is to be done as far as options say it. Never: judges how options go together (that is
//! `resolve`), makes a system call.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::args::Kind;
use super::asking;
use super::lists::{ADDRESSES, CPUS, NAMES, SIZES};
use crate::load::compat::uri::Uri;
use crate::load::options::{
    Address, Asking, Check, Content, Deflate, Direction, IoTier, LoadOptions, Scenario, Target,
    Verify,
};
use crate::options::Format;
use ringway_command::endpoint::{CONGESTION, HEAD_MAX, HEAD_MIN, HEADERS_MAX, HEADERS_MIN};
use ringway_command::kinds::{
    Bare, Choice, Count, DAY, Decimal, FILE, OrOff, Share, Size, Switch, Time, Unless, Words, Wrong,
};
use ringway_command::options::{self, Defined, Definition, define, under};

/// Connections of one run.
pub(super) const CONNECTIONS_MAX: u64 = 1_000_000;

/// More threads than this share no machine we know of.
const THREADS_MAX: u64 = 1024;

/// Messages per second: more than any machine passes on.
pub(super) const RATE_MAX: f64 = 1e9;

/// Bytes of a message.
pub(super) const SIZE_MAX: u64 = 64 << 20;

/// Messages of one connection under way.
const IN_FLIGHT_MAX: u64 = 65_536;

/// A soak of a month.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A window must hold messages.
pub(super) const DURATION_MIN: Duration = Duration::from_millis(10);

/// The smallest time that can be written: any at all.
const ANY: Duration = Duration::from_micros(1);

/// PID_MAX_LIMIT of the kernel.
const PID_MAX: u64 = 1 << 22;

/// A run, and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// Complete but for the address of the server when its host is a name.
    pub(super) options: LoadOptions,
    /// What `options.target` is made from.
    pub(super) server: Server,
    /// What `options.scenario` is made from.
    pub(super) own: Own,
    /// Whether `compression` is offered, which `resolve` puts into `options`.
    pub(super) deflate: bool,
    pub(super) compression: Deflate,
    /// What `options.target.asking` is made from.
    pub(super) asking: asking::Given,
    pub(super) format: Format,
    pub(super) silence: bool,
}

/// A server as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) text: String,
    pub(super) uri: Uri,
}

/// Options that mean something to some scenarios.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Own {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) count: Option<u64>,
    pub(super) batch: usize,
    pub(super) batch_delay: Duration,
    pub(super) retry_delay: Duration,
    pub(super) ping_interval: Option<Duration>,
    pub(super) senders: Senders,
    pub(super) others_only: bool,
    pub(super) idle: f64,
    pub(super) reconnects_per_second: f64,
    pub(super) resets_per_second: f64,
    pub(super) slow_readers: f64,
    pub(super) slow_bytes_per_second: u64,
    pub(super) clients: usize,
    pub(super) connects_per_second: Option<f64>,
    pub(super) publish_batch: u64,
    pub(super) topic: String,
    pub(super) topics: usize,
    pub(super) file: Option<PathBuf>,
    pub(super) speed: Option<f64>,
    pub(super) check: Check,
    pub(super) repeat: u32,
}

/// Connections that send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Senders {
    All,
    Some(usize),
}

/// What the driver offers. Its own messages are compressed once, so none of them refers to another.
pub(super) const COMPRESSION: Deflate = Deflate {
    level: 6,
    mem_level: 8,
    sends: Direction {
        takeover: false,
        window_bits: 15,
    },
    receives: Direction::FARTHEST,
    bytes_min: 1,
};

impl Run {
    /// What a scenario does when nothing was given.
    pub(super) fn new(kind: Kind) -> Self {
        let server = Server::default();
        let mut options = LoadOptions::new(server.target(Vec::new()), Scenario::Echo);
        match kind {
            Kind::Massconnect => options.connections = 10_000,
            Kind::Soak | Kind::Replay => options.duration = Duration::from_secs(3600),
            Kind::Broadcast => options.payload.sizes = vec![(64, 1.0)],
            Kind::Pubsub => {
                options.payload.sizes = vec![(64, 1.0)];
                options.rate = Some(100.0);
            }
            Kind::Mixed => {
                options.payload.sizes = vec![(20, 0.7), (1 << 10, 0.2), (16 << 10, 0.1)];
            }
            Kind::Echo | Kind::Handshake | Kind::Stress => {}
        }
        let events_per_second = if kind == Kind::Soak { 1.0 } else { 10.0 };
        Self {
            options,
            server,
            own: Own {
                low: 250,
                high: 500,
                count: None,
                batch: 500,
                batch_delay: Duration::from_millis(100),
                retry_delay: Duration::from_secs(1),
                ping_interval: None,
                senders: Senders::Some(1),
                others_only: false,
                idle: 0.9,
                reconnects_per_second: events_per_second,
                resets_per_second: events_per_second,
                slow_readers: 0.01,
                slow_bytes_per_second: 1 << 10,
                clients: 100,
                connects_per_second: None,
                publish_batch: 1,
                topic: "wsperf".to_owned(),
                topics: 1,
                file: None,
                speed: Some(1.0),
                check: Check::Exact,
                repeat: 1,
            },
            deflate: false,
            compression: COMPRESSION,
            asking: asking::Given::default(),
            format: Format::Table,
            silence: false,
        }
    }

    /// The effective options as a file that `--config` accepts.
    pub(super) fn to_toml<D: Defined<Options = Self>>(&self, kind: Kind) -> String {
        let is_open_loop = self.options.rate.is_some();
        options::show_those::<D>(self, |name| {
            kind.knows(name) && !(is_open_loop && name == "in-flight")
        })
    }
}

impl Default for Server {
    /// Where a Ringway server listens by default.
    fn default() -> Self {
        Self {
            text: "ws://127.0.0.1:9000/".to_owned(),
            uri: Uri {
                host: "127.0.0.1".to_owned(),
                port: 9000,
                resource: "/".to_owned(),
                secure: false,
                socket: None,
            },
        }
    }
}

impl Server {
    /// Where it is; a name gets the address 0.0.0.0 for the time being.
    pub(super) fn target(&self, subprotocols: Vec<String>) -> Target {
        let ip = self.uri.host.parse();
        let ip = ip.unwrap_or_else(|_| Ipv4Addr::UNSPECIFIED.into());
        let address = match &self.uri.socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(SocketAddr::new(ip, self.uri.port)),
        };
        Target {
            uri: self.text.clone(),
            addresses: vec![address],
            host: self.uri.authority(),
            resource: self.uri.resource.clone(),
            subprotocols,
            tls_name: self.uri.secure.then(|| self.uri.host.clone()),
            asking: Asking::default(),
        }
    }
}

/// The options of all scenarios, as the command line and the configuration file name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadArgs;

impl Defined for LoadArgs {
    type Options = Run;

    fn definitions() -> Vec<Definition<Run>> {
        let mut all = Vec::from(general());
        all.extend(under("Scenario", scenario()));
        all.extend(under("Opening handshake", asking::definitions()));
        all.extend(under("Messages", messages()));
        all.extend(under("Compression", compression()));
        all.extend(under("TLS, for wss:// URIs", tls()));
        all.extend(under("Connections", connections()));
        all.extend(under("Server", server()));
        all.extend(under("Result", result()));
        all
    }

    /// Where scenarios differ, help says so.
    fn defaults() -> Run {
        Run::new(Kind::Echo)
    }
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(Run: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
fn general() -> [Definition<Run>; 8] {
    [
        define("uri", field!(server), URI, "The server").positional(),
        define("connections", field!(options.connections), Count(1..=CONNECTIONS_MAX, "one run has at least 1"),
            "Connections over all threads")
            .default_said("{}; massconnect: 10000"),
        define("duration", field!(options.duration), Time(DURATION_MIN..=DURATION_MAX), "Length of the measured window")
            .default_said("{}; soak: 1h"),
        define("warmup", field!(options.warmup), Time::from(Duration::ZERO), "Run before the window and not measured"),
        define("threads", field!(options.threads), Count(1..=THREADS_MAX, "one per CPU that the server leaves free"),
            "Threads of the driver, each with a ring of its own"),
        define("cpus", field!(options.cpus), CPUS,
            "CPUs that the threads are pinned to, in turn, as 2,3 or 4-7; `none` = not pinned")
            .default_said("the last ones, one for each thread"),
        define("seed", field!(options.seed), Count(0..=u64::MAX, "any number will do"),
            "Seed of everything that is drawn: payloads, masking keys, order"),
        define("io", field!(options.io),
            Choice("TIER", &[("auto", IoTier::Auto), ("uring", IoTier::Uring), ("epoll", IoTier::Epoll)]),
            "I/O of the driver: auto, uring or epoll"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn scenario() -> [Definition<Run>; 14] {
    let marks = || Count(1..=CONNECTIONS_MAX, "opening handshakes in progress");
    [
        define("low", field!(own.low), marks(), "Opening handshakes in progress below which more are begun")
            .default_said("{}, or less with a lower --high"),
        define("high", field!(own.high), marks(), "Opening handshakes in progress at most, over all threads"),
        define("count", field!(own.count), OrOff(Count(1..=10_000_000_000, "write it as 1000, 50k or 1M")),
            "Stop after so many handshakes; 0 = when the time is over"),
        define("batch", field!(own.batch), Count(1..=CONNECTIONS_MAX, "connects begun at once"),
            "Connects begun at once"),
        define("batch-delay", field!(own.batch_delay), Time::from(Duration::ZERO), "Time between batches"),
        define("retry-delay", field!(own.retry_delay), Time::from(Duration::ZERO),
            "Time before a failed connect is tried again"),
        define("ping-interval", field!(own.ping_interval), OrOff(Time::from(ANY)),
            "Ping each held connection this often; 0 = never"),
        define("senders", field!(own.senders), SENDERS, "Connections that send: a number, or `all`"),
        define("others-only", field!(own.others_only), Switch,
            "The server sends a message to all but its sender; needs --rate"),
        define("idle", field!(own.idle), Share, "Share of connections that never send, from 0 to 1"),
        define("reconnects", field!(own.reconnects_per_second), Decimal(0.0..=RATE_MAX),
            "Connections closed and opened again, per second")
            .default_said("{}; soak: 1"),
        define("resets", field!(own.resets_per_second), Decimal(0.0..=RATE_MAX),
            "Connections reset and opened again, per second")
            .default_said("{}; soak: 1"),
        define("slow-readers", field!(own.slow_readers), Share,
            "Share of connections that read slowly, from 0 to 1"),
        define("slow-rate", field!(own.slow_bytes_per_second), Size(1..=SIZE_MAX),
            "Bytes per second that each of them reads"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn compression() -> [Definition<Run>; 4] {
    [
        define("deflate", field!(deflate), Switch,
            "Offer permessage-deflate (RFC 7692). Messages are compressed before the run, without references to each other"),
        define("deflate-level", field!(compression.level), Count(1..=9, "1 is fast, 9 is small"),
            "Effort for the driver's messages"),
        define("deflate-takeover", field!(compression.receives.takeover), Switch,
            "The server's messages may refer to those before them"),
        define("deflate-window", field!(compression.receives.window_bits), Count(9..=15, "12 bits are 4 KiB, 15 are 32 KiB"),
            "How far back they may refer: 2 to the power of so many bytes"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn tls() -> [Definition<Run>; 3] {
    [
        define("cacert", field!(options.tls.cacert), Unless(FILE),
            "Certificates, PEM, of those that may have signed the server's")
            .default_said("those that this system trusts"),
        define("insecure", field!(options.tls.insecure), Switch,
            "Take any certificate of the server"),
        define("tls-resume", field!(options.tls.resume), Switch,
            "Resume TLS sessions of earlier connections, as a browser does; otherwise every handshake is a full one"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn messages() -> [Definition<Run>; 7] {
    [
        define("rate", field!(options.rate), Unless(Decimal(0.001..=RATE_MAX)),
            "Messages per second over all connections, on a fixed schedule: an open loop. Without it each answer is followed by \
             the next message"),
        define("in-flight", field!(options.in_flight), Count(1..=IN_FLIGHT_MAX, "messages of each connection under way"),
            "Messages of a connection that wait for their answers, without --rate"),
        define("size", field!(options.payload.sizes), SIZES, "Bytes of a message, or sizes with their weights")
            .default_said("{}; broadcast: 64; mixed: 20:0.7,1KiB:0.2,16KiB:0.1"),
        define("binary", field!(options.payload.binary), Switch, "Binary messages in place of text"),
        define("payload", field!(options.payload.content),
            Choice("WHAT", &[("random", Content::Random), ("json", Content::Json)]),
            "random: bytes that do not compress; json: records as an exchange sends them"),
        define("unbatched", field!(options.unbatched), Switch,
            "A system call for each message, as from independent clients, in place of one for all that is due"),
        define("verify", field!(options.verify),
            Choice("HOW", &[("exact", Verify::Exact), ("length", Verify::Length)]),
            "What is compared of each answer: exact (every byte) or length"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn connections() -> [Definition<Run>; 7] {
    [
        define("connecting", field!(options.connecting_max), Count(1..=CONNECTIONS_MAX, "one run has at least 1"),
            "Connects and opening handshakes in progress at once"),
        define("timeout", field!(options.timeout), Time(Duration::from_millis(1)..=DAY),
            "Time for each connect, opening and closing handshake, and for the last answers"),
        define("source", field!(options.sources), ADDRESSES,
            "Local addresses, in turn: each has its own ports. One, several, or a range as 127.0.0.2-127.0.0.9; may be repeated")
            .repeated(),
        define("subprotocol", field!(options.target.subprotocols), NAMES,
            "Subprotocols to ask for, the preferred first; may be repeated")
            .repeated(),
        define("max-head", field!(options.max_head), Size(HEAD_MIN..=HEAD_MAX),
            "Longest head of a response, interim ones (1xx) before it included"),
        define("max-headers", field!(options.max_headers),
            Count(HEADERS_MIN..=HEADERS_MAX, "an answer that opens has 3 at least"),
            "Header fields of a response"),
        define("congestion", field!(options.congestion), Unless(CONGESTION),
            "Congestion control: TCP_CONGESTION, e.g. bbr")
            .default_said("the system's"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn server() -> [Definition<Run>; 2] {
    [
        define("server-pid", field!(options.server_pid), Unless(Pid),
            "The server's process, whose CPU time is measured with its children's")
            .default_said("whoever listens there, if on this machine"),
        define("server-stats", field!(options.server_stats), Unless(ADDRESS),
            "Where a Ringway server has its web pages")
            .default_said("looked for among the server's listeners"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn result() -> [Definition<Run>; 5] {
    [
        define("format", field!(format),
            Choice("FORMAT", &[("table", Format::Table), ("json", Format::Json)]),
            "How the result is printed: table, or json for one object"),
        define("json", field!(options.outputs.json), Unless(FILE),
            "Write the result to a file, as --format=json; `-` is stdout, for one of --json, --hdr and --html, and then nothing \
             else is printed there"),
        define("hdr", field!(options.outputs.hdr), Unless(FILE), "Write an interval log of HdrHistogram (V2)"),
        define("html", field!(options.outputs.html), Unless(FILE), "Write an HTML page with plots"),
        define("silence", field!(silence), Switch, "Print neither progress nor result; files are written"),
    ]
}

/// A server.
const URI: Words<Server> = Words {
    value_name: "URI",
    parse: |text| match Uri::parse(text) {
        Ok(uri) => Ok(Server {
            text: text.to_owned(),
            uri,
        }),
        Err(why) => Err(Wrong::Because(format!(
            ": {why}; give something like ws://127.0.0.1:9000/"
        ))),
    },
    show: |server| Some(server.text.clone()),
    bare: Bare::Refused,
};

/// A number of connections that send, which `resolve` compares with that of all.
const SENDERS: Words<Senders> = Words {
    value_name: "N",
    parse: |text| match text {
        "all" => Ok(Senders::All),
        _ => senders_up_to(CONNECTIONS_MAX, text).map(Senders::Some),
    },
    show: |senders| {
        Some(match senders {
            Senders::All => "all".to_owned(),
            Senders::Some(senders) => senders.to_string(),
        })
    },
    bare: Bare::Refused,
};

/// So many of `connections`.
pub(super) fn senders_up_to(connections: u64, text: &str) -> Result<usize, Wrong> {
    use ringway_command::kinds::Kind as _;
    Count(1..=connections, "or all, which is every connection").parse(text)
}

/// A process.
#[derive(Clone, Copy, Debug)]
struct Pid;

impl ringway_command::kinds::Kind<i32> for Pid {
    fn value_name(&self) -> &'static str {
        "PID"
    }

    fn parse(&self, text: &str) -> Result<i32, Wrong> {
        Count(1..=PID_MAX, "the number of a process").parse(text)
    }

    fn show(&self, pid: &i32) -> Option<String> {
        Some(pid.to_string())
    }
}

/// Where the pages are, perhaps as the server prints it: `http://127.0.0.1:8080/`.
const ADDRESS: Words<SocketAddr> = Words {
    value_name: "ADDRESS",
    parse: |text| {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.split('/').next().unwrap_or_default();
        let address = bare.parse();
        address.map_err(|_| Wrong::not("an address with a port", "write it as 127.0.0.1:8080"))
    },
    show: |address| Some(address.to_string()),
    bare: Bare::Refused,
};
