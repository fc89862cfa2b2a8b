use std::sync::Arc;

use super::layout::{CLAIMED_AT, HEADER_WORDS, PUBLISHED_AT};
use super::*;
use crate::AtomicU64;
use crate::atomic::Ordering;
use crate::atomic::mortal::with_stores;
use crate::random::Random;

type Memory = Arc<[AtomicU64]>;

/// 128 words of data, records of at most 32 words.
const SMALL: Layout = Layout {
    capacity_bytes: 1024,
    record_bytes_max: 256,
    number: 7,
};

fn fresh(layout: Layout) -> Memory {
    let words = layout.memory_bytes() / 8;
    std::iter::repeat_with(AtomicU64::default)
        .take(words)
        .collect()
}

fn formatted(layout: Layout) -> Memory {
    let memory = fresh(layout);
    format(&memory, layout).expect("fresh memory");
    memory
}

/// A log with a writer, and a reader that has seen that the writer began.
fn pair(layout: Layout) -> (Memory, Writer<Memory>, Reader<Memory>) {
    let memory = formatted(layout);
    let mut reader = Reader::attach(memory.clone()).expect("a log");
    let writer = Writer::take_over(memory.clone()).expect("a log");
    assert_eq!(poll(&mut reader), Some(Met::Began(1)));
    (memory, writer, reader)
}

#[derive(Clone, Debug, PartialEq)]
enum Met {
    Began(u64),
    Gap(u64),
    Record(u64, u64, Vec<u8>, Vec<u8>),
}

fn poll(reader: &mut Reader<Memory>) -> Option<Met> {
    let mut buffer = RecordBuffer::new(reader.layout().record_bytes_max);
    let event = reader.poll(&mut buffer).expect("a log that is sound")?;
    Some(match event {
        Event::Began { epoch } => Met::Began(epoch),
        Event::Gap { records } => Met::Gap(records.get()),
        Event::Record(record) => {
            assert_eq!(record.kind, Kind::FRAME);
            let (topic, body) = (record.topic.to_vec(), record.body.to_vec());
            Met::Record(record.sequence, record.origin, topic, body)
        }
    })
}

fn text<'a>(topic: &'a [u8], body: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        kind: Kind::FRAME,
        origin: 42,
        topic,
        body,
    }
}

fn snapshot(memory: &Memory) -> Vec<u64> {
    memory
        .iter()
        .map(|word| word.load(Ordering::Relaxed))
        .collect()
}

#[test]
fn records_of_every_length_come_out_as_they_went_in() {
    let (_, mut writer, mut reader) = pair(SMALL);
    let bytes: Vec<u8> = (1..=255).collect();
    let mut sequence = 1;
    for topic_bytes in 0..=40 {
        for body_bytes in (0..=60).chain(170..=192) {
            let (topic, body) = (&bytes[..topic_bytes], &bytes[..body_bytes]);
            assert_eq!(writer.publish(&text(topic, body)), Ok(sequence));
            let expected = Met::Record(sequence, 42, topic.to_vec(), body.to_vec());
            assert_eq!(poll(&mut reader), Some(expected));
            assert_eq!(poll(&mut reader), None);
            sequence += 1;
        }
    }
}

#[test]
fn a_body_one_byte_above_the_limit_is_refused_and_nothing_is_published() {
    let (_, mut writer, mut reader) = pair(SMALL);
    assert_eq!(SMALL.body_bytes_max(5), 224);
    let refused = Err(Refusal::TooBig {
        bytes: 225,
        bytes_max: 224,
    });
    assert_eq!(writer.publish(&text(b"topic", &[1; 225])), refused);
    assert_eq!(poll(&mut reader), None);
    assert_eq!(writer.publish(&text(b"topic", &[1; 224])), Ok(1));
    let expected = Met::Record(1, 42, b"topic".to_vec(), vec![1; 224]);
    assert_eq!(poll(&mut reader), Some(expected));
}

