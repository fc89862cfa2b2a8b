//! RFC 6455 §5.2, §5.4, §5.5: opcodes, lengths, fragments, and control frames between them.

use super::*;

#[test]
fn each_opcode_is_heard_as_what_it_says() {
    hears(&[frame(0x81, "Hello")], &[text("Hello")]);
    hears(&[frame(0x82, b"\x00\xFF\x80")], &[binary(b"\x00\xFF\x80")]);
    hears(&[frame(0x89, "Hello")], &[ping("Hello")]);
    hears(&[frame(0x8A, "Hello")], &[pong("Hello")]);
    hears(&[frame(0x88, b"\x03\xE8bye")], &[closing(1000, "bye")]);
    hears(&[frame(0x01, "Hel"), frame(0x80, "lo")], &[text("Hello")]);
}

/// The bytes of RFC 6455 §5.7, as printed there.
#[test]
fn the_examples_of_rfc_6455_5_7_are_heard() {
    let server: [(&[u8], Heard); 3] = [
        (b"\x81\x05\x48\x65\x6c\x6c\x6f", text("Hello")),
        (b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", text("Hello")),
        (b"\x89\x05\x48\x65\x6c\x6c\x6f", ping("Hello")),
    ];
    let client: [(&[u8], Heard); 2] = [
        (
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            text("Hello"),
        ),
        (
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            pong("Hello"),
        ),
    ];
    for (wire, heard) in server {
        let outcome = Outcome {
            heard: vec![heard],
            unfinished: None,
        };
        in_every_split(Role::Client, UNLIMITED, wire, &outcome);
    }
    for (wire, heard) in client {
        let outcome = Outcome {
            heard: vec![heard],
            unfinished: None,
        };
        in_every_split(Role::Server, UNLIMITED, wire, &outcome);
    }
}

#[test]
fn payloads_at_the_boundaries_of_all_length_forms_arrive_exactly() {
    for len in [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 124, 125, 126, 127, 128, 255, 256,
    ] {
        let bytes: Vec<u8> = (0..=255u8).cycle().skip(len).take(len).collect();
        hears(&[frame(0x82, &bytes)], &[binary(&bytes)]);
        let letters: String = ('a'..='z').cycle().take(len).collect();
        hears(&[frame(0x81, &letters)], &[text(&letters)]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "megabytes")]
fn payloads_at_the_boundary_of_16_and_64_bit_lengths_arrive_exactly() {
    for len in [65535, 65536, 65537] {
        let bytes: Vec<u8> = (0..=250u8).cycle().take(len).collect();
        hears(&[frame(0x82, &bytes)], &[binary(&bytes)]);
        // Three bytes a character: the cuts fall inside them.
        let letters: String = "€".chars().cycle().take(len / 3).collect();
        hears(&[frame(0x81, &letters)], &[text(&letters)]);
    }
}

#[test]
fn control_frames_carry_up_to_125_bytes() {
    for len in [0, 1, 124, 125] {
        let bytes: Vec<u8> = (100..=255u8).take(len).collect();
        hears(&[frame(0x89, &bytes)], &[ping(&bytes)]);
        hears(&[frame(0x8A, &bytes)], &[pong(&bytes)]);
    }
}

#[test]
fn fragments_make_one_message() {
    hears(
        &[
            frame(0x02, "a"),
            frame(0x00, "bc"),
            frame(0x00, "def"),
            frame(0x80, "g"),
        ],
        &[binary("abcdefg")],
    );
    // A second message does not remember the first.
    hears(
        &[
            frame(0x01, "é"),
            frame(0x80, "à"),
            frame(0x02, "\u{0}"),
            frame(0x80, "x"),
        ],
        &[text("éà"), binary(b"\0x")],
    );
}

#[test]
fn empty_fragments_are_fragments() {
    hears(&[frame(0x81, "")], &[text("")]);
    hears(&[frame(0x82, "")], &[binary("")]);
    hears(&[frame(0x01, ""), frame(0x80, "")], &[text("")]);
    hears(
        &[frame(0x01, ""), frame(0x00, ""), frame(0x80, "")],
        &[text("")],
    );
    hears(
        &[frame(0x01, ""), frame(0x00, "middle"), frame(0x80, "")],
        &[text("middle")],
    );
    hears(
        &[frame(0x02, "a"), frame(0x00, ""), frame(0x80, "b")],
        &[binary("ab")],
    );
}

#[test]
fn control_frames_may_stand_between_fragments() {
    hears(
        &[
            frame(0x01, "Hel"),
            frame(0x89, "1"),
            frame(0x00, ""),
            frame(0x8A, ""),
            frame(0x89, ""),
            frame(0x80, "lo"),
            frame(0x89, "2"),
        ],
        &[ping("1"), pong(""), ping(""), text("Hello"), ping("2")],
    );
    // A Close as well: the message is never finished.
    for speaker in SPEAKERS {
        in_every_split(
            other(speaker),
            UNLIMITED,
            &wire(speaker, &[frame(0x01, "Hel"), frame(0x88, "")]),
            &Outcome {
                heard: vec![Closing(None, String::new())],
                unfinished: Some(b"Hel".to_vec()),
            },
        );
    }
}

/// Autobahn 5.19 and 5.20: fragments and Pings in turn, in one go and piece by piece.
#[test]
fn pings_inside_a_code_point_do_not_disturb_it() {
    hears(
        &[
            frame(0x01, b"\xF0"),
            frame(0x89, "a"),
            frame(0x00, b"\x9F\x91"),
            frame(0x89, "b"),
            frame(0x80, b"\x8B"),
        ],
        &[ping("a"), ping("b"), text("👋")],
    );
}

#[test]
fn many_frames_in_one_input_are_heard_in_order() {
    hears(
        &[
            frame(0x81, "one"),
            frame(0x82, "two"),
            frame(0x89, "p"),
            frame(0x81, "three"),
            frame(0x01, "fo"),
            frame(0x80, "ur"),
            frame(0x81, ""),
            frame(0x8A, ""),
        ],
        &[
            text("one"),
            binary("two"),
            ping("p"),
            text("three"),
            text("four"),
            text(""),
            pong(""),
        ],
    );
}

#[test]
fn a_message_behind_half_a_header_is_heard_when_the_rest_comes() {
    for speaker in SPEAKERS {
        let first = frame(0x81, "x".repeat(200)).wire(speaker);
        let second = frame(0x82, "second").wire(speaker);
        // The second header is cut after its first byte, and after that nothing comes for a while.
        let cut = first.len() + 1;
        let both = [first, second].concat();
        let mut listener = Listener::new(other(speaker), UNLIMITED);
        listener.feed(&both[..cut]);
        listener.feed(b"");
        assert_eq!(listener.outcome.heard, [text(&"x".repeat(200))]);
        listener.feed(&both[cut..]);
        assert_eq!(listener.outcome.heard[1..], [binary("second")]);
    }
}

/// The second half of a header can look like a whole frame: 0x81 0x05 is a text of five bytes, and half of a length.
#[test]
fn half_a_header_that_looks_like_a_frame_is_none() {
    for len in [0x8105, 0x8205, 0x8185, 0x8285] {
        let bytes = vec![0x01; len];
        hears(&[frame(0x82, &bytes)], &[binary(&bytes)]);
    }
    for key in [[0x81, 0x85, 0, 0], [0x82, 0x80, 0x81, 0x80]] {
        let mut frame = frame(0x82, "a payload of some bytes");
        frame.key = key;
        hears(&[frame], &[binary("a payload of some bytes")]);
    }
}

#[test]
fn a_frame_in_progress_says_what_is_missing() {
    let wire = frame(0x82, "0123456789").wire(Role::Client);
    let mut listener = Listener::new(Role::Server, UNLIMITED);
    assert_eq!(listener.socket.receiver.payload_remaining(), None);
    listener.feed(&wire[..6]);
    assert_eq!(listener.socket.receiver.payload_remaining(), Some(10));
    listener.feed(&wire[6..13]);
    assert_eq!(listener.socket.receiver.payload_remaining(), Some(3));
    assert_eq!(
        listener.outcome.unfinished.as_deref(),
        Some(&b"0123456"[..])
    );
    listener.feed(&wire[13..]);
    assert_eq!(listener.socket.receiver.payload_remaining(), None);
    assert_eq!(listener.outcome.heard, [binary("0123456789")]);
}

/// The four bytes a client's header is longer than a server's are what an echo in place relies on.
#[test]
fn a_whole_message_lies_behind_its_own_header() {
    for (len, header) in [(0, 6), (5, 6), (125, 6), (126, 8), (65535, 8), (65536, 14)] {
        let mut wire = frame(0x8A, "").wire(Role::Client);
        wire.extend(frame(0x82, vec![7; len]).wire(Role::Client));
        let mut receiver = Receiver::new(Role::Server, UNLIMITED);
        let mut input = Input::new(&mut wire);
        assert_eq!(receiver.poll_event(&mut input), Ok(Some(Event::Pong(b""))));
        let Ok(Some(Event::Message(message))) = receiver.poll_event(&mut input) else {
            panic!("{len} bytes are a message");
        };
        let (_, room_at, payload) = message.into_parts();
        assert_eq!((room_at, payload), (6, 6 + header..6 + header + len));
    }
}

/// An echo's answers join each other while the messages are unmasked, whatever their lengths.
#[test]
fn messages_move_to_where_the_answer_before_them_ends() {
    for len in (0..140).chain([255, 256, 1000]) {
        let bytes: Vec<u8> = (0..=255u8).cycle().skip(len).take(len).collect();
        let frames = [
            frame(0x82, &bytes),
            frame(0x82, "x"),
            frame(0x89, "p"),
            frame(0x82, &bytes),
            frame(
                0x89,
                "a frame of under 8 bytes at the very end would stay where it is",
            ),
        ];
        let mut wire = wire(Role::Client, &frames);
        let mut receiver = Receiver::new(Role::Server, UNLIMITED);
        let mut input = Input::new(&mut wire);
        let mut ends = vec![];
        while let Some(event) = receiver.poll_event(&mut input).unwrap() {
            let Event::Message(message) = event else {
                continue;
            };
            assert!(message.payload() == bytes || message.payload() == b"x");
            let (_, room_at, payload) = message.into_parts();
            ends.push((room_at, payload.end));
            input.set_answers_end(Some(payload.end));
        }
        let [(0, first), (second_at, second), (third_at, _)] = ends[..] else {
            panic!("three messages, the first where it lies: {ends:?}");
        };
        assert_eq!((second_at, third_at), (first, second), "length {len}");
    }
}

/// When the header came in two inputs, only what is in this one is free.
#[test]
fn the_room_for_a_header_never_reaches_into_what_came_before() {
    let mut wire = frame(0x81, "Hello").wire(Role::Client);
    let mut receiver = Receiver::new(Role::Server, UNLIMITED);
    let (first, second) = wire.split_at_mut(5);
    assert_eq!(receiver.poll_event(&mut Input::new(first)), Ok(None));
    let mut input = Input::new(second);
    let Ok(Some(Event::Message(message))) = receiver.poll_event(&mut input) else {
        panic!("the payload came whole");
    };
    assert_eq!(message.text(), Some("Hello"));
    let (_, room_at, payload) = message.into_parts();
    assert_eq!((room_at, payload), (0, 1..6));
}

#[test]
fn a_part_says_which_boundaries_it_touches() {
    let wire = wire(Role::Server, &[frame(0x01, "ab"), frame(0x80, "cd")]);
    let mut receiver = Receiver::new(Role::Client, UNLIMITED);
    let mut flags = vec![];
    for piece in [&wire[..3], &wire[3..6], &wire[6..]] {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        while let Some(event) = receiver.poll_event(&mut input).unwrap() {
            let Event::Chunk(chunk) = event else {
                panic!("the message is in chunks");
            };
            let payload = std::str::from_utf8(chunk.payload).unwrap().to_owned();
            flags.push((
                payload,
                chunk.message_begins,
                chunk.frame_begins,
                chunk.frame_ends,
                chunk.message_ends,
            ));
        }
    }
    assert_eq!(
        flags,
        [
            ("a".to_owned(), true, Some(2), false, false),
            ("b".to_owned(), false, None, true, false),
            (String::new(), false, Some(2), false, false),
            ("cd".to_owned(), false, None, true, true),
        ]
    );
}
