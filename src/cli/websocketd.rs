//! The program `websocketd`: takes the command line of websocketd, and is a `ringway gateway` that runs programs.
//!
//! Owns: what each of those options means here, and the sentence for what cannot be had. Never: starts a program.
//!
//! `translate` is a function of the words alone.

mod grammar;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringway::exit::Exit;
use ringway::options::WorkerSeat;
use ringway::services::gateway::ProgramOptions;

use super::gateway::GatewayCommand;
use super::launch;
use grammar::{Parsed, Wrong};

const HELP: &str = "\
Usage: websocketd [options] COMMAND [arguments]
       websocketd [options] --dir=DIR

The command line of websocketd, served by `ringway gateway --exec`. docs/websocketd.md says what each option means here.
`ringway gateway --help` has more of them.
";

/// `websocketd …` as words of `ringway gateway`.
#[derive(Debug, Parser)]
#[command(name = "websocketd", version, max_term_width = 80)]
struct Translated {
    #[command(flatten)]
    gateway: GatewayCommand,
}

/// The program.
pub(super) fn run() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if matches!(WorkerSeat::from_environment(), Ok(Some(_))) {
        // A worker has its options from its supervisor.
        return start(&[]);
    }
    let plan = grammar::parse(&words).and_then(|parsed| match parsed.has("help") {
        true => Ok(None),
        false => translate(&parsed).map(Some),
    });
    match plan {
        Ok(None) => {
            print!("{HELP}");
            Exit::Ok.into()
        }
        Ok(Some(plan)) => start(&plan),
        Err(Wrong(why)) => {
            eprintln!("websocketd: {why}");
            Exit::Usage.into()
        }
    }
}

fn start(arguments: &[String]) -> ExitCode {
    let words = std::iter::once("websocketd").chain(arguments.iter().map(String::as_str));
    match Translated::try_parse_from(words) {
        Ok(translated) => launch::gateway(translated.gateway).into(),
        Err(error) => super::usage(&error).into(),
    }
}

/// Says a command line in the words of `ringway gateway`.
fn translate(parsed: &Parsed) -> Result<Vec<String>, Wrong> {
    if parsed.has("version") {
        return Ok(vec!["--version".to_owned()]);
    }
    cannot(parsed)?;
    // A page of its own, and lines every five seconds, are none of websocketd's; and its limits are of one process.
    let mut plan: Vec<String> = ["--port=0", "--interval=24h", "--workers=1"]
        .map(str::to_owned)
        .into();
    places(parsed, &mut plan)?;
    for (name, ours) in [
        ("sslcert", "cert"),
        ("sslkey", "key"),
        ("sslca", "client-ca"),
        ("staticdir", "web"),
        ("cgidir", "cgi-dir"),
    ] {
        if let Some(value) = parsed.text(name) {
            plan.push(format!("--{ours}={value}"));
        }
    }
    plan.extend(parsed.has("ssl").then(|| "--tls=only".to_owned()));
    origins(parsed, &mut plan);
    limits(parsed, &mut plan)?;
    for header in parsed.all("header") {
        plan.push(format!("--header={header}"));
    }
    match parsed.text("loglevel").unwrap_or("access") {
        "debug" | "trace" => plan.extend(["--debug", "--access-log=-"].map(str::to_owned)),
        "access" | "info" => plan.push("--access-log=-".to_owned()),
        "error" | "fatal" => {}
        other => {
            return Err(Wrong(format!(
                "--loglevel={other}: give debug, trace, access, info, error or fatal"
            )));
        }
    }
    if parsed.has("binary") {
        plan.push("--exec-messages=binary".to_owned());
    }
    match (parsed.text("dir"), &parsed.command[..]) {
        (Some(directory), []) => plan.push(format!("--exec-dir={directory}")),
        (None, [_, ..]) => {
            plan.extend(["--exec", "--"].map(str::to_owned));
            plan.extend(parsed.command.iter().cloned());
        }
        _ => {
            let why = "give a COMMAND or --dir=DIR, and not both";
            return Err(Wrong(why.to_owned()));
        }
    }
    Ok(plan)
}

