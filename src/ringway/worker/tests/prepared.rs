//! Prepared messages, requests and keys by the letter: what lies in memory, and what is refused.

use crate::io::sim::{Options, Sim};
use crate::io::{ReceiveMode, SHARED_MAX};
use crate::proto::handshake::Misuse;
use crate::proto::http;
use crate::proto::{Kind, Message, Role};
use crate::worker::{App, Config, Context, Masking, OpeningRequest, TooMuch, Worker};

struct Nothing;

impl App for Nothing {
    type Session = ();

    fn message(&mut self, _context: &mut Context<'_>, (): &mut (), _message: Message<'_>) {}
}

fn worker() -> Worker<Sim, Nothing> {
    let sim = Sim::new(Options::faultless(ReceiveMode::Buffers));
    let config = Config {
        masking: Masking::Seeded(0),
        ..Config::default()
    };
    Worker::client(sim, Nothing, config)
}

#[test]
fn a_client_prepares_masked_frames_one_behind_the_other() {
    let mut worker = worker();
    let messages = [(Kind::Text, &b"Hello"[..]), (Kind::Binary, b"")];
    let prepared = worker
        .prepare(Role::Client, &messages, None)
        .expect("little");
    let bytes = &prepared.plain().block()[..];
    // The keys are the first ones of seed 0.
    let hello = b"\x81\x85\xAF\xCD\x1D\x7B\xE7\xA8\x71\x17\xC0";
    assert_eq!(bytes, [&hello[..], b"\x82\x80\xF4\x65\xB9\xA1"].concat());
    assert_eq!(
        (prepared.plain().frame(0).1, prepared.plain().frame(1).1),
        (0..11, 11..17)
    );
    assert_eq!((prepared.wire_bytes(0), prepared.wire_bytes(1)), (11, 6));
}

#[test]
fn a_server_prepares_frames_as_they_are() {
    let mut worker = worker();
    let messages = [(Kind::Text, &b"Hello"[..]), (Kind::Binary, b"")];
    let prepared = worker
        .prepare(Role::Server, &messages, None)
        .expect("little");
    let bytes = &prepared.plain().block()[..];
    assert_eq!(bytes, b"\x81\x05Hello\x82\0");
}

#[test]
fn a_header_has_the_shortest_form_that_its_length_needs() {
    let mut worker = worker();
    let payload = vec![0; 65_536];
    for (len, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        for (role, key) in [(Role::Client, 4), (Role::Server, 0)] {
            let messages = [(Kind::Binary, &payload[..len])];
            let prepared = worker.prepare(role, &messages, None).expect("little");
            assert_eq!(prepared.wire_bytes(0), header + key + len);
        }
    }
}

#[test]
fn more_than_a_gibibyte_or_too_many_blocks_is_too_much() {
    let mut worker = worker();
    let mebibyte = vec![0; 1 << 20];
    let messages = vec![(Kind::Binary, mebibyte.as_slice()); 1 << 10];
    assert_eq!(
        worker.prepare(Role::Client, &messages, None).err(),
        Some(TooMuch),
        "the headers come on top"
    );
    for _ in 0..SHARED_MAX {
        worker
            .prepare(Role::Client, &[], None)
            .expect("a block more");
    }
    assert_eq!(worker.prepare(Role::Client, &[], None).err(), Some(TooMuch));
}

#[test]
fn a_request_that_http_cannot_express_is_a_misuse() {
    let request = |host, resource, subprotocols: &[&str]| {
        let subprotocols: Vec<_> = subprotocols.iter().map(ToString::to_string).collect();
        OpeningRequest::new(host, resource, &subprotocols).err()
    };
    assert_eq!(request("ringway:80", "/echo?x=1", &["wamp.2.json"]), None);
    for host in ["", "two hosts", "line\r\nend", "user@host"] {
        assert_eq!(
            request(host, "/", &[]),
            Some(Misuse::Http(http::Misuse::Host)),
            "{host:?}"
        );
    }
    for resource in ["", "echo", "/a b", "/#fragment", "/line\r\nend"] {
        let misuse = request("ringway", resource, &[]);
        assert_eq!(
            misuse,
            Some(Misuse::Http(http::Misuse::Target)),
            "{resource:?}"
        );
    }
    for subprotocols in [&["a", "a"][..], &["no token"], &[""]] {
        let misuse = request("ringway", "/", subprotocols);
        assert_eq!(misuse, Some(Misuse::Subprotocol), "{subprotocols:?}");
    }
}
