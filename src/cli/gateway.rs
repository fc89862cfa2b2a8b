//! `ringway gateway`: its options, its places, and the target that its workers connect to.
//!
//! Owns: the definitions of its own options; those that it shares with `ringway server` are there. Never: serves a client
//! (`ringway::services::Gateway` does).

mod blocking;
pub(super) mod devices;
mod fetch;
mod guide;
mod names;
mod observer;
mod page;
pub(super) mod programs;
pub(super) mod record;
mod sessions;
mod sources;
pub(super) mod wrap;
mod writer;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ringway::exit::{Exit, Fatal};
use ringway::options::{Endpoint, ProxyVersion, SerialLine, ServerOptions, WorkerSeat, strings};
use ringway::server::{process, single};
use ringway::services::gateway::{Messages, Observer, Place, TERMINAL_SUBPROTOCOL};
use ringway::services::{Gateway, Subprotocols, Verifier};
use ringway::{Target, supervise};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Choice, Switch, Time, Unless, Words, Wrong};
use ringway_command::options::{Defined, Definition, Given, define};

pub(super) use page::PAGES;

use super::access;
use super::args::ProcessArgs;
use super::options::ServerArgs;
use super::stdio;
use super::target_tls::{self, TargetTls};

pub(super) const EXAMPLE: &str = "\
Example:
  ringway gateway 6080 127.0.0.1:5900
  ringway gateway unix:/run/vnc.sock unix:/run/target.sock --workers 2
  ringway gateway 8083 mqtt.example:1883 --subprotocol mqtt,mqttv3.1
  ringway gateway 8080 --exec -- ./count-lines --slowly
  ringway gateway 5901 --wrap-mode ignore -- vncserver :1

LISTEN is a port on all IPv4 addresses, host:port, unix:/path, as --wsuri, or
inetd for the connection, or the listening socket, that is the standard input.
TARGET is host:port, whose addresses are tried in turn, unix:/path, or
serial:/dev/ttyS0:115200.";

/// Payload bytes of a message (1 TiB): no limit, because a message is never collected.
const MESSAGE_BYTES_MAX: usize = 1 << 40;

/// Options of `ringway server` that have no place here: a gateway has one application.
const OTHERS: [&str; 4] = ["app", "service", "subprotocol", "fragment-size"];

/// `ringway gateway …`
#[derive(Args, Debug)]
pub(super) struct GatewayCommand {
    /// Where to listen, unless --wsuri says it, and where the streams lead to
    #[arg(value_name = "[LISTEN] TARGET", num_args = 0..=2)]
    places: Vec<String>,
    /// The program that runs for each session, with --exec; else the one that is
    /// wrapped, with --wrap-mode
    #[arg(value_name = "PROGRAM", last = true)]
    program: Vec<String>,
    #[command(flatten)]
    given: Given<GatewayArgs>,
    #[command(flatten)]
    process: ProcessArgs,
    /// Drop what a wrapped program writes: there is nobody any more who reads it.
    #[arg(skip)]
    pub(super) is_quiet: bool,
}

impl GatewayCommand {
    /// The texts that were given, the places among them.
    pub(super) fn into_asked(self) -> Resolved<Asked> {
        let Self {
            places,
            program,
            mut given,
            process,
            is_quiet,
        } = self;
        let mut wrapped = Vec::new();
        if given.has("exec") && !program.is_empty() {
            given.replace("exec", programs::join(&program));
        } else if !program.is_empty() {
            let is_led = places.len() > 1 || places.first().is_some_and(|place| place == "inetd");
            if is_led || given.has("target") {
                let sentence = "what stands behind -- is the target: leave TARGET off (ringway gateway 5901 --wrap-mode=ignore -- \
                                PROGRAM). What runs for each session stands behind --exec: ringway gateway 8080 --exec -- PROGRAM";
                return Err(BadOption(sentence.to_owned()));
            }
            if !given.has("wrap-mode") {
                given.replace("wrap-mode", "exit".to_owned());
            }
            wrapped = program.into_iter().map(OsString::from).collect();
        }
        let twice = |name| {
            BadOption(format!(
                "--{name} says again what stands without a name: give it once"
            ))
        };
        let is_inetd = places.first().is_some_and(|place| place == "inetd");
        let mut places = places.into_iter().skip(usize::from(is_inetd)).rev();
        // Where tokens or routes lead to targets, or sessions to programs, one place is where to listen.
        let mut sources =
            sessions::SOURCES
                .iter()
                .chain(&["exec", "exec-dir", "pty-login", "serial"]);
        let leads = sources.any(|name| given.has(name)) || !wrapped.is_empty();
        let has_target = is_inetd || places.len() > 1 || !leads;
        if has_target && let Some(target) = places.next() {
            let name = match target.starts_with("serial:") {
                true => "serial",
                false => "target",
            };
            if given.replace(name, target) {
                return Err(twice(name));
            }
        }
        if let Some(listen) = places.next()
            && given.replace("wsuri", as_uri(&listen))
        {
            return Err(twice("wsuri"));
        }
        Ok(Asked {
            given,
            process,
            is_inetd,
            wrapped,
            is_quiet,
        })
    }
}

