//! The command line, its defaults, and the bounds that keep every run finite.

use std::net::SocketAddr;
use std::time::Duration;

/// The bytes on the wire: WebSocket messages, or the same request bytes echoed by a bare TCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Opening handshake, masked frames out, unmasked frames (four bytes shorter) back.
    Ws,
    /// No handshake. The same masked frames are sent, and the same bytes come back.
    Tcp,
}

/// The kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// ASCII text: a server that validates UTF-8 pays for it.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// What the driver does while there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Polls the ring's memory: the server never pays for waking the driver.
    Spin,
    /// Sleeps until there is a batch.
    Sleep,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server; loopback only.
    pub address: SocketAddr,
    /// WebSocket or bare TCP.
    pub mode: Mode,
    /// Text or binary.
    pub payload: Payload,
    /// Payload bytes of a message.
    pub size: usize,
    /// Connections.
    pub connections: usize,
    /// Messages in flight on each connection.
    pub in_flight: usize,
    /// The measured window.
    pub duration: Duration,
    /// Load before the window, not counted.
    pub warm_up: Duration,
    /// Messages of each connection compared byte by byte even when large.
    pub verify: u32,
    /// Spin or sleep.
    pub wait: Wait,
    /// Completions that a sleep waits for. 0: chosen by the number of connections.
    pub batch: usize,
    /// Longest wait for an incomplete batch.
    pub batch_wait: Duration,
    /// Longest time without any reply. Then the run fails.
    pub stall: Duration,
    /// The CPU the driver is pinned to.
    pub cpu: Option<usize>,
    /// Congestion control of the driver's sockets; `None` leaves the system's default.
    pub congestion: Option<String>,
    /// Processes whose CPU time is the server's.
    pub pids: Vec<i32>,
    /// Processes whose CPU time is reported separately.
    pub watch: Vec<i32>,
}

/// Most bytes of all messages in flight, so that no run can take the machine's memory. Chosen.
pub const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;
const CONNECTIONS_MAX: usize = 10_000;
const IN_FLIGHT_MAX: usize = 1024;
const SIZE_MAX: usize = 64 << 20;
const WINDOW_MAX: Duration = Duration::from_secs(120);

/// The text of `--help`.
pub const HELP: &str = "\
echo-driver --address 127.0.0.1:9000 --size 20 --connections 100 --pid 1234

Keeps messages in flight in a closed loop, verifies the echoes, and prints one
JSON object with the server's CPU time per message.

  --address IP:PORT     the server, loopback only (required)
  --mode ws|tcp         WebSocket, or the same bytes through a bare echo [ws]
  --payload text|binary kind of message [text: UTF-8 validation is paid for]
  --size N              payload bytes of a message [20]
  --connections N       connections, 1 to 10000 [1]
  --in-flight N         messages in flight per connection, 1 to 1024 [1]
  --duration S          measured window in seconds [1.5]
  --warm-up S           load before the window in seconds [0.3]
  --verify N            messages per connection compared byte by byte; small
                        ones always are, large ones afterwards by sample,
                        header and count [8]
  --wait spin|sleep     what to do when no reply is there [sleep]
  --batch N             completions per sleep; 0: connections/8, at most
                        32 [0]
  --batch-wait US       longest wait for a batch, in microseconds [50]
  --stall S             fail when no reply arrives for so long [5]
  --cpu K               pin the driver to CPU K
  --congestion NAME     congestion control of the driver's sockets
  --pid PID             server process to account (repeatable)
  --watch PID           process to report apart (repeatable)

Exit: 0 measured; 1 a reply was wrong or missing, or the server failed (the
JSON object says which); 2 bad usage.
";

