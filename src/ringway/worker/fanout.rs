//! Messages of topics: from the bus and from this worker's connections to its subscribers, once per turn.

use std::ops::Range;

use ringway_bus::queue::{Next, Push};

use super::reach::Reachable;
use crate::bus::{Bus, BusOptions, Kind};
use crate::conn::link::{Link, Phase};
use crate::io::{BufferId, ConnId, Fd, Io, Op, Token, Wait};
use crate::proto::CloseCode;
use crate::protocol::{
    App, Aside, Connection, Core, Fanout, Handle, Host, Item, LateRef, News, Prepared, Table,
    TooMuch, Turn, conn_of, number_of,
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
        self.join_bus_at(bus.bell(), bus, options);
    }

    /// The same, with the descriptor that becomes readable when another seat rings.
    pub(super) fn join_bus_at(&mut self, bell: Fd, bus: Bus, options: BusOptions) {
        let token = Token::fixed(Op::Watch, BELL);
        self.core.io.submit_poll_in(token, bell);
        let config = &self.core.shared.protocol.config;
        let of_services = config.services.iter().find_map(|service| service.deflate);
        let deflate = config.deflate.or(of_services);
        let fanout = Fanout::new((bus, bell), options, deflate);
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

    /// The bell has rung. `is_watched`: the kernel tells of the next ring as well. `is_well`: it can.
    #[cold]
    pub(super) fn hush_bell(&mut self, is_watched: bool, is_well: bool) {
        let Core { io, shared, .. } = &mut self.core;
        let Some(fanout) = &shared.protocol.fanout else {
            return;
        };
        fanout.bus.hush();
        if !is_watched && is_well {
            // A full completion queue ends a multishot poll.
            io.submit_poll_in(Token::fixed(Op::Watch, BELL), fanout.bell);
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
    /// All messages of the turn.
    prepared: &'a Prepared,
    /// Connections of this worker that do not get a message which is their own, and that message; sorted.
    excluded: &'a [(u64, usize)],
}

impl<I: Io> Core<I> {
    /// Says whether there was something.
    fn fan_out<A: App>(&mut self, host: &mut Host<A>, table: &mut Table) -> bool {
        let Some(fanout) = &mut self.shared.protocol.fanout else {
            return false;
        };
        fanout.bus.wake();
        let Some(turn) = fanout.collect(&mut self.shared.counters) else {
            return false;
        };
        for aside in &turn.asides {
            let news = match *aside {
                Aside::Missed { seat, records } => News::Missed { seat, records },
                Aside::Replaced { seat } => News::Replaced { seat },
                Aside::Asked { .. } => News::Asked,
            };
            host.app.event(
                &mut Handle::new(&mut Reachable { core: self, table }),
                &news,
            );
            if let (Aside::Asked { round }, Some(fanout)) =
                (aside, &mut self.shared.protocol.fanout)
            {
                fanout.list_interests();
                fanout.bus.complete_interests(*round);
                fanout.bus.ring();
            }
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
            let of_topic = |other: &&Item| other.is_frame() && other.has_topic_of(item);
            let len = turn.items[at..].iter().take_while(of_topic).count();
            if let Some(fanout) = &mut self.shared.protocol.fanout {
                fanout.keep(self.shared.now, turn, at..at + len);
            }
            self.deliver_run(table, turn, at..at + len, &mut prepared);
            at += len;
        }
    }

    /// Delivers messages of one topic to its subscribers. The turn's messages are prepared for the first one that is found.
    fn deliver_run(
        &mut self,
        table: &mut Table,
        turn: &Turn,
        items: Range<usize>,
        prepared: &mut Option<Result<Prepared, TooMuch>>,
    ) {
        let Some(mut fanout) = self.shared.protocol.fanout.take() else {
            return;
        };
        let mut found = std::mem::take(&mut fanout.found);
        fanout.find(turn.topic(&turn.items[items.start]), &mut found);
        if !found.is_empty() {
            let prepared = prepared.get_or_insert_with(|| {
                let made = fanout.prepare(turn, &mut self.shared.blocks);
                // No block is free: thousands of sends of earlier turns wait.
                made.inspect_err(|why| tracing::error!("messages of topics are dropped: {why}"))
            });
            match prepared {
                Ok(prepared) => {
                    let excluded = &excluded(turn, items.clone(), fanout.bus.own());
                    let delivery = Delivery {
                        turn,
                        items,
                        prepared,
                        excluded,
                    };
                    self.deliver(&mut fanout, table, &found, &delivery);
                }
                Err(TooMuch) => {
                    let dropped = (items.len() * found.len()) as u64;
                    self.shared.counters.late_dropped_newest += dropped;
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
            let excluded = delivery.excluded;
            let own = excluded.partition_point(|(other, _)| other < number);
            let is_origin = excluded.get(own).is_some_and(|(other, _)| other == number);
            if !is_origin {
                self.deliver_piece(fanout, conn, delivery, (delivery.items.clone(), &mut late));
                continue;
            }
            // What lies between its own messages.
            let mut at = delivery.items.start;
            for (_, item) in excluded[own..]
                .iter()
                .take_while(|(other, _)| other == number)
            {
                self.deliver_piece(fanout, conn, delivery, (at..*item, &mut late));
                at = item + 1;
            }
            self.deliver_piece(fanout, conn, delivery, (at..delivery.items.end, &mut late));
        }
    }

    /// Delivers some of the messages to one subscriber, or lets them wait for it.
    #[inline]
    fn deliver_piece(
        &mut self,
        fanout: &mut Fanout,
        conn: &mut Connection,
        delivery: &Delivery<'_>,
        (items, late): (Range<usize>, &mut Vec<Option<LateRef>>),
    ) {
        if items.is_empty() {
            return;
        }
        if conn.link.phase != Phase::Open {
            // It has still subscribed until its close is over.
            self.shared.counters.late_dropped_closed += items.len() as u64;
            return;
        }
        let is_late = is_full(&conn.link)
            || (!fanout.late.is_empty() && fanout.late.contains_key(&number_of(conn.link.id)));
        // The messages of a run follow each other.
        let first = delivery.turn.items[items.start].message;
        if !is_late && self.deliver_to(conn, delivery.prepared, first..first + items.len()) {
            return;
        }
        for item in items {
            self.wait(fanout, conn, delivery, (item, late));
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

    /// Lets a message wait for a subscriber that does not keep up.
    #[cold]
    fn wait(
        &mut self,
        fanout: &mut Fanout,
        conn: &mut Connection,
        delivery: &Delivery<'_>,
        (item, made): (usize, &mut Vec<Option<LateRef>>),
    ) {
        if conn.link.phase != Phase::Open {
            self.shared.counters.late_dropped_closed += 1;
            return;
        }
        made.resize(delivery.items.len(), None);
        let message = made[item - delivery.items.start].get_or_insert_with(|| delivery.late(item));
        let topic = delivery.turn.topic(&delivery.turn.items[item]);
        let number = number_of(conn.link.id);
        let counters = &mut self.shared.counters;
        let push = fanout.wait(number, topic, message.clone(), counters);
        match push {
            Push::Close => self.close(conn, CloseCode::TryAgainLater, "too slow for its topics"),
            _ => list_late(fanout, &conn.link, &mut self.relieved),
        }
    }

    /// Sends what waits for a subscriber whose socket has room again, a turn's share of it.
    #[cold]
    pub(super) fn send_late<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let id = conn.link.id;
        let mut left = LATE_BYTES_MAX;
        loop {
            let Some(fanout) = &mut self.shared.protocol.fanout else {
                return;
            };
            let waiting = fanout.late.get_mut(&number_of(id));
            let Some(waiting) = waiting.filter(|_| conn.link.phase == Phase::Open) else {
                return;
            };
            waiting.is_listed = false;
            let websocket = conn.speaks.websocket();
            if websocket.is_some_and(|websocket| websocket.sender.is_inside_message()) {
                return; // the end of the message goes on with this
            }
            // Nothing is taken out before it is certain that the connection takes it.
            if left == 0 || conn.link.queued_bytes() > 0 || is_full(&conn.link) {
                return list_late(fanout, &conn.link, &mut self.relieved);
            }
            let Some(next) = waiting.queue.pop() else {
                fanout.late.remove(&number_of(id));
                return;
            };
            left = left.saturating_sub(self.hand_late(host, conn, next));
        }
    }

    /// Hands one message or gap to its connection, and says how many bytes it had.
    fn hand_late<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        next: Next<LateRef>,
    ) -> usize {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let id = conn.link.id;
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        match next {
            Next::Gap { messages, .. } => {
                let (app, session) = host.of(id);
                app.missed(&mut context, session, messages);
                1
            }
            Next::Message(LateRef(message)) => {
                match context.send(message.kind, &message.payload) {
                    Ok(()) => self.shared.counters.deliveries += 1,
                    // The application has just closed the connection, or it is a client's, which masks, or an old one that has no
                    // binary messages.
                    Err(_) => self.shared.counters.late_dropped_closed += 1,
                }
                message.payload.len().max(1)
            }
        }
    }
}

impl Delivery<'_> {
    fn late(&self, item: usize) -> LateRef {
        let message = self.turn.items[item].message;
        let form = self.prepared.plain();
        let (header, _) = form.frame(message);
        LateRef::new(header.opcode, form.payload(message))
    }
}

/// Whether the socket did not take all of an earlier turn.
const fn is_full(link: &Link) -> bool {
    link.armed.poll_out
}

/// Lists a connection for which messages wait, once. One whose socket is full is not listed: the kernel reports when it has room.
fn list_late(fanout: &mut Fanout, link: &Link, relieved: &mut Vec<ConnId>) {
    if let Some(waiting) = fanout.late.get_mut(&number_of(link.id))
        && !is_full(link)
        && !std::mem::replace(&mut waiting.is_listed, true)
    {
        relieved.push(link.id);
    }
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
