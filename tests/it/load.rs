//! The load driver against servers whose behaviour is known: what it reports must be what they did.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::common::Server;
use crate::common::testee::{Behaviour, PubsubFault, Testee};
use wsperf::load::options::{
    Asking, Churn, Content, IoTier, LoadOptions, Outputs, Payload, Pubsub, Scenario, Target, Verify,
};
use wsperf::load::outcome::Outcome;
use wsperf::load::run::{self, Report};

/// Attempts of a test whose subject is a time: a machine that is busy elsewhere spoils one, not all of them.
const ATTEMPTS: usize = 5;

fn options(address: SocketAddr, scenario: Scenario) -> LoadOptions {
    LoadOptions {
        deflate: None,
        tls: wsperf::load::tls::TlsTrust::default(),
        target: Target {
            uri: format!("ws://{address}/"),
            addresses: vec![address.into()],
            host: address.to_string(),
            resource: "/".to_owned(),
            subprotocols: Vec::new(),
            tls_name: None,
            asking: Asking::default(),
        },
        scenario,
        connections: 10,
        threads: 1,
        max_head: 64 << 10,
        max_headers: 256,
        cpus: Vec::new(),
        duration: Duration::from_secs(1),
        warmup: Duration::from_millis(100),
        rate: None,
        in_flight: 1,
        seed: 1,
        sources: Vec::new(),
        payload: Payload {
            sizes: vec![(64, 1.0)],
            binary: false,
            content: Content::Random,
        },
        verify: Verify::Exact,
        io: IoTier::Auto,
        connecting_max: 64,
        timeout: Duration::from_secs(10),
        congestion: None,
        server_pid: None,
        server_stats: None,
        unbatched: false,
        outputs: Outputs::default(),
    }
}

fn report(options: &LoadOptions) -> Report {
    run::run(options, &mut |_| ControlFlow::Continue(())).expect("a run")
}

fn outcome(options: &LoadOptions) -> Outcome {
    report(options).outcome
}

fn address(server: &Server) -> SocketAddr {
    let address = server.address();
    address
        .trim_start_matches("ws://")
        .trim_end_matches('/')
        .parse()
        .expect("an address")
}

/// Of twenty messages one is held for 250 ms, the others for 100 ms.
fn mostly_100_sometimes_250_ms(nth: u64) -> Duration {
    Duration::from_millis(if nth.is_multiple_of(20) { 250 } else { 100 })
}

/// So slow that no message waits for the one before it on the same connection.
#[test]
fn a_known_latency_is_reported_within_2_per_cent() {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let testee = Testee::start(Behaviour::Delay(mostly_100_sometimes_250_ms));
        let run = outcome(&LoadOptions {
            connections: 200,
            rate: Some(400.0),
            duration: Duration::from_secs(4),
            ..options(testee.address, Scenario::Echo)
        });
        assert_eq!(run.errors, 0, "{:?}", run.notes);
        let near = |reported: f64, intended: f64| (reported / intended - 1.0).abs() <= 0.02;
        let really = [0.5, 0.99].map(|quantile| testee.held(quantile).as_secs_f64() * 1e6);
        let right = near(run.latency_us.p50, 100_000.0)
            && near(run.latency_us.p99, 250_000.0)
            && near(run.latency_us.p50, really[0])
            && near(run.latency_us.p99, really[1]);
        if right {
            return;
        }
        seen.push((run.latency_us, really));
    }
    panic!("{seen:?}");
}

/// A second of silence in three: by the schedule a third of the messages were due in it, and waited for the rest of it. In a
/// closed loop the same second costs one message per connection.
#[test]
fn a_stall_of_a_second_is_reported_in_open_loop_and_hidden_in_a_closed_one() {
    let stall = Behaviour::Stall {
        after: Duration::from_secs(1),
        length: Duration::from_secs(1),
    };
    let with = |rate| {
        let testee = Testee::start(stall);
        outcome(&LoadOptions {
            rate,
            duration: Duration::from_secs(3),
            warmup: Duration::ZERO,
            ..options(testee.address, Scenario::Echo)
        })
    };
    let open = with(Some(1000.0));
    assert_eq!(open.errors, 0, "{:?}", open.notes);
    // A tenth of all waited longer than 0.7 s, as a third waited up to one second, evenly.
    let Outcome { latency_us, .. } = &open;
    assert!(latency_us.max > 950_000.0, "{latency_us:?}");
    assert!(latency_us.p90 > 600_000.0, "{latency_us:?}");
    assert!(
        (2990..=3010).contains(&latency_us.samples),
        "{latency_us:?}"
    );
    let closed = with(None);
    assert!(closed.latency_us.max > 950_000.0, "{:?}", closed.latency_us);
    assert!(
        closed.latency_us.p99 < 300_000.0 && closed.latency_us.samples > 2000,
        "a closed loop leaves it out: {:?}",
        closed.latency_us
    );
}

