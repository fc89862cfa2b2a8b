//! The program `wsperf`: what it prints, what it refuses and how it ends. What it measures is in tests/load.rs.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::testee::{Behaviour, PubsubFault, Testee};
use crate::common::{Server, run, scratch, until};

/// A window that is as short as may be.
const SHORT: [&str; 3] = ["--duration=50ms", "--warmup=0", "--cpus=none"];

fn server() -> Server {
    Server::start(&["--workers=1", "--port=0"])
}

#[test]
fn every_help_starts_with_an_example_fits_eighty_columns_and_lists_exit_codes() {
    let tasks = [
        "echo",
        "handshake",
        "massconnect",
        "broadcast",
        "pubsub",
        "mixed",
        "stress",
        "soak",
        "replay",
        "sweep",
        "compare",
        "serve",
        "aggregate",
    ];
    let mut cases: Vec<Vec<&str>> = tasks.iter().map(|task| vec![*task, "--help"]).collect();
    cases.push(vec!["--help"]);
    for arguments in cases {
        let output = run("wsperf", &arguments);
        assert_eq!(output.code, 0);
        let help = output.stdout;
        assert!(help.starts_with("Example:\n  wsperf "), "{help}");
        assert!(help.contains("Exit codes:\n  0  "), "{help}");
        let wide: Vec<_> = help
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(wide.is_empty(), "{wide:?}");
    }
    let long = run("ringway", &["wsperf", "echo", "--help"]);
    assert_eq!((long.code, long.stdout.contains("--in-flight")), (0, true));
    assert!(
        !long.stdout.contains("--ping-interval"),
        "it is massconnect's"
    );
}

#[test]
fn a_printed_configuration_is_read_back_unchanged() {
    let arguments = [
        "mixed",
        "ws://localhost:9001/chat",
        "--print-config",
        "--connections=7",
        "--rate=5k",
        "--source=127.0.0.2,127.0.0.3",
        "--source=127.0.0.9",
    ];
    let first = run("wsperf", &arguments);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    for line in [
        "connections = 7",
        "rate = 5000",
        "source = \"127.0.0.2,127.0.0.3,127.0.0.9\"",
    ] {
        assert!(
            first.stdout.lines().any(|seen| seen == line),
            "{line} is not in {}",
            first.stdout
        );
    }
    let directory = scratch("wsperf-config");
    let file = directory.write("mixed.toml", &first.stdout);
    let second = run(
        "ringway",
        &["wsperf", "mixed", "--print-config", "--config", &file],
    );
    assert_eq!((second.code, second.stdout), (0, first.stdout));
    let other = run("wsperf", &["echo", "--print-config", "--config", &file]);
    assert_eq!(other.code, 2);
    assert!(
        other.stderr.contains("--idle means nothing to echo"),
        "{}",
        other.stderr
    );
}

#[test]
fn what_cannot_be_is_one_sentence_with_its_exit_code() {
    let taken = scratch("wsperf-refused");
    let folder = taken.path("no/such/folder/a.json");
    let cases: [(&[&str], i32, &str); 11] = [
        (
            &["echo", "--connections=0"],
            2,
            "is not a number from 1 to 1000000",
        ),
        (
            &["echo", "http://127.0.0.1:9000"],
            2,
            "it does not begin with ws:// or wss://",
        ),
        (
            &["handshake", "--size=20"],
            2,
            "--size means nothing to handshake",
        ),
        (
            &["echo", "--config=/no/such.toml"],
            2,
            "cannot read the configuration /no/such.toml",
        ),
        (&["sweep", "--rate=5"], 2, "--rate is what grows"),
        (&["ecoh"], 2, "there is no 'ecoh': choose echo, handshake"),
        (
            &["ws://127.0.0.1:9000"],
            2,
            "there are 1 arguments instead of 6",
        ),
        (
            &["compare", "a.json", "b.json", "--threshold=5"],
            2,
            "--threshold: '5' is no threshold",
        ),
        (
            &["echo", "ws://127.0.0.1:1", SHORT[0], SHORT[1]],
            3,
            "no connection to ws://127.0.0.1:1",
        ),
        (
            &["echo", "ws://no-such-host.invalid"],
            3,
            "cannot find the address of 'no-such-host.invalid'",
        ),
        (&["echo", "--json", &folder], 3, "cannot write"),
    ];
    for (arguments, code, why) in cases {
        let output = run("wsperf", arguments);
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            output.stderr
        );
        assert!(
            output.stderr.starts_with("wsperf: error: "),
            "{}",
            output.stderr
        );
        assert!(
            output.stderr.contains(why),
            "{arguments:?}: {}",
            output.stderr
        );
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
}

