//! After the start, logs and doorbells allocate nothing, and a station nothing for a delivery.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use ringway_bus::AtomicU64;
use ringway_bus::doorbell::{self, Bells, Sleeper};
use ringway_bus::history::Weight;
use ringway_bus::log::{
    self, Event, Kind, Layout, Outgoing, Reader, RecordBuffer, Refusal, Writer,
};
use ringway_bus::rights::Rights;
use ringway_bus::station::{Form, Options, Outlet, Sent, Station};

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
                kind: Kind::FRAME,
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

/// An outlet without memory of its own.
#[derive(Default)]
struct Counting {
    sent: u64,
}

#[derive(Clone)]
struct Reference(usize);

impl Weight for Reference {
    fn bytes(&self) -> usize {
        self.0
    }
}

impl Outlet for Counting {
    type Message = Reference;

    fn prepare(&mut self, _form: Form, event: &[u8]) -> Reference {
        Reference(event.len())
    }

    fn send(&mut self, _client: u64, _message: &Reference) -> Sent {
        self.sent += 1;
        Sent::Taken
    }

    fn publish(&mut self, _body: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn close(&mut self, _client: u64, _code: u16, _reason: &str) {
        unreachable!("nobody is slow");
    }
}

#[test]
fn a_message_takes_one_allocation_however_many_subscribers_it_has() {
    let mut station = Station::new(Options::new(0, 1), 1);
    let rights = Arc::new(Rights::new(&["#"], &["#"]).expect("patterns"));
    let mut outlet = Counting::default();
    let now = Duration::from_secs(1);
    let mut ask = |station: &mut Station<Reference>, client, text: &str| {
        let text = text.as_bytes();
        station.handle_request(now, client, Form::Text, text, &mut outlet);
    };
    for client in 0..1000 {
        station.open(client, rights.clone());
        ask(&mut station, client, r#"{"op":"subscribe","topic":"a/b"}"#);
    }
    let publish = r#"{"op":"publish","id":1,"topic":"a/b","data":{"price":1.25}}"#;
    // The tables of the history have their room when it is full.
    (0..200).for_each(|_| ask(&mut station, 1, publish));
    let info = measure(|| (0..100).for_each(|_| ask(&mut station, 1, publish)));
    assert_eq!(info.count_total, 100);
    assert_eq!(station.counts().deliveries, 300_000);
    assert_eq!(outlet.sent, 300_300);
}
