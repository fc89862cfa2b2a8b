//! From the texts that the user gave to options: checks each value, and how values go together.
//!
//! Owns: the sentences for options that do not go together. Never: makes a system call.

use std::os::fd::RawFd;
use std::path::PathBuf;

use super::args::ProcessArgs;
use super::gateway::programs;
use super::{access, gateway, web};
use ringway::options::{
    Application, BackplaneOptions, BusOptions, Endpoint, ServerOptions, Versions, WebPort,
    WorkerSeat,
};
use ringway::services::{HistoryLimits, Right};
use ringway::{Bzip2, Deflate};
use ringway_command::Text;
use ringway_command::judge::{BadOption, Resolved, to_usize, whole};
use ringway_command::options::{Defined, Given};

/// The options of a server from the texts that the user gave. `cpus` is the default number of workers.
pub(super) fn server<D>(given: &Given<D>, cpus: usize) -> Resolved<ServerOptions>
where
    D: Defined<Options = ServerOptions>,
{
    let mut options = D::defaults();
    options.workers = cpus;
    given.apply(&mut options)?;
    if options.reuseport && options.endpoints.iter().any(is_unix) {
        return Err(BadOption(
            "--reuseport is for TCP: a Unix socket has one listener; leave --reuseport off"
                .to_owned(),
        ));
    }
    if !given.has("max-frame") {
        options.max_frame = options.max_message;
    }
    if options.max_frame > options.max_message {
        return Err(BadOption(format!(
            "--max-frame {} is above --max-message {}: no frame is longer than its message; lower one or raise the other",
            options.max_frame, options.max_message
        )));
    }
    if !options.deflate && options.compression != Deflate::default() {
        return Err(given.deflate_is_missing());
    }
    let needs_bus = options.served().any(Application::needs_bus);
    options.bus = needs_bus;
    if !options.bus_options.is_possible() {
        return Err(BadOption(format!(
            "--bus-log {} is no power of two: write it as 4MiB",
            options.bus_options.log_bytes
        )));
    }
    without_effect(&options)?;
    access::check(&options)?;
    if options.gateway.programs.page {
        options.web.pages = gateway::PAGES;
    }
    web::check(&options.web)?;
    programs::check_processes(&options)?;
    options.backplane.check().map_err(BadOption)?;
    vanished_peers(given, &mut options)?;
    Ok(options)
}

const fn is_unix(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Unix { .. })
}

