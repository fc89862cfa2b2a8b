//! One server at the broker: connects, subscribes, publishes, hands on what comes, and begins again when the connection is lost.
//!
//! ```text
//!  ┌─▶ connecting ── connected ──▶ serving: write · read · take, at once ── lost ─┐
//!  └────────────────────────────── back-off, 100 ms doubling to 5 s, jittered ◀───┘      the bus has ended: the rest is written
//! ```

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use ringway_bus::topics::{Pattern, Topic};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Origin;
use crate::broker::{Broker, Incoming, Inward, Outward};
use crate::counts::{Counts, add};
use crate::envelope::{Content, Message, decode};
use crate::interests::Change;
use crate::outbox::Outbox;
use crate::seen::Seen;
use crate::subject;

/// First and longest time between two tries to connect. Each is jittered by up to half.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Time that a connection has to last, so that the tries after it begin with the shortest delay again.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Time between two notices of messages that were dropped.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// Time without a message after which the broker is asked whether it is there.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Time from the first message that was dropped for want of speed to the gap that is told of all of them.
const OVERFLOW_LAG: Duration = Duration::from_millis(250);

/// Who a server is, and where it meets the others.
#[derive(Clone, Debug)]
pub struct Options {
    /// `nats://`, `tls://` (NATS over TLS), `redis://` or `rediss://` (Redis over TLS), with `user:password@` before the host if the broker
    /// asks for that.
    pub url: String,
    /// The first part of all names at the broker: servers with the same one share their topics. See [`crate::is_prefix`].
    pub prefix: String,
    /// Random.
    pub origin: Origin,
    /// Another process was this server's bridge before: messages may be missing on both sides.
    pub is_successor: bool,
}

/// What a bridge is told.
#[derive(Clone, Debug)]
pub enum FromBus {
    /// Something is to be fetched, or no more.
    Change(Change),
    /// A message for the other servers.
    Message(Message),
    /// Messages for the other servers were lost before they came here.
    Lost,
}

/// What a bridge tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToBus {
    /// A message of another server. Its topic is one, but need not be one that was asked for.
    Message(Message),
    /// Messages of other servers may be missing, of any topic.
    Gap,
    /// There is a connection.
    Up,
    /// There is none, for this reason. Told once until there is one.
    Down(String),
}

