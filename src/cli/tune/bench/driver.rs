//! The load driver as another process: its command line, and the fields of its report.
//!
//! Owns: these two (docs/wsperf.md). Never: produces load itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::BenchOptions;
use super::candidate::Workload;
use super::netns::SERVER;

/// Adds the driver's arguments to a command that runs in its namespace.
pub(super) fn arguments(
    command: &mut Command,
    options: &BenchOptions,
    workload: &Workload,
    port: u16,
    server_pid: u32,
) {
    match &options.driver {
        Some(driver) => command.arg(driver),
        None => command.arg(Path::new(&options.program)).arg("wsperf"),
    };
    let (scenario, load) = workload
        .arguments
        .split_first()
        .expect("the embedded file names a scenario: held by a test");
    let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
    command
        .arg(scenario)
        .arg(format!("ws://{SERVER}:{port}/"))
        .args(load)
        .arg(format!(
            "--duration={}",
            milliseconds(workload.window(options.duration))
        ))
        .arg(format!("--warmup={}", milliseconds(options.warmup)))
        .arg("--threads=1")
        .arg(format!("--server-pid={server_pid}"))
        .arg("--format=json");
}

/// Longest time of a run in addition to its windows: in a connect storm against a short queue, clients retry after
/// seconds.
pub(super) const OVERHEAD_MAX: Duration = Duration::from_secs(30);

/// Long fields of the report that no comparison needs.
const BULKY: [&str; 2] = ["latency_histogram", "intervals"];

/// Parses the driver's output.
pub(super) fn report(stdout: &str) -> Result<Value, String> {
    let mut report: Value = serde_json::from_str(stdout)
        .map_err(|error| format!("the load driver printed no JSON object: {error}"))?;
    let Some(object) = report.as_object_mut() else {
        return Err("the load driver printed JSON that is no object".to_owned());
    };
    for field in BULKY {
        object.remove(field);
    }
    let messages = figure(&report, "/messages");
    match messages {
        Some(messages) if messages > 0.0 => Ok(report),
        _ => Err("the load driver counted no message".to_owned()),
    }
}

/// A number of the report.
pub(super) fn figure(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

/// Whether the driver was saturated.
pub(super) fn saturated(report: &Value) -> bool {
    report["driver_saturated"] == true
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"scenario": "echo", "connections": 64, "duration_s": 1.5, "messages": 150000,
        "messages_per_second": 100000.0, "errors": 0, "latency_us": {"p50": 500.5, "p90": 600, "p99": 700, "p999": 800, "max": 900},
        "driver_cpu_us_per_message": 4.5, "driver_saturated": true, "server_cpu_us_per_message": 5.5,
        "latency_histogram": "long", "intervals": []}"#;

    #[test]
    fn figures_are_found_by_their_place_and_long_fields_are_dropped() {
        let report = report(REPORT).expect("a report");
        assert_eq!(figure(&report, "/latency_us/p50"), Some(500.5));
        assert_eq!(figure(&report, "/server_cpu_us_per_message"), Some(5.5));
        assert_eq!(figure(&report, "/nothing"), None);
        assert!(saturated(&report));
        assert!(report.get("latency_histogram").is_none());
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for text in [
            "",
            "12",
            "{}",
            "{\"messages\": 0}",
            "panicked",
            "{\"messages\": 5",
        ] {
            assert!(report(text).is_err(), "{text}");
        }
    }
}
