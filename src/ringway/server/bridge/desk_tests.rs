//! A desk and two workers on a bus of their own.

use super::*;
use crate::bus::{BusOptions, Plan, Segments};
use crate::proto::frame::HEADER_BYTES_MAX;
use ringway_bus::history::{Position, Retain};
use ringway_bus::pubsub::Payload;
use ringway_bus::station::record::Content;

const SPACE: &str = "$pubsub/t";

struct World {
    worker: Bus,
    bridge: Bus,
    desk: Desk,
}

fn world() -> World {
    let options = BusOptions {
        log_bytes: BusOptions::LOG_BYTES_MIN,
        ..BusOptions::default()
    };
    let plan = Plan::new(2, &options).bridged(true);
    let segments = Segments::new(&plan).expect("a bus");
    let join = |seat| {
        let segments = segments.try_clone().expect("descriptors");
        Bus::join(segments, &plan, seat).expect("a seat")
    };
    World {
        worker: join(0),
        bridge: join(plan.bridge_seat()),
        desk: Desk::new(2, plan.bridge_seat()),
    }
}

impl World {
    /// What goes to the backplane.
    fn out(&mut self) -> Vec<FromBus> {
        let Self { bridge, desk, .. } = self;
        bridge.read(|seat, said| desk.handle(seat, said));
        std::mem::take(&mut self.desk.out)
    }

    fn messages(&mut self) -> Vec<(String, String, Vec<u8>)> {
        let one = |said| match said {
            FromBus::Message(Message { space, topic, body }) => {
                (space.to_string(), topic.into_string(), body)
            }
            other => panic!("{other:?}"),
        };
        self.out().into_iter().map(one).collect()
    }

    /// Hands in what another server has sent, and returns what the worker gets of it: kind, topic, body.
    fn take(&mut self, told: &ToBus) -> Vec<(Kind, String, Vec<u8>)> {
        self.desk.take(told, &mut self.bridge);
        let mut heard = Vec::new();
        self.worker.read(|_, said| {
            if let Said::Record {
                kind, topic, body, ..
            } = said
            {
                let topic = String::from_utf8(topic.to_vec()).expect("text");
                heard.push((kind, topic, body.to_vec()));
            }
        });
        heard
    }
}

fn content(topic: &str) -> Content<'_> {
    Content {
        topic: Topic::parse(topic).expect("a topic"),
        retain: Retain::Yes,
        payload: Payload::Json("[1]"),
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    record.encode(&mut body);
    body
}

fn publish(topic: &str) -> Vec<u8> {
    let content = content(topic);
    encoded(&Record::Publish { ticket: 0, content })
}

fn from_afar(space: &str, topic: &str, body: &[u8]) -> ToBus {
    ToBus::Message(Message {
        space: space.into(),
        topic: topic.into(),
        body: body.into(),
    })
}

#[test]
fn frames_and_messages_with_a_place_go_out_and_nothing_else() {
    let mut world = world();
    let mut say = |kind, topic: &str, body: &[u8]| {
        let topic = topic.as_bytes();
        world.worker.publish(kind, 7, topic, body).expect("room");
    };
    say(Kind::FRAME, "a", b"\x81\x02hi");
    say(Kind::FRAME_FOR_OTHERS, "$broadcast/a", b"\x82\x01\xff");
    say(Kind::FRAME, "$local/tick", b"\x81\x01t");
    say(Kind::FRAME, "a", b"\x81\x09 is longer");
    let place = |origin| {
        let position = Position {
            epoch: 1,
            offset: 2,
        };
        let content = content("t/u");
        encoded(&Record::Message {
            origin,
            ticket: 3,
            position,
            content,
        })
    };
    say(Kind::NOTE, SPACE, &place(1));
    // What the bridge itself has published, a publish without a place, a note of somebody's application.
    say(Kind::NOTE, SPACE, &place(3));
    say(Kind::NOTE, SPACE, &publish("t/u"));
    say(Kind::NOTE, "mine", &place(1));
    let expected = [
        ("", "a", b"\x01hi".to_vec()),
        ("", "$broadcast/a", b"\x02\xff".to_vec()),
        (SPACE, "t/u", publish("t/u")),
    ];
    let expected = expected.map(|(space, topic, body)| (space.to_owned(), topic.to_owned(), body));
    assert_eq!(world.messages(), expected);
    let lost = encoded(&Record::Lost {
        messages: 1,
        topic: None,
    });
    let said = world.worker.publish(Kind::NOTE, 7, SPACE.as_bytes(), &lost);
    said.expect("room");
    assert!(matches!(world.out()[..], [FromBus::Lost]));
}

