//! `ringway forward`, and `ringway gateway LISTEN --to=…`: streams to a WebSocket server, and from one endpoint string to
//! another.
//!
//! Owns: the definitions of its own options, and what endpoint strings mean in terms of them. Never: reads such a string
//! (`ringway::options::strings` does) or serves a connection (`ringway::services::Forward` does).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ringway::exit::Fatal;
use ringway::options::strings::{self, EndpointString, Wrapping};
use ringway::options::{
    Accepts, Application, Destination, OpeningOptions, SerialLine, ServerOptions, WorkerSeat,
};
use ringway::proto::http::authority;
use ringway::server::process;
use ringway::services::Forward;
use ringway::services::gateway::Place;
use ringway::{ConnectOptions, Onward, OpeningRequest, Target, Uplink, supervise};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Choice, FILE, Kind as _, Switch, Time, Unless, Words, Wrong};
use ringway_command::options::{Defined, Definition, Given, define};
use wsperf::load::addresses;
use wsperf::load::compat::uri::Uri;
use wsperf::load::options::basic_credentials;
use wsperf::load::tls::TlsTrust;

use super::args::ProcessArgs;
use super::gateway::{self, NAMES, TARGET, as_uri};
use super::launch::Serves;
use super::local::Local;
use super::opening::HEADERS;
use super::options::ServerArgs;
use super::target_tls::{self, TargetTls};

pub(super) const EXAMPLE: &str = "\
Example:
  ringway forward 2222 --to=wss://gateway.example/ssh
  ssh -o ProxyCommand='ringway forward stdio --to=ws://127.0.0.1:6080' host
  ringway forward -e tcp:9000 -d 'autobahn:tcp\\:127.0.0.1\\:9001:url=ws\\://localhost\\:9001'

LISTEN is a port on all IPv4 addresses, host:port, unix:/path, or stdio for
one stream on standard input and output. `ringway gateway LISTEN --to=...`
is the same.";

/// Options of `ringway server` that have no place here, or another meaning.
const OTHERS: [&str; 5] = ["app", "service", "subprotocol", "header", "server-name"];

/// `ringway forward …`
#[derive(Args, Debug)]
pub(super) struct ForwardCommand {
    /// Where to listen, unless --endpoint or --wsuri says it
    #[arg(value_name = "LISTEN", num_args = 0..=1)]
    listen: Option<String>,
    /// Where to listen, as Twisted and Autobahn write it: tcp:, tcp6:, unix:, ssl:, stdio: or autobahn:
    #[arg(short = 'e', long, value_name = "STRING")]
    endpoint: Option<String>,
    /// Where to connect to, as Twisted and Autobahn write it
    #[arg(
        short = 'd',
        long = "dest-endpoint",
        alias = "dest_endpoint",
        value_name = "STRING"
    )]
    dest_endpoint: Option<String>,
    #[command(flatten)]
    given: Given<ForwardArgs>,
    #[command(flatten)]
    process: ProcessArgs,
}

/// What a command line of `ringway forward` asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) given: Given<ForwardArgs>,
    pub(super) process: ProcessArgs,
    /// The one stream that is forwarded, where nothing listens.
    pub(super) one: Option<One>,
}

/// A stream that is there without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum One {
    /// The standard input and output.
    Stdio,
    /// Those of a program.
    Process(Vec<String>),
    /// A serial device.
    Serial(SerialLine),
}

impl ForwardCommand {
    /// The texts that were given, those among them that endpoint strings mean.
    pub(super) fn into_asked(self) -> Resolved<Asked> {
        let mut asked = Asked {
            given: self.given,
            process: self.process,
            one: None,
        };
        if let Some(text) = &self.endpoint {
            let bad = |error| BadOption(format!("--endpoint {text}: {error}"));
            let endpoint = strings::parse_listening(text).map_err(bad)?;
            asked.listen_at(&endpoint)?;
        }
        if let Some(text) = &self.dest_endpoint {
            let bad = |error| BadOption(format!("--dest-endpoint {text}: {error}"));
            let endpoint = strings::parse_connecting(text).map_err(bad)?;
            asked.connect_to(&endpoint)?;
        }
        match self.listen.as_deref() {
            Some("stdio") => asked.one = Some(One::Stdio),
            Some(listen) => asked.set("wsuri", as_uri(listen))?,
            None => {}
        }
        Ok(asked)
    }
}

impl Asked {
    fn set(&mut self, name: &'static str, text: impl Into<String>) -> Resolved<()> {
        match self.given.replace(name, text.into()) {
            false => Ok(()),
            true => Err(BadOption(format!(
                "--{name} is given twice, once by a place or an endpoint: give it once"
            ))),
        }
    }

