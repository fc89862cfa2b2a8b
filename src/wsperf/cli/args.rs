//! What can be typed behind `ringway wsperf`.
//!
//! Owns: names, help, and which options take a value. Never: judges a value (that is `resolve`).
//!
//! All scenarios share one definition per option; a scenario hides and refuses those that mean nothing to it
//! ([`Kind::knows`]).

use std::path::PathBuf;

use clap::{Args, Command, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use ringway_command::Text;

/// `wsperf …`: the same without `ringway`.
#[derive(Debug, Parser)]
#[command(name = "wsperf", version, about = ABOUT, max_term_width = 80, before_help = EXAMPLE, after_help = super::ALL_CODES)]
pub struct StandaloneArgs {
    #[command(flatten)]
    /// The task and its options.
    pub wsperf: WsperfArgs,
}

pub(crate) const ABOUT: &str = "Load a WebSocket server and measure it";

/// What `--help` begins with.
pub const EXAMPLE: &str = "\
Example:
  wsperf echo ws://127.0.0.1:9000 --connections 1000 --duration 10s
  wsperf echo ws://127.0.0.1:9000 --rate 50k --html report.html
  ringway wsperf handshake --low 250 --high 500
  ringway wsperf mixed --size 20:0.7,1KiB:0.2,16KiB:0.1 --format json

Durations: 250ms, 10s, 1m; a bare number is seconds.
Sizes: 1000, 5k, 64KiB, 16MiB.";

/// A scenario, or another task.
#[derive(Args, Debug)]
pub struct WsperfArgs {
    #[command(subcommand)]
    pub(super) task: Task,
}

/// What `wsperf` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Messages that come back: throughput and latency
    Echo(Box<RunArgs>),
    /// Opening and closing handshakes, nothing between them
    Handshake(Box<RunArgs>),
    /// Many connections, opened in batches and held
    Massconnect(Box<RunArgs>),
    /// Messages that the server passes to all connections
    Broadcast(Box<RunArgs>),
    /// Echo in several sizes, while most connections are idle
    Mixed(Box<RunArgs>),
    /// Echo with peers that misbehave
    Stress(Box<RunArgs>),
    /// The same for hours
    Soak(Box<RunArgs>),
    /// Look for the highest rate, or number of connections, at which a bound
    /// still holds
    #[command(max_term_width = 80, before_help = super::sweep::EXAMPLE, after_help = super::HELP_CODES)]
    Sweep(Box<super::sweep::SweepArgs>),
    /// Say what changed between two results, and whether it is more than noise
    #[command(max_term_width = 80, before_help = super::compare::EXAMPLE, after_help = super::compare::CODES)]
    Compare(super::compare::CompareArgs),
    /// Serve the original's control protocol, and a page that drives it
    #[command(max_term_width = 80, before_help = super::compat::SERVE, after_help = super::compat::SERVE_CODES)]
    Serve(Box<super::compat::ServeArgs>),
    /// Report over result files of the standalone form, the original's or
    /// this program's
    #[command(max_term_width = 80, before_help = super::compat::AGGREGATE, after_help = super::compat::AGGREGATE_CODES)]
    Aggregate(super::compat::AggregateArgs),
    /// URI THREADS CONNS LOW HIGH RESULT.json: open and close WebSockets, as
    /// the original did
    #[command(external_subcommand)]
    Standalone(Vec<String>),
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Handshake,
    Massconnect,
    Broadcast,
    Mixed,
    Stress,
    Soak,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Echo,
        Self::Handshake,
        Self::Massconnect,
        Self::Broadcast,
        Self::Mixed,
        Self::Stress,
        Self::Soak,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Handshake => "handshake",
            Self::Massconnect => "massconnect",
            Self::Broadcast => "broadcast",
            Self::Mixed => "mixed",
            Self::Stress => "stress",
            Self::Soak => "soak",
        }
    }

    /// Whether an option means something to it.
    pub(super) fn knows(self, option: &str) -> bool {
        let sends = !matches!(self, Self::Handshake | Self::Massconnect);
        match option {
            "connections" | "connecting" => self != Self::Handshake,
            "rate" | "in-flight" | "size" | "binary" | "unbatched" => sends,
            "verify" => sends && self != Self::Broadcast,
            "low" | "high" | "count" => self == Self::Handshake,
            "batch" | "batch-delay" | "retry-delay" | "ping-interval" => self == Self::Massconnect,
            "senders" | "others-only" => self == Self::Broadcast,
            "idle" => self == Self::Mixed,
            "reconnects" | "resets" | "slow-readers" | "slow-rate" => {
                matches!(self, Self::Stress | Self::Soak)
            }
            _ => true,
        }
    }
}

