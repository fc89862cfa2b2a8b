//! What the load driver finds out about a server on the same machine, tested with real servers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::client::{Client, TEXT};
use crate::common::{Server, get, kill, until};
use wsperf::load::observer::Observer;
use wsperf::load::options::{Asking, LoadOptions, Scenario, Target};
use wsperf::load::outcome::Outcome;

fn options(server: &Server) -> LoadOptions {
    let uri = server.address();
    let host = uri.trim_start_matches("ws://").to_owned();
    let target = Target {
        addresses: vec![host.parse::<SocketAddr>().expect("an address").into()],
        uri,
        host,
        resource: "/".to_owned(),
        subprotocols: Vec::new(),
        tls_name: None,
        asking: Asking::default(),
    };
    LoadOptions::new(target, Scenario::Echo)
}

/// Echoes for `time`, and returns the number of messages.
fn echo_for(server: &Server, time: Duration) -> u64 {
    let mut client = Client::connect(&server.address());
    let began = Instant::now();
    let mut messages = 0;
    while began.elapsed() < time {
        client.echo(TEXT, b"twenty bytes of text");
        messages += 1;
    }
    messages
}

/// Measures a window with one busy client in it.
fn observe(mut observer: Observer, server: &Server, time: Duration) -> Outcome {
    observer.before();
    let first = observer.begin();
    let messages = echo_for(server, time);
    let last = observer.end();
    let utilisation = last.utilisation_since(&first);
    let mut outcome = Outcome {
        messages,
        ..Outcome::default()
    };
    observer.finish(&mut outcome);
    let rows = outcome.server.iter().flat_map(|server| &server.processes);
    let sum: f64 = rows.map(|row| row.utilisation).sum();
    assert!(
        (utilisation.unwrap_or(0.0) - sum).abs() < 1e-6,
        "{outcome:?}"
    );
    outcome
}

fn pids(outcome: &Outcome) -> Vec<u32> {
    let processes = outcome
        .server
        .as_ref()
        .expect("it was found")
        .processes
        .iter();
    processes
        .map(|process| u32::try_from(process.pid).expect("positive"))
        .collect()
}

fn family(server: &Server) -> Vec<u32> {
    let mut family = server.workers();
    family.push(server.pid());
    family.sort_unstable();
    family
}

#[test]
fn supervisor_and_workers_are_found_by_their_listener_and_the_busy_one_shows() {
    for arguments in [
        &["--workers=2", "--port=0"][..],
        &["--workers=2", "--port=0", "--reuseport"],
    ] {
        let server = Server::start(arguments);
        let window = Duration::from_millis(300);
        let outcome = observe(Observer::new(&options(&server)), &server, window);
        assert_eq!(pids(&outcome), family(&server), "{outcome:?}");
        assert_eq!(
            outcome.notes.iter().find(|note| !note.contains("waited")),
            None
        );

        let seen = outcome.server.as_ref().expect("it was found");
        let busiest = seen
            .processes
            .iter()
            .map(|row| row.cpu_s)
            .fold(0.0, f64::max);
        assert!(busiest > 0.0 && busiest < 30.0, "{seen:?}");
        assert!(
            seen.processes
                .iter()
                .all(|row| row.threads >= 1 && row.resident_bytes > 1 << 16)
        );
        assert!(seen.memory_before_bytes > 1 << 18 && seen.memory_bytes > 1 << 18);
        assert!(seen.kernel_tcp_bytes.is_some() && seen.statistics.is_none());
        let cpu_s: f64 = seen.processes.iter().map(|row| row.cpu_s).sum();
        let per_message = outcome
            .server_cpu_us_per_message
            .expect("messages were counted");
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let messages = outcome.messages as f64;
        assert!((per_message * messages - cpu_s * 1e6).abs() < 1.0);
        assert!(outcome.server_saturated.is_some());
    }
}

