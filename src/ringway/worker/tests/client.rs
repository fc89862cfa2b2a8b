//! One simulated client: says its script at its own pace, and checks what comes back byte by byte.

use std::time::Duration;

use super::script::{Expected, Script};
use super::session::Session;
use super::wire::{Item, Wire};
use crate::io::sim::{PeerEnd, PeerId, Random, Sim};
use crate::time::Instant;

/// How a client behaves at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Sends its Close when every answer is there.
    Polite,
    /// Sends its Close right behind the last message.
    Eager,
    /// Ends its direction behind its Close, and reads on.
    EagerFin,
    /// Breaks the protocol behind the last message.
    Violation,
    /// Ends its direction after so many bytes of its script, without a Close.
    HalfClose(usize),
    /// Closes its socket after so many bytes of its script.
    Disappear(usize),
    /// Resets after so many bytes of its script.
    Reset(usize),
    /// Never reads, and resets at this instant.
    NeverReads(Instant),
    /// Says its script and then nothing, not even a Close; the server ends it.
    Silent,
    /// Says its script, and answers the server's Close.
    Answers,
}

/// How fast a client is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) send_max: usize,
    pub(super) read_max: usize,
    pub(super) interval_max: Duration,
}

impl Pace {
    /// A pace that no timeout can notice.
    pub(super) const fn fast() -> Self {
        Self {
            send_max: 1 << 20,
            read_max: 1 << 20,
            interval_max: Duration::from_micros(50),
        }
    }

    /// Any pace at which `bytes` take no more than some thousand steps.
    pub(super) fn draw(random: &mut Random, bytes: usize) -> Self {
        let least = bytes / 1000;
        Self {
            send_max: random.pick(&[7, 300, 5_000, 100_000, 1 << 20]).max(least),
            read_max: random.pick(&[500, 5_000, 1 << 20]).max(least),
            interval_max: Duration::from_micros(random.pick(&[1, 50, 1000])),
        }
    }
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) ending: Ending,
    pub(super) pace: Pace,
    pub(super) script: Script,
    /// Codes with which the server may close of its own accord.
    pub(super) may_close: &'static [u16],
    /// The connection may break without anybody's doing.
    pub(super) may_break: bool,
    /// Bytes that its own system takes before its sends wait.
    pub(super) unread_max: usize,
    /// When it connects, later when it acts next.
    pub(super) next: Instant,
    /// Pings of the server are answered.
    pub(super) pongs: bool,
    random: Random,
    peer: Option<PeerId>,
    /// Bytes of the script that were sent.
    sent: usize,
    close_sent: bool,
    /// It closed or reset its socket.
    left: bool,
    wire: Wire,
    /// `None`: it speaks without TLS.
    pub(super) tls: Option<Session>,
    /// Pings of the server.
    pub(super) pings: u64,
    /// The status of the response.
    pub(super) status: Option<u16>,
    /// The code of a Close that the script did not ask for.
    pub(super) closed_by_server: Option<u16>,
    /// What it met at the end of the server's bytes.
    pub(super) end: Option<PeerEnd>,
}

impl Client {
    pub(super) fn new(
        seed: u64,
        script: Script,
        ending: Ending,
        pace: Pace,
        next: Instant,
    ) -> Self {
        let wire = match &script.deflate {
            None => Wire::default(),
            Some(deflate) => Wire::compressed(deflate.sends.takeover),
        };
        Self {
            ending,
            pace,
            script,
            may_close: &[],
            unread_max: 200_000,
            may_break: false,
            next,
            pongs: true,
            random: Random::new(seed),
            peer: None,
            sent: 0,
            close_sent: matches!(ending, Ending::Eager | Ending::EagerFin | Ending::Violation),
            left: false,
            wire,
            tls: None,
            pings: 0,
            status: None,
            closed_by_server: None,
            end: None,
        }
    }

    /// Messages may come to it in several frames.
    pub(super) fn takes_parts(&mut self) {
        self.wire.parts = Some(Vec::new());
    }

    /// Bytes of the response to its request.
    pub(super) const fn response_bytes(&self) -> usize {
        self.wire.head_bytes
    }

    pub(super) const fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    /// Whether both sides are done with the connection.
    pub(super) fn is_over(&self, sim: &Sim) -> bool {
        self.peer.is_some_and(|peer| sim.is_over(peer)) && self.left
    }

    /// What it waits for, for a run that does not end.
    pub(super) fn describe(&self) -> String {
        format!(
            "{:?}, TLS {}: {} of {} bytes sent, {} answers missing, status {:?}, left {}, end {:?}, closed {:?}",
            self.ending,
            self.tls.is_some(),
            self.sent,
            self.script.bytes.len(),
            self.script.expected.len(),
            self.status,
            self.left,
            self.end,
            self.closed_by_server
        )
    }

    /// When it wants to act; `None` when it waits for the server.
    pub(super) fn alarm(&self, sim: &Sim) -> Option<Instant> {
        let Some(peer) = self.peer else {
            return Some(self.next);
        };
        if self.left {
            return None;
        }
        if let Ending::NeverReads(until) = self.ending {
            let sends = self.may_send(sim, peer);
            return Some(if sends { until.min(self.next) } else { until });
        }
        let reads = sim.peer_pending(peer) > 0 || sim.peer_end(peer) != PeerEnd::Open;
        (reads || self.may_send(sim, peer)).then_some(self.next)
    }

    fn may_send(&self, sim: &Sim, peer: PeerId) -> bool {
        self.sent < self.script_end() && sim.peer_unread(peer) < self.unread_max
    }

