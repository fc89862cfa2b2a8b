//! Tests of single decisions. The seeded world is in `world`.

use std::os::unix::process::ExitStatusExt as _;

use super::*;

#[path = "supervisor_world.rs"]
mod world;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn rules(workers: usize) -> Rules {
    Rules {
        workers,
        respawn: RespawnPolicy::default(),
        drain_timeout: Duration::from_secs(10),
    }
}

fn killed() -> Option<ExitStatus> {
    Some(ExitStatus::from_raw(libc::SIGKILL))
}

fn exited(code: i32) -> Option<ExitStatus> {
    Some(ExitStatus::from_raw(code << 8))
}

fn actions(supervisor: &mut Supervisor) -> Vec<Action> {
    std::iter::from_fn(|| supervisor.poll_action()).collect()
}

fn said<'a>(actions: &'a [Action]) -> Vec<&'a str> {
    let sentence = |action: &'a Action| match action {
        Action::Say(_, sentence) => Some(sentence.as_str()),
        _ => None,
    };
    actions.iter().filter_map(sentence).collect()
}

fn starts(actions: &[Action]) -> usize {
    let start = |action: &&Action| matches!(action, Action::Start { .. });
    actions.iter().filter(start).count()
}

#[test]
fn a_wrapped_program_takes_the_server_with_it_once() {
    let mut supervisor = serving(1);
    assert!(supervisor.handle_program_end(at(1), "the end of cat: exit status: 7".to_owned()));
    assert!(supervisor.is_stopping());
    // The same news again, or of a server that stops for another reason, begins nothing.
    assert!(!supervisor.handle_program_end(at(2), String::new()));
    supervisor.handle_program_missing(at(2), "cat cannot be started".to_owned());
    supervisor.handle_exit(at(3), 0, exited(0));
    let actions = actions(&mut supervisor);
    assert!(actions.contains(&Action::CloseListeners));
    assert_eq!(
        said(&actions),
        ["stopped by the end of cat: exit status: 7 after a drain of 0.002 s"]
    );
    assert_eq!(supervisor.exit(), Exit::Ok);
    let mut supervisor = serving(1);
    supervisor.handle_program_missing(at(1), "cat cannot be started".to_owned());
    assert_eq!(supervisor.exit(), Exit::Usage);
}

/// A server whose workers, of pids 100, 101 …, all serve since instant zero.
fn serving(workers: usize) -> Supervisor {
    let mut supervisor = Supervisor::new(rules(workers), at(0));
    assert_eq!(starts(&actions(&mut supervisor)), workers);
    for seat in 0..workers {
        let pid = 100 + u32::try_from(seat).expect("few");
        supervisor.handle_started(at(0), seat, pid);
        supervisor.handle_ready(seat);
    }
    assert_eq!(actions(&mut supervisor), [Action::Announce]);
    assert!(supervisor.is_running());
    supervisor
}

#[test]
fn a_replacement_that_cannot_be_started_is_tried_for_ten_minutes_and_told_once() {
    let mut supervisor = serving(2);
    supervisor.handle_exit(at(20_000), 1, killed());
    let mut said_so_far = said(&actions(&mut supervisor)).len();
    assert_eq!(said_so_far, 1, "the death");
    let mut tries = 0;
    while let Some(due) = supervisor.next_due()
        && due < at(620_000)
    {
        supervisor.handle_timeout(due);
        let todo = actions(&mut supervisor);
        said_so_far += said(&todo).len();
        tries += starts(&todo);
        if starts(&todo) > 0 {
            supervisor.handle_start_failed(due, 1, "Too many open files (os error 24)");
        }
    }
    said_so_far += said(&actions(&mut supervisor)).len();
    assert!((100..=130).contains(&tries), "{tries} tries");
    assert_eq!(said_so_far, 2, "the death and the first failure");
    assert!(supervisor.is_running());

    // Another reason is a new line, and success a third one.
    let due = supervisor.next_due().expect("it goes on");
    supervisor.handle_timeout(due);
    assert_eq!(actions(&mut supervisor), [Action::Start { seat: 1 }]);
    supervisor.handle_start_failed(due, 1, "no memory is left");
    assert_eq!(said(&actions(&mut supervisor)).len(), 1);
    let due = supervisor.next_due().expect("it goes on");
    supervisor.handle_timeout(due);
    actions(&mut supervisor);
    supervisor.handle_started(due, 1, 102);
    supervisor.handle_ready(1);
    let todo = actions(&mut supervisor);
    assert!(
        said(&todo)[0].starts_with("worker 1 (pid 102) serves, after "),
        "{todo:?}"
    );
}

