use super::*;

const DOCS: &str = include_str!("../../../docs/pubsub.md");

fn id(number: u32) -> Option<RequestId> {
    RequestId::new(number)
}

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("a topic")
}

fn pattern(name: &str) -> Pattern<'_> {
    Pattern::parse(name).expect("a pattern")
}

fn some(number: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(number)
}

fn refused(text: &str) -> Refused {
    let mut reader = json::Reader::new(Limits::default());
    reader.read(text.as_bytes()).expect_err(text)
}

fn fault(text: &str) -> Fault {
    refused(text).fault
}

fn json_of(event: &Event<'_>) -> String {
    let mut out = String::new();
    json::encode_event(event, &mut out);
    out
}

fn hex(text: &str) -> Vec<u8> {
    let bytes = text.split(' ');
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
        .collect()
}

const PLACE: Position = Position {
    epoch: 1_764_357_600_000_000_000,
    offset: 44,
};
const LOGO: &[u8] = b"\x89PNG\r\n\x1a\n";
const PRICES: &str = r#"{"bid":1.0810,"ask":1.0812}"#;

fn documented_requests() -> [Request<'static>; 6] {
    let spot = topic("prices/eur/spot");
    let since = Position {
        offset: 41,
        ..PLACE
    };
    [
        Request::Subscribe {
            id: id(1),
            pattern: pattern("prices/+/spot"),
            since: None,
        },
        Request::Subscribe {
            id: id(2),
            pattern: pattern("prices/eur/spot"),
            since: Some(since),
        },
        Request::Unsubscribe {
            id: id(3),
            pattern: pattern("prices/+/spot"),
        },
        Request::Publish {
            id: id(4),
            topic: spot,
            payload: Payload::Json(PRICES),
            retain: Retain::No,
        },
        Request::Publish {
            id: None,
            topic: topic("files/logo"),
            payload: Payload::Bytes(LOGO),
            retain: Retain::Yes,
        },
        Request::Presence {
            id: id(5),
            topic: spot,
        },
    ]
}

fn documented_events() -> [Event<'static>; 7] {
    let spot = topic("prices/eur/spot");
    [
        Event::Ack {
            id: RequestId::new(2).expect("a number"),
            position: Some(PLACE),
        },
        Event::Message {
            topic: spot,
            offset: some(45),
            payload: Payload::Json(PRICES),
        },
        Event::Message {
            topic: topic("files/logo"),
            offset: None,
            payload: Payload::Bytes(LOGO),
        },
        Event::Gap {
            topic: Some(spot),
            messages: some(3),
        },
        Event::Gap {
            topic: None,
            messages: None,
        },
        Event::Presence {
            id: id(5),
            topic: spot,
            subscribers: 12,
        },
        Event::Error {
            id: id(4),
            code: ErrorCode::NotAllowed,
            text: "no right to publish to prices/eur/spot",
        },
    ]
}

#[test]
fn the_json_examples_of_the_documentation_are_what_is_read_and_written() {
    let mut examples = DOCS.lines().filter(|line| line.starts_with('{'));
    let mut reader = json::Reader::new(Limits::default());
    for request in documented_requests() {
        let example = examples.next().expect("an example of each request");
        assert_eq!(reader.read(example.as_bytes()), Ok(request));
        let mut out = String::new();
        json::encode_request(&request, &mut out);
        assert_eq!(out, example);
    }
    for event in documented_events() {
        assert_eq!(Some(&*json_of(&event)), examples.next());
    }
    assert_eq!(examples.next(), None);
}

/// The bytes of the binary examples, requests first.
fn binary_examples() -> impl Iterator<Item = Vec<u8>> {
    let table = DOCS.split("| message | bytes |").nth(1);
    let lines = table.expect("the table").lines();
    lines.filter_map(|line| line.split('`').nth(1)).map(hex)
}

#[test]
fn the_binary_requests_of_the_documentation_are_what_is_read_and_written() {
    let mut examples = binary_examples();
    let ab = topic("a/b");
    let since = Position {
        epoch: 9,
        offset: 41,
    };
    for request in [
        Request::Subscribe {
            id: id(7),
            pattern: pattern("a/b"),
            since: Some(since),
        },
        Request::Unsubscribe {
            id: id(8),
            pattern: pattern("a/b"),
        },
        Request::Publish {
            id: id(9),
            topic: ab,
            payload: Payload::Bytes(b"\xff\xfe"),
            retain: Retain::Yes,
        },
        Request::Presence {
            id: id(10),
            topic: ab,
        },
    ] {
        let example = examples.next().expect("an example of each request");
        assert_eq!(binary::read(&Limits::default(), &example), Ok(request));
        let mut out = vec![];
        binary::encode_request(&request, &mut out);
        assert_eq!(out, example);
    }
}