#[test]
fn json_is_one_object_and_files_hold_the_same() {
    let server = server();
    let address = server.address();
    let directory = scratch("wsperf-json");
    let [json, hdr, html] = ["a.json", "a.hdr", "a.html"].map(|name| directory.path(name));
    let mut arguments = vec!["echo", &address, "--connections=3", "--format=json"];
    arguments.extend(SHORT);
    arguments.extend(["--json", &json, "--hdr", &hdr, "--html", &html]);
    let output = run("wsperf", &arguments);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout.lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(&output.stdout).expect("one object");
    assert_eq!(object["connections"], 3);
    assert_eq!(object["errors"], 0);
    let processes = object["server"]["processes"]
        .as_array()
        .expect("it is found");
    assert!(
        processes
            .iter()
            .any(|process| process["pid"] == server.pid()),
        "{processes:?}"
    );
    let written = std::fs::read_to_string(&json).expect("written");
    assert_eq!(written, output.stdout);
    let text = |path: &str| std::fs::read_to_string(path).expect("written");
    assert!(text(&hdr).starts_with("#[Histogram log format version 1.3]"));
    assert!(text(&html).starts_with("<!doctype html>"));
}

#[test]
fn a_pubsub_prints_its_figures_and_its_exit_code_is_the_judgement_over_the_order() {
    let run_against = |address: &str, format: &str| {
        let rest = [
            "--clients=3",
            "--topics=2",
            "--uprate=200",
            format,
            SHORT[2],
        ];
        let mut arguments = vec!["pubsub", address, "--duration=500ms", "--warmup=0"];
        arguments.extend(rest);
        run("wsperf", &arguments)
    };
    let server = Server::start(&["--workers=2", "--port=0", "--app=pubsub"]);
    let table = run_against(&server.address(), "--format=table");
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    for row in [
        "\ndeliveries ",
        "pubsub_published_per_second 200",
        "pubsub_ack_p99 ",
    ] {
        assert!(table.stdout.contains(row), "{}", table.stdout);
    }
    let json = run_against(&server.address(), "--format=json");
    let object: serde_json::Value = serde_json::from_str(&json.stdout).expect("one object");
    assert_eq!(
        (&object["scenario"], &object["errors"]),
        (&"pubsub".into(), &0.into())
    );
    let options = &object["options"];
    assert_eq!(
        (&options["clients"], &options["uprate"]),
        (&"3".into(), &"200".into())
    );

    let testee = Testee::start(Behaviour::Pubsub {
        fault: PubsubFault::Doubles,
        every: 10,
    });
    let doubles = run_against(&format!("ws://{}", testee.address), "--format=table");
    assert_eq!((doubles.code, doubles.stderr.as_str()), (7, ""));
    let note = "note       the sequence check failed: ";
    assert!(doubles.stdout.contains(note), "{}", doubles.stdout);
}