#[test]
fn topics_that_leave_no_room_and_kinds_of_the_log_itself_are_refused() {
    let (_, mut writer, _) = pair(SMALL);
    let refused = |bytes| {
        Err(Refusal::TooBig {
            bytes,
            bytes_max: 0,
        })
    };
    assert_eq!(writer.publish(&text(&[1; 240], b"x")), refused(1));
    assert_eq!(writer.publish(&text(&[1; 240], b"")), refused(0));
    assert_eq!(
        writer.publish(&text(&[1; 65_536], b"")),
        Err(Refusal::TopicTooLong { bytes: 65_536 })
    );
    let mut began = text(b"", b"");
    began.kind = Kind(15);
    assert_eq!(writer.publish(&began), Err(Refusal::KindReserved(Kind(15))));
}

#[test]
fn an_overtaken_reader_counts_what_it_missed_and_goes_on_in_the_newer_half() {
    let (_, mut writer, mut reader) = pair(SMALL);
    // Records of 4 words: 32 fill the log.
    for number in 1..=1000_u64 {
        assert_eq!(
            writer.publish(&text(b"", &number.to_ne_bytes())),
            Ok(number)
        );
    }
    let Some(Met::Gap(missed)) = poll(&mut reader) else {
        panic!("no gap");
    };
    assert!(
        (983..=999).contains(&missed),
        "{missed}: more than half was lost"
    );
    for number in missed + 1..=1000 {
        let expected = Met::Record(number, 42, vec![], number.to_ne_bytes().to_vec());
        assert_eq!(poll(&mut reader), Some(expected));
    }
    assert_eq!(poll(&mut reader), None);
}

