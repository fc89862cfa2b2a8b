//! The applications that `ringway server` serves, by path.
//!
//! Owns: the text of `--service`, and the application of each kind. Never: routes a request (`ringway::services` does).

use std::process::ExitCode;

use ringway::Audience;
use ringway::options::{Application, ServerOptions, WorkerSeat};
use ringway::server::{Place, process};
use ringway::services::{Broadcast, Echo, Pattern, PubSub, Rights, Services, StationOptions};
use ringway_command::kinds::{Bare, Words, Wrong};

/// The applications by their names.
pub(super) const APPLICATIONS: [(&str, Application); 3] = [
    ("echo", Application::Echo),
    ("broadcast", Application::Broadcast),
    ("pubsub", Application::PubSub),
];

/// Applications by path: `/echo=echo,/live/*=broadcast`.
pub(super) const KIND: Words<Vec<(Pattern, Application)>> = Words {
    value_name: "PATH=KIND,...",
    parse: |text| text.split(',').map(parse_one).collect(),
    show: |applications| (!applications.is_empty()).then(|| show(applications)),
    bare: Bare::Refused,
};

fn parse_one(text: &str) -> Result<(Pattern, Application), Wrong> {
    let text = text.trim();
    let (path, kind) = text
        .split_once('=')
        .ok_or_else(|| Wrong::Because(format!(": '{text}' has no kind: write it as /echo=echo")))?;
    let pattern = Pattern::new(path).map_err(|bad| Wrong::Because(format!(": {bad}")))?;
    match APPLICATIONS.iter().find(|(name, _)| *name == kind) {
        Some((_, application)) => Ok((pattern, *application)),
        None => Err(Wrong::Because(format!(
            ": there is no application '{kind}': it can be {}",
            APPLICATIONS.map(|(name, _)| name).join(" or ")
        ))),
    }
}

fn show(applications: &[(Pattern, Application)]) -> String {
    let each = applications.iter().map(|(pattern, application)| {
        let name = APPLICATIONS.iter().find(|(_, kind)| kind == application);
        format!("{pattern}={}", name.map_or("", |(name, _)| name))
    });
    each.collect::<Vec<_>>().join(",")
}

/// Runs a worker process with the applications of its options. A single one on every path needs no router.
pub(super) fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    if options.applications.is_empty() {
        return match options.application {
            Application::Echo => process::run(options, seat, |_| echo(options)),
            Application::Broadcast => {
                process::run(options, seat, |place| broadcast(options, "all", place))
            }
            Application::PubSub => process::run(options, seat, |place| pubsub(options, "", place)),
        };
    }
    process::run(options, seat, |place| {
        let mut services = Services::new();
        for (pattern, application) in &options.applications {
            match application {
                Application::Echo => services.add(pattern.clone(), echo(options)),
                Application::Broadcast => {
                    let app = broadcast(options, &pattern.to_string(), place);
                    services.add(pattern.clone(), app);
                }
                Application::PubSub => {
                    let app = pubsub(options, &pattern.to_string(), place);
                    services.add(pattern.clone(), app);
                }
            }
        }
        services
    })
}

fn echo(options: &ServerOptions) -> Echo {
    Echo {
        subprotocols: options.subprotocols.clone(),
    }
}

fn broadcast(options: &ServerOptions, name: &str, place: &Place) -> Broadcast {
    let mut broadcast = Broadcast::new(name, place.index);
    broadcast.subprotocols = options.subprotocols.clone();
    broadcast.tick = options.tick;
    broadcast.audience = match options.echo_self {
        true => Audience::All,
        false => Audience::Others,
    };
    broadcast
}

fn pubsub(options: &ServerOptions, name: &str, place: &Place) -> PubSub {
    let bus = options.bus_options;
    let of_worker = StationOptions {
        topics: bus.topics,
        history: options.history,
        queue: bus.queue,
        policy: bus.policy,
        ..StationOptions::new(place.index, place.workers)
    };
    // The supervisor has refused to start with others.
    let rights = Rights::new(&options.may_publish, &options.may_subscribe).unwrap_or_default();
    PubSub::new(name, of_worker, rights, options.subprotocols.clone())
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        let text = "/echo=echo,/again/*=echo,/live=broadcast,/topics=pubsub";
        let services = KIND.parse(text).expect("services");
        assert_eq!(KIND.show(&services).as_deref(), Some(text));
        assert_eq!(KIND.show(&Vec::new()), None);
    }

    #[test]
    fn what_is_no_service_says_why() {
        let why = |text| KIND.parse(text).expect_err("no service").to_string();
        assert_eq!(
            why("/echo"),
            ": '/echo' has no kind: write it as /echo=echo"
        );
        assert_eq!(
            why("/a=cat"),
            ": there is no application 'cat': it can be echo or broadcast or pubsub"
        );
        assert!(why("echo=echo").contains("does not begin with a slash"));
    }
}
