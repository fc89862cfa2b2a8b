//! What each option of a scenario accepts and refuses.

use std::time::Duration;

use super::super::options::LoadArgs;
use super::super::pubsub::PubsubArgs;
use super::super::replay::ReplayArgs;
use super::*;
use crate::load::options::{Address, Asking, Check, LoadOptions, Target};
use crate::options::Format;

type Typed<'a> = &'a [(&'static str, &'a str)];

const CPUS: [usize; 4] = [0, 1, 2, 3];

fn from(kind: Kind, typed: Typed<'_>) -> Result<Run, String> {
    run(kind, &Given::<LoadArgs>::typed(typed), &CPUS).map_err(|bad| bad.to_string())
}

fn options(kind: Kind, typed: Typed<'_>) -> LoadOptions {
    from(kind, typed).expect("it is fine").options
}

#[test]
fn nothing_typed_is_the_defaults() {
    let run = from(Kind::Echo, &[]).unwrap();
    let target = Target {
        uri: "ws://127.0.0.1:9000/".to_owned(),
        addresses: vec![Address::Tcp("127.0.0.1:9000".parse().unwrap())],
        host: "127.0.0.1:9000".to_owned(),
        resource: "/".to_owned(),
        subprotocols: Vec::new(),
        tls_name: None,
        asking: Asking::default(),
    };
    let mut expected = LoadOptions::new(target, Scenario::Echo);
    expected.cpus = vec![3];
    assert_eq!(run.options, expected);
    assert_eq!(
        (run.server.uri.host.as_str(), run.server.uri.port),
        ("127.0.0.1", 9000)
    );
    assert_eq!((run.format, run.silence), (Format::Table, false));
}

#[test]
fn scenarios_have_defaults_of_their_own() {
    assert_eq!(options(Kind::Massconnect, &[]).connections, 10_000);
    assert_eq!(options(Kind::Soak, &[]).duration, Duration::from_secs(3600));
    assert_eq!(options(Kind::Broadcast, &[]).payload.sizes, [(64, 1.0)]);
    let mixed = options(Kind::Mixed, &[]);
    assert_eq!(mixed.payload.sizes, [(20, 0.7), (1024, 0.2), (16_384, 0.1)]);
    assert_eq!(mixed.scenario, Scenario::Mixed { idle: 0.9 });
    let marks = |high: &str| options(Kind::Handshake, &[("high", high)]).scenario;
    let handshake = |low, high| Scenario::Handshake {
        low,
        high,
        count: None,
    };
    assert_eq!(
        (marks("500"), marks("10")),
        (handshake(250, 500), handshake(10, 10))
    );
    let Scenario::Stress(churn) = options(Kind::Stress, &[("slow-rate", "2KiB")]).scenario else {
        panic!("another scenario");
    };
    let expected = Churn {
        reconnects_per_second: 10.0,
        resets_per_second: 10.0,
        slow_readers: 0.01,
        slow_bytes_per_second: 2048.0,
    };
    assert_eq!(churn, expected);
}

#[test]
fn a_name_waits_for_its_address_and_a_literal_does_not() {
    let run = from(Kind::Echo, &[("uri", "ws://localhost:9001/chat?x=1")]).unwrap();
    assert_eq!(
        (run.server.uri.host.as_str(), run.server.uri.port),
        ("localhost", 9001)
    );
    let target = run.options.target;
    assert_eq!(
        (target.host.as_str(), target.resource.as_str()),
        ("localhost:9001", "/chat?x=1")
    );
    let ip = target.addresses[0].tcp().expect("a port").ip();
    assert!(ip.is_unspecified());
    let target = options(Kind::Echo, &[("uri", "ws://[::1]")]).target;
    assert_eq!(
        (
            target.host.as_str(),
            target.addresses[0].to_string().as_str()
        ),
        ("[::1]", "[::1]:80")
    );
}

#[test]
fn a_bad_uri_says_what_is_wrong_with_it() {
    let sentence = from(Kind::Echo, &[("uri", "http://127.0.0.1:9000")]).unwrap_err();
    assert_eq!(
        sentence,
        "http://127.0.0.1:9000: it does not begin with ws:// or wss://; give something like ws://127.0.0.1:9000/"
    );
    assert!(from(Kind::Echo, &[("uri", "127.0.0.1:9000")]).is_err());
}