/// What there is not.
fn cannot(parsed: &Parsed) -> Result<(), Wrong> {
    let ways = [
        (
            "license",
            "the licence is in the file LICENSE of the sources",
        ),
        (
            "sameorigin",
            "--sameorigin is not to be had here: name the origins, as --origin=example.com",
        ),
        (
            "redirport",
            "--redirport is not to be had here: with --tls=on, `ringway gateway` serves http and https on one port",
        ),
        (
            "passstderr",
            "--passstderr is not to be had here: `ringway gateway --exec-stderr=client` sends standard error as lines among the others",
        ),
        (
            "reverselookup",
            "--reverselookup is not to be had here: REMOTE_HOST is the address",
        ),
        (
            "devconsole",
            "--devconsole is not to be had here: `ringway gateway --port=8080` has pages of the server",
        ),
        (
            "header-ws",
            "--header-ws is not to be had here: --header adds to every answer",
        ),
        (
            "header-http",
            "--header-http is not to be had here: --header adds to every answer",
        ),
    ];
    match ways.iter().find(|(name, _)| parsed.has(name)) {
        Some((_, why)) => Err(Wrong((*why).to_owned())),
        None => Ok(()),
    }
}

/// Where to listen.
fn places(parsed: &Parsed, plan: &mut Vec<String>) -> Result<(), Wrong> {
    let is_tls = parsed.has("ssl");
    if is_tls != parsed.has("sslcert") || is_tls != parsed.has("sslkey") {
        let why = "--ssl needs --sslcert and --sslkey, and they need --ssl";
        return Err(Wrong(why.to_owned()));
    }
    let port = match parsed.text("port") {
        Some(port) => port
            .parse::<u16>()
            .map_err(|_| Wrong(format!("--port={port}: this is no port")))?,
        None if is_tls => 443,
        None => 80,
    };
    let mut addresses: Vec<&str> = parsed.all("address").collect();
    let socket = parsed.text("unixsocket");
    let is_tcp = socket.is_none() || parsed.has("port") || !addresses.is_empty();
    if addresses.is_empty() {
        addresses.push("0.0.0.0");
    }
    let at = |address: &str| match address.contains(':') && !address.starts_with('[') {
        true => format!("ws://[{address}]:{port}"),
        false => format!("ws://{address}:{port}"),
    };
    let mut uris: Vec<String> = Vec::new();
    if is_tcp {
        uris.extend(addresses.into_iter().map(at));
    }
    uris.extend(socket.map(|path| format!("ws+unix:{path}")));
    plan.push(format!("--wsuri={}", uris.join(",")));
    Ok(())
}

/// An entry without a scheme is for every scheme, and one without a port for every port. With a list, no other page may come in.
fn origins(parsed: &Parsed, plan: &mut Vec<String>) {
    let Some(list) = parsed.text("origin") else {
        return;
    };
    for origin in list.split(',').map(str::trim) {
        let (scheme, rest) = origin.split_once("://").unwrap_or(("*", origin));
        let behind_host = rest.rsplit_once(']').map_or(rest, |(_, behind)| behind);
        let port = if behind_host.contains(':') { "" } else { ":*" };
        plan.push(format!("--allow-origin={scheme}://{rest}{port}"));
    }
    plan.push("--require-origin".to_owned());
}

