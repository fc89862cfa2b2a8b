//! The start-up line and the statistics as JSON: one object each.
//!
//! Owns: the names of the fields, on which scripts rely. Counters have the names of [`Counters`].
//!
//! - `listening`: address, backlog, workers, io, io_note, web (null when off), pid, version.
//! - `stats`: period, duration_s, uptime_s, `workers` (one object per worker) and `total` (the same figures of all).
//!   Each has clients, `period` (the closed period: counts and their rates) and `total` (every counter since the
//!   start). `dropped` is the sum of all counters of messages that did not reach their receiver. The web page's `/stats.json` adds `live` (the last second), `server`, and for each worker `record`: the
//!   age of its figures (`age_s`) and the worker's clock when it sent them (`clock_ns`, from its own zero), so that
//!   two answers can be compared exactly. `record` is null until the first record has come. With a backplane there is `backplane`: pid
//!   and restarts of the bridge, and `total`, its counters since the start.

use serde_json::{Map, Value, json};

use super::bridge;
use super::fleet::{Figures, Fleet, Seat, WorkerPoint, as_f64};
use crate::options::Application;
use crate::stats::{self, Counters, Rates};
use crate::time::Instant;

/// The start-up line.
pub(super) fn listening(fleet: &Fleet) -> Value {
    let about = &fleet.about;
    let (io, io_note) = fleet.tiers();
    json!({
        "event": "listening",
        "address": about.address,
        "backlog": about.backlog,
        "workers": fleet.seats.len(),
        "io": io,
        "io_note": io_note,
        "web": about.web,
        "pid": about.pid,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// The last closed period, for stdout.
pub(super) fn stats(fleet: &Fleet, now: Instant) -> Value {
    let workers: Vec<_> = fleet
        .seats
        .iter()
        .enumerate()
        .map(|(index, seat)| worker(index, seat))
        .collect();
    let mut value = json!({
        "event": "stats",
        "period": fleet.period,
        "duration_s": round(fleet.period_length.as_secs_f64()),
        "uptime_s": round(now.since(fleet.about.started).as_secs_f64()),
        "workers": workers,
        "total": {
            "clients": fleet.total().clients,
            "period": figures(&fleet.closed()),
            "total": counters(&fleet.total()),
        },
    });
    if let Some(figures) = &fleet.bridge {
        value["backplane"] = backplane(figures);
    }
    value
}

fn backplane(figures: &bridge::Figures) -> Value {
    let total = figures.total();
    let pairs = stats::bridge::Counters::NAMES.iter().zip(total.to_array());
    let pairs = pairs.map(|(name, figure)| ((*name).to_owned(), json!(figure)));
    json!({
        "pid": figures.pid,
        "restarts": figures.restarts(),
        "total": Value::Object(pairs.collect::<Map<_, _>>()),
    })
}

/// The last closed period, the live figures and the server's settings, for the web page.
pub(super) fn page(fleet: &Fleet, now: Instant) -> Value {
    let mut value = stats(fleet, now);
    value["total"]["live"] = figures(&fleet.live());
    for (index, seat) in fleet.seats.iter().enumerate() {
        value["workers"][index]["live"] = figures(&seat.live.figures());
        value["workers"][index]["record"] = record(seat, now);
    }
    let mut server = listening(fleet);
    server["started_unix_s"] = json!(fleet.about.started_unix_s);
    server["options"] = Value::Object(
        fleet
            .about
            .settings
            .iter()
            .map(|(name, text)| (name.clone(), value_of(text)))
            .collect(),
    );
    server["services"] = services(&fleet.about.services);
    value["server"] = server;
    let counts = &fleet.api;
    value["api"] = json!({
        "requests": counts.requests,
        "unauthorized": counts.unauthorized,
        "failed": counts.failed,
        "missed": counts.missed,
        "published": counts.published,
    });
    value
}

/// Which paths serve which application, in the order of the options.
fn services(services: &[(String, Application)]) -> Value {
    let services = services.iter().map(|(path, application)| {
        let path = if path.is_empty() { "/*" } else { path };
        json!({ "path": path, "application": application.name() })
    });
    services.collect()
}

/// The plots: for each sample the seconds since the start, clients and rates of all workers, and lists with a figure of each worker.
pub(super) fn history(fleet: &Fleet) -> Value {
    let samples: Vec<_> = fleet
        .history()
        .map(|sample| {
            let each = |figure: fn(&WorkerPoint) -> f64| -> Vec<_> {
                sample
                    .workers
                    .iter()
                    .map(|worker| round(figure(worker)))
                    .collect()
            };
            json!({
                "uptime_s": round(sample.at.since(fleet.about.started).as_secs_f64()),
                "clients": sample.clients,
                "wire_bytes_in": round(sample.per_s.wire_bytes_in),
                "wire_bytes_out": round(sample.per_s.wire_bytes_out),
                "stream_bytes_in": round(sample.per_s.stream_bytes_in),
                "stream_bytes_out": round(sample.per_s.stream_bytes_out),
                "deliveries": round(sample.per_s.deliveries),
                "dropped": round(dropped_per_s(&sample.per_s)),
                "messages_in": each(|worker| worker.messages_in_per_s),
                "messages_out": each(|worker| worker.messages_out_per_s),
                "cpu_percent": each(|worker| worker.cpu_share * 100.0),
                "turn_ns_p99": each(|worker| as_f64(worker.turn_ns_p99)),
            })
        })
        .collect();
    json!({ "samples": samples })
}

fn worker(index: usize, seat: &Seat) -> Value {
    let total = seat.total();
    json!({
        "worker": index,
        "pid": seat.pid,
        "cpu": seat.cpu,
        "state": seat.state.name(),
        "restarts": seat.restarts,
        "io": seat.tier,
        "io_note": seat.tier_note,
        "clients": total.clients,
        "period": figures(&seat.closed.figures()),
        "total": counters(&total),
    })
}

fn record(seat: &Seat, now: Instant) -> Value {
    let Some(last) = seat.last_record else {
        return Value::Null;
    };
    // In microseconds, because readers compute rates from it.
    let age_us = u64::try_from(now.since(last.heard).as_micros()).unwrap_or(u64::MAX);
    json!({ "age_s": as_f64(age_us) / 1e6, "clock_ns": last.made.nanos() })
}

fn figures(figures: &Figures) -> Value {
    let Figures { delta, per_s, .. } = figures;
    let counted = |count: u64, rate: f64| json!({ "count": count, "per_s": round(rate) });
    json!({
        "duration_s": round(figures.seconds),
        "cpu_percent": round(figures.cpu_share * 100.0),
        "handshakes": counted(delta.handshakes, per_s.handshakes),
        "messages_in": counted(delta.messages_in, per_s.messages_in),
        "message_bytes_in": counted(delta.message_bytes_in, per_s.message_bytes_in),
        "messages_out": counted(delta.messages_out, per_s.messages_out),
        "message_bytes_out": counted(delta.message_bytes_out, per_s.message_bytes_out),
        "wire_bytes_in": counted(delta.wire_bytes_in, per_s.wire_bytes_in),
        "wire_bytes_out": counted(delta.wire_bytes_out, per_s.wire_bytes_out),
        "published": counted(delta.published, per_s.published),
        "deliveries": counted(delta.deliveries, per_s.deliveries),
        "late": counted(delta.late, per_s.late),
        "dropped": counted(dropped(delta), dropped_per_s(per_s)),
        "streams_opened": counted(delta.streams_opened, per_s.streams_opened),
        "stream_bytes_in": counted(delta.stream_bytes_in, per_s.stream_bytes_in),
        "stream_bytes_out": counted(delta.stream_bytes_out, per_s.stream_bytes_out),
        "turns": counted(delta.turns, per_s.turns),
        "drops": delta.drops,
        "enobufs": delta.enobufs,
        "partial_sends": delta.partial_sends,
        "turn_ns": { "p50": figures.turn_ns_p50, "p99": figures.turn_ns_p99, "max": figures.turn_ns_max },
    })
}

/// Messages that did not reach their receiver, whatever the reason.
const fn dropped(counters: &Counters) -> u64 {
    counters.drops
        + counters.late_dropped_oldest
        + counters.late_dropped_newest
        + counters.late_dropped_conflated
        + counters.late_dropped_too_big
        + counters.late_dropped_closed
        + counters.bus_missed
}

/// The same per second.
fn dropped_per_s(rates: &Rates) -> f64 {
    rates.drops
        + rates.late_dropped_oldest
        + rates.late_dropped_newest
        + rates.late_dropped_conflated
        + rates.late_dropped_too_big
        + rates.late_dropped_closed
        + rates.bus_missed
}

fn counters(counters: &Counters) -> Value {
    let pairs = Counters::NAMES.iter().zip(counters.to_array());
    Value::Object(
        pairs
            .map(|(name, figure)| ((*name).to_owned(), json!(figure)))
            .collect::<Map<_, _>>(),
    )
}

/// Rounds to three decimals, enough for a rate or a time in seconds.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A setting as a JSON value: switches and numbers without quotes.
fn value_of(text: &str) -> Value {
    match (text.parse::<bool>(), text.parse::<i64>()) {
        (Ok(on), _) => on.into(),
        (_, Ok(number)) => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::{self, fleet};
    use super::*;

    fn busy() -> Fleet {
        let mut fleet = fleet(2);
        let figures = Counters {
            clients: 5,
            messages_in: 10,
            messages_out: 40,
            message_bytes_out: 200,
            cpu_ns: 250_000_000,
            drops: 2,
            late_dropped_oldest: 3,
            ..Counters::default()
        };
        fleet.seats[1].handle_birth(101);
        fleet.seats[1].handle_record(Instant::ZERO, tests::record(1, 0, figures));
        fleet.close_period(Instant::from_nanos(2_000_000_000));
        fleet
    }

    #[test]
    fn the_first_object_is_listening() {
        let value = listening(&busy());
        assert_eq!(value["event"], "listening");
        assert_eq!(value["address"], "ws://127.0.0.1:9000");
        assert_eq!(
            (&value["pid"], &value["workers"], &value["backlog"]),
            (&json!(77), &json!(2), &json!(4096))
        );
        assert_eq!(value["web"], "http://127.0.0.1:8080/");
    }

    #[test]
    fn a_period_has_counts_rates_and_totals() {
        let value = stats(&busy(), Instant::from_nanos(2_000_000_000));
        assert_eq!(
            (&value["event"], &value["period"]),
            (&json!("stats"), &json!(1))
        );
        let worker = &value["workers"][1];
        assert_eq!(
            (&worker["worker"], &worker["pid"], &worker["clients"]),
            (&json!(1), &json!(101), &json!(5))
        );
        assert_eq!(
            worker["period"]["messages_in"],
            json!({ "count": 10, "per_s": 10.0 })
        );
        assert_eq!(worker["period"]["cpu_percent"], 25.0);
        assert_eq!(worker["total"]["message_bytes_out"], 200);
        assert_eq!(value["total"]["total"]["messages_out"], 40);
        assert_eq!(value["workers"][0]["state"], "starting");
        assert!(worker.get("live").is_none() && worker.get("record").is_none());
    }

    #[test]
    fn a_backplane_has_figures_of_its_own() {
        let mut fleet = busy();
        assert_eq!(stats(&fleet, Instant::ZERO).get("backplane"), None);
        fleet.bridge = Some(bridge::Figures::default());
        let value = stats(&fleet, Instant::ZERO);
        let shown = &value["backplane"];
        assert_eq!(
            (&shown["pid"], &shown["restarts"]),
            (&Value::Null, &json!(0))
        );
        assert_eq!(shown["total"]["connected"], 0);
    }

    #[test]
    fn the_page_also_sees_live_figures_options_and_history() {
        let mut fleet = busy();
        fleet.sample(Instant::from_nanos(3_000_000_000));
        let value = page(&fleet, Instant::from_nanos(3_000_000_000));
        assert_eq!(value["workers"][1]["live"]["messages_out"]["per_s"], 40.0);
        assert_eq!(value["total"]["live"]["messages_out"]["per_s"], 40.0);
        assert_eq!(value["server"]["options"]["workers"], 2);
        assert_eq!(value["workers"][0]["record"], Value::Null);
        let age = json!({ "age_s": 3.0, "clock_ns": 0 });
        assert_eq!(value["workers"][1]["record"], age);
        let sample = json!({
            "uptime_s": 3.0,
            "clients": 5,
            "wire_bytes_in": 0.0,
            "wire_bytes_out": 0.0,
            "stream_bytes_in": 0.0,
            "stream_bytes_out": 0.0,
            "deliveries": 0.0,
            "dropped": 5.0,
            "messages_in": [0.0, 10.0],
            "messages_out": [0.0, 40.0],
            "cpu_percent": [0.0, 25.0],
            "turn_ns_p99": [0.0, 20_095.0],
        });
        assert_eq!(history(&fleet), json!({ "samples": [sample] }));
        let dropped = json!({ "count": 5, "per_s": 5.0 });
        assert_eq!(value["total"]["live"]["dropped"], dropped);
    }

    #[test]
    fn services_are_those_of_the_options() {
        let of = |path: &str, application| services(&[(path.to_owned(), application)]);
        assert_eq!(
            of("/chat", Application::PubSub),
            json!([{ "path": "/chat", "application": "pubsub" }])
        );
        let everywhere = json!([{ "path": "/*", "application": "echo" }]);
        assert_eq!(of("", Application::Echo), everywhere);
        assert_eq!(services(&[]), json!([]), "an application of its own");
    }
}
