//! What was typed for a scenario, turned into what it means.
//!
//! Owns: the limits of values, and the sentence for each one that is out of them. Never: makes a system call, asks for the
//! address of a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Kind, LoadArgs, parts};
use crate::load::compat::uri::Uri;
use crate::load::options::{
    BROADCAST_BYTES_MIN, Churn, IoTier, LoadOptions, Payload, Scenario, Target, Verify, is_stdout,
};
use crate::options::Format;
use ringway_command::Text;
use ringway_command::endpoint::{HEAD_MAX, HEAD_MIN, HEADERS_MAX, HEADERS_MIN, congestion};
use ringway_command::file;
use ringway_command::judge::{
    BadOption, Resolved, bad, bytes, choice, set, switch, time_within, to_usize, whole,
};
use ringway_command::values;

/// Connections of one run.
pub(super) const CONNECTIONS_MAX: u64 = 1_000_000;

/// More threads than this share no machine we know of.
const THREADS_MAX: u64 = 1024;

/// Messages per second: more than any machine passes on.
pub(super) const RATE_MAX: f64 = 1e9;

/// Bytes of a message.
const SIZE_MAX: u64 = 64 << 20;

/// Sizes with weights.
const SIZES_MAX: usize = 100;

/// Messages of one connection under way.
const IN_FLIGHT_MAX: u64 = 65_536;

/// Local addresses: as many as a /16 has.
const SOURCES_MAX: u128 = 65_536;

/// The highest number of a CPU that can be pinned to (CPU_SETSIZE).
const CPU_MAX: usize = 1023;

/// A soak of a month.
const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// No other time is longer.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// A window must hold messages.
const DURATION_MIN: Duration = Duration::from_millis(10);

/// PID_MAX_LIMIT of the kernel.
const PID_MAX: u64 = 1 << 22;

/// A run, and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// Complete but for the address of the server when its host is a name.
    pub(super) options: LoadOptions,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) format: Format,
    pub(super) silence: bool,
}

/// Makes a run out of what was typed; `cpus` are those that this process may use, in ascending order.
pub(super) fn run(kind: Kind, args: &LoadArgs, cpus: &[usize]) -> Resolved<Run> {
    refuse_foreign(kind, args)?;
    let (target, uri) = target(args)?;
    let mut options = LoadOptions::new(target, scenario(kind, args)?);
    connections(kind, args, &mut options)?;
    threads(args, &mut options, cpus)?;
    messages(kind, args, &mut options)?;
    server(args, &mut options)?;
    let file = |text: &Option<Text>| text.as_ref().map(|Text(name)| PathBuf::from(name));
    options.outputs.json = file(&args.json);
    options.outputs.hdr = file(&args.hdr);
    options.outputs.html = file(&args.html);
    let to_stdout = options.outputs.files();
    if to_stdout.into_iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(BadOption(
            "only one of --json, --hdr and --html can be -, which is stdout: give the others a file"
                .to_owned(),
        ));
    }
    if let Scenario::Broadcast { senders, .. } = &mut options.scenario {
        *senders = self::senders(args, options.connections)?;
    }
    let formats = [("table", Format::Table), ("json", Format::Json)];
    Ok(Run {
        options,
        host: uri.host,
        port: uri.port,
        format: choice("format", &args.format, &formats)?.unwrap_or(Format::Table),
        silence: switch("silence", &args.silence)?.unwrap_or(false),
    })
}

/// An option that would be ignored is a mistake.
fn refuse_foreign(kind: Kind, args: &LoadArgs) -> Resolved<()> {
    let given = file::to_table(args);
    match given.keys().find(|name| !kind.knows(name)) {
        Some(name) => Err(BadOption(format!(
            "--{name} means nothing to {}: leave it off",
            kind.name()
        ))),
        None => Ok(()),
    }
}

/// The server; a name gets the address 0.0.0.0 for the time being.
fn target(args: &LoadArgs) -> Resolved<(Target, Uri)> {
    let text = args.uri.as_ref().map_or(URI, |Text(uri)| uri);
    let uri = Uri::parse(text).map_err(|why| {
        BadOption(format!(
            "{text}: {why}; give something like ws://127.0.0.1:9000/"
        ))
    })?;
    let ip = uri
        .host
        .parse()
        .unwrap_or_else(|_| Ipv4Addr::UNSPECIFIED.into());
    let target = Target {
        uri: text.to_owned(),
        addresses: vec![SocketAddr::new(ip, uri.port)],
        host: uri.authority(),
        resource: uri.resource.clone(),
        subprotocols: parts(&args.subprotocol).map(str::to_owned).collect(),
    };
    Ok((target, uri))
}

