use super::*;

const PLAN: Plan = Plan::new(
    2,
    &BusOptions {
        log_bytes: 64 << 10,
        ..DEFAULTS
    },
);

const DEFAULTS: BusOptions = BusOptions {
    log_bytes: 4 << 20,
    policy: Policy::DropOldest,
    queue: ringway_bus::queue::Limits {
        messages_max: 1000,
        bytes_max: 1 << 20,
    },
    topics: ringway_bus::topics::Limits {
        topics_max: 10,
        subscriptions_max: 10,
        subscriber_max: 10,
    },
    history: HistoryLimits {
        bytes_max: 0,
        messages_max: 0,
        age_max: std::time::Duration::ZERO,
        topics_max: 0,
    },
};

fn heard(bus: &mut Bus) -> Vec<(usize, String)> {
    let mut heard = Vec::new();
    bus.read(|seat, said| {
        heard.push((
            seat,
            match said {
                Said::Record { topic, body, .. } => {
                    String::from_utf8_lossy(topic).into_owned()
                        + "="
                        + &String::from_utf8_lossy(body)
                }
                Said::Missed(records) => format!("missed {records}"),
                Said::Replaced => "replaced".to_owned(),
            },
        ));
    });
    heard
}

fn join(segments: &Segments, seat: usize) -> Bus {
    Bus::join(segments.try_clone().expect("descriptors"), &PLAN, seat).expect("a seat")
}

#[test]
fn what_one_seat_publishes_the_others_read_and_it_does_not() {
    let segments = Segments::new(&PLAN).expect("a bus");
    let (mut first, mut second) = (join(&segments, 0), join(&segments, 1));
    assert!(heard(&mut first).is_empty() && heard(&mut second).is_empty());
    first.publish(Kind::NOTE, 7, b"a", b"one").expect("room");
    first.publish(Kind::NOTE, 7, b"b", b"two").expect("room");
    let said = [(0, "a=one".to_owned()), (0, "b=two".to_owned())];
    assert!(second.has_news());
    assert_eq!(heard(&mut second), said);
    assert!(heard(&mut first).is_empty() && !second.has_news());
    let too_big = first.publish(Kind::NOTE, 0, b"a", &vec![0; 8 << 10]);
    assert!(matches!(too_big, Err(Refusal::TooBig { .. })));
}

#[test]
fn only_a_sleeper_is_rung_for() {
    let segments = Segments::new(&PLAN).expect("a bus");
    let (mut first, mut second) = (join(&segments, 0), join(&segments, 1));
    second.hush();
    let is_rung = |bus: &Bus| crate::io::sys::is_readable(bus.bell());
    first.publish(Kind::NOTE, 0, b"a", b"").expect("room");
    first.ring();
    assert!(!is_rung(&second));
    assert!(!second.fall_asleep(), "there is something to read");
    heard(&mut second);
    assert!(second.fall_asleep());
    first.publish(Kind::NOTE, 0, b"a", b"").expect("room");
    first.ring();
    assert!(is_rung(&second));
    second.wake();
    second.hush();
    assert_eq!(heard(&mut second).len(), 1);
}

#[test]
fn a_successor_goes_on_and_a_slow_reader_knows_what_it_missed() {
    let segments = Segments::new(&PLAN).expect("a bus");
    let (mut first, mut second) = (join(&segments, 0), join(&segments, 1));
    for _ in 0..200 {
        first
            .publish(Kind::NOTE, 0, b"", &[b'x'; 1000])
            .expect("room");
    }
    drop(first);
    let mut first = join(&segments, 0);
    first.publish(Kind::NOTE, 0, b"a", b"new").expect("room");
    let heard = heard(&mut second);
    let missed: u64 = heard[0]
        .1
        .strip_prefix("missed ")
        .expect("a gap")
        .parse()
        .expect("a number");
    let read = heard
        .iter()
        .filter(|(_, said)| said.starts_with('='))
        .count() as u64;
    assert_eq!(missed + read, 200);
    let end: Vec<_> = heard
        .iter()
        .rev()
        .take(2)
        .map(|(_, said)| said.as_str())
        .collect();
    assert_eq!(end, ["a=new", "replaced"]);
}

#[test]
fn a_damaged_log_begins_anew() {
    use std::os::unix::fs::FileExt as _;
    let segments = Segments::new(&PLAN).expect("a bus");
    let (mut first, mut second) = (join(&segments, 0), join(&segments, 1));
    first.publish(Kind::NOTE, 0, b"", b"old").expect("room");
    drop(first);
    heard(&mut second);
    // The word `published` of the first log.
    let at = 4096 + 17 * 8;
    segments
        .memory
        .write_all_at(&[0xff; 8], at)
        .expect("a write");
    let mut first = join(&segments, 0);
    heard(&mut second);
    first.publish(Kind::NOTE, 0, b"", b"new").expect("room");
    let all = heard(&mut second);
    assert_eq!(all.last(), Some(&(0, "=new".to_owned())), "{all:?}");
}
