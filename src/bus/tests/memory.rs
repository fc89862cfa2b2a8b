//! The memory that the documentation states for each limit, against what the allocator is asked for.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use ringway_bus::history::{History, Limits as HistoryLimits, Retain};
use ringway_bus::log::Refusal;
use ringway_bus::pubsub::{Limits, json};
use ringway_bus::queue::{Limits as QueueLimits, Policy, Queue};
use ringway_bus::rights::Rights;
use ringway_bus::station::{Form, Options, Outlet, Sent, Station};
use ringway_bus::topics::{Limits as TopicLimits, Pattern, Topic, Topics};

/// Bytes that `make` leaves allocated in what it returns.
fn kept<T>(make: impl FnOnce() -> T) -> u64 {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    drop(made);
    u64::try_from(info.bytes_current).expect("it keeps something")
}

/// The worst requests: numbers of one digit, empty arrays, one long string, base64.
#[test]
fn a_reader_of_json_keeps_at_most_forty_times_its_largest_request() {
    let limits = Limits::default();
    let room = limits.request_bytes_max - 64;
    let request = |data: &str| format!(r#"{{"op":"publish","topic":"t","data":{data}}}"#);
    let texts = [
        request(&format!("[{}1]", "1,".repeat(room / 2))),
        request(&format!("[{}[]]", "[],".repeat(room / 3 - 1))),
        request(&format!("\"{}\"", "x".repeat(room))),
        format!(
            r#"{{"op":"publish","topic":"t","base64":"{}"}}"#,
            "AAAA".repeat(room / 4)
        ),
    ];
    let bytes = kept(|| {
        let mut reader = json::Reader::new(limits);
        for text in &texts {
            reader.read(text.as_bytes()).expect("within the limits");
        }
        reader
    });
    println!("a reader of JSON keeps {bytes} bytes");
    assert!(bytes < 40 * (256 << 10), "{bytes}");
}

#[test]
fn topics_and_subscriptions_take_what_is_stated() {
    let name = |number: u64| format!("prices/{number:06}/x");
    let names: Vec<String> = (0..20_000).map(name).collect();
    let build = |subscribers: u64| {
        kept(|| {
            let mut topics = Topics::new(TopicLimits::default());
            for (number, name) in (0..).zip(&names) {
                let pattern = Pattern::parse(name).expect("a pattern");
                for subscriber in 0..subscribers {
                    let subscriber = number % 1000 + subscriber * 1000;
                    topics
                        .subscribe(subscriber, pattern)
                        .expect("below the limits");
                }
            }
            topics
        })
    };
    let (one, five) = (build(1), build(5));
    let each = (five - one) / (4 * 20_000);
    let topic = one / 20_000 - each;
    println!("a topic takes {topic} bytes, a subscription {each}");
    assert!(each <= 120, "{each}");
    assert!(topic <= 200 + 2 * 15, "{topic}");
}

#[test]
fn patterns_with_wildcards_take_what_is_stated_for_each_segment() {
    let name = |number: u64| format!("a/{number:06}/+");
    let names: Vec<String> = (0..20_000).map(name).collect();
    let bytes = kept(|| {
        let mut topics = Topics::new(TopicLimits::default());
        for (number, name) in (0..).zip(&names) {
            let pattern = Pattern::parse(name).expect("a pattern");
            topics
                .subscribe(number % 1000, pattern)
                .expect("below the limits");
        }
        topics
    });
    let each = bytes / 20_000;
    println!("a pattern with two new segments takes {each} bytes with its subscription");
    assert!(each <= 200 + 2 * 10 + 120 + 2 * 350, "{each}");
}

#[test]
fn a_history_takes_no_more_than_it_counts() {
    let name = |number: u64| format!("prices/{number:06}/x");
    let names: Vec<String> = (0..500).map(name).collect();
    let mut counted = 0;
    let bytes = kept(|| {
        let mut history = History::new(HistoryLimits::default(), 1);
        for round in 0..40 {
            for name in &names {
                let message: Arc<[u8]> = vec![7; 100].into();
                let topic = Topic::parse(name).expect("a topic");
                let retain = if round % 2 == 0 {
                    Retain::Yes
                } else {
                    Retain::No
                };
                history.publish(Duration::ZERO, topic, message, retain);
            }
        }
        counted = history.bytes() as u64;
        history
    });
    println!("a history takes {bytes} bytes and counts {counted}");
    assert!(bytes <= counted, "{bytes} of {counted}");
}

#[test]
fn a_queue_takes_what_is_stated_for_each_message() {
    let message: Arc<[u8]> = vec![7; 10].into();
    let build = |policy| {
        kept(|| {
            let mut queue = Queue::new(policy, QueueLimits::default());
            for topic in 0..1000 {
                queue.push(topic, message.clone());
            }
            queue
        }) / 1000
    };
    let (plain, conflating) = (build(Policy::DropOldest), build(Policy::Conflate));
    println!(
        "a message that waits takes {plain} bytes, and {conflating} where it may be conflated"
    );
    assert!(plain <= 32, "{plain}");
    assert!(conflating <= 32 + 40, "{conflating}");
}

/// Takes records, and messages to those clients whose number is below this.
struct Below(u64);

impl Outlet for Below {
    type Message = Arc<[u8]>;

    fn prepare(&mut self, _form: Form, event: &[u8]) -> Arc<[u8]> {
        event.into()
    }

    fn send(&mut self, client: u64, _message: &Arc<[u8]>) -> Sent {
        if client < self.0 {
            Sent::Taken
        } else {
            Sent::Full
        }
    }

    fn publish(&mut self, _body: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn close(&mut self, _client: u64, _code: u16, _reason: &str) {}
}

#[test]
fn clients_of_a_station_and_what_waits_for_other_workers_take_what_is_stated() {
    let rights = Arc::new(Rights::new(&["#"], &["#"]).expect("patterns"));
    let build = |clients: u64, request: &str, outlet: &mut Below| {
        let mut station = Station::new(Options::new(0, 2), 1);
        for client in 0..clients {
            station.open(client, rights.clone());
            if !request.is_empty() {
                let bytes = request.as_bytes();
                station.handle_request(Duration::ZERO, client, Form::Text, bytes, outlet);
            }
        }
        station
    };
    let each = |request: &str, taken| {
        let mut outlet = Below(taken);
        let without = kept(|| build(0, request, &mut outlet));
        let with = kept(|| build(20_000, request, &mut outlet));
        (with - without) / 20_000
    };
    let idle = each("", u64::MAX);
    // Worker 1 owns the topic.
    let publish = r#"{"op":"publish","id":1,"topic":"away","data":1}"#;
    let waiting = each(publish, u64::MAX) - idle;
    // An error, whose bytes are shared or not as the outlet pleases.
    let slow = each(r#"{"op":"unsubscribe","topic":"none"}"#, 0) - idle;
    println!("a client takes {idle} bytes, {waiting} for a publish, {slow} more while it is slow");
    assert!(
        idle < 160 && waiting < 120 && slow < 700,
        "{idle} {waiting} {slow}"
    );
}
