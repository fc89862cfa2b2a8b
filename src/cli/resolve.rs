//! What was typed, turned into what it means: every value of every option is judged here and nowhere else.
//!
//! Owns: the limits of values, and the sentence for each one that is out of them. Never: makes a system call.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{ConfigArgs, ProcessArgs, Text};
use super::values;
use crate::options::{
    Backlog, Endpoint, Format, IoChoice, KEEPALIVE_COUNT, KEEPALIVE_INTERVAL, ServerOptions,
    WebPort, WorkerSeat,
};

/// A value that cannot be used: one sentence with the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadOption(pub(super) String);

impl std::fmt::Display for BadOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type Resolved<T> = Result<T, BadOption>;

/// More workers than this share no machine we know of, and the board would outgrow its page table for nothing.
const WORKERS_MAX: u64 = 1024;

/// Sizes of messages, frames and queues stay below half of the smallest address space that makes sense.
const SIZE_MAX: u64 = 1 << 40;

/// No timer runs longer: a day is further than any peer's patience.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Makes the options of a server out of what was typed; `cpus` is the default number of workers.
pub(super) fn server(args: &ConfigArgs, cpus: usize) -> Resolved<ServerOptions> {
    let mut options = ServerOptions::new(cpus);
    listening(args, &mut options)?;
    limits(args, &mut options)?;
    sockets(args, &mut options)?;
    vanished_peers(args, &mut options)?;
    Ok(options)
}

/// Makes the seat of a worker; `None` when this process is not one.
pub(super) fn seat(args: &ProcessArgs) -> Resolved<Option<WorkerSeat>> {
    let descriptor = |name, text: &Option<Text>| -> Resolved<Option<RawFd>> {
        let limit = i32::MAX.unsigned_abs().into();
        let number = whole(
            name,
            text,
            0..=limit,
            "give the number of an inherited descriptor",
        )?;
        Ok(number.and_then(|number| i32::try_from(number).ok()))
    };
    let cpuid = whole("cpuid", &args.cpuid, 0..=65_535, "give the number of a CPU")?;
    let index = whole(
        "worker-index",
        &args.worker_index,
        0..=WORKERS_MAX - 1,
        "leave it to the supervisor",
    )?;
    let Some(fd) = descriptor("fd", &args.fd)? else {
        return match cpuid {
            Some(_) => Err(BadOption(
                "--cpuid is for workers: give --fd too, or leave --cpuid off".to_owned(),
            )),
            None => Ok(None),
        };
    };
    Ok(Some(WorkerSeat {
        fd,
        cpuid: cpuid.map(to_usize),
        index: index.map_or(0, to_usize),
        stats_fd: descriptor("stats-fd", &args.stats_fd)?,
        board_fd: descriptor("board-fd", &args.board_fd)?,
    }))
}

fn listening(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    if let Some(Text(uri)) = &args.wsuri {
        options.endpoint = endpoint(uri)?;
    }
    if let Some(Text(port)) = &args.port {
        options.web_port = web_port(port)?;
    }
    let workers = whole(
        "workers",
        &args.workers,
        1..=WORKERS_MAX,
        "a server needs at least 1 worker, one per CPU is best",
    )?;
    set(&mut options.workers, workers.map(to_usize));
    set(
        &mut options.affinity,
        switch("noaffinity", &args.noaffinity)?.map(|off| !off),
    );
    if let Some(Text(text)) = &args.backlog {
        options.backlog = backlog(text)?;
    }
    set(&mut options.silence, switch("silence", &args.silence)?);
    set(&mut options.debug, switch("debug", &args.debug)?);
    set(
        &mut options.interval,
        time("interval", &args.interval, Duration::from_millis(10))?,
    );
    let formats = [("table", Format::Table), ("json", Format::Json)];
    set(
        &mut options.format,
        choice("format", &args.format, &formats)?,
    );
    let tiers = [
        ("auto", IoChoice::Auto),
        ("uring", IoChoice::Uring),
        ("epoll", IoChoice::Epoll),
    ];
    set(&mut options.io, choice("io", &args.io, &tiers)?);
    set(
        &mut options.reuseport,
        switch("reuseport", &args.reuseport)?,
    );
    if options.reuseport && matches!(options.endpoint, Endpoint::Unix { .. }) {
        return Err(BadOption(
            "--reuseport is for TCP: a Unix socket has one listener; leave --reuseport off"
                .to_owned(),
        ));
    }
    Ok(())
}

