//! The result: one flat JSON object, whose fields are described in `bench/README.md`.

use std::fmt::Write;
use std::time::Duration;

use crate::options::{Mode, Options, Payload};

// Both are shares of the window in which a process ran or was runnable: on a busy machine a saturated server does not run
// all the time.
/// Share above which the driver is saturated.
const DRIVER_SATURATED: f64 = 0.97;
/// Share from which the server is saturated.
const SERVER_SATURATED: f64 = 0.95;

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Report {
    options: Options,
    /// Messages whose echo completed within the window.
    pub messages: u64,
    /// Length of the window.
    pub window: Duration,
    /// CPU time of the server processes in the window.
    pub server_cpu: Duration,
    /// CPU time of the driver in the window, spinning left out.
    pub driver_cpu: Duration,
    /// CPU time of the watched processes in the window.
    pub watched_cpu: Vec<Duration>,
    /// Time in the window that the server's threads were runnable without a CPU.
    pub server_delay: Duration,
    /// Time in the window that the driver was runnable without a CPU.
    pub driver_delay: Duration,
    /// Context switches of the server in the window: voluntary and involuntary.
    pub context_switches: (u64, u64),
    /// Resident memory of the server at the end of the window.
    pub server_resident_kib: u64,
    /// Turns of the driver's loop in the window.
    pub turns: u64,
    /// Messages of the whole run, warm-up and drain included.
    pub messages_whole_run: u64,
    /// Sends that the socket took only in part, or not at all, in the whole run.
    pub partial_sends: u64,
    /// How often a receive found no provided buffer.
    pub buffer_shortages: u64,
    /// Congestion control that the driver's sockets used.
    pub congestion: String,
    /// Why the run does not count. None: it does.
    pub error: Option<String>,
}

impl Report {
    /// An empty report.
    pub fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            messages: 0,
            window: Duration::ZERO,
            server_cpu: Duration::ZERO,
            driver_cpu: Duration::ZERO,
            watched_cpu: Vec::new(),
            server_delay: Duration::ZERO,
            driver_delay: Duration::ZERO,
            context_switches: (0, 0),
            server_resident_kib: 0,
            turns: 0,
            messages_whole_run: 0,
            partial_sends: 0,
            buffer_shortages: 0,
            congestion: String::new(),
            error: None,
        }
    }

    /// `cpu` as a share of the window.
    fn utilisation(&self, cpu: Duration) -> f64 {
        ratio(cpu.as_secs_f64(), self.window.as_secs_f64())
    }

    /// The report as one JSON object on one line.
    pub fn to_json(&self) -> String {
        let o = &self.options;
        let server = self.utilisation(self.server_cpu);
        let driver = self.utilisation(self.driver_cpu);
        let messages = self.messages as f64;
        let mut json = Json::default();
        json.text("mode", if o.mode == Mode::Ws { "ws" } else { "tcp" });
        json.text("payload", if o.payload == Payload::Text { "text" } else { "binary" });
        json.number("size", o.size as f64);
        json.number("connections", o.connections as f64);
        json.number("in_flight", o.in_flight as f64);
        json.number("warm_up_s", o.warm_up.as_secs_f64());
        json.number("seconds", self.window.as_secs_f64());
        json.number("messages", messages);
        json.number("messages_per_s", ratio(messages, self.window.as_secs_f64()));
        if !o.pids.is_empty() {
            json.number("server_cpu_us_per_message", ratio(self.server_cpu.as_secs_f64() * 1e6, messages));
            json.number("server_utilisation", server);
            json.number("server_waiting", self.utilisation(self.server_delay));
            let server_busy = self.utilisation(self.server_cpu + self.server_delay) >= SERVER_SATURATED;
            let driver_busy = self.utilisation(self.driver_cpu + self.driver_delay) > DRIVER_SATURATED;
            json.boolean("server_saturated", server_busy);
            json.boolean("driver_saturated", driver_busy && !server_busy);
            json.number("server_context_switches_voluntary", self.context_switches.0 as f64);
            json.number("server_context_switches_involuntary", self.context_switches.1 as f64);
            json.number("server_resident_kib", self.server_resident_kib as f64);
        }
        json.number("driver_cpu_us_per_message", ratio(self.driver_cpu.as_secs_f64() * 1e6, messages));
        json.number("driver_utilisation", driver);
        json.number("driver_waiting", self.utilisation(self.driver_delay));
        json.number("driver_messages_per_turn", ratio(messages, self.turns as f64));
        json.number("driver_partial_sends", self.partial_sends as f64);
        json.number("driver_buffer_shortages", self.buffer_shortages as f64);
        for (pid, cpu) in o.watch.iter().zip(&self.watched_cpu) {
            json.number(&format!("watched_{pid}_utilisation"), self.utilisation(*cpu));
        }
        json.number("messages_whole_run", self.messages_whole_run as f64);
        json.text("congestion", &self.congestion);
        json.number("errors", f64::from(u8::from(self.error.is_some())));
        if let Some(error) = &self.error {
            json.text("error", error);
        }
        json.finish()
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[derive(Default)]
struct Json(String);

impl Json {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.quoted(name);
        self.0.push(':');
    }

    fn quoted(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                c if c < ' ' => write!(self.0, "\\u{:04x}", c as u32).expect("writing to a String cannot fail"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn number(&mut self, name: &str, value: f64) {
        self.name(name);
        let rounded = (value * 1e6).round() / 1e6;
        write!(self.0, "{rounded}").expect("writing to a String cannot fail");
    }

    fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn the_report_divides_cpu_time_by_messages_and_quotes_errors() {
        let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 9)));
        options.pids.push(1);
        let mut report = Report::new(&options);
        report.messages = 1000;
        report.window = Duration::from_secs(2);
        report.server_cpu = Duration::from_millis(1000);
        report.driver_cpu = Duration::from_millis(1960);
        report.error = Some("say \"no\"\n".into());
        let json = report.to_json();
        for part in [
            "\"server_cpu_us_per_message\":1000,",
            "\"server_utilisation\":0.5,",
            "\"driver_saturated\":true,",
            "\"messages_per_s\":500,",
            "\"error\":\"say \\\"no\\\"\\u000a\"}",
        ] {
            assert!(json.contains(part), "{part} not in {json}");
        }
    }
}
