//! The effective options of a run, as they would have to be typed to mean what they mean now.
//!
//! Owns: value to text, the inverse of `resolve`. Never: judges a value.

use super::args::{Kind, LoadArgs};
use super::resolve::{Run, show_list};
use crate::load::options::{Churn, IoTier, LoadOptions, Payload, Scenario, Verify};
use crate::options::Format;
use ringway_command::Text;
use ringway_command::file;
use ringway_command::values::{show_duration, show_size};

/// As a file that `--config` accepts.
pub(super) fn toml(kind: Kind, run: &Run) -> String {
    let mut table = file::to_table(&effective(run));
    table.retain(|name, _| kind.knows(name));
    toml::to_string(&table).expect("plain values serialise")
}

fn effective(run: &Run) -> LoadArgs {
    let options = &run.options;
    let (target, outputs) = (&options.target, &options.outputs);
    let list = |shown: String| {
        if shown.is_empty() {
            Vec::new()
        } else {
            vec![Text(shown)]
        }
    };
    let file =
        |path: &Option<std::path::PathBuf>| path.as_ref().and_then(|path| text(path.display()));
    let mut args = LoadArgs {
        uri: text(&target.uri),
        connections: text(options.connections),
        duration: text(show_duration(options.duration)),
        warmup: text(show_duration(options.warmup)),
        threads: text(options.threads),
        cpus: match options.cpus.as_slice() {
            [] => text("none"),
            cpus => text(show_list(cpus)),
        },
        seed: text(options.seed),
        io: text(match options.io {
            IoTier::Auto => "auto",
            IoTier::Epoll => "epoll",
            IoTier::Uring => "uring",
        }),
        rate: options.rate.and_then(text),
        in_flight: options
            .rate
            .is_none()
            .then(|| Text(options.in_flight.to_string())),
        size: text(sizes(&options.payload)),
        binary: text(options.payload.binary),
        unbatched: text(options.unbatched),
        verify: text(match options.verify {
            Verify::Exact => "exact",
            Verify::Length => "length",
        }),
        connecting: text(options.connecting_max),
        timeout: text(show_duration(options.timeout)),
        source: list(show_list(&options.sources)),
        subprotocol: list(target.subprotocols.join(",")),
        max_head: text(show_size(options.max_head as u64)),
        max_headers: text(options.max_headers),
        congestion: options.congestion.as_ref().and_then(text),
        server_pid: options.server_pid.and_then(text),
        server_stats: options.server_stats.and_then(text),
        format: text(match run.format {
            Format::Json => "json",
            Format::Table => "table",
        }),
        json: file(&outputs.json),
        hdr: file(&outputs.hdr),
        html: file(&outputs.html),
        silence: text(run.silence),
        ..LoadArgs::default()
    };
    scenario(options, &mut args);
    args
}

/// The scenario's own.
fn scenario(options: &LoadOptions, args: &mut LoadArgs) {
    match &options.scenario {
        Scenario::Echo => {}
        Scenario::Handshake { low, high, count } => {
            args.low = text(low);
            args.high = text(high);
            args.count = text(count.unwrap_or(0));
        }
        Scenario::Massconnect {
            batch,
            batch_delay,
            retry_delay,
            ping_interval,
        } => {
            args.batch = text(batch);
            args.batch_delay = text(show_duration(*batch_delay));
            args.retry_delay = text(show_duration(*retry_delay));
            args.ping_interval = text(show_duration(ping_interval.unwrap_or_default()));
        }
        Scenario::Broadcast {
            senders,
            others_only,
        } => {
            args.senders = text(senders);
            args.others_only = text(others_only);
        }
        Scenario::Mixed { idle } => args.idle = text(idle),
        Scenario::Stress(churn) | Scenario::Soak(churn) => {
            let Churn {
                reconnects_per_second,
                resets_per_second,
                slow_readers,
                slow_bytes_per_second,
            } = churn;
            args.reconnects = text(reconnects_per_second);
            args.resets = text(resets_per_second);
            args.slow_readers = text(slow_readers);
            args.slow_rate = text(slow_bytes_per_second);
        }
    }
}

fn sizes(payload: &Payload) -> String {
    match payload.sizes.as_slice() {
        [(size, _)] => show_size(*size as u64),
        sizes => {
            let each = sizes
                .iter()
                .map(|(size, weight)| format!("{}:{weight}", show_size(*size as u64)));
            each.collect::<Vec<_>>().join(",")
        }
    }
}

fn text(value: impl ToString) -> Option<Text> {
    Some(Text(value.to_string()))
}
