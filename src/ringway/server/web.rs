//! The web process: HTTP for requests that open no WebSocket, which workers relay to its socket.
//!
//! Owns: what the options mean for it, the figures that it reports. Never: serves a request itself (`ringway_web` does).
//!
//! A byte on its standard input says that the server stops: connections get one more answer. It ends when its standard input has ended,
//! which the supervisor does when all workers are gone, and the kernel when the supervisor is. Signals mean nothing to it, because an init
//! system sends them to all processes of a server at once, and workers still relay what was in work.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway_web::{CgiOptions, Counts, FileOptions, Options, Page, Passwords, Trust, Upstream};
use tokio::sync::watch;

use super::beside;
use super::process::{adopt, environment};
use crate::exit::Fatal;
use crate::io::{Fd, sys, words};
use crate::options::{Endpoint, ServerOptions, WebPage, WorkerSeat};
use crate::proto::http::authority;
use crate::stats::sidecar::Totals as _;
use crate::stats::web::Counters;

/// Threads that read files: as many reads of a slow disk at a time.
const READERS_MAX: usize = 16;

/// Runs the web process until the server ends.
pub fn run(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    beside::run("web process", "ringway-web", || try_run(options, seat))
}

fn try_run(options: &ServerOptions, seat: &WorkerSeat) -> Result<(), Fatal> {
    let bad = || Fatal::usage("a web process is started by its supervisor only");
    let failed = |what: &'static str| move |error: io::Error| environment(what, &error);
    let stats = adopt(seat.stats_fd.ok_or_else(bad)?)?;
    let listener = adopt(*seat.fds.first().ok_or_else(bad)?)?;
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(listener));
    let served = of(options)?;
    if served.cgi.is_some() {
        // Programs would inherit what this process has of its supervisor: descriptors, and signals that it ignores.
        sys::handle_ignored_signals();
        sys::hold_descriptors_back().map_err(failed("descriptors"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS_MAX)
        .build()
        .map_err(failed("the runtime"))?;
    let done = runtime.block_on(async {
        // Orders are read until there are none.
        let stdin = Fd(io::stdin().as_raw_fd());
        sys::set_nonblocking(stdin, true)
            .map_err(|error| environment("the standard input", &error))?;
        let end = io::stdin().as_fd().try_clone_to_owned();
        let end = end.and_then(|end| words::waited(end.into()));
        let end = end.map_err(failed("the standard input"))?;
        let listener = tokio::net::UnixListener::from_std(listener);
        let listener = listener.map_err(failed("the socket of the web process"))?;
        let (say, orders) = watch::channel(Order::Serve);
        tokio::spawn(listen(end, say));
        let until = |order: Order| {
            let mut orders = orders.clone();
            async move {
                let _ = orders.wait_for(|now| *now >= order).await;
            }
        };
        let counts = Arc::new(Counts::default());
        tokio::spawn(report(stats, counts.clone(), options.record_interval()));
        let told = (until(Order::Drain), until(Order::End));
        ringway_web::serve(&served, listener, told, counts)
            .await
            .map_err(|error| {
                environment(
                    "the files of --web, the programs of --cgi-dir, or a field of --header",
                    &error,
                )
            })
    });
    // A read of a disk that hangs is not waited for.
    runtime.shutdown_background();
    done
}

/// What the supervisor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Serve,
    Drain,
    End,
}

/// Passes on what the standard input says.
async fn listen(end: tokio::io::unix::AsyncFd<File>, say: watch::Sender<Order>) {
    while let Ok(mut ready) = end.readable().await {
        match end.get_ref().read(&mut [0; 16]) {
            Ok(1..) => {
                ready.clear_ready();
                say.send_replace(Order::Drain);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            Ok(0) | Err(_) => break,
        }
    }
    say.send_replace(Order::End);
}

/// Sends the figures to the supervisor, for ever.
async fn report(mut stats: File, counts: Arc<Counts>, interval: Duration) {
    loop {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counters = Counters {
            connections: get(&counts.connections),
            accepted: get(&counts.accepted),
            broken: get(&counts.broken),
            requests: get(&counts.requests),
            files: get(&counts.files),
            proxied: get(&counts.proxied),
            proxy_failed: get(&counts.proxy_failed),
            proxy_cut: get(&counts.proxy_cut),
            cgi: get(&counts.cgi),
            cgi_failed: get(&counts.cgi_failed),
            cgi_cut: get(&counts.cgi_cut),
            unauthorized: get(&counts.unauthorized),
            refused: get(&counts.refused),
            cpu_ns: sys::thread_cpu_ns(),
        };
        // A pipe takes so few bytes as a whole or not at all, and the next record has these counts as well.
        let _ = stats.write_all(&counters.encode());
        tokio::time::sleep(interval).await;
    }
}

fn of(options: &ServerOptions) -> Result<Options, Fatal> {
    let (web, opening, programs) = (&options.web, &options.opening, &options.gateway.programs);
    let users = options.gateway.sessions.basic_auth.as_deref();
    let users = users.filter(|_| web.auth).map(Passwords::load);
    let users = users.transpose();
    let ladder = programs.kill_after;
    Ok(Options {
        users: users.map_err(|why| Fatal::usage(format!("--basic-auth {why}")))?,
        cgi: web.cgi_dir.as_ref().map(|dir| CgiOptions {
            dir: dir.clone(),
            pass_env: programs.pass_env.clone(),
            processes_max: usize::try_from(programs.forks_max).unwrap_or(usize::MAX),
            kill_after: [ladder.interrupt, ladder.terminate, ladder.kill],
            timeout: web.cgi_timeout,
        }),
        files: web.dir.as_ref().map(|dir| FileOptions {
            dir: dir.clone(),
            listing: web.listing,
            cache_control: web.cache_control.clone(),
        }),
        pages: web.pages.iter().map(page).collect(),
        upstream: web.proxy.as_ref().map(|proxy| match proxy {
            Endpoint::Tcp { host, port } => Upstream::Tcp(authority(host, port)),
            Endpoint::Unix { path } => Upstream::Unix(path.clone()),
        }),
        upstream_timeout: web.proxy_timeout,
        connections_max: web.connections,
        idle_timeout: web.idle_timeout,
        head_bytes_max: options.max_head,
        headers_max: options.max_headers,
        headers: opening.headers.clone(),
        server_name: opening.server_name.clone(),
        trust: Trust {
            forwarded_by: opening.forwarded_by,
            proxies: opening.proxies.clone(),
        },
        drain_timeout: options.drain_timeout,
    })
}

const fn page(page: &WebPage) -> Page {
    Page {
        name: page.name,
        content_type: page.content_type,
        body: page.body,
    }
}