/// Where a Ringway server listens by default.
const URI: &str = "ws://127.0.0.1:9000/";

fn scenario(kind: Kind, args: &LoadArgs) -> Resolved<Scenario> {
    Ok(match kind {
        Kind::Echo => Scenario::Echo,
        Kind::Handshake => handshake(args)?,
        Kind::Massconnect => massconnect(args)?,
        // The number of connections says how many there can be.
        Kind::Broadcast => Scenario::Broadcast {
            senders: 1,
            others_only: switch("others-only", &args.others_only)?.unwrap_or(false),
        },
        Kind::Mixed => Scenario::Mixed {
            idle: share("idle", &args.idle)?.unwrap_or(0.9),
        },
        Kind::Stress => Scenario::Stress(churn(args, 10.0)?),
        Kind::Soak => Scenario::Soak(churn(args, 1.0)?),
    })
}

fn handshake(args: &LoadArgs) -> Resolved<Scenario> {
    let mark = |name, text| {
        whole(
            name,
            text,
            1..=CONNECTIONS_MAX,
            "opening handshakes in progress",
        )
    };
    let high = mark("high", &args.high)?.unwrap_or(500);
    let low = mark("low", &args.low)?.unwrap_or_else(|| high.min(250));
    if low > high {
        return Err(BadOption(format!(
            "--low {low} is above --high {high}: lower one or raise the other"
        )));
    }
    let count = whole(
        "count",
        &args.count,
        0..=10_000_000_000,
        "0 means until the time is over",
    )?;
    Ok(Scenario::Handshake {
        low: to_usize(low),
        high: to_usize(high),
        count: count.filter(|count| *count > 0),
    })
}

fn massconnect(args: &LoadArgs) -> Resolved<Scenario> {
    let time = |name, text, default| {
        let time = time_within(name, text, Duration::ZERO..=TIME_MAX)?;
        Resolved::Ok(time.unwrap_or(default))
    };
    let batch = whole(
        "batch",
        &args.batch,
        1..=CONNECTIONS_MAX,
        "connects begun at once",
    )?;
    let ping_interval = time("ping-interval", &args.ping_interval, Duration::ZERO)?;
    Ok(Scenario::Massconnect {
        batch: batch.map_or(500, to_usize),
        batch_delay: time("batch-delay", &args.batch_delay, Duration::from_millis(100))?,
        retry_delay: time("retry-delay", &args.retry_delay, Duration::from_secs(1))?,
        ping_interval: (!ping_interval.is_zero()).then_some(ping_interval),
    })
}

fn churn(args: &LoadArgs, events_per_second: f64) -> Resolved<Churn> {
    let rate =
        |name, text| Resolved::Ok(number(name, text, 0.0..=RATE_MAX)?.unwrap_or(events_per_second));
    let slow = bytes("slow-rate", &args.slow_rate, 1..=SIZE_MAX)?.unwrap_or(1024);
    Ok(Churn {
        reconnects_per_second: rate("reconnects", &args.reconnects)?,
        resets_per_second: rate("resets", &args.resets)?,
        slow_readers: share("slow-readers", &args.slow_readers)?.unwrap_or(0.01),
        slow_bytes_per_second: as_f64(slow),
    })
}

fn senders(args: &LoadArgs, connections: usize) -> Resolved<usize> {
    if args.senders == Some(Text("all".to_owned())) {
        return Ok(connections);
    }
    let range = 1..=connections as u64;
    let senders = whole(
        "senders",
        &args.senders,
        range,
        "or all, which is every connection",
    )?;
    Ok(senders.map_or(1, to_usize))
}