/// What a command line of `ringway gateway` asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) given: Given<GatewayArgs>,
    pub(super) process: ProcessArgs,
    /// The one connection, or the one listener, is the standard input.
    pub(super) is_inetd: bool,
    /// The program to wrap, and its arguments. Empty: there is none.
    pub(super) wrapped: Vec<OsString>,
    /// See [`GatewayCommand::is_quiet`].
    pub(super) is_quiet: bool,
}

/// A place to listen in the form of `--wsuri`.
pub(super) fn as_uri(listen: &str) -> String {
    if let Some(path) = listen.strip_prefix("unix:") {
        return format!("ws+unix:{path}");
    }
    let port = listen.strip_prefix(':').unwrap_or(listen);
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match listen {
        _ if is_port => format!("ws://0.0.0.0:{port}"),
        uri if uri.starts_with("ws") && uri.contains(":/") => uri.to_owned(),
        address => format!("ws://{address}"),
    }
}

/// The options of `ringway gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GatewayArgs;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

impl Defined for GatewayArgs {
    type Options = ServerOptions;

    fn definitions() -> Vec<Definition<ServerOptions>> {
        let mut all = Vec::from(own());
        all.extend(sessions::targets());
        all.extend(sessions::sessions());
        all.extend(target_tls::definitions());
        all.extend(programs::definitions());
        all.push(wrap::definition());
        // Of those of topics: there are none here, and no HTTP API for them.
        let tokens = access::definitions().into_iter();
        all.extend(tokens.filter(|definition| definition.name().starts_with("token-")));
        let shared = ServerArgs::of_every_application().into_iter();
        all.extend(shared.filter(|definition| !OTHERS.contains(&definition.name())));
        all.extend(ServerArgs::deflate());
        all
    }

    fn defaults() -> ServerOptions {
        defaults()
    }
}

/// Those of a server, without a limit to messages.
pub(super) fn defaults() -> ServerOptions {
    ServerOptions {
        max_message: MESSAGE_BYTES_MAX,
        max_frame: MESSAGE_BYTES_MAX,
        ..ServerArgs::defaults()
    }
}

#[rustfmt::skip] // one option per block, help last
fn own() -> [Definition<ServerOptions>; 8] {
    [
        define("target", field!(gateway.target), Unless(TARGET),
            "Where the streams lead to: host:port, whose addresses are tried in turn, or unix:/path. The same as TARGET"),
        define("serial", field!(gateway.serial), Unless(SERIAL),
            "The serial device that a session has for itself, as serial:/dev/ttyS0:115200:8N1:none; a second one gets 503. The same as TARGET")
            .default_said("none"),
        define("subprotocol", field!(gateway.subprotocols), NAMES,
            "Subprotocols beside binary and base64, as mqtt,mqttv3.1; their messages are binary. The first one that the client offers \
             and that is known is chosen")
            .default_said("none"),
        define("base64", field!(gateway.base64), Switch, "Whether clients may choose base64: text messages"),
        define("require-subprotocol", field!(gateway.require_subprotocol), Switch,
            "Refuse clients that offer no subprotocol (406)"),
        define("connect-timeout", field!(gateway.connect_timeout), Time::from(Duration::from_millis(1)),
            "Time for a connect to one address of the target"),
        define("half-close", field!(gateway.half_close), Switch,
            "Keep a WebSocket open after its target has ended its direction, so that the client can still send; it is told nothing"),
        define("send-proxy", field!(gateway.proxy_header),
            Unless(Choice("VERSION", &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)])),
            "Send the target a PROXY header first, v1 or v2, which tells the address of the client; the target must expect it")
            .default_said("none"),
    ]
}