/// A scenario, what its file says, and why it is refused.
const REFUSED: [(Kind, &str, &str); 26] = [
    (
        Kind::Handshake,
        "rate = 1",
        "--rate means nothing to handshake: leave it off",
    ),
    (
        Kind::Handshake,
        "connections = 1",
        "--connections means nothing to handshake: leave it off",
    ),
    (
        Kind::Massconnect,
        "size = 1",
        "--size means nothing to massconnect: leave it off",
    ),
    (
        Kind::Echo,
        "idle = 0.5",
        "--idle means nothing to echo: leave it off",
    ),
    (
        Kind::Broadcast,
        "verify = 'exact'",
        "--verify means nothing to broadcast: leave it off",
    ),
    (
        Kind::Echo,
        "connections = 0",
        "--connections 0 is not a number from 1 to 1000000: one run has at least 1",
    ),
    (
        Kind::Echo,
        "connections = '2M'",
        "--connections 2M is not a number from 1 to 1000000: one run has at least 1",
    ),
    (
        Kind::Echo,
        "threads = 1025",
        "--threads 1025 is not a number from 1 to 1024: one per CPU that the server leaves free",
    ),
    (
        Kind::Echo,
        "rate = '2e9'",
        "--rate 2e9 is not a number from 0.001 to 1000000000: write it as 0.5, 1000 or 50k",
    ),
    (
        Kind::Echo,
        "rate = 'NaN'",
        "--rate NaN is not a number from 0.001 to 1000000000: write it as 0.5, 1000 or 50k",
    ),
    (
        Kind::Echo,
        "duration = 0",
        "--duration 0 is not a time from 10ms to 720h: write it as 250ms, 10s or 1m",
    ),
    (
        Kind::Echo,
        "warmup = 'soon'",
        "--warmup soon is not a time from 0 to 24h: write it as 250ms, 10s or 1m",
    ),
    (
        Kind::Echo,
        "in-flight = 0",
        "--in-flight 0 is not a number from 1 to 65536: messages of each connection under way",
    ),
    (
        Kind::Echo,
        "rate = 1\nin-flight = 1",
        "--in-flight is for a closed loop, and --rate makes an open one: leave one of them off",
    ),
    (
        Kind::Echo,
        "size = '65MiB'",
        "--size 65MiB is not a size from 0 to 64MiB, or several with weights: write it as 1000, 64KiB, or 20:0.7,1KiB:0.3",
    ),
    (
        Kind::Echo,
        "size = '20:1,1KiB'",
        "--size 20:1,1KiB is not a size from 0 to 64MiB, or several with weights: write each as 1KiB:0.2, and weights above 0",
    ),
    (
        Kind::Echo,
        "size = '20:0'",
        "--size 20:0 is not a size from 0 to 64MiB, or several with weights: write each as 1KiB:0.2, and weights above 0",
    ),
    (
        Kind::Broadcast,
        "size = 35",
        "--size 35 is too small: a message of a broadcast carries its sender, number and time in 36 bytes",
    ),
    (
        Kind::Broadcast,
        "size = '64:1,65:1'",
        "--size 64:1,65:1: all messages of a broadcast have the same size; give one",
    ),
    (
        Kind::Broadcast,
        "senders = 101",
        "--senders 101 is not a number from 1 to 100: or all, which is every connection",
    ),
    (
        Kind::Mixed,
        "idle = '90%'",
        "--idle 90% is not a share from 0 to 1: write one per cent as 0.01",
    ),
    (
        Kind::Handshake,
        "low = 6\nhigh = 5",
        "--low 6 is above --high 5: lower one or raise the other",
    ),
    (
        Kind::Echo,
        "cpus = '1-x'",
        "--cpus 1-x is not a list of CPUs: write it as 2,3 or 4-7, or none",
    ),
    (
        Kind::Echo,
        "cpus = 7",
        "--cpus 7: this process may not run on CPU 7, only on 0,1,2,3",
    ),
    (
        Kind::Echo,
        "verify = 'crc'",
        "--verify crc is not one of exact, length: choose one of them",
    ),
    (
        Kind::Echo,
        "server-stats = 'here'",
        "--server-stats here is not an address with a port: write it as 127.0.0.1:8080",
    ),
];

#[test]
fn what_cannot_be_is_one_sentence_with_the_remedy() {
    for (kind, text, sentence) in REFUSED {
        let line = |line: &'static str| line.split_once(" = ").expect("a key and its value");
        let typed: Vec<_> = text.lines().map(line).collect();
        let typed: Vec<_> = typed
            .iter()
            .map(|(name, value)| (*name, value.trim_matches('\'')))
            .collect();
        assert_eq!(from(kind, &typed).expect_err(text), sentence);

        // The same in a file says where it stands.
        let file = Given::<LoadArgs>::parse_file(text, "load.toml").expect("plain values");
        let refused = run(kind, &file, &CPUS).expect_err(text).to_string();
        let (name, _) = typed[0];
        assert!(
            refused == sentence || refused.starts_with(&format!("load.toml: {name} = ")),
            "{refused}"
        );
    }
}

