//! How many connections an address has, and how fast it opens more.
//!
//! Each worker counts what it has accepted itself. An IPv6 address stands for its /64, because a subscriber has one of
//! these at least. Nothing here exists while neither limit is set.
//!
//! ```text
//!   accept ──▶ is the peer a proxy? ──no──▶ counted, or reset
//!                     │yes
//!                     ▼
//!              PROXY header, X-Forwarded-For ──▶ the client is counted with its request, or gets 429
//! ```

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::io::ConnId;
use crate::time::Instant;

/// Addresses without a connection that are remembered for their rate. With hash table and slack they take 6 MiB at most.
/// A second is enough to forget most of them.
const ADDRESSES_MAX: usize = 65_536;

/// Least time between two searches for addresses that can be forgotten: each looks at all of them, which takes about a
/// millisecond.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// Limits of one address, in each worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressLimits {
    /// Sockets of one address, in any state. Costs about 100 bytes for each socket. Default: no limit.
    pub connections_max: Option<u32>,
    /// Connections per second of one address, as many at once at most. Default: no limit.
    pub handshakes_per_second_max: Option<u32>,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Visitor {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for Visitor {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Record {
    connections: u32,
    /// When the address would have begun its connections so far, had it begun them at the rate of the limit: at most a
    /// second ahead (the generic cell rate algorithm).
    paid_until: Instant,
}

/// The addresses of a worker's connections.
#[derive(Debug)]
pub(crate) struct Visitors {
    limits: AddressLimits,
    records: HashMap<Visitor, Record>,
    /// Whose each connection is, as far as it is counted.
    of: HashMap<ConnId, Visitor>,
    next_search: Instant,
}

impl Visitors {
    /// The record of visitors, if there is a limit.
    pub(crate) fn new(limits: AddressLimits) -> Option<Box<Self>> {
        (limits != AddressLimits::default()).then(|| {
            Box::new(Self {
                limits,
                records: HashMap::new(),
                of: HashMap::new(),
                next_search: Instant::ZERO,
            })
        })
    }

    /// Counts the connection `id` of `address`. False if it is one too many; nothing is counted then.
    pub(crate) fn admit(&mut self, id: ConnId, address: IpAddr, now: Instant) -> bool {
        let visitor = Visitor::from(address);
        let new = Record {
            connections: 0,
            paid_until: Instant::ZERO,
        };
        let mut record = self.records.get(&visitor).copied().unwrap_or(new);
        let at_most = |most: u32| record.connections < most;
        if !self.limits.connections_max.is_none_or(at_most) {
            return false;
        }
        if let Some(rate) = self.limits.handshakes_per_second_max {
            let each = Duration::from_secs(1) / rate.max(1);
            let paid_until = record.paid_until.max(now) + each;
            if paid_until > now + Duration::from_secs(1) {
                return false;
            }
            record.paid_until = paid_until;
        }
        let is_counted = self.limits.connections_max.is_some();
        record.connections += u32::from(is_counted);
        // Records of connections are as many as the descriptors allow.
        if self.has_room(now) || is_counted {
            self.records.insert(visitor, record);
        }
        if is_counted {
            self.of.insert(id, visitor);
        }
        true
    }

    /// Whether the connection was counted already.
    pub(crate) fn knows(&self, id: ConnId) -> bool {
        self.of.contains_key(&id)
    }

    /// The connection is over.
    pub(crate) fn leave(&mut self, id: ConnId, now: Instant) {
        let Some(visitor) = self.of.remove(&id) else {
            return;
        };
        if let Some(record) = self.records.get_mut(&visitor) {
            record.connections = record.connections.saturating_sub(1);
            if record.connections == 0 && record.paid_until <= now {
                self.records.remove(&visitor);
            }
        }
        shrink(&mut self.of);
        shrink(&mut self.records);
    }

    /// Whether another address may be remembered. Forgets those whose connections are over and whose second has passed.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.records.len() >= ADDRESSES_MAX && now >= self.next_search {
            self.next_search = now + SEARCH_INTERVAL;
            let is_needed = |record: &Record| record.connections > 0 || record.paid_until > now;
            self.records.retain(|_, record| is_needed(record));
            shrink(&mut self.records);
        }
        self.records.len() < ADDRESSES_MAX
    }
}

