//! A result as a page: the main figures, the plots, the tables, the options.
//!
//! Owns: the order of the page. The frame and style are in `page`, the drawing in `plot`.

use std::fmt::Write as _;

use super::page::{Tile, escape, table, tiles};
use super::table::{
    SATURATED, calls, figure_name, figure_text, kinds, machine, noun, server_saturated, shape,
    singular, versions,
};
use super::units::{bytes, date, grouped, percent, rate, time};
use super::{charts, page};
use crate::load::outcome::{Outcome, Server};

/// The page, in one file that needs no other.
pub fn render(outcome: &Outcome) -> String {
    let mut body = header(outcome);
    body.push_str(&tiles(&headline(outcome)));
    body.push_str(&notes(&outcome.notes));
    let plots = charts::of(outcome);
    if !plots.is_empty() {
        body.push_str("<h2>Plots</h2>\n");
        plots.iter().for_each(|plot| body.push_str(&plot.render()));
    }
    body.push_str("<h2>Figures</h2>\n");
    body.push_str(&latency(outcome));
    body.push_str(&cpu(outcome));
    body.push_str(&errors(outcome));
    body.push_str(&memory(outcome));
    body.push_str(&threads(outcome));
    if let Some(known) = &outcome.server {
        body.push_str(&server(known));
    }
    let own = outcome.figures.iter();
    let own: Vec<_> = own
        .map(|(name, value)| vec![figure_name(name).to_owned(), figure_text(name, *value)])
        .collect();
    body.push_str(&table("Of this scenario", &[], &own));
    body.push_str(&measured_on(outcome));
    body.push_str(&options(outcome));
    let _ = writeln!(
        body,
        "<footer>ringway wsperf {}</footer>",
        escape(&outcome.version)
    );
    page::render(&format!("{} {}", outcome.scenario, outcome.target), &body)
}

/// The notes, if there are any.
pub(super) fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h2>Notes</h2>\n<ul class=notes>\n");
    for note in notes {
        let _ = writeln!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul>\n");
    out
}

/// The machine and the versions of a run.
pub(super) fn measured_on(outcome: &Outcome) -> String {
    let Some(machine) = machine(outcome) else {
        return String::new();
    };
    let rows = [("machine", machine), ("versions", versions(outcome))];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table("Measured on", &[], &rows)
}

/// The options of a run.
pub(super) fn options(outcome: &Outcome) -> String {
    let rows = outcome.options.iter();
    let rows: Vec<_> = rows
        .map(|(name, value)| vec![name.clone(), value.clone()])
        .collect();
    table("Options", &[], &rows)
}

fn header(outcome: &Outcome) -> String {
    let (scenario, target) = (escape(&outcome.scenario), escape(&outcome.target));
    let (shape, began) = (escape(&shape(outcome)), date(outcome.began_unix_ms));
    let mut out = format!(
        "<header>\n<h1>{scenario} <span>{target}</span></h1>\n<p>{shape}</p>\n<p>{began}</p>\n</header>\n"
    );
    if outcome.driver_saturated {
        let _ = writeln!(out, "<p class=alarm role=alert>{}</p>", escape(SATURATED));
    }
    out
}

fn headline(outcome: &Outcome) -> Vec<Tile> {
    let noun = noun(&outcome.scenario);
    let latency = &outcome.latency_us;
    let offered = outcome.offered_per_second.filter(|offered| *offered > 0.0);
    let offered = offered.map(|offered| outcome.messages_per_second / offered);
    let measured = |us| {
        if latency.samples == 0 {
            "–".to_owned()
        } else {
            time(us)
        }
    };
    let errors: Vec<_> = kinds(&outcome.errors_by_kind)
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    let each = singular(&outcome.scenario);
    let server = outcome.server_cpu_us_per_message;
    let busy = if outcome.server_saturated == Some(true) {
        ", saturated"
    } else {
        ""
    };
    vec![
        Tile {
            name: "Rate",
            value: format!("{} /s", rate(outcome.messages_per_second)),
            about: offered.map_or_else(
                || noun.to_owned(),
                |share| format!("{noun}, {} of offered", percent(share)),
            ),
            bad: outcome.driver_saturated,
        },
        Tile {
            name: "Latency p50",
            value: measured(latency.p50),
            about: format!("mean {}", measured(latency.mean)),
            bad: false,
        },
        Tile {
            name: "Latency p99",
            value: measured(latency.p99),
            about: format!("max {}", measured(latency.max)),
            bad: false,
        },
        Tile {
            name: "Server CPU",
            value: server.map_or_else(|| "unknown".to_owned(), time),
            about: format!("per {each}{busy}"),
            bad: false,
        },
        Tile {
            name: "Errors",
            value: grouped(outcome.errors as f64),
            about: if errors.is_empty() {
                "none of any kind".to_owned()
            } else {
                errors.join(", ")
            },
            bad: outcome.errors > 0,
        },
    ]
}

