//! The event loop: one turn waits for a batch of completions, checks the received bytes, and submits all due sends
//! together.
//!
//! Small messages: a multishot receive per connection into one provided-buffer ring, and one SEND per connection and
//! turn that either takes everything or reports (MSG_DONTWAIT with MSG_WAITALL, success not posted). Large messages: a
//! multishot poll per connection, then plain non-blocking calls until the socket is drained.
//!
//! The memory of sends is the request ring of [`Frames`], which never moves and is only dropped after the ring.

mod buffers;

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::check::{LARGE_BYTES_MIN, Next, Position};
use crate::cpu::{self, ProcessClock};
use crate::frames::Frames;
use crate::options::{Options, Wait};
use crate::report::Report;
use crate::sys;
use buffers::BufferRing;

/// Most bytes in flight of a connection that uses the buffer ring. Everything it receives is compared.
const SMALL_BYTES_MAX: usize = 8 << 10;
const SCRATCH_BYTES: usize = 256 << 10;
const SQ_ENTRIES: u32 = 4096;
const CQ_ENTRIES: u32 = 32768;
/// The longest wait: deadlines are noticed within this time.
const TICK: Duration = Duration::from_millis(50);

/// The kind of a completion, in the upper half of `user_data`. The lower half is the connection.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Op {
    Recv = 1,
    Send = 2,
    Poll = 3,
    Writable = 4,
}

fn user_data(op: Op, index: usize) -> u64 {
    (op as u64) << 32 | index as u64
}

struct Connection {
    socket: OwnedFd,
    position: Position,
    /// Position of the next byte to send in the request ring.
    request_position: usize,
    /// Bytes that are due and that the socket has not taken.
    unsent: usize,
    /// Bytes of the SEND submitted in this turn. They count as sent unless its completion says otherwise.
    submitted: usize,
    /// The socket is full: the connection waits until it is writable.
    blocked: bool,
    /// The connection is in the list of those that have something to send.
    ready: bool,
}

struct Engine<'a> {
    // Dropped first: closing the ring ends every operation that could still use the memory below.
    ring: IoUring,
    buffers: BufferRing,
    frames: Frames,
    options: &'a Options,
    connections: Vec<Connection>,
    /// Connections with something to send.
    ready: Vec<usize>,
    /// Connections whose multishot operation ended.
    rearm: Vec<usize>,
    completions: Vec<cqueue::Entry>,
    scratch: Vec<u8>,
    small: bool,
    want: usize,
    min_wait: bool,
    /// Whether replies are answered with new requests.
    running: bool,
    outstanding: u64,
    messages: u64,
    /// Time spent spinning.
    spun: Duration,
    turns: u64,
    partial_sends: u64,
    buffer_shortages: u64,
}

/// Runs warm-up, window and drain on open connections and fills `report`.
pub fn drive(options: &Options, sockets: Vec<OwnedFd>, report: &mut Report) -> Result<(), String> {
    let clocks = Clocks::new(options)?;
    let mut engine = Engine::new(options, sockets)?;
    let outcome = engine.run(&clocks, report);
    report.messages_whole_run = engine.messages;
    report.partial_sends = engine.partial_sends;
    report.buffer_shortages = engine.buffer_shortages;
    outcome
}

struct Clocks {
    server: Vec<ProcessClock>,
    watched: Vec<ProcessClock>,
    own: ProcessClock,
}

/// The figures read at one end of the window.
struct Edge {
    at: Instant,
    server: Duration,
    watched: Vec<Duration>,
    own: Duration,
    switches: (u64, u64),
    server_delay: Duration,
    own_delay: Duration,
    messages: u64,
    spun: Duration,
    turns: u64,
}

