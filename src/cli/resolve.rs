//! What was typed, turned into what it means: every value of every option is judged here and nowhere else.
//!
//! Owns: the limits of values, and the sentence for each one that is out of them. Never: makes a system call.

use std::os::fd::RawFd;
use std::time::Duration;

use super::args::{ConfigArgs, ProcessArgs};
use super::services;
use ringway::options::{
    Backlog, Endpoint, Format, IoChoice, KEEPALIVE_COUNT, KEEPALIVE_INTERVAL, ServerOptions,
    WorkerSeat,
};
use ringway_command::endpoint::{
    HEAD_MAX, HEAD_MIN, HEADERS_MAX, HEADERS_MIN, congestion, endpoint, web_port,
};
use ringway_command::judge::{
    BadOption, Resolved, bad, bytes, choice, set, switch, time, to_usize, whole,
};
use ringway_command::{Text, values};

/// More workers than this share no machine we know of, and the board would outgrow its page table for nothing.
const WORKERS_MAX: u64 = 1024;

/// Sizes of messages, frames and queues stay below half of the smallest address space that makes sense.
const SIZE_MAX: u64 = 1 << 40;

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
        index: 0,
        stats_fd: None,
        board_fd: None,
        control_fd: None,
        config_fd: None,
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
    if let Some(Text(text)) = &args.service {
        options.applications = services::parse(text)?;
    }
    set(
        &mut options.reuseport,
        switch("reuseport", &args.reuseport)?,
    );
    if let Some(Text(list)) = &args.subprotocol {
        let parsed = list.parse();
        options.subprotocols =
            parsed.map_err(|why: String| BadOption(format!("--subprotocol {list}: {why}")))?;
    }
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
        bytes("max-message", &args.max_message, 1..=SIZE_MAX)?.map(to_usize),
    );
    let frame = bytes("max-frame", &args.max_frame, 1..=SIZE_MAX)?.map(to_usize);
    options.max_frame = frame.unwrap_or(options.max_message);
    if options.max_frame > options.max_message {
        return Err(BadOption(format!(
            "--max-frame {} is above --max-message {}: no frame is longer than its message; lower one or raise the other",
            options.max_frame, options.max_message
        )));
    }
    set(
        &mut options.send_queue,
        bytes("send-queue", &args.send_queue, 1024..=SIZE_MAX)?.map(to_usize),
    );
    heads(args, options)?;
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

fn heads(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    set(
        &mut options.max_head,
        bytes("max-head", &args.max_head, HEAD_MIN..=HEAD_MAX)?.map(to_usize),
    );
    let headers = whole(
        "max-headers",
        &args.max_headers,
        HEADERS_MIN..=HEADERS_MAX,
        "an opening handshake has 5, a browser's about 20",
    )?;
    set(&mut options.max_headers, headers.map(to_usize));
    Ok(())
}

fn sockets(args: &ConfigArgs, options: &mut ServerOptions) -> Resolved<()> {
    let to_u32 = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let buffer = 1..=u64::from(i32::MAX.unsigned_abs());
    let second = Duration::from_secs(1);
    let socket = &mut options.socket;
    set(&mut socket.nodelay, switch("nodelay", &args.nodelay)?);
    socket.congestion = args.congestion.as_ref().map(congestion).transpose()?;
    socket.rcvbuf = bytes("rcvbuf", &args.rcvbuf, buffer.clone())?.map(to_u32);
    socket.sndbuf = bytes("sndbuf", &args.sndbuf, buffer.clone())?.map(to_u32);
    socket.defer_accept = time("defer-accept", &args.defer_accept, second)?;
    socket.notsent_lowat = bytes("notsent-lowat", &args.notsent_lowat, buffer)?.map(to_u32);
    socket.fastopen = whole(
        "fastopen",
        &args.fastopen,
        1..=65_535,
        "leave it off to disable fast open",
    )?
    .map(to_u32);
    socket.maxseg = bytes("maxseg", &args.maxseg, 88..=32_767)?.map(to_u32);
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

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