fn limits(parsed: &Parsed, plan: &mut Vec<String>) -> Result<(), Wrong> {
    if let Some(names) = parsed.text("passenv") {
        let names = if names.is_empty() { "none" } else { names };
        plan.push(format!("--pass-env={names}"));
    }
    match parsed.number("maxforks")? {
        None => {}
        Some(0) => plan.push(format!("--max-forks={}", 1 << 20)),
        Some(most) => plan.push(format!("--max-forks={most}")),
    }
    if let Some(bytes) = parsed.number("maxframesize")?.filter(|bytes| *bytes > 0) {
        plan.push(format!("--max-message={bytes}"));
    }
    if let Some(more) = parsed.number("closems")?.filter(|more| *more > 0) {
        let ladder = ProgramOptions::default().kill_after;
        let steps = [ladder.interrupt, ladder.terminate, ladder.kill];
        let steps = steps.map(|step| (step + Duration::from_millis(more)).as_millis());
        let [interrupt, terminate, kill] = steps;
        plan.push(format!("--kill-after={interrupt}ms,{terminate}ms,{kill}ms"));
    }
    if let Some(every) = parsed.number("pingms")?.filter(|every| *every > 0) {
        plan.push(format!("--ping-interval={every}ms"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let plan = grammar::parse(&words).and_then(|parsed| translate(&parsed));
        let plan = plan.map_err(|Wrong(why)| why)?;
        assert_eq!(plan[..3], ["--port=0", "--interval=24h", "--workers=1"]);
        Ok(plan[3..].join(" "))
    }

    #[test]
    fn every_option_has_its_meaning_here() {
        for (line, ours) in [
            (
                "cat -n",
                "--wsuri=ws://0.0.0.0:80 --access-log=- --exec -- cat -n",
            ),
            (
                "--port=8080 --address=127.0.0.1 -address ::1 --dir=/d",
                "--wsuri=ws://127.0.0.1:8080,ws://[::1]:8080 --access-log=- --exec-dir=/d",
            ),
            (
                "--unixsocket=/s --loglevel=error cat",
                "--wsuri=ws+unix:/s --exec -- cat",
            ),
            (
                "--unixsocket=/s --port 1 --loglevel=debug cat",
                "--wsuri=ws://0.0.0.0:1,ws+unix:/s --debug --access-log=- --exec -- cat",
            ),
            (
                "--ssl --sslcert=c --sslkey=k --sslca=a --loglevel=fatal --binary cat",
                "--wsuri=ws://0.0.0.0:443 --cert=c --key=k --client-ca=a --tls=only --exec-messages=binary --exec -- cat",
            ),
            (
                "--loglevel=fatal --origin=a.example,https://b.example:1,[::1] --staticdir=/w --cgidir=/c cat",
                "--wsuri=ws://0.0.0.0:80 --web=/w --cgi-dir=/c --allow-origin=*://a.example:* --allow-origin=https://b.example:1 \
                 --allow-origin=*://[::1]:* --require-origin --exec -- cat",
            ),
            (
                "--loglevel=fatal --passenv=A,B --maxforks=0 --maxframesize=9 --closems=50 --pingms=7 --header=X:1 --header=Y:2 cat",
                "--wsuri=ws://0.0.0.0:80 --pass-env=A,B --max-forks=1048576 --max-message=9 --kill-after=150ms,300ms,550ms \
                 --ping-interval=7ms --header=X:1 --header=Y:2 --exec -- cat",
            ),
            // The flags end where the command begins.
            (
                "--binary=false --loglevel=fatal -- sh --port=7",
                "--wsuri=ws://0.0.0.0:80 --exec -- sh --port=7",
            ),
        ] {
            assert_eq!(said(line).as_deref(), Ok(ours), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_said_with_the_way_here() {
        for (line, why) in [
            ("--sameorigin cat", "--origin="),
            ("--passstderr cat", "--exec-stderr=client"),
            ("--devconsole cat", "--port="),
            ("--redirport=80 cat", "--tls=on"),
            ("--header-ws=A:1 cat", "--header"),
            ("--ssl cat", "--sslcert"),
            ("--port=70000 cat", "no port"),
            ("--maxforks=x cat", "no number"),
            ("--loglevel=x cat", "give debug"),
            ("--dir=/d cat", "not both"),
            ("--binary", "COMMAND"),
            ("--nonsense cat", "no such option"),
            ("--port", "needs a value"),
            ("--binary=maybe cat", "true or false"),
        ] {
            let said = said(line).expect_err(line);
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