#[test]
fn what_comes_in_is_put_on_the_bus_if_somebody_wants_it_and_clients_can_read_it() {
    let mut world = world();
    world.worker.tell_interest("", "a/+", true);
    world.worker.tell_interest(SPACE, "t/#", true);
    assert_eq!(world.out().len(), 2);
    let heard = world.take(&from_afar("", "a/b", b"\x01hi"));
    assert_eq!(
        heard,
        [(Kind::FRAME, "a/b".to_owned(), b"\x81\x02hi".to_vec())]
    );
    let body = publish("t/u");
    let heard = world.take(&from_afar(SPACE, "t/u", &body));
    assert_eq!(heard, [(Kind::NOTE, SPACE.to_owned(), body.clone())]);
    for (space, topic) in [("", "b"), ("", "$local/a"), (SPACE, "a/b"), ("x", "a/b")] {
        assert!(world.take(&from_afar(space, topic, &body)).is_empty());
    }
    let bad: [(&str, &str, &[u8]); 6] = [
        ("", "a/b", b""),
        ("", "a/b", b"\x01\xff"),
        ("", "a/b", b"\x08ab"),
        (SPACE, "t/u", b"x"),
        (SPACE, "t/v", &body),
        (SPACE, "t/#", &body),
    ];
    for (space, topic, body) in bad {
        assert!(world.take(&from_afar(space, topic, body)).is_empty());
    }
    let counters = world.desk.counters;
    assert_eq!(
        (counters.received, counters.unwanted, counters.invalid),
        (2, 4, 6)
    );
}

#[test]
fn what_is_too_large_for_the_bus_is_counted_and_told() {
    let mut world = world();
    world.worker.tell_interest(SPACE, "t", true);
    world.worker.tell_interest("", "t", true);
    world.out();
    let payload = "x".repeat(BusOptions::LOG_BYTES_MIN / 8 - HEADER_BYTES_MAX);
    let mut big = content("t");
    big.payload = Payload::Bytes(payload.as_bytes());
    let body = encoded(&Record::Publish {
        ticket: 0,
        content: big,
    });
    let heard = world.take(&from_afar(SPACE, "t", &body));
    let lost = Record::Lost {
        messages: 1,
        topic: Some(big.topic),
    };
    assert_eq!(heard, [(Kind::NOTE, SPACE.to_owned(), encoded(&lost))]);
    let frame = [b"\x02", payload.as_bytes()].concat();
    assert!(world.take(&from_afar("", "t", &frame)).is_empty());
    assert_eq!(world.desk.counters.dropped_by_bus, 2);
    // A gap goes to every service that wants anything.
    let lost = Record::Lost {
        messages: 0,
        topic: None,
    };
    let heard = world.take(&ToBus::Gap);
    assert_eq!(heard, [(Kind::NOTE, SPACE.to_owned(), encoded(&lost))]);
}

#[test]
fn a_worker_is_asked_until_it_has_said_everything() {
    let mut world = world();
    world.desk.ask(&mut world.bridge);
    let mut rounds = Vec::new();
    world.worker.read(|_, said| {
        if let Said::Record {
            kind: Kind::ASK,
            origin,
            body,
            ..
        } = said
        {
            rounds.push((crate::bus::interest::asked(body), origin));
        }
    });
    assert_eq!(rounds, [(Some(0), 1), (Some(1), 1)]);
    let names: Vec<_> = (0..2000).map(|number| format!("topic/{number}")).collect();
    let patterns = names.iter().map(String::as_str);
    world.worker.list_interests("", patterns);
    world.worker.complete_interests(1);
    assert_eq!(world.out().len(), 2000);
    assert_eq!(
        world.desk.interests.unanswered().collect::<Vec<_>>(),
        [(1, 1)]
    );
    // The log is overtaken: what it may have said is lost, so it is asked again, and the others are told.
    let frame = [b"\x82\x7e\x10\x00".as_slice(), &[0; 4096]].concat();
    for _ in 0..20 {
        let said = world.worker.publish(Kind::FRAME, 0, b"a", &frame);
        said.expect("room");
    }
    world.desk.is_curious = false;
    let out = world.out();
    assert!(matches!(out[0], FromBus::Lost), "{out:?}");
    assert!(world.desk.is_curious && world.desk.counters.bus_missed > 0);
    world
        .worker
        .list_interests("", names[1..].iter().map(String::as_str));
    world.worker.complete_interests(2);
    let changes = world.out();
    let [FromBus::Change(change)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!((&*change.pattern, change.is_wanted), ("topic/0", false));
}
