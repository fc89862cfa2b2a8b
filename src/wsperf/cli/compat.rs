//! The commands that the original wsperf programs had: `wsperf serve`, `wsperf aggregate`, and the standalone form.
//!
//! Owns: their options and their output. Never: reads a command of the control protocol.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::args::Kind;
use super::launch::{environment, interrupt, make_room_for_handshakes, usage};
use crate::exit::Exit;
use crate::exit::Fatal;
use crate::load::compat::aggregate::{self, Aggregate};
use crate::load::compat::serve::{self, Place, ServeOptions};
use crate::load::compat::uri::Uri;
use crate::load::compat::{run as tests, standalone};
use crate::load::options::IoTier;
use crate::load::report::files;
use crate::options::{Endpoint, WebHost, WebPort};
use ringway_command::output::{Log, log_to_stderr, tell_note};
use ringway_command::{endpoint, values};

pub(super) const SERVE: &str = "\
Example:
  wsperf serve
  wsperf serve --wsuri ws://127.0.0.1:0 --port 0 --threads 4";

pub(super) const AGGREGATE: &str = "\
Example:
  wsperf aggregate result_1.json result_2.json";

pub(super) const SERVE_CODES: &str = "\
Exit codes:
  0  ended by a signal
  1  unexpected failure (a bug)
  2  bad option or value
  3  the system refused, or the master cannot be reached";

pub(super) const AGGREGATE_CODES: &str = "\
Exit codes:
  0  reported
  1  unexpected failure (a bug)
  2  bad option or value
  3  a file cannot be read, or is no result";

/// Options of `wsperf serve`.
#[derive(Args, Debug)]
#[rustfmt::skip] // one option per block, help first
pub(crate) struct ServeArgs {
    /// Where control clients connect to; port 0 is any free port
    #[arg(long, value_name = "URI", default_value = "ws://127.0.0.1:9050")]
    wsuri: String,
    /// Port of the page that drives it; 0 = no page, auto = any free port
    #[arg(long, value_name = "N", default_value = "8081")]
    port: String,
    /// Threads that run tests, each of them one at a time; 0 is 1
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    threads: u16,
    /// Listen nowhere: connect to this master and take commands from it
    #[arg(long, value_name = "URI", conflicts_with_all = ["wsuri", "port", "allow_origin"])]
    master: Option<String>,
    /// Try again when the master is lost or refuses, after this long
    #[arg(long, value_name = "TIME", requires = "master")]
    reconnect: Option<String>,
    /// What it calls itself
    #[arg(long, value_name = "NAME", default_value = "Unspecified")]
    ident: String,
    /// A page that may drive it besides those of its own host, as
    /// http://example.com:8080, or null; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Test servers on other machines too
    #[arg(long)]
    allow_remote: bool,
    /// I/O of tests and control: auto, uring or epoll
    #[arg(long, value_name = "TIER", default_value = "auto")]
    io: String,
    /// Log debug messages on stderr
    #[arg(long)]
    debug: bool,
}

/// Options of `wsperf aggregate`.
#[derive(Args, Debug)]
pub(crate) struct AggregateArgs {
    /// Result files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How it is printed: text, or json for one object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: String,
}

/// `wsperf serve`.
pub(super) fn serve(args: &ServeArgs) -> Result<Exit, Fatal> {
    let options = serve_options(args)?;
    log_to_stderr(if args.debug {
        Log::Everything
    } else {
        Log::Warnings
    });
    let ready = |place: &str| print(&format!("ringway: wsperf control on {place}\n"));
    tell_note(serve::serve(&options, ready).map_err(environment)?);
    Ok(Exit::Ok)
}

fn serve_options(args: &ServeArgs) -> Result<ServeOptions, Fatal> {
    let io = match args.io.as_str() {
        "auto" => IoTier::Auto,
        "uring" => IoTier::Uring,
        "epoll" => IoTier::Epoll,
        other => return Err(usage(format!("--io {other}: it is auto, uring or epoll"))),
    };
    Ok(ServeOptions {
        place: place(args)?,
        threads: args.threads.into(),
        ident: args.ident.clone(),
        allow_remote: args.allow_remote,
        io,
    })
}

fn place(args: &ServeArgs) -> Result<Place, Fatal> {
    if let Some(master) = &args.master {
        let uri = Uri::parse(master).map_err(|why| usage(format!("--master {master}: {why}")))?;
        let time = args.reconnect.as_ref().map(|text| {
            values::duration(text)
                .filter(|time| !time.is_zero())
                .ok_or_else(|| usage(format!("--reconnect {text} is no time: give one like 5s")))
        });
        return Ok(Place::Master {
            uri,
            reconnect: time.transpose()?,
        });
    }
    let endpoint = endpoint::endpoint(&args.wsuri).map_err(|bad| usage(bad.to_string()))?;
    let Endpoint::Tcp { host, port } = endpoint else {
        return Err(usage(
            "--wsuri: browsers reach no Unix socket; give something like ws://127.0.0.1:9050",
        ));
    };
    let page_port = match endpoint::web_port(&args.port).map_err(|bad| usage(bad.to_string()))? {
        WebPort::Off => None,
        WebPort::Auto(WebHost::Loopback) => Some(0),
        WebPort::Fixed(WebHost::Loopback, port) => Some(port),
        WebPort::Auto(_) | WebPort::Fixed(..) => {
            return Err(usage(
                "--port: the page is on the address of --wsuri; give a port alone",
            ));
        }
    };
    Ok(Place::Here {
        host,
        port,
        page_port,
        origins: args.allow_origin.clone(),
    })
}

/// `wsperf aggregate`.
pub(super) fn aggregate(args: &AggregateArgs) -> Result<Exit, Fatal> {
    let files: Result<Vec<_>, _> = args
        .files
        .iter()
        .map(|path| aggregate::read(path))
        .collect();
    let found = files
        .and_then(|files| Aggregate::of(&files))
        .map_err(environment)?;
    match args.format.as_str() {
        "text" => print(&found.to_string()),
        "json" => print(&found.json()),
        other => return Err(usage(format!("--format {other}: it is text or json"))),
    }
    Ok(Exit::Ok)
}

/// `wsperf URI THREADS CONNS LOW HIGH RESULT.json`.
pub(super) fn standalone(words: &[String]) -> Result<Exit, Fatal> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(first) = words.first().filter(|word| !word.contains("://")) {
        return Err(usage(format!(
            "there is no '{first}': choose {}, or another command of --help",
            Kind::ALL.map(Kind::name).join(", ")
        )));
    }
    let form = standalone::parse(&words).map_err(usage)?;
    make_room_for_handshakes(form.high, form.threads)?;
    // Checked before the run: if the file cannot be written, the user should know now.
    files::check(&form.result).map_err(environment)?;
    let interrupt = interrupt()?;
    let result = tests::handshakes(&form, IoTier::Auto, &mut |_| interrupt.flow());
    let result = result.map_err(environment)?;
    let text = serde_json::to_string(&result).expect("plain numbers");
    files::write_text(&form.result, &text).map_err(environment)?;
    if !files::is_stdout(&form.result) {
        let report = Aggregate::of(std::slice::from_ref(&result)).map_err(environment)?;
        print(&report.to_string());
    }
    Ok(if interrupt.has_come() {
        Exit::Interrupted
    } else {
        Exit::Ok
    })
}

/// Prints to stdout. A reader that has closed its end is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