fn connections(kind: Kind, args: &LoadArgs, options: &mut LoadOptions) -> Resolved<()> {
    let count = |name, text| whole(name, text, 1..=CONNECTIONS_MAX, "one run has at least 1");
    if kind == Kind::Massconnect {
        options.connections = 10_000;
    }
    if kind == Kind::Soak {
        options.duration = Duration::from_secs(3600);
    }
    set(
        &mut options.connections,
        count("connections", &args.connections)?.map(to_usize),
    );
    set(
        &mut options.connecting_max,
        count("connecting", &args.connecting)?.map(to_usize),
    );
    set(
        &mut options.duration,
        time_within("duration", &args.duration, DURATION_MIN..=DURATION_MAX)?,
    );
    set(
        &mut options.warmup,
        time_within("warmup", &args.warmup, Duration::ZERO..=TIME_MAX)?,
    );
    set(
        &mut options.timeout,
        time_within(
            "timeout",
            &args.timeout,
            Duration::from_millis(1)..=TIME_MAX,
        )?,
    );
    heads(args, options)?;
    set(
        &mut options.seed,
        whole("seed", &args.seed, 0..=u64::MAX, "any number will do")?,
    );
    let tiers = [
        ("auto", IoTier::Auto),
        ("uring", IoTier::Uring),
        ("epoll", IoTier::Epoll),
    ];
    set(&mut options.io, choice("io", &args.io, &tiers)?);
    options.congestion = args.congestion.as_ref().map(congestion).transpose()?;
    options.sources = sources(&args.source)?;
    Ok(())
}

fn heads(args: &LoadArgs, options: &mut LoadOptions) -> Resolved<()> {
    set(
        &mut options.max_head,
        bytes("max-head", &args.max_head, HEAD_MIN..=HEAD_MAX)?.map(to_usize),
    );
    let headers = whole(
        "max-headers",
        &args.max_headers,
        HEADERS_MIN..=HEADERS_MAX,
        "an answer that opens has 3 at least",
    )?;
    set(&mut options.max_headers, headers.map(to_usize));
    Ok(())
}

fn threads(args: &LoadArgs, options: &mut LoadOptions, cpus: &[usize]) -> Resolved<()> {
    let threads = whole(
        "threads",
        &args.threads,
        1..=THREADS_MAX,
        "one per CPU that the server leaves free",
    )?;
    set(&mut options.threads, threads.map(to_usize));
    options.cpus = match &args.cpus {
        None if cpus.len() < 2 => Vec::new(),
        None => {
            let first = cpus.len().saturating_sub(options.threads);
            cpus.get(first..).unwrap_or_default().to_vec()
        }
        Some(Text(text)) if text == "none" => Vec::new(),
        Some(Text(text)) => cpu_list(text, cpus)?,
    };
    Ok(())
}