/// `host:port` or `unix:/path`.
pub(super) const TARGET: Words<Place> = Words {
    value_name: "TARGET",
    parse: parse_target,
    show: |target| Some(target.to_string()),
    bare: Bare::Refused,
};

/// `serial:/dev/ttyS0:115200`.
const SERIAL: Words<SerialLine> = Words {
    value_name: "DEVICE",
    parse: |text| strings::parse_serial(text).map_err(|error| Wrong::Because(format!(": {error}"))),
    show: |line| Some(line.to_string()),
    bare: Bare::Refused,
};

fn parse_target(text: &str) -> Result<Place, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        let wrong = |why| Wrong::Because(format!(": {why}, as unix:/run/target.sock"));
        Endpoint::unix(path).map_err(wrong)?;
    }
    let wrong = || Wrong::not("a target", "write it as 127.0.0.1:5900 or unix:/path");
    Place::parse(text).ok_or_else(wrong)
}

/// Names of subprotocols with commas between them.
pub(super) const NAMES: Words<Vec<String>> = Words {
    value_name: "LIST",
    parse: |list| match list.parse() {
        Ok(Subprotocols::Of(names)) => Ok(names),
        Ok(_) => Err(Wrong::Because(
            ": give names of subprotocols with commas between them".to_owned(),
        )),
        Err(why) => Err(Wrong::Because(format!(": {why}"))),
    },
    show: |names| (!names.is_empty()).then(|| names.join(",")),
    bare: Bare::Refused,
};

/// Refuses options that lead nowhere.
pub(super) fn check(options: &ServerOptions) -> Resolved<()> {
    let own = &options.gateway;
    let others = own.target.is_some() || own.sessions.leads() || own.programs.runs();
    if own.serial.is_some()
        && (others || own.half_close || own.proxy_header.is_some() || own.tls.wanted)
    {
        return Err(BadOption(
            "a session leads to a serial device or elsewhere, and --half-close, --send-proxy and --ssl-target are for targets that are \
             connected to: leave them off with serial:"
                .to_owned(),
        ));
    }
    programs::check(options)?;
    wrap::check(options)?;
    sessions::check(options)?;
    target_tls::check(options)
}

/// Refuses, before the first worker, files that cannot be read.
///
/// # Errors
/// Which one, and why.
pub(super) fn prepare(options: &ServerOptions) -> Result<(), Fatal> {
    directory(options, programs::Leads::new(options)?.map(Arc::new))?;
    if let Some(log) = &options.gateway.sessions.access_log {
        let opened = writer::Log::open(log);
        opened.map_err(|error| Fatal::usage(format!("--access-log {log}: {error}")))?;
    }
    if let Some(path) = &options.gateway.sessions.record {
        let tried = writer::try_recording(path);
        tried.map_err(|error| Fatal::usage(format!("--record {}: {error}", path.display())))?;
    }
    access::keys(options)?;
    if options.gateway.programs.has_terminal() {
        programs::warn(options)?;
    }
    Ok(())
}

fn directory(
    options: &ServerOptions,
    programs: Option<Arc<programs::Leads>>,
) -> Result<guide::Directory, Fatal> {
    let own = &options.gateway;
    let (connect_timeout, half_close) = (own.connect_timeout, own.half_close);
    let tls = TargetTls::read(options)?;
    let make = move |place: &Place, addresses| {
        let host = match place {
            Place::Tcp { host, .. } => host,
            Place::Unix(_) => "localhost",
        };
        Ok(Target {
            addresses,
            connect_timeout,
            tls: tls.of(host)?,
            half_close,
        })
    };
    guide::Directory::new(options, Box::new(make), programs)
}

/// Runs a worker process of a gateway.
pub(super) fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    let made = programs::Leads::new(options).and_then(|programs| {
        let programs = programs.map(Arc::new);
        let guide = directory(options, programs.clone())?;
        Ok((guide, access::keys(options)?, programs))
    });
    let (guide, keys, programs) = match made {
        Ok(made) => made,
        Err(fatal) => {
            supervise::error(&fatal);
            return fatal.exit.into();
        }
    };
    // Whoever is told first has all workers stop.
    let whom = match seat.stats_fd {
        Some(_) => std::os::unix::process::parent_id(),
        None => std::process::id(),
    };
    let exit = process::run(options, seat, |_| application(options, guide, &keys, whom));
    if let Some(leads) = programs {
        leads.programs.end();
    }
    exit
}

