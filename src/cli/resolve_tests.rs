//! What each option accepts and refuses.

use ringway::options::{Backlog, WebPort};
use ringway_command::endpoint::{URIS, endpoint};
use ringway_command::kinds::Kind as _;

use std::time::Duration;

use super::super::options::ServerArgs;
use super::*;

fn text(value: &str) -> Option<Text> {
    Some(Text(value.to_owned()))
}

fn from(typed: &[(&'static str, &str)]) -> Result<ServerOptions, String> {
    server(&Given::<ServerArgs>::typed(typed), 4).map_err(|bad| bad.to_string())
}

#[test]
fn nothing_typed_is_the_defaults() {
    let options = from(&[]).unwrap();
    assert_eq!(options, ServerOptions::new(4));
    assert_eq!((options.workers, options.max_frame), (4, 16 << 20));
    assert!(options.socket.nodelay);
}

#[test]
fn an_endpoint_is_host_and_port_or_a_path() {
    let tcp = |host: &str, port| Endpoint::Tcp {
        host: host.to_owned(),
        port,
    };
    assert_eq!(endpoint("ws://127.0.0.1:9000"), Ok(tcp("127.0.0.1", 9000)));
    assert_eq!(endpoint("ws://localhost:0/"), Ok(tcp("localhost", 0)));
    assert_eq!(endpoint("WS://localhost:0/"), Ok(tcp("localhost", 0)));
    assert_eq!(endpoint("ws://[::1]:9000"), Ok(tcp("::1", 9000)));
    let zoned = endpoint("ws://[fe80::1%25eth0]:9000");
    assert_eq!(zoned, Ok(tcp("fe80::1%eth0", 9000)));
    let shown = zoned
        .ok()
        .and_then(|zoned| ringway_command::endpoint::URI.show(&zoned));
    assert_eq!(shown.as_deref(), Some("ws://[fe80::1%25eth0]:9000"));
    let unix = Endpoint::Unix {
        path: "/run/echo.sock".into(),
    };
    assert_eq!(endpoint("ws+unix:/run/echo.sock"), Ok(unix.clone()));
    assert_eq!(endpoint("WS+Unix:/run/echo.sock"), Ok(unix.clone()));
    assert_eq!(endpoint("ws+unix:///run/echo.sock"), Ok(unix));
    // The path of a socket may have commas.
    let several = "ws+unix:/run/a,b.sock,ws://[::1]:0,ws+unix:/run/c";
    let places = URIS.parse(several).expect("three places");
    assert_eq!(places.len(), 3);
    assert_eq!(URIS.show(&places).as_deref(), Some(several));
}

#[test]
fn a_bad_endpoint_says_what_is_wrong_with_it() {
    let cases = [
        ("wss://127.0.0.1:9000", "--cert and --key"),
        ("http://127.0.0.1", "does not begin with ws://"),
        ("ws://127.0.0.1", "the port is missing"),
        ("ws://127.0.0.1:99999", "not a number from 0 to 65535"),
        ("ws://:9000", "the host is missing"),
        ("ws://::1:9000", "needs brackets"),
        ("ws://[::1:9000", "bracket of the IPv6 address is open"),
        ("ws://[echo]:9000", "no IPv6 address"),
        ("ws://[fe80::1%eth0]:9000", "behind %25"),
        ("ws://[fe80::1%25]:9000", "behind %25"),
        ("ws://h:1/chat", "answers on every path"),
        ("ws://h:1?x=1", "answers on every path"),
        ("ws://me@h:1", "a user has no meaning"),
        ("ws+unix:run/echo", "must begin with a slash"),
    ];
    for (uri, why) in cases {
        let sentence = endpoint(uri).unwrap_err().to_string();
        assert!(sentence.contains(why), "{uri}: {sentence}");
        assert!(sentence.contains(uri), "{sentence}");
    }
    let long = format!("ws+unix:/{}", "x".repeat(107));
    assert!(
        endpoint(&long)
            .unwrap_err()
            .to_string()
            .contains("107 bytes")
    );
}

#[test]
fn zero_workers_is_refused_with_the_remedy() {
    let sentence = from(&[("workers", "0")]).unwrap_err();
    assert_eq!(
        sentence,
        "--workers 0 is not a number from 1 to 1024: a server needs at least 1 worker, one per CPU is best"
    );
    assert!(from(&[("workers", "100000")]).is_err());
    assert!(from(&[("workers", "-1")]).is_err());
    assert!(from(&[("workers", "two")]).is_err());
}

#[test]
fn zero_means_off_where_help_says_so() {
    let options = from(&[
        ("port", "0"),
        ("max-connections", "0"),
        ("idle-timeout", "0"),
        ("ping-interval", "0s"),
        ("keepalive", "0"),
    ])
    .unwrap();
    assert_eq!(options.web_port, WebPort::Off);
    assert_eq!(
        (options.max_connections, options.idle_timeout),
        (None, None)
    );
    assert_eq!(
        (options.ping_interval, options.socket.keepalive),
        (None, None)
    );
}

#[test]
fn zero_is_refused_where_it_would_stop_everything() {
    for change in [
        &[("handshake-timeout", "0")][..],
        &[("close-timeout", "0")],
        &[("interval", "0")],
        &[("max-message", "0")],
        &[("send-queue", "0")],
        &[("backlog", "0")],
    ] {
        assert!(from(change).is_err());
    }
}

#[test]
fn a_frame_limit_follows_the_message_limit_and_never_exceeds_it() {
    assert_eq!(from(&[("max-message", "1MiB")]).unwrap().max_frame, 1 << 20);
    let sentence = from(&[("max-message", "1000"), ("max-frame", "2000")]).unwrap_err();
    assert!(
        sentence.contains("--max-frame 2000 is above --max-message 1000"),
        "{sentence}"
    );
}

#[test]
fn a_backlog_is_a_number_or_somaxconn() {
    assert_eq!(
        from(&[("backlog", "somaxconn")]).unwrap().backlog,
        Backlog::Somaxconn
    );
    assert_eq!(
        from(&[("backlog", "4k")]).unwrap().backlog,
        Backlog::Depth(4000)
    );
}

#[test]
fn a_switch_can_be_turned_off_again() {
    assert!(!from(&[("nodelay", "false")]).unwrap().socket.nodelay);
    assert!(from(&[("noaffinity", "false")]).unwrap().affinity);
    let sentence = from(&[("silence", "loud")]).unwrap_err();
    assert_eq!(
        sentence,
        "--silence loud is not true or false: or leave the value off"
    );
}

#[test]
fn a_choice_names_the_choices() {
    let sentence = from(&[("io", "kqueue")]).unwrap_err();
    assert_eq!(
        sentence,
        "--io kqueue is not one of auto, uring, epoll: choose one of them"
    );
}

#[test]
fn reuseport_and_a_unix_socket_exclude_each_other() {
    let sentence = from(&[("wsuri", "ws+unix:/tmp/x"), ("reuseport", "true")]).unwrap_err();
    assert!(
        sentence.contains("a Unix socket has one listener"),
        "{sentence}"
    );
}

#[test]
fn keepalive_details_need_keepalive() {
    let off = &[("keepalive", "0"), ("keepalive-count", "3")];
    assert!(from(off).is_err());
    assert!(from(&[("keepalive-count", "3")]).is_ok());
    let options = from(&[("keepalive", "60s"), ("keepalive-count", "3")]).unwrap();
    assert_eq!(options.socket.keepalive, Some(Duration::from_secs(60)));
    assert!(from(&[("keepalive", "10ms")]).is_err());
}

#[test]
fn the_kernel_finds_out_vanished_peers_unless_it_is_told_not_to() {
    let socket = from(&[]).unwrap().socket;
    assert_eq!(socket.keepalive, Some(Duration::from_secs(120)));
    assert_eq!(socket.keepalive_interval, Some(Duration::from_secs(15)));
    assert_eq!(socket.keepalive_count, Some(4));
    assert_eq!(socket.user_timeout, Some(Duration::from_secs(180)));
    let user_timeout = |typed: &[(&'static str, &str)]| from(typed).unwrap().socket.user_timeout;
    assert_eq!(
        user_timeout(&[("keepalive", "10m")]),
        Some(Duration::from_secs(660))
    );
    assert_eq!(
        user_timeout(&[("write-timeout", "1h")]),
        Some(Duration::from_secs(3600))
    );
    assert_eq!(user_timeout(&[("write-timeout", "0")]), None);
    assert_eq!(user_timeout(&[("keepalive", "0")]), None);
    assert_eq!(user_timeout(&[("user-timeout", "0")]), None);
    assert_eq!(
        user_timeout(&[("user-timeout", "7s")]),
        Some(Duration::from_secs(7))
    );
}

#[test]
fn a_write_timeout_is_a_minute_another_time_or_none() {
    let write_timeout = |typed: &[(&'static str, &str)]| from(typed).unwrap().write_timeout;
    assert_eq!(write_timeout(&[]), Some(Duration::from_secs(60)));
    assert_eq!(
        write_timeout(&[("write-timeout", "250ms")]),
        Some(Duration::from_millis(250))
    );
    assert_eq!(write_timeout(&[("write-timeout", "0")]), None);
    assert!(from(&[("write-timeout", "soon")]).is_err());
}

#[test]
fn options_of_topics_need_an_application_that_has_some() {
    for (option, value, app) in [
        ("bus-log", "64KiB", "broadcast"),
        ("slow-messages", "7", "pubsub"),
        ("tick", "1s", "broadcast"),
        ("echo-self", "false", "broadcast"),
        ("may-publish", "a/#", "pubsub"),
        ("history-messages", "7", "pubsub"),
    ] {
        assert!(from(&[(option, value)]).is_err(), "--{option} alone");
        let options = from(&[(option, value), ("app", app)]).expect("it has an effect");
        assert!(options.bus, "--app={app}");
    }
    let other = from(&[("tick", "1s"), ("app", "pubsub")]);
    assert!(other.is_err(), "a pubsub has no tick");
    let by_path = from(&[("history-time", "1s"), ("service", "/a=echo,/b=pubsub")]);
    assert!(by_path.expect("it has an effect").bus);
    assert!(from(&[("bus-log", "100000"), ("app", "pubsub")]).is_err());
}

#[test]
fn fd_alone_makes_a_worker_and_cpuid_alone_is_a_mistake() {
    assert_eq!(seat(&ProcessArgs::default()), Ok(None));
    let worker = seat(&ProcessArgs {
        fd: text("5"),
        ..ProcessArgs::default()
    });
    let expected = WorkerSeat {
        fds: vec![5],
        ..WorkerSeat::default()
    };
    assert_eq!(worker, Ok(Some(expected)));
    assert!(
        seat(&ProcessArgs {
            cpuid: text("1"),
            ..ProcessArgs::default()
        })
        .is_err()
    );
    assert!(
        seat(&ProcessArgs {
            fd: text("-1"),
            ..ProcessArgs::default()
        })
        .is_err()
    );
    assert!(
        seat(&ProcessArgs {
            fd: text("99999999999"),
            ..ProcessArgs::default()
        })
        .is_err()
    );
}

#[test]
fn heads_and_subprotocols_have_limits_and_names() {
    let options = from(&[
        ("max-head", "64KiB"),
        ("max-headers", "200"),
        ("subprotocol", "a,b"),
    ])
    .unwrap();
    assert_eq!((options.max_head, options.max_headers), (64 << 10, 200));
    assert_eq!(options.subprotocols.to_string(), "a,b");
    for (change, why) in [
        (
            &[("max-head", "100")][..],
            "--max-head 100 is not a size from 256 to 1MiB",
        ),
        (
            &[("max-head", "2MiB")],
            "--max-head 2MiB is not a size from 256 to 1MiB",
        ),
        (
            &[("max-headers", "4")],
            "--max-headers 4 is not a number from 5 to 10000",
        ),
        (
            &[("subprotocol", "a b")],
            "--subprotocol a b: 'a b' cannot be a subprotocol",
        ),
    ] {
        let sentence = from(change).unwrap_err();
        assert!(sentence.starts_with(why), "{sentence}");
    }
}

#[test]
fn schemes_ignore_case() {
    // RFC 3986 §3.1
    let local = Endpoint::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 9000,
    };
    assert_eq!(endpoint("WS://127.0.0.1:9000"), Ok(local));
    let unix = Endpoint::Unix {
        path: "/Run/echo".into(),
    };
    assert_eq!(endpoint("Ws+Unix:/Run/echo"), Ok(unix));
    let tls = endpoint("WSS://a:1").unwrap_err().to_string();
    assert!(tls.contains("--cert and --key"), "{tls}");
    for uri in ["ws:127.0.0.1:9000", "127.0.0.1:9000", "", "ws", "wsx://a:1"] {
        let sentence = endpoint(uri).unwrap_err().to_string();
        assert!(sentence.contains("does not begin with ws://"), "{sentence}");
    }
}