#[test]
fn records_and_gaps_add_up_whatever_the_order_of_writing_and_reading() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (_, mut writer, mut reader) = pair(SMALL);
        let mut sent: Vec<(Vec<u8>, Vec<u8>)> = vec![];
        let (mut next, mut gaps) = (0, 0);
        for _ in 0..600 {
            if random.below(3) < 2 {
                for _ in 0..random.below(20) {
                    let topic = vec![1; random.below(20)];
                    let body = vec![2; random.below(200)];
                    let sequence = writer.publish(&text(&topic, &body)).expect("it fits");
                    assert_eq!(sequence, sent.len() as u64 + 1);
                    sent.push((topic, body));
                }
            }
            for _ in 0..random.below(20) {
                match poll(&mut reader) {
                    Some(Met::Record(sequence, 42, topic, body)) => {
                        assert_eq!(sequence, next as u64 + 1, "seed {seed}");
                        assert_eq!((topic, body), sent[next], "seed {seed}");
                        next += 1;
                    }
                    Some(Met::Gap(missed)) => {
                        next += usize::try_from(missed).expect("a small number");
                        gaps += 1;
                    }
                    None => assert_eq!(next, sent.len(), "seed {seed}"),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(gaps > 0, "seed {seed} overtook nobody");
    }
}

#[test]
fn a_writer_killed_before_any_store_leaves_a_log_that_is_never_misread() {
    let mut kills = 0;
    // The lengths before decide where the last record lies: in the middle, at the end of the data, behind a padding.
    for before in 0..40_usize {
        for last in [0, 8, 100, 200] {
            let mut stores = 0;
            loop {
                let (memory, mut writer, mut reader) = pair(SMALL);
                let mut lagging = Reader::attach(memory.clone()).expect("a log");
                for _ in 0..before {
                    writer.publish(&text(b"t", &[9; 40])).expect("it fits");
                }
                while poll(&mut reader).is_some() {}
                let mut sequence = reader.sequence();
                let ended = with_stores(stores, || {
                    let _ = writer.publish(&text(b"topic", &vec![7; last]));
                });
                drop(writer);
                // Committed or not: the reader sees all of it or nothing.
                if let Some(met) = poll(&mut reader) {
                    assert_eq!(
                        met,
                        Met::Record(sequence, 42, b"topic".to_vec(), vec![7; last])
                    );
                    sequence += 1;
                }
                goes_on(memory, &mut reader, &mut lagging, sequence);
                if ended {
                    break;
                }
                (stores, kills) = (stores + 1, kills + 1);
            }
        }
    }
    assert!(kills > 2000, "{kills}");
}

/// A new writer takes over; a reader at the end and one that lags both go on with it.
fn goes_on(
    memory: Memory,
    reader: &mut Reader<Memory>,
    lagging: &mut Reader<Memory>,
    sequence: u64,
) {
    let mut writer = Writer::take_over(memory).expect("a log that is sound");
    assert_eq!(writer.epoch(), 2);
    assert_eq!(writer.publish(&text(b"n", b"ew")), Ok(sequence + 1));
    assert_eq!(poll(reader), Some(Met::Began(2)));
    let expected = Met::Record(sequence + 1, 42, b"n".to_vec(), b"ew".to_vec());
    assert_eq!(poll(reader), Some(expected.clone()));
    assert_eq!(poll(reader), None);
    let mut next = 1;
    while next < sequence {
        match poll(lagging).expect("there is more") {
            Met::Gap(missed) => next += missed,
            Met::Record(at, ..) => {
                assert_eq!(at, next);
                next += 1;
            }
            Met::Began(epoch) => panic!("{epoch} at {next}"),
        }
    }
    assert_eq!(poll(lagging), Some(Met::Began(2)));
    assert_eq!(poll(lagging), Some(expected));
}

#[test]
fn a_writer_killed_while_it_takes_over_is_followed_by_another() {
    for stores in 0.. {
        let (memory, mut writer, mut reader) = pair(SMALL);
        writer.publish(&text(b"t", b"one")).expect("it fits");
        let ended = with_stores(stores, || {
            Writer::take_over(memory.clone()).expect("a log that is sound");
        });
        let mut writer = Writer::take_over(memory).expect("a log that is sound");
        writer.publish(&text(b"t", b"two")).expect("it fits");
        let mut met: Vec<Met> = std::iter::from_fn(|| poll(&mut reader)).collect();
        let last = met.pop().expect("the last record");
        assert!(matches!(last, Met::Record(_, 42, _, body) if body == b"two"));
        assert!(matches!(&met[0], Met::Record(1, 42, _, body) if body == b"one"));
        assert_eq!(met.last(), Some(&Met::Began(writer.epoch())));
        if ended {
            assert_eq!(met.len(), 3);
            assert!(stores > 5);
            return;
        }
    }
}

#[test]
fn a_writer_that_was_replaced_by_mistake_publishes_nothing_more() {
    let (memory, mut writer, _) = pair(SMALL);
    let mut other = Writer::take_over(memory).expect("a log");
    assert_eq!(writer.publish(&text(b"", b"")), Err(Refusal::Deposed));
    assert_eq!(other.publish(&text(b"", b"")), Ok(2));
}

#[test]
fn a_reader_stores_nothing() {
    let (memory, mut writer, mut reader) = pair(SMALL);
    let mut late = None;
    for number in 0..200 {
        writer.publish(&text(b"topic", &[1; 33])).expect("it fits");
        let before = snapshot(&memory);
        if number % 50 == 0 {
            late = Some(Reader::attach(memory.clone()).expect("a log"));
        } else if number % 3 == 0 {
            poll(&mut reader);
        } else if let Some(late) = &mut late {
            poll(late);
        }
        assert_eq!(snapshot(&memory), before);
    }
}

#[test]
fn a_reader_that_comes_late_begins_with_the_next_record() {
    let (memory, mut writer, _) = pair(SMALL);
    for _ in 0..77 {
        writer.publish(&text(b"t", &[9; 40])).expect("it fits");
    }
    let mut late = Reader::attach(memory).expect("a log");
    assert!(!late.has_news());
    assert_eq!(poll(&mut late), None);
    writer.publish(&text(b"", b"x")).expect("it fits");
    assert!(late.has_news());
    assert_eq!(
        poll(&mut late),
        Some(Met::Record(78, 42, vec![], b"x".to_vec()))
    );
    assert!(!late.has_news());
}

#[test]
fn memory_that_is_no_log_is_refused() {
    let spoiled = |at: usize, value: u64| {
        let memory = formatted(SMALL);
        memory[at].store(value, Ordering::Relaxed);
        let fault = Reader::attach(memory.clone()).map(drop);
        assert_eq!(Writer::take_over(memory).map(drop), fault);
        fault.expect_err("it is spoiled")
    };
    assert_eq!(spoiled(0, 0), Fault::MagicWrong(0));
    assert_eq!(spoiled(1, 2), Fault::VersionUnknown(2));
    assert_eq!(spoiled(2, 127), Fault::CapacityInvalid(1016));
    assert_eq!(spoiled(2, u64::MAX), Fault::CapacityInvalid(u64::MAX));
    assert_eq!(
        spoiled(2, 1 << 20),
        Fault::SizeWrong {
            words: 160,
            expected: (1 << 20) + 32
        }
    );
    assert_eq!(spoiled(3, 64), Fault::RecordMaxInvalid(512));
    assert_eq!(spoiled(3, 31), Fault::RecordMaxInvalid(248));
    assert_eq!(spoiled(4, 1 << 32), Fault::NumberInvalid);
    assert_eq!(spoiled(PUBLISHED_AT, 3), Fault::Corrupt);
    let small: Memory = fresh(SMALL)[..31]
        .iter()
        .map(|_| AtomicU64::default())
        .collect();
    assert_eq!(Reader::attach(small).map(drop), Err(Fault::TooSmall));
}

#[test]
fn a_log_is_made_once_and_of_possible_sizes() {
    let memory = formatted(SMALL);
    assert_eq!(format(&memory, SMALL), Err(Fault::NotFresh));
    let with = |capacity_bytes, record_bytes_max| Layout {
        capacity_bytes,
        record_bytes_max,
        number: 0,
    };
    let memory = fresh(SMALL);
    let refused = |layout| format(&memory, layout).expect_err("not possible");
    assert_eq!(refused(with(1000, 128)), Fault::CapacityInvalid(1000));
    assert_eq!(refused(with(128, 32)), Fault::CapacityInvalid(128));
    assert_eq!(refused(with(1024, 272)), Fault::RecordMaxInvalid(272));
    assert_eq!(refused(with(1024, 32)), Fault::RecordMaxInvalid(32));
    assert_eq!(
        refused(with(2048, 256)),
        Fault::SizeWrong {
            words: 160,
            expected: 288
        }
    );
    assert_eq!(Layout::new(3).memory_bytes(), 4_194_560);
    assert_eq!(Layout::new(3).body_bytes_max(10), 524_248);
}

/// Whatever another process stores: a reader ends, stays inside its memory, and delivers records within their limits.
#[test]
fn words_stored_by_a_madman_harm_no_reader_and_no_new_writer() {
    for seed in 0..3000 {
        let mut random = Random(seed);
        let (memory, mut writer, mut reader) = pair(SMALL);
        let mut buffer = RecordBuffer::new(256);
        for _ in 0..random.below(60) {
            writer
                .publish(&text(b"t", &vec![3; random.below(100)]))
                .expect("it fits");
        }
        for _ in 0..1 + random.below(4) {
            // The header's constants were read before; everything else may change.
            let at = match random.below(3) {
                0 => *random.pick(&[CLAIMED_AT, PUBLISHED_AT, 24, 25, 26, 31]),
                _ => HEADER_WORDS + random.below(128),
            };
            let near = memory[PUBLISHED_AT].load(Ordering::Relaxed);
            let value = match random.below(5) {
                0 => random.next(),
                1 => 1,
                2 => near.wrapping_add(random.next() % 300).wrapping_sub(150),
                3 => random.next() & 0xffff_00ff_ffff,
                _ => u64::MAX - random.next() % 300,
            };
            memory[at].store(value, Ordering::Relaxed);
            for _ in 0..20 {
                match reader.poll(&mut buffer) {
                    Ok(Some(Event::Record(record))) => {
                        assert!(record.topic.len() + record.body.len() <= 232);
                    }
                    Ok(_) => {}
                    Err(Corrupt) => break,
                }
            }
        }
        reader.has_news();
        if let Ok(mut late) = Reader::attach(memory.clone()) {
            let _ = late.poll(&mut buffer);
        }
        if let Ok(mut writer) = Writer::take_over(memory) {
            for _ in 0..50 {
                writer.publish(&text(b"t", &[3; 100])).expect("it fits");
            }
        }
    }
}
