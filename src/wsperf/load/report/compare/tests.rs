//! Comparisons whose answer is known, and their table.

use super::*;
use crate::load::report::samples;

/// Runs whose figures are `scale` times the usual ones, with small differences between them.
fn runs(count: u64, first_seed: u64, scale: f64) -> Vec<Outcome> {
    (0..count)
        .map(|at| {
            let mut run = samples::run(first_seed + at, 3, 1);
            // Runs of one side are never quite equal: steps of 0.2 %.
            let noise = 1.0 + (at as f64 - 2.0) / 500.0 + first_seed as f64 / 1e5;
            run.messages_per_second = 100_000.0 * noise / scale;
            run.latency_us.p50 = 80.0 * noise * scale;
            run.latency_us.p90 = 180.0 * noise * scale;
            run.latency_us.p99 = 310.0 * noise * scale;
            run.latency_us.p999 = 420.0 * noise * scale;
            run.latency_us.max = 470.0 * noise * scale;
            run.server_cpu_us_per_message = Some(9.7 * noise * scale);
            run.driver_cpu_us_per_message = 12.1 * noise;
            run
        })
        .collect()
}

fn verdict(comparison: &Comparison, name: &str) -> Significance {
    let change = comparison.changes.iter().find(|change| change.name == name);
    change
        .unwrap_or_else(|| panic!("{name} is compared"))
        .verdict
}

#[test]
fn runs_that_are_ten_percent_slower_are_worse() {
    let found = compare(&runs(5, 1, 1.0), &runs(5, 11, 1.1)).expect("the same scenario");
    assert_eq!(found.samples, Samples::Runs);
    for name in ["rate", "p50", "p90", "p99", "p99.9", "max", "server cpu"] {
        assert_eq!(verdict(&found, name), Significance::Worse, "{name}");
    }
    assert_eq!(verdict(&found, "driver cpu"), Significance::Noise);
    assert_eq!(verdict(&found, "errors"), Significance::Noise);
    assert_eq!(verdict(&found, "server memory"), Significance::Noise);
    let p99 = &found.changes[3];
    let (low, high) = p99.interval.expect("five runs each");
    let change = p99.change.expect("a quotient");
    assert!(
        (change - 0.1).abs() < 0.002 && low > 0.09 && high < 0.11 && low < change && change < high
    );
    // The largest latency is tested, and fails nothing.
    let regressions: Vec<_> = found
        .regressions(0.05)
        .iter()
        .map(|change| change.name.clone())
        .collect();
    assert_eq!(
        regressions,
        ["rate", "p50", "p90", "p99", "p99.9", "server cpu"]
    );
    assert!(found.regressions(0.12).is_empty());
    let back = compare(&runs(5, 11, 1.1), &runs(5, 1, 1.0)).expect("the same scenario");
    assert_eq!(verdict(&back, "p99"), Significance::Better);
    assert!(back.regressions(0.0).is_empty());
}

#[test]
fn the_same_again_is_noise() {
    let found = compare(&runs(5, 1, 1.0), &runs(5, 2, 1.0)).expect("the same scenario");
    assert!(
        found
            .changes
            .iter()
            .all(|change| change.verdict == Significance::Noise),
        "{found:?}"
    );
    assert!(
        found.regressions(0.0).is_empty()
            && found.cautions.is_empty()
            && found.differences.is_empty()
    );
}

#[test]
fn three_runs_each_are_too_few_and_it_is_said() {
    let found = compare(&runs(3, 1, 1.0), &runs(3, 11, 2.0)).expect("the same scenario");
    assert_eq!(verdict(&found, "p99"), Significance::TooFew);
    assert_eq!(found.changes[3].interval, None);
    assert!(found.regressions(0.0).is_empty());
    assert!(
        found.cautions[0].starts_with("Too few runs: with fewer than 4"),
        "{:?}",
        found.cautions
    );
}

#[test]
fn single_runs_are_compared_by_their_intervals_with_a_caution() {
    let a = samples::run(1, 30, 1);
    let mut b = samples::run(2, 30, 1);
    for interval in &mut b.intervals {
        interval.p50_us *= 1.2;
    }
    let found = compare(&[a], &[b]).expect("the same scenario");
    assert_eq!(found.samples, Samples::Intervals);
    assert_eq!(verdict(&found, "p50"), Significance::Worse);
    assert_eq!(verdict(&found, "driver cpu"), Significance::Noise);
    // Intervals have no 90th percentile and no memory.
    assert_eq!(verdict(&found, "p90"), Significance::Untested);
    assert_eq!(verdict(&found, "server memory"), Significance::Untested);
    let change = found.changes[1].change.expect("a quotient");
    assert!((change - 0.2).abs() < 0.02, "{change}");
    assert!(
        found.cautions[0].starts_with("One run on each side"),
        "{:?}",
        found.cautions
    );
}

#[test]
fn errors_that_were_never_there_are_a_regression() {
    let mut b = runs(5, 2, 1.0);
    b[3].errors = 1;
    let found = compare(&runs(5, 1, 1.0), &b).expect("the same scenario");
    assert_eq!(verdict(&found, "errors"), Significance::Worse);
    assert_eq!(found.regressions(0.5).len(), 1);
    assert_eq!(found.cautions, ["B has errors (1) and A has none."]);
    // Errors that occur in A as in B are noise.
    let found = compare(&b, &b).expect("the same scenario");
    assert_eq!(verdict(&found, "errors"), Significance::Noise);
}