    fn listen_at(&mut self, endpoint: &EndpointString) -> Resolved<()> {
        match &endpoint.place {
            strings::Place::Stdio => self.one = Some(One::Stdio),
            strings::Place::Process(words) => self.one = Some(One::Process(words.clone())),
            strings::Place::Serial(line) => self.one = Some(One::Serial(line.clone())),
            strings::Place::Port {
                interface,
                port,
                tls,
                backlog,
            } => {
                let host = match interface.as_str() {
                    "" => "0.0.0.0",
                    address => address,
                };
                self.set("wsuri", format!("ws://{}", authority(host, port)))?;
                if let Some((certificate, key)) = tls {
                    self.set("cert", certificate)?;
                    self.set("key", key)?;
                    self.set("tls", "only")?;
                }
                self.backlog(*backlog)?;
            }
            strings::Place::Unix {
                path,
                mode,
                backlog,
                ..
            } => {
                self.set("wsuri", format!("ws+unix:{path}"))?;
                if let Some(mode) = mode {
                    self.set("unix-mode", format!("{mode:o}"))?;
                }
                self.backlog(*backlog)?;
            }
            strings::Place::Host { .. } => unreachable!("one listens at no host"),
        }
        if let Some(wrapping) = &endpoint.websocket {
            self.set("accept", "websockets")?;
            self.set("require-subprotocol", "true")?;
            self.wrap(wrapping)?;
        }
        Ok(())
    }

    fn backlog(&mut self, backlog: Option<u32>) -> Resolved<()> {
        backlog.map_or(Ok(()), |backlog| self.set("backlog", backlog.to_string()))
    }

    fn connect_to(&mut self, endpoint: &EndpointString) -> Resolved<()> {
        let (place, tls, ca, timeout) = match &endpoint.place {
            strings::Place::Host {
                host,
                port,
                is_tls,
                ca,
                timeout_s,
            } => {
                let host = match host.contains(':') {
                    true => format!("[{host}]"),
                    false => host.clone(),
                };
                (format!("{host}:{port}"), *is_tls, ca.clone(), timeout_s)
            }
            strings::Place::Unix {
                path, timeout_s, ..
            } => (format!("unix:{path}"), false, None, timeout_s),
            strings::Place::Process(words) => return self.set("to", process(words)),
            strings::Place::Serial(line) => return self.set("to", line.to_string()),
            strings::Place::Port { .. } | strings::Place::Stdio => {
                unreachable!("one connects to neither")
            }
        };
        if let Some(seconds) = timeout {
            self.set("connect-timeout", format!("{seconds}s"))?;
        }
        let Some(wrapping) = &endpoint.websocket else {
            self.set("to", place)?;
            if tls {
                self.set("ssl-target", "true")?;
            }
            return ca.map_or(Ok(()), |ca| self.set("ssl-target-ca", ca));
        };
        let url = match (tls, wrapping.url.split_once("://")) {
            (true, Some((_, rest))) => format!("wss://{rest}"),
            _ => wrapping.url.clone(),
        };
        self.set("to", url)?;
        self.set("to-address", place)?;
        if let Some(ca) = ca {
            self.set("cacert", ca)?;
        }
        self.wrap(wrapping)
    }

    /// Where both sides wrap, what the second one says must be the same, or the first one says nothing.
    fn wrap(&mut self, wrapping: &Wrapping) -> Resolved<()> {
        let texts = [
            (
                "deflate",
                wrapping.compression.map(|is_wanted| is_wanted.to_string()),
            ),
            ("subprotocol", wrapping.subprotocol.clone()),
            (
                "fragment-size",
                (wrapping.autofrag > 0).then(|| wrapping.autofrag.to_string()),
            ),
            ("log-frames", wrapping.debug.then(|| "1".to_owned())),
        ];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let has_it = self.given.text(name).is_some_and(|known| known == text);
            if !has_it {
                self.set(name, text)?;
            }
        }
        Ok(())
    }
}

/// The options of `ringway forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForwardArgs;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

impl Defined for ForwardArgs {
    type Options = ServerOptions;

    fn definitions() -> Vec<Definition<ServerOptions>> {
        let mut all = Vec::from(own());
        all.extend(target_tls::definitions());
        let shared = ServerArgs::of_every_application().into_iter();
        all.extend(shared.filter(|definition| !OTHERS.contains(&definition.name())));
        all.extend(ServerArgs::deflate());
        all
    }

    fn defaults() -> ServerOptions {
        gateway::defaults()
    }
}