/// Checks an address.
///
/// # Errors
/// It is none, or of a broker that this program was built without: a sentence.
pub fn check(url: &str) -> Result<(), String> {
    match scheme(url) {
        #[cfg(feature = "nats")]
        "nats" | "tls" => crate::nats::Nats::new(url, "").map(|_| ()),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => crate::redis::Redis::new(url).map(|_| ()),
        _ => Err(
            "it begins with none of nats://, tls://, redis:// and rediss:// for which this program was built"
                .to_owned(),
        ),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Carries messages until `from_bus` is closed and what came from it is written, or `to_bus` is closed.
///
/// # Errors
/// The address is wrong, as [`check`] says.
pub async fn run(
    options: &Options,
    from_bus: mpsc::Receiver<FromBus>,
    to_bus: mpsc::Sender<ToBus>,
    counts: &Counts,
) -> Result<(), String> {
    match scheme(&options.url) {
        #[cfg(feature = "nats")]
        "nats" | "tls" => {
            let broker = crate::nats::Nats::new(&options.url, &options.prefix)?;
            let bridge = Bridge::new(broker, options, to_bus, counts);
            bridge.run(from_bus).await;
            Ok(())
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" => {
            let broker = crate::redis::Redis::new(&options.url)?;
            let bridge = Bridge::new(broker, options, to_bus, counts);
            bridge.run(from_bus).await;
            Ok(())
        }
        _ => {
            // Neither broker uses them.
            drop((from_bus, to_bus, counts));
            check(&options.url)
        }
    }
}

pub(crate) struct Bridge<'a, B> {
    broker: B,
    prefix: &'a str,
    origin: Origin,
    outbox: RefCell<Outbox>,
    /// The outbox has something new.
    news: Notify,
    /// Messages of other servers may be missing, which is told when all subscriptions are there again.
    is_behind: Cell<bool>,
    to_bus: mpsc::Sender<ToBus>,
    counts: &'a Counts,
}

/// Why serving has ended.
enum Ended {
    /// The connection was lost, for this reason.
    Lost(String),
    /// The bus has ended, and all is written.
    Done,
}

impl<'a, B: Broker> Bridge<'a, B> {
    pub(crate) fn new(
        broker: B,
        options: &'a Options,
        to_bus: mpsc::Sender<ToBus>,
        counts: &'a Counts,
    ) -> Self {
        let mut outbox = Outbox::new(options.origin);
        outbox.want(&subject::of_notices(&options.prefix), true);
        outbox.owes_notice = options.is_successor;
        Self {
            broker,
            prefix: &options.prefix,
            origin: options.origin,
            outbox: RefCell::new(outbox),
            news: Notify::new(),
            is_behind: Cell::new(options.is_successor),
            to_bus,
            counts,
        }
    }

    pub(crate) async fn run(&self, mut from_bus: mpsc::Receiver<FromBus>) {
        let mut seen = Seen::default();
        let mut was_connected = false;
        let mut delay = DELAY_MIN;
        loop {
            let (mut outward, mut inward) = tokio::select! {
                connected = self.connect(was_connected, &mut delay) => connected,
                () = self.take(&mut from_bus) => return,
                () = self.to_bus.closed() => return,
            };
            let began = Instant::now();
            add(&self.counts.reconnects, usize::from(was_connected));
            was_connected = true;
            self.counts
                .connected
                .store(1, std::sync::atomic::Ordering::Relaxed);
            self.outbox.borrow_mut().open(outward.payload_bytes_max());
            let ended = tokio::select! {
                ended = self.write(&mut outward) => ended,
                why = self.read(&mut inward, &mut seen) => Ended::Lost(why),
                never = self.take_on(&mut from_bus) => match never {},
                () = self.to_bus.closed() => Ended::Done,
            };
            self.counts
                .connected
                .store(0, std::sync::atomic::Ordering::Relaxed);
            self.outbox.borrow_mut().close(self.counts);
            if began.elapsed() >= STABLE_AFTER {
                delay = DELAY_MIN;
            }
            match ended {
                Ended::Done => return,
                Ended::Lost(why) => self.tell_down(why).await,
            }
        }
    }

    /// Tries until there is a connection. `was_told`: the loss was told already.
    async fn connect(&self, mut was_told: bool, delay: &mut Duration) -> (B::Outward, B::Inward) {
        loop {
            if was_told {
                sleep(jittered(*delay)).await;
                *delay = (*delay * 2).min(DELAY_MAX);
            }
            match self.broker.connect().await {
                Ok(connected) => return connected,
                Err(why) if !was_told => {
                    was_told = true;
                    self.tell_down(why).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Takes what the bus says, until it has ended.
    async fn take(&self, from_bus: &mut mpsc::Receiver<FromBus>) {
        while let Some(said) = from_bus.recv().await {
            self.handle(said);
        }
        self.outbox.borrow_mut().is_ending = true;
        self.news.notify_one();
    }

    /// The same, and lets others go on when it has ended.
    async fn take_on(&self, from_bus: &mut mpsc::Receiver<FromBus>) -> Infallible {
        self.take(from_bus).await;
        std::future::pending().await
    }

    fn handle(&self, said: FromBus) {
        let mut outbox = self.outbox.borrow_mut();
        match said {
            FromBus::Change(change) => {
                let Ok(pattern) = Pattern::parse(&change.pattern) else {
                    return;
                };
                let name = subject::of_pattern(B::WILDCARDS, self.prefix, &change.space, pattern);
                outbox.want(&name, change.is_wanted);
            }
            FromBus::Message(message) => match Topic::parse(&message.topic) {
                Ok(topic) => {
                    let name = subject::of_topic(self.prefix, &message.space, topic);
                    outbox.push(name, &message, self.counts);
                }
                Err(_) => add(&self.counts.invalid, 1),
            },
            FromBus::Lost => outbox.owes_notice = true,
        }
        drop(outbox);
        self.news.notify_one();
    }

    /// Subscribes and publishes.
    async fn write(&self, outward: &mut B::Outward) -> Ended {
        match self.try_write(outward).await {
            Ok(()) => Ended::Done,
            Err(why) => Ended::Lost(why),
        }
    }

    async fn try_write(&self, outward: &mut B::Outward) -> Result<(), String> {
        let mut is_settled = false;
        let mut notice_due = Instant::now();
        loop {
            let changes = self.outbox.borrow_mut().take_changes();
            if !changes.is_empty() {
                outward.change(&changes).await?;
            }
            if !is_settled {
                if !changes.is_empty() {
                    continue;
                }
                outward.settle().await?;
                is_settled = true;
                if self.is_behind.take() {
                    self.tell_gap().await;
                }
                self.tell(ToBus::Up).await;
            }
            let batch = self.outbox.borrow_mut().take_batch();
            if !batch.is_empty() {
                outward.publish(&batch).await?;
                self.outbox.borrow_mut().hand_over(self.counts);
            }
            // Names that come and go all the time hold no message up, and the other way round.
            if !changes.is_empty() || !batch.is_empty() {
                continue;
            }
            let (owes_notice, is_ending) = {
                let outbox = self.outbox.borrow();
                (outbox.owes_notice, outbox.is_ending)
            };
            let now = Instant::now();
            if owes_notice && (now >= notice_due || is_ending) {
                notice_due = now + NOTICE_INTERVAL;
                let name = subject::of_notices(self.prefix);
                self.outbox.borrow_mut().push_notice(name);
                continue;
            }
            if is_ending {
                return outward.settle().await;
            }
            let patience = match owes_notice {
                true => notice_due - now,
                false => CHECK_INTERVAL,
            };
            let is_quiet = timeout(patience, self.news.notified()).await.is_err();
            if is_quiet && !owes_notice {
                outward.settle().await?;
            }
        }
    }

    /// Hands on what comes, until the connection is lost; returns why.
    async fn read(&self, inward: &mut B::Inward, seen: &mut Seen) -> String {
        let mut gap_due: Option<Instant> = None;
        loop {
            let due = async {
                match gap_due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                incoming = inward.next() => match incoming {
                    Incoming::Message(payload) => self.hand_on(payload.bytes(), seen).await,
                    Incoming::Overflow(messages) => {
                        add(&self.counts.overflowed, messages);
                        gap_due.get_or_insert_with(|| Instant::now() + OVERFLOW_LAG);
                    }
                    Incoming::Lost(why) => return why,
                },
                () = due => {
                    gap_due = None;
                    self.tell_gap().await;
                }
            }
        }
    }

    async fn hand_on(&self, payload: &[u8], seen: &mut Seen) {
        let Some((sender, content)) = decode(payload) else {
            return add(&self.counts.invalid, 1);
        };
        if sender.origin == self.origin {
            return;
        }
        if !seen.is_new(sender) {
            return add(&self.counts.repeated, 1);
        }
        match content {
            Content::Notice => self.tell_gap().await,
            Content::Message { space, topic, body } => {
                add(&self.counts.received, 1);
                let message = Message {
                    space: space.into(),
                    topic: topic.into(),
                    body: body.into(),
                };
                self.tell(ToBus::Message(message)).await;
            }
        }
    }

    async fn tell_down(&self, why: String) {
        self.is_behind.set(true);
        self.tell(ToBus::Down(why)).await;
    }

    async fn tell_gap(&self) {
        add(&self.counts.gaps, 1);
        self.tell(ToBus::Gap).await;
    }

    /// Fails only when the bus has ended, which `run` sees.
    async fn tell(&self, what: ToBus) {
        let _ = self.to_bus.send(what).await;
    }
}

/// Between half and one and a half times as long.
fn jittered(delay: Duration) -> Duration {
    // A new RandomState is another number each time.
    let share = RandomState::new().hash_one(0_u8) % 1024;
    delay / 2 + delay * u32::try_from(share).unwrap_or(0) / 1024
}
