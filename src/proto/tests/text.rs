//! RFC 6455 §8.1: text is UTF-8, and the first byte that cannot be right fails the connection.

use super::*;

#[test]
fn text_of_every_width_arrives_exactly() {
    for said in [
        "κόσμε",
        "Hello-µ@ßöäüàá-UTF-8!!",
        "a£€𐍈z",
        "\u{0}\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFD}\u{FFFF}\u{10000}\u{10FFFF}",
    ] {
        hears(&[frame(0x81, said)], &[text(said)]);
    }
}

#[test]
fn text_may_be_fragmented_inside_its_code_points() {
    let said = "κό€👋🏽ok";
    for cut in 0..=said.len() {
        let (head, tail) = said.as_bytes().split_at(cut);
        hears(&[frame(0x01, head), frame(0x80, tail)], &[text(said)]);
    }
    let bytes: Vec<Frame> = said.bytes().map(|byte| frame(0x00, [byte])).collect();
    let mut frames = vec![frame(0x01, "")];
    frames.extend(bytes);
    frames.push(frame(0x80, ""));
    hears(&frames, &[text(said)]);
}

/// The texts, and the offset of the byte after which nothing could make them valid (Autobahn 6.3 to 6.23).
const IMPOSSIBLE: [(&[u8], usize); 22] = [
    (
        b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited",
        12,
    ),
    (
        b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80edited",
        12,
    ),
    (b"\x80", 0),
    (b"\xBF", 0),
    (b"ab\x80", 2),
    (b"\xC0\xAF", 0),
    (b"\xC1\xBF", 0),
    (b"\xE0\x80\xAF", 1),
    (b"\xE0\x9F\xBF", 1),
    (b"\xF0\x80\x80\xAF", 1),
    (b"\xF0\x8F\xBF\xBF", 1),
    (b"\xF8\x88\x80\x80\x80", 0),
    (b"\xFC\x84\x80\x80\x80\x80", 0),
    (b"\xFE", 0),
    (b"\xFF", 0),
    (b"\xED\xA0\x80", 1),
    (b"\xED\xBF\xBF", 1),
    (b"\xED\xA0\x80\xED\xB0\x80", 1),
    (b"\xF4\x90\x80\x80", 1),
    (b"\xF5\x80\x80\x80", 0),
    (b"\xE2\x82z", 2),
    (b"\xF0\x9F\x91z", 3),
];

#[test]
fn impossible_text_fails_with_1007_in_one_frame_and_in_many() {
    for (bytes, at) in IMPOSSIBLE {
        let not_text = [violation(Violation::TextNotUtf8)];
        hears(&[frame(0x81, bytes)], &not_text);
        // Never finished, and failed all the same.
        hears(&[frame(0x01, bytes)], &not_text);
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            hears(&[frame(0x01, head), frame(0x80, tail)], &not_text);
        }
        assert!(at < bytes.len());
    }
}

#[test]
fn impossible_text_fails_at_the_exact_byte() {
    for (bytes, at) in IMPOSSIBLE {
        for speaker in SPEAKERS {
            for cut in 0..=bytes.len() {
                // One frame of a longer message; two frames cut anywhere; a frame that announces more than it brings.
                let (head, tail) = bytes.split_at(cut);
                let announced = u8::try_from(bytes.len() + 100).unwrap();
                let one = frame(0x01, bytes).wire(speaker);
                let two = wire(speaker, &[frame(0x01, head), frame(0x80, tail)]);
                let more = raw(0x81, announced, &[], bytes).wire(speaker);
                let header = one.len() - bytes.len();
                let second_header = if at < cut { 0 } else { header };
                for (wire, byte) in [
                    (one, header + at),
                    (two, header + second_header + at),
                    (more, header + at),
                ] {
                    let mut listener = Listener::new(other(speaker), UNLIMITED);
                    listener.feed(&wire[..byte]);
                    assert_eq!(listener.outcome.heard, [], "{bytes:x?} cut at {cut}");
                    listener.feed(&wire[byte..=byte]);
                    assert_eq!(
                        listener.outcome.heard,
                        [violation(Violation::TextNotUtf8)],
                        "{bytes:x?} cut at {cut}"
                    );
                }
            }
        }
    }
}

/// From 64 bytes on another validator is at work.
#[test]
fn impossible_text_fails_at_the_exact_byte_behind_long_text() {
    for (bytes, at) in IMPOSSIBLE {
        for ahead in ["x".repeat(63), "é".repeat(32), "€".repeat(300)] {
            let said = [ahead.as_bytes(), bytes, ahead.as_bytes()].concat();
            let announced = u16::try_from(said.len()).unwrap().to_be_bytes();
            for speaker in SPEAKERS {
                let wire = raw(0x81, 126, &announced, &said).wire(speaker);
                let byte = wire.len() - said.len() + ahead.len() + at;
                let mut listener = Listener::new(other(speaker), UNLIMITED);
                listener.feed(&wire[..byte]);
                assert_eq!(listener.outcome.heard, [], "{bytes:x?}");
                listener.feed(&wire[byte..]);
                assert_eq!(
                    listener.outcome.heard,
                    [violation(Violation::TextNotUtf8)],
                    "{bytes:x?}"
                );
            }
        }
    }
}

#[test]
fn text_that_ends_inside_a_code_point_fails_with_1007_at_its_end() {
    for bytes in [
        &b"\xC3"[..],
        b"\xE2\x82",
        b"\xF0\x9F\x91",
        b"ok \xF0\x9F",
        b"\xE2",
    ] {
        let not_text = [violation(Violation::TextNotUtf8)];
        hears(&[frame(0x81, bytes)], &not_text);
        hears(&[frame(0x01, bytes), frame(0x80, "")], &not_text);
        hears(&[frame(0x01, ""), frame(0x80, bytes)], &not_text);
        // As long as more may come, it is not wrong.
        for speaker in SPEAKERS {
            in_every_split(
                other(speaker),
                UNLIMITED,
                &wire(speaker, &[frame(0x01, bytes)]),
                &Outcome {
                    heard: vec![],
                    unfinished: Some(bytes.to_vec()),
                },
            );
        }
    }
}

#[test]
fn binary_messages_may_hold_anything() {
    for (bytes, _) in IMPOSSIBLE {
        hears(&[frame(0x82, bytes)], &[binary(bytes)]);
        hears(
            &[frame(0x02, bytes), frame(0x80, bytes)],
            &[binary([bytes, bytes].concat())],
        );
    }
    // A binary message leaves nothing behind that the next text could trip over.
    hears(
        &[
            frame(0x02, b"\xE2"),
            frame(0x80, b"\x82"),
            frame(0x01, "a"),
            frame(0x80, "b"),
        ],
        &[binary(b"\xE2\x82"), text("ab")],
    );
}
