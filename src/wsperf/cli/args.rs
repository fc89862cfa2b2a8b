//! What can be typed behind `ringway wsperf`: the tasks. The options of scenarios are in `options`.
//!
//! Owns: the tasks, and which options mean something to which scenario ([`Kind::knows`]): the others are hidden and refused.
//! Never: judges a value (that is `resolve`).

use std::path::PathBuf;

use clap::{Args, Command, Parser, Subcommand};

use super::options::{LoadArgs, Run};
use super::pubsub::PubsubArgs;
use super::replay::ReplayArgs;
use ringway_command::options::{Defined, Given};

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
    /// Clients of a server's topics: one connection publishes, all others count
    Pubsub(Box<RunArgs<PubsubArgs>>),
    /// Echo in several sizes, while most connections are idle
    Mixed(Box<RunArgs>),
    /// Echo with peers that misbehave
    Stress(Box<RunArgs>),
    /// The same for hours
    Soak(Box<RunArgs>),
    /// A recorded session, played by every connection
    Replay(Box<RunArgs<ReplayArgs>>),
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
    Pubsub,
    Mixed,
    Stress,
    Soak,
    Replay,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Echo,
        Self::Handshake,
        Self::Massconnect,
        Self::Broadcast,
        Self::Pubsub,
        Self::Mixed,
        Self::Stress,
        Self::Soak,
        Self::Replay,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Handshake => "handshake",
            Self::Massconnect => "massconnect",
            Self::Broadcast => "broadcast",
            Self::Pubsub => "pubsub",
            Self::Mixed => "mixed",
            Self::Stress => "stress",
            Self::Soak => "soak",
            Self::Replay => "replay",
        }
    }

    /// Whether an option means something to it.
    pub(super) fn knows(self, option: &str) -> bool {
        if self == Self::Pubsub && super::pubsub::is_own(option) {
            return true;
        }
        if self == Self::Replay && super::replay::is_own(option) {
            return true;
        }
        let sends = !matches!(
            self,
            Self::Handshake | Self::Massconnect | Self::Pubsub | Self::Replay
        );
        match option {
            "connections" if self == Self::Pubsub => false,
            "connections" | "connecting" => self != Self::Handshake,
            "rate" | "in-flight" | "size" | "binary" | "unbatched" => sends,
            "deflate-level" => sends || matches!(self, Self::Pubsub | Self::Replay),
            "warmup" => self != Self::Replay,
            "verify" | "payload" => sends && self != Self::Broadcast,
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
            let codes = match kind {
                Kind::Broadcast | Kind::Pubsub => super::FANOUT_CODES,
                Kind::Replay => super::REPLAY_CODES,
                _ => super::HELP_CODES,
            };
            scenario
                .max_term_width(80)
                .before_help(example(kind))
                .after_help(codes)
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
        Kind::Pubsub => {
            "Example:\n  wsperf pubsub ws://127.0.0.1:9000 --clients 1000 --uprate 100 --topics 10"
        }
        Kind::Mixed => "Example:\n  wsperf mixed --connections 10k --idle 0.99 --rate 20k",
        Kind::Stress => {
            "Example:\n  wsperf stress --reconnects 100 --resets 50 --slow-readers 0.05"
        }
        Kind::Replay => {
            "Example:\n  wsperf replay session.1 ws://127.0.0.1:9000 --connections 100\n  wsperf replay session.1 ws://[::1]:6080/ --speed max --check none --repeat 10"
        }
        Kind::Soak => "Example:\n  wsperf soak --duration 8h --json soak.json --html soak.html",
    }
}

/// Options of a scenario, and those of the process.
#[derive(Args, Debug)]
pub(super) struct RunArgs<D: Defined<Options = Run> = LoadArgs> {
    #[command(flatten)]
    pub(super) load: Given<D>,
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
