//! NATS: core publish and subscribe, at most once.
//!
//! The client would reconnect by itself, but then it would keep what it could not send for later, and nobody would know what was lost. So a
//! connection that is lost is given up. The client's own task goes on trying for it, once a minute, and ends when the broker is back.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerAddr};
use futures_util::StreamExt as _;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::broker::{Broker, Incoming, Inward, Outgoing, Outward, Payload};
use crate::subject::Wildcards;

/// Messages that wait for the bridge, of all subjects; then as many of each subject.
const WAITING_MAX: usize = 4096;

/// Time that the broker has to accept a connection, and to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Time without a message of the broker after which the client sends a Ping.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two tries of a connection that was given up.
const GIVEN_UP_DELAY: Duration = Duration::from_mins(1);

pub(crate) struct Nats {
    address: ServerAddr,
    user: Option<(String, String)>,
    /// Where nobody listens: the broker answers for that.
    nowhere: String,
}

impl Nats {
    pub(crate) fn new(url: &str, prefix: &str) -> Result<Self, String> {
        let address: ServerAddr = url.parse().map_err(|error| format!("{error}"))?;
        if address.host().is_empty() {
            return Err("it names no host".to_owned());
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned())
                .map_err(|_| "its user or password is not UTF-8".to_owned())
        };
        let password = decoded(address.password().unwrap_or_default())?;
        let user = address.username().map(decoded).transpose()?;
        Ok(Self {
            user: user.map(|user| (user, password)),
            address,
            nowhere: format!("{prefix}.~.nowhere"),
        })
    }
}

impl Broker for Nats {
    const WILDCARDS: Wildcards = Wildcards::Nats;

    type Outward = NatsOutward;
    type Inward = NatsInward;

    async fn connect(&self) -> Result<(NatsOutward, NatsInward), String> {
        let (sender, incoming) = mpsc::channel(WAITING_MAX);
        let events = sender.clone();
        let mut options = ConnectOptions::new()
            .name("ringway")
            .no_echo()
            .ping_interval(PING_INTERVAL)
            .connection_timeout(ANSWER_TIME_MAX)
            .request_timeout(Some(ANSWER_TIME_MAX))
            .subscription_capacity(WAITING_MAX)
            .custom_inbox_prefix(format!("{}.answers", self.nowhere))
            .reconnect_delay_callback(|tries| match tries {
                0..=1 => Duration::ZERO,
                _ => GIVEN_UP_DELAY,
            })
            .event_callback(move |event| {
                let events = events.clone();
                async move {
                    let incoming = match event {
                        Event::Disconnected | Event::Closed => {
                            Incoming::Lost("the connection has ended".to_owned())
                        }
                        Event::SlowConsumer(_) => Incoming::Overflow(1),
                        Event::ServerError(error) => Incoming::Lost(error.to_string()),
                        _ => return,
                    };
                    // Fails only when the bridge has given this connection up.
                    let _ = events.send(incoming).await;
                }
            });
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        let client = options.connect(self.address.clone()).await;
        let client = client.map_err(|error| error.to_string())?;
        let outward = NatsOutward {
            client,
            nowhere: self.nowhere.clone(),
            sender,
            subscriptions: HashMap::new(),
        };
        Ok((outward, NatsInward { incoming }))
    }
}

pub(crate) struct NatsOutward {
    client: Client,
    nowhere: String,
    sender: mpsc::Sender<Incoming>,
    /// Each has a task that passes its messages on, and ends the subscription when it is ended.
    subscriptions: HashMap<Box<str>, AbortHandle>,
}

impl Drop for NatsOutward {
    fn drop(&mut self) {
        self.subscriptions.values().for_each(AbortHandle::abort);
    }
}

impl Outward for NatsOutward {
    fn payload_bytes_max(&self) -> usize {
        self.client.server_info().max_payload
    }

    async fn change(&mut self, changes: &[(Box<str>, bool)]) -> Result<(), String> {
        for (name, is_wanted) in changes {
            if let Some(task) = self.subscriptions.remove(name) {
                task.abort();
            }
            if *is_wanted {
                let subscriber = self.client.subscribe(name.to_string()).await;
                let mut subscriber = subscriber.map_err(|error| error.to_string())?;
                let sender = self.sender.clone();
                let task = tokio::spawn(async move {
                    while let Some(message) = subscriber.next().await {
                        let incoming = Incoming::Message(Payload::Bytes(message));
                        if sender.send(incoming).await.is_err() {
                            return;
                        }
                    }
                });
                self.subscriptions.insert(name.clone(), task.abort_handle());
            }
        }
        Ok(())
    }

    async fn publish(&mut self, batch: &[Outgoing]) -> Result<(), String> {
        for Outgoing { name, payload, .. } in batch {
            let published = self.client.publish(name.clone(), payload.clone().into());
            published.await.map_err(|error| error.to_string())?;
        }
        self.client.flush().await.map_err(|error| error.to_string())
    }

    /// A question to nobody: the broker answers that nobody is there, after all that it was told before.
    async fn settle(&mut self) -> Result<(), String> {
        let asked = self.client.request(self.nowhere.clone(), "".into()).await;
        match asked {
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(format!("the broker does not answer: {error}")),
            Ok(_) => Ok(()),
        }
    }
}

pub(crate) struct NatsInward {
    incoming: mpsc::Receiver<Incoming>,
}

impl Inward for NatsInward {
    async fn next(&mut self) -> Incoming {
        let next = self.incoming.recv().await;
        next.unwrap_or_else(|| Incoming::Lost("the connection has ended".to_owned()))
    }
}