fn latency(outcome: &Outcome) -> String {
    let latency = &outcome.latency_us;
    if latency.samples == 0 {
        return String::new();
    }
    let head = [
        "samples", "min", "mean", "± σ", "p50", "p90", "p99", "p99.9", "p99.99", "max",
    ];
    let figures = [
        latency.min,
        latency.mean,
        latency.stddev,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.p9999,
        latency.max,
    ];
    let samples = grouped(latency.samples as f64);
    let row = [samples].into_iter().chain(figures.map(time)).collect();
    let mut out = table("Latency", &head, &[row]);
    let about = format!(
        "</table>\n<p class=empty>{}</p>",
        escape(&outcome.latency_is)
    );
    out = out.replace("</table>", &about);
    out
}

fn cpu(outcome: &Outcome) -> String {
    let unknown = || "–".to_owned();
    let saturated = |yes| if yes { "saturated" } else { "no" }.to_owned();
    let noun = singular(&outcome.scenario);
    let (per, per_call) = (format!("per {noun}"), format!("system calls per {noun}"));
    let head = ["", &per, "user mode", &per_call, "busy", "saturated"];
    let enters = calls(outcome).map_or_else(unknown, |calls| format!("{calls:.3}"));
    let each = |us: f64| match outcome.messages {
        0 => unknown(),
        _ => time(us),
    };
    let threads = outcome.driver.iter().map(|thread| thread.utilisation);
    let mut rows = vec![vec![
        "driver".to_owned(),
        each(outcome.driver_cpu_us_per_message),
        each(outcome.driver_user_us_per_message),
        enters,
        percent(threads.fold(0.0, |sum, one| sum + one)),
        saturated(outcome.driver_saturated),
    ]];
    if let Some(server) = &outcome.server {
        let busy = server.processes.iter().map(|one| one.utilisation);
        rows.push(vec![
            "server".to_owned(),
            outcome.server_cpu_us_per_message.map_or_else(unknown, time),
            unknown(),
            server
                .enters_per_message
                .map_or_else(unknown, |calls| format!("{calls:.3}")),
            percent(busy.fold(0.0, |sum, one| sum + one)),
            match (outcome.server_saturated, server_saturated(outcome)) {
                (Some(false), partly) if !partly.is_empty() => partly.to_lowercase(),
                (known, _) => known.map_or_else(unknown, saturated),
            },
        ]);
    }
    table("CPU", &head, &rows)
}

fn errors(outcome: &Outcome) -> String {
    let kinds = kinds(&outcome.errors_by_kind);
    let rows: Vec<_> = kinds
        .iter()
        .map(|(kind, times)| vec![(*kind).to_owned(), grouped(*times as f64)])
        .collect();
    table("Errors", &[], &rows)
}

fn memory(outcome: &Outcome) -> String {
    let Some(server) = &outcome.server else {
        return String::new();
    };
    let (before, after) = (
        server.memory_before_bytes as f64,
        server.memory_bytes as f64,
    );
    let mut row = vec![bytes(before), bytes(after)];
    let each = (outcome.connections > 0 && after > before)
        .then(|| bytes((after - before) / outcome.connections as f64));
    row.push(each.unwrap_or_else(|| "–".to_owned()));
    row.push(
        server
            .kernel_tcp_bytes
            .map_or_else(|| "–".to_owned(), |kernel| bytes(kernel as f64)),
    );
    let head = [
        "server before",
        "at the end",
        "per connection",
        "TCP in the kernel",
    ];
    table("Memory", &head, &[row])
}

