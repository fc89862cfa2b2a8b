//! The real programs: what they print, what they refuse and how they end.
//!
//! Every server listens on port 0 and is waited for by its ready line. Every process is killed on drop, by its pid.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use crate::common::client::{CLOSE, Client};
use crate::common::{Server, get, run, scratch};

#[test]
fn help_exits_zero_starts_with_an_example_and_lists_exit_codes() {
    for arguments in [&["server", "--help"][..], &["server", "-h"], &["--help"]] {
        let output = run("ringway", arguments);
        assert_eq!(output.code, 0);
        assert!(output.stdout.starts_with("Example:\n"), "{}", output.stdout);
        assert!(
            output.stdout.contains("Exit codes:\n  0  "),
            "{}",
            output.stdout
        );
        let wide: Vec<_> = output
            .stdout
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(wide.is_empty(), "{wide:?}");
    }
    assert_eq!(run("server", &["--help"]).code, 0);
}

#[test]
fn a_printed_configuration_is_read_back_unchanged() {
    let arguments = [
        "--print-config",
        "--workers",
        "3",
        "--backlog",
        "--io=epoll",
        "--idle-timeout=90s",
        "--congestion=cubic",
    ];
    let first = run("server", &arguments);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    for line in [
        "workers = 3",
        "backlog = \"somaxconn\"",
        "io = \"epoll\"",
        "idle-timeout = \"90s\"",
    ] {
        assert!(
            first.stdout.lines().any(|seen| seen == line),
            "{line} is not in {}",
            first.stdout
        );
    }
    let directory = scratch("print-config");
    let file = directory.write("ringway.toml", &first.stdout);
    let second = run("ringway", &["server", "--print-config", "--config", &file]);
    assert_eq!((second.code, second.stdout), (0, first.stdout));

    let over = run(
        "server",
        &["--print-config", "--workers=1", "--config", &file],
    );
    assert!(
        over.stdout.contains("workers = 1\n"),
        "the command line wins: {}",
        over.stdout
    );
}

