//! The programs and their commands, as users type them. The options of the server are in `options`.
//!
//! Owns: the commands, and the options of one process. Never: judges a value (`resolve` does), makes a system call.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::options::ServerArgs;
use ringway_command::Text;
use ringway_command::options::Given;
use wsperf::cli as wsperf;

/// `ringway …`
#[derive(Debug, Parser)]
#[command(name = "ringway", version, about, max_term_width = 80, before_help = EXAMPLE, after_help = super::help_codes())]
pub(super) struct RingwayArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What `ringway` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a multicore WebSocket echo server
    #[command(max_term_width = 80, before_help = EXAMPLE, after_help = super::help_codes())]
    Server(Box<ServerCommand>),
    /// Join WebSockets with TCP and Unix sockets
    #[command(max_term_width = 80, before_help = super::gateway::EXAMPLE, after_help = super::help_codes())]
    Gateway(Box<super::gateway::GatewayCommand>),
    /// Lead streams to a WebSocket server, or from one endpoint to another
    #[command(max_term_width = 80, before_help = super::forward::EXAMPLE, after_help = super::help_codes())]
    Forward(Box<super::forward::ForwardCommand>),
    /// Talk to a WebSocket server by hand, through a pipe, or by a script
    #[command(max_term_width = 80, before_help = super::client::EXAMPLE, after_help = super::client::CODES)]
    Client(Box<super::client::ClientCommand>),
    /// Be the client that the Autobahn testsuite's fuzzing server tests
    #[command(max_term_width = 80, before_help = super::testee::EXAMPLE, after_help = super::testee::CODES)]
    Testee(super::testee::TesteeArgs),
    /// Compare this machine with what Ringway wants of it, change it, measure it
    #[command(max_term_width = 80, before_help = super::tune::EXAMPLE, after_help = super::tune::CODES)]
    Tune(Box<super::tune::TuneArgs>),
    /// Load a WebSocket server and measure it
    #[command(max_term_width = 80, before_help = wsperf::EXAMPLE, after_help = wsperf::ALL_CODES)]
    Wsperf(Box<wsperf::WsperfArgs>),
}

/// `server …`: the same options without the subcommand.
#[derive(Debug, Parser)]
#[command(
    name = "server",
    version,
    about = "Run a multicore WebSocket echo server",
    max_term_width = 80,
    before_help = EXAMPLE,
    after_help = super::help_codes()
)]
pub(super) struct StandaloneArgs {
    #[command(flatten)]
    pub(super) server: ServerCommand,
}

const EXAMPLE: &str = "\
Example:
  server --workers 4 --backlog
  ringway server --wsuri ws://0.0.0.0:9000 --port 8080 --interval 10s

Durations: 250ms, 10s, 1m; a bare number is seconds.
Sizes: 1000, 5k, 64KiB, 16MiB.";

/// Options of one process, and those of the server.
#[derive(Args, Debug)]
pub(super) struct ServerCommand {
    #[command(flatten)]
    pub(super) server: Given<ServerArgs>,
    #[command(flatten)]
    pub(super) process: ProcessArgs,
}

/// Options of one process: they have no place in a configuration file.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[rustfmt::skip] // one option per block, help first
pub(super) struct ProcessArgs {
    /// Read options from a TOML file, same names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective options as TOML that --config accepts, and exit
    #[arg(long)]
    pub(super) print_config: bool,
    /// Be a worker on this inherited listener
    #[arg(long, value_name = "N", help_heading = "Worker processes (set by the supervisor)")]
    pub(super) fd: Option<Text>,
    /// Pin this worker to a CPU
    #[arg(long, value_name = "N", help_heading = "Worker processes (set by the supervisor)")]
    pub(super) cpuid: Option<Text>,
}

/// The arguments of this process, without its name.
pub(super) fn original() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}