#[test]
fn a_byte_that_changed_is_a_fault_unless_only_lengths_are_compared() {
    for (verify, wrong) in [(Verify::Exact, true), (Verify::Length, false)] {
        let testee = Testee::start(Behaviour::Corrupt(10));
        let run = outcome(&LoadOptions {
            verify,
            ..options(testee.address, Scenario::Echo)
        });
        assert_eq!(
            run.errors_by_kind.content > 0,
            wrong,
            "{:?}",
            run.errors_by_kind
        );
        assert_eq!(run.errors, run.errors_by_kind.content);
    }
}

#[test]
fn connections_that_the_server_drops_are_counted_and_so_are_their_messages() {
    let testee = Testee::start(Behaviour::Hang(5));
    let run = outcome(&options(testee.address, Scenario::Echo));
    let errors = run.errors_by_kind;
    assert_eq!(
        (errors.closed, errors.missing, errors.total()),
        (10, 10, 20),
        "{errors:?}"
    );
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_apart_from_one_that_leaves() {
    let testee = Testee::start(Behaviour::Violate(5));
    let run = outcome(&options(testee.address, Scenario::Echo));
    let errors = run.errors_by_kind;
    assert_eq!(
        (errors.protocol, errors.closed, errors.missing),
        (10, 0, 10),
        "{errors:?}"
    );
    let named = |note: &String| note.contains("the server broke the protocol: reserved opcode");
    assert!(run.notes.iter().any(named), "{:?}", run.notes);
}

#[test]
fn a_message_that_never_comes_is_missing() {
    let testee = Testee::start(Behaviour::Delay(|nth| {
        Duration::from_secs(if nth == 1 { 600 } else { 0 })
    }));
    let run = outcome(&LoadOptions {
        timeout: Duration::from_secs(1),
        ..options(testee.address, Scenario::Echo)
    });
    assert_eq!(run.errors_by_kind.missing, 1, "{:?}", run.errors_by_kind);
}

#[test]
fn nobody_listening_is_a_sentence() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let error = run::run(&options(free, Scenario::Echo), &mut |_| {
        ControlFlow::Continue(())
    });
    let sentence = error.expect_err("nobody listens").to_string();
    assert!(
        sentence.contains("Connection refused")
            && sentence.contains("is a server listening there?"),
        "{sentence}"
    );
}

fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

#[test]
fn every_address_of_a_name_is_tried_and_the_error_names_them() {
    let server = Server::start(&["--workers=1", "--port=auto", "--interval=50ms"]);
    let scenarios = [
        Scenario::Echo,
        Scenario::Handshake {
            low: 2,
            high: 4,
            count: None,
        },
        Scenario::Massconnect {
            batch: 5,
            batch_delay: Duration::from_millis(1),
            retry_delay: Duration::from_millis(10),
            ping_interval: None,
        },
        Scenario::Broadcast {
            senders: 1,
            others_only: false,
        },
    ];
    for scenario in scenarios {
        let mut options = options(address(&server), scenario);
        options.duration = Duration::from_millis(200);
        // Nobody, an address without a listener of the other family, and the server.
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 1));
        options.target.addresses = [v6, nobody(), address(&server)].map(Into::into).into();
        let run = outcome(&options);
        let kinds = run.errors_by_kind;
        assert_eq!((kinds.connect, kinds.handshake), (0, 0), "{:?}", run.notes);
        assert!(run.server.is_some(), "it is watched: {:?}", run.notes);
        options.target.addresses.pop();
        let error = run::run(&options, &mut |_| ControlFlow::Continue(()));
        let sentence = error.expect_err("nobody listens").to_string();
        for address in &options.target.addresses {
            let named = format!("{address}: ");
            assert!(sentence.contains(&named), "{address}: {sentence}");
        }
    }
}