#[test]
fn a_replacement_that_refuses_to_start_does_not_end_the_others() {
    for code in [2, 3, 1] {
        let mut supervisor = serving(2);
        supervisor.handle_exit(at(20_000), 1, killed());
        for _ in 0..50 {
            let due = supervisor.next_due().expect("a back-off");
            supervisor.handle_timeout(due);
            if starts(&actions(&mut supervisor)) > 0 {
                supervisor.handle_started(due, 1, 200);
                supervisor.handle_exit(due, 1, exited(code));
            }
            assert!(supervisor.is_running(), "exit code {code}");
        }
    }
}

#[test]
fn a_worker_that_served_and_then_leaves_with_a_code_of_ours_is_replaced() {
    for code in [0, 2, 3, 5] {
        let mut supervisor = serving(1);
        supervisor.handle_exit(at(60_000), 0, exited(code));
        assert!(supervisor.is_running(), "exit code {code}");
        assert_eq!(supervisor.next_due(), Some(at(60_100)));
    }
}

#[test]
fn a_first_worker_that_refuses_ends_the_server_with_its_code() {
    for (code, exit) in [(2, Exit::Usage), (3, Exit::Environment)] {
        let mut supervisor = Supervisor::new(rules(2), at(0));
        actions(&mut supervisor);
        supervisor.handle_started(at(0), 0, 100);
        supervisor.handle_started(at(0), 1, 101);
        supervisor.handle_exit(at(5), 1, exited(code));
        let drain = Action::Order {
            seat: 0,
            order: Order::Drain,
        };
        let todo = actions(&mut supervisor);
        assert!(todo.contains(&drain) && todo.contains(&Action::CloseListeners));
        assert!(said(&todo)[0].contains("it refused to start"), "{todo:?}");
        supervisor.handle_exit(at(6), 0, killed());
        assert!(supervisor.is_over());
        assert_eq!(supervisor.exit(), exit);
    }
}

#[test]
fn a_first_worker_that_cannot_be_made_is_tried_for_a_moment_and_then_refused() {
    let mut supervisor = Supervisor::new(rules(1), at(0));
    let mut now = at(0);
    for _ in 1..FIRST_STARTS_MAX {
        assert_eq!(starts(&actions(&mut supervisor)), 1);
        supervisor.handle_start_failed(now, 0, "no process is left");
        now = supervisor.next_due().expect("a back-off");
        supervisor.handle_timeout(now);
    }
    assert_eq!(now, at(100 + 200 + 400 + 800));
    actions(&mut supervisor);
    supervisor.handle_start_failed(now, 0, "no process is left");
    assert!(supervisor.is_over());
    assert_eq!(supervisor.exit(), Exit::Environment);
}

#[test]
fn a_seat_whose_workers_keep_dying_does_not_end_the_other_one() {
    let mut supervisor = serving(2);
    let mut now = at(0);
    for death in 0..100 {
        supervisor.handle_exit(now, 1, killed());
        let due = supervisor.next_due().expect("a back-off");
        assert!(due.since(now) <= Duration::from_secs(5));
        now = due;
        supervisor.handle_timeout(now);
        assert_eq!(starts(&actions(&mut supervisor)), 1, "death {death}");
        supervisor.handle_started(now, 1, 200);
        supervisor.handle_ready(1);
    }
    assert!(supervisor.is_running());
}