fn limits(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    let some = |number: Option<u64>| number.filter(|number| *number > 0).map(to_usize);
    let on = |time: Option<Duration>| time.filter(|time| !time.is_zero());
    let connections = whole(
        "max-connections",
        &args.max_connections,
        0..=1 << 32,
        "0 means no limit",
    )?;
    options.max_connections = some(connections);
    set(
        &mut options.max_message,
        octets("max-message", &args.max_message, 1..=SIZE_MAX)?.map(to_usize),
    );
    let frame = octets("max-frame", &args.max_frame, 1..=SIZE_MAX)?.map(to_usize);
    options.max_frame = frame.unwrap_or(options.max_message);
    if options.max_frame > options.max_message {
        return Err(BadOption(format!(
            "--max-frame {} is above --max-message {}: no frame is longer than its message; lower one or raise the other",
            options.max_frame, options.max_message
        )));
    }
    set(
        &mut options.send_queue,
        octets("send-queue", &args.send_queue, 1024..=SIZE_MAX)?.map(to_usize),
    );
    set(
        &mut options.handshake_timeout,
        time(
            "handshake-timeout",
            &args.handshake_timeout,
            Duration::from_millis(1),
        )?,
    );
    if let Some(timeout) = time("write-timeout", &args.write_timeout, Duration::ZERO)? {
        options.write_timeout = on(Some(timeout));
    }
    options.idle_timeout = on(time("idle-timeout", &args.idle_timeout, Duration::ZERO)?);
    options.ping_interval = on(time("ping-interval", &args.ping_interval, Duration::ZERO)?);
    set(
        &mut options.close_timeout,
        time(
            "close-timeout",
            &args.close_timeout,
            Duration::from_millis(1),
        )?,
    );
    set(
        &mut options.drain_timeout,
        time("drain-timeout", &args.drain_timeout, Duration::ZERO)?,
    );
    Ok(())
}

fn sockets(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    let to_u32 = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let buffer = 1..=u64::from(i32::MAX.unsigned_abs());
    let second = Duration::from_secs(1);
    let socket = &mut options.socket;
    set(&mut socket.nodelay, switch("nodelay", &args.nodelay)?);
    socket.congestion = args.congestion.as_ref().map(congestion).transpose()?;
    socket.rcvbuf = octets("rcvbuf", &args.rcvbuf, buffer.clone())?.map(to_u32);
    socket.sndbuf = octets("sndbuf", &args.sndbuf, buffer.clone())?.map(to_u32);
    socket.defer_accept = time("defer-accept", &args.defer_accept, second)?;
    socket.notsent_lowat = octets("notsent-lowat", &args.notsent_lowat, buffer)?.map(to_u32);
    socket.fastopen = whole(
        "fastopen",
        &args.fastopen,
        1..=65_535,
        "leave it off to disable fast open",
    )?
    .map(to_u32);
    socket.maxseg = octets("maxseg", &args.maxseg, 88..=32_767)?.map(to_u32);
    socket.busy_poll = time("busy-poll", &args.busy_poll, Duration::from_micros(1))?;
    Ok(())
}

/// What finds out peers that are gone without a word.
fn vanished_peers(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    let second = Duration::from_secs(1);
    let socket = &mut options.socket;
    let idle = time("keepalive", &args.keepalive, Duration::ZERO)?;
    if idle.is_some_and(|time| !time.is_zero() && time < second) {
        return Err(bad(
            "keepalive",
            &args.keepalive,
            "at least 1s, or 0 for off",
            "raise it",
        ));
    }
    let interval = time("keepalive-interval", &args.keepalive_interval, second)?;
    let count = whole(
        "keepalive-count",
        &args.keepalive_count,
        1..=127,
        "the kernel takes 1 to 127",
    )?;
    let user_timeout = time("user-timeout", &args.user_timeout, Duration::ZERO)?;
    let idle = idle.or(socket.keepalive).filter(|time| !time.is_zero());
    if idle.is_none() && (interval.is_some() || count.is_some()) {
        return Err(BadOption(
            "--keepalive-interval and --keepalive-count need --keepalive: give the time after which probing starts"
                .to_owned(),
        ));
    }
    let interval = interval.unwrap_or(KEEPALIVE_INTERVAL);
    let count = count.map_or(KEEPALIVE_COUNT, |count| {
        u32::try_from(count).unwrap_or(u32::MAX)
    });
    socket.keepalive = idle;
    socket.keepalive_interval = idle.map(|_| interval);
    socket.keepalive_count = idle.map(|_| count);
    socket.user_timeout = match (user_timeout, idle, options.write_timeout) {
        (Some(typed), ..) => Some(typed).filter(|time| !time.is_zero()),
        // A shorter one would count instead of the number of probes (tcp(7)), and end peers that do not read before the
        // write timeout does.
        (None, Some(idle), Some(write)) => Some((idle + interval * count).max(write)),
        _ => None,
    };
    Ok(())
}

