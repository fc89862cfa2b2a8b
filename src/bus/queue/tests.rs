use std::sync::Arc;

use super::*;
use crate::random::Random;

/// A message that is its number and its size.
#[derive(Clone, Debug, PartialEq)]
struct Sized(u64, usize);

impl Weight for Sized {
    fn bytes(&self) -> usize {
        self.1
    }
}

fn queue(policy: Policy, messages_max: usize) -> Queue<Sized> {
    let limits = Limits {
        messages_max,
        bytes_max: 100,
    };
    Queue::new(policy, limits)
}

fn gap(messages: u64, topic: Option<u64>) -> Next<Sized> {
    Next::Gap {
        messages: NonZeroU64::new(messages).expect("some"),
        topic,
    }
}

fn message(number: u64) -> Next<Sized> {
    Next::Message(Sized(number, 1))
}

/// Offers messages 1, 2, … of these topics.
fn push(queue: &mut Queue<Sized>, topics: &[u64]) -> Vec<Push> {
    let push = |(number, topic): (u64, &u64)| queue.push(*topic, Sized(number, 1));
    (1..).zip(topics).map(push).collect()
}

fn rest(queue: &mut Queue<Sized>) -> Vec<Next<Sized>> {
    std::iter::from_fn(|| queue.pop()).collect()
}

#[test]
fn the_oldest_are_dropped_and_the_gap_stands_in_their_place() {
    let mut queue = queue(Policy::DropOldest, 2);
    assert_eq!(push(&mut queue, &[7, 7, 7, 8, 7]), [Push::Queued; 5]);
    assert_eq!(rest(&mut queue), [gap(3, Some(7)), message(4), message(5)]);
    assert_eq!(queue.drops().oldest, 3);
    assert_eq!(push(&mut queue, &[7, 8, 7, 8]), [Push::Queued; 4]);
    assert_eq!(rest(&mut queue), [gap(2, None), message(3), message(4)]);
}

#[test]
fn the_newest_are_dropped_and_the_gap_comes_after_what_waits() {
    let mut queue = queue(Policy::DropNewest, 2);
    let expected = [Push::Queued, Push::Queued, Push::Dropped, Push::Dropped];
    assert_eq!(push(&mut queue, &[7, 7, 8, 8]), expected);
    assert_eq!(queue.pop(), Some(message(1)));
    assert_eq!(queue.push(9, Sized(5, 1)), Push::Queued);
    assert_eq!(queue.push(9, Sized(6, 1)), Push::Dropped);
    let expected = [message(2), gap(2, Some(8)), message(5), gap(1, Some(9))];
    assert_eq!(rest(&mut queue), expected);
    assert_eq!(queue.drops().newest, 3);
}

#[test]
fn a_newer_message_of_a_topic_takes_the_place_of_the_older() {
    let mut queue = queue(Policy::Conflate, 3);
    assert_eq!(push(&mut queue, &[1, 2, 1, 3, 2]), [Push::Queued; 5]);
    assert_eq!(queue.drops().conflated, 2);
    assert_eq!(rest(&mut queue), [message(3), message(5), message(4)]);
    // Full of other topics: the oldest goes.
    assert_eq!(push(&mut queue, &[1, 2, 3, 4, 3]), [Push::Queued; 5]);
    assert_eq!(
        rest(&mut queue),
        [gap(1, Some(1)), message(2), message(5), message(4)]
    );
    assert_eq!(queue.drops().oldest, 1);
}

#[test]
fn a_message_that_grew_makes_room_by_the_oldest() {
    let mut queue = queue(Policy::Conflate, 9);
    for topic in 1..=4 {
        queue.push(topic, Sized(topic, 25));
    }
    assert_eq!(queue.push(3, Sized(5, 50)), Push::Queued);
    assert_eq!((queue.bytes(), queue.messages()), (100, 3));
    let expected = [
        gap(1, Some(1)),
        Next::Message(Sized(2, 25)),
        Next::Message(Sized(4, 25)),
        Next::Message(Sized(5, 50)),
    ];
    assert_eq!(rest(&mut queue), expected);
    assert_eq!((queue.drops().conflated, queue.drops().oldest), (1, 1));
}

#[test]
fn a_full_queue_closes_its_connection_once() {
    let mut queue = queue(Policy::Close, 2);
    let expected = [Push::Queued, Push::Queued, Push::Close, Push::Dropped];
    assert_eq!(push(&mut queue, &[1, 2, 3, 4]), expected);
    assert_eq!(
        queue.drops(),
        &Drops {
            closed: 4,
            ..Drops::default()
        }
    );
    assert!(queue.is_empty());
    assert_eq!(TRY_AGAIN_LATER, 1013);
}