#[rustfmt::skip] // one option per block, help last
fn own() -> [Definition<ServerOptions>; 11] {
    [
        define("to", field!(gateway.forward.to), Unless(TO),
            "Where to connect to for each connection: ws://host/path, wss://, ws+unix:/path, a target as host:port or \
             unix:/path, or process:/path/program:argument or serial:/dev/ttyS0:115200")
            .default_said("none"),
        define("to-address", field!(gateway.forward.address), Unless(TARGET),
            "The place to connect to for a ws:// or wss:// URI, in place of its host and port")
            .default_said("those of the URI"),
        define("accept", field!(gateway.forward.accepts),
            Choice("WHAT", &[("streams", Accepts::Streams), ("websockets", Accepts::WebSockets)]),
            "What is accepted: streams, or websockets that carry one each"),
        define("subprotocol", field!(gateway.subprotocols), NAMES,
            "Subprotocols beside binary and base64, as mqtt,mqttv3.1; their messages are binary. The server's choice holds")
            .default_said("none"),
        define("require-subprotocol", field!(gateway.require_subprotocol), Switch,
            "Refuse clients that offer no subprotocol (406), with --accept=websockets"),
        define("connect-timeout", field!(gateway.connect_timeout), Time::from(Duration::from_millis(1)),
            "Time for one address, handshakes included"),
        define("half-close", field!(gateway.half_close), Switch,
            "Keep a WebSocket open after its stream has ended its direction, so that what comes back still arrives"),
        define("header", field!(gateway.forward.headers), HEADERS,
            "A header of every request, as 'Authorization: Bearer x'. May be given several times; in a file, one per line")
            .repeated_lines(),
        define("basic-auth", field!(gateway.forward.basic_auth), Unless(USER), "User and password of every request (Basic, RFC 7617)"),
        define("cacert", field!(gateway.forward.cacert), Unless(FILE), "Certificates, PEM, of those that may have signed a wss:// server's")
            .default_said("those that this system trusts"),
        define("insecure", field!(gateway.forward.insecure), Switch, "Take any certificate of a wss:// server"),
    ]
}

pub(super) const USER: Words<String> = Words {
    value_name: "USER:PASSWORD",
    parse: |text| match credentials(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Wrong::Because(
            ": write it as user:password, without control characters".to_owned(),
        )),
    },
    show: |text| Some(text.clone()),
    bare: Bare::Refused,
};

pub(super) fn credentials(text: &str) -> Option<String> {
    let (user, password) = text.split_once(':')?;
    basic_credentials(user, password)
}

/// A program as an endpoint string.
fn process(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| strings::escape(word)).collect();
    format!("process:{}", words.join(":"))
}

/// A URI or a target.
const TO: Words<Destination> = Words {
    value_name: "URI|TARGET",
    parse: |text| {
        let is_uri = text.contains("://") || text.starts_with("ws+unix:");
        match is_uri {
            true => match Uri::parse(text) {
                Ok(_) => Ok(Destination::WebSocket(text.to_owned())),
                Err(why) => Err(Wrong::Because(format!(
                    ": {why}; write it as ws://host:port/path"
                ))),
            },
            false if text.starts_with("process:") || text.starts_with("serial:") => {
                let wrong = |error| Wrong::Because(format!(": {error}"));
                match strings::parse_connecting(text).map_err(wrong)?.place {
                    strings::Place::Process(words) => Ok(Destination::Process(words)),
                    strings::Place::Serial(line) => Ok(Destination::Serial(line)),
                    _ => unreachable!("it begins with one of these kinds"),
                }
            }
            false => TARGET.parse(text).map(Destination::Stream),
        }
    },
    show: |to| match to {
        Destination::WebSocket(uri) => Some(uri.clone()),
        Destination::Stream(target) => TARGET.show(target),
        Destination::Process(words) => Some(process(words)),
        Destination::Serial(line) => Some(line.to_string()),
    },
    bare: Bare::Refused,
};