#[test]
fn a_bad_configuration_file_is_one_sentence_and_exit_code_two() {
    let directory = scratch("bad-config");
    let cases = [
        (
            "worker = 3\n",
            "unknown key 'worker': did you mean 'workers'?",
        ),
        ("workers = \n", "line 1: "),
        (
            "workers = 0\n",
            "bad.toml: workers = 0 is not a number from 1 to 1024",
        ),
        (
            "handshake-timeout = \"5x\"\n",
            "bad.toml: handshake-timeout = 5x is not a time from 1ms to 24h",
        ),
    ];
    for (text, why) in cases {
        let file = directory.write("bad.toml", text);
        let output = run("server", &["--config", &file]);
        assert_eq!(output.code, 2, "{text}");
        assert!(output.stderr.contains(why), "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
    let output = run("server", &["--config", "/no/such/file.toml"]);
    assert_eq!(output.code, 2);
    assert!(
        output
            .stderr
            .contains("cannot read the configuration /no/such/file.toml"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_bad_value_is_one_sentence_and_exit_code_two() {
    let cases = [
        ("--workers=0", "a server needs at least 1 worker"),
        ("--workers=999999", "from 1 to 1024"),
        ("--wsuri=wss://127.0.0.1:9000", "--cert and --key"),
        (
            "--wsuri=ws://127.0.0.1:70000",
            "not a number from 0 to 65535",
        ),
        ("--interval=soon", "write it as 250ms, 10s or 1m"),
        ("--max-message=lots", "write it as 1000, 64KiB or 16MiB"),
        ("--io=kqueue", "one of auto, uring, epoll"),
        ("--congestion=nosuchthing", "the kernel does not know it"),
        ("--cpuid=1", "--cpuid is for workers"),
        ("--port=http", "is no port"),
    ];
    for (argument, why) in cases {
        let output = run("server", &[argument]); // refused before anything is bound
        assert_eq!(output.code, 2, "{argument}: {}", output.stderr);
        assert!(output.stderr.contains(why), "{argument}: {}", output.stderr);
        assert_eq!(output.stdout, "");
        let complaints = output
            .stderr
            .lines()
            .filter(|line| line.starts_with("ringway: error: "))
            .count();
        assert_eq!(complaints, 1, "{}", output.stderr);
    }
    assert_eq!(run("server", &["--no-such-option"]).code, 2);
    assert_eq!(run("ringway", &[]).code, 2);
}

#[test]
fn a_port_in_use_is_exit_code_three_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let port = taken.local_addr().expect("bound").port();
    let output = run(
        "server",
        &[&format!("--wsuri=ws://127.0.0.1:{port}"), "--port=0"],
    );
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains(&format!(
            "cannot listen on 127.0.0.1:{port}: another process has it"
        )),
        "{}",
        output.stderr
    );

    let output = run(
        "server",
        &["--wsuri=ws://127.0.0.1:0", &format!("--port={port}")],
    );
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains("--port 0 turns the pages off"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_server_says_when_it_is_ready_and_ends_with_zero_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["--workers=2", "--port=0"]);
        assert!(
            server
                .ready
                .starts_with("ringway: listening on ws://127.0.0.1:"),
            "{}",
            server.ready
        );
        assert!(server.ready.contains(" 2 workers, io="), "{}", server.ready);
        assert!(
            server
                .ready
                .ends_with(&format!("web off, pid {}", server.pid())),
            "{}",
            server.ready
        );
        assert_eq!(server.workers().len(), 2);
        server.signal(signal);
        assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    }
}

#[test]
fn json_begins_with_listening_and_then_has_one_object_per_interval() {
    let mut server = Server::start(&[
        "--workers=2",
        "--port=0",
        "--format=json",
        "--interval=200ms",
    ]);
    let first: serde_json::Value = serde_json::from_str(&server.ready).expect("JSON");
    assert_eq!(first["event"], "listening");
    assert_eq!(first["pid"], server.pid());
    for period in 1..=3 {
        let line = server.line();
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&value["event"], &value["period"]),
            (&"stats".into(), &period.into()),
            "{line}"
        );
        assert_eq!(value["workers"].as_array().map(Vec::len), Some(2));
        assert!(value["total"]["total"]["messages_in"].is_u64());
        assert!(value["total"]["period"]["message_bytes_out"]["per_s"].is_number());
    }
}

