//! The program `wsperf` where something is not as it should be: servers that are away, full or refuse, names with several
//! addresses, sessions that end.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::testee::{Behaviour, Testee};
use crate::common::{PATIENCE, Server, process, run, scratch, until};

/// What a run of `wsperf` leaves as JSON; it must end with `code`.
fn measured(code: i32, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--format=json");
    let output = run("wsperf", &arguments);
    assert_eq!(
        output.code, code,
        "{arguments:?}: {} {}",
        output.stdout, output.stderr
    );
    serde_json::from_str(&output.stdout).expect("one object")
}

fn count(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

fn figure(run: &Value, name: &str) -> f64 {
    let figure = run["figures"][name].as_f64();
    figure.unwrap_or_else(|| panic!("{name} is not in {}", run["figures"]))
}

fn notes(run: &Value) -> String {
    run["notes"].to_string()
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

#[test]
fn handshakes_with_nobody_there_end_with_3_and_soon() {
    let uri = format!("ws://127.0.0.1:{}/", free_port());
    let began = Instant::now();
    let output = run("wsperf", &["handshake", &uri, "--duration=60s"]);
    assert_eq!((output.code, output.stdout.as_str()), (3, ""));
    assert!(
        output
            .stderr
            .starts_with("wsperf: error: no connection to ws://127.0.0.1:"),
        "{}",
        output.stderr
    );
    assert!(
        began.elapsed() < PATIENCE,
        "not for as long as the window is"
    );
    let output = run("wsperf", &["handshake", &uri, "--count=5"]);
    assert_eq!(output.code, 3, "{}", output.stdout);
    let directory = scratch("driver-standalone");
    let file = directory.path("result.json");
    let output = run("wsperf", &[&uri, "1", "10", "1", "2", &file]);
    assert_eq!(output.code, 3, "{}", output.stdout);
    assert!(!std::path::Path::new(&file).exists());
}

#[test]
fn a_run_that_never_began_leaves_no_files_and_spoils_none() {
    let uri = format!("ws://127.0.0.1:{}/", free_port());
    let directory = scratch("driver-files");
    let [json, hdr, html] = ["a.json", "a.hdr", "a.html"].map(|name| directory.path(name));
    let old = directory.write("old.json", "an older result");
    let files = ["--json", &json, "--hdr", &hdr, "--html", &html];
    let arguments = [&["echo", &uri, "--connections=1"][..], &files].concat();
    assert_eq!(run("wsperf", &arguments).code, 3);
    for file in [&json, &hdr, &html] {
        assert!(!std::path::Path::new(file).exists(), "{file}");
    }
    assert_eq!(run("wsperf", &["echo", &uri, "--json", &old]).code, 3);
    assert_eq!(
        std::fs::read_to_string(&old).expect("kept"),
        "an older result"
    );
}

#[test]
fn a_dash_is_stdout_and_then_nothing_else_is() {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let uri = server.address();
    let directory = scratch("driver-dash");
    let short = ["--duration=50ms", "--warmup=0", "--connections=2"];
    let in_folder = |extra: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wsperf"))
            .args(["echo", &uri])
            .args(short)
            .args(extra)
            .current_dir(directory.path("."))
            .output()
            .expect("the program is built");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
        )
    };
    let (code, stdout) = in_folder(&["--json=-"]);
    let object: Value = serde_json::from_str(&stdout).expect("one object and nothing else");
    assert_eq!((code, &object["errors"]), (Some(0), &Value::from(0)));
    let (code, stdout) = in_folder(&["--html=-", "--format=json"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("<!doctype html>") && stdout.ends_with("</html>\n"));
    let (code, stdout) = in_folder(&["--hdr=-"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("#[Histogram log"), "{stdout}");
    assert_eq!(in_folder(&["--json=-", "--html=-"]).0, Some(2));
    assert!(!std::path::Path::new(&directory.path("-")).exists());
}

/// Starts a long run and waits until it measures.
fn long_run(server: &Server, more: &[&str]) -> Child {
    let ticks = || {
        server
            .workers()
            .into_iter()
            .map(process::cpu_ticks)
            .sum::<u64>()
    };
    let before = ticks();
    let child = Command::new(env!("CARGO_BIN_EXE_wsperf"))
        .args(["echo", &server.address(), "--duration=1h", "--warmup=0"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is built");
    until("messages are echoed", || ticks() > before + 5);
    child
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("a shell").success());
}

#[test]
fn a_session_that_ends_leaves_the_result_so_far() {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let directory = scratch("driver-hangup");
    for (number, signals) in [&["HUP"][..], &["TERM"], &["HUP", "HUP"]]
        .iter()
        .enumerate()
    {
        let file = directory.path(&format!("{number}.json"));
        let mut child = long_run(&server, &["--format=json", "--json", &file]);
        signals.iter().for_each(|name| signal(&child, name));
        let mut stdout = String::new();
        let pipe = child.stdout.as_mut().expect("piped");
        pipe.read_to_string(&mut stdout).expect("text");
        assert_eq!(child.wait().expect("ours").code(), Some(5), "{signals:?}");
        let object: Value = serde_json::from_str(&stdout).expect("one object");
        assert!(count(&object["messages"]) > 0 && notes(&object).contains("interrupted"));
        assert_eq!(std::fs::read_to_string(&file).expect("written"), stdout);
    }
}

#[test]
fn who_ignores_the_end_of_a_session_goes_on() {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let uri = server.address();
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_wsperf"))
        .args(["echo", &uri, "--duration=2s", "--warmup=0", "--silence"])
        .spawn()
        .expect("a shell");
    until("messages are echoed", || {
        let mut workers = server.workers().into_iter();
        workers.any(|worker| process::cpu_ticks(worker) > 2)
    });
    signal(&child, "HUP");
    assert_eq!(child.wait().expect("ours").code(), Some(0));
}

/// The server is away for half of the run: a connection is tried again after pauses, not as fast as a core can.
#[test]
fn a_server_that_is_away_is_not_called_without_a_pause() {
    for scenario in ["soak", "stress"] {
        let mut server = Server::start(&["--workers=1", "--port=auto", "--interval=50ms"]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_wsperf"))
            .args([scenario, &server.address(), "--connections=6"])
            .args([
                "--duration=3s",
                "--warmup=0",
                "--reconnects=0",
                "--resets=0",
            ])
            .args(["--rate=100", "--format=json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program is built");
        server.counter_reaching("handshakes", 6);
        server.signal("TERM");
        let _ = server.wait();
        let mut stdout = String::new();
        let pipe = child.stdout.as_mut().expect("piped");
        pipe.read_to_string(&mut stdout).expect("text");
        assert_eq!(child.wait().expect("ours").code(), Some(0));
        let object: Value = serde_json::from_str(&stdout).expect("one object");
        let kinds = &object["errors_by_kind"];
        let attempts = count(&kinds["connect"]) + count(&kinds["handshake"]);
        // Six at once, then one at a time after 10, 20, 40 … ms.
        assert!((3..60).contains(&attempts), "{scenario}: {attempts}");
        let busy = object["driver"][0]["utilisation"]
            .as_f64()
            .expect("a share");
        assert!(busy < 0.5, "{scenario}: {busy}");
    }
}

#[test]
fn what_was_due_on_lost_connections_is_missing_and_in_the_percentiles() {
    let testee = Testee::start(Behaviour::Hang(3));
    let uri = format!("ws://{}/", testee.address);
    let run = measured(
        0,
        &[
            "echo",
            &uri,
            "--connections=10",
            "--rate=1000",
            "--duration=1s",
            "--warmup=0",
            "--timeout=2s",
            "--cpus=none",
        ],
    );
    let answered = count(&run["messages"]);
    assert_eq!(answered, 20, "two on each connection");
    let missing = count(&run["errors_by_kind"]["missing"]);
    assert_eq!(answered + missing, 1000, "{run}");
    assert_eq!(count(&run["latency_us"]["samples"]), 1000);
    let p50 = run["latency_us"]["p50"].as_f64().expect("a time");
    assert!(p50 >= 2e6, "half of them never came: {p50} µs");
    assert!(notes(&run).contains("980 messages that were due"), "{run}");
}

#[test]
fn a_server_that_leaves_out_the_sender_loses_nothing() {
    let testee = Testee::start(Behaviour::Others);
    let uri = format!("ws://{}/", testee.address);
    let arguments = [
        "broadcast",
        &uri,
        "--connections=5",
        "--rate=100",
        "--duration=500ms",
        "--warmup=0",
        "--timeout=1s",
        "--cpus=none",
    ];
    let without = measured(0, &arguments);
    assert!(count(&without["errors_by_kind"]["missing"]) > 0);
    assert!(notes(&without).contains("--others-only"), "{without}");
    let with = measured(0, &[&arguments[..], &["--others-only"]].concat());
    assert_eq!(with["errors"], 0, "{with}");
    assert_eq!(figure(&with, "broadcast_reach"), 1.0);
    let sent = figure(&with, "broadcast_sent");
    assert_eq!(figure(&with, "broadcast_delivered"), sent * 4.0);
    let closed = ["broadcast", &uri, "--others-only", "--connections=5"];
    assert_eq!(run("wsperf", &closed).code, 2, "it needs --rate");
    // Of a server that sends to all it says what came too much.
    let testee = Testee::start(Behaviour::Broadcast { loses_every: None });
    let uri = format!("ws://{}/", testee.address);
    let mut arguments = arguments;
    arguments[1] = &uri;
    let with = measured(0, &[&arguments[..], &["--others-only"]].concat());
    assert!(count(&with["errors_by_kind"]["content"]) > 0, "{with}");
}

#[test]
fn a_server_that_is_full_is_given_up_early_and_called_full() {
    let server = Server::start(&["--workers=1", "--port=auto", "--max-connections=20"]);
    let began = Instant::now();
    let run = measured(
        0,
        &[
            "massconnect",
            &server.address(),
            "--connections=3000",
            "--connecting=16",
            "--retry-delay=100ms",
            "--duration=100ms",
            "--warmup=0",
        ],
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "twenty tries of each take minutes"
    );
    assert_eq!(count(&run["connections"]), 20);
    assert_eq!(figure(&run, "given_up"), 2980.0);
    assert!(
        notes(&run).contains("the server is full: it took 20 of 3000 connections"),
        "{run}"
    );
}

/// A server without a descriptor left leaves connections in its accept queue: they are never answered.
#[test]
fn a_server_without_descriptors_says_so_once_and_is_given_up_early() {
    let server = Server::start_with(
        &["--workers=1", "--port=auto", "--interval=50ms"],
        |command| process::limit_descriptors(command, 128),
    );
    let run = measured(
        0,
        &[
            "massconnect",
            &server.address(),
            "--connections=1000",
            "--connecting=64",
            "--timeout=1s",
            "--duration=100ms",
            "--warmup=0",
        ],
    );
    let open = count(&run["connections"]);
    assert!((50..128).contains(&open), "{run}");
    assert!(notes(&run).contains("the server is full"), "{run}");
    let said = "no descriptor left";
    until("it is said", || server.stderr().contains(said));
    assert_eq!(server.stderr().matches(said).count(), 1);
}

#[test]
fn without_a_message_the_cost_of_one_is_zero() {
    let server = Server::start(&["--workers=1", "--port=auto"]);
    let uri = server.address();
    let run = measured(
        0,
        &[
            "massconnect",
            &uri,
            "--connections=10",
            "--duration=50ms",
            "--warmup=0",
        ],
    );
    assert_eq!(run["messages"], 0);
    assert_eq!(run["driver_cpu_us_per_message"], 0.0);
    assert_eq!(run["driver_user_us_per_message"], 0.0);
}

#[test]
fn figures_of_workers_are_taken_while_the_connections_are_open() {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=50ms"]);
    let uri = server.address();
    let run = measured(
        0,
        &[
            "massconnect",
            &uri,
            "--connections=2000",
            "--duration=3s",
            "--warmup=0",
        ],
    );
    let workers = run["server"]["workers"]
        .as_array()
        .expect("a Ringway server");
    let clients: u64 = workers.iter().map(|worker| count(&worker["clients"])).sum();
    assert_eq!(clients, 2000, "{workers:?}: {}", notes(&run));
}

#[test]
fn active_connections_are_drawn_from_all_of_them() {
    let server = Server::start(&["--workers=1", "--port=auto"]);
    let uri = server.address();
    let run = |seed: &str| {
        let arguments = [
            "mixed",
            &uri,
            "--connections=100",
            "--threads=4",
            "--cpus=none",
            "--idle=0.9",
            "--size=20",
            "--rate=1000",
            "--duration=1s",
            "--warmup=0",
            seed,
        ];
        let run = measured(0, &arguments);
        assert_eq!(run["errors"], 0, "{run}");
        let threads = run["driver"].as_array().expect("threads").clone();
        let messages: Vec<u64> = threads
            .iter()
            .map(|thread| count(&thread["messages"]))
            .collect();
        assert!(messages.iter().sum::<u64>() >= 900, "{messages:?}");
        messages
    };
    // Ten of a hundred, drawn: not the same part of each thread's 25, and not of every seed.
    let parts: Vec<_> = ["--seed=1", "--seed=2", "--seed=3"].map(run).to_vec();
    let uneven = parts.iter().any(|messages| {
        let (least, most) = (messages.iter().min(), messages.iter().max());
        least.expect("four") + 50 < *most.expect("four")
    });
    assert!(uneven, "{parts:?}");
}

#[test]
fn a_result_says_what_it_was_measured_on() {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=50ms"]);
    let uri = server.address();
    let directory = scratch("driver-machine");
    let html = directory.path("a.html");
    let json = directory.path("a.json");
    let output = run(
        "wsperf",
        &[
            "echo",
            &uri,
            "--duration=3s",
            "--warmup=0",
            "--html",
            &html,
            "--json",
            &json,
        ],
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let kernel = format!("Linux {}", kernel.trim());
    let text = std::fs::read_to_string(&json).expect("written");
    let object: Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(object["machine"]["kernel"], kernel.as_str());
    assert!(count(&object["machine"]["cpus"]) > 0);
    assert!(count(&object["machine"]["memory_bytes"]) > 0);
    let version = format!("Ringway {}", env!("CARGO_PKG_VERSION"));
    let (told, notes) = (&object["server"]["version"], &object["notes"]);
    assert_eq!(told, version.as_str(), "{notes}");
    let page = std::fs::read_to_string(&html).expect("written");
    for form in [&output.stdout, &page] {
        let flat = form.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&kernel), "{form}");
        assert!(flat.contains(&format!("server: {version}")), "{form}");
    }
}

/// One system call for each message: what TCP carried is the kernel's word for it. With 8 messages in flight a batch is one
/// segment; apart, each message has a segment of its own.
#[test]
fn unbatched_messages_leave_one_by_one() {
    for io in ["--io=uring", "--io=epoll"] {
        let per_message = |more: &[&str]| {
            let testee = Testee::start(Behaviour::Count);
            let uri = format!("ws://{}/", testee.address);
            let arguments = [
                "echo",
                &uri,
                io,
                "--connections=4",
                "--in-flight=8",
                "--duration=500ms",
                "--warmup=0",
                "--cpus=none",
            ];
            let run = measured(0, &[&arguments[..], more].concat());
            assert_eq!(run["errors"], 0, "{run}");
            let messages = count(&run["messages"]) as f64;
            assert!(messages > 500.0, "{run}");
            let sends = count(&run["driver"][0]["sends"]) as f64;
            let (segments, received) = testee.segments();
            (sends / messages, segments / received)
        };
        let (sends, segments) = per_message(&["--unbatched"]);
        assert!((0.95..=1.05).contains(&sends), "{io}: {sends} sends");
        assert!(segments > 0.9, "{io}: {segments} segments");
        let (sends, segments) = per_message(&[]);
        assert!(sends < 0.6, "{io}: {sends} sends");
        assert!(segments < 0.6, "{io}: {segments} segments");
    }
}

/// It takes the connection and says nothing.
#[test]
fn a_silent_master_is_given_up_after_the_time_that_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let master = format!("--master=ws://{}", listener.local_addr().expect("bound"));
    let began = Instant::now();
    let output = run("wsperf", &["serve", &master]);
    assert!(
        began.elapsed() > Duration::from_millis(9900),
        "{}",
        output.stderr
    );
    assert_eq!(output.code, 3);
    let said = "there was no opening handshake within 10s";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

#[test]
fn an_error_names_the_program_and_a_key_only_what_resembles_it() {
    let directory = scratch("driver-key");
    let file = directory.write("a.toml", "foo = 1\n");
    let output = run("wsperf", &["echo", "--config", &file]);
    assert_eq!(output.code, 2);
    assert_eq!(
        output.stderr,
        format!(
            "wsperf: error: {file}: unknown key 'foo': see --help for the options, without their dashes\n"
        )
    );
    let help = run("server", &["--help"]).stdout;
    assert!(
        !help.contains("\n  6  "),
        "a server compares nothing: {help}"
    );
    let help = run("wsperf", &["echo", "--help"]).stdout;
    assert!(!help.contains("\n  6  "), "only compare does: {help}");
    assert!(run("wsperf", &["--help"]).stdout.contains("\n  6  compare"));
}