/// Hides from the help of each scenario what means nothing to it. `wsperf` is the command that has the scenarios.
pub fn tailor(wsperf: Command) -> Command {
    Kind::ALL.into_iter().fold(wsperf, |wsperf, kind| {
        wsperf.mut_subcommand(kind.name(), |scenario| {
            scenario
                .max_term_width(80)
                .before_help(example(kind))
                .after_help(super::HELP_CODES)
                .mut_args(|arg| {
                    let is_known = arg.get_long().is_none_or(|name| kind.knows(name));
                    arg.hide(!is_known)
                })
        })
    })
}

fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Echo => {
            "Example:\n  wsperf echo --connections 1000\n  wsperf echo ws://[::1]:9000/ --rate 50k --size 1KiB"
        }
        Kind::Handshake => "Example:\n  wsperf handshake ws://127.0.0.1:9000 --low 250 --high 500",
        Kind::Massconnect => {
            "Example:\n  wsperf massconnect --connections 100k --source 127.0.0.2-127.0.0.9"
        }
        Kind::Broadcast => {
            "Example:\n  wsperf broadcast ws://127.0.0.1:9000 --connections 1000 --rate 100"
        }
        Kind::Mixed => "Example:\n  wsperf mixed --connections 10k --idle 0.99 --rate 20k",
        Kind::Stress => {
            "Example:\n  wsperf stress --reconnects 100 --resets 50 --slow-readers 0.05"
        }
        Kind::Soak => "Example:\n  wsperf soak --duration 8h --json soak.json --html soak.html",
    }
}

/// Options of a scenario, and those of the process.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) process: ProcessArgs,
}

/// Options that have no place in a configuration file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct ProcessArgs {
    /// Read options from a TOML file, same names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective options as TOML that --config accepts, and exit
    #[arg(long)]
    pub(super) print_config: bool,
}

/// Values that may be given several times: the same as once with commas between.
mod list {
    use serde::{Deserialize, Deserializer, Serializer};

    use ringway_command::Text;

    pub(super) fn serialize<S: Serializer>(
        list: &[Text],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::parts(list).collect::<Vec<_>>().join(","))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Text>, D::Error> {
        Text::deserialize(from).map(|text| vec![text])
    }
}

/// Each part that stands between commas.
pub(super) fn parts(list: &[Text]) -> impl Iterator<Item = &str> {
    let texts = list.iter();
    texts.flat_map(|Text(text)| text.split(',')).map(str::trim)
}