#[test]
fn the_binary_events_of_the_documentation_are_what_is_written() {
    let mut examples = binary_examples().skip(4);
    let ab = topic("a/b");
    let position = Some(Position {
        epoch: 9,
        offset: 42,
    });
    for event in [
        Event::Ack {
            id: RequestId::new(7).expect("a number"),
            position,
        },
        Event::Message {
            topic: ab,
            offset: some(43),
            payload: Payload::Json("12"),
        },
        Event::Gap {
            topic: Some(ab),
            messages: some(3),
        },
        Event::Presence {
            id: id(10),
            topic: ab,
            subscribers: 12,
        },
        Event::Error {
            id: id(9),
            code: ErrorCode::NotAllowed,
            text: "no",
        },
    ] {
        let mut out = vec![];
        binary::encode_event(&event, &mut out);
        assert_eq!(Some(out), examples.next());
    }
    assert_eq!(examples.next(), None);
}

#[test]
fn every_error_code_is_in_the_documentation() {
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::BadTopic,
        ErrorCode::TooBig,
        ErrorCode::NotAllowed,
        ErrorCode::Limit,
        ErrorCode::NotSubscribed,
        ErrorCode::Unavailable,
    ] {
        let row = format!("| `{}` | {} |", code.name(), code as u8);
        assert!(DOCS.contains(&row), "{row}");
    }
}

