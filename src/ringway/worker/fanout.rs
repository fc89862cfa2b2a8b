//! Messages of topics: from the bus and from this worker's connections to its subscribers, once per turn.

use std::ops::Range;
use std::rc::Rc;

use ringway_bus::queue::{Drops, Next as Waiting, Push};

use super::reach::Reachable;
use crate::bus::{Bus, BusOptions, Kind};
use crate::conn::link::{Link, Phase};
use crate::io::{BufferId, Io, Op, Token, Wait};
use crate::proto::{CloseCode, Kind as MessageKind, Opcode};
use crate::protocol::{
    App, Connection, Core, Fanout, Handle, Host, Late, LateRef, News, Prepared, Table, Turn,
    conn_of, number_of,
};

use super::turn::Worker;

/// The number of the watch of the bus' bell. The others belong to the caller.
pub(super) const BELL: u32 = 31;

/// How often in one turn messages are collected that an application publishes because of others.
const ROUNDS_MAX: usize = 4;

/// Bytes of late messages that a subscriber gets in one turn: half of what a turn's output has room for.
const LATE_BYTES_MAX: usize = 64 << 10;

impl<I: Io, A: App> Worker<I, A> {
    /// Takes a seat on the bus: connections can subscribe and publish from now on. Before the first turn.
    pub fn join_bus(&mut self, bus: Bus, options: BusOptions) {
        let token = Token::fixed(Op::Watch, BELL);
        self.core.io.submit_poll_in(token, bus.bell());
        let config = &self.core.shared.protocol.config;
        let of_services = config.services.iter().find_map(|service| service.deflate);
        let deflate = config.deflate.or(of_services);
        let fanout = Fanout::new(bus, options, deflate);
        self.core.shared.protocol.fanout = Some(Box::new(fanout));
    }

    /// Announces a wait to those who publish. There is none if there is something to hand on already.
    #[cold]
    pub(super) fn wait_on_bus(&mut self, wait: Wait) -> Wait {
        match &mut self.core.shared.protocol.fanout {
            Some(fanout) if wait != Wait::No => {
                match !fanout.is_pending() && fanout.bus.fall_asleep() {
                    true => wait,
                    false => Wait::No,
                }
            }
            _ => wait,
        }
    }

    /// The bell has rung. `is_watched`: the kernel tells of the next ring as well.
    #[cold]
    pub(super) fn hush_bell(&mut self, is_watched: bool) {
        let Core { io, shared, .. } = &mut self.core;
        let Some(fanout) = &shared.protocol.fanout else {
            return;
        };
        fanout.bus.hush();
        if !is_watched {
            // A full completion queue ends a multishot poll.
            io.submit_poll_in(Token::fixed(Op::Watch, BELL), fanout.bus.bell());
        }
    }

    /// Hands on what was published since the last turn.
    #[cold]
    pub(super) fn fan_out(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.core.fan_out(&mut self.host, &mut self.table) {
                return;
            }
        }
    }
}

/// A run of messages of one topic, and what else its delivery needs.
struct Delivery<'a> {
    turn: &'a Turn,
    /// Of [`Turn::items`].
    items: Range<usize>,
    prepared: &'a Prepared,
    /// Of the messages of `prepared`.
    run: Range<usize>,
    /// Connections of this worker that do not get a message which is their own, and that message; sorted.
    excluded: &'a [(u64, usize)],
}

impl<I: Io> Core<I> {
    /// Says whether there was something.
    fn fan_out<A: App>(&mut self, host: &mut Host<A>, table: &mut Table) -> bool {
        let Some(mut fanout) = self.shared.protocol.fanout.take() else {
            return false;
        };
        fanout.bus.wake();
        let turn = fanout.collect(&mut self.shared.counters);
        self.shared.protocol.fanout = Some(fanout);
        if turn.items.is_empty() && turn.events.is_empty() {
            return false;
        }
        for (seat, missed) in &turn.events {
            let news = match missed {
                Some(records) => News::Missed {
                    seat: *seat,
                    records: *records,
                },
                None => News::Began { seat: *seat },
            };
            host.app.event(
                &mut Handle::new(&mut Reachable { core: self, table }),
                &news,
            );
        }
        self.hand_on(host, table, &turn);
        if let Some(fanout) = &mut self.shared.protocol.fanout {
            fanout.recycle(turn);
        }
        true
    }

