//! What the worlds of streams have in common: where targets are, the two sides of a session, and what holds for each worker, at any
//! time and at the end.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::session::Session;
use crate::io::pool::BUFFER_BYTES;
use crate::io::sim::{Faults, PeerEnd, PeerId, Random, Sim};
use crate::io::{ConnectOptions, HOT_BYTES};
use crate::protocol::Handed;
use crate::stats::Counters;
use crate::worker::{App, Worker};

/// Where a worker connects to: the simulation does not ask.
pub(super) fn place() -> ConnectOptions {
    ConnectOptions::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)))
}

/// A stream that is connected already: the simulation puts a socket of its own in its place.
pub(super) fn handed() -> Handed {
    let (near, _) = UnixStream::pair().expect("two descriptors");
    Handed::new(near.into())
}

/// Sends and connects fail, but nobody is left out.
pub(super) fn breaking(random: &mut Random) -> Faults {
    Faults {
        accept_aborted: 0,
        ..Faults::draw_breaking(random)
    }
}

/// Whichever side stalls, a queue holds its limit and what `turns` turns add.
pub(super) fn check_queues<A: App>(worker: &mut Worker<Sim, A>, limit: usize, turns: usize) {
    let pool = usize::from(worker.io().options().buffers_max) * BUFFER_BYTES;
    let max = limit + turns * (HOT_BYTES + pool);
    for id in worker.table.ids() {
        let conn = worker.table.get_mut(id).expect("it is there");
        let queued = conn.link.queued_bytes();
        assert!(queued <= max, "{queued}");
    }
}

/// Stops a worker whose connections are over. Nothing is left, and every byte was counted.
pub(super) fn wind_up<A: App>(worker: &mut Worker<Sim, A>) -> Counters {
    worker.drain();
    worker.io_mut().faults_mut().stale = 0;
    turns(worker, 3);
    worker.io().assert_clean();
    let counters = *worker.counters();
    let gauges = (counters.clients, counters.sockets, counters.streams);
    assert_eq!(gauges, (0, 0, 0));
    let moved = worker.io().moved();
    assert_eq!(counters.wire_bytes_in, moved.received);
    assert_eq!(counters.wire_bytes_out, moved.sent);
    counters
}

pub(super) fn turns<A: App>(worker: &mut Worker<Sim, A>, count: usize) {
    for _ in 0..count {
        worker.turn(Some(Duration::ZERO)).expect("a simulation");
    }
}

/// The connections of a worker whose run does not end.
pub(super) fn links<A: App>(worker: &mut Worker<Sim, A>) -> Vec<String> {
    let ids = worker.table.ids();
    let conn = |id| worker.table.get_mut(id).map(|conn| format!("{conn:?}"));
    ids.into_iter().filter_map(conn).collect()
}

/// One side of a session.
#[derive(Debug)]
pub(super) struct End {
    pub(super) peer: Option<PeerId>,
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
    pub(super) got: Vec<u8>,
    /// Resets after so many bytes.
    pub(super) resets_at: Option<usize>,
    /// What it found behind the last byte.
    pub(super) saw: PeerEnd,
    /// Ends its direction only when the other side has.
    pub(super) waits: bool,
    pace: u16,
    pub(super) tls: Option<Session>,
    leaves: Leaves,
}

/// How one side says under TLS that it sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// With close_notify; its FIN follows that of the worker.
    Notifying,
    /// With close_notify and FIN.
    Ending,
    /// With FIN alone.
    Cutting,
}

impl End {
    pub(super) fn new(random: &mut Random, out: Vec<u8>) -> Self {
        Self {
            peer: None,
            out,
            sent: 0,
            got: Vec::new(),
            resets_at: None,
            saw: PeerEnd::Open,
            waits: false,
            pace: random.pick(&[5, 100, 1000]),
            tls: None,
            leaves: random.pick(&[Leaves::Notifying, Leaves::Ending, Leaves::Cutting]),
        }
    }

    pub(super) fn send(&mut self, sim: &mut Sim, peer: PeerId, len: usize) {
        let bytes = &self.out[self.sent..][..len];
        match &mut self.tls {
            None => sim.peer_send(peer, bytes),
            Some(tls) => tls.send(sim, peer, bytes),
        }
        self.sent += len;
    }

    pub(super) fn take(&mut self, sim: &mut Sim, peer: PeerId, max: usize) {
        let bytes = sim.peer_take_some(peer, max);
        match &mut self.tls {
            None => self.got.extend(bytes),
            Some(tls) => self.got.extend(tls.receive(sim, peer, &bytes)),
        }
    }

    fn finish(&mut self, sim: &mut Sim, peer: PeerId) {
        let Some(tls) = &mut self.tls else {
            return sim.peer_half_close(peer);
        };
        if tls.waits() {
            return;
        }
        if self.leaves != Leaves::Cutting {
            tls.close(sim, peer);
        }
        if self.leaves != Leaves::Notifying || self.saw != PeerEnd::Open {
            sim.peer_half_close(peer);
        }
    }

    pub(super) fn step(&mut self, sim: &mut Sim, random: &mut Random) {
        let Some(peer) = self.peer else { return };
        if random.chance(self.pace.max(50)) && self.sent < self.out.len() {
            let len = random.magnitude(100_000).min(self.out.len() - self.sent);
            self.send(sim, peer, len);
        }
        if let Some(tls) = &mut self.tls
            && self.sent < self.out.len()
            && random.chance(50)
        {
            tls.refresh(sim, peer);
        }
        if self.resets_at.is_some_and(|at| self.sent >= at) {
            sim.peer_reset(peer);
            self.peer = None;
            return;
        }
        let all_sent = self.sent == self.out.len();
        if all_sent && (!self.waits || self.saw != PeerEnd::Open) {
            self.finish(sim, peer);
        }
        if random.chance(self.pace) {
            let max = random.magnitude(100_000);
            self.take(sim, peer, max);
        }
        self.saw = sim.peer_end(peer);
        if self.saw == PeerEnd::Reset || self.saw == PeerEnd::Fin && all_sent {
            self.take(sim, peer, usize::MAX);
            sim.peer_close(peer);
            self.peer = None;
        }
    }
}

/// A client, and the peer at the other end of its stream.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) client: End,
    pub(super) client_id: PeerId,
    pub(super) target: End,
}

impl Joined {
    /// Whether both sides are over. The client's is in `sim`.
    pub(super) fn is_over(&self, sim: &Sim) -> bool {
        let ends = [&self.client, &self.target];
        ends.iter().all(|end| end.peer.is_none()) && sim.is_over(self.client_id)
    }

    pub(super) const fn breaks(&self) -> bool {
        self.client.resets_at.is_some() || self.target.resets_at.is_some()
    }

    /// One side, or none, resets when it has sent so much.
    pub(super) fn break_off(&mut self, who: usize, at: usize) {
        let end = match who {
            0 => &mut self.client,
            1 => &mut self.target,
            _ => return,
        };
        end.resets_at = Some(at.min(end.out.len()));
    }

    pub(super) fn describe(&self) -> String {
        let of = |end: &End| {
            let (sent, out, got) = (end.sent, end.out.len(), end.got.len());
            format!(
                "{:?} sent {sent}/{out} got {got} saw {:?}",
                end.peer, end.saw
            )
        };
        format!("client {} target {}", of(&self.client), of(&self.target))
    }
}