/// Gives back memory of a table of which less than an eighth is used, to a quarter: so each shrinking pays for itself with
/// the removals before it.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > ROOM_MIN && table.len() < table.capacity() / 8 {
        table.shrink_to((2 * table.len()).max(ROOM_MIN));
    }
}

/// Entries for which a table keeps room.
const ROOM_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors(connections: Option<u32>, rate: Option<u32>) -> Visitors {
        let limits = AddressLimits {
            connections_max: connections,
            handshakes_per_second_max: rate,
        };
        *Visitors::new(limits).expect("there is a limit")
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos((10_000 + ms) * 1_000_000)
    }

    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 1,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        assert!(Visitors::new(AddressLimits::default()).is_none());
    }

    #[test]
    fn an_address_has_so_many_connections_and_another_when_one_has_ended() {
        let mut visitors = visitors(Some(2), None);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(visitors.admit(id(1), one, at(0)) && visitors.admit(id(2), one, at(0)));
        assert!(!visitors.admit(id(3), one, at(0)));
        assert!(visitors.admit(id(3), other, at(0)));
        visitors.leave(id(3), at(0));
        visitors.leave(id(9), at(0));
        assert!(
            !visitors.admit(id(4), one, at(99_999)),
            "time changes nothing"
        );
        visitors.leave(id(1), at(0));
        assert!(visitors.admit(id(5), one, at(0)));
        for slot in [2, 5] {
            visitors.leave(id(slot), at(0));
        }
        assert!(visitors.records.is_empty() && visitors.of.is_empty());
    }

    #[test]
    fn an_ipv6_address_stands_for_its_64_and_a_mapped_one_for_ipv4() {
        let mut visitors = visitors(Some(1), None);
        assert!(visitors.admit(id(1), ip("2001:db8:1:2::1"), at(0)));
        assert!(!visitors.admit(id(2), ip("2001:db8:1:2:ffff::2"), at(0)));
        assert!(visitors.admit(id(2), ip("2001:db8:1:3::1"), at(0)));
        assert!(visitors.admit(id(3), ip("::ffff:192.0.2.1"), at(0)));
        assert!(!visitors.admit(id(4), ip("192.0.2.1"), at(0)));
    }

    #[test]
    fn an_address_begins_so_many_per_second_and_as_many_at_once() {
        let mut visitors = visitors(None, Some(10));
        let address = ip("192.0.2.1");
        let begun = |visitors: &mut Visitors, ms| {
            (0..100)
                .filter(|slot| visitors.admit(id(*slot), address, at(ms)))
                .count()
        };
        assert_eq!(begun(&mut visitors, 0), 10);
        assert_eq!(begun(&mut visitors, 40), 0);
        assert_eq!(begun(&mut visitors, 100), 1);
        assert_eq!(begun(&mut visitors, 300), 2);
        assert_eq!(begun(&mut visitors, 90_000), 10, "a pause is no credit");
        assert!(visitors.of.is_empty(), "connections are not counted");
        let mut slow = self::visitors(None, Some(1));
        let begun: Vec<u64> = (0..40)
            .filter(|tenth| slow.admit(id(1), address, at(tenth * 100)))
            .collect();
        assert_eq!(begun.len(), 4, "{begun:?}");
    }

    #[test]
    fn the_memory_of_a_burst_goes_back() {
        let mut visitors = visitors(Some(100_000), None);
        for slot in 0..50_000 {
            assert!(visitors.admit(id(slot), std::net::Ipv4Addr::from_bits(slot).into(), at(0)));
        }
        assert!(visitors.of.capacity() >= 50_000);
        (0..49_990).for_each(|slot| visitors.leave(id(slot), at(0)));
        assert_eq!((visitors.of.len(), visitors.records.len()), (10, 10));
        let most = 2 * ROOM_MIN;
        assert!(visitors.of.capacity() <= most && visitors.records.capacity() <= most);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_the_limit_and_old_ones_are_forgotten() {
        let mut visitors = visitors(None, Some(1));
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        for n in 0..70_000 {
            assert!(visitors.admit(id(1), address(n), at(0)));
        }
        assert_eq!(visitors.records.len(), ADDRESSES_MAX);
        assert!(
            !visitors.admit(id(1), address(5), at(0)),
            "one that is known"
        );
        assert!(
            visitors.admit(id(1), address(69_999), at(0)),
            "one that is not"
        );
        assert!(visitors.admit(id(1), address(70_000), at(2000)));
        assert_eq!(visitors.records.len(), 1);
    }
}
