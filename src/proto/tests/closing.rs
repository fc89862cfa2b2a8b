//! RFC 6455 §5.5.1, §7: the payload of a Close, the codes in it, and the states on the way to the end.

use super::*;

#[test]
fn a_close_may_be_empty_or_hold_a_code_or_a_code_and_a_reason() {
    hears(&[frame(0x88, "")], &[Closing(None, String::new())]);
    hears(&[frame(0x88, b"\x03\xE8")], &[closing(1000, "")]);
    hears(&[frame(0x88, b"\x03\xE9going")], &[closing(1001, "going")]);
    let longest = [&b"\x03\xE8"[..], &[b'x'; 123]].concat();
    hears(&[frame(0x88, longest)], &[closing(1000, &"x".repeat(123))]);
    hears(
        &[frame(0x88, b"\x03\xE8\xCE\xBA\xF0\x9F\x91\x8B")],
        &[closing(1000, "κ👋")],
    );
}

#[test]
fn a_close_of_one_byte_fails_with_1002() {
    for byte in [0x00, 0x03, 0xFF] {
        hears(
            &[frame(0x88, [byte])],
            &[violation(Violation::ClosePayloadOneByte)],
        );
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_fails_with_1007() {
    for reason in [
        &b"\xFF"[..],
        b"ok\xC0\xAF",
        b"\xED\xA0\x80",
        b"cut \xE2\x82",
    ] {
        hears(
            &[frame(0x88, [b"\x03\xE8", reason].concat())],
            &[violation(Violation::CloseReasonNotUtf8)],
        );
    }
    // The code is looked at first.
    hears(
        &[frame(0x88, b"\x03\xED\xFF")],
        &[violation(Violation::CloseCodeInvalid(1005))],
    );
}

#[test]
fn the_close_codes_that_may_be_sent_are_heard() {
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3999,
        4000, 4500, 4999,
    ] {
        let payload = u16::to_be_bytes(code);
        hears(&[frame(0x88, payload)], &[closing(code, "")]);
        assert_eq!(CloseCode::sendable(code).map(CloseCode::number), Some(code));
    }
}

#[test]
fn the_close_codes_that_may_not_be_sent_fail_with_1002() {
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535,
    ] {
        let payload = u16::to_be_bytes(code);
        hears(
            &[frame(0x88, payload)],
            &[violation(Violation::CloseCodeInvalid(code))],
        );
        assert_eq!(CloseCode::sendable(code), None);
    }
}

#[test]
fn nothing_is_read_after_a_close() {
    hears(
        &[
            frame(0x81, "before"),
            frame(0x88, b"\x03\xE8"),
            frame(0x81, "after"),
            frame(0x89, ""),
            frame(0x88, b"\x03\xE9"),
            frame(0x83, "not even a fault"),
        ],
        &[text("before"), closing(1000, "")],
    );
}

#[test]
fn a_closing_handshake_goes_from_open_over_closing_to_closed() {
    for begins in SPEAKERS {
        for bytes in [1, 2, usize::MAX] {
            let mut pair = Pair::new();
            assert_eq!(pair.client.state(), State::Open);
            assert_eq!(pair.server.state(), State::Open);

            let side = pair.side(begins);
            side.close(Some(CloseCode::GoingAway), "enough").unwrap();
            assert_eq!(side.state(), State::Closing, "sent");
            assert_eq!(
                pair.side(other(begins)).state(),
                State::Open,
                "not heard yet"
            );

            // Still allowed: the other side has not heard of it.
            let side = pair.side(other(begins));
            side.send(Opcode::Text, true, b"late").unwrap();

            pair.drive(bytes);
            assert_eq!(pair.client.state(), State::Closed);
            assert_eq!(pair.server.state(), State::Closed);
            let (first, second) = pair.sides(begins);
            assert_eq!(first.heard(), [text("late"), closing(1001, "enough")]);
            assert_eq!(second.heard(), [closing(1001, "enough")]);
        }
    }
}

#[test]
fn a_close_heard_and_not_answered_is_closing() {
    for speaker in SPEAKERS {
        let mut socket = WebSocket::new(other(speaker), UNLIMITED);
        let mut wire = frame(0x88, "").wire(speaker);
        let mut input = Input::new(&mut wire);
        let heard = socket.receiver.poll_event(&mut input);
        assert!(matches!(heard, Ok(Some(Event::Close(_)))));
        assert_eq!(socket.state(), State::Closing);
        let key = (speaker == Role::Server).then_some(KEY);
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        socket.sender.close(None, "", key, &mut out).unwrap();
        assert_eq!(socket.state(), State::Closed);
    }
}

#[test]
fn both_sides_may_begin_to_close_at_once() {
    let mut pair = Pair::new();
    pair.client.close(None, "").unwrap();
    pair.server.close(Some(CloseCode::GoingAway), "").unwrap();
    pair.drive(usize::MAX);
    assert_eq!(pair.client.heard(), [closing(1001, "")]);
    assert_eq!(pair.server.heard(), [Closing(None, String::new())]);
    assert_eq!(pair.client.state(), State::Closed);
    assert_eq!(pair.server.state(), State::Closed);
}

#[test]
fn a_violation_is_answered_with_the_close_that_names_it() {
    for at_fault in SPEAKERS {
        let mut pair = Pair::new();
        let fault = frame(0x83, "").wire(at_fault);
        pair.side(at_fault).on_its_way.extend(fault);
        pair.step(other(at_fault), usize::MAX);
        assert_eq!(pair.side(other(at_fault)).state(), State::Closed);
        pair.drive(usize::MAX);
        assert_eq!(
            pair.side(at_fault).heard(),
            [closing(1002, "reserved opcode 0x3")]
        );
        assert_eq!(pair.side(at_fault).state(), State::Closed);
    }
}

#[test]
fn a_violation_alone_is_closing() {
    for speaker in SPEAKERS {
        let mut listener = Listener::new(other(speaker), UNLIMITED);
        listener.feed(&frame(0x83, "").wire(speaker));
        assert_eq!(listener.socket.state(), State::Closing);
    }
}

#[test]
fn pings_are_answered_and_messages_cross_in_any_split() {
    for bytes in [1, 2, 3, 5, 7, 11, usize::MAX] {
        let mut pair = Pair::new();
        for role in SPEAKERS {
            let side = pair.side(role);
            side.send(Opcode::Text, false, b"Hel").unwrap();
            side.send(Opcode::Ping, true, b"are you there?").unwrap();
            side.send(Opcode::Continuation, true, "lo €".as_bytes())
                .unwrap();
            side.send(Opcode::Binary, true, &[0xFF; 130]).unwrap();
        }
        pair.drive(bytes);
        for role in SPEAKERS {
            let heard = pair.side(role).heard();
            assert_eq!(heard.len(), 4);
            // When the Pong comes in between depends on the split; the rest is in order.
            let messages: Vec<&Heard> = heard.iter().filter(|h| !matches!(h, Pong(_))).collect();
            assert_eq!(
                messages,
                [
                    &ping("are you there?"),
                    &text("Hello €"),
                    &binary([0xFF; 130])
                ]
            );
            assert!(heard.contains(&pong("are you there?")));
        }
        assert_eq!(pair.client.state(), State::Open);
    }
}
