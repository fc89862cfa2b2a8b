//! A result as a table for people, at most 80 columns wide.
//!
//! Owns: its layout. A row appears only if there is something to say; a saturated driver is shown in a box.

use std::fmt::Write as _;

use super::units::{bytes, count, grouped, percent, rate, time};
use crate::load::outcome::{Errors, Machine, Outcome, Server};

/// Width of a terminal, assumed.
pub(super) const WIDTH: usize = 80;

/// Columns left of a row's text: the longest name and two blanks.
const MARGIN: usize = 11;

/// A blank at which no line is wrapped.
const TIED: char = '\u{a0}';

/// Most workers that are printed one by one. Of more, only the extremes are.
const BALANCE_ROWS_MAX: usize = 16;

/// The warning about a saturated driver, for tables and pages.
pub(super) const SATURATED: &str = "THE DRIVER WAS SATURATED. The rate below is what this driver can do, not what \
     the server can, and the latency contains the driver's own queue. Give it more threads or CPUs of its own, or \
     offer less.";

/// The whole table.
pub fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    headline(&mut out, outcome);
    if outcome.driver_saturated {
        boxed(&mut out, SATURATED);
    }
    throughput(&mut out, outcome);
    latency(&mut out, outcome);
    errors(&mut out, outcome);
    cpu(&mut out, outcome);
    if let Some(server) = &outcome.server {
        memory(&mut out, server, outcome.connections);
    }
    figures(&mut out, outcome);
    balance(&mut out, outcome);
    for (at, note) in outcome.notes.iter().enumerate() {
        if at == 0 {
            out.push('\n');
        }
        row(&mut out, "note", note);
    }
    measured_on(&mut out, outcome);
    out
}

/// Machine, kernel and versions. Without them the figures cannot be compared with others.
pub(super) fn machine(outcome: &Outcome) -> Option<String> {
    let Machine {
        kernel,
        architecture,
        cpu,
        cpus,
        memory_bytes,
    } = &outcome.machine;
    if kernel.is_empty() {
        return None;
    }
    let s = if *cpus == 1 { "" } else { "s" };
    let cpu = cpu.as_deref().unwrap_or(architecture);
    let memory = bytes(*memory_bytes as f64);
    Some(format!("{cpu}, {cpus} CPU{s}, {memory}, {kernel}"))
}

/// The versions of both sides, as far as they are known.
pub(super) fn versions(outcome: &Outcome) -> String {
    let server = outcome.server.as_ref();
    let server = server.and_then(|server| server.version.as_deref());
    let server = server.unwrap_or("not told");
    format!("wsperf {}; server: {server}", outcome.version)
}

fn measured_on(out: &mut String, outcome: &Outcome) {
    if let Some(machine) = machine(outcome) {
        out.push('\n');
        row(out, "machine", &machine);
        row(out, "versions", &versions(outcome));
    }
}

/// The plural for the messages of a scenario.
pub(super) fn noun(scenario: &str) -> &'static str {
    match scenario {
        "handshake" => "handshakes",
        "broadcast" | "pubsub" => "deliveries",
        _ => "messages",
    }
}

/// The singular of [`noun`].
pub(super) fn singular(scenario: &str) -> &'static str {
    match scenario {
        "handshake" => "handshake",
        "broadcast" | "pubsub" => "delivery",
        _ => "message",
    }
}

/// The shape of the run: connections, threads, length, open or closed loop.
pub(super) fn shape(outcome: &Outcome) -> String {
    let speed = outcome.options.get("speed");
    let offered = match (outcome.offered_per_second, speed) {
        (Some(offered), _) => format!("open loop at {} /s", rate(offered)),
        (None, Some(speed)) => format!("recorded sessions at speed {speed}"),
        (None, None) => "closed loop".to_owned(),
    };
    let (connections, threads) = (outcome.connections as f64, outcome.threads);
    let seconds = time(outcome.duration_s * 1e6);
    let s = if threads == 1 { "" } else { "s" };
    let connections = grouped(connections);
    format!("{connections} connections, {threads} driver thread{s}, {seconds}, {offered}")
}

