use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::random::Random;

type Bytes = Arc<[u8]>;

const SECOND: Duration = Duration::from_secs(1);

fn topic(name: &str) -> Topic<'_> {
    Topic::parse(name).expect("a topic")
}

fn limits(messages_max: usize) -> Limits {
    Limits {
        bytes_max: 1 << 20,
        messages_max,
        age_max: 10 * SECOND,
        topics_max: 10,
    }
}

fn body(text: &str) -> Bytes {
    text.as_bytes().into()
}

/// Publishes the texts at second 0 and returns the last position.
fn publish(history: &mut History<Bytes>, name: &str, texts: &[&str]) -> Position {
    let publish =
        |text: &&str| history.publish(Duration::ZERO, topic(name), body(text), Retain::No);
    texts.iter().map(publish).last().expect("at least one")
}

fn since(
    history: &mut History<Bytes>,
    now: Duration,
    name: &str,
    epoch: u64,
    offset: u64,
) -> (Option<Gap>, Vec<(u64, String)>) {
    let (gap, messages) = history.since(now, topic(name), Position { epoch, offset });
    let text = |(offset, message): (u64, &Bytes)| (offset, String::from_utf8_lossy(message).into());
    (gap, messages.map(text).collect())
}

fn texts(from: u64, texts: &[&str]) -> Vec<(u64, String)> {
    (from..)
        .zip(texts.iter().map(|text| (*text).to_owned()))
        .collect()
}

#[test]
fn a_subscriber_that_comes_back_gets_what_it_missed() {
    let mut history = History::new(limits(3), 500);
    let position = publish(&mut history, "a", &["one", "two", "three", "four"]);
    assert_eq!(
        position,
        Position {
            epoch: 500,
            offset: 4
        }
    );
    assert_eq!(history.position(topic("a")), Some(position));
    let now = SECOND;
    assert_eq!(since(&mut history, now, "a", 500, 4), (None, vec![]));
    assert_eq!(
        since(&mut history, now, "a", 500, 3),
        (None, texts(4, &["four"]))
    );
    let all = texts(2, &["two", "three", "four"]);
    assert_eq!(since(&mut history, now, "a", 500, 1), (None, all.clone()));
    assert_eq!(
        since(&mut history, now, "a", 500, 0),
        (Some(Gap::Messages(1)), all.clone())
    );
    // Another life of the topic, and an offset that was never given.
    assert_eq!(
        since(&mut history, now, "a", 499, 4),
        (Some(Gap::Unknown), all.clone())
    );
    assert_eq!(
        since(&mut history, now, "a", 500, 5),
        (Some(Gap::Unknown), all)
    );
    assert_eq!(
        since(&mut history, now, "b", 500, 0),
        (Some(Gap::Unknown), vec![])
    );
    assert_eq!(history.evictions().by_messages, 1);
}

#[test]
fn messages_are_kept_for_their_time_and_their_offsets_stay() {
    let mut history = History::new(limits(100), 1);
    publish(&mut history, "a", &["one", "two"]);
    history.publish(5 * SECOND, topic("a"), body("three"), Retain::No);
    assert_eq!(history.poll_timeout(), Some(10 * SECOND));
    assert_eq!(since(&mut history, 9 * SECOND, "a", 1, 0).0, None);
    let gap = Some(Gap::Messages(2));
    assert_eq!(
        since(&mut history, 10 * SECOND, "a", 1, 0),
        (gap, texts(3, &["three"]))
    );
    assert_eq!(
        since(&mut history, 10 * SECOND, "a", 1, 2),
        (None, texts(3, &["three"]))
    );
    history.handle_timeout(15 * SECOND);
    assert_eq!(history.poll_timeout(), None);
    assert_eq!(
        since(&mut history, 15 * SECOND, "a", 1, 2),
        (Some(Gap::Messages(1)), vec![])
    );
    assert_eq!(since(&mut history, 15 * SECOND, "a", 1, 3), (None, vec![]));
    assert_eq!(history.evictions().by_age, 3);
}

