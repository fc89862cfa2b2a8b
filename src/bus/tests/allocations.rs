//! After the start, logs and doorbells allocate nothing.

use std::sync::Arc;

use allocation_counter::measure;
use ringway_bus::AtomicU64;
use ringway_bus::doorbell::{self, Bells, Sleeper};
use ringway_bus::log::{self, Event, Kind, Layout, Outgoing, Reader, RecordBuffer, Writer};

fn memory(bytes: usize) -> Arc<[AtomicU64]> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn publishing_reading_sleeping_and_ringing_allocate_nothing() {
    let layout = Layout {
        capacity_bytes: 64 << 10,
        record_bytes_max: 4 << 10,
        number: 0,
    };
    let memory_of_log = memory(layout.memory_bytes());
    log::format(&memory_of_log, layout).expect("fresh memory");
    let mut reader = Reader::attach(memory_of_log.clone()).expect("a log");
    let mut lagging = Reader::attach(memory_of_log.clone()).expect("a log");
    let mut writer = Writer::take_over(memory_of_log).expect("a log");
    let words = memory(doorbell::memory_bytes(2));
    doorbell::format(&words, 2).expect("fresh memory");
    let bells = Bells::attach(words).expect("bells");
    let mut sleeper = Sleeper::new(bells.clone(), 0).expect("a bell");
    let mut buffer = RecordBuffer::new(layout.record_bytes_max);
    let body = [7; 3000];
    let (mut read, mut gaps) = (0, 0);
    let info = measure(|| {
        for number in 0..2000 {
            let record = Outgoing {
                kind: Kind::BINARY,
                origin: number,
                topic: b"prices/eur",
                body: &body[..body.len() - usize::try_from(number).expect("small")],
            };
            sleeper.fall_asleep(|| reader.has_news());
            writer.publish(&record).expect("it fits");
            bells.ring(Some(1), |_| Ok::<(), ()>(()));
            sleeper.wake();
            while let Ok(Some(event)) = reader.poll(&mut buffer) {
                read += u32::from(matches!(event, Event::Record(_)));
            }
            if number % 100 == 0 {
                let event = lagging.poll(&mut buffer);
                gaps += u32::from(matches!(event, Ok(Some(Event::Gap { .. }))));
            }
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(read, 2000);
    assert!(gaps > 5, "{gaps}");
}
