//! Every [`Violation`]: what raises it, when, which close code answers it, and that nothing is read after it.

use super::*;

/// What breaks the rule, with either side speaking, and what is said about it.
fn breaks(frames: &[Frame], expected: Violation) {
    hears(frames, &[violation(expected)]);
    // Inside a good conversation it is the same, and nothing after it is read.
    let mut conversation = vec![frame(0x81, "before"), frame(0x89, "")];
    conversation.extend_from_slice(frames);
    conversation.extend([frame(0x81, "after"), frame(0x88, b"\x03\xE8")]);
    hears(
        &conversation,
        &[text("before"), ping(""), violation(expected)],
    );
}

#[test]
fn a_reserved_bit_on_any_frame_fails_with_1002() {
    for (bits, first) in [
        (0x40, 0xC0),
        (0x20, 0xA0),
        (0x10, 0x90),
        (0x70, 0xF0),
        (0x50, 0xD0),
    ] {
        for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xA, 0x3, 0xF] {
            breaks(&[frame(first | opcode, "x")], Violation::ReservedBits(bits));
        }
        breaks(
            &[frame((first & 0x7F) | 0x1, "x")],
            Violation::ReservedBits(bits),
        );
    }
    // Between the fragments of a message as well.
    for first in [0xC0, 0xC9] {
        breaks(
            &[frame(0x01, "x"), frame(first, "y")],
            Violation::ReservedBits(0x40),
        );
    }
}

#[test]
fn a_reserved_opcode_fails_with_1002() {
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        breaks(
            &[frame(0x80 | opcode, "")],
            Violation::ReservedOpcode(opcode),
        );
        breaks(
            &[frame(0x80 | opcode, "x")],
            Violation::ReservedOpcode(opcode),
        );
        breaks(&[frame(opcode, "x")], Violation::ReservedOpcode(opcode));
        breaks(
            &[frame(0x01, "x"), frame(0x80 | opcode, "y")],
            Violation::ReservedOpcode(opcode),
        );
    }
}

#[test]
fn a_control_frame_longer_than_125_fails_with_1002() {
    for first in [0x88, 0x89, 0x8A] {
        breaks(&[frame(first, [0; 126])], Violation::ControlTooLong);
        breaks(&[raw(first, 127, &[0; 8], "")], Violation::ControlTooLong);
    }
}

#[test]
fn a_fragmented_control_frame_fails_with_1002() {
    for first in [0x08, 0x09, 0x0A] {
        breaks(&[frame(first, "")], Violation::FragmentedControl);
        breaks(
            &[frame(first, b"\x03\xE8"), frame(0x80, "")],
            Violation::FragmentedControl,
        );
        // Before its length is looked at.
        breaks(&[frame(first, [0; 126])], Violation::FragmentedControl);
    }
}

#[test]
fn a_continuation_of_nothing_fails_with_1002() {
    for first in [0x00, 0x80] {
        breaks(&[frame(first, "")], Violation::ContinuationWithoutMessage);
        breaks(&[frame(first, "x")], Violation::ContinuationWithoutMessage);
    }
    hears(
        &[frame(0x01, "a"), frame(0x80, "b"), frame(0x80, "c")],
        &[text("ab"), violation(Violation::ContinuationWithoutMessage)],
    );
}

#[test]
fn a_message_inside_a_message_fails_with_1002() {
    for first in [0x01, 0x02, 0x81, 0x82] {
        for begun in [0x01, 0x02] {
            breaks(
                &[frame(begun, "a"), frame(first, "b")],
                Violation::MessageInsideMessage,
            );
            breaks(
                &[frame(begun, ""), frame(first, "")],
                Violation::MessageInsideMessage,
            );
        }
    }
}

#[test]
fn a_length_in_more_bytes_than_needed_fails_with_1002() {
    for first in [0x81, 0x82, 0x01, 0x02] {
        for len in [0u16, 1, 125] {
            breaks(
                &[raw(first, 126, &len.to_be_bytes(), vec![b'x'; len.into()])],
                Violation::NonMinimalLength,
            );
        }
        for len in [0u64, 125, 126, 65535] {
            breaks(
                &[raw(first, 127, &len.to_be_bytes(), "")],
                Violation::NonMinimalLength,
            );
        }
    }
}

#[test]
fn a_length_with_its_top_bit_set_fails_with_1002() {
    for len in [1u64 << 63, 1 << 63 | 5, u64::MAX] {
        breaks(
            &[raw(0x82, 127, &len.to_be_bytes(), "")],
            Violation::LengthTopBit,
        );
    }
}

#[test]
fn wrong_masking_of_any_frame_fails_with_1002() {
    for first in [0x81, 0x82, 0x01, 0x02, 0x88, 0x89, 0x8A, 0x80] {
        for len in [0, 5, 20, 125] {
            let frames = [frame(first, vec![b'x'; len]).wrongly_masked()];
            for (speaker, expected) in [
                (Role::Client, Violation::UnmaskedClientFrame),
                (Role::Server, Violation::MaskedServerFrame),
            ] {
                in_every_split(
                    other(speaker),
                    UNLIMITED,
                    &wire(speaker, &frames),
                    &Outcome {
                        heard: vec![violation(expected)],
                        unfinished: None,
                    },
                );
            }
        }
    }
}

