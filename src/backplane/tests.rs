//! Bridges at a broker in memory. Time stands still until everybody waits, so nothing here depends on how fast the machine is.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::bridge::Bridge;
use crate::memory::Memory;
use crate::outbox::QUEUE_MESSAGES_MAX;
use crate::{Change, Counts, FromBus, Message, Options, ToBus};

/// A server: its end of the channels.
struct Server {
    say: mpsc::Sender<FromBus>,
    told: mpsc::Receiver<ToBus>,
    counts: Rc<Counts>,
}

impl Server {
    fn start(memory: &Memory, number: u8, is_successor: bool) -> Self {
        let (say, from_bus) = mpsc::channel(100_000);
        let (to_bus, told) = mpsc::channel(1000);
        let counts = Rc::new(Counts::default());
        let (memory, shared) = (memory.clone(), counts.clone());
        tokio::task::spawn_local(async move {
            let options = Options {
                url: String::new(),
                prefix: "p".to_owned(),
                origin: [number; 16],
                is_successor,
            };
            Bridge::new(memory, &options, to_bus, &shared)
                .run(from_bus)
                .await;
        });
        Self { say, told, counts }
    }

    async fn want(&self, pattern: &str, is_wanted: bool) {
        let change = Change {
            space: "s".into(),
            pattern: pattern.into(),
            is_wanted,
        };
        self.say
            .send(FromBus::Change(change))
            .await
            .expect("it runs");
    }

    async fn publish(&self, topic: &str, body: &[u8]) {
        let message = FromBus::Message(message(topic, body));
        self.say.send(message).await.expect("it runs");
    }

    async fn hear(&mut self) -> ToBus {
        self.told.recv().await.expect("it runs")
    }

    fn count(&self, of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        of(&self.counts).load(Ordering::Relaxed)
    }
}

fn message(topic: &str, body: &[u8]) -> Message {
    Message {
        space: "s".into(),
        topic: topic.into(),
        body: body.into(),
    }
}

/// Lets everybody work until nobody has anything to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Runs a scene with two servers that are connected.
fn scene<F: Future<Output = ()>>(play: impl FnOnce(Memory, Server, Server) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let memory = Memory::default();
        let mut one = Server::start(&memory, 1, false);
        let mut two = Server::start(&memory, 2, false);
        assert_eq!((one.hear().await, two.hear().await), (ToBus::Up, ToBus::Up));
        play(memory, one, two).await;
    });
}

#[test]
fn a_message_reaches_the_others_that_want_it_once_and_not_its_own_server() {
    scene(|memory, mut one, mut two| async move {
        one.want("a/+", true).await;
        two.want("a/+", true).await;
        two.want("+/b", true).await;
        settle().await;
        assert_eq!(
            memory.names(),
            ["p.s.*.b.~", "p.s.a.*.~", "p.s.a.*.~", "p.~", "p.~"]
        );
        one.publish("a/b", b"1").await;
        assert_eq!(two.hear().await, ToBus::Message(message("a/b", b"1")));
        two.publish("a/c", b"2").await;
        assert_eq!(one.hear().await, ToBus::Message(message("a/c", b"2")));
        settle().await;
        assert!(one.told.is_empty() && two.told.is_empty());
        assert_eq!(two.count(|counts| &counts.repeated), 1);
        for server in [&one, &two] {
            assert_eq!(server.count(|counts| &counts.published), 1);
            assert_eq!(server.count(|counts| &counts.received), 1);
            assert_eq!(server.count(|counts| &counts.connected), 1);
        }
    });
}

#[test]
fn only_what_is_wanted_is_fetched_also_after_a_loss() {
    scene(|memory, mut one, two| async move {
        for round in 0..2 {
            one.want("a", true).await;
            one.want("b/#", true).await;
            one.want("c", true).await;
            one.want("c", false).await;
            settle().await;
            assert_eq!(memory.names(), ["p.s.a.~", "p.s.b.>", "p.~", "p.~"]);
            one.want("a", false).await;
            memory.set_away(true);
            settle().await;
            one.want("d", true).await;
            one.want("d", false).await;
            one.want("b/#", false).await;
            one.want("b/#", true).await;
            settle().await;
            memory.set_away(false);
            assert!(matches!(one.hear().await, ToBus::Down(_)), "{round}");
            assert_eq!(
                (one.hear().await, one.hear().await),
                (ToBus::Gap, ToBus::Up)
            );
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(memory.names(), ["p.s.b.>", "p.~", "p.~"]);
        }
        assert_eq!(one.count(|counts| &counts.reconnects), 2);
        assert_eq!(two.count(|counts| &counts.reconnects), 2);
    });
}

