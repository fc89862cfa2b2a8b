//! The result of a run. Everything that is printed, drawn, compared and stored is made from it. Its JSON form is the
//! schema of `--format=json`, documented in `docs/wsperf.md`: names carry their unit, and an absent field is unknown.

use serde::{Deserialize, Serialize};

/// Version of the schema, raised when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 1;

/// The result of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the driver.
    pub version: String,
    /// `echo`, `handshake`, `massconnect`, `broadcast`, `pubsub`, `mixed`, `stress`, `soak` or `replay`.
    pub scenario: String,
    /// The server's URI, as it was typed.
    pub target: String,
    /// Every effective option, as it would be typed.
    pub options: std::collections::BTreeMap<String, String>,
    /// When the measured window began, in milliseconds since 1970-01-01 UTC.
    pub began_unix_ms: u64,
    /// Connections that were open when the measured window began.
    pub connections: u64,
    /// Driver threads, each with a ring of its own.
    pub threads: u64,
    /// Length of the measured window.
    pub duration_s: f64,
    /// Messages completed in the window: echoes, deliveries of a broadcast, handshakes (open and close), or messages of a replay, those
    /// sent and those that came.
    pub messages: u64,
    /// `messages` divided by `duration_s`.
    pub messages_per_second: f64,
    /// Payload bytes of these messages.
    pub bytes: u64,
    /// Messages per second that the schedule of an open loop wanted to send. Absent in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_per_second: Option<f64>,
    /// All faults since the first connect: the sum of `errors_by_kind`.
    pub errors: u64,
    /// The faults by kind; a kind that did not occur is 0.
    pub errors_by_kind: Errors,
    /// Percentiles of the latency. `latency_is` says what it measures.
    pub latency_us: Latency,
    /// What `latency_us` counts from and to, in a sentence.
    pub latency_is: String,
    /// The same distribution: HdrHistogram V2, deflated, base64; values in nanoseconds.
    pub latency_histogram: String,
    /// Figures of the scenario by name, for example `handshake_close_p99_us` or `broadcast_reach`; each is documented.
    pub figures: std::collections::BTreeMap<String, f64>,
    /// The machine that the driver ran on.
    #[serde(default)]
    pub machine: Machine,
    /// User and system time of the driver's threads per message; 0 without messages.
    pub driver_cpu_us_per_message: f64,
    /// User time alone, per message.
    pub driver_user_us_per_message: f64,
    /// The driver had no time to spare and the server had: the rate is the driver's limit, not the server's.
    pub driver_saturated: bool,
    /// What each driver thread did.
    pub driver: Vec<Thread>,
    /// CPU time of the server's processes per message. Absent when the processes are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_message: Option<f64>,
    /// The server had no time to spare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_saturated: Option<bool>,
    /// The server's processes as the kernel accounts them. Absent when the server is on another machine or was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The window second by second. In a run above an hour an interval is several seconds, so that there are at most
    /// 3600.
    pub intervals: Vec<Interval>,
    /// Sentences that a reader has to know before relying on the figures.
    pub notes: Vec<String>,
}

impl Outcome {
    /// What is wrong with what came, as a sentence. Of the order in which messages reached many receivers: they came twice, or behind
    /// later ones, or are missing although the server had to say so. Of a replay: sessions were not like the recording. `None`:
    /// nothing, or the scenario does not look at it.
    pub fn disorder(&self) -> Option<String> {
        let unlike = self.figures.get("replay_unlike").copied();
        if let Some(unlike) = unlike.filter(|unlike| *unlike > 0.0) {
            return Some(format!(
                "the check failed: {unlike} sessions were not like the recording, or not played to their end"
            ));
        }
        let figure = |name: &str| {
            let figure = self.figures.get(&format!("{}_{name}", self.scenario));
            figure.copied().unwrap_or(0.0)
        };
        let [duplicates, overtaken, untold] = ["duplicates", "overtaken", "untold"].map(figure);
        (duplicates + overtaken + untold > 0.0).then(|| {
            format!(
                "the sequence check failed: {duplicates} deliveries came twice, {overtaken} behind a later one of the same source, \
                 {untold} are missing without a gap"
            )
        })
    }
}

/// Number of faults by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// TCP connects that failed.
    pub connect: u64,
    /// Opening handshakes that the server refused or answered wrongly, or that took too long.
    pub handshake: u64,
    /// Violations of RFC 6455 by the server.
    pub protocol: u64,
    /// Answers whose contents, length or kind differ from the message sent.
    pub content: u64,
    /// Connections that ended before the driver ended them.
    pub closed: u64,
    /// Subscriptions and publishes that the server refused.
    pub refused: u64,
    /// Messages that were due and had no answer at the end of the run.
    pub missing: u64,
    /// Closing handshakes that the server did not complete in time.
    pub close: u64,
}

impl Errors {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.connect
            + self.handshake
            + self.protocol
            + self.content
            + self.closed
            + self.refused
            + self.missing
            + self.close
    }
}