/// Serves the connection that is the standard input, for a super-server as inetd or systemd.
///
/// # Errors
/// The standard input is no connection, or a file cannot be read.
pub(super) fn inetd(options: &ServerOptions) -> Result<Exit, Fatal> {
    let connection = stdio::connection()?;
    prepare(options)?;
    let programs = programs::Leads::new(options)?.map(Arc::new);
    let guide = directory(options, programs.clone())?;
    let gateway = application(options, guide, &access::keys(options)?, std::process::id());
    let served = single::run(options, gateway, connection);
    if let Some(leads) = programs {
        leads.programs.end();
    }
    served.map(|_| Exit::Ok)
}

fn application(
    options: &ServerOptions,
    guide: guide::Directory,
    keys: &Arc<[Verifier]>,
    whom: u32,
) -> Gateway {
    let own = &options.gateway;
    // The handshake's own time would end the wait without a word of ours.
    let patience = options.handshake_timeout * 3 / 4;
    let mut gateway = Gateway::guided(Arc::new(guide));
    gateway.subprotocols.clone_from(&own.subprotocols);
    gateway.base64 = own.base64;
    gateway.terminal = own.programs.has_terminal();
    if gateway.terminal {
        gateway.subprotocols.push(TERMINAL_SUBPROTOCOL.to_owned());
    }
    gateway.lines =
        own.programs.runs() && !gateway.terminal && own.programs.messages == Messages::Lines;
    gateway.require_subprotocol = own.require_subprotocol;
    gateway.proxy_header = own.proxy_header;
    gateway.sessions_per_target_max = own.sessions.sessions_per_target_max;
    gateway.lookup_timeout = own.sessions.lookup_timeout.min(patience);
    if !keys.is_empty() {
        gateway.admission = Some(access::admission(options, None, keys));
    }
    gateway.observer = observer(options, whom);
    gateway
}

/// Who writes about sessions. Its thread begins here, where the worker's signals are blocked already.
fn observer(options: &ServerOptions, whom: u32) -> Option<Box<dyn Observer>> {
    let stop = move || ringway::io::sys::ask_to_stop(whom);
    match observer::Onlooker::new(&options.gateway.sessions, stop) {
        Ok(onlooker) => Some(Box::new(onlooker?)),
        Err(error) => {
            tracing::error!("nothing is written about sessions: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn targets_are_read_as_they_are_shown() {
        // What is a place, and what is none, is tested where places are read.
        for text in ["127.0.0.1:5900", "[::1]:22", "unix:/run/a b.sock"] {
            let target = TARGET.parse(text).expect("a target");
            assert_eq!(TARGET.show(&target).as_deref(), Some(text));
        }
        for text in ["5900", "unix:a", ""] {
            assert!(TARGET.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_to_listen_become_uris() {
        for (text, uri) in [
            ("6080", "ws://0.0.0.0:6080"),
            (":6080", "ws://0.0.0.0:6080"),
            ("127.0.0.1:0", "ws://127.0.0.1:0"),
            ("[::1]:1", "ws://[::1]:1"),
            ("unix:/run/a.sock", "ws+unix:/run/a.sock"),
            ("ws://localhost:1", "ws://localhost:1"),
            ("ws+unix:/a", "ws+unix:/a"),
        ] {
            assert_eq!(as_uri(text), uri);
        }
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let text = "target = '[::1]:1'\nsubprotocol = 'mqtt,mqttv3.1'\nbase64 = false\nrequire-subprotocol = true\n\
                    connect-timeout = '250ms'\nhalf-close = true\nsend-proxy = 'v2'\nidle-timeout = 7\n\
                    ssl-target = true\nssl-target-ca = 'ca.pem'\nssl-target-insecure = true\nssl-target-name = 'a'\n\
                    deflate = true\ndeflate-level = 6\n";
        let read = |text: &str| {
            let given = Given::<GatewayArgs>::parse_file(text, "gateway.toml").expect("TOML");
            super::super::resolve::server(&given, 2).expect("options")
        };
        let options = read(text);
        assert_eq!(options.gateway.subprotocols, ["mqtt", "mqttv3.1"]);
        let shown = ringway_command::options::show::<GatewayArgs>(&options);
        assert_eq!(read(&shown), options, "{shown}");
    }
}
