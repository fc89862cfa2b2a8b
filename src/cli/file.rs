//! The configuration file: TOML, with the names of the command line.
//!
//! Owns: reading one, laying the command line over it, and printing the effective options as one.
//! Never: judges a value.

use super::args::ConfigArgs;
use super::services;
use ringway::options::{Backlog, Endpoint, Format, IoChoice, ServerOptions, WebHost, WebPort};
use ringway_command::Text;
use ringway_command::values::{show_duration, show_size};

/// The effective options as a file.
pub(super) fn show(options: &ServerOptions) -> String {
    toml::to_string(&effective(options)).expect("plain values serialise")
}

/// The effective options as pairs, for the web page.
pub(super) fn pairs(options: &ServerOptions) -> Vec<(String, String)> {
    let plain = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    let table = ringway_command::file::to_table(&effective(options));
    table
        .into_iter()
        .map(|(name, value)| (name, plain(value)))
        .collect()
}

/// Every option as it would have to be typed to mean what it means now.
fn effective(options: &ServerOptions) -> ConfigArgs {
    let text = |value: String| Some(Text(value));
    let number = |value: u32| text(value.to_string());
    let switch = |on: bool| text(on.to_string());
    let size = |bytes: usize| text(show_size(bytes as u64));
    let buffer = |bytes: u32| text(show_size(bytes.into()));
    let time = |value| text(show_duration(value));
    let socket = &options.socket;
    ConfigArgs {
        wsuri: text(wsuri(&options.endpoint)),
        port: text(web_port(&options.web_port)),
        workers: text(options.workers.to_string()),
        noaffinity: switch(!options.affinity),
        backlog: text(match options.backlog {
            Backlog::Depth(depth) => depth.to_string(),
            Backlog::Somaxconn => "somaxconn".to_owned(),
        }),
        silence: switch(options.silence),
        debug: switch(options.debug),
        interval: time(options.interval),
        format: text(match options.format {
            Format::Json => "json".to_owned(),
            Format::Table => "table".to_owned(),
        }),
        io: text(match options.io {
            IoChoice::Auto => "auto".to_owned(),
            IoChoice::Epoll => "epoll".to_owned(),
            IoChoice::Uring => "uring".to_owned(),
        }),
        service: (!options.applications.is_empty())
            .then(|| Text(services::show(&options.applications))),
        reuseport: switch(options.reuseport),
        subprotocol: text(options.subprotocols.to_string()),
        max_connections: text(options.max_connections.unwrap_or(0).to_string()),
        max_message: size(options.max_message),
        max_frame: size(options.max_frame),
        send_queue: size(options.send_queue),
        max_head: size(options.max_head),
        max_headers: text(options.max_headers.to_string()),
        handshake_timeout: time(options.handshake_timeout),
        write_timeout: time(options.write_timeout.unwrap_or_default()),
        idle_timeout: time(options.idle_timeout.unwrap_or_default()),
        ping_interval: time(options.ping_interval.unwrap_or_default()),
        close_timeout: time(options.close_timeout),
        drain_timeout: time(options.drain_timeout),
        nodelay: switch(socket.nodelay),
        congestion: socket.congestion.clone().and_then(text),
        rcvbuf: socket.rcvbuf.and_then(buffer),
        sndbuf: socket.sndbuf.and_then(buffer),
        keepalive: time(socket.keepalive.unwrap_or_default()),
        keepalive_interval: socket.keepalive_interval.and_then(time),
        keepalive_count: socket.keepalive_count.and_then(number),
        user_timeout: time(socket.user_timeout.unwrap_or_default()),
        defer_accept: socket.defer_accept.and_then(time),
        notsent_lowat: socket.notsent_lowat.and_then(buffer),
        fastopen: socket.fastopen.and_then(number),
        maxseg: socket.maxseg.and_then(number),
        busy_poll: socket.busy_poll.and_then(time),
    }
}

fn web_port(port: &WebPort) -> String {
    let (host, port) = match port {
        WebPort::Auto(host) => (host, "auto".to_owned()),
        WebPort::Fixed(host, port) => (host, port.to_string()),
        WebPort::Off => return "0".to_owned(),
    };
    match host {
        WebHost::Loopback => port,
        WebHost::Named(host) if host.contains(':') => format!("[{host}]:{port}"),
        WebHost::Named(host) => format!("{host}:{port}"),
    }
}