impl Clocks {
    fn new(options: &Options) -> Result<Self, String> {
        let clock = |pid: &i32| ProcessClock::new(*pid).map_err(|error| format!("CPU clock of {pid}: {error}"));
        Ok(Self {
            server: options.pids.iter().map(clock).collect::<Result<_, _>>()?,
            watched: options.watch.iter().map(clock).collect::<Result<_, _>>()?,
            own: ProcessClock::new(std::process::id() as i32).map_err(|error| error.to_string())?,
        })
    }

    fn edge(&self, engine: &Engine<'_>) -> Result<Edge, String> {
        let gone = |error| format!("a server process is gone: {error}");
        let mut switches = (0, 0);
        for pid in &engine.options.pids {
            let (voluntary, involuntary) = cpu::context_switches(*pid);
            switches = (switches.0 + voluntary, switches.1 + involuntary);
        }
        Ok(Edge {
            switches,
            server_delay: engine.options.pids.iter().map(|pid| cpu::run_delay(*pid)).sum(),
            own_delay: cpu::run_delay(std::process::id() as i32),
            watched: self.watched.iter().map(|clock| clock.read()).collect::<Result<_, _>>().map_err(gone)?,
            messages: engine.messages,
            spun: engine.spun,
            turns: engine.turns,
            own: self.own.read().map_err(gone)?,
            // Read last, and next to the clock below: the utilisation is the quotient of these two.
            server: cpu::sum(&self.server).map_err(gone)?,
            at: Instant::now(),
        })
    }
}