    fn hand_on<A: App>(&mut self, host: &mut Host<A>, table: &mut Table, turn: &Turn) {
        // Made for the first subscriber that is found.
        let mut prepared = None;
        let mut at = 0;
        while let Some(item) = turn.items.get(at) {
            if !item.is_frame() {
                if item.kind == Kind::NOTE {
                    let news = News::Note {
                        seat: item.seat,
                        topic: turn.topic(item),
                        body: turn.body(item),
                    };
                    host.app.event(
                        &mut Handle::new(&mut Reachable { core: self, table }),
                        &news,
                    );
                }
                at += 1;
                continue;
            }
            let of_topic =
                |other: &&crate::protocol::Item| other.is_frame() && other.has_topic_of(item);
            let len = turn.items[at..].iter().take_while(of_topic).count();
            self.deliver_run(table, turn, at..at + len, &mut prepared);
            at += len;
        }
    }

    /// Delivers messages of one topic to its subscribers.
    fn deliver_run(
        &mut self,
        table: &mut Table,
        turn: &Turn,
        items: Range<usize>,
        prepared: &mut Option<(Prepared, Vec<Option<usize>>)>,
    ) {
        let Some(mut fanout) = self.shared.protocol.fanout.take() else {
            return;
        };
        let mut found = std::mem::take(&mut fanout.found);
        fanout.find(turn.topic(&turn.items[items.start]), &mut found);
        if !found.is_empty() {
            if prepared.is_none() {
                match fanout.prepare(turn, &mut self.shared.blocks) {
                    Ok(made) => *prepared = Some(made),
                    Err(why) => {
                        // No block is free: thousands of sends of earlier turns wait.
                        tracing::error!("messages of topics are dropped: {why}");
                        self.shared.counters.drops += items.len() as u64;
                    }
                }
            }
            if let Some((prepared, index)) = prepared {
                let excluded = excluded(turn, items.clone(), fanout.bus.own());
                // Items that are no frames of a server have no message: a run ends there.
                let mut start = items.start;
                while start < items.end {
                    let Some(first) = index[start] else {
                        start += 1;
                        continue;
                    };
                    let len = index[start..items.end]
                        .iter()
                        .take_while(|index| index.is_some())
                        .count();
                    let delivery = Delivery {
                        turn,
                        items: start..start + len,
                        prepared,
                        run: first..first + len,
                        excluded: &excluded,
                    };
                    self.deliver(&mut fanout, table, &found, &delivery);
                    start += len;
                }
            }
        }
        fanout.found = found;
        self.shared.protocol.fanout = Some(fanout);
    }

    fn deliver(
        &mut self,
        fanout: &mut Fanout,
        table: &mut Table,
        found: &[u64],
        delivery: &Delivery<'_>,
    ) {
        let mut late: Vec<Option<LateRef>> = Vec::new();
        for number in found {
            let Some(conn) = table.get_mut(conn_of(*number)) else {
                continue;
            };
            if conn.link.phase != Phase::Open {
                continue;
            }
            let is_late = is_full(&conn.link)
                || (!fanout.late.is_empty() && fanout.late.contains_key(number));
            let own = delivery
                .excluded
                .partition_point(|(other, _)| other < number);
            let is_origin = delivery
                .excluded
                .get(own)
                .is_some_and(|(other, _)| other == number);
            if !is_late
                && !is_origin
                && self.deliver_to(conn, delivery.prepared, delivery.run.clone())
            {
                continue;
            }
            let own = delivery.excluded[own..]
                .iter()
                .take_while(|(other, _)| other == number);
            let own: Vec<usize> = own.map(|(_, item)| *item).collect();
            for item in delivery.items.clone().filter(|item| !own.contains(item)) {
                let at = item - delivery.items.start;
                let message = delivery.run.start + at;
                if is_late || !self.deliver_to(conn, delivery.prepared, message..message + 1) {
                    self.wait_for(fanout, conn, delivery, (item, &mut late));
                }
            }
        }
    }

