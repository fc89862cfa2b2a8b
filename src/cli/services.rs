//! The applications that `ringway server` serves, by path.
//!
//! Owns: the text of `--service`, and the application of each kind. Never: routes a request (`ringway::services` does).

use std::process::ExitCode;
use std::sync::Arc;

use ringway::Audience;
use ringway::options::{Application, ServerOptions, WorkerSeat};
use ringway::server::{Place, process};
use ringway::services::{Broadcast, Echo, Pattern, PubSub, Services, StationOptions, Verifier};
use ringway::supervise;
use ringway_command::kinds::{Bare, Words, Wrong};

use super::access;

/// The applications by their names.
pub(super) const APPLICATIONS: [(&str, Application); 3] = {
    const fn named(application: Application) -> (&'static str, Application) {
        (application.name(), application)
    }
    [
        named(Application::Echo),
        named(Application::Broadcast),
        named(Application::PubSub),
    ]
};

/// The path of each service; empty for one on every path.
pub(super) fn by_path(options: &ServerOptions) -> Vec<(String, Application)> {
    if options.applications.is_empty() {
        return vec![(String::new(), options.application)];
    }
    let applications = options.applications.iter();
    let by_path = applications.map(|(path, application)| (path.to_string(), *application));
    by_path.collect()
}

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
    let each = applications
        .iter()
        .map(|(pattern, application)| format!("{pattern}={}", application.name()));
    each.collect::<Vec<_>>().join(",")
}

/// Runs a worker process with the applications of its options. A single one on every path needs no router.
pub(super) fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    let keys = match access::keys(options) {
        Ok(keys) => keys,
        Err(fatal) => {
            supervise::error(&fatal);
            return fatal.exit.into();
        }
    };
    let maker = Maker { options, keys };
    if options.applications.is_empty() {
        return match options.application {
            Application::Echo => process::run(options, seat, |_| maker.echo()),
            Application::Broadcast => {
                process::run(options, seat, |place| maker.broadcast(None, place))
            }
            Application::PubSub => process::run(options, seat, |place| maker.pubsub(None, place)),
        };
    }
    process::run(options, seat, |place| {
        let mut services = Services::new();
        for (path, application) in &options.applications {
            let at = path.clone();
            match application {
                Application::Echo => services.add(at, maker.echo()),
                Application::Broadcast => services.add(at, maker.broadcast(Some(path), place)),
                Application::PubSub => services.add(at, maker.pubsub(Some(path), place)),
            }
        }
        services
    })
}

/// Makes applications, for every path or for one.
struct Maker<'a> {
    options: &'a ServerOptions,
    keys: Arc<[Verifier]>,
}

impl Maker<'_> {
    fn echo(&self) -> Echo {
        Echo {
            subprotocols: self.options.subprotocols.clone(),
        }
    }

    fn broadcast(&self, path: Option<&Pattern>, place: &Place) -> Broadcast {
        let options = self.options;
        let name = path.map_or_else(String::new, Pattern::to_string);
        let mut broadcast = Broadcast::new(&name, place.index);
        broadcast.admit(access::admission(options, path, &self.keys));
        broadcast.subprotocols = options.subprotocols.clone();
        broadcast.tick = options.tick;
        broadcast.audience = match options.echo_self {
            true => Audience::All,
            false => Audience::Others,
        };
        broadcast
    }

    fn pubsub(&self, path: Option<&Pattern>, place: &Place) -> PubSub {
        let options = self.options;
        let bus = options.bus_options;
        let of_worker = StationOptions {
            topics: bus.topics,
            history: options.history,
            queue: bus.queue,
            policy: bus.policy,
            ..StationOptions::new(place.index, place.workers)
        };
        let name = path.map_or_else(String::new, Pattern::to_string);
        let admission = access::admission(options, path, &self.keys);
        PubSub::new(&name, of_worker, admission, options.subprotocols.clone())
    }
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