impl Options {
    /// A measurement with the defaults of `--help`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            mode: Mode::Ws,
            payload: Payload::Text,
            size: 20,
            connections: 1,
            in_flight: 1,
            duration: Duration::from_millis(1500),
            warm_up: Duration::from_millis(300),
            verify: 8,
            wait: Wait::Sleep,
            batch: 0,
            batch_wait: Duration::from_micros(50),
            stall: Duration::from_secs(5),
            cpu: None,
            congestion: None,
            pids: Vec::new(),
            watch: Vec::new(),
        }
    }

    /// Reads `--name value` and `--name=value`; says what is wrong in one sentence.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let Some(value) = inline.or_else(|| arguments.next().cloned()) else {
                return Err(format!("{name} needs a value"));
            };
            options.set(name, &value).map_err(|reason| format!("{name} {value}: {reason}"))?;
        }
        options.validate()?;
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--address" => self.address = parse(value)?,
            "--mode" => {
                self.mode = match value {
                    "ws" => Mode::Ws,
                    "tcp" => Mode::Tcp,
                    _ => return Err("expected ws or tcp".into()),
                }
            }
            "--payload" => {
                self.payload = match value {
                    "text" => Payload::Text,
                    "binary" => Payload::Binary,
                    _ => return Err("expected text or binary".into()),
                }
            }
            "--size" => self.size = parse(value)?,
            "--connections" => self.connections = parse(value)?,
            "--in-flight" => self.in_flight = parse(value)?,
            "--duration" => self.duration = seconds(value)?,
            "--warm-up" => self.warm_up = seconds(value)?,
            "--verify" => self.verify = parse(value)?,
            "--wait" => {
                self.wait = match value {
                    "spin" => Wait::Spin,
                    "sleep" => Wait::Sleep,
                    _ => return Err("expected spin or sleep".into()),
                }
            }
            "--batch" => self.batch = parse(value)?,
            "--batch-wait" => self.batch_wait = Duration::from_micros(parse(value)?),
            "--stall" => self.stall = seconds(value)?,
            "--cpu" => self.cpu = Some(parse(value)?),
            "--congestion" => self.congestion = Some(value.to_owned()),
            "--pid" => self.pids.push(parse(value)?),
            "--watch" => self.watch.push(parse(value)?),
            _ => return Err("unknown option".into()),
        }
        Ok(())
    }

    /// Checks the bounds, so that a run is finite in time, memory and reach.
    pub fn validate(&self) -> Result<(), String> {
        if self.address.port() == 0 {
            return Err("--address IP:PORT is required".into());
        }
        if !self.address.ip().is_loopback() {
            return Err(format!("{} is not loopback; this driver refuses other hosts", self.address.ip()));
        }
        bounded("--connections", self.connections, 1, CONNECTIONS_MAX)?;
        bounded("--in-flight", self.in_flight, 1, IN_FLIGHT_MAX)?;
        bounded("--size", self.size, 0, SIZE_MAX)?;
        let bytes = self.connections * self.in_flight * self.size;
        bounded("connections × in flight × size", bytes, 0, IN_FLIGHT_BYTES_MAX)?;
        if self.duration.is_zero() || self.duration > WINDOW_MAX || self.warm_up > WINDOW_MAX {
            return Err(format!("a window is more than 0 and at most {} s", WINDOW_MAX.as_secs()));
        }
        if self.stall.is_zero() || self.stall > WINDOW_MAX {
            return Err("--stall is more than 0 and at most 120 s".into());
        }
        Ok(())
    }
}

fn bounded(name: &str, value: usize, min: usize, max: usize) -> Result<(), String> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}, not in {min}..={max}")) }
}

fn parse<T: std::str::FromStr>(value: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error: T::Err| error.to_string())
}

fn seconds(value: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(parse(value)?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn both_spellings_of_an_option_are_read() {
        let o = options("--address 127.0.0.1:9 --size=1024 --in-flight 16 --duration 0.5 --pid 7 --pid=8").unwrap();
        assert_eq!((o.size, o.in_flight, o.pids), (1024, 16, vec![7, 8]));
        assert_eq!(o.duration, Duration::from_millis(500));
    }

    #[test]
    fn other_hosts_and_unbounded_runs_are_refused() {
        assert!(options("--address 192.0.2.1:9").unwrap_err().contains("not loopback"));
        assert!(options("--address 127.0.0.1:9 --connections 0").is_err());
        assert!(options("--address 127.0.0.1:9 --duration 1e9").is_err());
        assert!(options("--address 127.0.0.1:9 --size 1048576 --connections 1000 --in-flight 16").is_err());
        assert!(options("--size 20").unwrap_err().contains("--address"));
        assert!(options("--address 127.0.0.1:9 --colour red").unwrap_err().contains("unknown"));
    }
}
