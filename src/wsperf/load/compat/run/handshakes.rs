//! The standalone form: the scenario `handshake` with a count, and its result as the original wrote it.

use std::ops::ControlFlow;
use std::time::Duration;

use super::super::standalone::{ConnectionStats, ResultFile, Standalone};
use super::addresses;
use crate::load::options::{Asking, IoTier, LoadOptions, Scenario, Target};
use crate::load::run;

/// Limit of a run (a week). The count ends it long before.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs the standalone form.
///
/// # Errors
/// Why there is no result, in a sentence.
pub fn handshakes(
    form: &Standalone,
    tier: IoTier,
    observe: &mut dyn FnMut(&run::Live) -> ControlFlow<()>,
) -> Result<ResultFile, String> {
    let uri = &form.uri;
    let addresses = addresses(uri)?;
    let target = Target {
        uri: uri.to_string(),
        addresses,
        host: uri.authority(),
        resource: uri.resource.clone(),
        subprotocols: Vec::new(),
        tls_name: uri.secure.then(|| uri.host.clone()),
        asking: Asking::default(),
    };
    let scenario = Scenario::Handshake {
        low: form.low,
        high: form.high,
        count: Some(form.connections as u64),
    };
    let options = LoadOptions {
        connections: form.connections,
        threads: form.threads.clamp(1, form.connections.min(form.high)),
        duration: WINDOW,
        warmup: Duration::ZERO,
        io: tier,
        ..LoadOptions::new(target, scenario)
    };
    let report = run::run(&options, observe);
    Ok(file(&report.map_err(|error| error.sentence)?))
}

fn file(report: &run::Report) -> ResultFile {
    let outcome = &report.outcome;
    let count = |name| outcome.figures.get(name).map_or(0, |figure| whole(*figure));
    let started = outcome.began_unix_ms * 1_000_000;
    ResultFile {
        total_duration: whole(outcome.duration_s * 1e6),
        started,
        ended: started + whole(outcome.duration_s * 1e9),
        handshake_throttle_count: count("throttles"),
        handshake_resume_count: count("resumes"),
        connection_stats: report
            .handshakes
            .iter()
            .map(ConnectionStats::from)
            .collect(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count or a time: not negative, and below 2^53"
)]
fn whole(figure: f64) -> u64 {
    figure.round() as u64
}
