//! The wheel: the deadlines of all connections, so that a worker waits exactly until the next one.
//!
//! ```text
//!   bucket:  0    1    2   …  511     one bucket is 100 ms, the wheel 51.2 s
//!            │    │
//!            ▼    ▼
//!           c7   c2 ⇄ c9 ⇄ c4         links live in the connections: no allocation, removal in O(1)
//! ```
//!
//! A timer fires at the end of its bucket: up to 100 ms late, never early. A deadline beyond the wheel waits in the
//! last bucket that it can reach, and is put back from there. A busy connection never touches the wheel: its later
//! deadline is in its own field, which the wheel reads when the old one expires.

use super::table::Table;
use crate::io::ConnId;
use crate::time::Instant;

/// Width of a bucket: 100 ms.
const TICK_NS: u64 = 100_000_000;

const BUCKETS: usize = 512;
const WORDS: usize = BUCKETS / 64;

/// A connection's place in the wheel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    /// Its bucket, and its neighbours there. `None`: the connection is not in the wheel.
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: u16,
    previous: Option<u32>,
    next: Option<u32>,
}

/// The wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: Vec<Option<u32>>,
    /// Buckets with connections, one bit each.
    occupied: [u64; WORDS],
    /// The first tick that was not handled.
    tick: u64,
    /// No deadline is earlier. It may be too early itself, after a connection was taken out.
    due: Instant,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            heads: vec![None; BUCKETS],
            occupied: [0; WORDS],
            tick: now.nanos() / TICK_NS,
            due: Instant::NEVER,
        }
    }

    /// Puts a connection in, or moves it to `deadline`.
    pub(crate) fn set<S>(&mut self, table: &mut Table<S>, id: ConnId, deadline: Instant) {
        self.remove(table, id);
        // The end of the deadline's bucket, at most one round of the wheel away.
        let due = deadline
            .nanos()
            .div_ceil(TICK_NS)
            .clamp(self.tick, self.tick + BUCKETS as u64 - 1);
        self.due = self.due.min(Instant::from_nanos(due * TICK_NS));
        let bucket = bucket_of(due);
        let next = self.heads[bucket];
        if let Some(neighbour) = next {
            links(table, neighbour).previous = Some(id.slot);
        }
        self.heads[bucket] = Some(id.slot);
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        let bucket = u16::try_from(bucket).expect("there are 512 buckets");
        if let Some(connection) = table.get_mut(id) {
            connection.link.links.place = Some(Place {
                bucket,
                previous: None,
                next,
            });
        }
    }

    /// Takes a connection out, if it is in the wheel.
    pub(crate) fn remove<S>(&mut self, table: &mut Table<S>, id: ConnId) {
        let Some(place) = table
            .get_mut(id)
            .and_then(|connection| connection.link.links.place.take())
        else {
            return;
        };
        match place.previous {
            Some(previous) => links(table, previous).next = place.next,
            None => {
                let bucket = usize::from(place.bucket);
                self.heads[bucket] = place.next;
                if place.next.is_none() {
                    self.occupied[bucket / 64] &= !(1 << (bucket % 64));
                }
            }
        }
        if let Some(next) = place.next {
            links(table, next).previous = place.previous;
        }
    }

    /// Takes out every connection whose bucket has ended by `now`.
    pub(crate) fn expire<S>(
        &mut self,
        table: &mut Table<S>,
        now: Instant,
        expired: &mut Vec<ConnId>,
    ) {
        let current = now.nanos() / TICK_NS;
        while self.tick <= current {
            let bucket = bucket_of(self.tick);
            while let Some(slot) = self.heads[bucket] {
                let id = table
                    .in_slot_mut(slot)
                    .expect("the wheel holds live connections")
                    .link
                    .id;
                self.remove(table, id);
                expired.push(id);
            }
            self.tick += 1;
            if self.occupied == [0; WORDS] {
                self.tick = self.tick.max(current + 1);
            }
        }
        self.due = self.first_due().unwrap_or(Instant::NEVER);
    }

    /// The instant at which [`Self::expire`] must run next.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// The end of the first bucket that has connections.
    fn first_due(&self) -> Option<Instant> {
        let start = bucket_of(self.tick);
        let (first, shift) = (start / 64, start % 64);
        // The rest of the first word, the other words in order, and the beginning of the first word at the end.
        let words = (0..=WORDS).map(|nth| match self.occupied[(first + nth) % WORDS] {
            word if nth == 0 => word >> shift << shift,
            word if nth == WORDS => word & !(u64::MAX << shift),
            word => word,
        });
        let (nth, word) = words.enumerate().find(|(_, word)| *word != 0)?;
        let ahead = nth * 64 + word.trailing_zeros() as usize - shift;
        Some(Instant::from_nanos((self.tick + ahead as u64) * TICK_NS))
    }
}

/// The bucket of a tick.
fn bucket_of(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).expect("there are 512 buckets")
}

fn links<S>(table: &mut Table<S>, slot: u32) -> &mut Place {
    let connection = table
        .in_slot_mut(slot)
        .expect("a neighbour in the wheel is a live connection");
    connection
        .link
        .links
        .place
        .as_mut()
        .expect("a neighbour in the wheel is in the wheel")
}
