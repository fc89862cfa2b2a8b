//! Clients that do not keep up: what waits for them, in which order, and what is told of the rest.

use super::rules::{NOTHING, hand, publish, record, subscribe};
use super::world::World;
use crate::queue::{Limits, Policy};
use crate::station::Options;
use crate::station::record::Record;

fn slow(policy: Policy) -> World {
    let mut options = Options::new(0, 1);
    options.policy = policy;
    options.queue = Limits {
        messages_max: 2,
        bytes_max: 1000,
    };
    options.waiting.answers_max = 2;
    let mut world = World::new(options);
    (1..=2).for_each(|client| world.open(0, client));
    subscribe(&mut world, 0, 1, "t");
    world.desks[0].full.insert(1);
    world
}

#[test]
fn a_slow_client_gets_what_waited_with_gaps_and_answers_in_their_places() {
    let mut world = slow(Policy::DropNewest);
    publish(&mut world, 0, 2, "t", "1");
    world.ask(0, 1, r#"{"op":"publish","id":9,"topic":"other","data":0}"#);
    (2..=4).for_each(|number| publish(&mut world, 0, 2, "t", &number.to_string()));
    assert_eq!(world.got(0, 1), NOTHING);
    // It takes two, and no more.
    world.desks[0].room.insert(1, 2);
    world.writable(0, 1);
    let first = r#"{"op":"message","topic":"t","offset":1,"data":1}"#;
    let ack = r#"{"op":"ack","id":9,"epoch":"1001","offset":1}"#;
    assert_eq!(world.got(0, 1), [first, ack]);
    publish(&mut world, 0, 2, "t", "5");
    world.ask(0, 1, r#"{"op":"unsubscribe","id":10,"topic":"t"}"#);
    publish(&mut world, 0, 2, "t", "6");
    world.writable(0, 1);
    let expected = [
        r#"{"op":"message","topic":"t","offset":2,"data":2}"#,
        r#"{"op":"gap","topic":"t","messages":2}"#,
        r#"{"op":"message","topic":"t","offset":5,"data":5}"#,
        r#"{"op":"ack","id":10}"#,
    ];
    assert_eq!(world.got(0, 1), expected);
    let counts = world.stations[0].counts();
    assert_eq!((counts.drops.newest, counts.deliveries), (2, 3));
    assert_eq!((counts.gaps_told, counts.gap_messages_told), (1, 2));
}

#[test]
fn the_policy_close_closes_with_1013_and_counts_what_waited() {
    let mut world = slow(Policy::Close);
    (1..=4).for_each(|number| publish(&mut world, 0, 2, "t", &number.to_string()));
    assert_eq!(world.desks[0].closed, [(1, 1013)]);
    let station = &world.stations[0];
    assert_eq!((station.clients(), station.topics().count()), (1, 0));
    let counts = station.counts();
    assert_eq!((counts.drops.closed, counts.closed_slow), (3, 1));
    world.writable(0, 1);
    world.ask(0, 1, r#"{"op":"presence","id":1,"topic":"t"}"#);
    assert_eq!(world.got(0, 1), NOTHING);
}

#[test]
fn what_waits_when_the_connection_ends_is_counted() {
    let mut world = slow(Policy::DropOldest);
    (1..=3).for_each(|number| publish(&mut world, 0, 2, "t", &number.to_string()));
    // A gap for the first, and two messages.
    world.writable(0, 1);
    assert_eq!(world.got(0, 1).len(), 3);
    world.desks[0].full.insert(1);
    (4..=5).for_each(|number| publish(&mut world, 0, 2, "t", &number.to_string()));
    // The first is in hand when the connection takes no more.
    world.desks[0].room.insert(1, 0);
    world.writable(0, 1);
    world.call(0, |station, _, desk| station.close(1, desk));
    let drops = world.stations[0].counts().drops;
    assert_eq!((drops.oldest, drops.closed), (1, 2));
}

#[test]
fn a_message_never_overtakes_what_waits() {
    let mut world = slow(Policy::DropOldest);
    publish(&mut world, 0, 2, "t", "1");
    // There is room again, of which the station has not heard.
    world.desks[0].full.remove(&1);
    publish(&mut world, 0, 2, "t", "2");
    assert_eq!(world.got(0, 1), NOTHING);
    world.writable(0, 1);
    assert_eq!(world.got(0, 1).len(), 2);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_closed() {
    let mut world = slow(Policy::DropOldest);
    for _ in 0..3 {
        world.ask(0, 1, r#"{"op":"presence","id":1,"topic":"t"}"#);
    }
    assert_eq!(world.desks[0].closed, [(1, 1013)]);
    assert_eq!(world.stations[0].clients(), 1);
}

#[test]
fn gaps_without_a_number_that_nothing_separates_are_one() {
    let mut world = slow(Policy::DropOldest);
    for _ in 0..5 {
        let lost = record(Record::Lost {
            messages: 0,
            topic: None,
        });
        hand(&mut world, 1, &lost);
    }
    world.writable(0, 1);
    assert_eq!(world.got(0, 1), [r#"{"op":"gap"}"#]);
}
