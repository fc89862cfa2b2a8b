//! The search against models whose answer is known.

use std::convert::Infallible;

use super::super::{Bound, Measure};
use super::*;
use crate::load::outcome::{Process, Server, Thread};

const PLAN: Plan = Plan {
    over: Over::Rate,
    from: 1000.0,
    to: 1_000_000.0,
    growth: Growth::Factor(2.0),
    bound: Bound {
        measure: Measure::P99,
        limit_us: 1000.0,
    },
    errors_max: Plan::ERRORS_MAX,
    achieved_least: Plan::ACHIEVED_LEAST,
    tolerance: Plan::TOLERANCE,
    repeats: 1,
};

/// An M/M/1 queue that serves µ = 100,000 messages per second: the time in it is exponential with the mean 1/(µ - λ).
/// Beyond µ it serves µ, and the queue grows. The driver can offer `driver` messages per second.
fn queue(rate: f64, driver: f64) -> Outcome {
    const SERVED: f64 = 100_000.0;
    let achieved = rate.min(SERVED).min(driver);
    let mean = if achieved < SERVED {
        1e6 / (SERVED - achieved)
    } else {
        5e6
    };
    let quantile = |quantile: f64| -mean * (1.0 - quantile).ln();
    Outcome {
        offered_per_second: Some(rate),
        messages_per_second: achieved,
        driver_saturated: rate > driver,
        server_saturated: Some(rate >= SERVED),
        latency_us: Latency {
            samples: 1_000_000,
            mean,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: quantile(0.999_999),
            ..Latency::default()
        },
        driver: vec![Thread {
            utilisation: achieved / driver,
            ..Thread::default()
        }],
        server: Some(Server {
            processes: vec![Process {
                utilisation: achieved / SERVED,
                ..Process::default()
            }],
            ..Server::default()
        }),
        ..Outcome::default()
    }
}

fn swept(plan: &Plan, mut model: impl FnMut(f64) -> Outcome) -> Sweep {
    plan.check().expect("a plan");
    sweep(plan, &mut |point| Ok::<_, Infallible>(model(point.value)))
}

#[test]
fn the_knee_of_a_queue_is_found_within_the_tolerance() {
    // p99 = ln 100 / (µ - λ) = 1 ms at λ = 100,000 - 4,605 = 95,395 messages per second.
    let found = swept(&PLAN, |rate| queue(rate, 1e9));
    let End::Knee { holds, breaks } = found.end else {
        panic!("{:?}", found.end);
    };
    assert!(holds <= 95_395.0 && 95_395.0 < breaks, "{holds} {breaks}");
    assert!(breaks / holds <= 1.05, "{holds} {breaks}");
    assert_eq!(found.sustained, Some(holds));
    // Seven doublings hold, 128,000 breaks, four halvings close in.
    let walked = [1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 64e3, 128e3];
    let values: Vec<_> = found.steps.iter().map(|step| step.value).collect();
    assert!(
        walked.iter().all(|value| values.contains(value)),
        "{values:?}"
    );
    assert!(values.is_sorted() && values.len() <= 13, "{values:?}");
    for step in &found.steps {
        assert_eq!(step.holds, step.value < 95_395.0, "{}", step.value);
    }
    let last = found.steps.last().expect("steps");
    assert_eq!(last.breaches, ["p99 23.0 s", "100,000 /s, 78 % of offered"]);
    assert_eq!(
        (last.server_saturated, last.server_utilisation),
        (Some(true), Some(1.0))
    );
}

#[test]
fn a_narrow_tolerance_is_kept() {
    let plan = Plan {
        tolerance: 0.001,
        ..PLAN
    };
    let found = swept(&plan, |rate| queue(rate, 1e9));
    let sustained = found.sustained.expect("a knee");
    assert!(
        (95_395.0 / 1.001..=95_395.0).contains(&sustained),
        "{sustained}"
    );
}

#[test]
fn a_saturated_driver_ends_the_walk() {
    let found = swept(&PLAN, |rate| queue(rate, 50_000.0));
    assert_eq!(found.end, End::DriverSaturated { at: 64_000.0 });
    assert_eq!(found.sustained, Some(32_000.0));
    assert_eq!(found.steps.len(), 7);
}

#[test]
fn a_driver_that_is_saturated_between_ends_the_search() {
    // 128,000 breaks the server's bound with a driver that keeps up; 90,510 does not tell.
    let found = swept(&PLAN, |rate| {
        let mut outcome = queue(rate, 1e9);
        outcome.driver_saturated = rate > 64_000.0 && rate < 128_000.0;
        outcome
    });
    assert_eq!(found.end, End::DriverSaturated { at: 90_510.0 });
    assert_eq!(found.sustained, Some(90_510.0));
}