fn threads(outcome: &Outcome) -> String {
    let unknown = || "–".to_owned();
    let whole = |number: u64| grouped(number as f64);
    let threads = outcome.driver.iter().enumerate().map(|(at, thread)| {
        vec![
            at.to_string(),
            thread.cpu.map_or_else(unknown, |cpu| cpu.to_string()),
            whole(thread.connections),
            whole(thread.messages),
            percent(thread.utilisation),
            thread.waiting.map_or_else(unknown, percent),
            time(thread.user_s * 1e6),
            time(thread.system_s * 1e6),
            whole(thread.enters),
            whole(thread.sends),
            yes_no(thread.saturated),
            thread.late_p99_us.map_or_else(unknown, time),
        ]
    });
    let head = [
        "thread",
        "cpu",
        "connections",
        "messages",
        "busy",
        "waited",
        "user",
        "system",
        "turns",
        "sends",
        "saturated",
        "late p99",
    ];
    table("Driver threads", &head, &threads.collect::<Vec<_>>())
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// The server's processes, and its workers if the server has statistics of its own.
fn server(server: &Server) -> String {
    let whole = |number: u64| grouped(number as f64);
    let processes = server.processes.iter().map(|one| {
        vec![
            format!("{} {}", one.pid, one.name),
            whole(one.threads),
            time(one.cpu_s * 1e6),
            percent(one.utilisation),
            yes_no(one.saturated),
            percent(one.waiting),
            whole(one.context_switches),
            bytes(one.resident_bytes as f64),
        ]
    });
    let head = [
        "process",
        "threads",
        "cpu time",
        "busy",
        "saturated",
        "waited",
        "context switches",
        "resident",
    ];
    let mut out = table("Server processes", &head, &processes.collect::<Vec<_>>());
    let workers = server.workers.iter().map(|worker| {
        vec![
            worker.index.to_string(),
            whole(worker.clients),
            whole(worker.messages),
            percent(worker.utilisation),
            yes_no(worker.saturated),
        ]
    });
    let head = ["worker", "connections", "messages", "busy", "saturated"];
    out.push_str(&table(
        "Server workers",
        &head,
        &workers.collect::<Vec<_>>(),
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_page_says_everything() {
        let page = render(&samples::filled());
        let expected = [
            "<h1>echo <span>ws://127.0.0.1:9001/</span></h1>",
            "2023-11-14 22:13:20 UTC",
            "<p class=alarm role=alert>THE DRIVER WAS SATURATED.",
            "<b>98,446 /s</b><small>messages, 98 % of offered</small>",
            "<div class=bad><dt>Errors</dt><dd><b>36</b>",
            "<li>Driver and server share a CPU, so each of them costs the other time.</li>",
            "<tr><td>server<td>9.70 µs<td>–<td>0.050<td>97 %<td>saturated</tr>",
            "<tr><td>handshake_close_p99<td>250 µs</tr>",
            "<tr><td>machine<td>Some CPU @ 2.00GHz, 4 CPUs, 7.45 GiB, Linux 6.12.0</tr>",
            "<tr><td>versions<td>wsperf 0.1.0; server: Ringway 0.1.0</tr>",
            "<tr><td>rate<td>100k</tr>",
            "<tr><td>4711 ringway<td>1<td>9.70 s<td>97 %<td>yes<td>1 %<td>1,200<td>8.58 MiB</tr>",
        ];
        for text in expected {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.matches("<figure>").count(), 6);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn nothing_measured_makes_a_page_without_plots() {
        let page = render(&Outcome::default());
        assert!(!page.contains("<figure>") && !page.contains("<h2>Plots"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn what_others_named_is_text() {
        let mut outcome = samples::filled();
        let name = "<img src=x onerror=alert(1)>".to_owned();
        outcome.target.clone_from(&name);
        outcome.scenario.clone_from(&name);
        outcome.notes.push(name.clone());
        outcome.options.insert(name.clone(), name.clone());
        outcome.figures.insert(name.clone(), 1.0);
        outcome.latency_is.clone_from(&name);
        outcome.server.as_mut().expect("known").processes[0].name = name;
        let page = render(&outcome);
        assert!(!page.contains("<img"));
        assert_eq!(
            page.matches("&lt;img src=x onerror=alert(1)&gt;").count(),
            10
        );
    }
}
