//! One rule each. With two workers, worker 0 owns "home", worker 1 "away": a test holds that.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::world::{World, all_rights};
use crate::history::{Position, Retain};
use crate::log::Refusal;
use crate::pubsub::{ErrorCode, Payload, Request, binary};
use crate::rights::Rights;
use crate::station::record::{Content, Record};
use crate::station::{Form, Interest, Options};
use crate::topics::{Pattern, Topic};

const SECOND: Duration = Duration::from_secs(1);

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("a topic")
}

/// A station alone with a client of number 1, and others.
pub(super) fn alone(clients: u64) -> World {
    let mut world = World::new(Options::new(0, 1));
    (1..=clients).for_each(|client| world.open(0, client));
    world
}

/// Two stations, with clients 1 and 2 on the first and 11 and 12 on the second.
pub(super) fn two() -> World {
    let mut world = World::new(Options::new(0, 2));
    for (worker, client) in [(0, 1), (0, 2), (1, 11), (1, 12)] {
        world.open(worker, client);
    }
    world
}

pub(super) fn subscribe(world: &mut World, worker: usize, client: u64, pattern: &str) {
    let text = format!(r#"{{"op":"subscribe","topic":"{pattern}"}}"#);
    world.ask(worker, client, &text);
}

pub(super) fn publish(world: &mut World, worker: usize, client: u64, topic: &str, data: &str) {
    let text = format!(r#"{{"op":"publish","topic":"{topic}","data":{data}}}"#);
    world.ask(worker, client, &text);
}

pub(super) fn record(record: Record<'_>) -> Vec<u8> {
    let mut out = vec![];
    record.encode(&mut out);
    assert_eq!(Record::decode(&out), Some(record));
    out
}

fn content<'a>(name: &'a str, data: &'a str) -> Content<'a> {
    Content {
        topic: topic(name),
        retain: Retain::No,
        payload: Payload::Json(data),
    }
}

fn message<'a>(name: &'a str, epoch: u64, offset: u64, data: &'a str) -> Record<'a> {
    Record::Message {
        origin: 1,
        ticket: 0,
        position: Position { epoch, offset },
        content: content(name, data),
    }
}

/// Hands a record of another writer to the first station.
pub(super) fn hand(world: &mut World, from: usize, body: &[u8]) {
    world.call(0, |station, now, desk| {
        station.handle_record(now, from, body, desk);
    });
}

pub(super) const NOTHING: [&str; 0] = [];

#[test]
fn a_message_of_an_own_topic_takes_one_record_and_is_acknowledged_at_once() {
    let mut world = alone(2);
    subscribe(&mut world, 0, 2, "news/+");
    let text = r#"{"op":"publish","id":7,"topic":"news/x","data":{"a" : 1.50}}"#;
    let written = world.ask(0, 1, text);
    assert_eq!(written.len(), 1);
    let expected = r#"{"op":"message","topic":"news/x","offset":1,"data":{"a" : 1.50}}"#;
    assert_eq!(world.got(0, 2), [expected]);
    let ack = r#"{"op":"ack","id":7,"epoch":"1000","offset":1}"#;
    assert_eq!(world.got(0, 1), [ack]);
    let counts = world.stations[0].counts();
    assert_eq!(
        (counts.published, counts.messages, counts.deliveries),
        (1, 1, 1)
    );
}

#[test]
fn the_owner_of_a_topic_orders_the_messages_of_all_workers() {
    let mut world = two();
    assert_eq!(world.stations[0].owner(topic("home")), 0);
    assert_eq!(world.stations[1].owner(topic("away")), 1);
    subscribe(&mut world, 0, 1, "away");
    subscribe(&mut world, 1, 11, "away");
    let text = r#"{"op":"publish","id":1,"topic":"away","data":"from 0"}"#;
    world.ask(0, 2, text);
    assert_eq!(
        world.got(0, 1),
        NOTHING,
        "nothing before the owner has seen it"
    );
    publish(&mut world, 1, 12, "away", "\"from 1\"");
    world.pass_all();
    let expected = [
        r#"{"op":"message","topic":"away","offset":1,"data":"from 1"}"#,
        r#"{"op":"message","topic":"away","offset":2,"data":"from 0"}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    assert_eq!(world.got(1, 11), expected);
    let ack = r#"{"op":"ack","id":1,"epoch":"1000","offset":2}"#;
    assert_eq!(world.got(0, 2), [ack]);
}

#[test]
fn a_publish_without_an_answer_in_time_is_unavailable_and_a_late_answer_is_ignored() {
    let mut world = two();
    world.ask(0, 1, r#"{"op":"publish","id":3,"topic":"away","data":1}"#);
    assert_eq!(world.stations[0].poll_timeout(), Some(6 * SECOND));
    world.wait(4 * SECOND);
    assert_eq!(world.got(0, 1), NOTHING);
    world.wait(SECOND);
    let text = "the message was perhaps not published: no answer came in time";
    let expected = format!(r#"{{"op":"error","id":3,"code":"unavailable","text":"{text}"}}"#);
    assert_eq!(world.got(0, 1), [expected]);
    world.pass_all();
    assert_eq!(world.got(0, 1), NOTHING);
    let counts = world.stations[0].counts();
    assert_eq!(
        (counts.acks_late, counts.refused(ErrorCode::Unavailable)),
        (1, 1)
    );
}

#[test]
fn publishes_that_wait_for_their_place_are_bounded() {
    let mut options = Options::new(0, 2);
    options.waiting.client_acks_max = 2;
    options.waiting.acks_max = 3;
    let mut world = World::new(options);
    world.open(0, 1);
    world.open(0, 2);
    let mut ask = |client, id| {
        let text = format!(r#"{{"op":"publish","id":{id},"topic":"away","data":1}}"#);
        world.ask(0, client, &text).len()
    };
    let asked = [ask(1, 1), ask(1, 2), ask(1, 3), ask(2, 1), ask(2, 2)];
    assert_eq!(asked, [1, 1, 0, 1, 0]);
    let text = "too many publishes wait for their acknowledgement";
    let refused = |id| format!(r#"{{"op":"error","id":{id},"code":"limit","text":"{text}"}}"#);
    assert_eq!(world.got(0, 1), [refused(3)]);
    assert_eq!(world.got(0, 2), [refused(2)]);
    // One without an id waits for nothing.
    publish(&mut world, 0, 1, "away", "2");
    world.pass_all();
    assert_eq!(world.got(0, 1).len(), 2);
    assert_eq!(
        world
            .ask(0, 1, r#"{"op":"publish","id":4,"topic":"away","data":1}"#)
            .len(),
        1
    );
}

#[test]
fn an_acknowledgement_never_reaches_the_client_that_came_after() {
    let mut world = two();
    world.ask(0, 1, r#"{"op":"publish","id":3,"topic":"away","data":1}"#);
    world.ask(0, 1, r#"{"op":"presence","id":4,"topic":"away"}"#);
    world.call(0, |station, _, desk| station.close(1, desk));
    world.open(0, 5);
    world.pass_all();
    world.wait(10 * SECOND);
    assert_eq!(world.got(0, 5), NOTHING);
}

#[test]
fn the_retained_message_follows_the_acknowledgement_of_a_new_subscription() {
    let mut world = alone(2);
    world.ask(
        0,
        1,
        r#"{"op":"publish","topic":"a/x","retain":true,"data":1}"#,
    );
    publish(&mut world, 0, 1, "a/x", "2");
    let text = r#"{"op":"subscribe","id":1,"topic":"a/+"}"#;
    world.ask(0, 2, text);
    let ack = r#"{"op":"ack","id":1}"#;
    let retained = r#"{"op":"message","topic":"a/x","offset":1,"data":1}"#;
    assert_eq!(world.got(0, 2), [ack, retained]);
    world.ask(0, 2, text);
    assert_eq!(world.got(0, 2), [ack], "it has the subscription");
}

#[test]
fn since_replays_from_the_copy_of_any_worker_and_live_messages_follow_once() {
    let mut world = two();
    for number in 1..=3 {
        publish(&mut world, 1, 11, "away", &number.to_string());
    }
    // Two have come to the first station, and the third is on its way.
    world.pass(1, 0);
    world.pass(1, 0);
    let since = r#""since":{"epoch":"1000","offset":1}"#;
    let text = format!(r#"{{"op":"subscribe","id":1,"topic":"away",{since}}}"#);
    world.ask(0, 1, &text);
    world.pass_all();
    let expected = [
        r#"{"op":"ack","id":1,"epoch":"1000","offset":2}"#,
        r#"{"op":"message","topic":"away","offset":2,"data":2}"#,
        r#"{"op":"message","topic":"away","offset":3,"data":3}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
}

#[test]
fn what_a_copy_does_not_have_is_a_gap_before_the_replay() {
    let mut options = Options::new(0, 2);
    options.history.messages_max = 1;
    let mut world = World::new(options);
    world.open(0, 1);
    world.open(1, 11);
    (1..=3).for_each(|number| publish(&mut world, 1, 11, "away", &number.to_string()));
    world.pass_all();
    let ask = |world: &mut World, client, epoch| {
        let since = format!(r#""since":{{"epoch":"{epoch}","offset":1}}"#);
        let text = format!(r#"{{"op":"subscribe","topic":"away",{since}}}"#);
        world.ask(0, client, &text);
        world.got(0, client)
    };
    let gap = r#"{"op":"gap","topic":"away","messages":1}"#;
    let unknown = r#"{"op":"gap","topic":"away"}"#;
    let last = r#"{"op":"message","topic":"away","offset":3,"data":3}"#;
    assert_eq!(ask(&mut world, 1, 1000), [gap, last]);
    assert_eq!(ask(&mut world, 1, 999), [unknown, last]);
    world.replace(0);
    world.open(0, 2);
    assert_eq!(
        ask(&mut world, 2, 1000),
        [unknown],
        "a worker that has just begun"
    );
}

#[test]
fn a_worker_that_takes_a_place_begins_new_epochs_and_the_others_keep_what_is_retained() {
    let mut world = two();
    world.ask(
        1,
        11,
        r#"{"op":"publish","topic":"away","retain":true,"data":1}"#,
    );
    publish(&mut world, 1, 11, "away", "2");
    world.pass_all();
    subscribe(&mut world, 0, 1, "away");
    subscribe(&mut world, 0, 2, "home");
    world.got(0, 1);
    world.replace(1);
    world.open(1, 13);
    publish(&mut world, 1, 13, "away", "3");
    world.pass_all();
    let expected = [
        r#"{"op":"gap"}"#,
        r#"{"op":"message","topic":"away","offset":1,"data":3}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    assert_eq!(world.got(0, 2), NOTHING, "not of its topics");
    world.ask(0, 2, r#"{"op":"subscribe","id":1,"topic":"away"}"#);
    let expected = [
        r#"{"op":"ack","id":1,"epoch":"2000000","offset":1}"#,
        r#"{"op":"message","topic":"away","data":1}"#,
    ];
    assert_eq!(world.got(0, 2), expected);
}

#[test]
fn records_that_were_overtaken_are_a_gap_for_all_whom_they_may_concern() {
    let mut world = two();
    for (worker, client, pattern) in [
        (0, 1, "away"),
        (0, 2, "home"),
        (1, 11, "home"),
        (1, 12, "+"),
    ] {
        subscribe(&mut world, worker, client, pattern);
    }
    publish(&mut world, 1, 11, "away", "1");
    world.pass_all();
    world.got(0, 1);
    world.got(1, 12);
    publish(&mut world, 1, 11, "away", "2");
    publish(&mut world, 1, 11, "home", "1");
    world.lose(1, 0, 2);
    let gap = [r#"{"op":"gap"}"#];
    // Messages of the other's topics, and publishes to topics of this one.
    assert_eq!(world.got(0, 1), gap);
    assert_eq!(world.got(0, 2), gap);
    world.got(1, 12);
    world.pass_all();
    assert_eq!(world.got(1, 11), gap);
    assert_eq!(world.got(1, 12), gap);
    // The next message of the topic says how many.
    publish(&mut world, 1, 11, "away", "3");
    world.pass_all();
    let expected = [
        r#"{"op":"gap","topic":"away","messages":1}"#,
        r#"{"op":"message","topic":"away","offset":3,"data":3}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    let counts = world.stations[0].counts();
    assert_eq!((counts.losses, counts.records_lost), (1, 2));
    assert_eq!((counts.gaps_told, counts.gap_messages_told), (3, 1));
}

#[test]
fn a_bridge_publishes_tells_gaps_and_owns_nothing() {
    let mut world = two();
    subscribe(&mut world, 0, 1, "home");
    let bridge = 2;
    let ticket = 0;
    hand(
        &mut world,
        bridge,
        &record(Record::Publish {
            ticket,
            content: content("home", "1"),
        }),
    );
    let lost = |messages, topic| record(Record::Lost { messages, topic });
    hand(&mut world, bridge, &lost(4, Some(topic("home"))));
    hand(&mut world, bridge, &lost(0, None));
    hand(&mut world, bridge, &record(message("home", 9, 1, "2")));
    let expected = [
        r#"{"op":"message","topic":"home","offset":1,"data":1}"#,
        r#"{"op":"gap","topic":"home","messages":4}"#,
        r#"{"op":"gap"}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    assert_eq!(world.stations[0].counts().records_invalid, 1);
}

#[test]
fn records_that_are_wrong_change_nothing_and_are_counted() {
    let mut world = two();
    subscribe(&mut world, 0, 1, "+");
    let good = record(message("away", 5, 2, "{}"));
    hand(&mut world, 0, &good); // its own
    hand(&mut world, 1, &good[..20]);
    hand(&mut world, 1, &record(message("home", 5, 2, "{}"))); // of another owner
    let mut text = good.clone();
    *text.last_mut().unwrap() = 0xff;
    hand(&mut world, 1, &text);
    assert_eq!(world.got(0, 1), NOTHING);
    assert_eq!(world.stations[0].counts().records_invalid, 3);
    hand(&mut world, 1, &good);
    hand(&mut world, 1, &good);
    hand(&mut world, 1, &record(message("away", 5, u64::MAX, "{}")));
    assert_eq!(
        world.got(0, 1),
        [r#"{"op":"message","topic":"away","offset":2,"data":{}}"#]
    );
    assert_eq!(world.stations[0].counts().records_stale, 2);
}

#[test]
fn what_the_bus_does_not_take_is_answered_and_leaves_no_hole() {
    let mut world = alone(1);
    subscribe(&mut world, 0, 1, "t");
    let text = r#"{"op":"publish","id":1,"topic":"t","data":1}"#;
    let (bytes, bytes_max) = (90, 80);
    world.desks[0].refusal = Some(Refusal::TooBig { bytes, bytes_max });
    world.ask(0, 1, text);
    world.desks[0].refusal = Some(Refusal::Deposed);
    world.ask(0, 1, text);
    world.desks[0].refusal = None;
    world.ask(0, 1, text);
    let expected = [
        r#"{"op":"error","id":1,"code":"too_big","text":"the bus takes messages of 80 bytes, not of 90"}"#,
        r#"{"op":"error","id":1,"code":"unavailable","text":"another writer has taken this log over"}"#,
        r#"{"op":"message","topic":"t","offset":1,"data":1}"#,
        r#"{"op":"ack","id":1,"epoch":"1000","offset":1}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    let counts = world.stations[0].counts();
    assert_eq!((counts.published, counts.records_refused), (1, 2));
}

#[test]
fn presence_is_answered_at_once_by_one_worker_and_summed_over_several() {
    let ask = r#"{"op":"presence","id":5,"topic":"t"}"#;
    let answer = |subscribers: u32| {
        format!(r#"{{"op":"presence","id":5,"topic":"t","subscribers":{subscribers}}}"#)
    };
    let mut world = alone(2);
    subscribe(&mut world, 0, 1, "t");
    subscribe(&mut world, 0, 1, "+");
    assert!(world.ask(0, 2, ask).is_empty());
    assert_eq!(world.got(0, 2), [answer(1)]);

    let mut world = two();
    for (worker, client) in [(0, 1), (1, 11), (1, 12)] {
        subscribe(&mut world, worker, client, "t");
    }
    world.ask(0, 2, ask);
    assert_eq!(world.got(0, 2), NOTHING);
    world.pass_all();
    assert_eq!(world.got(0, 2), [answer(3)]);
    assert_eq!(world.stations[0].poll_timeout(), None);
}

#[test]
fn presence_is_answered_with_what_came_in_time() {
    let mut world = World::new(Options::new(0, 3));
    (0..3).for_each(|worker| world.open(worker, worker as u64));
    (1..3).for_each(|worker| subscribe(&mut world, worker, worker as u64, "t"));
    world.ask(0, 0, r#"{"op":"presence","id":5,"topic":"t"}"#);
    world.pass(0, 1);
    // It answers twice.
    let again = world.logs[1][0][0].clone();
    world.logs[1][0].push_back(again);
    while world.pass(1, 0).is_some() {}
    assert_eq!(
        world.stations[0].poll_timeout(),
        Some(Duration::from_millis(1500))
    );
    world.wait(SECOND / 2);
    let expected = r#"{"op":"presence","id":5,"topic":"t","subscribers":1}"#;
    assert_eq!(world.got(0, 0), [expected]);
    assert_eq!(world.stations[0].counts().queries_late, 1);
    world.pass_all();
    assert_eq!(world.got(0, 0), NOTHING);
}

#[test]
fn open_questions_are_bounded() {
    let mut options = Options::new(0, 2);
    options.waiting.client_queries_max = 1;
    options.waiting.queries_max = 2;
    let mut world = World::new(options);
    (1..=3).for_each(|client| world.open(0, client));
    let ask = |world: &mut World, client| {
        let text = r#"{"op":"presence","id":5,"topic":"t"}"#;
        world.ask(0, client, text).len()
    };
    let asked = [1, 1, 2, 3].map(|client| ask(&mut world, client));
    assert_eq!(asked, [1, 0, 1, 0]);
    assert_eq!(world.stations[0].counts().refused(ErrorCode::Limit), 2);
    world.wait(SECOND);
    assert_eq!(ask(&mut world, 3), 1);
}

#[test]
fn what_a_client_has_no_right_to_is_refused() {
    let mut world = World::new(Options::new(0, 1));
    let rights = Rights::new(&["mine/#"], &["all/#"]).expect("patterns");
    world.stations[0].open(1, Arc::new(rights));
    for request in [
        r#"{"op":"publish","id":1,"topic":"all/x","data":1}"#,
        r#"{"op":"subscribe","id":2,"topic":"mine/x"}"#,
        r##"{"op":"subscribe","id":3,"topic":"#"}"##,
        r#"{"op":"presence","id":4,"topic":"mine/x"}"#,
        r#"{"op":"unsubscribe","id":5,"topic":"all/x"}"#,
        r##"{"op":"subscribe","id":6,"topic":"a/#/b"}"##,
        r#"{"op":"subscribe""#,
    ] {
        world.ask(0, 1, request);
    }
    let expected = [
        r#"{"op":"error","id":1,"code":"not_allowed","text":"no right to publish to all/x"}"#,
        r#"{"op":"error","id":2,"code":"not_allowed","text":"no right to subscribe to mine/x"}"#,
        r##"{"op":"error","id":3,"code":"not_allowed","text":"no right to subscribe to #"}"##,
        r#"{"op":"error","id":4,"code":"not_allowed","text":"no right to subscribe to mine/x"}"#,
        r#"{"op":"error","id":5,"code":"not_subscribed","text":"there is no subscription to all/x"}"#,
        r##"{"op":"error","id":6,"code":"bad_topic","text":"'+' and '#' are whole segments, and '#' is the last one"}"##,
        r#"{"op":"error","code":"bad_request","text":"the request is no JSON text, or too deep"}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    assert_eq!(world.stations[0].counts().refused(ErrorCode::NotAllowed), 4);
}

#[test]
fn subscriptions_have_limits() {
    let mut options = Options::new(0, 1);
    options.topics.subscriber_max = 1;
    let mut world = World::new(options);
    world.open(0, 1);
    subscribe(&mut world, 0, 1, "a");
    world.ask(0, 1, r#"{"op":"subscribe","id":2,"topic":"b"}"#);
    let text = "this subscriber has too many subscriptions";
    let expected = format!(r#"{{"op":"error","id":2,"code":"limit","text":"{text}"}}"#);
    assert_eq!(world.got(0, 1), [expected]);
    let topics: Vec<_> = world.stations[0].topics().collect();
    assert_eq!(topics, [("a", 1)]);
}

#[test]
fn a_message_is_encoded_once_for_each_form_that_somebody_wants() {
    let mut world = alone(5);
    publish(&mut world, 0, 1, "t", "1");
    assert_eq!(world.desks[0].prepared, []);
    (1..=3).for_each(|client| subscribe(&mut world, 0, client, "t"));
    publish(&mut world, 0, 1, "t", "2");
    assert_eq!(world.desks[0].prepared, [Form::Text]);
    for client in [4, 5] {
        let mut bytes = vec![];
        let pattern = Pattern::parse("+").unwrap();
        let (id, since) = (None, None);
        binary::encode_request(&Request::Subscribe { id, pattern, since }, &mut bytes);
        world.ask_binary(0, client, &bytes);
    }
    world.desks[0].prepared.clear();
    world.desks[0].full.insert(2);
    publish(&mut world, 0, 1, "t", "3");
    world.desks[0].prepared.sort_by_key(|form| *form as u8);
    assert_eq!(world.desks[0].prepared, [Form::Text, Form::Binary]);
    assert_eq!(
        world.got(0, 4),
        ["82 01 00 00 00 00 01 74 00 00 00 00 00 00 00 03 33"]
    );
    assert_eq!(world.got(0, 5).len(), 1);
    world.writable(0, 2);
    assert_eq!(world.got(0, 2).len(), 2);
    assert_eq!(world.desks[0].prepared.len(), 2);
}

#[test]
fn bytes_of_programs_are_base64_for_pages() {
    let mut world = alone(1);
    subscribe(&mut world, 0, 1, "t");
    let mut bytes = vec![];
    let request = Request::Publish {
        id: None,
        topic: topic("t"),
        payload: Payload::Bytes(b"\x00\xff"),
        retain: Retain::No,
    };
    binary::encode_request(&request, &mut bytes);
    world.ask_binary(0, 1, &bytes);
    assert_eq!(
        world.got(0, 1),
        [r#"{"op":"message","topic":"t","offset":1,"base64":"AP8="}"#]
    );
}

#[test]
fn a_connection_that_is_gone_is_forgotten() {
    let mut world = alone(2);
    subscribe(&mut world, 0, 1, "t");
    world.desks[0].gone.insert(1);
    publish(&mut world, 0, 2, "t", "1");
    publish(&mut world, 0, 2, "t", "2");
    let station = &world.stations[0];
    assert_eq!((station.clients(), station.counts().drops_gone), (1, 1));
    assert_eq!(world.desks[0].closed, []);
}

#[test]
fn the_first_and_the_last_subscriber_are_told_to_the_outlet() {
    let mut world = alone(2);
    subscribe(&mut world, 0, 1, "a/+");
    subscribe(&mut world, 0, 2, "a/+");
    subscribe(&mut world, 0, 2, "b");
    world.ask(0, 2, r#"{"op":"unsubscribe","topic":"b"}"#);
    world.call(0, |station, _, desk| station.close(1, desk));
    world.call(0, |station, _, desk| station.close(2, desk));
    let expected = [
        ("a/+", Interest::First),
        ("b", Interest::First),
        ("b", Interest::None),
        ("a/+", Interest::None),
    ];
    let expected = expected.map(|(name, interest)| (name.to_owned(), interest));
    assert_eq!(world.desks[0].interests, expected);
}

#[test]
fn a_publish_and_its_message_have_as_many_bytes() {
    let publish = Record::Publish {
        ticket: 1,
        content: content("t", "1"),
    };
    assert_eq!(record(publish).len(), record(message("t", 1, 1, "1")).len());
}

#[test]
fn a_loss_without_a_number_is_counted_as_one() {
    let mut world = two();
    world.stations[0].open(9, all_rights());
    world.call(0, |station, _, desk| station.handle_loss(1, None, desk));
    world.call(0, |station, _, desk| {
        station.handle_loss(1, NonZeroU64::new(5), desk);
    });
    let counts = world.stations[0].counts();
    assert_eq!((counts.losses, counts.records_lost), (2, 5));
}