#[test]
fn a_run_that_is_broken_off_says_so_and_keeps_what_it_has() {
    let server = Server::start(&["--workers=1"]);
    let options = LoadOptions {
        duration: Duration::from_secs(600),
        ..options(address(&server), Scenario::Echo)
    };
    let mut told = 0;
    let run = run::run(&options, &mut |live| {
        told += u64::from(live.phase == run::Phase::Measuring);
        if told >= 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let run = run.expect("a run").outcome;
    assert!(run.messages > 0 && run.duration_s < 60.0, "{run:?}");
    assert!(
        run.notes.iter().any(|note| note.contains("interrupted")),
        "{:?}",
        run.notes
    );
}

#[test]
fn every_handshake_that_is_asked_for_is_done_and_recorded() {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=200ms"]);
    let run = report(&LoadOptions {
        threads: 2,
        duration: Duration::from_secs(60),
        ..options(
            address(&server),
            Scenario::Handshake {
                low: 10,
                high: 20,
                count: Some(2001),
            },
        )
    });
    let outcome = run.outcome;
    assert_eq!(outcome.errors, 0, "{:?}", outcome.notes);
    assert_eq!((outcome.messages, run.handshakes.len()), (2001, 2001));
    assert_eq!(outcome.latency_us.samples, 2001);
    let in_order =
        |record: &&run::HandshakeRecord| !record.failed && record.tcp_ns <= record.open_ns;
    assert_eq!(run.handshakes.iter().filter(in_order).count(), 2001);
    assert!(
        outcome.figures["throttles"] >= 2.0 && outcome.figures["resumes"] >= 1.0,
        "{:?}",
        outcome.figures
    );
    server.counter_reaching("handshakes", 2001);
    assert_eq!(server.counter("closed_unclean").iter().sum::<u64>(), 0);
}

#[test]
fn a_mass_of_connections_is_held_and_answers_pings() {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=200ms"]);
    let run = outcome(&LoadOptions {
        connections: 500,
        ..options(
            address(&server),
            Scenario::Massconnect {
                batch: 100,
                batch_delay: Duration::from_millis(1),
                retry_delay: Duration::from_millis(10),
                ping_interval: Some(Duration::from_millis(500)),
            },
        )
    });
    assert_eq!((run.errors, run.connections), (0, 500), "{:?}", run.notes);
    let figures = &run.figures;
    assert_eq!((figures["lost"], figures["given_up"]), (0.0, 0.0));
    assert!(
        figures["pongs"] >= 500.0 && figures["pongs"] == figures["pings"],
        "{figures:?}"
    );
}

#[test]
fn a_broadcast_reaches_all_or_says_how_many() {
    for (senders, rate) in [(1, Some(200.0)), (1, None), (8, Some(200.0)), (8, None)] {
        let testee = Testee::start(Behaviour::Broadcast { loses_every: None });
        let run = outcome(&LoadOptions {
            connections: 8,
            threads: 2,
            rate,
            ..options(
                testee.address,
                Scenario::Broadcast {
                    senders,
                    others_only: false,
                },
            )
        });
        assert_eq!(run.errors, 0, "{senders} {rate:?}: {:?}", run.notes);
        assert_eq!(run.figures["broadcast_reach"], 1.0);
        assert_eq!(
            run.figures["broadcast_delivered"],
            run.figures["broadcast_sent"] * 8.0
        );
    }
    let testee = Testee::start(Behaviour::Broadcast {
        loses_every: Some(100),
    });
    let run = outcome(&LoadOptions {
        connections: 8,
        rate: Some(500.0),
        timeout: Duration::from_secs(1),
        ..options(
            testee.address,
            Scenario::Broadcast {
                senders: 1,
                others_only: false,
            },
        )
    });
    let reach = run.figures["broadcast_reach"];
    assert!((0.985..0.995).contains(&reach), "{reach}");
    let errors = run.errors_by_kind;
    assert_eq!((errors.missing, errors.content), (run.errors, 0));
    let lost = run.figures["broadcast_expected"] - run.figures["broadcast_delivered"];
    assert_eq!((errors.missing as f64, run.disorder()), (lost, None));
}

/// What was never sent twice or lost cannot have waited until the run was given up.
#[test]
fn the_greatest_latency_of_a_broadcast_that_lost_nothing_is_one_that_was_measured() {
    let server = Server::start(&["--workers=2", "--port=auto", "--app=broadcast"]);
    let run = outcome(&LoadOptions {
        rate: Some(100.0),
        timeout: Duration::from_secs(3600),
        ..options(
            address(&server),
            Scenario::Broadcast {
                senders: 1,
                others_only: false,
            },
        )
    });
    assert_eq!((run.errors, run.disorder()), (0, None), "{:?}", run.notes);
    assert!(run.latency_us.max < 3600e6, "{:?}", run.latency_us);
}

fn pubsub(address: SocketAddr, topics: usize, threads: usize) -> LoadOptions {
    LoadOptions {
        connections: 9,
        threads,
        rate: Some(500.0),
        timeout: Duration::from_secs(30),
        ..options(
            address,
            Scenario::Pubsub(Pubsub {
                topic: "load".to_owned(),
                topics,
                batch: 5,
                connects_per_second: Some(100.0),
            }),
        )
    }
}

#[test]
fn subscribers_of_our_pubsub_get_everything_once_and_in_order() {
    let server = Server::start(&["--workers=2", "--port=auto", "--app=pubsub"]);
    for (topics, threads) in [(1, 1), (7, 2)] {
        let run = outcome(&pubsub(address(&server), topics, threads));
        assert_eq!((run.errors, run.disorder()), (0, None), "{:?}", run.notes);
        let figures = &run.figures;
        // In warm-up and window, whose length is known to the nanosecond.
        let published = figures["pubsub_published"];
        assert_eq!(published, 550.0, "{figures:?}");
        assert_eq!(figures["pubsub_subscribers"], 8.0);
        assert_eq!(figures["pubsub_delivered"], published * 8.0);
        assert_eq!(figures["pubsub_acks"], published);
        assert_eq!(run.offered_per_second, Some(4000.0));
        // Nine connects, 10 ms apart.
        assert!(figures["ramp_s"] >= 0.08, "{figures:?}");
    }
}

#[test]
fn a_pubsub_that_doubles_loses_or_refuses_is_found_out() {
    let run = |fault, timeout| {
        let testee = Testee::start(Behaviour::Pubsub { fault, every: 100 });
        outcome(&LoadOptions {
            timeout: Duration::from_secs(timeout),
            ..pubsub(testee.address, 1, 2)
        })
    };
    let doubles = run(PubsubFault::Doubles, 30);
    assert!(doubles.figures["pubsub_duplicates"] >= 40.0);
    assert_eq!(doubles.figures["pubsub_reach"], 1.0);
    let sentence = doubles.disorder().expect("messages came twice");
    assert!(doubles.notes.contains(&sentence), "{:?}", doubles.notes);

    let loses = run(PubsubFault::Loses, 5);
    let missing = loses.errors_by_kind.missing as f64;
    assert!(missing >= 40.0 && loses.figures["pubsub_untold"] == missing);
    assert!(loses.disorder().is_some());

    let tells = run(PubsubFault::LosesAndTells, 5);
    let missing = tells.errors_by_kind.missing as f64;
    assert!(missing >= 40.0 && tells.figures["pubsub_gaps"] == missing);
    assert_eq!(
        (tells.figures["pubsub_untold"], tells.disorder()),
        (0.0, None)
    );

    let refuses = run(PubsubFault::Refuses, 30);
    let errors = refuses.errors_by_kind;
    assert!(
        errors.refused >= 5 && errors.refused == refuses.errors,
        "{errors:?}"
    );
    assert_eq!(
        (refuses.figures["pubsub_reach"], refuses.disorder()),
        (1.0, None)
    );
}

#[test]
fn a_server_that_is_no_pubsub_is_a_sentence() {
    let server = Server::start(&["--workers=1", "--port=auto"]);
    let error = run::run(&pubsub(address(&server), 1, 1), &mut |_| {
        ControlFlow::Continue(())
    });
    let sentence = error.expect_err("it echoes").to_string();
    assert!(
        sentence.ends_with("is the server's application a pubsub?"),
        "{sentence}"
    );
}

#[test]
fn peers_that_come_and_go_and_read_slowly_lose_nothing_else() {
    let server = Server::start(&["--workers=2", "--port=auto", "--interval=200ms"]);
    let run = outcome(&LoadOptions {
        connections: 40,
        in_flight: 4,
        duration: Duration::from_secs(2),
        ..options(
            address(&server),
            Scenario::Stress(Churn {
                reconnects_per_second: 100.0,
                resets_per_second: 100.0,
                slow_readers: 0.1,
                slow_bytes_per_second: 2000.0,
            }),
        )
    });
    assert_eq!(run.errors, 0, "{:?} {:?}", run.errors_by_kind, run.notes);
    let figures = &run.figures;
    assert!(
        figures["reconnects"] > 50.0 && figures["resets"] > 50.0,
        "{figures:?}"
    );
    assert!(run.messages > 1000, "{}", run.messages);
}

#[test]
fn sizes_by_weight_come_back_on_both_tiers_and_idle_connections_stay_idle() {
    for io in [IoTier::Uring, IoTier::Epoll] {
        let server = Server::start(&["--workers=1", "--port=auto", "--interval=200ms"]);
        let run = outcome(&LoadOptions {
            connections: 20,
            in_flight: 3,
            io,
            payload: Payload {
                sizes: vec![(20, 0.6), (5000, 0.3), (100_000, 0.08), (1_000_000, 0.02)],
                binary: true,
                content: Content::Random,
            },
            ..options(address(&server), Scenario::Mixed { idle: 0.5 })
        });
        assert_eq!(run.errors, 0, "{io:?}: {:?}", run.notes);
        assert!(
            run.messages > 100 && run.bytes / run.messages > 20_000,
            "{io:?}: {run:?}"
        );
        assert_eq!(run.connections, 20);
    }
}