impl<'a> Engine<'a> {
    fn new(options: &'a Options, sockets: Vec<OwnedFd>) -> Result<Self, String> {
        let frames = Frames::new(options);
        let in_flight_bytes = options.in_flight * frames.reply_len;
        let small = in_flight_bytes <= SMALL_BYTES_MAX && options.in_flight <= frames.variants;
        let failed = |what: &'static str| move |error| format!("{what}: {error}");
        let ring = IoUring::builder()
            .setup_cqsize(CQ_ENTRIES)
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(SQ_ENTRIES)
            .map_err(failed("io_uring (Linux 6.1 or newer, not forbidden)"))?;
        let descriptors: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&descriptors).map_err(failed("registering the sockets"))?;
        let want = match options.batch {
            0 => (options.connections / 8).clamp(1, 32),
            batch => batch.min(options.connections),
        };
        let buffers = BufferRing::new(&ring, if small { in_flight_bytes } else { 0 }, want)
            .map_err(failed("registering buffers"))?;
        let position = Position::new(options.verify);
        let connections = sockets.into_iter().map(|socket| Connection {
            socket,
            position,
            request_position: 0,
            unsent: 0,
            submitted: 0,
            blocked: false,
            ready: false,
        });
        Ok(Self {
            connections: connections.collect(),
            ring,
            buffers,
            frames,
            options,
            ready: Vec::with_capacity(options.connections),
            rearm: (0..options.connections).collect(),
            completions: Vec::with_capacity(CQ_ENTRIES as usize),
            scratch: vec![0; SCRATCH_BYTES],
            small,
            want,
            min_wait: want > 1,
            running: true,
            outstanding: 0,
            messages: 0,
            spun: Duration::ZERO,
            turns: 0,
            partial_sends: 0,
            buffer_shortages: 0,
        })
    }

    /// Warm-up, window, drain.
    fn run(&mut self, clocks: &Clocks, report: &mut Report) -> Result<(), String> {
        self.rearm()?;
        for index in 0..self.connections.len() {
            self.ask(index, self.options.in_flight as u32);
        }
        self.send_ready()?;
        let begin = Instant::now();
        self.turns_until(begin + self.options.warm_up)?;
        let first = clocks.edge(self)?;
        self.turns_until(first.at + self.options.duration)?;
        let last = clocks.edge(self)?;

        report.window = last.at - first.at;
        report.messages = last.messages - first.messages;
        report.turns = last.turns - first.turns;
        report.server_cpu = last.server - first.server;
        // Spinning takes CPU time but is no work.
        report.driver_cpu = (last.own - first.own).saturating_sub(last.spun - first.spun);
        report.watched_cpu = last.watched.iter().zip(&first.watched).map(|(a, b)| *a - *b).collect();
        report.server_delay = last.server_delay.saturating_sub(first.server_delay);
        report.driver_delay = last.own_delay.saturating_sub(first.own_delay);
        report.context_switches =
            (last.switches.0.saturating_sub(first.switches.0), last.switches.1.saturating_sub(first.switches.1));
        report.server_resident_kib = self.options.pids.iter().map(|pid| cpu::resident_kib(*pid)).sum();
        self.drain()
    }

    /// Runs turns until `deadline`. Fails when the server sends nothing any more.
    fn turns_until(&mut self, deadline: Instant) -> Result<(), String> {
        let mut seen = (self.messages, Instant::now());
        loop {
            self.turn()?;
            let now = Instant::now();
            if self.messages > seen.0 {
                seen = (self.messages, now);
            } else if now > seen.1 + self.options.stall {
                return Err(format!("no reply for {:?}, {} outstanding", self.options.stall, self.outstanding));
            }
            if now >= deadline {
                return Ok(());
            }
        }
    }

    /// Waits for the answer of every message: a lost message is noticed here at the latest.
    fn drain(&mut self) -> Result<(), String> {
        self.running = false;
        self.want = 1;
        self.min_wait = false;
        let deadline = Instant::now() + self.options.stall;
        while self.outstanding > 0 {
            self.turn()?;
            if Instant::now() > deadline {
                return Err(format!("{} replies never came", self.outstanding));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        self.wait()?;
        self.turns += 1;
        let mut completions = std::mem::take(&mut self.completions);
        completions.clear();
        completions.extend(self.ring.completion());
        // First the sends that the socket took only in part: a reply of the same batch may add more to send.
        for cqe in &completions {
            if cqe.user_data() >> 32 == Op::Send as u64 {
                self.handle_send(cqe.user_data() as u32 as usize, cqe.result())?;
            }
        }
        for cqe in &completions {
            let index = cqe.user_data() as u32 as usize;
            match cqe.user_data() >> 32 {
                op if op == Op::Recv as u64 => self.handle_recv(index, cqe)?,
                op if op == Op::Poll as u64 => self.handle_poll(index, cqe)?,
                op if op == Op::Writable as u64 => self.handle_writable(index),
                _ => {}
            }
        }
        self.completions = completions;
        self.buffers.publish();
        self.rearm()?;
        self.send_ready()
    }

    /// Submits everything and waits for completions.
    fn wait(&mut self) -> Result<(), String> {
        match self.options.wait {
            Wait::Sleep => self.sleep(),
            Wait::Spin => {
                self.enter()?;
                if self.ring.completion().is_empty() {
                    self.spin();
                    self.enter()?;
                }
                Ok(())
            }
        }
    }

    /// Submits everything, and lets the kernel post its completions, without waiting.
    fn enter(&mut self) -> Result<(), String> {
        match self.ring.submitter().submit_with_args(0, &SubmitArgs::new()) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => Ok(()),
            Err(error) => Err(format!("io_uring_enter: {error}")),
        }
    }

    /// Polls the memory shared with the kernel until there is a completion, at most for one tick. This needs no system
    /// call, and the server does not pay for a wake-up.
    fn spin(&mut self) {
        // Measured by the CPU clock: a spin that lost its core was not spinning.
        let begin_cpu = sys::thread_cpu();
        let begin = Instant::now();
        while begin.elapsed() < TICK && !self.happened() {}
        self.spun += sys::thread_cpu().saturating_sub(begin_cpu);
    }

    /// Whether the next [`Self::enter`] will find a completion.
    fn happened(&mut self) -> bool {
        for _ in 0..32 {
            if self.ring.submission().taskrun() || !self.ring.completion().is_empty() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Submits everything and sleeps until a batch is complete, some time has passed with a part of it, or a tick is
    /// over.
    fn sleep(&mut self) -> Result<(), String> {
        let tick = Timespec::from(TICK);
        let short = Timespec::from(self.options.batch_wait);
        let args = match (self.want, self.min_wait) {
            (1, _) => SubmitArgs::new().timespec(&tick),
            (_, true) => SubmitArgs::new().timespec(&tick).min_wait_usec(self.options.batch_wait.as_micros() as u32),
            (_, false) => SubmitArgs::new().timespec(&short),
        };
        match self.ring.submitter().submit_with_args(self.want, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY) => Ok(()),
                // Linux before 6.12 has no minimum wait. A short timeout has nearly the same effect.
                Some(libc::EINVAL) if self.min_wait => {
                    self.min_wait = false;
                    Ok(())
                }
                _ => Err(format!("io_uring_enter: {error}")),
            },
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), String> {
        loop {
            // SAFETY: the buffers of every entry are slices of `frames.requests`, which lives until after the ring is
            // dropped and is never written; file slots were registered in `new` and stay so.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit().map_err(|error| format!("io_uring_enter: {error}"))?;
        }
    }

    /// Arms the multishot operation of every connection that has none.
    fn rearm(&mut self) -> Result<(), String> {
        while let Some(index) = self.rearm.pop() {
            let slot = Fixed(index as u32);
            let entry = if self.small {
                opcode::RecvMulti::new(slot, BufferRing::GROUP).build().user_data(user_data(Op::Recv, index))
            } else {
                let events = (libc::POLLIN | libc::POLLOUT) as u32;
                opcode::PollAdd::new(slot, events).multi(true).build().user_data(user_data(Op::Poll, index))
            };
            self.push(&entry)?;
        }
        Ok(())
    }

    /// Makes `messages` further requests due.
    fn ask(&mut self, index: usize, messages: u32) {
        let connection = &mut self.connections[index];
        connection.position.outstanding += messages;
        connection.unsent += messages as usize * self.frames.request_len;
        self.outstanding += u64::from(messages);
        if !connection.ready {
            connection.ready = true;
            self.ready.push(index);
        }
    }

    /// Counts replies, and asks for more while the run lasts.
    fn answered(&mut self, index: usize, messages: u32) {
        self.messages += u64::from(messages);
        self.outstanding -= u64::from(messages);
        if self.running && messages > 0 {
            self.ask(index, messages);
        }
    }

    fn send_ready(&mut self) -> Result<(), String> {
        while let Some(index) = self.ready.pop() {
            self.connections[index].ready = false;
            if self.connections[index].blocked {
                continue;
            }
            if self.small { self.submit_send(index)? } else { self.send_now(index)? }
        }
        Ok(())
    }

    fn submit_send(&mut self, index: usize) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let bytes = self.frames.request_slice(connection.request_position, connection.unsent);
        let (pointer, len) = (bytes.as_ptr(), bytes.len());
        debug_assert_eq!(len, connection.unsent, "a small batch is contiguous");
        connection.submitted = len;
        connection.unsent -= len;
        connection.request_position = (connection.request_position + len) % self.frames.request_ring_len();
        let entry = opcode::Send::new(Fixed(index as u32), pointer, len as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Op::Send, index));
        self.push(&entry)
    }

    /// Handles a SEND that the socket took only in part: the rest stays due until the socket is writable.
    #[cold]
    fn handle_send(&mut self, index: usize, result: i32) -> Result<(), String> {
        let connection = &mut self.connections[index];
        let taken = match result {
            n if n >= 0 => n as usize,
            n if n == -libc::EAGAIN => 0,
            errno => return Err(format!("send: {}", std::io::Error::from_raw_os_error(-errno))),
        };
        let back = connection.submitted - taken;
        if back == 0 {
            return Ok(());
        }
        let ring_len = self.frames.request_ring_len();
        connection.request_position = (connection.request_position + ring_len - back) % ring_len;
        connection.unsent += back;
        connection.blocked = true;
        self.partial_sends += 1;
        let entry = opcode::PollAdd::new(Fixed(index as u32), libc::POLLOUT as u32).build();
        self.push(&entry.user_data(user_data(Op::Writable, index)))
    }

    fn handle_writable(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.blocked = false;
        if connection.unsent > 0 && !connection.ready {
            connection.ready = true;
            self.ready.push(index);
        }
    }

    fn handle_recv(&mut self, index: usize, cqe: &cqueue::Entry) -> Result<(), String> {
        if !cqueue::more(cqe.flags()) {
            self.rearm.push(index);
        }
        let len = match cqe.result() {
            0 => return Err(closed(index)),
            n if n > 0 => n as usize,
            n if n == -libc::ENOBUFS => {
                self.buffer_shortages += 1;
                return Ok(());
            }
            errno => return Err(format!("recv: {}", std::io::Error::from_raw_os_error(-errno))),
        };
        let Some(buffer) = cqueue::buffer_select(cqe.flags()) else {
            return Err("recv: a completion without a buffer".into());
        };
        let bytes = self.buffers.bytes(buffer, len);
        let messages = self.connections[index].position.accept(&self.frames, bytes).map_err(|m| wrong(index, &m.0))?;
        self.buffers.give_back(buffer);
        self.answered(index, messages);
        Ok(())
    }

    fn handle_poll(&mut self, index: usize, cqe: &cqueue::Entry) -> Result<(), String> {
        if !cqueue::more(cqe.flags()) {
            self.rearm.push(index);
        }
        if cqe.result() < 0 {
            return Err(format!("poll: {}", std::io::Error::from_raw_os_error(-cqe.result())));
        }
        if self.connections[index].blocked {
            self.connections[index].blocked = false;
            self.send_now(index)?;
        }
        self.recv_now(index)
    }

    /// Receives until the socket is empty. Only large messages are answered at once. The others wait for the end of the
    /// turn, so that they leave as one batch.
    fn recv_now(&mut self, index: usize) -> Result<(), String> {
        loop {
            let connection = &mut self.connections[index];
            let position = &mut connection.position;
            let (room, skip) = match position.next(&self.frames, SCRATCH_BYTES) {
                Next::Compare(len) => (&mut self.scratch[..len], false),
                Next::Skip(len) => (&mut self.scratch[..len], true),
            };
            let result =
                if skip { sys::discard(&connection.socket, room) } else { sys::recv(&connection.socket, room) };
            let len = match result {
                Ok(0) => return Err(closed(index)),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("recv: {error}")),
            };
            let drained = len < room.len();
            let verdict = if skip {
                position.accept_skipped(&self.frames, len)
            } else {
                position.accept(&self.frames, &room[..len])
            };
            let messages = verdict.map_err(|m| wrong(index, &m.0))?;
            let nothing_due = position.outstanding == 0;
            self.answered(index, messages);
            if messages > 0 && self.frames.reply_len >= LARGE_BYTES_MIN {
                self.send_ready()?;
            }
            if drained || nothing_due {
                return Ok(());
            }
        }
    }

    fn send_now(&mut self, index: usize) -> Result<(), String> {
        let connection = &mut self.connections[index];
        while connection.unsent > 0 {
            let bytes = self.frames.request_slice(connection.request_position, connection.unsent);
            match sys::send(&connection.socket, bytes) {
                Ok(sent) => {
                    connection.unsent -= sent;
                    connection.request_position = (connection.request_position + sent) % self.frames.request_ring_len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.blocked = true;
                    self.partial_sends += 1;
                    return Ok(());
                }
                Err(error) => return Err(format!("send: {error}")),
            }
        }
        Ok(())
    }
}

#[cold]
fn closed(index: usize) -> String {
    format!("connection {index}: closed by the server")
}

#[cold]
fn wrong(index: usize, what: &str) -> String {
    format!("connection {index}: {what}")
}
