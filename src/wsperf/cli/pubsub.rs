//! The options of `wsperf pubsub`. Those that load a pubsub have the names of Autobahn's load test, of which some mean something else to
//! other scenarios.
//!
//! Owns: their definitions, and how they go together. All others are those of [`LoadArgs`].

use super::args::Kind;
use super::options::{CONNECTIONS_MAX, LoadArgs, Own, RATE_MAX, Run};
use crate::load::options::{Pubsub, STAMP_BYTES};
use ringway_bus::topics::Topic;
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Count, Decimal, Size, Unless, Words, Wrong};
use ringway_command::options::{Defined, Definition, define, under};

/// Subscriptions of all clients: 32 MiB for the check of their order. A server takes a million for each worker by default.
const SUBSCRIPTIONS_MAX: usize = 4 << 20;

/// Topics: a server takes 1,000 subscriptions of one client.
const TOPICS_MAX: u64 = 1000;

/// Bytes of a message. A server takes requests of 256 KiB by default.
const PAYLOAD_MAX: u64 = 1 << 20;

/// Messages that are published together.
const BATCH_MAX: u64 = 1000;

/// The options of `wsperf pubsub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PubsubArgs;

impl Defined for PubsubArgs {
    type Options = Run;

    fn definitions() -> Vec<Definition<Run>> {
        let is_shared =
            |one: &Definition<Run>| Kind::Pubsub.knows(one.name()) && !is_own(one.name());
        let mut all = Vec::from(under("Topics", own()));
        all.extend(LoadArgs::definitions().into_iter().filter(is_shared));
        all
    }

    fn defaults() -> Run {
        Run::new(Kind::Pubsub)
    }
}

/// Whether an option is one of [`own`].
pub(super) fn is_own(name: &str) -> bool {
    own().iter().any(|one| one.name() == name)
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(Run: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
fn own() -> [Definition<Run>; 7] {
    [
        define("clients", field!(own.clients), Count(1..=CONNECTIONS_MAX - 1, "one run has at least 1"),
            "Clients that subscribe, over all threads. One more connection publishes"),
        define("uprate", field!(options.rate), Unless(Decimal(0.001..=RATE_MAX)),
            "Messages published per second over all topics, on a fixed schedule"),
        define("batch", field!(own.publish_batch), Count(1..=BATCH_MAX, "messages published at once"),
            "Messages published at once: with 10, a tenth as often ten of them"),
        define("payload", field!(options.payload.sizes), PAYLOAD,
            "Bytes of a message; its first 36 hold topic, number and time"),
        define("topics", field!(own.topics), Count(1..=TOPICS_MAX, "every client subscribes to all"),
            "Topics, which are published to in turn; every client subscribes to all of them"),
        define("topic", field!(own.topic), TOPIC, "Their name: they are NAME/0, NAME/1 and so on"),
        define("rate", field!(own.connects_per_second), Unless(Decimal(0.001..=RATE_MAX)),
            "Connects begun per second while the clients come in")
            .default_said("as fast as --connecting allows"),
    ]
}

/// The size of all messages.
const PAYLOAD: Words<Vec<(usize, f64)>> = Words {
    value_name: "SIZE",
    parse: |text| {
        use ringway_command::kinds::Kind as _;
        let size: usize = Size(STAMP_BYTES as u64..=PAYLOAD_MAX).parse(text)?;
        Ok(vec![(size, 1.0)])
    },
    show: |sizes| {
        use ringway_command::kinds::Kind as _;
        let (size, _) = sizes.first()?;
        Size(STAMP_BYTES as u64..=PAYLOAD_MAX).show(size)
    },
    bare: Bare::Refused,
};

/// What topics begin with.
const TOPIC: Words<String> = Words {
    value_name: "NAME",
    parse: |text| {
        let longest = format!("{text}/{}", TOPICS_MAX - 1);
        match Topic::parse(&longest) {
            Ok(_) => Ok(text.to_owned()),
            Err(bad) => Err(Wrong::Because(format!(": {bad}; give a name such as load"))),
        }
    },
    show: |topic| Some(topic.clone()),
    bare: Bare::Refused,
};

/// What the options say of the scenario.
pub(super) fn scenario(own: &Own) -> Resolved<Pubsub> {
    let Own {
        clients, topics, ..
    } = *own;
    if clients.saturating_mul(topics) > SUBSCRIPTIONS_MAX {
        return Err(BadOption(format!(
            "--clients {clients} with --topics {topics} are more than {SUBSCRIPTIONS_MAX} subscriptions: use fewer"
        )));
    }
    Ok(Pubsub {
        topic: own.topic.clone(),
        topics,
        batch: own.publish_batch,
        connects_per_second: own.connects_per_second,
    })
}