#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let mut history = History::new(limits(100), 1);
    history.publish(100 * SECOND, topic("a"), body("one"), Retain::No);
    history.publish(50 * SECOND, topic("a"), body("two"), Retain::No);
    assert_eq!(
        since(&mut history, 51 * SECOND, "a", 1, 0),
        (None, texts(1, &["one", "two"]))
    );
}

#[test]
fn the_retained_message_outlives_the_history() {
    let mut history = History::new(limits(1), 1);
    history.publish(SECOND, topic("a/x"), body("first"), Retain::Yes);
    history.publish(SECOND, topic("a/x"), body("kept"), Retain::Yes);
    history.publish(SECOND, topic("a/x"), body("later"), Retain::No);
    history.publish(SECOND, topic("a/y"), body("other"), Retain::Yes);
    history.publish(SECOND, topic("b"), body("none"), Retain::No);
    history.handle_timeout(100 * SECOND);
    assert_eq!(history.retained(topic("a/x")), Some((2, &body("kept"))));
    assert_eq!(history.retained(topic("b")), None);
    let of = |history: &History<Bytes>, pattern| {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        let retained = history.retained_of(pattern);
        let mut names: Vec<String> = retained.map(|(name, ..)| name.to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(of(&history, "a/+"), ["a/x", "a/y"]);
    assert_eq!(of(&history, "a/y"), ["a/y"]);
    assert_eq!(of(&history, "b"), [""; 0]);
    assert!(history.clear_retained(topic("a/x")));
    assert!(!history.clear_retained(topic("a/x")));
    assert_eq!(of(&history, "#"), ["a/y"]);
}

#[test]
fn the_oldest_of_all_topics_goes_first_and_then_the_topic_that_was_used_least() {
    // A topic "a" counts 258, a message of 100 bytes 260.
    let mut history = History::new(
        Limits {
            bytes_max: 1300,
            ..limits(100)
        },
        1,
    );
    let long = "x".repeat(100);
    publish(&mut history, "a", &[&long]);
    publish(&mut history, "b", &[&long, &long]);
    assert_eq!(history.bytes(), 2 * 258 + 3 * 260);
    publish(&mut history, "b", &[&long]);
    assert_eq!(
        since(&mut history, SECOND, "a", 1, 0),
        (Some(Gap::Messages(1)), vec![])
    );
    assert_eq!(since(&mut history, SECOND, "b", 2, 0).1.len(), 3);
    assert_eq!(history.evictions().by_bytes, 1);
    // One that cannot be kept at all takes everything with it, and is still counted.
    let position = publish(&mut history, "b", &["y".repeat(2000).as_str()]);
    assert_eq!(
        position,
        Position {
            epoch: 2,
            offset: 4
        }
    );
    assert_eq!(history.evictions().by_bytes, 5);
    assert_eq!(history.evictions().topics, 0);
    history.publish(SECOND, topic("b"), body(&"y".repeat(2000)), Retain::Yes);
    assert_eq!((history.bytes(), history.topics()), (0, 0));
    assert_eq!(
        (history.evictions().topics, history.evictions().retained),
        (2, 1)
    );
}

#[test]
fn a_topic_that_was_forgotten_begins_again_under_a_new_epoch() {
    let mut history = History::new(
        Limits {
            topics_max: 2,
            ..limits(100)
        },
        7,
    );
    publish(&mut history, "a", &["one"]);
    publish(&mut history, "b", &["one"]);
    publish(&mut history, "a", &["two"]);
    assert_eq!(
        publish(&mut history, "c", &["one"]),
        Position {
            epoch: 9,
            offset: 1
        }
    );
    assert_eq!(history.position(topic("b")), None);
    assert_eq!(
        publish(&mut history, "b", &["again"]),
        Position {
            epoch: 10,
            offset: 1
        }
    );
    assert_eq!(
        since(&mut history, SECOND, "b", 8, 1),
        (Some(Gap::Unknown), texts(1, &["again"]))
    );
    assert_eq!(history.evictions().topics, 2);
}

/// Against a list of everything that was ever published: what is replayed is its end, and gap and replay add up.
#[test]
fn replay_and_gap_add_up_and_memory_stays_below_its_limit() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let limits = Limits {
            bytes_max: 6000,
            messages_max: 8,
            age_max: 20 * SECOND,
            topics_max: 6,
        };
        let mut history = History::new(limits, 1);
        let mut all: BTreeMap<u64, Vec<Bytes>> = BTreeMap::new();
        let mut now = Duration::ZERO;
        for number in 0..1000 {
            now += Duration::from_millis(random.next() % 2000);
            let name = format!("t{}", random.below(8));
            let message: Bytes =
                vec![u8::try_from(number % 256).unwrap(); random.below(900)].into();
            let retain = *random.pick(&[Retain::No, Retain::No, Retain::Yes]);
            let position = history.publish(now, topic(&name), message.clone(), retain);
            let life = all.entry(position.epoch).or_default();
            life.push(message);
            assert_eq!(position.offset, life.len() as u64);
            assert!(history.bytes() <= 6000 && history.topics() <= 6);
            let Some(last) = history.position(topic(&name)) else {
                continue;
            };
            let offset = random.next() % (last.offset + 1);
            let asked = Position {
                epoch: last.epoch,
                offset,
            };
            let (gap, messages) = history.since(now, topic(&name), asked);
            let missing = match gap {
                None => 0,
                Some(Gap::Messages(missing)) => missing,
                Some(Gap::Unknown) => panic!("it is known"),
            };
            let replayed: Vec<(u64, Bytes)> = messages.map(|(at, m)| (at, m.clone())).collect();
            assert!(replayed.len() <= 8);
            assert_eq!(offset + missing + replayed.len() as u64, last.offset);
            for (at, message) in replayed {
                let index = usize::try_from(at - 1).unwrap();
                assert_eq!(message, all[&last.epoch][index], "seed {seed}");
            }
        }
        assert!(history.evictions().by_bytes > 0 && history.evictions().topics > 0);
        history.handle_timeout(now + 20 * SECOND);
        assert!(history.messages.is_empty());
    }
}