#[test]
fn a_table_appears_at_the_interval_and_fits_eighty_columns() {
    let mut server = Server::start(&["--workers=1", "--port=0", "--interval=200ms"]);
    let lines: Vec<_> = (0..10).map(|_| server.line()).collect();
    assert!(lines[0].starts_with("--- period 1, "), "{lines:?}");
    assert!(lines[1].starts_with("worker "), "{lines:?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
}

#[test]
fn silence_is_silent_and_a_reader_that_leaves_is_no_reason_to_stop() {
    let mut silent =
        Server::start_unread(&["--workers=1", "--port=0", "--silence", "--interval=50ms"]);
    crate::common::until("the worker runs", || !silent.workers().is_empty());
    std::thread::sleep(Duration::from_millis(300));
    silent.signal("TERM");
    // A worker that was not ready yet may end by the signal itself: the supervisor still ends well.
    assert_eq!(silent.wait(), Some(0), "{}", silent.stderr());
    assert_eq!(silent.rest_of_stdout(), "");

    let mut server = Server::start(&["--workers=1", "--port=0", "--interval=50ms"]);
    server.close_stdout();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(
        !server.stderr().contains("roken pipe"),
        "{}",
        server.stderr()
    );
}

#[test]
fn the_web_pages_answer_and_everything_else_is_404() {
    let server = Server::start(&["--workers=2", "--port=auto"]);
    let web = server.web();
    let page = get(&web, "/");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content-type: text/html"), "{page}");
    assert!(page.contains("<title>Ringway</title>"));
    for (path, title) in [
        ("/chat", "Chat – Ringway"),
        ("/fanout", "Fan-out – Ringway"),
        ("/topics", "Topics – Ringway"),
    ] {
        let page = get(&web, path);
        assert!(page.contains(&format!("<title>{title}</title>")), "{page}");
        assert!(page.contains("content-security-policy: default-src 'none'; "));
    }

    let stats = get(&web, "/stats.json");
    let body = stats.split_once("\r\n\r\n").expect("a head").1;
    let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(value["server"]["pid"], server.pid());
    assert_eq!(value["workers"][1]["state"], "ready");
    let service = serde_json::json!({ "path": "/*", "application": "echo" });
    assert_eq!(value["server"]["services"], serde_json::json!([service]));

    let metrics = get(&web, "/metrics");
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ringway_worker_up{worker=\"1\"} 1\n"),
        "{metrics}"
    );
    assert!(get(&web, "/history.json").contains("\"samples\":["));
    assert!(get(&web, "/etc/passwd").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_killed_worker_is_replaced_and_the_other_one_does_not_notice() {
    let mut server = Server::start(&["--workers=2", "--port=auto"]);
    let before = server.workers();
    crate::common::kill(before[0]);
    crate::common::until("a new worker runs", || {
        let now = server.workers();
        now.len() == 2 && !now.contains(&before[0])
    });
    assert!(server.workers().contains(&before[1]));
    let web = server.web();
    crate::common::until("the new worker is ready", || {
        let metrics = get(&web, "/metrics");
        metrics.matches("ringway_worker_up{worker=\"0\"} 1").count() == 1
            && metrics.contains("ringway_worker_up{worker=\"1\"} 1")
            && metrics.contains("ringway_worker_restarts_total{worker=\"0\"} 1")
    });
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(
        server.stderr().contains("a new one starts in 100 ms"),
        "{}",
        server.stderr()
    );
}

#[test]
fn a_seat_whose_workers_keep_dying_ends_the_server_with_four() {
    let mut server = Server::start(&["--workers=1", "--port=0"]);
    let mut killed = Vec::new();
    crate::common::until("the server gives up", || {
        // One that dies before it has served is a start that failed, and is not counted.
        let serves = server.has_ended() || Client::try_connect(&server.address()).is_ok();
        for pid in server.workers().into_iter().filter(|_| serves) {
            if !killed.contains(&pid) {
                crate::common::kill(pid);
                killed.push(pid);
            }
        }
        server.has_ended()
    });
    assert_eq!(server.wait(), Some(4));
    assert_eq!(killed.len(), 5, "{}", server.stderr());
    assert!(
        server
            .stderr()
            .contains("that is death 5 of this seat within 30 s; giving up"),
        "{}",
        server.stderr()
    );
}

#[test]
fn a_worker_that_ignores_its_drain_is_killed_after_the_drain_time() {
    let mut server = Server::start(&["--workers=1", "--port=0", "--drain-timeout=4s"]);
    let worker = server.workers()[0];
    let _mute = Client::connect(&server.address());
    server.signal("TERM");
    // The supervisor wakes a stopped worker that has not answered, once. A worker that runs ends by itself after 4 s.
    crate::common::until("it is killed", || {
        crate::common::stop(worker);
        server.has_ended()
    });
    assert_eq!(server.wait(), Some(0));
    let said = server.stderr();
    assert!(
        said.contains(&format!("killing workers that are left: pid {worker}")),
        "{said}"
    );
}

#[test]
fn a_second_signal_stops_hard_and_exits_with_five() {
    let mut server = Server::start(&[
        "--workers=1",
        "--port=0",
        "--drain-timeout=1h",
        "--close-timeout=1h",
    ]);
    let mut mute = Client::connect(&server.address());
    server.signal("TERM");
    assert_eq!(mute.recv().first, CLOSE);
    assert!(!server.has_ended());
    server.signal("TERM");
    assert_eq!(server.wait(), Some(5), "{}", server.stderr());
}

#[test]
fn no_worker_survives_a_supervisor_that_was_killed() {
    let mut server = Server::start(&["--workers=2", "--port=0"]);
    let workers = server.workers();
    server.signal("KILL");
    assert_eq!(server.wait(), None);
    crate::common::until("the workers are gone", || {
        workers.iter().all(|pid| !crate::common::is_alive(*pid))
    });
}

#[test]
fn a_worker_inherits_only_what_it_needs() {
    // `common` starts every server with a foreign descriptor 9 on /dev/full, as a careless shell would.
    let server = Server::start(&["--workers=2", "--port=auto"]);
    let link = |pid: u32| std::fs::read_link(format!("/proc/{pid}/fd/9"));
    let is_foreign =
        |pid| link(pid).is_ok_and(|target| target == std::path::Path::new("/dev/full"));
    assert!(is_foreign(server.pid()));
    for pid in server.workers() {
        assert!(
            !is_foreign(pid),
            "the foreign descriptor went on to a worker"
        );
        // Of the supervisor's sockets only the listener is shared: not the web pages, not its signal pipe.
        let own = server.sockets_of(server.pid());
        let shared = server
            .sockets_of(pid)
            .into_iter()
            .filter(|socket| own.contains(socket))
            .count();
        assert_eq!(shared, 1);
        // Its place travels in one variable, and its command line is the supervisor's.
        let of = |pid: u32, what: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{what}")).expect("it runs")
        };
        let environment = of(pid, "environ");
        let mut variables = environment.split('\0');
        let seat = variables.find_map(|variable| variable.strip_prefix("RINGWAY_SEAT="));
        let seat = seat.expect("the variable is there");
        let names = seat.split(',').filter_map(|pair| pair.split('=').next());
        assert!(
            names.eq([
                "parent", "index", "fd", "cpu", "stats", "control", "board", "config"
            ]),
            "{seat}"
        );
        assert_eq!(of(pid, "cmdline"), of(server.pid(), "cmdline"));
    }
}

#[test]
fn a_unix_socket_appears_and_disappears_with_the_server() {
    let directory = scratch("unix");
    let path = directory.path("echo.sock");
    let mut server = Server::start(&[
        "--workers=1",
        "--port=0",
        &format!("--wsuri=ws+unix:{path}"),
    ]);
    assert!(
        server
            .ready
            .starts_with(&format!("ringway: listening on ws+unix:{path} ")),
        "{}",
        server.ready
    );
    let second = run("server", &[&format!("--wsuri=ws+unix:{path}"), "--port=0"]);
    assert_eq!(second.code, 3);
    assert!(
        second.stderr.contains("another process listens on it"),
        "{}",
        second.stderr
    );
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn ipv6_localhost_and_reuseport_are_bound_as_asked() {
    let server = Server::start(&["--workers=1", "--port=0", "--wsuri=ws://[::1]:0"]);
    assert!(
        server
            .ready
            .starts_with("ringway: listening on ws://[::1]:"),
        "{}",
        server.ready
    );
    let server = Server::start(&[
        "--workers=2",
        "--port=0",
        "--wsuri=ws://localhost:0",
        "--reuseport",
    ]);
    assert!(server.ready.contains(" 2 workers, "), "{}", server.ready);
}

#[test]
fn a_replaced_worker_keeps_the_options_although_the_file_was_edited() {
    let directory = scratch("edited");
    let file = directory.write("ringway.toml", "workers = 1\nport = \"auto\"\n");
    let server = Server::start(&["--config", &file]);
    let mut broken = std::fs::File::create(&file).expect("ours");
    broken.write_all(b"workers = zero\n").expect("ours");
    let before = server.workers();
    crate::common::kill(before[0]);
    let web = server.web();
    crate::common::until("the new worker is ready", || {
        let metrics = get(&web, "/metrics");
        metrics.contains("ringway_worker_up{worker=\"0\"} 1")
            && metrics.contains("_restarts_total{worker=\"0\"} 1")
    });
}
