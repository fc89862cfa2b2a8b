//! Misbehaving clients for `stress` and `soak`: some close and reconnect, some reset, some read slowly.

use std::time::Duration;

use super::options;
use super::peer::Peer;
use super::thread::Figures;
use crate::proto::CloseCode;
use crate::random::Random;
use crate::time::Instant;
use crate::worker::Handle;

/// How often a slow reader may read the next part of its budget.
const TICK: Duration = Duration::from_millis(100);

/// Most connections closed, and most connections reset, in one turn.
const EVENTS_PER_TURN: usize = 64;

/// A series of events at a given rate.
#[derive(Debug)]
struct Beat {
    period: Option<Duration>,
    next: Instant,
    happened: u64,
}

impl Beat {
    fn new(per_second: f64) -> Self {
        Self {
            period: (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second)),
            next: Instant::from_nanos(u64::MAX),
            happened: 0,
        }
    }

    fn start(&mut self, go: Instant) {
        if let Some(period) = self.period {
            self.next = go + period;
        }
    }

    /// Whether one more event is due.
    fn strikes(&mut self, now: Instant) -> bool {
        let strikes = now >= self.next;
        if strikes && let Some(period) = self.period {
            self.next = self.next + period;
        }
        strikes
    }
}

/// The misbehaviour of one thread's connections.
#[derive(Debug)]
pub(super) struct Churn {
    random: Random,
    reconnects: Beat,
    resets: Beat,
    /// One of this many connections reads slowly.
    slow_every: Option<usize>,
    slow_bytes_per_tick: f64,
    /// Bytes that each slow reader may still read in this tick, by its place among the slow readers.
    budgets: Vec<f64>,
    tick: Instant,
}

impl Churn {
    /// `share` is the part of all connections that this thread drives, from 0 to 1; `count` is how many these are.
    pub(super) fn new(churn: &options::Churn, share: f64, count: usize, seed: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, and at most the connections there can be"
        )]
        let every = |share: f64| (1.0 / share).round().clamp(1.0, 1e9) as usize;
        let slow_every = (churn.slow_readers > 0.0).then(|| every(churn.slow_readers));
        let per_tick = churn.slow_bytes_per_second * TICK.as_secs_f64();
        Self {
            random: Random::new(seed),
            reconnects: Beat::new(churn.reconnects_per_second * share),
            resets: Beat::new(churn.resets_per_second * share),
            slow_every,
            slow_bytes_per_tick: per_tick,
            budgets: vec![per_tick; slow_every.map_or(0, |every| count.div_ceil(every))],
            tick: Instant::from_nanos(u64::MAX),
        }
    }

    pub(super) fn is_slow(&self, at: usize) -> bool {
        self.slow_every
            .is_some_and(|every| at.is_multiple_of(every))
    }

    pub(super) fn start(&mut self, go: Instant) {
        self.reconnects.start(go);
        self.resets.start(go);
        if self.slow_every.is_some() {
            self.tick = go;
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.reconnects.next.min(self.resets.next).min(self.tick))
    }

    /// Notes that a slow reader has read `bytes`.
    pub(super) fn note_read(&mut self, tag: u32, bytes: usize) {
        if let Some(every) = self.slow_every
            && let Some(budget) = self.budgets.get_mut(tag as usize / every)
        {
            *budget -= bytes as f64;
        }
    }

    /// Closes, resets and lets slow readers read, as far as each is due now.
    pub(super) fn step(&mut self, peers: &mut [Peer], reach: &mut Handle<'_>) {
        let now = reach.now();
        for _ in 0..EVENTS_PER_TURN {
            if !self.reconnects.strikes(now) {
                break;
            }
            if let Some(peer) = self.victim(peers)
                && let Some(mut context) = peer.id.and_then(|id| reach.context(id))
                && context.close(CloseCode::NormalClosure, "").is_ok()
            {
                peer.leaving = true;
                self.reconnects.happened += 1;
            }
        }
        for _ in 0..EVENTS_PER_TURN {
            if !self.resets.strikes(now) {
                break;
            }
            if let Some(peer) = self.victim(peers)
                && let Some(id) = peer.id
            {
                peer.leaving = true;
                reach.reset(id);
                self.resets.happened += 1;
            }
        }
        self.pace_slow_readers(peers, reach, now);
    }

    /// A random connection that is open and that we are not closing already.
    fn victim<'p>(&mut self, peers: &'p mut [Peer]) -> Option<&'p mut Peer> {
        let at = self.random.below(peers.len());
        peers
            .get_mut(at)
            .filter(|peer| peer.id.is_some() && !peer.leaving)
    }

    fn pace_slow_readers(&mut self, peers: &[Peer], reach: &mut Handle<'_>, now: Instant) {
        let Some(every) = self.slow_every else { return };
        let ticks = now >= self.tick;
        if ticks {
            self.tick = now + TICK;
        }
        for (budget, peer) in self.budgets.iter_mut().zip(peers.iter().step_by(every)) {
            if ticks {
                *budget = (*budget + self.slow_bytes_per_tick).min(self.slow_bytes_per_tick);
            }
            let Some(id) = peer.id else { continue };
            if *budget > 0.0 {
                reach.resume(id);
            } else {
                reach.pause(id);
            }
        }
    }

    /// Ends the misbehaviour after the window: slow readers read the answers that still wait for them.
    pub(super) fn stop(&mut self, peers: &[Peer], reach: &mut Handle<'_>) {
        let never = Instant::from_nanos(u64::MAX);
        (self.reconnects.next, self.resets.next, self.tick) = (never, never, never);
        if let Some(every) = self.slow_every.take() {
            let slow = peers.iter().step_by(every).filter_map(|peer| peer.id);
            slow.for_each(|id| reach.resume(id));
        }
    }

    pub(super) fn tell(&self, figures: &mut Figures) {
        figures.add("reconnects", self.reconnects.happened);
        figures.add("resets", self.resets.happened);
        figures.add("slow_readers", self.budgets.len() as u64);
    }
}
