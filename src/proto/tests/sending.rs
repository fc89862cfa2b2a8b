//! [`Sender`]: what it puts on the wire, and what it refuses.

use super::*;
use crate::frame::Header;

fn header(opcode: Opcode, fin: bool, payload_len: u64, masking_key: Option<[u8; 4]>) -> Header {
    Header {
        compressed: false,
        fin,
        opcode,
        payload_len,
        masking_key,
    }
}

fn key_of(role: Role) -> Option<[u8; 4]> {
    (role == Role::Client).then_some(KEY)
}

/// A sender, and shorthands that leave its key and buffer out.
struct Sending {
    role: Role,
    sender: Sender,
}

impl Sending {
    fn new(role: Role) -> Self {
        Self {
            role,
            sender: Sender::new(role),
        }
    }

    fn frame(&mut self, opcode: Opcode, fin: bool) -> Result<(), Misuse> {
        let header = header(opcode, fin, 5, key_of(self.role));
        let mut out = [0; frame::HEADER_BYTES_MAX];
        self.sender.header(&header, &mut out).map(|_| ())
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<Vec<u8>, Misuse> {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let key = key_of(self.role);
        let bytes = self.sender.control(opcode, payload, key, &mut out)?;
        Ok(out[..bytes].to_vec())
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<Vec<u8>, Misuse> {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let key = key_of(self.role);
        let bytes = self.sender.close(code, reason, key, &mut out)?;
        Ok(out[..bytes].to_vec())
    }
}

#[test]
fn frames_are_written_as_rfc_6455_5_7_prints_them() {
    let mut server = Sending::new(Role::Server);
    let mut client = Sending::new(Role::Client);
    assert_eq!(
        server.control(Opcode::Ping, b"Hello").unwrap(),
        b"\x89\x05\x48\x65\x6c\x6c\x6f"
    );
    assert_eq!(
        client.control(Opcode::Pong, b"Hello").unwrap(),
        b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    );
    let mut out = [0; frame::HEADER_BYTES_MAX];
    let cases: [(u64, &[u8]); 7] = [
        (5, b"\x81\x05"),
        (125, b"\x81\x7D"),
        (126, b"\x81\x7E\x00\x7E"),
        (65535, b"\x81\x7E\xFF\xFF"),
        (65536, b"\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"),
        (1 << 40, b"\x81\x7F\x00\x00\x01\x00\x00\x00\x00\x00"),
        (u64::MAX >> 1, b"\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
    ];
    for (len, wire) in cases {
        let bytes = server
            .sender
            .header(&header(Opcode::Text, true, len, None), &mut out)
            .unwrap();
        assert_eq!(&out[..bytes], wire);
        assert_eq!(frame::encoded_bytes(len, false), wire.len());
        assert_eq!(frame::encoded_bytes(len, true), wire.len() + 4);
        let bytes = client
            .sender
            .header(&header(Opcode::Text, true, len, Some(KEY)), &mut out)
            .unwrap();
        assert_eq!(out[1] & 0x80, 0x80);
        assert_eq!(&out[bytes - 4..bytes], &KEY);
        assert_eq!(bytes, wire.len() + 4);
    }
}

#[test]
fn a_wrong_mask_is_misuse_and_changes_nothing() {
    for role in SPEAKERS {
        let mut sending = Sending::new(role);
        let wrong = header(Opcode::Close, true, 0, key_of(other(role)));
        let mut out = [0xAA; frame::HEADER_BYTES_MAX];
        assert_eq!(
            sending.sender.header(&wrong, &mut out),
            Err(Misuse::WrongMask)
        );
        assert_eq!(out, [0xAA; frame::HEADER_BYTES_MAX]);
        assert!(!sending.sender.is_closed());
        assert_eq!(sending.frame(Opcode::Text, true), Ok(()));
    }
}

#[test]
fn fragments_out_of_order_are_misuse_and_change_nothing() {
    for role in SPEAKERS {
        let mut sending = Sending::new(role);
        assert_eq!(
            sending.frame(Opcode::Continuation, true),
            Err(Misuse::OutOfOrder)
        );
        assert_eq!(
            sending.frame(Opcode::Continuation, false),
            Err(Misuse::OutOfOrder)
        );
        assert_eq!(sending.frame(Opcode::Text, false), Ok(()));
        assert_eq!(sending.frame(Opcode::Text, true), Err(Misuse::OutOfOrder));
        assert_eq!(
            sending.frame(Opcode::Binary, false),
            Err(Misuse::OutOfOrder)
        );
        assert_eq!(
            sending.frame(Opcode::Ping, true),
            Ok(()),
            "between fragments"
        );
        assert_eq!(sending.frame(Opcode::Continuation, false), Ok(()));
        assert_eq!(sending.frame(Opcode::Continuation, true), Ok(()));
        assert_eq!(
            sending.frame(Opcode::Continuation, true),
            Err(Misuse::OutOfOrder)
        );
        assert_eq!(sending.frame(Opcode::Binary, true), Ok(()));
    }
}

#[test]
fn a_control_frame_too_long_or_without_fin_is_misuse_and_changes_nothing() {
    for role in SPEAKERS {
        for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
            let mut sending = Sending::new(role);
            assert_eq!(sending.frame(opcode, false), Err(Misuse::ControlTooLong));
            assert_eq!(
                sending.control(opcode, &[0; 126]),
                Err(Misuse::ControlTooLong)
            );
            assert_eq!(
                sending.control(opcode, &[0; 200]),
                Err(Misuse::ControlTooLong)
            );
            assert!(!sending.sender.is_closed());
            let longest = sending.control(opcode, &[0; 125]).unwrap();
            assert_eq!(longest.len(), if role == Role::Client { 131 } else { 127 });
        }
    }
}

#[test]
fn anything_after_a_close_is_misuse() {
    for role in SPEAKERS {
        let mut sending = Sending::new(role);
        sending.frame(Opcode::Text, false).unwrap();
        sending.close(Some(CloseCode::NormalClosure), "").unwrap();
        assert!(sending.sender.is_closed());
        for opcode in [
            Opcode::Continuation,
            Opcode::Text,
            Opcode::Binary,
            Opcode::Close,
            Opcode::Ping,
            Opcode::Pong,
        ] {
            assert_eq!(sending.frame(opcode, true), Err(Misuse::AfterClose));
        }
        assert_eq!(sending.close(None, ""), Err(Misuse::AfterClose));
        assert_eq!(sending.control(Opcode::Pong, b""), Err(Misuse::AfterClose));
    }
}

/// A data frame is not a control frame, however short: `control` used to write one, and to panic when it was long.
#[test]
fn a_data_frame_sent_as_a_control_frame_is_misuse() {
    for role in SPEAKERS {
        let mut sending = Sending::new(role);
        for opcode in [Opcode::Continuation, Opcode::Text, Opcode::Binary] {
            assert_eq!(sending.control(opcode, b"x"), Err(Misuse::NotControl));
            assert_eq!(sending.control(opcode, &[0; 200]), Err(Misuse::NotControl));
        }
        assert_eq!(sending.frame(Opcode::Text, true), Ok(()));
    }
}

/// RFC 6455 §7.4.1: 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control frame by an endpoint".
#[test]
fn a_close_code_that_only_describes_a_connection_is_misuse() {
    for role in SPEAKERS {
        for code in [
            CloseCode::NoStatusRcvd,
            CloseCode::AbnormalClosure,
            CloseCode::TlsHandshake,
        ] {
            let mut sending = Sending::new(role);
            assert_eq!(sending.close(Some(code), ""), Err(Misuse::UnsendableCode));
            assert!(!sending.sender.is_closed());
        }
    }
}

#[test]
fn each_misuse_is_a_sentence() {
    let cases = [
        (
            Misuse::AfterClose,
            "nothing may be sent after a close frame",
        ),
        (
            Misuse::ControlTooLong,
            "control frame longer than 125 bytes or fragmented",
        ),
        (Misuse::NotControl, "data frame sent as a control frame"),
        (Misuse::OutOfOrder, "fragment out of order"),
        (Misuse::UnsendableCode, "close code that is never sent"),
        (Misuse::WrongMask, "clients mask, servers do not"),
    ];
    for (misuse, sentence) in cases {
        assert_eq!(misuse.to_string(), sentence);
    }
}

#[test]
fn a_close_is_written_with_its_code_and_reason() {
    let close = |code, reason| Sending::new(Role::Server).close(code, reason).unwrap();
    assert_eq!(close(None, ""), b"\x88\x00");
    assert_eq!(close(None, "dropped: no code, no reason"), b"\x88\x00");
    assert_eq!(
        close(Some(CloseCode::NormalClosure), ""),
        b"\x88\x02\x03\xE8"
    );
    assert_eq!(
        close(CloseCode::sendable(4999), "bye"),
        b"\x88\x05\x13\x87bye"
    );
    let masked = Sending::new(Role::Client)
        .close(Some(CloseCode::NormalClosure), "")
        .unwrap();
    assert_eq!(masked, b"\x88\x82\x37\xfa\x21\x3d\x34\x12");
}

#[test]
fn a_close_reason_is_cut_at_a_code_point() {
    let close = |reason: &str| {
        let wire = Sending::new(Role::Server)
            .close(Some(CloseCode::NormalClosure), reason)
            .unwrap();
        String::from_utf8(wire[4..].to_vec()).unwrap()
    };
    assert_eq!(close(&"x".repeat(123)), "x".repeat(123));
    assert_eq!(close(&"x".repeat(124)), "x".repeat(123));
    assert_eq!(close(&"x".repeat(5000)), "x".repeat(123));
    assert_eq!(close(&"€".repeat(41)), "€".repeat(41), "123 bytes");
    assert_eq!(close(&"€".repeat(42)), "€".repeat(41));
    assert_eq!(close(&"é".repeat(62)), "é".repeat(61), "122 bytes");
    assert_eq!(close(&"👋".repeat(31)), "👋".repeat(30), "120 bytes");
    assert_eq!(
        close(&format!("x{}", "👋".repeat(31))),
        format!("x{}", "👋".repeat(30))
    );
}
