//! Long random schedules, with more records and threads than loom can try:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p ringway-bus --lib --release`.

use std::sync::Arc;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::*;
use crate::AtomicU64;
use crate::doorbell::{self, Bells, Sleep, Sleeper};

type Memory = Arc<[AtomicU64]>;
type Eventfd = Arc<(Mutex<bool>, Condvar)>;

const TINY: Layout = Layout {
    capacity_bytes: 512,
    record_bytes_max: 128,
    number: 0,
};

fn memory(words: usize) -> Memory {
    std::iter::repeat_with(|| AtomicU64::new(0))
        .take(words)
        .collect()
}

/// Two writers, each killed and replaced once, and two readers that sleep whenever they have read everything. A lost wake-up is a
/// deadlock, which shuttle reports.
#[test]
fn sleepers_read_all_records_of_two_writers_or_count_them_as_missed() {
    shuttle::check_random(
        || {
            let logs: Vec<Memory> = (0..2).map(|_| memory(TINY.memory_bytes() / 8)).collect();
            for log in &logs {
                format(log, TINY).expect("fresh memory");
            }
            let words = memory(doorbell::memory_bytes(2) / 8);
            doorbell::format(&words, 2).expect("fresh memory");
            let bells = Bells::attach(words).expect("bells");
            let eventfds: Vec<Eventfd> = (0..2).map(|_| Eventfd::default()).collect();
            let mut threads = vec![];
            for own in 0..2 {
                let readers: Vec<_> = logs
                    .iter()
                    .map(|log| Reader::attach(log.clone()).unwrap())
                    .collect();
                let sleeper = Sleeper::new(bells.clone(), own).expect("a bell");
                let eventfd = eventfds[own].clone();
                threads.push(thread::spawn(move || read_all(readers, sleeper, &eventfd)));
            }
            for log in logs {
                let (bells, eventfds) = (bells.clone(), eventfds.clone());
                threads.push(thread::spawn(move || write_all(&log, &bells, &eventfds)));
            }
            for thread in threads {
                thread.join().unwrap();
            }
        },
        3000,
    );
}

/// Records of a writer, the two that say that a writer began among them.
const RECORDS: u64 = 14;

fn write_all(log: &Memory, bells: &Bells<Memory>, eventfds: &[Eventfd]) {
    let mut sent = 0;
    while sent < RECORDS {
        let mut writer = Writer::take_over(log.clone()).expect("a log");
        ring(|ring| bells.ring_all(None, ring), eventfds);
        sent += 1;
        for _ in 0..RECORDS / 2 - 1 {
            let number = sent.to_ne_bytes();
            let body = number.repeat(1 + usize::try_from(sent % 4).unwrap());
            let record = Outgoing {
                kind: Kind::FRAME,
                origin: sent,
                topic: &[],
                body: &body,
            };
            assert_eq!(writer.publish(&record), Ok(sent));
            ring(|ring| bells.ring(None, ring), eventfds);
            sent += 1;
        }
    }
}

fn ring(
    by: impl FnOnce(&mut dyn FnMut(usize) -> Result<(), ()>) -> doorbell::Rings,
    eventfds: &[Eventfd],
) {
    by(&mut |reader| {
        *eventfds[reader].0.lock().unwrap() = true;
        eventfds[reader].1.notify_one();
        Ok(())
    });
}

fn read_all(mut readers: Vec<Reader<Memory>>, mut sleeper: Sleeper<Memory>, eventfd: &Eventfd) {
    let mut buffer = RecordBuffer::new(TINY.record_bytes_max);
    while readers.iter().any(|reader| reader.sequence() < RECORDS) {
        for reader in &mut readers {
            loop {
                let before = reader.sequence();
                match reader.poll(&mut buffer).expect("the log is sound") {
                    None => break,
                    Some(Event::Gap { records }) => {
                        assert_eq!(before + records.get(), reader.sequence())
                    }
                    Some(Event::Began { epoch }) => assert!(epoch == 1 || epoch == 2),
                    Some(Event::Record(record)) => {
                        assert_eq!((record.sequence, record.origin), (before, before));
                        let times = 1 + usize::try_from(before % 4).unwrap();
                        assert_eq!(record.body, before.to_ne_bytes().repeat(times));
                    }
                }
            }
        }
        if readers.iter().all(|reader| reader.sequence() == RECORDS) {
            return;
        }
        if sleeper.fall_asleep(|| readers.iter().any(Reader::has_news)) == Sleep::Asleep {
            let mut rung = eventfd.0.lock().unwrap();
            while !*rung {
                rung = eventfd.1.wait(rung).unwrap();
            }
            *rung = false;
            sleeper.wake();
        }
    }
}
