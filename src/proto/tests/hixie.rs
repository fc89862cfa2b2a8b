//! The frames of Hixie-75 and Hixie-76, at every cut.

use crate::frame::{CONTROL_PAYLOAD_BYTES_MAX, Header};
use crate::hixie::{self, Draft};
use crate::{CONTROL_FRAME_BYTES_MAX, CloseCode, Event, Input, Kind, Limits, Misuse, Opcode};
use crate::{Receiver, Sender, Violation};

const BOTH: [Draft; 2] = [Draft::Hixie75, Draft::Hixie76];

/// What came out: the texts, whether the peer ended, and its fault.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    texts: Vec<String>,
    ended: bool,
    fault: Option<Violation>,
}

fn read<'p>(draft: Draft, limits: Limits, pieces: impl Iterator<Item = &'p [u8]>) -> Read {
    let mut receiver = Receiver::hixie(draft, limits);
    let (mut read, mut text) = (Read::default(), None);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match receiver.poll_event(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    assert!(text.is_none(), "no message inside a message");
                    let message = message.text().expect("text");
                    read.texts.push(message.to_owned());
                }
                Ok(Some(Event::Chunk(chunk))) => {
                    // So that the payload ends where the input is read to.
                    assert!(chunk.payload.is_empty() || !chunk.message_ends);
                    assert_eq!((chunk.kind, chunk.compressed), (Kind::Text, false));
                    assert_eq!(chunk.message_begins, text.is_none());
                    assert_eq!(chunk.frame_begins.is_some(), chunk.message_begins);
                    assert_eq!(chunk.frame_ends, chunk.message_ends);
                    text.get_or_insert_with(Vec::new)
                        .extend_from_slice(chunk.payload);
                    if chunk.message_ends {
                        let whole = String::from_utf8(text.take().expect("begun")).expect("UTF-8");
                        read.texts.push(whole);
                    }
                }
                Ok(Some(Event::Close(close))) => {
                    assert_eq!((close.code, close.reason), (None, ""));
                    read.ended = true;
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Err(violation) => {
                    read.fault = Some(violation);
                    assert!(receiver.is_done());
                }
            }
        }
        assert_eq!(input.remaining(), 0);
    }
    assert_eq!(receiver.is_done(), read.ended || read.fault.is_some());
    read
}

/// Reads `bytes` whole, byte by byte and cut in two at every place. It is always the same.
fn read_cut(draft: Draft, limits: Limits, bytes: &[u8]) -> Read {
    let whole = read(draft, limits, std::iter::once(bytes));
    let single = read(draft, limits, bytes.chunks(1));
    assert_eq!(single, whole, "{} byte by byte", bytes.escape_ascii());
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        let cut = read(draft, limits, [first, second].into_iter());
        assert_eq!(cut, whole, "{}", bytes.escape_ascii());
    }
    whole
}

fn texts(read: &Read) -> Vec<&str> {
    read.texts.iter().map(String::as_str).collect()
}

fn send(sender: &mut Sender, opcode: Opcode, fin: bool, text: &str, out: &mut Vec<u8>) {
    let header = Header {
        compressed: false,
        fin,
        opcode,
        payload_len: text.len() as u64,
        masking_key: None,
    };
    sender.check(&header).expect("allowed");
    assert!(hixie::can_carry(text.as_bytes()));
    let (before, behind) = hixie::encode(&header);
    for part in [before, text.as_bytes(), behind] {
        out.extend_from_slice(part);
    }
}

fn end(sender: &mut Sender, out: &mut Vec<u8>) {
    let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
    let len = sender.close(Some(CloseCode::NormalClosure), "over", None, &mut frame);
    out.extend_from_slice(&frame[..len.expect("not closed yet")]);
}

#[test]
fn what_one_end_says_the_other_hears_however_it_is_cut() {
    for draft in BOTH {
        let (mut sender, mut wire) = (Sender::hixie(draft), Vec::new());
        send(&mut sender, Opcode::Text, true, "Hello", &mut wire);
        assert_eq!(wire, b"\0Hello\xFF");
        send(&mut sender, Opcode::Text, true, "", &mut wire);
        send(&mut sender, Opcode::Text, true, "κόσμε — 👋🏽", &mut wire);
        // A message in parts is one frame.
        let before = wire.len();
        send(&mut sender, Opcode::Text, false, "in ", &mut wire);
        send(&mut sender, Opcode::Continuation, false, "", &mut wire);
        send(&mut sender, Opcode::Continuation, true, "parts", &mut wire);
        assert_eq!(wire[before..], *b"\0in parts\xFF");
        end(&mut sender, &mut wire);
        let read = read_cut(draft, Limits::default(), &wire);
        assert_eq!(texts(&read), ["Hello", "", "κόσμε — 👋🏽", "in parts"]);
        assert_eq!((read.ended, read.fault), (draft == Draft::Hixie76, None));
    }
}

#[test]
fn the_end_is_two_bytes_in_hixie_76_and_nothing_follows_it() {
    let mut sender = Sender::hixie(Draft::Hixie76);
    let mut wire = Vec::new();
    end(&mut sender, &mut wire);
    assert_eq!(wire, b"\xFF\0");
    assert!(sender.is_closed());
    let header = Header {
        compressed: false,
        fin: true,
        opcode: Opcode::Text,
        payload_len: 0,
        masking_key: None,
    };
    assert_eq!(sender.check(&header), Err(Misuse::AfterClose));
    let read = read_cut(
        Draft::Hixie76,
        Limits::default(),
        b"\0a\xFF\xFF\0\0b\xFF\x80",
    );
    assert_eq!(
        (texts(&read), read.ended, read.fault),
        (vec!["a"], true, None)
    );
    // A length of 0 may be long.
    let read = read_cut(Draft::Hixie76, Limits::default(), b"\xFF\x80\x80\0");
    assert!(read.ended);
}

