//! RFC 6455 §10.4: frames and messages over the limit fail with 1009, before any of their data is read.

use super::*;

const LIMITS: Limits = Limits {
    frame_bytes_max: 10,
    message_bytes_max: 25,
};

#[test]
fn a_frame_and_a_message_exactly_at_the_limit_pass() {
    hears_within(LIMITS, &[frame(0x82, [1; 10])], &[binary([1; 10])]);
    hears_within(
        LIMITS,
        &[
            frame(0x02, [1; 10]),
            frame(0x00, [2; 10]),
            frame(0x80, [3; 5]),
        ],
        &[binary([[1; 5], [1; 5], [2; 5], [2; 5], [3; 5]].concat())],
    );
    // The sum begins anew with each message, and control frames are no part of it.
    hears_within(
        LIMITS,
        &[
            frame(0x02, [1; 10]),
            frame(0x89, [0; 125]),
            frame(0x80, [2; 10]),
            frame(0x82, [3; 10]),
            frame(0x02, [4; 10]),
            frame(0x80, [5; 10]),
        ],
        &[
            ping([0; 125]),
            binary([[1; 10], [2; 10]].concat()),
            binary([3; 10]),
            binary([[4; 10], [5; 10]].concat()),
        ],
    );
}

#[test]
fn a_frame_one_over_the_limit_fails_with_1009() {
    for first in [0x81, 0x82, 0x01, 0x02] {
        hears_within(
            LIMITS,
            &[frame(first, [b'x'; 11])],
            &[violation(Violation::FrameTooBig(11))],
        );
    }
    hears_within(
        LIMITS,
        &[frame(0x02, [1; 5]), frame(0x80, [1; 11])],
        &[violation(Violation::FrameTooBig(11))],
    );
}

#[test]
fn a_message_one_over_the_limit_fails_with_1009() {
    hears_within(
        LIMITS,
        &[
            frame(0x02, [1; 10]),
            frame(0x00, [2; 10]),
            frame(0x80, [3; 6]),
        ],
        &[violation(Violation::MessageTooBig(26))],
    );
    // In one frame as well, when frames may be longer than messages.
    let limits = Limits {
        frame_bytes_max: 100,
        message_bytes_max: 25,
    };
    hears_within(limits, &[frame(0x82, [1; 25])], &[binary([1; 25])]);
    hears_within(
        limits,
        &[frame(0x82, [1; 26])],
        &[violation(Violation::MessageTooBig(26))],
    );
}

#[test]
fn limits_of_nothing_let_only_empty_messages_pass() {
    let limits = Limits {
        frame_bytes_max: 0,
        message_bytes_max: 0,
    };
    hears_within(
        limits,
        &[frame(0x81, ""), frame(0x02, ""), frame(0x80, "")],
        &[text(""), binary("")],
    );
    hears_within(
        limits,
        &[frame(0x81, "x")],
        &[violation(Violation::FrameTooBig(1))],
    );
}

/// A header that announces what will never be read fails at its last byte, with no data seen.
#[test]
fn an_announcement_over_the_limit_fails_at_the_header() {
    let cases: [(u64, Violation); 4] = [
        (65536, Violation::FrameTooBig(65536)),
        (16_777_217, Violation::FrameTooBig(16_777_217)),
        (1 << 40, Violation::FrameTooBig(1_099_511_627_776)),
        (
            (1 << 63) - 1,
            Violation::FrameTooBig(9_223_372_036_854_775_807),
        ),
    ];
    for (len, expected) in cases {
        let limits = if len == 65536 {
            LIMITS
        } else {
            Limits::default()
        };
        hears_within(
            limits,
            &[raw(0x82, 127, &len.to_be_bytes(), "")],
            &[violation(expected)],
        );
    }
}

#[test]
fn the_default_limits_are_16_mib() {
    let limits = Limits::default();
    assert_eq!(limits.frame_bytes_max, 16_777_216);
    assert_eq!(limits.message_bytes_max, 16_777_216);
    let header = raw(0x82, 127, &16_777_216u64.to_be_bytes(), "").wire(Role::Client);
    let mut listener = Listener::new(Role::Server, limits);
    listener.feed(&header);
    assert_eq!(listener.outcome.heard, []);
    assert_eq!(
        listener.socket.receiver.payload_remaining(),
        Some(16_777_216)
    );
}

/// A receiver holds no payload, so the largest frame there can be costs it nothing.
#[test]
fn without_limits_the_largest_announcement_is_waited_for() {
    for speaker in SPEAKERS {
        let header = raw(0x82, 127, &(u64::MAX >> 1).to_be_bytes(), "data").wire(speaker);
        in_every_split(
            other(speaker),
            UNLIMITED,
            &header,
            &Outcome {
                heard: vec![],
                unfinished: Some(b"data".to_vec()),
            },
        );
    }
}

/// Two fragments whose sum does not fit into 64 bits must not come out below the limit.
#[test]
fn the_sum_of_fragments_cannot_overflow() {
    let mut wire = frame(0x02, "x").wire(Role::Server);
    let most = (u64::MAX >> 1).to_be_bytes();
    wire.extend(raw(0x00, 127, &most, "").wire(Role::Server));
    let limits = Limits {
        frame_bytes_max: u64::MAX,
        message_bytes_max: (u64::MAX >> 1) - 1,
    };
    in_every_split(
        Role::Client,
        limits,
        &wire,
        &Outcome {
            heard: vec![violation(Violation::MessageTooBig(1 << 63))],
            unfinished: None,
        },
    );
}