#[test]
fn different_options_are_listed_and_different_scenarios_are_refused() {
    let a = runs(4, 1, 1.0);
    let mut b = runs(4, 2, 1.0);
    for run in &mut b {
        run.version = "0.2.0".to_owned();
        run.machine.kernel = "Linux 6.13.0".to_owned();
        run.options.insert("payload".to_owned(), "1k".to_owned());
        run.options.insert("json".to_owned(), "b.json".to_owned());
    }
    b[0].options.remove("connections");
    let found = compare(&a, &b).expect("the same scenario");
    let expected = [
        ("(kernel)", "Linux 6.12.0", "Linux 6.13.0"),
        ("(version)", "0.1.0", "0.2.0"),
        ("connections", "100", "(not set) | 100"),
        ("payload", "20", "1k"),
    ];
    let expected = expected.map(|(name, a, b)| Difference {
        name: name.to_owned(),
        a: a.to_owned(),
        b: b.to_owned(),
    });
    assert_eq!(found.differences, expected);
    b[0].scenario = "handshake".to_owned();
    let error = compare(&a, &b).expect_err("two scenarios");
    assert!(error.starts_with("A and B hold results of different scenarios"));
    assert!(compare(&a, &[]).is_err());
}

#[test]
fn what_only_one_side_knows_is_said() {
    let mut b = runs(4, 2, 1.0);
    b[0].server = None;
    let found = compare(&runs(4, 1, 1.0), &b).expect("the same scenario");
    assert_eq!(found.cautions, ["server memory is known in A only."]);
    assert!(
        !found
            .changes
            .iter()
            .any(|change| change.name == "server memory")
    );
}

#[test]
fn figures_of_a_scenario_have_their_direction_from_their_unit() {
    let with = |first: u64, scale: f64| {
        let mut runs = runs(4, first, 1.0);
        for (at, run) in runs.iter_mut().enumerate() {
            let value = scale * (100.0 + at as f64);
            run.figures.insert("close_p99_us".to_owned(), value);
            run.figures.insert("reach".to_owned(), value);
        }
        runs
    };
    let found = compare(&with(1, 1.0), &with(2, 2.0)).expect("the same scenario");
    assert_eq!(verdict(&found, "close_p99_us"), Significance::Worse);
    assert_eq!(verdict(&found, "reach"), Significance::Changed);
    // These figures fail nothing: which direction is good depends on the scenario.
    assert!(found.regressions(0.0).is_empty());
}

#[test]
fn a_saturated_driver_stands_in_a_box_above_the_figures() {
    let mut b = runs(5, 11, 1.1);
    b[0].driver_saturated = true;
    b[1].options.insert("payload".to_owned(), "1k".to_owned());
    let found = compare(&runs(5, 1, 1.0), &b).expect("the same scenario");
    let expected = "\
A          a/ (5 runs)
B          b/ (5 runs)
scenario   echo

NOT THE SAME IN A AND B
           payload: 20 in A, 1k | 20 in B

!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
!! THE DRIVER WAS SATURATED in 1 of 5 runs of B: their rate is the driver's,  !!
!! and their latency contains its queue.                                      !!
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!

                        A          B     shift       95 % interval  verdict
rate              100,001     90,919    -9.1 %    -9.6 % to -8.5 %  WORSE
p50               80.0 µs    88.0 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
p90                180 µs     198 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
p99                310 µs     341 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
p99.9              420 µs     462 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
max                470 µs     517 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
server cpu        9.70 µs    10.7 µs   +10.0 %   +9.4 % to +10.7 %  WORSE
driver cpu        12.1 µs    12.1 µs     0.0 %    -0.6 % to +0.6 %  noise
errors                  0          0         0              0 to 0  noise
server memory    8.58 MiB   8.58 MiB     0.0 %      0.0 % to 0.0 %  noise

how        The samples are the runs, compared by rank (Mann-Whitney; shift of
           Hodges and Lehmann). Of twenty figures that did not change one passes
           for changed.
result     B is worse in rate, p50, p90, p99, p99.9, max, server cpu. REGRESSION
           of 5 % or more: rate, p50, p90, p99, p99.9, server cpu.
";
    assert_eq!(table(&found, ["a/", "b/"], 0.05), expected);
}

#[test]
fn a_table_fits_eighty_columns_whatever_the_figures() {
    let mut b = runs(5, 11, 1e7);
    for run in &mut b {
        run.figures.insert(
            "a_figure_with_a_name_that_is_longer_than_its_column_us".to_owned(),
            1e12,
        );
        run.target = "ws://".to_owned() + &"x".repeat(200);
    }
    let mut a = runs(5, 1, 1.0);
    for run in &mut a {
        run.figures.insert(
            "a_figure_with_a_name_that_is_longer_than_its_column_us".to_owned(),
            1.0,
        );
    }
    for found in [compare(&a, &b), compare(&b, &a)] {
        let table = table(&found.expect("the same scenario"), ["a/", "b/"], 0.05);
        let wide = table.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{table}");
    }
}
