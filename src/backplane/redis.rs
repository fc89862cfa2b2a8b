//! Redis, and what speaks its protocol (RESP3, from Redis 6 on): publish and subscribe, at most once.
//!
//! One connection does all. Redis answers each publish, so `published` is exact; what was on its way when a connection was lost counts as
//! dropped, although Redis may have had it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind,
    RedisError, Value,
};
use tokio::sync::{Notify, mpsc};

use crate::broker::{Broker, Incoming, Inward, Outgoing, Outward, Payload};
use crate::subject::{Wildcards, has_wildcard};

/// Messages that wait for the bridge.
const WAITING_MAX: usize = 4096;

/// Time that the broker has to accept a connection, and to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The largest value that Redis takes (`proto-max-bulk-len`, by default).
const PAYLOAD_BYTES_MAX: usize = 512 << 20;

pub(crate) struct Redis {
    client: Client,
}

impl Redis {
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        let told = |error: RedisError| error.to_string();
        let info = url.into_connection_info().map_err(told)?;
        let settings = info.redis_settings().clone();
        let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let client = Client::open(info).map_err(told)?;
        Ok(Self { client })
    }
}

impl Broker for Redis {
    const WILDCARDS: Wildcards = Wildcards::Redis;

    type Outward = RedisOutward;
    type Inward = RedisInward;

    async fn connect(&self) -> Result<(RedisOutward, RedisInward), String> {
        let (sender, incoming) = mpsc::channel(WAITING_MAX);
        let overflow = Arc::new(Overflow::default());
        let shared = overflow.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX))
            .set_push_sender(move |push: PushInfo| {
                let sent = sender.try_send(push);
                if let Err(mpsc::error::TrySendError::Full(push)) = sent {
                    shared.count(&push);
                }
                Ok::<(), ()>(())
            });
        let connected = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connection = connected.await.map_err(|error| error.to_string())?;
        Ok((
            RedisOutward { connection },
            RedisInward { incoming, overflow },
        ))
    }
}

/// What did not fit into the channel.
#[derive(Debug, Default)]
struct Overflow {
    messages: AtomicUsize,
    /// 1: the connection was lost.
    lost: AtomicUsize,
    news: Notify,
}

impl Overflow {
    fn count(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::PMessage => &self.messages,
            PushKind::Disconnection => &self.lost,
            _ => return,
        }
        .fetch_add(1, Ordering::Relaxed);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Incoming> {
        match self.messages.swap(0, Ordering::Relaxed) {
            0 if self.lost.load(Ordering::Relaxed) > 0 => Some(Incoming::Lost(ended())),
            0 => None,
            messages => Some(Incoming::Overflow(messages)),
        }
    }
}

fn ended() -> String {
    "the connection has ended".to_owned()
}

pub(crate) struct RedisOutward {
    connection: MultiplexedConnection,
}

impl Outward for RedisOutward {
    fn payload_bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    async fn change(&mut self, changes: &[(Box<str>, bool)]) -> Result<(), String> {
        for (is_pattern, is_wanted) in [(false, true), (true, true), (false, false), (true, false)]
        {
            let names = changes
                .iter()
                .filter(|(name, wanted)| has_wildcard(name) == is_pattern && *wanted == is_wanted);
            let names: Vec<&str> = names.map(|(name, _)| &**name).collect();
            if names.is_empty() {
                continue;
            }
            let connection = &mut self.connection;
            let done = match (is_pattern, is_wanted) {
                (false, true) => connection.subscribe(names).await,
                (true, true) => connection.psubscribe(names).await,
                (false, false) => connection.unsubscribe(names).await,
                (true, false) => connection.punsubscribe(names).await,
            };
            done.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn publish(&mut self, batch: &[Outgoing]) -> Result<(), String> {
        let mut pipe = redis::pipe();
        for Outgoing { name, payload, .. } in batch {
            pipe.publish(name, payload).ignore();
        }
        let done: Result<(), RedisError> = pipe.query_async(&mut self.connection).await;
        done.map_err(|error| error.to_string())
    }

    async fn settle(&mut self) -> Result<(), String> {
        let ping = redis::cmd("PING");
        let answered: Result<Value, RedisError> = ping.query_async(&mut self.connection).await;
        answered.map(drop).map_err(|error| error.to_string())
    }
}

pub(crate) struct RedisInward {
    incoming: mpsc::Receiver<PushInfo>,
    overflow: Arc<Overflow>,
}

impl Inward for RedisInward {
    async fn next(&mut self) -> Incoming {
        loop {
            let push = tokio::select! {
                push = self.incoming.recv() => push,
                () = self.overflow.news.notified() => match self.overflow.take() {
                    Some(incoming) => return incoming,
                    None => continue,
                },
            };
            let Some(push) = push else {
                return Incoming::Lost(ended());
            };
            match (push.kind, push.data.into_iter().last()) {
                (PushKind::Message | PushKind::PMessage, Some(Value::BulkString(payload))) => {
                    return Incoming::Message(Payload::Vec(payload));
                }
                (PushKind::Disconnection, _) => return Incoming::Lost(ended()),
                // Answers to subscriptions, which `change` has waited for.
                _ => {}
            }
        }
    }
}