    /// Where the script ends for this client.
    fn script_end(&self) -> usize {
        let len = self.script.bytes.len();
        match self.ending {
            Ending::HalfClose(at) | Ending::Disappear(at) | Ending::Reset(at) => at.min(len),
            _ => len,
        }
    }

    /// Acts, if it is time.
    pub(super) fn step(&mut self, sim: &mut Sim, now: Instant) {
        if now < self.next || self.left {
            return;
        }
        let peer = *self.peer.get_or_insert_with(|| sim.connect());
        let pause = self
            .random
            .below(usize::try_from(self.pace.interval_max.as_nanos()).expect("short"));
        self.next = now + Duration::from_nanos(pause as u64);
        if let Ending::NeverReads(until) = self.ending {
            if now >= until {
                sim.peer_reset(peer);
                self.left = true;
            }
        } else {
            self.read(sim, peer);
        }
        self.write(sim, peer);
        if self.left {
            return;
        }
        let end = sim.peer_end(peer);
        if end != PeerEnd::Open && sim.peer_pending(peer) == 0 {
            self.end = Some(end);
            self.left = true;
            sim.peer_close(peer);
            self.check_end(end);
        }
    }

    fn read(&mut self, sim: &mut Sim, peer: PeerId) {
        let max = self.random.magnitude(self.pace.read_max);
        let bytes = sim.peer_take_some(peer, max);
        match &mut self.tls {
            None => self.wire.extend(&bytes),
            Some(tls) => self.wire.extend(&tls.receive(sim, peer, &bytes)),
        }
        while let Some(item) = self.wire.next() {
            match item {
                Item::Head(status) => self.status = Some(status),
                Item::Frame { opcode, payload } => self.handle_frame(opcode, payload),
            }
        }
    }

    fn handle_frame(&mut self, opcode: u8, payload: Vec<u8>) {
        assert_eq!(self.closed_by_server, None, "nothing follows a Close");
        if opcode == 9 {
            self.pings += 1;
            // A Pong can only go between frames; while there is more to say, that is sign of life enough.
            if self.pongs && self.sent == self.script.bytes.len() && !self.close_sent {
                self.script
                    .bytes
                    .extend_from_slice(&self.script.pong_frame(&mut self.random, &payload));
            }
            return;
        }
        let code = || {
            payload
                .first_chunk()
                .copied()
                .map_or(1005, u16::from_be_bytes)
        };
        if opcode == 8 && self.may_close.contains(&code()) {
            self.closed_by_server = Some(code());
            return;
        }
        let Some(expected) = self.script.expected.pop_front() else {
            panic!(
                "nothing more was asked for, and opcode {opcode} came with {} bytes",
                payload.len()
            )
        };
        if opcode == 8 {
            // The reason is the server's own.
            assert_eq!(
                (opcode, &payload[..2]),
                (expected.opcode, expected.payload.as_slice())
            );
            return;
        }
        let got = Expected { opcode, payload };
        assert!(got == expected, "{}", difference(&got, &expected));
    }

    fn write(&mut self, sim: &mut Sim, peer: PeerId) {
        let end = self.script_end();
        if self.may_send(sim, peer) {
            let max = self.random.magnitude(self.pace.send_max);
            let until = end.min(self.sent + max);
            let bytes = &self.script.bytes[self.sent..until];
            match &mut self.tls {
                None => sim.peer_send(peer, bytes),
                Some(tls) => tls.send(sim, peer, bytes),
            }
            self.sent = until;
        }
        if self.sent < end {
            return;
        }
        match self.ending {
            Ending::Polite
                if !self.close_sent && self.script.expected.is_empty() && self.status.is_some() =>
            {
                self.send_close();
                self.script.expect_close();
            }
            Ending::EagerFin | Ending::HalfClose(_)
                if self.tls.as_ref().is_some_and(Session::waits) => {}
            Ending::EagerFin | Ending::HalfClose(_) => sim.peer_half_close(peer),
            Ending::Disappear(_) => {
                sim.peer_close(peer);
                self.left = true;
            }
            Ending::Reset(_) => {
                sim.peer_reset(peer);
                self.left = true;
            }
            _ => {}
        }
        if self.closed_by_server.is_some() && !self.close_sent && self.ending != Ending::Silent {
            self.send_close();
        }
    }

    fn send_close(&mut self) {
        let close = self.script.close_frame(&mut self.random);
        self.script.bytes.extend_from_slice(&close);
        self.close_sent = true;
    }

    fn check_end(&self, end: PeerEnd) {
        let all = self.script.expected.is_empty() && self.wire.rest().is_empty();
        let expects_all = matches!(
            self.ending,
            Ending::Polite | Ending::Eager | Ending::Violation
        );
        if expects_all
            && !self.may_break
            && self.closed_by_server.is_none()
            && self.status == Some(101)
        {
            assert!(
                all,
                "{} answers are missing at {end:?}: {:?}",
                self.script.expected.len(),
                self.ending
            );
            assert_eq!(end, PeerEnd::Fin, "{:?}", self.ending);
        }
    }
}

pub(super) fn difference(got: &Expected, expected: &Expected) -> String {
    let at = got
        .payload
        .iter()
        .zip(&expected.payload)
        .position(|(got, expected)| got != expected);
    let (got, expected) = (
        (got.opcode, got.payload.len()),
        (expected.opcode, expected.payload.len()),
    );
    format!("opcode and length {got:?} instead of {expected:?}, first difference at {at:?}")
}
