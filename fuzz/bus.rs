//! What the fuzz targets of the bus do with their input. `src/bus/tests/fuzz_seeds.rs` runs the same over the seeds.

use std::sync::Arc;
use std::time::Duration;

use ringway_bus::history::Weight;
use ringway_bus::log::Refusal;
use ringway_bus::pubsub::{ErrorCode, EventReader, Limits, Payload, Request, binary, json};
use ringway_bus::rights::Rights;
use ringway_bus::station::record::Record;
use ringway_bus::station::{Form, Options, Outlet, Sent, Station};
use ringway_bus::topics::{Limits as TopicLimits, Pattern, Topic, Topics};

/// A request as JSON text: what is read can be written and read again, and another parser sees the same value in it.
pub fn pubsub_json(data: &[u8]) {
    let limits = Limits {
        request_bytes_max: 4096,
        depth_max: 32,
    };
    let mut reader = json::Reader::new(limits);
    let request = match reader.read(data) {
        Ok(request) => request,
        Err(refused) => {
            assert!(data.len() <= 4096 || refused.fault.code() == ErrorCode::TooBig);
            return;
        }
    };
    if let Request::Publish {
        payload: Payload::Json(value),
        ..
    } = request
    {
        assert!(value.len() <= data.len());
        // Numbers that do not fit into a double are refused by the judge alone.
        if let Ok(whole) = serde_json::from_slice::<serde_json::Value>(data) {
            let value: serde_json::Value = serde_json::from_str(value).expect("a part of it");
            assert_eq!(value, whole["data"]);
        }
    }
    let mut text = String::new();
    json::encode_request(&request, &mut text);
    assert_eq!(json::Reader::new(limits).read(text.as_bytes()), Ok(request));
}

/// A request in the binary layout: what is read encodes to the same bytes, and no part of it but the data may be missing.
pub fn pubsub_binary(data: &[u8]) {
    let limits = Limits::default();
    let Ok(request) = binary::read(&limits, data) else {
        return;
    };
    let mut out = vec![];
    binary::encode_request(&request, &mut out);
    assert_eq!(out, data);
    let fixed = match request {
        Request::Publish {
            payload: Payload::Bytes(data),
            ..
        } => out.len() - data.len(),
        _ => out.len(),
    };
    for cut in 0..fixed {
        assert!(binary::read(&limits, &data[..cut]).is_err(), "cut at {cut}");
    }
}

/// A pattern and a topic, one per line: the table finds the subscriber exactly if the pattern matches, and a pattern that covers another
/// matches what that one matches.
pub fn topics(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let patterns = (Pattern::parse(line()), Pattern::parse(line()));
    let ((Ok(one), Ok(two)), Ok(topic)) = (patterns, Topic::parse(line())) else {
        return;
    };
    let mut topics = Topics::new(TopicLimits::default());
    let mut expected = vec![];
    for (number, pattern) in [(1, one), (2, two)] {
        topics
            .subscribe(number, pattern)
            .expect("two are below the limits");
        if pattern.matches(topic) {
            expected.push(number);
        }
    }
    let mut found = vec![];
    topics.publish(topic, |number| found.push(number));
    found.sort_unstable();
    assert_eq!(found, expected);
    if one.covers(two) && two.matches(topic) {
        assert!(one.matches(topic));
    }
    topics.remove(1, |_| {});
    topics.remove(2, |_| {});
    assert!(topics.is_empty());
}

/// A record of another worker, whose number is the first byte, and the same again: what is read encodes to the same bytes, every event
/// that comes of it can be read, and no message comes twice.
pub fn station(data: &[u8]) {
    let Some((from, body)) = data.split_first() else {
        return;
    };
    let record = Record::decode(body);
    if let Some(record) = record {
        let mut out = vec![];
        record.encode(&mut out);
        assert_eq!(out, body);
    }
    let mut options = Options::new(0, 2);
    options.history.bytes_max = 10_000;
    let mut station = Station::new(options, 1);
    let rights = Arc::new(Rights::new(&["#"], &["#", "$s/#"]).expect("patterns"));
    let mut events = Events::default();
    for (client, form) in [(1, Form::Text), (2, Form::Binary)] {
        station.open(client, rights.clone());
        for pattern in ["#", "a", "$s/#"] {
            let mut request = vec![];
            let pattern = Pattern::parse(pattern).expect("a pattern");
            let (id, since) = (None, None);
            let subscribe = Request::Subscribe { id, pattern, since };
            binary::encode_request(&subscribe, &mut request);
            let text = format!(r#"{{"op":"subscribe","topic":"{}"}}"#, pattern.as_str());
            let bytes = match form {
                Form::Text => text.as_bytes(),
                Form::Binary => &request,
            };
            station.handle_request(Duration::ZERO, client, form, bytes, &mut events);
        }
    }
    for _ in 0..2 {
        station.handle_record(Duration::ZERO, usize::from(*from), body, &mut events);
    }
    station.handle_timeout(Duration::from_secs(600), &mut events);
    let counts = station.counts();
    assert!(record.is_some() || *from == 0 || counts.records_invalid == 2);
    // A publish is taken twice, a message once.
    let is_publish = matches!(record, Some(Record::Publish { .. }));
    assert!(counts.deliveries <= if is_publish { 4 } else { 2 });
}

/// Looks at every event, and takes all.
#[derive(Default)]
struct Events(EventReader);

#[derive(Clone)]
struct Seen(usize);

impl Weight for Seen {
    fn bytes(&self) -> usize {
        self.0
    }
}

impl Outlet for Events {
    type Message = Seen;

    fn prepare(&mut self, form: Form, event: &[u8]) -> Seen {
        let is_read = match form {
            Form::Text => std::str::from_utf8(event).is_ok_and(|text| self.0.read(text).is_some()),
            Form::Binary => binary::read_event(event).is_some(),
        };
        assert!(is_read);
        Seen(event.len())
    }

    fn send(&mut self, _client: u64, _message: &Seen) -> Sent {
        Sent::Taken
    }

    fn publish(&mut self, body: &[u8]) -> Result<(), Refusal> {
        assert!(Record::decode(body).is_some());
        Ok(())
    }

    fn close(&mut self, _client: u64, _code: u16, _reason: &str) {
        unreachable!("nobody is slow");
    }
}

/// An event in either form, as clients read it: what is read and written again is read as the same.
pub fn pubsub_event(data: &[u8]) {
    if let Some(event) = binary::read_event(data) {
        let mut out = vec![];
        binary::encode_event(&event, &mut out);
        assert_eq!(out, data);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut reader = EventReader::new();
    if let Some(event) = reader.read(text) {
        let mut out = String::new();
        json::encode_event(&event, &mut out);
        assert_eq!(EventReader::new().read(&out), Some(event));
    }
}