impl Serves for ForwardArgs {
    fn check(options: &ServerOptions) -> Resolved<()> {
        let forward = &options.gateway.forward;
        let (is_websocket, is_secure) = match &forward.to {
            None => {
                return Err(BadOption(
                    "a forwarder needs a destination: give --to=ws://host/path, or --dest-endpoint"
                        .to_owned(),
                ));
            }
            Some(Destination::Stream(_) | Destination::Process(_) | Destination::Serial(_)) => {
                (false, false)
            }
            Some(Destination::WebSocket(uri)) => (
                true,
                uri.get(..4)
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss:")),
            ),
        };
        let for_uris = forward.address.is_some()
            || !forward.headers.is_empty()
            || forward.basic_auth.is_some();
        let alone = if for_uris && !is_websocket {
            "--to-address, --header and --basic-auth are for WebSocket servers: give --to=ws://host/path, or leave them off"
        } else if !is_websocket
            && forward.accepts == Accepts::Streams
            && (!options.gateway.subprotocols.is_empty()
                || options.fragment_size.is_some()
                || options.deflate)
        {
            "--subprotocol, --fragment-size and --deflate are for WebSockets, and there is none on either side: leave them off"
        } else if (forward.cacert.is_some() || forward.insecure) && !is_secure {
            "--cacert and --insecure are for TLS: give a wss:// URI, or leave them off"
        } else if matches!(
            forward.to,
            Some(Destination::Process(_) | Destination::Serial(_))
        ) && (options.gateway.tls.wanted || options.gateway.half_close)
        {
            "--ssl-target and --half-close are for targets that are connected to: leave them off"
        } else if options.gateway.tls.wanted && is_websocket {
            "--ssl-target is for targets that speak no WebSocket: give a wss:// URI instead"
        } else if forward.accepts == Accepts::Streams
            && options.opening != OpeningOptions::default()
        {
            "the options of opening handshakes, as --allow-origin, --proxy-protocol and --health-path, have no effect on streams: \
             add --accept=websockets, or leave them off"
        } else if options.gateway.require_subprotocol && forward.accepts == Accepts::Streams {
            "--require-subprotocol has no effect on streams: add --accept=websockets, or leave it off"
        } else {
            return target_tls::check(options);
        };
        Err(BadOption(alone.to_owned()))
    }

    fn prepare(options: &ServerOptions) -> Result<(), Fatal> {
        application(options).map(|_| ())
    }

    fn services(_: &ServerOptions) -> Vec<(String, Application)> {
        Vec::new()
    }

    fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
        match application(options) {
            Ok(forward) => process::run(options, seat, |_| forward),
            Err(fatal) => {
                supervise::error(&fatal);
                fatal.exit.into()
            }
        }
    }
}

/// The application of a worker, with the addresses that names have now.
///
/// # Errors
/// A name is not found, or a file cannot be used.
pub(super) fn application(options: &ServerOptions) -> Result<Forward, Fatal> {
    let to = match &options.gateway.forward.to {
        Some(Destination::Stream(target)) => Onward::Stream(Arc::new(stream(options, target)?)),
        Some(Destination::WebSocket(uri)) => Onward::WebSocket(Arc::new(uplink(options, uri)?)),
        Some(Destination::Process(words)) => Onward::Handed(Local::process(words)?.handed()),
        Some(Destination::Serial(line)) => Onward::Handed(Local::Serial(line.clone()).handed()),
        None => return Err(Fatal::usage("a forwarder needs a destination")),
    };
    Ok(Forward {
        to,
        accepts_streams: options.gateway.forward.accepts == Accepts::Streams,
        subprotocols: options.gateway.subprotocols.clone().into(),
        require_subprotocol: options.gateway.require_subprotocol,
    })
}

fn stream(options: &ServerOptions, target: &Place) -> Result<Target, Fatal> {
    let host = match target {
        Place::Tcp { host, .. } => host,
        Place::Unix(_) => "localhost",
    };
    Ok(Target {
        addresses: addresses_of(target)?,
        connect_timeout: options.gateway.connect_timeout,
        tls: TargetTls::read(options)?.of(host)?,
        half_close: options.gateway.half_close,
    })
}

fn uplink(options: &ServerOptions, uri: &str) -> Result<Uplink, Fatal> {
    let (own, gateway) = (&options.gateway.forward, &options.gateway);
    let parsed = Uri::parse(uri).map_err(|why| Fatal::usage(format!("{uri}: {why}")))?;
    let addresses = match &own.address {
        Some(place) => addresses_of(place)?,
        None => {
            let found = addresses::of(&parsed);
            let found =
                found.map_err(|why| Fatal::environment(format!("{uri} has no address: {why}")))?;
            found.into_iter().map(ConnectOptions::new).collect()
        }
    };
    // websockify looks for `binary` alone, and sees only the first name as it is.
    let mut offered = vec!["binary".to_owned()];
    offered.extend(gateway.subprotocols.iter().cloned());
    offered.push("base64".to_owned());
    let mut headers = own.headers.clone();
    if let Some(credentials) = own.basic_auth.as_deref().and_then(credentials) {
        headers.push(("Authorization".to_owned(), credentials));
    }
    let request = OpeningRequest::new(&parsed.authority(), &parsed.resource, &offered);
    let request = request.and_then(|request| request.headers(&headers));
    let mut request = request.map_err(|misuse| Fatal::usage(format!("{uri}: {misuse}")))?;
    if options.deflate {
        request = request.deflate(options.compression);
    }
    if parsed.secure {
        let trust = TlsTrust {
            cacert: own.cacert.clone(),
            insecure: own.insecure,
            resume: false,
        };
        request = request.tls(trust.client(&parsed.host).map_err(Fatal::usage)?);
    }
    Ok(Uplink {
        addresses,
        request: Arc::new(request),
        connect_timeout: gateway.connect_timeout,
        half_close: gateway.half_close,
    })
}