    /// Sends messages to an open connection. `false`: what it got in this turn alone is more than its send queue may hold.
    fn deliver_to(
        &mut self,
        conn: &mut Connection,
        prepared: &Prepared,
        run: Range<usize>,
    ) -> bool {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let count = run.len() as u64;
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        let is_sent = context.send_prepared_run(prepared, run).is_ok();
        self.shared.counters.deliveries += if is_sent { count } else { 0 };
        is_sent
    }

    #[cold]
    fn wait_for(
        &mut self,
        fanout: &mut Fanout,
        conn: &mut Connection,
        delivery: &Delivery<'_>,
        (item, made): (usize, &mut Vec<Option<LateRef>>),
    ) {
        made.resize(delivery.items.len(), None);
        let message = made[item - delivery.items.start].get_or_insert_with(|| delivery.late(item));
        let topic = delivery.turn.topic(&delivery.turn.items[item]);
        self.wait(fanout, conn, topic, message.clone());
    }

    /// Lets a message wait for a subscriber that does not keep up.
    fn wait(&mut self, fanout: &mut Fanout, conn: &mut Connection, topic: &[u8], late: LateRef) {
        if conn.link.phase != Phase::Open {
            self.shared.counters.late_dropped_closed += 1;
            return;
        }
        let (push, drops) = fanout.wait(number_of(conn.link.id), topic, late);
        let counters = &mut self.shared.counters;
        counters.late += 1;
        let Drops {
            closed,
            conflated,
            newest,
            oldest,
            too_big,
        } = drops;
        counters.late_dropped_closed += closed;
        counters.late_dropped_conflated += conflated;
        counters.late_dropped_newest += newest;
        counters.late_dropped_oldest += oldest;
        counters.late_dropped_too_big += too_big;
        // The worker is told when the socket has taken everything.
        conn.link.out.refused = true;
        if !is_full(&conn.link) {
            self.relieved.push(conn.link.id);
        }
        if push == Push::Close {
            self.close(conn, CloseCode::TryAgainLater, "too slow for its topics");
        }
    }

    /// Sends what waits for a subscriber whose socket has room again, a turn's share of it.
    #[cold]
    pub(super) fn send_late<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let id = conn.link.id;
        let number = number_of(id);
        let mut left = LATE_BYTES_MAX;
        while left > 0 && conn.link.out.queue.is_none() && conn.link.phase == Phase::Open {
            let Some(fanout) = &mut self.shared.protocol.fanout else {
                return;
            };
            let Some(queue) = fanout.late.get_mut(&number) else {
                return;
            };
            let Some(waiting) = queue.pop() else {
                fanout.late.remove(&number);
                return;
            };
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            let mut context = self.shared.context(conn, scratch, BufferId::HOT);
            match waiting {
                Waiting::Gap { messages, .. } => {
                    let (app, session) = host.of(id);
                    app.missed(&mut context, session, messages);
                }
                Waiting::Message(LateRef(message)) => {
                    left = left.saturating_sub(message.payload.len().max(1));
                    match context.send(message.kind, &message.payload) {
                        Ok(()) => self.shared.counters.deliveries += 1,
                        Err(_) => self.shared.counters.drops += 1,
                    }
                }
            }
        }
        conn.link.out.refused = true;
        if !is_full(&conn.link) {
            self.relieved.push(id);
        }
    }
}

impl Delivery<'_> {
    fn late(&self, item: usize) -> LateRef {
        let message = self.run.start + (item - self.items.start);
        let form = self.prepared.plain();
        let (header, _) = form.frame(message);
        LateRef(Rc::new(Late {
            kind: match header.opcode {
                Opcode::Text => MessageKind::Text,
                _ => MessageKind::Binary,
            },
            payload: form.payload(message).into(),
        }))
    }
}

/// Whether the socket did not take all of an earlier turn.
const fn is_full(link: &Link) -> bool {
    link.armed.poll_out
}

/// The messages of a run that are not for the connection of this worker that published them.
fn excluded(turn: &Turn, items: Range<usize>, own: usize) -> Vec<(u64, usize)> {
    let mut excluded = Vec::new();
    for at in items {
        let item = &turn.items[at];
        if item.kind == Kind::FRAME_FOR_OTHERS && item.seat == own {
            excluded.push((item.origin, at));
        }
    }
    excluded.sort_unstable();
    excluded
}