impl std::ops::AddAssign for Errors {
    fn add_assign(&mut self, other: Self) {
        self.connect += other.connect;
        self.handshake += other.handshake;
        self.protocol += other.protocol;
        self.content += other.content;
        self.closed += other.closed;
        self.refused += other.refused;
        self.missing += other.missing;
        self.close += other.close;
    }
}

/// A distribution of times in microseconds. All zero without samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of latencies measured.
    pub samples: u64,
    /// The smallest.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The standard deviation.
    pub stddev: f64,
    /// The median.
    pub p50: f64,
    /// 90 % were at most this.
    pub p90: f64,
    /// 99 % were at most this.
    pub p99: f64,
    /// 99.9 % were at most this.
    pub p999: f64,
    /// 99.99 % were at most this.
    pub p9999: f64,
    /// The largest.
    pub max: f64,
}

/// The machine of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's name and release, for example `Linux 6.12.0`.
    pub kernel: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// The model of its CPUs. Absent where the kernel does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// CPUs that the driver's process was allowed to use.
    pub cpus: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
}

/// One driver thread in the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// The CPU it was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
    /// Connections it held.
    pub connections: u64,
    /// Messages it completed.
    pub messages: u64,
    /// CPU time (user and system) divided by wall time: 1 is one core.
    pub utilisation: f64,
    /// Time in which the thread was ready to run and another one had the CPU, divided by wall time. Absent where the
    /// kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    /// User time in seconds.
    pub user_s: f64,
    /// System time in seconds.
    pub system_s: f64,
    /// System calls of its loop that wait for events. With io_uring they also submit all operations.
    pub enters: u64,
    /// System calls that only send: with epoll one for each send, with io_uring those of `--unbatched`.
    #[serde(default)]
    pub sends: u64,
    /// Bytes that came from its sockets: frames of the server, with their headers.
    #[serde(default)]
    pub wire_bytes_in: u64,
    /// Payload bytes of the messages that came, inflated.
    #[serde(default)]
    pub payload_bytes_in: u64,
    /// Messages that came compressed.
    #[serde(default)]
    pub compressed_in: u64,
    /// TLS handshakes that it completed.
    #[serde(default)]
    pub tls_handshakes: u64,
    /// Those of them that resumed an earlier session.
    #[serde(default)]
    pub tls_resumed: u64,
    /// The thread had no time to spare.
    #[serde(default)]
    pub saturated: bool,
    /// 99th percentile of the driver's own delay in an open loop: how much later than due messages were handed to the
    /// socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_p99_us: Option<f64>,
}

/// The server's processes in the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// One row for each process.
    pub processes: Vec<Process>,
    /// Resident memory of all of them (PSS where readable) before the connections were opened.
    pub memory_before_bytes: u64,
    /// The same at the end of the window.
    pub memory_bytes: u64,
    /// Kernel memory of TCP sockets on this machine (both ends of loopback) at the end of the window, where readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_tcp_bytes: Option<u64>,
    /// System calls of the server's loops per message, from its own statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enters_per_message: Option<f64>,
    /// The server's name and version, from its own statistics. Absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address from which the server's own statistics came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
    /// The workers by the server's own statistics: how evenly they shared the load.
    pub workers: Vec<WorkerShare>,
}

/// One process of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its name (comm).
    pub name: String,
    /// Its threads.
    pub threads: u64,
    /// CPU time in the window, in seconds.
    pub cpu_s: f64,
    /// CPU time divided by wall time: 1 is one core.
    pub utilisation: f64,
    /// The process had no time to spare.
    #[serde(default)]
    pub saturated: bool,
    /// Time in which its threads were ready to run and another one had the CPU, divided by wall time.
    pub waiting: f64,
    /// Voluntary and involuntary context switches in the window.
    pub context_switches: u64,
    /// Resident memory at the end of the window.
    pub resident_bytes: u64,
}

/// One worker of a Ringway server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerShare {
    /// The worker's number.
    pub index: u64,
    /// Open WebSockets at the end of the window.
    pub clients: u64,
    /// Messages that it sent in the window: echoes, or deliveries of a broadcast.
    pub messages: u64,
    /// CPU time divided by wall time: 1 is one core.
    pub utilisation: f64,
    /// The worker had no time to spare.
    #[serde(default)]
    pub saturated: bool,
}

/// One interval of the measured window, mostly one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, in seconds since the window began.
    pub at_s: f64,
    /// Its length.
    pub duration_s: f64,
    /// Messages completed.
    pub messages: u64,
    /// Faults.
    pub errors: u64,
    /// Open connections at its end.
    pub connections: u64,
    /// Median latency in it.
    pub p50_us: f64,
    /// 99th percentile in it.
    pub p99_us: f64,
    /// Greatest latency in it.
    pub max_us: f64,
    /// CPU time of all driver threads divided by wall time: 2 is two cores.
    pub driver_utilisation: f64,
    /// CPU time of all processes of the server divided by wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_utilisation: Option<f64>,
}