/// Parses `ws://host:port` or `ws+unix:/path`.
pub(super) fn endpoint(uri: &str) -> Resolved<Endpoint> {
    let wrong = |why: &str| {
        BadOption(format!(
            "--wsuri {uri}: {why}; give something like ws://127.0.0.1:9000"
        ))
    };
    if uri.starts_with("wss:") {
        return Err(BadOption(format!(
            "--wsuri {uri}: TLS is not there yet; use ws:// and let a TLS proxy stand in front"
        )));
    }
    if let Some(path) = uri.strip_prefix("ws+unix:") {
        // Both ws+unix:/path and ws+unix:///path are in use.
        let path = path.strip_prefix("//").unwrap_or(path);
        // sockaddr_un.sun_path holds 108 octets with its end.
        return match path.len() {
            _ if !path.starts_with('/') => Err(wrong("the path must begin with a slash")),
            108.. => Err(wrong(
                "the path is longer than the 107 octets a Unix socket can have",
            )),
            _ => Ok(Endpoint::Unix {
                path: PathBuf::from(path),
            }),
        };
    }
    let rest = uri
        .strip_prefix("ws://")
        .ok_or_else(|| wrong("it does not begin with ws:// or ws+unix:"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err(wrong(
            "the server answers on every path, so it cannot be bound to one",
        ));
    }
    if authority.contains('@') {
        return Err(wrong("a user has no meaning here"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong("the bracket of the IPv6 address is open"))?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| wrong("what is in brackets is no IPv6 address"))?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong("an IPv6 address needs brackets, as ws://[::1]:9000"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.ok_or_else(|| wrong("the port is missing"))?;
    let port = port
        .parse::<u16>()
        .map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
    match host {
        "" => Err(wrong("the host is missing (0.0.0.0 is every IPv4 address)")),
        _ => Ok(Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }),
    }
}

pub(super) fn web_port(text: &str) -> Resolved<WebPort> {
    match (text, text.parse::<u16>()) {
        ("auto", _) => Ok(WebPort::Auto),
        (_, Ok(0)) => Ok(WebPort::Off),
        (_, Ok(port)) => Ok(WebPort::Fixed(port)),
        _ => Err(BadOption(format!(
            "--port {text} is no port: give a number from 1 to 65535, auto for any free one, or 0 for no web pages"
        ))),
    }
}

fn backlog(text: &str) -> Resolved<Backlog> {
    match (text, values::size(text)) {
        ("somaxconn", _) => Ok(Backlog::Somaxconn),
        (_, Some(depth @ 1..=0x7fff_ffff)) => {
            Ok(Backlog::Depth(u32::try_from(depth).unwrap_or(u32::MAX)))
        }
        _ => Err(BadOption(format!(
            "--backlog {text} is no queue length: give a number from 1 up, or no value for the kernel's limit"
        ))),
    }
}

/// A name the kernel could know: TCP_CA_NAME_MAX is 16 with its end.
pub(super) fn congestion(Text(name): &Text) -> Resolved<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match name.len() {
        1..=15 if name.chars().all(known) => Ok(name.clone()),
        _ => Err(BadOption(format!(
            "--congestion {name} is no name of a congestion control: see \
             /proc/sys/net/ipv4/tcp_available_congestion_control"
        ))),
    }
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

pub(super) fn switch(name: &str, text: &Option<Text>) -> Resolved<Option<bool>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    values::switch(value)
        .map(Some)
        .ok_or_else(|| bad(name, text, "true or false", "or leave the value off"))
}

pub(super) fn choice<T: Copy>(
    name: &str,
    text: &Option<Text>,
    choices: &[(&str, T)],
) -> Resolved<Option<T>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    let names = choices
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ");
    match choices.iter().find(|(name, _)| name == value) {
        Some((_, chosen)) => Ok(Some(*chosen)),
        None => Err(bad(
            name,
            text,
            &format!("one of {names}"),
            "choose one of them",
        )),
    }
}

pub(super) fn whole(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<u64>,
    why: &str,
) -> Resolved<Option<u64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::size(value).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(bad(
            name,
            text,
            &format!("a number from {} to {}", range.start(), range.end()),
            why,
        )),
    }
}

pub(super) fn octets(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<u64>,
) -> Resolved<Option<u64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::size(value).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let (low, high) = (
                values::show_size(*range.start()),
                values::show_size(*range.end()),
            );
            Err(bad(
                name,
                text,
                &format!("a size from {low} to {high}"),
                "write it as 1000, 64KiB or 16MiB",
            ))
        }
    }
}

pub(super) fn time(name: &str, text: &Option<Text>, min: Duration) -> Resolved<Option<Duration>> {
    time_within(name, text, min..=TIME_MAX)
}

pub(super) fn time_within(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<Duration>,
) -> Resolved<Option<Duration>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match values::duration(value).filter(|time| range.contains(time)) {
        Some(time) => Ok(Some(time)),
        None => {
            let (low, high) = (
                values::show_duration(*range.start()),
                values::show_duration(*range.end()),
            );
            Err(bad(
                name,
                text,
                &format!("a time from {low} to {high}"),
                "write it as 250ms, 10s or 1m",
            ))
        }
    }
}

pub(super) fn bad(name: &str, text: &Option<Text>, expected: &str, remedy: &str) -> BadOption {
    let value = text.as_ref().map_or("", |Text(value)| value);
    BadOption(format!("--{name} {value} is not {expected}: {remedy}"))
}

pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