fn wsuri(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp { host, port } if host.contains(':') => format!("ws://[{host}]:{port}"),
        Endpoint::Tcp { host, port } => format!("ws://{host}:{port}"),
        Endpoint::Unix { path } => format!("ws+unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve;
    use ringway_command::file::{overlay, parse};

    use super::*;

    fn parse_server(text: &str) -> Result<ConfigArgs, String> {
        parse(text)
    }

    #[test]
    fn a_file_may_hold_strings_numbers_and_booleans() {
        let args =
            parse_server("workers = 2\ninterval = 0.5\nsilence = true\nmax-message = \"1MiB\"\n")
                .unwrap();
        let options = resolve::server(&args, 8).unwrap();
        assert_eq!(
            (options.workers, options.silence, options.max_message),
            (2, true, 1 << 20)
        );
        assert_eq!(options.interval.as_millis(), 500);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        assert_eq!(
            parse_server("worker = 2").unwrap_err(),
            "unknown key 'worker': did you mean 'workers'?"
        );
        let far = "unknown key 'colour': see --help for the options, without their dashes";
        assert_eq!(parse_server("colour = 2").unwrap_err(), far);
        assert!(parse_server("print-config = true").is_err());
        assert!(parse_server("fd = 3").is_err());
    }

    #[test]
    fn a_file_that_is_no_toml_names_the_line() {
        let sentence = parse_server("workers = 2\nport =\n").unwrap_err();
        assert!(sentence.starts_with("line 2: "), "{sentence}");
        assert!(!sentence.contains('\n'));
        assert_eq!(
            parse_server("workers = [1]").unwrap_err(),
            "key 'workers' must be a string, a number, true or false"
        );
    }

    #[test]
    fn the_command_line_wins() {
        let file = parse_server("workers = 2\nport = 1").unwrap();
        let typed = ConfigArgs {
            workers: Some(Text("3".into())),
            ..ConfigArgs::default()
        };
        let merged = overlay(&typed, &file);
        assert_eq!(merged.workers, Some(Text("3".into())));
        assert_eq!(merged.port, Some(Text("1".into())));
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let text = "
            wsuri = 'ws://[::1]:0'\nport = 'auto'\nworkers = 3\nnoaffinity = true\nbacklog = 'somaxconn'
            silence = true\ndebug = true\ninterval = '250ms'\nformat = 'json'\nio = 'epoll'\nreuseport = true
            max-connections = 10\nmax-message = 1000\nmax-frame = 999\nsend-queue = '64KiB'\nmax-head = 9000\nmax-headers = 99\nsubprotocol = 'b,a'\nhandshake-timeout = 1
            write-timeout = 20\nidle-timeout = 2\nping-interval = 3\nclose-timeout = 4\ndrain-timeout = 0\nnodelay = false
            congestion = 'cubic'\nrcvbuf = 4096\nsndbuf = 8192\nkeepalive = 60\nkeepalive-interval = 5
            keepalive-count = 6\nuser-timeout = '1500ms'\ndefer-accept = 7\nnotsent-lowat = '16KiB'\nfastopen = 8
            maxseg = 1400\nbusy-poll = '50us'\nservice = '/echo=echo,/again/*=echo'";
        let args = parse_server(&text.replace("            ", "")).unwrap();
        let options = resolve::server(&args, 8).unwrap();
        let shown = show(&options);
        assert_eq!(shown.lines().count(), 38, "{shown}");
        assert_eq!(
            resolve::server(&parse_server(&shown).unwrap(), 1).unwrap(),
            options
        );
        let defaults = ServerOptions::new(2);
        let off = "keepalive = 0\nuser-timeout = 0\nwrite-timeout = 0";
        let off = resolve::server(&parse_server(off).unwrap(), 2).unwrap();
        assert_eq!((off.socket.keepalive, off.write_timeout), (None, None));
        for options in [defaults, off] {
            assert_eq!(
                resolve::server(&parse_server(&show(&options)).unwrap(), 1).unwrap(),
                options
            );
        }
    }
}
