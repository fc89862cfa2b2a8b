//! One run: a pair of namespaces, a new server in one, the driver in the other, one report.
//!
//! Owns: the steps, and that everything begun is ended when a step fails. A failed run is a sample with an error.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::BenchOptions;
use super::candidate::Candidate;
use super::driver;
use super::netns::{Net, SERVER, Side};
use super::order::{Arm, Turn};
use super::process::{Running, Stop, Trouble};

/// The result of one run.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) turn: Turn,
    pub(super) report: Result<Value, String>,
    /// The line of `raw.jsonl`.
    pub(super) raw: Value,
}

impl Sample {
    /// The result in a few words.
    pub(super) fn summary(&self) -> String {
        let report = match &self.report {
            Ok(report) => report,
            Err(why) => return format!("failed: {why}"),
        };
        let figure = |pointer| {
            driver::figure(report, pointer).map_or_else(|| "?".to_owned(), |n| format!("{n:.1}"))
        };
        format!(
            "{} messages/s, {} µs of server CPU each, p99 {} µs, {} errors",
            figure("/messages_per_second"),
            figure("/server_cpu_us_per_message"),
            figure("/latency_us/p99"),
            figure("/errors"),
        )
    }
}

/// Runs `candidate` once. An error means that further runs make no sense either.
pub(super) fn run(
    options: &BenchOptions,
    stop: &Stop,
    candidate: &Candidate,
    value: &str,
    turn: Turn,
) -> Result<Sample, Trouble> {
    let stolen = stolen_ticks();
    let report = match attempt(options, stop, candidate, value, turn.arm) {
        Ok(report) => Ok(report),
        Err(Trouble::Run(why)) => Err(why),
        Err(other) => return Err(other),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let raw = json!({
        "round": turn.round,
        "candidate": candidate.name,
        "workload": candidate.workload_name(),
        "arm": turn.arm.name(),
        "set": (turn.arm == Arm::B).then(|| candidate.shown(value)),
        "time": now.map(|time| time.as_secs()).unwrap_or_default(),
        "load": load(),
        "stolen_ticks": stolen_ticks().saturating_sub(stolen),
        "driver": report.as_ref().ok(),
        "error": report.as_ref().err(),
    });
    Ok(Sample { turn, report, raw })
}

fn attempt(
    options: &BenchOptions,
    stop: &Stop,
    candidate: &Candidate,
    value: &str,
    arm: Arm,
) -> Result<Value, Trouble> {
    let net = Net::make("run")?;
    if arm == Arm::B {
        let set = candidate.set(&net, value, options.cpus);
        set.map_err(|why| Trouble::Run(format!("{}: {why}", candidate.name)))?;
    }
    let [server_cpu, driver_cpu] = options.cpus;
    let mut server = Running::start(
        "server",
        net.command(Side::Server, server_cpu)
            .arg(&options.program)
            .arg("server")
            .arg(format!("--wsuri=ws://{SERVER}:{PORT}"))
            // The longest queue that the namespace allows, so that somaxconn decides.
            .arg("--backlog")
            .args(["--workers=1", "--port=0", "--format=json", "--interval=1h"])
            .args(["--drain-timeout=0"]),
    )?;
    let ready = server.line(START_TIME_MAX, stop)?;
    let ready: Value = serde_json::from_str(&ready).unwrap_or_default();
    if ready["event"] != "listening" {
        return Err(Trouble::Run(
            "the server did not begin by saying where it listens".to_owned(),
        ));
    }
    let mut command = net.command(Side::Driver, driver_cpu);
    let workload = candidate.workload();
    driver::arguments(&mut command, options, workload, PORT, server.pid());
    let mut driver = Running::start("load driver", &mut command)?;
    let patience = workload.window(options.duration) + options.warmup + driver::OVERHEAD_MAX;
    let (status, stdout) = driver.end(patience, stop)?;
    server.terminate();
    // A driver that counted errors may exit with a code for it and still have a report.
    driver::report(&stdout).map_err(|why| {
        let complaint = driver.complaint();
        Trouble::Run(format!("{why} ({status}): {complaint}"))
    })
}

/// Any port is free, because the namespace is new.
const PORT: u16 = 9000;

/// Longest wait until the server listens.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// Load average of the last minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// CPU time that the hypervisor gave to others, over all CPUs, in ticks.
fn stolen_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpu = text.lines().next().unwrap_or_default();
    // "cpu" user nice system idle iowait irq softirq steal
    let steal = cpu.split_whitespace().nth(8);
    steal.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}
