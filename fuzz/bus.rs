//! What the fuzz targets of the bus do with their input. `src/bus/tests/fuzz_seeds.rs` runs the same over the seeds.

use ringway_bus::pubsub::{ErrorCode, Limits, Payload, Request, binary, json};
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
