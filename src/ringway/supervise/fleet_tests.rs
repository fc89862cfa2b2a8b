//! The arithmetic of periods, totals and deaths.

use super::*;

/// A fleet of `workers` workers, started at instant zero.
pub(in crate::supervise) fn fleet(workers: usize) -> Fleet {
    let about = About {
        address: "ws://127.0.0.1:9000".to_owned(),
        backlog: 4096,
        web: Some("http://127.0.0.1:8080/".to_owned()),
        pid: 77,
        started: Instant::ZERO,
        started_unix_s: 1000.0,
        settings: vec![("workers".to_owned(), "2".to_owned())],
        services: Vec::new(),
    };
    Fleet::new(about, &vec![None; workers])
}

/// A record of an interval of one second.
pub(in crate::supervise) fn record(worker: u16, sequence: u64, counters: Counters) -> Record {
    let mut turn_times = turns::accumulator();
    turn_times.record(20_000).expect("in range");
    Record {
        worker,
        pid: 100 + u32::from(worker),
        sequence,
        interval_ns: 1_000_000_000,
        at: Instant::ZERO,
        tier: "uring".to_owned(),
        tier_note: String::new(),
        counters,
        turns: turn_times,
    }
}

fn counters(clients: u64, messages: u64) -> Counters {
    Counters {
        clients,
        messages_in: messages,
        messages_out: 2 * messages,
        cpu_ns: messages * 1_000_000,
        ..Counters::default()
    }
}

#[test]
fn a_period_sums_its_records_and_measures_rates_from_their_intervals() {
    let mut fleet = fleet(2);
    fleet.seats[0].handle_record(Instant::ZERO, record(0, 0, counters(3, 100)));
    fleet.seats[0].handle_record(Instant::ZERO, record(0, 1, counters(4, 300)));
    fleet.seats[1].handle_record(Instant::ZERO, record(1, 0, counters(5, 50)));
    fleet.close_period(Instant::from_nanos(2_000_000_000));

    let first = fleet.seats[0].closed.figures();
    assert_eq!((first.delta.clients, first.delta.messages_in), (4, 300));
    assert_eq!((first.seconds, first.per_s.messages_in), (2.0, 150.0));
    assert!((first.cpu_share - 0.15).abs() < 1e-9);

    let both = fleet.closed();
    assert_eq!(
        (
            both.delta.clients,
            both.delta.messages_in,
            both.per_s.messages_in
        ),
        (9, 350, 200.0)
    );
    assert!((19_800..=20_200).contains(&both.turn_ns_p50));
    assert_eq!((fleet.period, fleet.period_length.as_secs()), (1, 2));
}

#[test]
fn a_period_without_records_has_no_rates_but_keeps_its_clients() {
    let mut fleet = fleet(1);
    fleet.seats[0].handle_record(Instant::ZERO, record(0, 0, counters(3, 100)));
    fleet.close_period(Instant::from_nanos(1));
    fleet.close_period(Instant::from_nanos(2));
    let figures = fleet.closed();
    assert_eq!((figures.delta.clients, figures.delta.messages_in), (3, 0));
    assert_eq!(
        (
            figures.per_s.messages_in,
            figures.seconds,
            figures.turn_ns_max
        ),
        (0.0, 0.0, 0)
    );
}

#[test]
fn totals_do_not_go_backwards_when_a_worker_is_replaced() {
    let mut fleet = fleet(1);
    let seat = &mut fleet.seats[0];
    seat.handle_birth(100);
    assert_eq!(seat.state, State::Starting);
    seat.handle_record(Instant::ZERO, record(0, 0, counters(3, 100)));
    assert_eq!(seat.state, State::Ready);
    seat.handle_death(State::Waiting);
    assert_eq!((seat.total().messages_in, seat.total().clients), (100, 0));
    seat.handle_birth(101);
    seat.handle_record(Instant::ZERO, record(0, 0, counters(1, 5)));
    assert_eq!(
        (
            seat.total().messages_in,
            seat.total().clients,
            seat.restarts
        ),
        (105, 1, 1)
    );
}

#[test]
fn the_history_keeps_five_minutes() {
    let mut fleet = fleet(1);
    fleet.seats[0].handle_record(Instant::ZERO, record(0, 0, counters(3, 100)));
    (0..400).for_each(|tick| drop(fleet.sample(Instant::from_nanos(tick))));
    assert_eq!(fleet.history().count(), 300);
    let first = fleet.history().next().expect("there are 300");
    assert_eq!(
        (first.at.nanos(), first.workers[0].messages_in_per_s),
        (100, 100.0)
    );
}

#[test]
fn tiers_and_notes_are_named_once() {
    let mut fleet = fleet(3);
    for index in [0, 1, 2] {
        let mut report = record(index, 0, counters(0, 0));
        if index == 1 {
            report.tier = "epoll".to_owned();
            report.tier_note = "io_uring_setup: EPERM".to_owned();
        }
        fleet.seats[usize::from(index)].handle_record(Instant::ZERO, report);
    }
    assert_eq!(
        fleet.tiers(),
        ("uring+epoll".to_owned(), "io_uring_setup: EPERM".to_owned())
    );
}

#[test]
fn a_worker_that_reports_no_more_is_silent_once_and_its_rates_are_gone() {
    let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
    let mut fleet = fleet(1);
    fleet.seats[0].handle_record(at(1000), record(0, 0, counters(3, 100)));
    assert!(fleet.sample(at(4000)).is_empty());
    assert_eq!(fleet.live().per_s.messages_in, 100.0);
    assert_eq!(fleet.sample(at(4001)), [0]);
    assert_eq!(
        (fleet.live().per_s.messages_in, fleet.total().clients),
        (0.0, 3)
    );
    assert!(fleet.sample(at(5000)).is_empty(), "said once");
    fleet.seats[0].handle_record(at(6000), record(0, 1, counters(3, 150)));
    assert_eq!(fleet.seats[0].state, State::Ready);
}