fn addresses_of(place: &Place) -> Result<Vec<ConnectOptions>, Fatal> {
    let found = match place {
        Place::Unix(path) => Ok(vec![ringway::Address::Unix(path.clone())]),
        Place::Tcp { host, port } => addresses::of_host(host, *port).map_err(|why| {
            Fatal::environment(format!(
                "cannot find the address of '{host}': {why}; give an address, as 127.0.0.1 or [::1]"
            ))
        }),
    };
    Ok(found?.into_iter().map(ConnectOptions::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(endpoint: &str, dest: &str) -> Resolved<Asked> {
        let command = ForwardCommand {
            listen: None,
            endpoint: Some(endpoint.to_owned()),
            dest_endpoint: Some(dest.to_owned()),
            given: Given::typed(&[]),
            process: ProcessArgs::default(),
        };
        command.into_asked()
    }

    fn options(endpoint: &str, dest: &str) -> ServerOptions {
        let asked = asked(endpoint, dest).expect("endpoints");
        let options = super::super::resolve::server(&asked.given, 1).expect("options");
        ForwardArgs::check(&options).expect("they go together");
        options
    }

    #[test]
    fn endpoint_strings_are_options() {
        let all = options(
            r"autobahn:tcp\:9000\:interface\=127.0.0.1:url=ws\://localhost\:9000:subprotocol=mqtt:autofrag=100",
            "tcp:127.0.0.1:1883:timeout=3",
        );
        assert_eq!(
            all.endpoints,
            ["ws://127.0.0.1:9000".parse().expect("a place")]
        );
        assert_eq!(all.gateway.forward.accepts, Accepts::WebSockets);
        assert_eq!(all.gateway.subprotocols, ["mqtt"]);
        assert_eq!(all.fragment_size, Some(100));
        assert_eq!(all.gateway.connect_timeout, Duration::from_secs(3));
        let all = options(
            "unix:/run/a.sock:mode=600",
            r"autobahn:ssl\:127.0.0.1\:9001\:caFile\=ca.pem:url=ws\://gate.example/path:debug=true",
        );
        let uri = "wss://gate.example/path".to_owned();
        assert_eq!(all.gateway.forward.to, Some(Destination::WebSocket(uri)));
        assert_eq!(all.gateway.forward.cacert, Some("ca.pem".into()));
        assert_eq!(all.log_frames, Some(1));
        assert!(asked("stdio:", "tcp:a:1").expect("endpoints").one == Some(One::Stdio));
        assert!(asked("tcp:1", "stdio:").is_err());
        for (compression, is_deflated) in [
            ("compression=true", true),
            ("compress=true", true),
            ("compression=false", false),
            ("debug=false", false),
        ] {
            let endpoint = format!(r"autobahn:tcp\:1:url=ws\://localhost:{compression}");
            assert_eq!(options(&endpoint, "tcp:a:1").deflate, is_deflated);
        }
        // Where both sides are WebSockets, they say the same.
        let listens = r"autobahn:tcp\:1:url=ws\://a:compression=true";
        let connects =
            |compression| format!(r"autobahn:tcp\:a\:1:url=ws\://a:compression={compression}");
        assert!(options(listens, &connects("true")).deflate);
        assert!(asked(listens, &connects("false")).is_err());
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let text = "to = 'wss://a/b?c'\nto-address = '[::1]:1'\naccept = 'websockets'\nheader = \"X-A: 1\\nX-B: 2\"\n\
                    basic-auth = 'a:b'\ncacert = 'ca.pem'\ninsecure = true\nsubprotocol = 'mqtt'\nrequire-subprotocol = true\n\
                    connect-timeout = '250ms'\nhalf-close = true\n";
        let read = |text: &str| {
            let given = Given::<ForwardArgs>::parse_file(text, "forward.toml").expect("TOML");
            super::super::resolve::server(&given, 2).expect("options")
        };
        let options = read(text);
        ForwardArgs::check(&options).expect("they go together");
        let shown = ringway_command::options::show::<ForwardArgs>(&options);
        assert_eq!(read(&shown), options, "{shown}");
    }
}