#[test]
fn bytes_are_a_limit_as_well() {
    let mut oldest = queue(Policy::DropOldest, 9);
    for number in 1..=3 {
        assert_eq!(oldest.push(1, Sized(number, 40)), Push::Queued);
    }
    assert_eq!((oldest.bytes(), oldest.messages()), (80, 2));
    assert_eq!(oldest.push(1, Sized(4, 101)), Push::Dropped);
    let left = [2, 3].map(|number| Next::Message(Sized(number, 40)));
    let [two, three] = left;
    assert_eq!(
        rest(&mut oldest),
        [gap(1, Some(1)), two, three, gap(1, Some(1))]
    );
    assert_eq!((oldest.drops().oldest, oldest.drops().too_big), (1, 1));
    let mut closing = queue(Policy::Close, 9);
    assert_eq!(closing.push(1, Sized(1, 101)), Push::Close);
}

/// Whatever the policy: what is popped is in order, its gaps are exact, and nothing is lost without a count.
#[test]
fn messages_popped_and_drops_add_up() {
    let policies = [
        Policy::Close,
        Policy::Conflate,
        Policy::DropNewest,
        Policy::DropOldest,
    ];
    for (seed, policy) in (0..400).zip(policies.into_iter().cycle()) {
        let mut random = Random(seed);
        let mut queue = queue(policy, 5);
        let (mut offered, mut popped, mut told, mut next) = (0, 0, 0, 1);
        let mut last_of: HashMap<u64, u64> = HashMap::new();
        for _ in 0..300 {
            if random.below(5) < 3 {
                offered += 1;
                let topic = random.next() % 4;
                queue.push(topic, Sized(offered * 4 + topic, random.below(120)));
                assert!(queue.messages() <= 5 && queue.bytes() <= 100);
                assert!(queue.items.len() <= 11);
                continue;
            }
            match queue.pop() {
                None => assert!(queue.messages() == 0 && queue.bytes() == 0),
                Some(Next::Gap { messages, .. }) => {
                    told += messages.get();
                    next += messages.get();
                }
                Some(Next::Message(Sized(number, _))) => {
                    popped += 1;
                    let newest = last_of.insert(number % 4, number).unwrap_or(0);
                    assert!(number > newest, "{policy:?}: the order within a topic");
                    if matches!(policy, Policy::DropNewest | Policy::DropOldest) {
                        assert_eq!(
                            number / 4,
                            next,
                            "{policy:?}: the gap stands where it belongs"
                        );
                    }
                    next += 1;
                }
            }
        }
        while let Some(last) = queue.pop() {
            match last {
                Next::Gap { messages, .. } => told += messages.get(),
                Next::Message(_) => popped += 1,
            }
        }
        let drops = queue.drops();
        assert_eq!(popped + drops.total(), offered, "{policy:?}");
        assert_eq!(told, drops.total() - drops.conflated - drops.closed);
    }
}

#[test]
fn messages_are_shared_and_not_copied() {
    let message: Arc<[u8]> = b"a message"[..].into();
    let mut queue = Queue::new(Policy::DropOldest, Limits::default());
    queue.push(1, message.clone());
    assert_eq!((queue.bytes(), Arc::strong_count(&message)), (9, 2));
    assert_eq!(queue.pop(), Some(Next::Message(message.clone())));
    assert_eq!(Arc::strong_count(&message), 1);
}

#[test]
fn a_gap_from_elsewhere_stands_where_it_was_noted() {
    let mut queue = queue(Policy::DropOldest, 2);
    queue.push_gap(Some(7), NonZeroU64::new(3).expect("some"));
    assert_eq!(push(&mut queue, &[7]), [Push::Queued]);
    let end = queue.end();
    queue.push_gap(Some(7), NonZeroU64::new(2).expect("some"));
    queue.push_gap(Some(8), NonZeroU64::MIN);
    assert_eq!(queue.push(9, Sized(2, 1)), Push::Queued);
    assert_eq!(queue.pop(), Some(gap(3, Some(7))));
    assert!(queue.begin() < end);
    assert_eq!(queue.pop(), Some(message(1)));
    assert_eq!(queue.begin(), end);
    assert_eq!(rest(&mut queue), [gap(3, None), message(2)]);
    assert_eq!(queue.drops().total(), 0);
}