/// Errors that occurred, by kind; empty when there were none.
pub(super) fn kinds(errors: &Errors) -> Vec<(&'static str, u64)> {
    let Errors {
        connect,
        handshake,
        protocol,
        content,
        closed,
        refused,
        missing,
        close,
    } = *errors;
    let all = [
        ("connect", connect),
        ("handshake", handshake),
        ("protocol", protocol),
        ("content", content),
        ("closed", closed),
        ("refused", refused),
        ("missing", missing),
        ("close", close),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Wraps `text` at blanks into lines of at most `width` columns. A longer word is cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let words = text
        .split([' ', '\n', '\t'])
        .filter(|word| !word.is_empty());
    let pieces = words.flat_map(|word| {
        let letters: Vec<char> = word.chars().collect();
        let cut = letters.chunks(width).map(String::from_iter);
        cut.collect::<Vec<String>>()
    });
    for piece in pieces {
        let line = lines.last_mut().expect("one line at least");
        let taken = line.chars().count();
        if taken == 0 {
            line.push_str(&piece);
        } else if taken + 1 + piece.chars().count() <= width {
            line.push(' ');
            line.push_str(&piece);
        } else {
            lines.push(piece);
        }
    }
    lines
}

/// Appends a row: a name at the left, and a text that is indented on every line.
pub(super) fn row(out: &mut String, name: &str, text: &str) {
    let mut name = name;
    for line in wrap(text, WIDTH - MARGIN) {
        let line = line.replace(TIED, " ");
        let _ = writeln!(out, "{name:<MARGIN$}{line}");
        name = "";
    }
}

/// Appends a text in a box.
pub(super) fn boxed(out: &mut String, text: &str) {
    let _ = writeln!(out, "{:!<WIDTH$}", "");
    for line in wrap(text, WIDTH - 6) {
        let _ = writeln!(out, "!! {line:<width$} !!", width = WIDTH - 6);
    }
    let _ = writeln!(out, "{:!<WIDTH$}", "");
}

fn headline(out: &mut String, outcome: &Outcome) {
    let head = format!("{} {}", outcome.scenario, outcome.target);
    for line in [head, shape(outcome)]
        .iter()
        .flat_map(|text| wrap(text, WIDTH))
    {
        let _ = writeln!(out, "{line}");
    }
    out.push('\n');
}

fn throughput(out: &mut String, outcome: &Outcome) {
    let per_second = outcome.bytes as f64 / outcome.duration_s.max(f64::MIN_POSITIVE);
    let mut text = format!("{} /s", rate(outcome.messages_per_second));
    if let Some(offered) = outcome.offered_per_second.filter(|offered| *offered > 0.0) {
        let share = outcome.messages_per_second / offered;
        let _ = write!(text, " ({:.1} % of what was offered)", share * 100.0);
    }
    let messages = grouped(outcome.messages as f64);
    let _ = write!(text, ", {messages} in all");
    if outcome.bytes > 0 {
        let _ = write!(text, ", {}/s", bytes(per_second));
    }
    row(out, noun(&outcome.scenario), &text);
}

fn latency(out: &mut String, outcome: &Outcome) {
    let latency = &outcome.latency_us;
    if latency.samples == 0 {
        row(out, "latency", "nothing was measured");
        return;
    }
    let columns = [
        ("min", latency.min),
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("p99.99", latency.p9999),
        ("max", latency.max),
    ];
    let line = |name: &str, texts: [String; 7]| {
        let texts = texts.map(|text| format!("{text:>9}")).concat();
        format!("{name:<MARGIN$}{texts}\n")
    };
    out.push_str(&line("latency", columns.map(|(name, _)| name.to_owned())));
    out.push_str(&line("", columns.map(|(_, us)| time(us))));
    let (mean, stddev) = (time(latency.mean), time(latency.stddev));
    let samples = grouped(latency.samples as f64);
    let about = format!("mean {mean}, standard deviation {stddev}, {samples} samples");
    row(out, "", &about);
    row(out, "", &outcome.latency_is);
}

fn errors(out: &mut String, outcome: &Outcome) {
    let kinds = kinds(&outcome.errors_by_kind);
    let each = kinds
        .iter()
        .map(|(kind, times)| format!("{kind}{TIED}{}", grouped(*times as f64)));
    let text = match outcome.errors {
        0 => "none".to_owned(),
        all => {
            let each: Vec<_> = each.collect();
            format!("{}: {}", grouped(all as f64), each.join(", "))
        }
    };
    row(out, "errors", &text);
}

fn cpu(out: &mut String, outcome: &Outcome) {
    let line = |name: &str, texts: [&str; 4], mark: &str| {
        let texts = texts.map(|text| format!("{text:>13}")).concat();
        let line = format!("{name:<MARGIN$}{texts}   {mark}");
        format!("{}\n", line.trim_end())
    };
    let noun = singular(&outcome.scenario);
    let head = [&*format!("per {noun}"), "user each", "busy", "calls each"];
    out.push_str(&line("cpu", head, ""));
    // The sum starts at positive zero: the empty sum of floats is -0.0, and its sign would be printed.
    let busy =
        |parts: &mut dyn Iterator<Item = f64>| percent(parts.fold(0.0, |sum, one| sum + one));
    let calls = calls(outcome).map_or_else(|| "-".to_owned(), |calls| format!("{calls:.3}"));
    let each = |us: f64| match outcome.messages {
        0 => "-".to_owned(),
        _ => time(us),
    };
    let texts = [
        &*each(outcome.driver_cpu_us_per_message),
        &each(outcome.driver_user_us_per_message),
        &busy(&mut outcome.driver.iter().map(|thread| thread.utilisation)),
        &calls,
    ];
    let mark = if outcome.driver_saturated {
        "SATURATED"
    } else {
        ""
    };
    out.push_str(&line("  driver", texts, mark));
    let Some(server) = &outcome.server else {
        out.push_str("  server   unknown: it is not on this machine, or was not found\n");
        return;
    };
    let unknown = || "-".to_owned();
    let texts = [
        &*outcome.server_cpu_us_per_message.map_or_else(unknown, time),
        "-",
        &busy(&mut server.processes.iter().map(|one| one.utilisation)),
        &server
            .enters_per_message
            .map_or_else(unknown, |calls| format!("{calls:.3}")),
    ];
    out.push_str(&line("  server", texts, &server_saturated(outcome)));
}

/// System calls of the driver per message.
pub(super) fn calls(outcome: &Outcome) -> Option<f64> {
    let threads = outcome.driver.iter();
    let calls: u64 = threads.map(|thread| thread.enters + thread.sends).sum();
    (outcome.messages > 0).then(|| calls as f64 / outcome.messages as f64)
}

/// Says whether the server had time to spare, or how many of its workers had none.
pub(super) fn server_saturated(outcome: &Outcome) -> String {
    let workers = outcome.server.iter().flat_map(|server| &server.workers);
    let (full, all) = workers.fold((0, 0), |(full, all), worker| {
        (full + usize::from(worker.saturated), all + 1)
    });
    match (full, outcome.server_saturated) {
        (_, Some(true)) => "SATURATED".to_owned(),
        (0, _) => String::new(),
        (full, _) => format!("{full} of {all} SATURATED"),
    }
}

/// Fewest connections for a figure of memory per connection.
const CONNECTIONS_MIN: u64 = 1000;

fn memory(out: &mut String, server: &Server, connections: u64) {
    let (before, after) = (
        server.memory_before_bytes as f64,
        server.memory_bytes as f64,
    );
    let mut text = format!("server {}, before {}", bytes(after), bytes(before));
    // With fewer connections, the memory that code and buffers take on first use outweighs that of the connections.
    if connections >= CONNECTIONS_MIN && after > before {
        let each = bytes((after - before) / connections as f64);
        let _ = write!(text, ", {each} a connection");
    }
    if let Some(kernel) = server.kernel_tcp_bytes {
        let _ = write!(text, "; TCP in the kernel {}", bytes(kernel as f64));
    }
    row(out, "memory", &text);
}

fn figures(out: &mut String, outcome: &Outcome) {
    let mut name = "figures";
    for (figure, value) in &outcome.figures {
        row(
            out,
            name,
            &format!("{} {}", figure_name(figure), figure_text(figure, *value)),
        );
        name = "";
    }
}

/// A figure's name without its unit, which is printed behind the value.
pub(super) fn figure_name(name: &str) -> &str {
    let units = ["_us", "_s", "_bytes"];
    let bare = units.into_iter().find_map(|unit| name.strip_suffix(unit));
    bare.unwrap_or(name)
}

/// A scenario's figure as text. The end of its name is its unit.
pub(super) fn figure_text(name: &str, value: f64) -> String {
    if name.ends_with("_us") {
        time(value)
    } else if name.ends_with("_s") {
        time(value * 1e6)
    } else if name.ends_with("_bytes") {
        bytes(value)
    } else if value.trunc() == value {
        grouped(value)
    } else {
        format!("{value:.3}")
    }
}

/// One worker's row.
struct Share {
    name: String,
    cpu: Option<u64>,
    connections: u64,
    messages: u64,
    utilisation: f64,
    saturated: bool,
    more: String,
}

fn balance(out: &mut String, outcome: &Outcome) {
    let threads = outcome.driver.iter().enumerate().map(|(at, thread)| {
        let waiting = thread
            .waiting
            .map(|share| format!("waited {}", percent(share)));
        let late = thread
            .late_p99_us
            .map(|us| format!("late p99 {}", time(us)));
        let more: Vec<_> = waiting.into_iter().chain(late).collect();
        Share {
            name: format!("driver {at}"),
            cpu: thread.cpu,
            connections: thread.connections,
            messages: thread.messages,
            utilisation: thread.utilisation,
            saturated: thread.saturated,
            more: more.join(", "),
        }
    });
    let workers = outcome.server.iter().flat_map(|server| &server.workers);
    let workers = workers.map(|worker| Share {
        name: format!("worker {}", worker.index),
        cpu: None,
        connections: worker.clients,
        messages: worker.messages,
        utilisation: worker.utilisation,
        saturated: worker.saturated,
        more: String::new(),
    });
    let (threads, workers): (Vec<Share>, Vec<Share>) = (threads.collect(), workers.collect());
    if threads.is_empty() && workers.is_empty() {
        return;
    }
    out.push_str("\nbalance    cpu connections messages   busy\n");
    for shares in [threads, workers] {
        let left_out = shares.len().saturating_sub(BALANCE_ROWS_MAX);
        for share in shares.iter().take(BALANCE_ROWS_MAX) {
            share_row(out, share);
        }
        if left_out > 0 {
            let messages = shares.iter().map(|share| share.messages);
            let least = count(messages.clone().min().unwrap_or(0) as f64);
            let most = count(messages.max().unwrap_or(0) as f64);
            row(
                out,
                "…",
                &format!("{left_out} more; of all, the least did {least}, the most {most}"),
            );
        }
    }
}

fn share_row(out: &mut String, share: &Share) {
    let Share {
        name,
        connections,
        messages,
        utilisation,
        more,
        ..
    } = share;
    let cpu = share.cpu;
    let cpu = cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string());
    let full = if share.saturated { "FULL" } else { "" };
    let line = format!(
        "{name:<10} {cpu:>3} {:>11} {:>8} {:>6} {full:<4}  {more}",
        grouped(*connections as f64),
        count(*messages as f64),
        percent(*utilisation),
    );
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_table_says_everything() {
        let expected = "\
echo ws://127.0.0.1:9001/
100 connections, 2 driver threads, 10.0 s, open loop at 100,000 /s

!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
!! THE DRIVER WAS SATURATED. The rate below is what this driver can do, not   !!
!! what the server can, and the latency contains the driver's own queue. Give !!
!! it more threads or CPUs of its own, or offer less.                         !!
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
messages   98,446 /s (98.4 % of what was offered), 984,455 in all, 1.88 MiB/s
latency          min      p50      p90      p99    p99.9   p99.99      max
             40.0 µs  81.9 µs   179 µs   316 µs   424 µs   463 µs   467 µs
           mean 100 µs, standard deviation 59.5 µs, 1,000,000 samples
           From the moment a message was due to the arrival of its answer.
errors     36: connect 1, handshake 2, protocol 3, content 4, closed 5,
           refused 8, missing 6, close 7
cpu          per message    user each         busy   calls each
  driver         12.1 µs      2.30 µs        120 %        0.025   SATURATED
  server         9.70 µs            -         97 %        0.050   SATURATED
memory     server 8.58 MiB, before 3.81 MiB; TCP in the kernel 2.86 MiB
figures    handshake_close_p99 250 µs

balance    cpu connections messages   busy
driver 0     2          50     492k   60 % FULL  waited 2 %, late p99 25.0 µs
driver 1     3          50     493k   60 % FULL  waited 2 %, late p99 25.0 µs
worker 0     -          50     492k   48 % FULL
worker 1     -          51     492k   48 % FULL

note       Driver and server share a CPU, so each of them costs the other time.

machine    Some CPU @ 2.00GHz, 4 CPUs, 7.45 GiB, Linux 6.12.0
versions   wsperf 0.1.0; server: Ringway 0.1.0
";
        assert_eq!(render(&samples::filled()), expected);
    }

    #[test]
    fn what_did_not_happen_takes_no_line() {
        let expected = "
0 connections, 0 driver threads, 0, closed loop

messages   0 /s, 0 in all
latency    nothing was measured
errors     none
cpu          per message    user each         busy   calls each
  driver               -            -          0 %            -
  server   unknown: it is not on this machine, or was not found
";
        assert_eq!(render(&Outcome::default()), expected);
    }

    #[test]
    fn a_table_fits_eighty_columns_whatever_the_figures() {
        let mut outcome = samples::run(1, 3, 64);
        outcome.target = format!("ws://{}/", "a".repeat(200));
        outcome.connections = 1_000_000_000;
        outcome.messages_per_second = 1e12;
        outcome.messages = u64::MAX;
        outcome.bytes = u64::MAX;
        outcome.offered_per_second = Some(1e12);
        outcome.latency_us.max = 9e12;
        outcome.errors = u64::MAX;
        outcome.errors_by_kind.missing = u64::MAX;
        outcome.driver[0].connections = 1_000_000_000;
        outcome.notes = vec!["word ".repeat(50), "x".repeat(300)];
        let table = render(&outcome);
        let wide = table.lines().find(|line| line.chars().count() > WIDTH);
        assert_eq!(wide, None, "{table}");
        // Of 64 workers, the first sixteen and the extremes of all are printed.
        assert!(table.contains("worker 15 ") && !table.contains("worker 16 "));
        assert!(
            table.contains("48 more; of all, the least did 4.60k, the most 5.59k"),
            "{table}"
        );
    }
}
