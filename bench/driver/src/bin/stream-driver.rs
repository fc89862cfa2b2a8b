//! `stream-driver`: both ends of a gateway, a WebSocket client and the TCP target that the gateway connects to.
//!
//! ```text
//!  client thread ── WebSocket ──▶ gateway under measurement ── TCP ──▶ target thread
//! ```
//!
//! One CPU holds both threads. What is reported is the work done and the CPU time of the gateway's whole process tree, the
//! children that ended meanwhile included.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use echo_driver::cpu::ProcessClock;
use echo_driver::frames::{MASKING_KEY, push_header};
use echo_driver::options::Payload;
use echo_driver::sys;

const HELP: &str = "\
Drives a gateway from WebSocket to TCP, and is its target.

  stream-driver MODE GATEWAY TARGET PID SECONDS CPU [CONNECTIONS]

MODE     up: the client sends 64 KiB messages; down: the target sends as fast as it can; echo: up, and all of it back
         rtt: 64 bytes to the target and back, one in flight on each connection
         conn: handshake, connect to the target, one byte there and back, close; one after the other
GATEWAY  ip:port where the gateway listens
TARGET   ip:port that the gateway connects to; the driver listens there
PID      process of the gateway; its descendants count as well
CPU      for both threads of the driver
One line of JSON on stdout.
";

const MESSAGE_BYTES: usize = 64 << 10;
const ROUND_TRIP_BYTES: usize = 64;
const BUFFER_BYTES: usize = 1 << 20;
const WARM_UP: Duration = Duration::from_millis(500);
/// A gateway that takes longer has failed.
const STALL: Duration = Duration::from_secs(20);

struct Run {
    gateway: SocketAddr,
    target: TcpListener,
    pid: i32,
    window: Duration,
    connections: usize,
}

/// What was done in the window.
struct Outcome {
    work: u64,
    window: Duration,
    cpu: Duration,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(Outcome { work, window, cpu }) => {
            println!(
                "{{\"work\": {work}, \"seconds\": {:.6}, \"cpu_s\": {:.6}}}",
                window.as_secs_f64(),
                cpu.as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("stream-driver: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<Outcome, String> {
    let [mode, gateway, target, pid, seconds, cpu, rest @ ..] = arguments else {
        return Err(format!("too few arguments\n{HELP}"));
    };
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    sys::pin_to(cpu.parse().map_err(|error| said(cpu, &error))?).map_err(|error| said("cannot pin", &error))?;
    let run = Run {
        gateway: gateway.parse().map_err(|error| said(gateway, &error))?,
        target: TcpListener::bind(target).map_err(|error| said(target, &error))?,
        pid: pid.parse().map_err(|error| said(pid, &error))?,
        window: Duration::from_secs_f64(seconds.parse().map_err(|error| said(seconds, &error))?),
        connections: rest.first().map_or(Ok(1), |count| count.parse()).map_err(|error| said("CONNECTIONS", &error))?,
    };
    let begin = match mode.as_str() {
        "up" => up,
        "down" => down,
        "echo" => echo,
        "rtt" => round_trips,
        "conn" => connections,
        other => return Err(format!("unknown mode '{other}'\n{HELP}")),
    };
    begin(&run).and_then(|()| watch(&run)).map_err(|error| said(mode, &error))
}

// --- the window ---

/// Waits for the warm-up, then counts what the work grows by, and the gateway's CPU time.
fn watch(run: &Run) -> io::Result<Outcome> {
    std::thread::sleep(WARM_UP);
    let (begin, before, used) = (Instant::now(), WORK.load(Ordering::Relaxed), tree_cpu(run.pid)?);
    std::thread::sleep(run.window);
    let (cpu, after) = (tree_cpu(run.pid)? - used, WORK.load(Ordering::Relaxed));
    match FAILURE.lock().expect("nobody panics with the lock").take() {
        Some(error) => Err(error),
        None => Ok(Outcome { work: after - before, window: begin.elapsed(), cpu }),
    }
}

/// CPU time of a process, of its descendants, and of those that have ended. The latter are counted in ticks.
fn tree_cpu(pid: i32) -> io::Result<Duration> {
    let Ok(clock) = ProcessClock::new(pid).and_then(ProcessClock::read) else {
        // It ended between the list and this line; its parent counts it from now on.
        return Ok(Duration::ZERO);
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name in brackets: state is the first field, cutime and cstime are the 14th and 15th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // A tick of /proc is 10 ms, whatever the kernel's own is (proc(5), USER_HZ).
    let mut sum = clock + Duration::from_millis(ticks * 10);
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            sum += tree_cpu(child)?;
        }
    }
    Ok(sum)
}

// --- the client ---

fn open(gateway: SocketAddr) -> io::Result<TcpStream> {
    let mut client = TcpStream::connect(gateway)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(STALL))?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {gateway}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
    );
    client.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(client),
        false => Err(io::Error::other(String::from_utf8_lossy(&head).into_owned())),
    }
}

/// A masked binary message.
fn message(len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    push_header(&mut frame, Payload::Binary, len, true);
    frame.extend(MASKING_KEY);
    frame.extend((0..len).map(|at| at as u8 ^ MASKING_KEY[at % 4]));
    frame
}

