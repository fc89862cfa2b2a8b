//! The options of a run as text, for its result. Two runs can be compared only if these are equal.

use std::collections::BTreeMap;
use std::time::Duration;

use super::options::{Check, Content, IoTier, LoadOptions, Pubsub, Scenario, Verify};

type OptionsText = BTreeMap<String, String>;

/// Every option of the run by name.
pub(super) fn show(options: &LoadOptions) -> OptionsText {
    let mut text = OptionsText::new();
    let mut add = |name: &str, value: String| {
        text.insert(name.to_owned(), value);
    };
    add("uri", options.target.uri.clone());
    match options.scenario {
        // One of them publishes.
        Scenario::Pubsub(_) => add("clients", (options.connections - 1).to_string()),
        _ => add("connections", options.connections.to_string()),
    }
    add("threads", options.threads.to_string());
    add("duration", time(options.duration));
    add("warmup", time(options.warmup));
    add("seed", options.seed.to_string());
    add("timeout", time(options.timeout));
    add("connecting", options.connecting_max.to_string());
    let io = match options.io {
        IoTier::Auto => "auto",
        IoTier::Uring => "uring",
        IoTier::Epoll => "epoll",
    };
    add("io", io.to_owned());
    if !options.sources.is_empty() {
        let sources: Vec<_> = options.sources.iter().map(ToString::to_string).collect();
        add("source", sources.join(","));
    }
    // Names only: values may be secrets, and results are passed on.
    let asking = &options.target.asking;
    if !asking.headers.is_empty() {
        let names: Vec<_> = asking
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        add("header", names.join(","));
    }
    if let Some(origin) = &asking.origin {
        add("origin", origin.clone());
    }
    if let Some(proxy) = &asking.proxy {
        add("proxy", proxy.authority.clone());
    }
    if let Some(congestion) = &options.congestion {
        add("congestion", congestion.clone());
    }
    if options.target.tls_name.is_some() {
        add("insecure", options.tls.insecure.to_string());
        add("tls-resume", options.tls.resume.to_string());
    }
    match &options.scenario {
        Scenario::Handshake { .. } | Scenario::Massconnect { .. } => {}
        Scenario::Replay(_) => show_deflate(options, &mut text),
        Scenario::Pubsub(pubsub) => show_pubsub(options, pubsub, &mut text),
        _ => show_messages(options, &mut text),
    }
    show_scenario(&options.scenario, &mut text);
    text
}

fn time(time: Duration) -> String {
    format!("{time:?}")
}

fn sizes(options: &LoadOptions) -> String {
    match options.payload.sizes[..] {
        [(size, _)] => size.to_string(),
        ref several => {
            let pairs: Vec<_> = several
                .iter()
                .map(|(size, weight)| format!("{size}:{weight}"))
                .collect();
            pairs.join(",")
        }
    }
}

fn show_pubsub(options: &LoadOptions, pubsub: &Pubsub, text: &mut OptionsText) {
    let Pubsub {
        topic,
        topics,
        batch,
        connects_per_second,
    } = pubsub;
    for (name, value) in [
        ("payload", sizes(options)),
        ("topic", topic.clone()),
        ("topics", topics.to_string()),
        ("batch", batch.to_string()),
    ] {
        text.insert(name.to_owned(), value);
    }
    for (name, value) in [("uprate", options.rate), ("rate", *connects_per_second)] {
        if let Some(value) = value {
            text.insert(name.to_owned(), value.to_string());
        }
    }
}

/// The options of messages, for the scenarios that send some.
fn show_messages(options: &LoadOptions, text: &mut OptionsText) {
    let size = sizes(options);
    let verify = match options.verify {
        Verify::Exact => "exact",
        Verify::Length => "length",
    };
    let pace = match options.rate {
        Some(rate) => ("rate", rate.to_string()),
        None => ("in-flight", options.in_flight.to_string()),
    };
    let unbatched = options.unbatched.to_string();
    let binary = options.payload.binary.to_string();
    let payload = match options.payload.content {
        Content::Random => "random",
        Content::Json => "json",
    };
    for (name, value) in [
        ("size", size),
        ("binary", binary),
        ("payload", payload.to_owned()),
        ("unbatched", unbatched),
        ("verify", verify.to_owned()),
        pace,
    ] {
        text.insert(name.to_owned(), value);
    }
    show_deflate(options, text);
}

fn show_deflate(options: &LoadOptions, text: &mut OptionsText) {
    text.insert("deflate".to_owned(), options.deflate.is_some().to_string());
    if let Some(deflate) = &options.deflate {
        for (name, value) in [
            ("deflate-level", deflate.level.to_string()),
            ("deflate-takeover", deflate.receives.takeover.to_string()),
            ("deflate-window", deflate.receives.window_bits.to_string()),
        ] {
            text.insert(name.to_owned(), value);
        }
    }
}

fn show_scenario(scenario: &Scenario, text: &mut OptionsText) {
    let mut add = |name: &str, value: String| {
        text.insert(name.to_owned(), value);
    };
    match scenario {
        Scenario::Echo | Scenario::Pubsub(_) => {}
        Scenario::Handshake { low, high, count } => {
            add("low", low.to_string());
            add("high", high.to_string());
            if let Some(count) = count {
                add("count", count.to_string());
            }
        }
        Scenario::Massconnect {
            batch,
            batch_delay,
            retry_delay,
            ping_interval,
        } => {
            add("batch", batch.to_string());
            add("batch-delay", time(*batch_delay));
            add("retry-delay", time(*retry_delay));
            add(
                "ping-interval",
                ping_interval.map_or_else(|| "0".to_owned(), time),
            );
        }
        Scenario::Broadcast {
            senders,
            others_only,
        } => {
            add("senders", senders.to_string());
            add("others-only", others_only.to_string());
        }
        Scenario::Mixed { idle } => add("idle", idle.to_string()),
        Scenario::Replay(replay) => {
            add("file", replay.file.display().to_string());
            let speed = replay.speed.map(|speed| format!("{speed}x"));
            add("speed", speed.unwrap_or_else(|| "max".to_owned()));
            let check = match replay.check {
                Check::Exact => "exact",
                Check::Count => "count",
                Check::None => "none",
            };
            add("check", check.to_owned());
            add("repeat", replay.repeat.to_string());
            if let Some(rate) = replay.connects_per_second {
                add("rate", rate.to_string());
            }
        }
        Scenario::Stress(churn) | Scenario::Soak(churn) => {
            add("reconnects", churn.reconnects_per_second.to_string());
            add("resets", churn.resets_per_second.to_string());
            add("slow-readers", churn.slow_readers.to_string());
            add("slow-rate", churn.slow_bytes_per_second.to_string());
        }
    }
}
