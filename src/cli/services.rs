//! The applications that `ringway server` serves, by path.
//!
//! Owns: the text of `--service`, and the application of each kind. Never: routes a request (`ringway::services` does).

use std::process::ExitCode;

use ringway::options::{Application, ServerOptions, WorkerSeat};
use ringway::server::process;
use ringway::services::{Echo, Pattern, Services};
use ringway_command::kinds::{Bare, Words, Wrong};

/// Applications by path: `/echo=echo,/again/*=echo`.
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
    match kind {
        "echo" => Ok((pattern, Application::Echo)),
        _ => Err(Wrong::Because(format!(
            ": there is no application '{kind}': it can be echo"
        ))),
    }
}

fn show(applications: &[(Pattern, Application)]) -> String {
    let each = applications.iter().map(|(pattern, application)| {
        let kind = match application {
            Application::Echo => "echo",
        };
        format!("{pattern}={kind}")
    });
    each.collect::<Vec<_>>().join(",")
}

/// Runs a worker process with the applications of its options. A single echo on every path needs no router.
pub(super) fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
    if options.applications.is_empty() {
        return process::run(options, seat, |_| echo(options));
    }
    process::run(options, seat, |_| {
        let mut services = Services::new();
        for (pattern, application) in &options.applications {
            match application {
                Application::Echo => services.add(pattern.clone(), echo(options)),
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

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        let text = "/echo=echo,/again/*=echo";
        let services = KIND.parse(text).expect("two services");
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
            ": there is no application 'cat': it can be echo"
        );
        assert!(why("echo=echo").contains("does not begin with a slash"));
    }
}