/// Options of all scenarios, as the command line and the configuration file name them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct LoadArgs {
    /// The server [default: ws://127.0.0.1:9000/]
    #[arg(value_name = "URI")]
    pub(super) uri: Option<Text>,
    /// Connections over all threads [default: 100; massconnect: 10000]
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<Text>,
    /// Length of the measured window [default: 10s; soak: 1h]
    #[arg(long, value_name = "TIME")]
    pub(super) duration: Option<Text>,
    /// Run before the window and not measured [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub(super) warmup: Option<Text>,
    /// Threads of the driver, each with a ring of its own [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<Text>,
    /// CPUs that the threads are pinned to, in turn, as 2,3 or 4-7; `none` =
    /// not pinned [default: the last ones, one for each thread]
    #[arg(long, value_name = "LIST")]
    pub(super) cpus: Option<Text>,
    /// Seed of everything that is drawn: payloads, masking keys, order
    /// [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<Text>,
    /// I/O of the driver: auto, uring or epoll [default: auto]
    #[arg(long, value_name = "TIER")]
    pub(super) io: Option<Text>,

    /// Opening handshakes in progress below which more are begun
    /// [default: 250, or less with a lower --high]
    #[arg(long, value_name = "N", help_heading = SCENARIO)]
    pub(super) low: Option<Text>,
    /// Opening handshakes in progress at most, over all threads
    /// [default: 500]
    #[arg(long, value_name = "N", help_heading = SCENARIO)]
    pub(super) high: Option<Text>,
    /// Stop after so many handshakes; 0 = when the time is over [default: 0]
    #[arg(long, value_name = "N", help_heading = SCENARIO)]
    pub(super) count: Option<Text>,
    /// Connects begun at once [default: 500]
    #[arg(long, value_name = "N", help_heading = SCENARIO)]
    pub(super) batch: Option<Text>,
    /// Time between batches [default: 100ms]
    #[arg(long, value_name = "TIME", help_heading = SCENARIO)]
    pub(super) batch_delay: Option<Text>,
    /// Time before a failed connect is tried again [default: 1s]
    #[arg(long, value_name = "TIME", help_heading = SCENARIO)]
    pub(super) retry_delay: Option<Text>,
    /// Ping each held connection this often; 0 = never [default: 0]
    #[arg(long, value_name = "TIME", help_heading = SCENARIO)]
    pub(super) ping_interval: Option<Text>,
    /// Connections that send: a number, or `all` [default: 1]
    #[arg(long, value_name = "N", help_heading = SCENARIO)]
    pub(super) senders: Option<Text>,
    /// The server sends a message to all but its sender; needs --rate
    /// [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = SCENARIO)]
    pub(super) others_only: Option<Text>,
    /// Share of connections that never send, from 0 to 1 [default: 0.9]
    #[arg(long, value_name = "SHARE", help_heading = SCENARIO)]
    pub(super) idle: Option<Text>,
    /// Connections closed and opened again, per second
    /// [default: 10; soak: 1]
    #[arg(long, value_name = "RATE", help_heading = SCENARIO)]
    pub(super) reconnects: Option<Text>,
    /// Connections reset and opened again, per second [default: 10; soak: 1]
    #[arg(long, value_name = "RATE", help_heading = SCENARIO)]
    pub(super) resets: Option<Text>,
    /// Share of connections that read slowly, from 0 to 1 [default: 0.01]
    #[arg(long, value_name = "SHARE", help_heading = SCENARIO)]
    pub(super) slow_readers: Option<Text>,
    /// Bytes per second that each of them reads [default: 1KiB]
    #[arg(long, value_name = "SIZE", help_heading = SCENARIO)]
    pub(super) slow_rate: Option<Text>,

    /// Messages per second over all connections, on a fixed schedule: an open
    /// loop. Without it each answer is followed by the next message
    #[arg(long, value_name = "RATE", help_heading = MESSAGES)]
    pub(super) rate: Option<Text>,
    /// Messages of a connection that wait for their answers, without --rate
    /// [default: 1]
    #[arg(long, value_name = "N", help_heading = MESSAGES)]
    pub(super) in_flight: Option<Text>,
    /// Bytes of a message, or sizes with their weights
    /// [default: 20; broadcast: 64; mixed: 20:0.7,1KiB:0.2,16KiB:0.1]
    #[arg(long, value_name = "SIZE", help_heading = MESSAGES)]
    pub(super) size: Option<Text>,
    /// Binary messages in place of text
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = MESSAGES)]
    pub(super) binary: Option<Text>,
    /// A system call for each message, as from independent clients, in place
    /// of one for all that is due [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = MESSAGES)]
    pub(super) unbatched: Option<Text>,
    /// What is compared of each answer: exact (every byte) or length
    /// [default: exact]
    #[arg(long, value_name = "HOW", help_heading = MESSAGES)]
    pub(super) verify: Option<Text>,

    /// Connects and opening handshakes in progress at once [default: 256]
    #[arg(long, value_name = "N", help_heading = CONNECTIONS)]
    pub(super) connecting: Option<Text>,
    /// Time for each connect, opening and closing handshake, and for the last
    /// answers [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = CONNECTIONS)]
    pub(super) timeout: Option<Text>,
    /// Local addresses, in turn: each has its own ports. One, several, or a
    /// range as 127.0.0.2-127.0.0.9; may be repeated
    #[arg(long, value_name = "LIST", help_heading = CONNECTIONS)]
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "list")]
    pub(super) source: Vec<Text>,
    /// Subprotocols to ask for, the preferred first; may be repeated
    #[arg(long, value_name = "LIST", help_heading = CONNECTIONS)]
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "list")]
    pub(super) subprotocol: Vec<Text>,
    /// Longest head of a response, interim ones (1xx) before it included
    /// [default: 64KiB]
    #[arg(long, value_name = "SIZE", help_heading = CONNECTIONS)]
    pub(super) max_head: Option<Text>,
    /// Header fields of a response [default: 256]
    #[arg(long, value_name = "N", help_heading = CONNECTIONS)]
    pub(super) max_headers: Option<Text>,
    /// Congestion control: TCP_CONGESTION, e.g. bbr [default: the system's]
    #[arg(long, value_name = "NAME", help_heading = CONNECTIONS)]
    pub(super) congestion: Option<Text>,

    /// The server's process, whose CPU time is measured with its children's
    /// [default: whoever listens there, if on this machine]
    #[arg(long, value_name = "PID", help_heading = SERVER)]
    pub(super) server_pid: Option<Text>,
    /// Where a Ringway server has its web pages
    /// [default: looked for among the server's listeners]
    #[arg(long, value_name = "ADDRESS", help_heading = SERVER)]
    pub(super) server_stats: Option<Text>,

    /// How the result is printed: table, or json for one object
    /// [default: table]
    #[arg(long, value_name = "FORMAT", help_heading = RESULT)]
    pub(super) format: Option<Text>,
    /// Write the result to a file, as --format=json; `-` is stdout, for one
    /// of --json, --hdr and --html, and then nothing else is printed there
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(super) json: Option<Text>,
    /// Write an interval log of HdrHistogram (V2)
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(super) hdr: Option<Text>,
    /// Write an HTML page with plots
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(super) html: Option<Text>,
    /// Print neither progress nor result; files are written
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = RESULT)]
    pub(super) silence: Option<Text>,
}

const SCENARIO: &str = "Scenario";
const MESSAGES: &str = "Messages";
const CONNECTIONS: &str = "Connections";
const SERVER: &str = "Server";
const RESULT: &str = "Result";
