//! Every interleaving of a writer with readers, and every older value that a relaxed load may return:
//! `RUSTFLAGS="--cfg loom" cargo test -p ringway-bus --lib --release`.

use std::sync::Arc;

use loom::sync::atomic::{
    AtomicU64 as Eventfd,
    Ordering::{AcqRel, Relaxed},
};
use loom::thread;

use super::*;
use crate::AtomicU64;
use crate::doorbell::{self, Bells, Sleep, Sleeper};

type Memory = Arc<[AtomicU64]>;

/// 32 words: eight records without a body, or five with one of 16 bytes.
const TINY: Layout = Layout {
    capacity_bytes: 256,
    record_bytes_max: 64,
    number: 0,
};

fn memory(words: usize) -> Memory {
    std::iter::repeat_with(|| AtomicU64::new(0))
        .take(words)
        .collect()
}

/// A log whose next records are numbered from `before + 1`; the reader has read none of them.
fn pair(before: u64) -> (Writer<Memory>, Reader<Memory>) {
    let (_, writer, reader) = log(before);
    (writer, reader)
}

fn log(before: u64) -> (Memory, Writer<Memory>, Reader<Memory>) {
    let memory = memory(TINY.memory_bytes() / 8);
    format(&memory, TINY).expect("fresh memory");
    let mut writer = Writer::take_over(memory.clone()).expect("a log");
    let reader = Reader::attach(memory.clone()).expect("a log");
    for number in 1..=before {
        publish(&mut writer, number);
    }
    (memory, writer, reader)
}

/// A record whose body says three times which one it is.
fn publish(writer: &mut Writer<Memory>, number: u64) {
    let record = Outgoing {
        kind: Kind::FRAME,
        origin: number,
        topic: &[],
        body: &[number.to_ne_bytes(), number.to_ne_bytes()].concat(),
    };
    assert_eq!(writer.publish(&record), Ok(number));
}

/// Polls until nothing is there; returns what was read and what was missed. No record may be torn or come out of order.
fn drain(reader: &mut Reader<Memory>) -> (u64, u64) {
    let mut buffer = RecordBuffer::new(TINY.record_bytes_max);
    let (mut read, mut missed) = (0, 0);
    loop {
        let before = reader.sequence();
        match reader.poll(&mut buffer).expect("the log is sound") {
            None => return (read, missed),
            Some(Event::Gap { records }) => missed += records.get(),
            Some(Event::Record(record)) => {
                let number = record.sequence.to_ne_bytes();
                assert_eq!(record.sequence, before);
                assert_eq!(record.origin, record.sequence);
                assert_eq!(record.body, [number, number].concat());
                read += 1;
            }
            Some(Event::Began { .. }) => panic!("it began before"),
        }
    }
}

#[test]
fn a_reader_sees_records_whole_and_in_order_while_they_are_written() {
    loom::model(|| {
        let (mut writer, mut reader) = pair(0);
        let reading = thread::spawn(move || {
            let (read, missed) = drain(&mut reader);
            assert_eq!(missed, 0);
            (read, reader)
        });
        publish(&mut writer, 1);
        publish(&mut writer, 2);
        let (read, mut reader) = reading.join().unwrap();
        assert_eq!(drain(&mut reader), (2 - read, 0));
    });
}

/// The log is full when the threads begin: the next record is written over the one that the reader reads.
#[test]
fn an_overtaken_reader_takes_no_torn_record_and_its_gap_is_exact() {
    for before in [4, 5, 6] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let (mut writer, mut reader) = pair(before);
            let reading = thread::spawn(move || (drain(&mut reader), reader));
            publish(&mut writer, before + 1);
            let ((read, missed), mut reader) = reading.join().unwrap();
            let (rest, late) = drain(&mut reader);
            assert_eq!(read + missed + rest + late, before + 1);
        });
    }
}

#[test]
fn two_readers_and_a_reader_that_comes_late_read_the_same() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let (memory, mut writer, mut reader) = log(4);
        let mut late = Reader::attach(memory).expect("a log");
        assert_eq!(late.sequence(), 5);
        let one = thread::spawn(move || (drain(&mut reader), reader));
        let two = thread::spawn(move || (drain(&mut late), late));
        publish(&mut writer, 5);
        let ((read, missed), mut reader) = one.join().unwrap();
        let (rest, after) = drain(&mut reader);
        assert_eq!(read + missed + rest + after, 5);
        let ((read, missed), mut late) = two.join().unwrap();
        assert_eq!((read + drain(&mut late).0, missed), (1, 0));
    });
}