/// Reads frames of a server, and counts their payload.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    payload_left: u64,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut payload = 0;
        while !bytes.is_empty() {
            let taken = self.payload_left.min(bytes.len() as u64);
            (payload, self.payload_left, bytes) =
                (payload + taken, self.payload_left - taken, &bytes[taken as usize..]);
            while self.payload_left == 0 && !bytes.is_empty() {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                let len = match self.head[..] {
                    [_, len @ 0..126] => u64::from(len),
                    [_, 126, a, b] => u64::from(u16::from_be_bytes([a, b])),
                    [_, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                    _ => continue,
                };
                self.head.clear();
                self.payload_left = len;
            }
        }
        payload
    }

    /// Reads until `len` bytes of payload have come.
    fn read_exactly(&mut self, client: &mut TcpStream, mut len: u64) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while len > 0 {
            match client.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => len = len.saturating_sub(self.feed(&buffer[..count])),
            }
        }
        Ok(())
    }
}

// --- the modes ---

/// Payload bytes, round trips or connections so far. The threads that count end with the process.
static WORK: AtomicU64 = AtomicU64::new(0);
/// Why a thread has ended too early.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

fn begin(thread: impl FnOnce() -> io::Result<()> + Send + 'static) {
    std::thread::spawn(|| {
        let error = thread().err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        FAILURE.lock().expect("nobody panics with the lock").get_or_insert(error);
    });
}

/// A client and the target that its gateway has connected to.
fn pair(run: &Run) -> io::Result<(TcpStream, TcpStream)> {
    let client = open(run.gateway)?;
    let (target, _) = run.target.accept()?;
    target.set_nodelay(true)?;
    Ok((client, target))
}

fn pour(mut to: TcpStream, bytes: Vec<u8>) {
    begin(move || {
        loop {
            to.write_all(&bytes)?;
        }
    });
}

/// Counts the payload that a client receives.
fn count_payload(mut client: TcpStream) {
    begin(move || {
        let mut frames = Frames::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        while let len @ 1.. = client.read(&mut buffer)? {
            WORK.fetch_add(frames.feed(&buffer[..len]), Ordering::Relaxed);
        }
        Ok(())
    });
}

fn up(run: &Run) -> io::Result<()> {
    let (client, mut target) = pair(run)?;
    pour(client, message(MESSAGE_BYTES).repeat(8));
    begin(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let len @ 1.. = target.read(&mut buffer)? {
            WORK.fetch_add(len as u64, Ordering::Relaxed);
        }
        Ok(())
    });
    Ok(())
}

fn down(run: &Run) -> io::Result<()> {
    let (client, target) = pair(run)?;
    pour(target, vec![7; 8 * MESSAGE_BYTES]);
    count_payload(client);
    Ok(())
}

fn echo(run: &Run) -> io::Result<()> {
    let (client, mut target) = pair(run)?;
    count_payload(client.try_clone()?);
    pour(client, message(MESSAGE_BYTES).repeat(8));
    begin(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let len @ 1.. = target.read(&mut buffer)? {
            target.write_all(&buffer[..len])?;
        }
        Ok(())
    });
    Ok(())
}

/// All connections have one message under way: the client sends on each, the target answers each, the client reads each.
fn round_trips(run: &Run) -> io::Result<()> {
    let pairs: Vec<_> = (0..run.connections).map(|_| pair(run)).collect::<io::Result<_>>()?;
    let (mut clients, mut targets): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    begin(move || {
        let mut buffer = [0; ROUND_TRIP_BYTES];
        loop {
            for target in &mut targets {
                target.read_exact(&mut buffer)?;
                target.write_all(&buffer)?;
            }
        }
    });
    begin(move || {
        let request = message(ROUND_TRIP_BYTES);
        let mut frames: Vec<_> = clients.iter().map(|_| Frames::default()).collect();
        loop {
            for client in &mut clients {
                client.write_all(&request)?;
            }
            for (client, frames) in clients.iter_mut().zip(&mut frames) {
                frames.read_exactly(client, ROUND_TRIP_BYTES as u64)?;
            }
            WORK.fetch_add(clients.len() as u64, Ordering::Relaxed);
        }
    });
    Ok(())
}

fn connections(run: &Run) -> io::Result<()> {
    let (targets, gateway) = (run.target.try_clone()?, run.gateway);
    begin(move || {
        loop {
            let (mut target, mut byte) = (targets.accept()?.0, [0]);
            target.read_exact(&mut byte)?;
            target.write_all(&byte)?;
            // Whether the gateway ends the stream or resets it is its affair.
            let _ended = target.read(&mut byte);
        }
    });
    begin(move || {
        let request = message(1);
        loop {
            let mut client = open(gateway)?;
            client.write_all(&request)?;
            Frames::default().read_exactly(&mut client, 1)?;
            WORK.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_of_a_server_is_counted_however_it_is_cut() {
        let mut wire = Vec::new();
        for len in [0, 5, 125, 126, 70_000] {
            push_header(&mut wire, Payload::Binary, len, false);
            wire.resize(wire.len() + len, 7);
        }
        for piece in [1, 2, 3, 1000, wire.len()] {
            let mut frames = Frames::default();
            let counted: u64 = wire.chunks(piece).map(|piece| frames.feed(piece)).sum();
            assert_eq!(counted, 70_256, "{piece}");
        }
    }
}