#[test]
fn cpus_are_the_last_ones_unless_they_are_given() {
    let cpus = |typed| options(Kind::Echo, typed).cpus;
    assert_eq!(cpus(&[("threads", "2")]), [2, 3]);
    assert_eq!(cpus(&[("threads", "9")]), CPUS);
    assert_eq!(cpus(&[("cpus", "none")]), [0; 0]);
    assert_eq!(cpus(&[("cpus", "3, 0-1")]), [3, 0, 1]);
    let alone = run(Kind::Echo, &Given::<LoadArgs>::default(), &[0]).expect("it is fine");
    assert_eq!(
        alone.options.cpus, [0; 0],
        "a single CPU is the server's as well"
    );
}

#[test]
fn sources_are_addresses_and_ranges() {
    let sources = |list: &[&str]| {
        let run = from(Kind::Echo, &[("source", &list.join(","))])?;
        Ok(run
            .options
            .sources
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>())
    };
    let range = ["127.0.0.254", "127.0.0.255", "127.0.1.0"].map(str::to_owned);
    assert_eq!(sources(&["127.0.0.254-127.0.1.0"]), Ok(range.to_vec()));
    let both = ["127.0.0.2", "127.0.0.3", "127.0.0.9"].map(str::to_owned);
    assert_eq!(
        sources(&["127.0.0.2,127.0.0.3", "127.0.0.9"]),
        Ok(both.to_vec())
    );
    assert_eq!(
        sources(&["::1-::2"]),
        Ok(["::1", "::2"].map(str::to_owned).to_vec())
    );
    let refused = |list: &str| -> String { sources(&[list]).expect_err("refused") };
    assert!(
        refused("localhost").starts_with("--source localhost: that is no address; write it as")
    );
    assert!(refused("127.0.0.9-127.0.0.2").contains("ends before it begins"));
    assert!(refused("127.0.0.1-::1").contains("mixes IPv4 and IPv6"));
    assert!(refused("10.0.0.0-10.1.0.0").contains("more than 65536 addresses"));
    assert!(refused("::-ffff::").contains("more than 65536 addresses"));
}

#[test]
fn the_servers_page_may_be_given_as_the_server_prints_it() {
    let page = options(Kind::Echo, &[("server-stats", "http://127.0.0.1:8080/")]).server_stats;
    assert_eq!(page, Some("127.0.0.1:8080".parse().unwrap()));
}

#[test]
fn rates_may_have_fractions_and_suffixes() {
    let rate = |value: &str| options(Kind::Echo, &[("rate", value)]).rate;
    assert_eq!(
        (rate("0.5"), rate("50k"), rate("1e6")),
        (Some(0.5), Some(50_000.0), Some(1e6))
    );
}

/// Everything that a scenario knows, away from its default.
fn unusual(kind: Kind) -> Given<LoadArgs> {
    let sizes = match kind {
        Kind::Broadcast => "1KiB",
        _ => "20:0.7,1KiB:0.3",
    };
    let all = [
        ("size", sizes),
        ("uri", "ws://localhost:9001/chat"),
        ("connections", "77"),
        ("duration", "1500ms"),
        ("warmup", "0"),
        ("threads", "2"),
        ("cpus", "none"),
        ("seed", "9"),
        ("io", "epoll"),
        ("low", "3"),
        ("high", "7"),
        ("count", "1000"),
        ("batch", "9"),
        ("batch-delay", "3ms"),
        ("retry-delay", "4ms"),
        ("ping-interval", "5s"),
        ("senders", "all"),
        ("others-only", "true"),
        ("idle", "0.25"),
        ("reconnects", "0.5"),
        ("resets", "2"),
        ("slow-readers", "0.125"),
        ("slow-rate", "3KiB"),
        ("rate", "1234.5"),
        ("binary", "true"),
        ("unbatched", "true"),
        ("verify", "length"),
        ("connecting", "8"),
        ("timeout", "2s"),
        ("source", "127.0.0.2-127.0.0.3,127.0.0.5"),
        ("subprotocol", "a,b"),
        ("max-head", "9000"),
        ("max-headers", "99"),
        ("congestion", "cubic"),
        ("server-pid", "4711"),
        ("server-stats", "127.0.0.1:8080"),
        ("format", "json"),
        ("json", "a.json"),
        ("hdr", "a.hdr"),
        ("html", "a.html"),
        ("silence", "true"),
    ];
    let known: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| kind.knows(name))
        .collect();
    Given::typed(&known)
}

