//! What an operator can ask of the end of a connection.

use std::io::Read as _;

use crate::common::client::{CLOSE, Client, TEXT};
use crate::common::{Server, on_both_tiers};

on_both_tiers!(
    a_close_is_answered_with_its_reason_when_asked_for,
    a_peer_that_breaks_the_protocol_gets_a_close_or_is_dropped,
);

fn started(more: &[&str]) -> Server {
    Server::start(&[&["--workers=1", "--port=auto"], more].concat())
}

fn a_close_is_answered_with_its_reason_when_asked_for(io: &str) {
    let close = b"\x0b\xb8going home";
    for (options, answer) in [
        (&[io][..], &close[..2]),
        (&["--echo-close-reason", io], close),
    ] {
        let server = started(options);
        let mut client = Client::connect(&server.address());
        client.echo(TEXT, b"before");
        client.send(CLOSE, close);
        client.expect(CLOSE, answer);
        // A Close without a code is answered with one without a code.
        let mut client = Client::connect(&server.address());
        client.send(CLOSE, b"");
        client.expect(CLOSE, b"");
    }
}

fn a_peer_that_breaks_the_protocol_gets_a_close_or_is_dropped(io: &str) {
    // An opcode that is reserved.
    let wrong = 0x83;
    let server = started(&[io]);
    let mut client = Client::connect(&server.address());
    client.send(wrong, b"");
    client.expect_failed_with(1002);
    let server = started(&["--fail-by-drop", io]);
    let mut client = Client::connect(&server.address());
    client.echo(TEXT, b"before");
    client.send(wrong, b"");
    let mut rest = Vec::new();
    let ended = client.into_stream().read_to_end(&mut rest);
    assert!(rest.is_empty(), "{:?}", rest.escape_ascii());
    let error = ended.expect_err("a reset, and no end of the stream");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(server.counter_reaching("violations", 1), [1]);
    assert_eq!(server.counter_reaching("closed_unclean", 1), [1]);
    assert_eq!(server.counter("drops"), [0]);
    // Others stay.
    let mut other = Client::connect(&server.address());
    other.echo(TEXT, b"after");
    other.close();
}