/// `2,3`, `4-7`, or both.
fn cpu_list(text: &str, allowed: &[usize]) -> Resolved<Vec<usize>> {
    let wrong = || {
        let list = "a list of CPUs";
        bad(
            "cpus",
            &Some(Text(text.to_owned())),
            list,
            "write it as 2,3 or 4-7, or none",
        )
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |text: &str| {
            text.trim()
                .parse::<usize>()
                .ok()
                .filter(|cpu| *cpu <= CPU_MAX)
        };
        match (parse(first), parse(last)) {
            (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
            _ => return Err(wrong()),
        }
    }
    match cpus
        .iter()
        .find(|cpu| !allowed.is_empty() && !allowed.contains(cpu))
    {
        Some(cpu) => Err(BadOption(format!(
            "--cpus {text}: this process may not run on CPU {cpu}, only on {}",
            show_list(allowed)
        ))),
        None => Ok(cpus),
    }
}

/// Numbers with commas between.
pub(super) fn show_list<T: ToString>(list: &[T]) -> String {
    let shown: Vec<_> = list.iter().map(T::to_string).collect();
    shown.join(",")
}

fn messages(kind: Kind, args: &LoadArgs, options: &mut LoadOptions) -> Resolved<()> {
    options.rate = number("rate", &args.rate, 0.001..=RATE_MAX)?;
    if args.rate.is_some() && args.in_flight.is_some() {
        return Err(BadOption(
            "--in-flight is for a closed loop, and --rate makes an open one: leave one of them off"
                .to_owned(),
        ));
    }
    let in_flight = whole(
        "in-flight",
        &args.in_flight,
        1..=IN_FLIGHT_MAX,
        "messages of each connection under way",
    )?;
    set(&mut options.in_flight, in_flight.map(to_usize));
    let default = match kind {
        Kind::Broadcast => "64",
        Kind::Mixed => "20:0.7,1KiB:0.2,16KiB:0.1",
        _ => "20",
    };
    let text = args.size.as_ref().map_or(default, |Text(text)| text);
    options.payload = Payload {
        sizes: sizes(text)?,
        binary: switch("binary", &args.binary)?.unwrap_or(false),
    };
    options.unbatched = switch("unbatched", &args.unbatched)?.unwrap_or(false);
    let least = options.payload.sizes.iter().map(|(size, _)| *size).min();
    if kind == Kind::Broadcast && least.is_some_and(|size| size < BROADCAST_BYTES_MIN) {
        return Err(BadOption(format!(
            "--size {text} is too small: a message of a broadcast carries its sender, number and time in \
             {BROADCAST_BYTES_MIN} bytes"
        )));
    }
    if kind == Kind::Broadcast && options.payload.sizes.len() > 1 {
        return Err(BadOption(format!(
            "--size {text}: all messages of a broadcast have the same size; give one"
        )));
    }
    let ways = [("exact", Verify::Exact), ("length", Verify::Length)];
    set(&mut options.verify, choice("verify", &args.verify, &ways)?);
    Ok(())
}

/// One size, or several with their weights.
fn sizes(text: &str) -> Resolved<Vec<(usize, f64)>> {
    let wrong = |remedy: &str| {
        let what = "a size from 0 to 64MiB, or several with weights";
        bad("size", &Some(Text(text.to_owned())), what, remedy)
    };
    let size = |text: &str| {
        values::size(text)
            .filter(|size| *size <= SIZE_MAX)
            .map(to_usize)
    };
    if !text.contains(':') {
        let size =
            size(text).ok_or_else(|| wrong("write it as 1000, 64KiB, or 20:0.7,1KiB:0.3"))?;
        return Ok(vec![(size, 1.0)]);
    }
    let parts: Option<Vec<_>> = text
        .split(',')
        .map(|part| {
            let (of, weight) = part.split_once(':')?;
            let weight = weight.trim().parse::<f64>().ok()?;
            (weight > 0.0 && weight <= RATE_MAX).then_some((size(of)?, weight))
        })
        .collect();
    match parts {
        Some(parts) if parts.len() <= SIZES_MAX => Ok(parts),
        Some(_) => Err(wrong("give at most 100 sizes")),
        None => Err(wrong("write each as 1KiB:0.2, and weights above 0")),
    }
}

/// Addresses and ranges of them.
fn sources(list: &[Text]) -> Resolved<Vec<IpAddr>> {
    let mut found = Vec::new();
    for part in parts(list) {
        let wrong = |why: &str| {
            BadOption(format!(
                "--source {part}: {why}; write it as 127.0.0.2, or as a range 127.0.0.2-127.0.0.9"
            ))
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |text: &str| {
            text.trim()
                .parse::<IpAddr>()
                .map_err(|_| wrong("that is no address"))
        };
        let left = SOURCES_MAX - found.len() as u128;
        let check = |first: u128, last: u128| match last.checked_sub(first) {
            None => Err(wrong("the range ends before it begins")),
            Some(more) if more >= left => Err(wrong("these are more than 65536 addresses")),
            Some(_) => Ok(()),
        };
        match (parse(first)?, parse(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                check(first.into(), last.into())?;
                found.extend((first..=last).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                check(first, last)?;
                found.extend((first..=last).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
            }
            _ => return Err(wrong("the range mixes IPv4 and IPv6")),
        }
    }
    Ok(found)
}

fn server(args: &LoadArgs, options: &mut LoadOptions) -> Resolved<()> {
    let pid = whole(
        "server-pid",
        &args.server_pid,
        1..=PID_MAX,
        "the number of a process",
    )?;
    options.server_pid = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(Text(text)) = &args.server_stats {
        // As the server prints it: http://127.0.0.1:8080/
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.split('/').next().unwrap_or_default();
        let address = bare.parse().map_err(|_| {
            let what = "an address with a port";
            bad(
                "server-stats",
                &args.server_stats,
                what,
                "write it as 127.0.0.1:8080",
            )
        })?;
        options.server_stats = Some(address);
    }
    Ok(())
}

/// A number that may have a fraction, or a suffix such as `50k`.
pub(super) fn number(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<f64>,
) -> Resolved<Option<f64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    let number = value
        .parse()
        .ok()
        .or_else(|| values::size(value).map(as_f64));
    match number.filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            Err(bad(name, text, &expected, "write it as 0.5, 1000 or 50k"))
        }
    }
}

fn share(name: &str, text: &Option<Text>) -> Resolved<Option<f64>> {
    let Some(Text(value)) = text else {
        return Ok(None);
    };
    match value
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
    {
        Some(share) => Ok(Some(share)),
        None => Err(bad(
            name,
            text,
            "a share from 0 to 1",
            "write one per cent as 0.01",
        )),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^53 by the limits of the options"
)]
pub(super) const fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