#[test]
fn when_all_seats_keep_dying_the_server_gives_up() {
    let mut supervisor = serving(2);
    let mut now = at(0);
    for death in 1..=5 {
        for seat in [0, 1] {
            assert!(!supervisor.is_stopping(), "death {death} of seat {seat}");
            supervisor.handle_exit(now, seat, killed());
        }
        actions(&mut supervisor);
        if death == 5 {
            break;
        }
        now = supervisor.next_due().expect("both have the same back-off");
        supervisor.handle_timeout(now);
        assert_eq!(starts(&actions(&mut supervisor)), 2);
        for seat in [0, 1] {
            supervisor.handle_started(now, seat, 300);
            supervisor.handle_ready(seat);
        }
    }
    assert!(supervisor.is_over());
    assert_eq!(supervisor.exit(), Exit::WorkersDied);
}

#[test]
fn a_replacement_that_never_reports_is_told_then_killed_and_replaced_while_the_other_serves() {
    let mut supervisor = serving(2);
    supervisor.handle_exit(at(20_000), 1, killed());
    supervisor.handle_timeout(at(20_100));
    actions(&mut supervisor);
    supervisor.handle_started(at(20_100), 1, 200);
    assert_eq!(supervisor.next_due(), Some(at(30_100)));
    supervisor.handle_timeout(at(30_100));
    assert_eq!(
        said(&actions(&mut supervisor)),
        ["not ready after 10 s: worker 1; --debug shows what they do"]
    );
    assert_eq!(supervisor.next_due(), Some(at(50_100)));
    supervisor.handle_timeout(at(50_100));
    let kill = Action::Order {
        seat: 1,
        order: Order::Kill,
    };
    assert_eq!(actions(&mut supervisor), [kill]);
    assert_eq!(supervisor.next_due(), None, "it is killed once");
    supervisor.handle_exit(at(50_101), 1, killed());
    let todo = actions(&mut supervisor);
    assert_eq!(
        said(&todo),
        ["worker 1 did not serve within 30 s; it is tried again until it serves"]
    );
    assert!(supervisor.is_running());
}

#[test]
fn the_listener_goes_before_any_worker_is_told() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let mut supervisor = serving(2);
        supervisor.handle_signal(at(1000), signal);
        let order = |seat| Action::Order {
            seat,
            order: Order::Drain,
        };
        assert_eq!(
            actions(&mut supervisor),
            [Action::CloseListeners, order(0), order(1)]
        );
    }
}

#[test]
fn signals_without_a_meaning_are_told_and_change_nothing() {
    let mut supervisor = serving(1);
    supervisor.handle_signal(at(900), libc::SIGHUP);
    assert_eq!(actions(&mut supervisor), [Action::Reread]);
    for signal in signals::meaningless().filter(|signal| *signal != libc::SIGHUP) {
        supervisor.handle_signal(at(1000), signal);
        let todo = actions(&mut supervisor);
        assert!(said(&todo)[0].contains("is ignored"), "{todo:?}");
        assert_eq!(todo.len(), 1);
    }
    assert!(supervisor.is_running());
    assert_eq!(supervisor.next_due(), None);
}

#[test]
fn a_process_that_does_not_even_die_is_left_behind() {
    let mut supervisor = serving(1);
    supervisor.handle_signal(at(0), libc::SIGTERM);
    supervisor.handle_draining(0);
    assert_eq!(supervisor.next_due(), Some(at(1000)));
    supervisor.handle_timeout(at(1000));
    assert_eq!(supervisor.next_due(), Some(at(15_000)));
    supervisor.handle_timeout(at(15_000));
    assert!(!supervisor.is_over());
    assert_eq!(supervisor.next_due(), Some(at(20_000)));
    supervisor.handle_timeout(at(20_000));
    assert!(supervisor.is_over());
    let todo = actions(&mut supervisor);
    assert!(
        said(&todo).iter().any(|line| line.ends_with("pid 100")),
        "{todo:?}"
    );
}

#[test]
fn an_orderly_stop_is_one_line_in_the_log() {
    let mut supervisor = serving(2);
    supervisor.handle_signal(at(1000), libc::SIGTERM);
    supervisor.handle_exit(at(1100), 0, exited(0));
    supervisor.handle_exit(at(1250), 1, exited(0));
    assert!(supervisor.is_over());
    assert_eq!(supervisor.exit(), Exit::Ok);
    assert_eq!(
        said(&actions(&mut supervisor)),
        ["stopped by SIGTERM after a drain of 0.250 s"]
    );
}