#[test]
fn data_is_passed_on_as_it_was_written() {
    let mut reader = json::Reader::new(Limits::default());
    for data in [
        "1.0810",
        "1e5",
        "-0",
        "123456789012345678901234567890",
        "null",
        "\"\"",
        r#""\"}\\""#,
        r#""\u00e9 €""#,
        "[ 1 , {\"a\" : \"]\"} ]",
        "{}",
    ] {
        for text in [
            format!(r#"{{"op":"publish","topic":"t","data":{data}}}"#),
            format!(" {{ \"data\" :\t{data}\n, \"op\":\"publish\",\"topic\":\"t\"}} "),
            format!(r#"{{"op":"publish","d\u0061ta" : {data} ,"topic":"t"}}"#),
        ] {
            let expected = Request::Publish {
                id: None,
                topic: topic("t"),
                payload: Payload::Json(data),
                retain: Retain::No,
            };
            assert_eq!(reader.read(text.as_bytes()), Ok(expected), "{text}");
        }
    }
}

#[test]
fn names_are_unescaped_when_read_and_escaped_when_written() {
    let mut reader = json::Reader::new(Limits::default());
    let text = r#"{"op":"presence","topic":"a\"\\b\/\u20ac"}"#;
    let expected = Request::Presence {
        id: None,
        topic: topic("a\"\\b/€"),
    };
    assert_eq!(reader.read(text.as_bytes()), Ok(expected));
    let event = Event::Error {
        id: None,
        code: ErrorCode::BadRequest,
        text: "a\"\\b\n\u{1f}€",
    };
    let expected = r#"{"op":"error","code":"bad_request","text":"a\"\\b\u000a\u001f€"}"#;
    assert_eq!(json_of(&event), expected);
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    for (text, expected) in [
        ("", Fault::JsonInvalid),
        ("{", Fault::JsonInvalid),
        ("[]", Fault::NoObject),
        ("7", Fault::NoObject),
        ("{}", Fault::MemberMissing("op")),
        (r#"{"op":"subscribe"}"#, Fault::MemberMissing("topic")),
        (
            r#"{"op":"publish","topic":"t"}"#,
            Fault::MemberMissing("data"),
        ),
        (r#"{"op":"listen","topic":"t"}"#, Fault::OpUnknown),
        (r#"{"op":7}"#, Fault::MemberInvalid("op")),
        (
            r#"{"op":"presence","topic":"t","topic":"t"}"#,
            Fault::MemberTwice,
        ),
        (
            r#"{"op":"publish","topic":"t","data":1,"base64":""}"#,
            Fault::MemberTwice,
        ),
        (
            r#"{"op":"publish","topic":"t","base64":"a"}"#,
            Fault::Base64Invalid,
        ),
        (
            r#"{"op":"publish","topic":"t","data":1,"retian":true}"#,
            Fault::MemberUnknown,
        ),
        (
            r#"{"op":"publish","topic":"t","data":1,"retain":1}"#,
            Fault::MemberInvalid("retain"),
        ),
        (
            r#"{"op":"presence","topic":"t","data":1}"#,
            Fault::MemberUnknown,
        ),
        (
            r#"{"op":"presence","topic":"+"}"#,
            Fault::Topic(BadTopic::Wildcard),
        ),
        (
            r#"{"op":"unsubscribe","topic":"a/#/b"}"#,
            Fault::Topic(BadTopic::WildcardMisplaced),
        ),
        (
            r#"{"op":"unsubscribe","topic":"a\u0000"}"#,
            Fault::Topic(BadTopic::ControlCharacter),
        ),
        (
            r##"{"op":"subscribe","topic":"#","since":{"epoch":"1","offset":1}}"##,
            Fault::SinceWithWildcard,
        ),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn a_place_and_an_id_are_what_the_documentation_says_and_nothing_else() {
    for since in [
        "7",
        r#"{"epoch":"1"}"#,
        r#"{"epoch":1,"offset":1}"#,
        r#"{"epoch":"+1","offset":1}"#,
        r#"{"epoch":"1","offset":-1}"#,
        r#"{"epoch":"1","offset":1.5}"#,
        r#"{"epoch":"18446744073709551616","offset":1}"#,
        r#"{"epoch":"1","offset":1,"more":1}"#,
        r#"{"offset":{"epoch":"1"},"epoch":"1"}"#,
    ] {
        let text = format!(r#"{{"op":"subscribe","topic":"t","since":{since}}}"#);
        assert_eq!(fault(&text), Fault::MemberInvalid("since"), "{since}");
    }
    for number in ["0", "-1", "4294967296", "1.0", "\"1\"", "null"] {
        let text = format!(r#"{{"op":"presence","topic":"t","id":{number}}}"#);
        assert_eq!(fault(&text), Fault::MemberInvalid("id"), "{number}");
    }
    let mut reader = json::Reader::new(Limits::default());
    let not_utf8 = b"{\"op\":\"publish\",\"topic\":\"t\",\"data\":\"\xff\"}";
    assert_eq!(
        reader.read(not_utf8).map_err(|refused| refused.fault),
        Err(Fault::JsonInvalid)
    );
}

#[test]
fn a_refusal_carries_the_id_wherever_it_stands() {
    let expected = Refused {
        id: id(9),
        fault: Fault::MemberUnknown,
    };
    assert_eq!(refused(r#"{"what":[[{}]],"op":"x","id":9}"#), expected);
    assert_eq!(refused(r#"{"id":9,"what":{"id":8}}"#), expected);
    let text = r#"{"op":"presence","id":9,"topic":""}"#;
    assert_eq!(
        refused(text),
        Refused {
            id: id(9),
            fault: Fault::Topic(BadTopic::Empty)
        }
    );
}

#[test]
fn size_and_depth_are_limited_and_a_reader_goes_on_after_a_refusal() {
    let limits = Limits {
        request_bytes_max: 200,
        depth_max: 8,
    };
    let mut reader = json::Reader::new(limits);
    let request = |data: &str| format!(r#"{{"op":"publish","topic":"t","data":{data}}}"#);
    let mut read = |text: &str| {
        reader
            .read(text.as_bytes())
            .map(drop)
            .map_err(|refused| refused.fault)
    };
    let deep = |depth| request(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(read(&deep(6)), Ok(()));
    assert_eq!(read(&deep(20)), Err(Fault::JsonInvalid));
    assert_eq!(read(&deep(6)), Ok(()));
    let long = request(&format!("\"{}\"", "x".repeat(300)));
    assert_eq!(read(&long), Err(Fault::TooBig));
    assert_eq!(read(&request("1")), Ok(()));
    assert_eq!(
        binary::read(&limits, &[3; 201]).map_err(|refused| refused.fault),
        Err(Fault::TooBig)
    );
}

#[test]
fn binary_requests_that_are_cut_or_too_long_are_refused() {
    let limits = Limits::default();
    let fault = |bytes: &[u8]| {
        let read = binary::read(&limits, bytes);
        read.map(drop).map_err(|refused| refused.fault)
    };
    let whole =
        hex("01 01 00 00 00 07 03 61 2f 62 00 00 00 00 00 00 00 09 00 00 00 00 00 00 00 29");
    for cut in 0..whole.len() {
        assert_eq!(fault(&whole[..cut]), Err(Fault::LayoutInvalid), "{cut}");
    }
    assert_eq!(
        fault(&[&whole[..], &[0]].concat()),
        Err(Fault::LayoutInvalid)
    );
    for (text, expected) in [
        ("00 00 00 00 00 07 01 61", Fault::OpUnknown),
        ("05 00 00 00 00 07 01 61", Fault::OpUnknown),
        ("02 01 00 00 00 07 01 61", Fault::LayoutInvalid),
        ("03 02 00 00 00 07 01 61 00", Fault::LayoutInvalid),
        ("03 00 00 00 00 07 01 61 01 31", Fault::LayoutInvalid),
        ("03 00 00 00 00 07 01 61", Fault::LayoutInvalid),
        ("04 00 00 00 00 07 01 61 00", Fault::LayoutInvalid),
        ("04 00 00 00 00 07 01 ff", Fault::LayoutInvalid),
        ("04 00 00 00 00 07 01 2b", Fault::Topic(BadTopic::Wildcard)),
        ("04 00 00 00 00 07 00", Fault::Topic(BadTopic::Empty)),
    ] {
        let refused = binary::read(&limits, &hex(text)).expect_err(text);
        assert_eq!(
            refused,
            Refused {
                id: id(7),
                fault: expected
            },
            "{text}"
        );
    }
}

/// What is written can be read again, in both forms, and nothing that was cut can.
#[test]
fn clients_read_the_events_that_are_written() {
    let odd = topic("a \"b\"\\c/\u{e9}");
    let mut events = documented_events().to_vec();
    let payload = Payload::Json(r#"{"topic":"x","base64":"}"}"#);
    let offset = some(1);
    events.extend([
        Event::Message {
            topic: odd,
            offset,
            payload,
        },
        Event::Message {
            topic: odd,
            offset,
            payload: Payload::Bytes(b""),
        },
        Event::Gap {
            topic: Some(odd),
            messages: None,
        },
        Event::Gap {
            topic: None,
            messages: some(u64::MAX),
        },
        Event::Ack {
            id: RequestId::MAX,
            position: None,
        },
        Event::Presence {
            id: None,
            topic: odd,
            subscribers: 0,
        },
        Event::Error {
            id: None,
            code: ErrorCode::Unavailable,
            text: "a \"text\"\n\\",
        },
    ]);
    let mut reader = EventReader::new();
    for event in events {
        let text = json_of(&event);
        assert_eq!(reader.read(&text), Some(event));
        let mut bytes = vec![];
        binary::encode_event(&event, &mut bytes);
        assert_eq!(binary::read_event(&bytes), Some(event));
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_ne!(reader.read(&text[..cut]), Some(event), "{text} {cut}");
        }
        for cut in 0..bytes.len() {
            assert_ne!(binary::read_event(&bytes[..cut]), Some(event));
        }
    }
}

#[test]
fn clients_refuse_what_is_no_event() {
    let mut reader = EventReader::new();
    for text in [
        "",
        "{}",
        r#"{"op":"message"}"#,
        r#"{"op":"message","topic":"a","offset":0,"data":1}"#,
        r#"{"op":"message","topic":"a","offset":1,"data":}"#,
        r#"{"op":"message","topic":"a","base64":"?"}"#,
        r#"{"op":"message","topic":"+","data":1}"#,
        r#"{"op":"message","topic":"a\u12"}"#,
        r#"{"op":"ack"}"#,
        r#"{"op":"ack","id":0}"#,
        r#"{"op":"ack","id":1,"epoch":"x","offset":1}"#,
        r#"{"op":"gap","messages":0}"#,
        r#"{"op":"presence","topic":"a","subscribers":1,}"#,
        r#"{"op":"error","code":"none","text":""}"#,
        r#"{"op":"publish","topic":"a","data":1}"#,
    ] {
        assert_eq!(reader.read(text), None, "{text}");
    }
    for text in [
        "81 00 00 00 00 00",
        "81 01 00 00 00 07 00 00 00 00 00 00 00 09",
        "82 02 00 00 00 00 01 61 00 00 00 00 00 00 00 01 31",
        "82 01 00 00 00 00 01 61 00 00 00 00 00 00 00 01 ff",
        "83 00 00 00 00 00 01 2b 00 00 00 00 00 00 00 01",
        "84 00 00 00 00 0a 01 61 00 00 00 00 00 00 00",
        "85 08 00 00 00 09 6e 6f",
        "04 00 00 00 00 0a 01 61 00 00 00 00 00 00 00 01",
    ] {
        assert_eq!(binary::read_event(&hex(text)), None, "{text}");
    }
}