#[test]
fn hixie_75_skips_what_it_does_not_know_and_hixie_76_does_not() {
    let frames: [(&[u8], u8); 6] = [
        (b"\x80\x03\0a\xFF", 0x80),
        (b"\xFE\0", 0xFE),
        (b"\xFF\x81\x02".as_slice(), 0xFF),
        (b"\x01skipped\xFF", 0x01),
        (b"\x7F\xFF", 0x7F),
        (b"\xFF\x02ab", 0xFF),
    ];
    for (frame, kind) in frames {
        let length_only = frame == b"\xFF\x81\x02";
        let body = match length_only {
            true => vec![b'x'; 130],
            false => Vec::new(),
        };
        let wire = [
            b"\0before\xFF",
            frame,
            &body,
            b"\0behind\xFF\xFF\0\0last\xFF",
        ]
        .concat();
        let skipped = read_cut(Draft::Hixie75, Limits::default(), &wire);
        assert_eq!(texts(&skipped), ["before", "behind", "last"]);
        assert_eq!((skipped.ended, skipped.fault), (false, None));
        let refused = read_cut(Draft::Hixie76, Limits::default(), &wire);
        assert_eq!(texts(&refused), ["before"]);
        assert_eq!(refused.fault, Some(Violation::UnknownFrameType(kind)));
        let code = Violation::UnknownFrameType(kind).close_code();
        assert_eq!(code, CloseCode::ProtocolError);
    }
}

#[test]
fn messages_and_what_is_skipped_have_limits() {
    let limits = Limits {
        frame_bytes_max: 4,
        message_bytes_max: 4,
    };
    for draft in BOTH {
        let read = read_cut(draft, limits, b"\x00four\xFF\x00four\xFF");
        assert_eq!((texts(&read), read.fault), (vec!["four", "four"], None));
    }
    for bytes in [
        &b"\x00fives"[..],
        b"\x00fives\xFF",
        b"\x01fives\xFF",
        b"\x80\x05fives",
        b"\x80\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F",
    ] {
        let read = read_cut(Draft::Hixie75, limits, bytes);
        assert!(read.texts.is_empty());
        let fault = read.fault.expect("over the limit");
        assert_eq!(fault.close_code(), CloseCode::MessageTooBig);
    }
    let message = Limits {
        message_bytes_max: 4,
        ..Limits::default()
    };
    let too_long = read_cut(Draft::Hixie76, message, b"\x00fives and more\xFF");
    assert_eq!(too_long.fault, Some(Violation::MessageTooBig(5)));
    // The first byte that is wrong decides.
    let wrong = read_cut(Draft::Hixie76, message, b"\x00abc\xC0defg\xFF");
    assert_eq!(wrong.fault, Some(Violation::TextNotUtf8));
    let wrong = read_cut(Draft::Hixie76, message, b"\x00abcd\xC0efg\xFF");
    assert_eq!(wrong.fault, Some(Violation::MessageTooBig(5)));
}

#[test]
fn text_that_is_not_utf_8_fails() {
    for bad in [
        &b"\x80"[..],
        b"a\xC0\xAF",
        b"\xED\xA0\x80",
        b"\xE2\x82",
        b"\xF4\x90",
    ] {
        let wire = [b"\0good\xFF\0", bad, b"\xFF\0good\xFF"].concat();
        for draft in BOTH {
            let read = read_cut(draft, Limits::default(), &wire);
            assert_eq!(texts(&read), ["good"]);
            assert_eq!(read.fault, Some(Violation::TextNotUtf8));
        }
    }
    assert!(!hixie::can_carry(b"a\xFFb"));
}

#[test]
fn what_these_protocols_cannot_say_is_a_misuse_that_changes_nothing() {
    for draft in BOTH {
        let mut sender = Sender::hixie(draft);
        assert_eq!((sender.draft(), sender.masks()), (Some(draft), false));
        let mut header = Header {
            compressed: false,
            fin: true,
            opcode: Opcode::Binary,
            payload_len: 0,
            masking_key: None,
        };
        assert_eq!(sender.check(&header), Err(Misuse::NotInHixie));
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        for opcode in [Opcode::Ping, Opcode::Pong] {
            header.opcode = opcode;
            assert_eq!(sender.check(&header), Err(Misuse::NotInHixie));
        }
        header.opcode = Opcode::Text;
        header.masking_key = Some([0; 4]);
        assert_eq!(sender.check(&header), Err(Misuse::WrongMask));
        header.masking_key = None;
        header.opcode = Opcode::Continuation;
        assert_eq!(sender.check(&header), Err(Misuse::OutOfOrder));
        let unsendable = sender.close(Some(CloseCode::NoStatusRcvd), "", None, &mut frame);
        assert_eq!(unsendable, Err(Misuse::UnsendableCode));
        header.opcode = Opcode::Text;
        assert_eq!(sender.check(&header), Ok(()));
        let reason = "r".repeat(CONTROL_PAYLOAD_BYTES_MAX);
        let closed = sender.close(Some(CloseCode::GoingAway), &reason, None, &mut frame);
        assert_eq!(closed, Ok(draft.end().len()));
    }
}