fn orders(actions: &[Action]) -> Vec<(usize, Order)> {
    let order = |action: &Action| match action {
        Action::Order { seat, order } => Some((*seat, *order)),
        _ => None,
    };
    actions.iter().filter_map(order).collect()
}

#[test]
fn who_does_not_answer_an_order_is_told_by_a_signal_and_who_does_is_not() {
    let mut supervisor = serving(2);
    supervisor.handle_signal(at(0), libc::SIGTERM);
    supervisor.handle_draining(0);
    actions(&mut supervisor);
    supervisor.handle_timeout(at(1000));
    let todo = actions(&mut supervisor);
    assert_eq!(orders(&todo), [(1, Order::Terminate)]);
    assert_eq!(
        said(&todo),
        ["worker 1 is told by SIGTERM, because it has not answered for 1 s"]
    );
    supervisor.handle_timeout(at(5000));
    assert_eq!(actions(&mut supervisor), [], "once");
}

#[test]
fn an_order_that_its_channel_does_not_take_becomes_a_signal_and_is_told() {
    let mut supervisor = serving(1);
    supervisor.handle_signal(at(0), libc::SIGTERM);
    actions(&mut supervisor);
    supervisor.handle_undelivered(0, Order::Drain, "full");
    let todo = actions(&mut supervisor);
    assert_eq!(orders(&todo), [(0, Order::Terminate)]);
    assert_eq!(
        said(&todo),
        ["worker 0 is told by SIGTERM, because its control channel is full"]
    );
    supervisor.handle_signal(at(10), libc::SIGTERM);
    assert_eq!(orders(&actions(&mut supervisor)), [(0, Order::Stop)]);
    supervisor.handle_undelivered(0, Order::Stop, "closed");
    assert_eq!(orders(&actions(&mut supervisor)), [(0, Order::Kill)]);
}

#[test]
fn nothing_is_told_of_the_closed_channel_of_a_worker_that_drained_by_itself() {
    let mut supervisor = serving(1);
    supervisor.handle_signal(at(0), libc::SIGTERM);
    actions(&mut supervisor);
    supervisor.handle_draining(0);
    supervisor.handle_undelivered(0, Order::Drain, "closed");
    let todo = actions(&mut supervisor);
    assert_eq!(orders(&todo), [(0, Order::Terminate)]);
    assert_eq!(said(&todo), [""; 0]);
}

#[test]
fn a_second_signal_is_an_order_to_leave_and_then_the_end() {
    let mut supervisor = serving(1);
    supervisor.handle_signal(at(0), libc::SIGTERM);
    supervisor.handle_signal(at(100), libc::SIGINT);
    let todo = actions(&mut supervisor);
    assert_eq!(orders(&todo), [(0, Order::Drain), (0, Order::Stop)]);
    supervisor.handle_draining(0);
    supervisor.handle_timeout(at(1000));
    assert_eq!(supervisor.next_due(), Some(at(1100)));
    supervisor.handle_timeout(at(1100));
    let todo = actions(&mut supervisor);
    assert_eq!(orders(&todo), [(0, Order::Kill)]);
    assert_eq!(
        said(&todo),
        ["they do not leave, killing workers that are left: pid 100"]
    );
    supervisor.handle_exit(at(1101), 0, killed());
    assert_eq!(supervisor.exit(), Exit::Interrupted);
    // A third signal does not wait.
    let mut supervisor = serving(1);
    for ms in 0..3 {
        supervisor.handle_signal(at(ms), libc::SIGTERM);
    }
    let orders = orders(&actions(&mut supervisor));
    assert_eq!(orders.last(), Some(&(0, Order::Kill)), "{orders:?}");
}

#[test]
fn connections_that_were_cut_are_told_with_the_last_line() {
    let mut supervisor = serving(2);
    supervisor.handle_signal(at(1000), libc::SIGTERM);
    for cut in [0, 3] {
        supervisor.handle_drained(cut);
    }
    supervisor.handle_exit(at(11_000), 0, exited(0));
    supervisor.handle_exit(at(11_000), 1, exited(0));
    assert_eq!(
        said(&actions(&mut supervisor)),
        ["stopped by SIGTERM after a drain of 10.000 s; 3 connections had not ended, and were cut"]
    );
}