#[test]
fn a_reader_attaches_while_a_record_is_written() {
    loom::model(|| {
        let (memory, mut writer, _) = log(4);
        let attaching = thread::spawn(move || {
            let mut late = Reader::attach(memory).expect("a log");
            let from = late.sequence();
            let (read, missed) = drain(&mut late);
            assert_eq!(missed, 0);
            (from + read, late)
        });
        publish(&mut writer, 5);
        let (next, mut late) = attaching.join().unwrap();
        assert!(next == 5 || next == 6);
        assert_eq!(drain(&mut late), (6 - next, 0));
    });
}

/// A reader that sleeps although there is a record was rung for.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let (mut writer, mut reader) = pair(0);
        let (bells, mut sleeper) = bells();
        let eventfd = Arc::new(Eventfd::new(0));
        let sleeping = thread::spawn(move || {
            drain(&mut reader);
            let sleep = sleeper.fall_asleep(|| reader.has_news());
            (sleep, reader)
        });
        publish(&mut writer, 1);
        ring(&bells, &eventfd);
        let (sleep, reader) = sleeping.join().unwrap();
        let rung = eventfd.load(Relaxed) > 0;
        assert!(sleep == Sleep::Awake || !reader.has_news() || rung);
    });
}

/// The reader sleeps twice, so that the mark of a first ring may come late.
#[test]
fn no_wake_up_is_lost_when_the_reader_sleeps_again() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(|| {
        let (mut writer, mut reader) = pair(0);
        let (bells, mut sleeper) = bells();
        let eventfd = Arc::new(Eventfd::new(0));
        let seen = eventfd.clone();
        let sleeping = thread::spawn(move || {
            let mut sleep = sleeper.fall_asleep(|| reader.has_news());
            // Woken by the eventfd, which is read and so set to zero; or by something else.
            seen.swap(0, AcqRel);
            if sleep == Sleep::Asleep {
                sleeper.wake();
            }
            drain(&mut reader);
            sleep = sleeper.fall_asleep(|| reader.has_news());
            (sleep, reader)
        });
        for number in 1..=2 {
            publish(&mut writer, number);
            ring(&bells, &eventfd);
        }
        let (sleep, reader) = sleeping.join().unwrap();
        let rung = eventfd.load(Relaxed) > 0;
        assert!(sleep == Sleep::Awake || !reader.has_news() || rung);
    });
}

#[test]
fn no_wake_up_is_lost_between_two_writers() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (mut one, mut first) = pair(0);
        let (mut two, mut second) = pair(0);
        let (bells, mut sleeper) = bells();
        let eventfd = Arc::new(Eventfd::new(0));
        let (other_bells, other_eventfd) = (bells.clone(), eventfd.clone());
        let other = thread::spawn(move || {
            publish(&mut two, 1);
            ring(&other_bells, &other_eventfd);
        });
        let sleeping = thread::spawn(move || {
            drain(&mut first);
            drain(&mut second);
            let sleep = sleeper.fall_asleep(|| first.has_news() || second.has_news());
            (sleep, first, second)
        });
        publish(&mut one, 1);
        ring(&bells, &eventfd);
        other.join().unwrap();
        let (sleep, first, second) = sleeping.join().unwrap();
        let rung = eventfd.load(Relaxed) > 0;
        let waits = first.has_news() || second.has_news();
        assert!(sleep == Sleep::Awake || !waits || rung);
    });
}

fn bells() -> (Bells<Memory>, Sleeper<Memory>) {
    let words = memory(doorbell::memory_bytes(1) / 8);
    doorbell::format(&words, 1).expect("fresh memory");
    let bells = Bells::attach(words).expect("bells");
    let sleeper = Sleeper::new(bells.clone(), 0).expect("a bell");
    (bells, sleeper)
}

fn ring(bells: &Bells<Memory>, eventfd: &Eventfd) {
    bells.ring(None, |_| {
        eventfd.fetch_add(1, AcqRel);
        Ok::<(), ()>(())
    });
}