#[test]
fn what_never_breaks_and_what_is_broken_at_the_start_are_said() {
    let plan = Plan { to: 8000.0, ..PLAN };
    let found = swept(&plan, |rate| queue(rate, 1e9));
    assert_eq!(
        (found.end, found.sustained),
        (End::NeverBroke, Some(8000.0))
    );
    let plan = Plan {
        from: 200_000.0,
        ..PLAN
    };
    let found = swept(&plan, |rate| queue(rate, 1e9));
    assert_eq!((found.end, found.sustained), (End::BrokenAtStart, None));
    assert_eq!(found.steps.len(), 1);
}

#[test]
fn errors_and_silence_break() {
    let found = swept(&PLAN, |rate| Outcome {
        errors: u64::from(rate > 5000.0),
        ..queue(rate, 1e9)
    });
    assert_eq!(
        found.sustained.map(|rate| (4000.0..5000.1).contains(&rate)),
        Some(true)
    );
    assert_eq!(found.steps.last().expect("steps").breaches, ["errors: 1"]);
    let found = swept(&PLAN, |_| Outcome::default());
    assert_eq!(found.end, End::BrokenAtStart);
    assert_eq!(found.steps[0].breaches, ["nothing was measured"]);
}

#[test]
fn connections_are_whole_and_the_search_ends_between_two() {
    let plan = Plan {
        over: Over::Connections,
        from: 1.0,
        to: 64.0,
        tolerance: 0.001,
        ..PLAN
    };
    let found = swept(&plan, |connections| {
        assert_eq!(connections, connections.round());
        Outcome {
            offered_per_second: None,
            ..queue(connections * 4000.0, 1e9)
        }
    });
    // 23 × 4,000 holds, 24 × 4,000 is more than 95,395.
    assert_eq!(
        found.end,
        End::Knee {
            holds: 23.0,
            breaks: 24.0
        }
    );
}

#[test]
fn one_bad_run_of_three_does_not_break_a_point_and_figures_are_medians() {
    let plan = Plan {
        repeats: 3,
        to: 2000.0,
        ..PLAN
    };
    let found = sweep(&plan, &mut |point: Point| {
        let mut outcome = queue(point.value, 1e9);
        if point.repeat == 1 {
            outcome.latency_us.p99 = 1e6;
        }
        Ok::<_, Infallible>(outcome)
    });
    assert_eq!(found.end, End::NeverBroke);
    let step = &found.steps[0];
    assert_eq!((step.holds, step.runs.len()), (true, 3));
    assert_eq!(step.breaches, ["p99 1.00 s"]);
    assert!(
        (step.latency_us.p99 - 46.5).abs() < 0.1,
        "{}",
        step.latency_us.p99
    );
    assert_eq!(step.latency_us.samples, 3_000_000);
}

#[test]
fn a_run_that_fails_ends_the_sweep_and_keeps_what_was_found() {
    let found = sweep(&PLAN, &mut |point: Point| match point.value {
        ..4000.0 => Ok(queue(point.value, 1e9)),
        _ => Err("connection refused"),
    });
    let error = "connection refused".to_owned();
    assert_eq!(found.end, End::Failed { at: 4000.0, error });
    assert_eq!((found.steps.len(), found.sustained), (2, Some(2000.0)));
}

#[test]
fn steps_and_factors_reach_both_ends() {
    let steps = Plan {
        growth: Growth::Steps(4),
        ..PLAN
    };
    assert_eq!(values(&steps), [1000.0, 10_000.0, 100_000.0, 1_000_000.0]);
    let factor = Plan {
        growth: Growth::Factor(3.0),
        to: 10_000.0,
        ..PLAN
    };
    assert_eq!(values(&factor), [1000.0, 3000.0, 9000.0, 10_000.0]);
    let few = Plan {
        over: Over::Connections,
        from: 1.0,
        to: 4.0,
        growth: Growth::Steps(9),
        ..PLAN
    };
    assert_eq!(values(&few), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn an_impossible_plan_is_refused_with_a_reason() {
    let cases = [
        (Plan { from: 0.0, ..PLAN }, "--from"),
        (Plan { to: 10.0, ..PLAN }, "--from"),
        (
            Plan {
                growth: Growth::Factor(1.0),
                ..PLAN
            },
            "--steps",
        ),
        (
            Plan {
                growth: Growth::Steps(1),
                ..PLAN
            },
            "--steps",
        ),
        (
            Plan {
                achieved_least: 1.5,
                ..PLAN
            },
            "the share",
        ),
        (
            Plan {
                tolerance: 0.0,
                ..PLAN
            },
            "the tolerance",
        ),
        (Plan { repeats: 0, ..PLAN }, "each point"),
    ];
    for (plan, begin) in cases {
        let error = plan.check().expect_err(begin);
        assert!(error.starts_with(begin), "{error}");
    }
}

#[test]
fn medians_are_middles() {
    assert_eq!(median(vec![]), 0.0);
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
}
