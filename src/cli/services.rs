//! Which applications `ringway server` serves, by path.
//!
//! Owns: the text of `--service`, and the application of each kind. Never: routes a request; that is `ringway::services`.

use std::process::ExitCode;

use ringway::options::{Application, ServerOptions, WorkerSeat};
use ringway::server::process;
use ringway::services::{Echo, Pattern, Services};
use ringway_command::judge::{BadOption, Resolved};

/// Parses `/echo=echo,/again/*=echo`.
pub(super) fn parse(text: &str) -> Resolved<Vec<(Pattern, Application)>> {
    text.split(',').map(parse_one).collect()
}

fn parse_one(text: &str) -> Resolved<(Pattern, Application)> {
    let (path, kind) = text.trim().split_once('=').ok_or_else(|| {
        BadOption(format!(
            "--service {text} has no kind: write it as /echo=echo"
        ))
    })?;
    let pattern = Pattern::new(path).map_err(|bad| BadOption(format!("--service: {bad}")))?;
    match kind {
        "echo" => Ok((pattern, Application::Echo)),
        _ => Err(BadOption(format!(
            "--service {text}: there is no application '{kind}': it can be echo"
        ))),
    }
}

/// The text that [`parse`] reads.
pub(super) fn show(applications: &[(Pattern, Application)]) -> String {
    let each = applications.iter().map(|(pattern, application)| {
        let kind = match application {
            Application::Echo => "echo",
        };
        format!("{pattern}={kind}")
    });
    each.collect::<Vec<_>>().join(",")
}

/// Runs a worker process with the applications that it was told. A single echo on every path costs no routing.
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
    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        let text = "/echo=echo,/again/*=echo";
        assert_eq!(show(&parse(text).expect("two services")), text);
    }

    #[test]
    fn what_is_no_service_says_why() {
        let why = |text| parse(text).expect_err("no service").0;
        assert_eq!(
            why("/echo"),
            "--service /echo has no kind: write it as /echo=echo"
        );
        assert_eq!(
            why("/a=cat"),
            "--service /a=cat: there is no application 'cat': it can be echo"
        );
        assert!(why("echo=echo").contains("does not begin with a slash"));
    }
}
