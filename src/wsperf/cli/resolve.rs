//! What was given for a scenario, turned into what it means: every value, and how values go together.
//!
//! Owns: the sentences for options that do not go together. Never: makes a system call, asks for the address of a name.

use super::args::Kind;
use super::lists::show_list;
use super::options::{COMPRESSION, Own, Run, Senders, senders_up_to};
use super::pubsub;
use super::replay;
use crate::load::options::{Churn, STAMP_BYTES, Scenario, is_stdout};
use crate::load::tls::TlsTrust;
use ringway_command::Text;
use ringway_command::judge::{BadOption, Resolved, value};
use ringway_command::kinds::Decimal;
use ringway_command::options::{Defined, Given};

/// Makes a run out of what was given; `cpus` are those that this process may use, in ascending order.
pub(super) fn run<D: Defined<Options = Run>>(
    kind: Kind,
    given: &Given<D>,
    cpus: &[usize],
) -> Resolved<Run> {
    // An option that would be ignored is a mistake.
    if let Some(name) = given.names().find(|name| !kind.knows(name)) {
        return Err(BadOption(format!(
            "--{name} means nothing to {}: leave it off",
            kind.name()
        )));
    }
    let mut run = Run::new(kind);
    given.apply(&mut run)?;
    let subprotocols = std::mem::take(&mut run.options.target.subprotocols);
    run.options.target = run.server.target(subprotocols);
    run.asking.check(&run.server.uri)?;
    run.options.target.asking = run.asking.asking(&run.server.uri);
    pinned(given, &mut run, cpus)?;
    messages(kind, given, &run)?;
    run.options.deflate = run.deflate.then_some(run.compression);
    if !run.deflate && run.compression != COMPRESSION {
        return Err(given.deflate_is_missing());
    }
    let may_be_tls = run.options.target.tls_name.is_some() || run.asking.redirects_max.is_some();
    if !may_be_tls && run.options.tls != TlsTrust::default() {
        let sentence = "--cacert, --insecure and --tls-resume are for TLS: give a wss:// URI, or leave them off";
        return Err(BadOption(sentence.to_owned()));
    }
    run.options.scenario = scenario(kind, given, &mut run)?;
    let files = run.options.outputs.files();
    if files.into_iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(BadOption(
            "only one of --json, --hdr and --html can be -, which is stdout: give the others a file"
                .to_owned(),
        ));
    }
    Ok(run)
}

/// The CPUs of the threads.
fn pinned<D: Defined>(given: &Given<D>, run: &mut Run, allowed: &[usize]) -> Resolved<()> {
    let options = &mut run.options;
    let Some(text) = given.text("cpus") else {
        // The only CPU is the server's as well.
        let threads = if allowed.len() < 2 {
            0
        } else {
            options.threads
        };
        let first = allowed.len().saturating_sub(threads);
        options.cpus = allowed.get(first..).unwrap_or_default().to_vec();
        return Ok(());
    };
    let foreign = |cpu: &&usize| !allowed.is_empty() && !allowed.contains(cpu);
    match options.cpus.iter().find(foreign) {
        Some(cpu) => Err(BadOption(format!(
            "--cpus {text}: this process may not run on CPU {cpu}, only on {}",
            show_list(allowed)
        ))),
        None => Ok(()),
    }
}

fn messages<D: Defined>(kind: Kind, given: &Given<D>, run: &Run) -> Resolved<()> {
    if given.text("rate").is_some() && given.text("in-flight").is_some() {
        return Err(BadOption(
            "--in-flight is for a closed loop, and --rate makes an open one: leave one of them off"
                .to_owned(),
        ));
    }
    let sizes = &run.options.payload.sizes;
    let (text, least) = (
        given.text("size"),
        sizes.iter().map(|(size, _)| *size).min(),
    );
    let (Kind::Broadcast, Some(text), Some(least)) = (kind, text, least) else {
        return Ok(());
    };
    if least < STAMP_BYTES {
        return Err(BadOption(format!(
            "--size {text} is too small: a message of a broadcast carries its sender, number and time in \
             {STAMP_BYTES} bytes"
        )));
    }
    if sizes.len() > 1 {
        return Err(BadOption(format!(
            "--size {text}: all messages of a broadcast have the same size; give one"
        )));
    }
    Ok(())
}

fn scenario<D: Defined>(kind: Kind, given: &Given<D>, run: &mut Run) -> Resolved<Scenario> {
    let (own, connections) = (&mut run.own, run.options.connections);
    Ok(match kind {
        Kind::Echo => Scenario::Echo,
        Kind::Handshake => {
            if given.text("low").is_none() {
                own.low = own.low.min(own.high);
            }
            let Own {
                low, high, count, ..
            } = *own;
            if low > high {
                return Err(BadOption(format!(
                    "--low {low} is above --high {high}: lower one or raise the other"
                )));
            }
            Scenario::Handshake { low, high, count }
        }
        Kind::Massconnect => Scenario::Massconnect {
            batch: own.batch,
            batch_delay: own.batch_delay,
            retry_delay: own.retry_delay,
            ping_interval: own.ping_interval,
        },
        Kind::Broadcast => {
            let senders = match own.senders {
                Senders::All => connections,
                Senders::Some(senders) => {
                    let text = senders.to_string();
                    senders_up_to(connections as u64, &text)
                        .map_err(|wrong| BadOption(format!("--senders {text}{wrong}")))?
                }
            };
            own.senders = Senders::Some(senders);
            Scenario::Broadcast {
                senders,
                others_only: own.others_only,
            }
        }
        Kind::Pubsub => {
            run.options.connections = own.clients + 1; // and the one that publishes
            Scenario::Pubsub(pubsub::scenario(own)?)
        }
        Kind::Mixed => Scenario::Mixed { idle: own.idle },
        Kind::Stress => Scenario::Stress(churn(own)),
        Kind::Soak => Scenario::Soak(churn(own)),
        Kind::Replay => Scenario::Replay(replay::scenario(own)?),
    })
}

const fn churn(own: &Own) -> Churn {
    Churn {
        reconnects_per_second: own.reconnects_per_second,
        resets_per_second: own.resets_per_second,
        slow_readers: own.slow_readers,
        slow_bytes_per_second: as_f64(own.slow_bytes_per_second),
    }
}

/// A number that may have a fraction, or a suffix such as `50k`.
pub(super) fn number(
    name: &str,
    text: &Option<Text>,
    range: std::ops::RangeInclusive<f64>,
) -> Resolved<Option<f64>> {
    value(name, text, &Decimal(range))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^53 by the limits of the options"
)]
pub(super) const fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