/// Refuses options that have no effect without another.
fn without_effect(options: &ServerOptions) -> Resolved<()> {
    let opening = &options.opening;
    let has = |kind| options.served().any(|application| application == kind);
    let of_unix = options.socket.unix_mode.is_some() || options.socket.unix_owner.is_some();
    let alone = if of_unix && !options.endpoints.iter().any(is_unix) {
        "--unix-mode and --unix-owner have no effect on a TCP port: listen on a Unix socket, as --wsuri=ws+unix:/run/echo.sock, \
         or leave them off"
    } else if opening.allow_null_origin && opening.allowed_origins.is_empty() {
        "--allow-null-origin has no effect without --allow-origin, because every origin is allowed: name the other ones, or \
         leave it off"
    } else if opening.legacy && opening.versions == Versions::Hybi10 {
        "--legacy serves version 13 and all before it, and --versions=8 says otherwise: leave one of them off"
    } else if options.log_frames.is_none() && options.log_bytes > 0 {
        "--log-bytes has no effect without --log-frames: say of how many connections one is logged, or leave it off"
    } else if options.ping_interval.is_none() && options.ping_timeout.is_some() {
        "--ping-timeout has no effect without --ping-interval: give the time after which a silent peer gets a Ping, or leave it off"
    } else if options.snappy && !cfg!(feature = "snappy") {
        "--snappy: this program was built without the feature snappy; leave it off, or build with --features snappy"
    } else if options.bzip2 && !cfg!(feature = "bzip2") {
        "--bzip2: this program was built without the feature bzip2; leave it off, or build with --features bzip2"
    } else if !options.bzip2 && options.bzip2_compression != Bzip2::default() {
        "--bzip2-level and --bzip2-client-level say how --bzip2 compresses, and it is not given: give it too, or leave them off"
    } else if !options.bus && options.bus_options != BusOptions::default() {
        "--bus-log and --slow-* are for topics, and there are none: add --app=broadcast or --app=pubsub, or leave them off"
    } else if !options.bus
        && !options.gateway.is_gateway()
        && guarded(options) != guarded(&ServerOptions::new(1))
    {
        "--may-*, --token-* and --api-key are for broadcasts and pubsubs, and there are none: add --app=broadcast or --app=pubsub, or \
         leave them off"
    } else if options.token_keys.is_empty() && tokens(options) != tokens(&ServerOptions::new(1)) {
        "--token-issuer, --token-audience and --token-required have no effect without --token-key: give the key, or leave them off"
    } else if options.api_key.is_some() && options.web_port == WebPort::Off {
        "--api-key has no effect with --port=0, because the HTTP API is on that port: give the port, or leave it off"
    } else if !has(Application::PubSub) && options.history != HistoryLimits::default() {
        "--history-* are for a pubsub, and there is none: add --app=pubsub or --service, or leave them off"
    } else if options.backplane.url.is_some() && !options.bus {
        "--backplane carries topics, and there are none: add --app=broadcast or --app=pubsub, or leave it off"
    } else if options.backplane.url.is_none() && options.backplane != BackplaneOptions::default() {
        "--backplane-prefix has no effect without --backplane: give the address of the broker, or leave it off"
    } else if !has(Application::Broadcast) && (options.tick.is_some() || !options.echo_self) {
        "--tick and --echo-self are for broadcasts, and there is none: add --app=broadcast or --service, or leave them off"
    } else if !options.applications.is_empty() && options.application != Application::Echo {
        "--app has no effect beside --service, which names the applications: name all of them there, or leave one of both off"
    } else if opening.forwarded_by.is_none() && !opening.proxies.is_empty() {
        "--trust-proxies has no effect without --trust-forwarded-for: give the number of proxies, or leave it off"
    } else {
        return Ok(());
    };
    Err(BadOption(alone.to_owned()))
}

/// The options that only topics need.
const fn guarded(
    options: &ServerOptions,
) -> (&Vec<Right>, &Vec<Right>, &Vec<PathBuf>, &Option<PathBuf>) {
    let ServerOptions {
        may_publish,
        may_subscribe,
        token_keys,
        api_key,
        ..
    } = options;
    (may_publish, may_subscribe, token_keys, api_key)
}

/// The options that only tokens need.
const fn tokens(options: &ServerOptions) -> (&Option<String>, &Option<String>, bool) {
    let ServerOptions {
        token_issuer,
        token_audience,
        token_required,
        ..
    } = options;
    (token_issuer, token_audience, *token_required)
}

/// Checks and sets the options that detect peers that vanished.
fn vanished_peers<D>(given: &Given<D>, options: &mut ServerOptions) -> Resolved<()>
where
    D: Defined<Options = ServerOptions>,
{
    let write_timeout = options.write_timeout;
    let socket = &mut options.socket;
    if socket.keepalive.is_none() {
        if given.has("keepalive-interval") || given.has("keepalive-count") {
            return Err(BadOption(
                "--keepalive-interval and --keepalive-count need --keepalive: give the time after which probing starts"
                    .to_owned(),
            ));
        }
        (socket.keepalive_interval, socket.keepalive_count) = (None, None);
    }
    if !given.has("user-timeout") {
        let probing = || {
            let probes = socket.keepalive_interval? * socket.keepalive_count?;
            Some(socket.keepalive? + probes)
        };
        // A shorter timeout would replace the number of probes (tcp(7)), and end peers that do not read before the
        // write timeout does.
        socket.user_timeout = probing().zip(write_timeout).map(|(a, b)| a.max(b));
    }
    Ok(())
}

/// The seat of a worker, from its options; `None` if this process is no worker.
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
        fds: vec![fd],
        cpuid: cpuid.map(to_usize),
        ..WorkerSeat::default()
    }))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