#[test]
fn a_wildcard_listener_on_ipv6_is_found_from_an_ipv4_address() {
    let server = Server::start(&["--workers=1", "--port=0", "--wsuri=ws://[::]:0"]);
    let port = server
        .address()
        .rsplit_once(':')
        .expect("a port")
        .1
        .to_owned();
    let mut options = options(&server);
    let port = port.parse().expect("a port");
    options.target.addresses = vec![SocketAddr::from(([127, 0, 0, 1], port)).into()];
    let mut observer = Observer::new(&options);
    let (_, _) = (observer.begin(), observer.end());
    let mut outcome = Outcome::default();
    observer.finish(&mut outcome);
    assert_eq!(pids(&outcome), family(&server));
    assert_eq!(
        outcome.server_cpu_us_per_message, None,
        "no message was counted"
    );
}

#[test]
fn a_pid_stands_for_itself_and_its_children() {
    let server = Server::start(&["--workers=2", "--port=0"]);
    let mut options = options(&server);
    options.server_pid = Some(i32::try_from(server.pid()).expect("a pid"));
    let outcome = observe(Observer::new(&options), &server, Duration::from_millis(50));
    assert_eq!(pids(&outcome), family(&server));
}

/// Whether the page has a first record of every worker.
fn all_recorded(server: &Server) -> bool {
    let stats = server.stats();
    let workers = stats["workers"].as_array().expect("an array");
    workers
        .iter()
        .all(|worker| worker["record"]["clock_ns"].is_u64())
}

#[test]
fn the_statistics_of_a_ringway_server_are_found_by_themselves() {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=50ms"]);
    until("every worker has reported", || all_recorded(&server));
    let outcome = observe(
        Observer::new(&options(&server)),
        &server,
        Duration::from_millis(400),
    );
    let seen = outcome.server.as_ref().expect("it was found");
    let page = format!("http://{}/stats.json (Ringway ", server.web());
    let source = seen
        .statistics
        .as_ref()
        .unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(source.starts_with(&page), "{source}");
    assert_eq!(
        seen.workers
            .iter()
            .map(|worker| worker.index)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    let enters = seen.enters_per_message.expect("messages were echoed");
    // One client with one message in flight: each echo is a turn, and some turns are idle.
    assert!((0.9..10.0).contains(&enters), "{enters}");
    assert!(
        seen.workers
            .iter()
            .map(|worker| worker.messages)
            .sum::<u64>()
            > 0
    );
}

#[test]
fn an_address_that_is_no_page_is_noted_and_the_rest_is_measured() {
    let server = Server::start(&["--workers=1", "--port=auto"]);
    let mut options = options(&server);
    // The WebSocket port refuses a request that is no opening handshake.
    options.server_stats = options.target.addresses[0].tcp();
    let outcome = observe(Observer::new(&options), &server, Duration::from_millis(50));
    let note = outcome
        .notes
        .iter()
        .find(|note| note.contains("--server-stats"));
    assert!(
        note.is_some_and(|note| note.contains("is no page of a Ringway server")),
        "{note:?}"
    );
    assert_eq!(pids(&outcome), family(&server));
    assert!(get(&server.web(), "/stats.json").contains("\"record\""));
}

#[test]
fn a_worker_that_dies_in_the_window_and_its_successor_are_noted() {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let old = server.workers();
    let mut observer = Observer::new(&options(&server));
    let first = observer.begin();
    echo_for(&server, Duration::from_millis(50));
    observer.sample();
    old.iter().for_each(|pid| kill(*pid));
    until("a new worker is there", || {
        let new = server.workers();
        !new.is_empty() && new != old
    });
    // A client has connected: the process runs the server's program and holds its listener.
    drop(Client::connect(&server.address()));
    let middle = observer.sample();
    assert!(middle.utilisation_since(&first).expect("found") > 0.0);
    let last = observer.end();
    assert!(last.utilisation_since(&middle).expect("found") >= 0.0);
    let mut outcome = Outcome::default();
    observer.finish(&mut outcome);
    let noted = |pid: u32, what: &str| {
        let is =
            |note: &String| note.starts_with(&format!("process {pid} ")) && note.contains(what);
        outcome.notes.iter().any(is)
    };
    assert!(
        noted(old[0], "ended during the measured window"),
        "{outcome:?}"
    );
    assert!(
        noted(server.workers()[0], "started during the measured window"),
        "{outcome:?}"
    );
    assert_eq!(outcome.server.expect("found").processes.len(), 3);
}