#[test]
fn what_is_shown_means_the_same() {
    let is_own = |kind: &Kind| matches!(kind, Kind::Pubsub | Kind::Replay);
    for kind in Kind::ALL.into_iter().filter(|kind| !is_own(kind)) {
        for args in [Given::default(), unusual(kind)] {
            let first = run(kind, &args, &CPUS).expect("it is fine");
            let shown = first.to_toml::<LoadArgs>(kind);
            let read: Given<LoadArgs> =
                Given::parse_file(&shown, "load.toml").expect("what is printed is read");
            assert_eq!(run(kind, &read, &CPUS), Ok(first), "{shown}");
        }
    }
}

#[test]
fn a_pubsub_has_names_of_its_own() {
    let from = |typed: Typed<'_>| {
        let given = Given::<PubsubArgs>::typed(typed);
        run(Kind::Pubsub, &given, &CPUS).map_err(|bad| bad.to_string())
    };
    let first = from(&[
        ("clients", "7"),
        ("uprate", "5k"),
        ("batch", "10"),
        ("payload", "1KiB"),
        ("topics", "3"),
        ("topic", "load/me"),
        ("rate", "2.5"),
        ("duration", "2s"),
        ("deflate", "true"),
        ("deflate-level", "3"),
    ])
    .expect("it is fine");
    let options = &first.options;
    assert_eq!((options.connections, options.rate), (8, Some(5000.0)));
    assert_eq!(options.payload.sizes, [(1024, 1.0)]);
    let Scenario::Pubsub(pubsub) = &options.scenario else {
        panic!("another scenario");
    };
    assert_eq!((pubsub.topics, pubsub.batch), (3, 10));
    assert_eq!(pubsub.connects_per_second, Some(2.5));
    let shown = first.to_toml::<PubsubArgs>(Kind::Pubsub);
    assert!(!shown.contains("connections"), "{shown}");
    let read: Given<PubsubArgs> = Given::parse_file(&shown, "load.toml").expect("it is read");
    assert_eq!(run(Kind::Pubsub, &read, &CPUS), Ok(first), "{shown}");
    for (typed, why) in [
        (
            &[("payload", "35")][..],
            "--payload 35 is not a size from 36 to 1MiB",
        ),
        (&[("topic", "a/+")], "--topic a/+: "),
        (
            &[("clients", "5k"), ("topics", "1000")],
            "--clients 5000 with --topics 1000 are more than",
        ),
        (
            &[("topics", "1001")],
            "--topics 1001 is not a number from 1 to 1000",
        ),
    ] {
        let sentence = from(typed).expect_err("refused");
        assert!(sentence.starts_with(why), "{sentence}");
    }
}

#[test]
fn a_replay_has_names_of_its_own_and_needs_a_file() {
    let from = |typed: Typed<'_>| {
        let given = Given::<ReplayArgs>::typed(typed);
        run(Kind::Replay, &given, &CPUS).map_err(|bad| bad.to_string())
    };
    let first = from(&[
        ("file", "session.1"),
        ("connections", "7"),
        ("speed", "2x"),
        ("check", "count"),
        ("repeat", "3"),
        ("rate", "2.5"),
    ])
    .expect("it is fine");
    let Scenario::Replay(replay) = &first.options.scenario else {
        panic!("another scenario");
    };
    assert_eq!((replay.speed, replay.check), (Some(2.0), Check::Count));
    assert_eq!((replay.repeat, replay.connects_per_second), (3, Some(2.5)));
    assert_eq!(first.options.duration, Duration::from_secs(3600));
    assert_eq!(first.options.rate, None, "it is no open loop");
    let shown = first.to_toml::<ReplayArgs>(Kind::Replay);
    let read: Given<ReplayArgs> = Given::parse_file(&shown, "load.toml").expect("it is read");
    assert_eq!(run(Kind::Replay, &read, &CPUS), Ok(first), "{shown}");
    let max = from(&[("file", "session.1"), ("speed", "max")]).expect("it is fine");
    let speed = |run: &Run| match &run.options.scenario {
        Scenario::Replay(replay) => replay.speed,
        _ => panic!("another scenario"),
    };
    assert_eq!(speed(&max), None);
    for (typed, why) in [
        (
            &[("speed", "2x")][..],
            "there is nothing to play: give the FILE",
        ),
        (
            &[("file", "a"), ("speed", "fast")],
            "--speed fast is not a factor",
        ),
        (
            &[("file", "a"), ("check", "all")],
            "--check all is not one of",
        ),
    ] {
        let sentence = from(typed).expect_err("refused");
        assert!(sentence.starts_with(why), "{sentence}");
    }
}