#[test]
fn silence_prints_nothing_and_a_reader_that_left_is_no_error() {
    let server = server();
    let address = server.address();
    let mut arguments = vec!["echo", &address, "--silence"];
    arguments.extend(SHORT);
    let output = run("wsperf", &arguments);
    assert_eq!(
        (output.code, output.stdout, output.stderr),
        (0, String::new(), String::new())
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_wsperf"))
        .args(["echo", &address])
        .args(SHORT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    drop(child.stdout.take());
    let mut stderr = String::new();
    let pipe = child.stderr.as_mut().expect("piped");
    pipe.read_to_string(&mut stderr).expect("text");
    assert_eq!(
        (child.wait().expect("ours").code(), stderr.as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_signal_ends_the_run_early_and_what_was_measured_is_printed() {
    let server = server();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wsperf"))
        .args(["echo", &server.address(), "--duration=1h", "--format=json"])
        .args(&SHORT[1..])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    until("messages are echoed", || {
        server
            .workers()
            .iter()
            .any(|worker| crate::common::process::cpu_ticks(*worker) > 5)
    });
    crate::common::interrupt(child.id());
    let mut stdout = String::new();
    let pipe = child.stdout.as_mut().expect("piped");
    pipe.read_to_string(&mut stdout).expect("text");
    assert_eq!(child.wait().expect("ours").code(), Some(5));
    let object: serde_json::Value = serde_json::from_str(&stdout).expect("one object");
    assert!(object["messages"].as_u64().expect("a count") > 0);
    assert!(
        object["duration_s"].as_f64().expect("a time") < Duration::from_secs(3600).as_secs_f64()
    );
    assert!(
        object["notes"].to_string().contains("interrupted"),
        "{}",
        object["notes"]
    );
}

#[test]
fn a_sweep_prints_its_points_and_the_knee() {
    let server = server();
    let address = server.address();
    let mut arguments = vec!["sweep", &address, "--connections=2", "--format=json"];
    arguments.extend(SHORT);
    arguments.extend(["--from=100", "--to=200", "--steps=2", "--bound=max=1000s"]);
    let output = run("wsperf", &arguments);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let object: serde_json::Value = serde_json::from_str(&output.stdout).expect("one object");
    let steps = object["steps"].as_array().expect("points");
    assert!(!steps.is_empty(), "{object}");
    assert_eq!(steps[0]["runs"][0]["offered_per_second"], steps[0]["value"]);
    let runs = steps[0]["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 3, "one run says nothing of noise");
    let bounded = ["bounded_us_min", "bounded_us_max"].map(|name| steps[0][name].as_f64());
    assert!(
        bounded[0] > Some(0.0) && bounded[0] <= bounded[1],
        "{bounded:?}"
    );
    arguments.retain(|argument| *argument != "--format=json");
    let table = run("wsperf", &arguments);
    assert!(
        table.stdout.starts_with("sweep over rate of echo"),
        "{}",
        table.stdout
    );
    for row in ["\nnoise      ", "\nmachine    ", "\nversions   wsperf "] {
        assert!(table.stdout.contains(row), "{}", table.stdout);
    }
}

#[test]
fn a_result_compared_with_itself_has_not_regressed_and_with_a_better_one_it_has() {
    let server = server();
    let address = server.address();
    let directory = scratch("wsperf-compare");
    let file = directory.path("a.json");
    let mut arguments = vec!["echo", &address, "--silence", "--json", &file];
    arguments.extend(SHORT);
    assert_eq!(run("wsperf", &arguments).code, 0);
    let same = run("wsperf", &["compare", &file, &file, "--fail-on-regression"]);
    assert_eq!(
        (same.code, same.stderr.as_str()),
        (0, ""),
        "{}",
        same.stdout
    );

    // Four runs on each side, in which one of them is twice as fast: no chance.
    let text = std::fs::read_to_string(&file).expect("written");
    let object: serde_json::Value = serde_json::from_str(&text).expect("one object");
    for (side, rate) in [("before", 2000.0), ("after", 1000.0)] {
        for number in 0..4 {
            let mut object = object.clone();
            object["messages_per_second"] = (rate + f64::from(number)).into();
            directory.write(&format!("{side}-{number}.json"), &object.to_string());
        }
    }
    let [before, after] = ["before-*.json", "after-*.json"].map(|name| directory.path(name));
    let compare = [
        "compare",
        &before,
        &after,
        "--fail-on-regression",
        "--format=json",
    ];
    let worse = run("wsperf", &compare);
    assert_eq!(worse.code, 6, "{}{}", worse.stdout, worse.stderr);
    let compared: serde_json::Value = serde_json::from_str(&worse.stdout).expect("one object");
    assert_eq!(compared["regressions"], serde_json::json!(["rate"]));
    assert_eq!(
        run("wsperf", &["compare", &before, &after]).code,
        0,
        "nobody asked"
    );
}