#[test]
fn a_violation_is_raised_by_the_byte_that_proves_it() {
    // The bytes of a client, and how many of them prove the fault.
    let cases: [(&[u8], usize, Violation); 10] = [
        (b"\xC1", 1, Violation::ReservedBits(0x40)),
        (b"\x83", 1, Violation::ReservedOpcode(3)),
        (b"\x09\x80", 2, Violation::FragmentedControl),
        (b"\x89\xFE", 2, Violation::ControlTooLong),
        (b"\x81\xFE\0\x05kkkk", 8, Violation::NonMinimalLength),
        (b"\x82\x05", 2, Violation::UnmaskedClientFrame),
        (b"\x80\x80kkkk", 6, Violation::ContinuationWithoutMessage),
        (
            b"\x82\xFF\x80\0\0\0\0\0\0\0kkkk",
            14,
            Violation::LengthTopBit,
        ),
        (b"\x88\x81kkkkx", 7, Violation::ClosePayloadOneByte),
        (b"\x81\x82\0\0\0\0\xFFx", 7, Violation::TextNotUtf8),
    ];
    for (wire, proof, expected) in cases {
        let mut listener = Listener::new(Role::Server, UNLIMITED);
        for (at, byte) in wire.iter().enumerate() {
            listener.feed(&[*byte]);
            let heard = listener.outcome.heard.as_slice();
            if at + 1 < proof {
                assert_eq!(heard, [], "byte {at} of {wire:x?}");
            } else {
                assert_eq!(heard, [violation(expected)], "byte {at} of {wire:x?}");
            }
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all there are")]
fn each_violation_knows_its_close_code_its_clause_and_a_sentence() {
    let cases: [(Violation, u16, &str, &str); 16] = [
        (
            Violation::ClosePayloadOneByte,
            1002,
            "5.5.1",
            "close payload of one byte",
        ),
        (
            Violation::CloseCodeInvalid(1005),
            1002,
            "7.4",
            "invalid close code 1005",
        ),
        (
            Violation::CloseReasonNotUtf8,
            1007,
            "5.5.1",
            "close reason is not UTF-8",
        ),
        (
            Violation::ContinuationWithoutMessage,
            1002,
            "5.4",
            "continuation frame without a message",
        ),
        (
            Violation::ControlTooLong,
            1002,
            "5.5",
            "control frame longer than 125 bytes",
        ),
        (
            Violation::FragmentedControl,
            1002,
            "5.5",
            "fragmented control frame",
        ),
        (
            Violation::FrameTooBig(7),
            1009,
            "10.4",
            "frame of 7 bytes is over the limit",
        ),
        (
            Violation::LengthTopBit,
            1002,
            "5.2",
            "frame length with its top bit set",
        ),
        (
            Violation::MaskedServerFrame,
            1002,
            "5.1",
            "masked frame from a server",
        ),
        (
            Violation::MessageInsideMessage,
            1002,
            "5.4",
            "new message inside a fragmented message",
        ),
        (
            Violation::MessageTooBig(8),
            1009,
            "10.4",
            "message of 8 bytes is over the limit",
        ),
        (
            Violation::NonMinimalLength,
            1002,
            "5.2",
            "frame length not in its shortest form",
        ),
        (
            Violation::ReservedBits(0x40),
            1002,
            "5.2",
            "reserved bits 0x40 set",
        ),
        (
            Violation::ReservedOpcode(0xB),
            1002,
            "5.2",
            "reserved opcode 0xb",
        ),
        (Violation::TextNotUtf8, 1007, "8.1", "text is not UTF-8"),
        (
            Violation::UnmaskedClientFrame,
            1002,
            "5.1",
            "unmasked frame from a client",
        ),
    ];
    for (violation, code, section, sentence) in cases {
        assert_eq!(violation.close_code().number(), code, "{violation:?}");
        assert_eq!(violation.section(), section, "{violation:?}");
        assert_eq!(violation.to_string(), sentence);
        assert!(sentence.len() <= 123, "fits into the Close that answers it");
    }
    assert!(Violation::MessageTooBig(u64::MAX).to_string().len() <= 123);
}

#[test]
fn nothing_is_read_after_a_violation() {
    for speaker in SPEAKERS {
        let mut listener = Listener::new(other(speaker), UNLIMITED);
        listener.feed(&frame(0x83, "").wire(speaker));
        for frame in [
            frame(0x81, "x"),
            frame(0x89, ""),
            frame(0x88, ""),
            frame(0x83, ""),
        ] {
            listener.feed(&frame.wire(speaker));
        }
        assert_eq!(
            listener.outcome.heard,
            [violation(Violation::ReservedOpcode(3))]
        );
    }
}