#[test]
fn a_copy_takes_places_from_another_history_and_has_no_hole() {
    let mut copy = History::new(limits(10), 1);
    let mut apply = |epoch, offset, text: &str| {
        let position = Position { epoch, offset };
        copy.apply(Duration::ZERO, topic("a"), position, body(text), Retain::No)
    };
    let behind = |messages| Applied::Behind(NonZeroU64::new(messages).expect("some"));
    assert_eq!(apply(7, 5, "five"), Applied::Next);
    assert_eq!(apply(7, 6, "six"), Applied::Next);
    assert_eq!(apply(7, 6, "again"), Applied::Stale);
    assert_eq!(apply(7, 0, "none"), Applied::Stale);
    assert_eq!(apply(7, 9, "nine"), behind(2));
    assert_eq!(apply(7, u64::MAX, "never"), Applied::Stale);
    let got = since(&mut copy, Duration::ZERO, "a", 7, 5);
    assert_eq!(got, (Some(Gap::Messages(3)), texts(9, &["nine"])));
    let mut apply = |epoch, offset, text: &str| {
        let position = Position { epoch, offset };
        copy.apply(
            Duration::ZERO,
            topic("a"),
            position,
            body(text),
            Retain::Yes,
        )
    };
    assert_eq!(apply(8, 3, "three"), Applied::BeganAgain(2));
    assert_eq!(copy.retained(topic("a")), Some((3, &body("three"))));
    let position = Position {
        epoch: 9,
        offset: 1,
    };
    let no = Retain::No;
    let applied = copy.apply(Duration::ZERO, topic("a"), position, body("one"), no);
    assert_eq!(applied, Applied::BeganAgain(0));
    assert_eq!(copy.retained(topic("a")), Some((0, &body("three"))));
    let got = since(&mut copy, Duration::ZERO, "a", 7, 5);
    assert_eq!(got, (Some(Gap::Unknown), texts(1, &["one"])));
    assert_eq!(copy.evictions().behind_gaps, 4);
    assert_eq!(copy.next(topic("a")).offset, 2);
}