#[test]
fn what_is_published_while_the_broker_is_away_is_counted_and_the_others_learn_of_it() {
    scene(|memory, one, mut two| async move {
        one.publish("a", b"1").await;
        settle().await;
        memory.cut(true, 1);
        settle().await;
        for _ in 0..10 {
            one.publish("a", b"2").await;
        }
        settle().await;
        assert_eq!(one.count(|counts| &counts.connected), 0);
        memory.cut(false, 0);
        assert_eq!(
            two.hear().await,
            ToBus::Gap,
            "it was connected all the time"
        );
        one.publish("a", b"3").await;
        settle().await;
        let count = |of: fn(&Counts) -> &AtomicU64| one.count(of);
        assert_eq!(count(|counts| &counts.published), 2);
        assert_eq!(count(|counts| &counts.dropped_away), 10);
        assert_eq!(memory.published(), ["p.s.a.~", "p.~", "p.s.a.~"]);
    });
}

#[test]
fn a_broker_that_does_not_take_messages_holds_nobody_up_and_every_drop_is_counted() {
    scene(|memory, one, two| async move {
        memory.set_stuck(true);
        let all = 2 * QUEUE_MESSAGES_MAX as u64;
        for _ in 0..all {
            one.publish("a", b"").await;
        }
        settle().await;
        let count = |of: fn(&Counts) -> &AtomicU64| one.count(of);
        let full = count(|counts| &counts.dropped_full);
        assert!(
            full > 0 && full <= all - QUEUE_MESSAGES_MAX as u64,
            "{full}"
        );
        memory.set_away(true);
        settle().await;
        assert_eq!(count(|counts| &counts.published), 0);
        assert_eq!(full + count(|counts| &counts.dropped_away), all);
        drop(two);
    });
}

#[test]
fn a_message_above_the_limit_of_the_broker_is_dropped() {
    scene(|memory, one, two| async move {
        one.publish("a", &[0; 1000]).await;
        one.publish("a", &[0; 900]).await;
        settle().await;
        assert_eq!(one.count(|counts| &counts.dropped_too_big), 1);
        assert_eq!(memory.published(), ["p.s.a.~", "p.~"]);
        assert_eq!(two.count(|counts| &counts.gaps), 1, "by the notice");
    });
}

#[test]
fn an_overflow_is_one_gap_however_many_messages_it_has() {
    scene(|memory, mut one, two| async move {
        memory.overflow(3);
        memory.overflow(4);
        assert_eq!(one.hear().await, ToBus::Gap);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(one.told.is_empty());
        assert_eq!(one.count(|counts| &counts.overflowed), 7);
        assert_eq!(two.count(|counts| &counts.gaps), 1);
    });
}

#[test]
fn a_successor_tells_of_the_gap_on_both_sides() {
    scene(|memory, mut one, mut two| async move {
        let mut three = Server::start(&memory, 3, true);
        assert_eq!(
            (three.hear().await, three.hear().await),
            (ToBus::Gap, ToBus::Up)
        );
        assert_eq!(
            (one.hear().await, two.hear().await),
            (ToBus::Gap, ToBus::Gap)
        );
    });
}

#[test]
fn what_strangers_publish_is_counted_and_ignored() {
    scene(|memory, mut one, _two| async move {
        one.want("#", true).await;
        settle().await;
        memory.publish("p.s.a.~", b"hello");
        settle().await;
        assert!(one.told.is_empty());
        assert_eq!(one.count(|counts| &counts.invalid), 1);
        one.say.send(FromBus::Lost).await.expect("it runs");
        settle().await;
        assert_eq!(one.told.try_recv().ok(), None, "a notice is for the others");
        assert_eq!(memory.published(), ["p.s.a.~", "p.~"]);
    });
}

#[test]
fn what_waits_is_written_when_the_bus_ends() {
    scene(|memory, one, mut two| async move {
        two.want("a", true).await;
        settle().await;
        for number in 0..1000_u32 {
            one.publish("a", &number.to_be_bytes()).await;
        }
        let counts = one.counts.clone();
        drop(one.say);
        for number in 0..1000_u32 {
            let message = message("a", &number.to_be_bytes());
            assert_eq!(two.hear().await, ToBus::Message(message));
        }
        settle().await;
        assert_eq!(counts.published.load(Ordering::Relaxed), 1000);
        assert_eq!(
            memory.names(),
            ["p.s.a.~", "p.~", "p.~"],
            "its socket is the kernel's to close"
        );
    });
}
