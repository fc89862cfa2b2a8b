//! The program `websockify`: takes the command line of websockify 0.13, and is a `ringway gateway`.
//!
//! Owns: what each of those options means here, and the sentence for what cannot be had. Never: serves a client.
//!
//! `translate` is a function of the words alone; `run` does what is left: it hashes a password and starts a daemon.

mod daemon;
mod grammar;

use std::process::ExitCode;

use clap::Parser;
use ringway::Cipher;
use ringway::exit::Exit;
use ringway::options::WorkerSeat;
use ringway::supervise;

use super::gateway::GatewayCommand;
use super::launch;
use grammar::{Parsed, Wrong};

const HELP: &str = "\
Usage: websockify [options] [source_addr:]source_port target_addr:target_port
       websockify [options] --unix-target=FILE [source_addr:]source_port
       websockify [options] --token-plugin=CLASS --token-source=ARG [source_addr:]source_port
       websockify [options] --unix-listen=FILE target_addr:target_port
       websockify [options] --inetd target_addr:target_port
       websockify [options] [--wrap-mode=exit|ignore|respawn] [source_addr:]source_port -- PROGRAM [arguments]

The command line of websockify 0.13, served by `ringway gateway`. docs/websockify.md says what each option means here.
`ringway gateway --help` has more of them.
";

/// How long sessions may go on after `--timeout`, as the original lets them.
const DRAIN: &str = "--drain-timeout=24h";

/// A command line of websockify in the words of `ringway gateway`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Options of `ringway gateway`.
    arguments: Vec<String>,
    /// What is different here from what was asked for.
    notes: Vec<String>,
    /// Go to the background.
    daemon: bool,
    /// A user and a password, to be hashed.
    login: Option<(String, String)>,
}

/// What the command line needs to know of the machine.
trait Machine {
    fn has_file(&self, path: &str) -> bool;

    /// Whether the standard input is a listening socket.
    fn input_listens(&self) -> bool;
}

struct This;

impl Machine for This {
    fn has_file(&self, path: &str) -> bool {
        std::path::Path::new(path).exists()
    }

    fn input_listens(&self) -> bool {
        super::stdio::is_listener()
    }
}

/// `websockify …` as words of `ringway gateway`.
#[derive(Debug, Parser)]
#[command(name = "websockify", version, max_term_width = 80)]
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
    if words.iter().any(|word| word == "-h" || word == "--help") {
        print!("{HELP}");
        return Exit::Ok.into();
    }
    let plan = match grammar::parse(&words).and_then(|parsed| translate(&parsed, &This)) {
        Ok(plan) => plan,
        Err(Wrong(why)) => {
            eprintln!("websockify: {why}");
            return Exit::Usage.into();
        }
    };
    if plan.daemon && !daemon::is_begun() {
        return daemon::begin(&words);
    }
    for note in &plan.notes {
        eprintln!("websockify: {note}");
    }
    let mut arguments = plan.arguments;
    if let Some((user, password)) = plan.login {
        match bcrypt::hash(password, HASH_COST) {
            // In front: behind a program's name stand its arguments.
            Ok(hash) => arguments.insert(0, format!("--basic-auth={user}:{hash}")),
            Err(error) => {
                let sentence = format!("the password cannot be hashed: {error}");
                let fatal = ringway::exit::Fatal::usage(sentence);
                supervise::error(&fatal);
                return fatal.exit.into();
            }
        }
    }
    start(&arguments)
}

/// Some ten milliseconds for each login: the password was on a command line anyway.
const HASH_COST: u32 = 8;

fn start(arguments: &[String]) -> ExitCode {
    let words = std::iter::once("websockify").chain(arguments.iter().map(String::as_str));
    match Translated::try_parse_from(words) {
        Ok(mut translated) => {
            translated.gateway.is_quiet = daemon::is_begun();
            launch::gateway(translated.gateway).into()
        }
        Err(error) => super::usage(&error).into(),
    }
}

/// Says a command line in the words of `ringway gateway`.
fn translate(parsed: &Parsed, machine: &impl Machine) -> Result<Plan, Wrong> {
    let mut plan = Plan::default();
    // A page of its own, and lines every five seconds, are none of websockify's.
    plan.say("--port=0");
    plan.say("--interval=24h");
    // A listener that a super-server has handed over is served as any other; a connection is one session.
    let is_session = parsed.has("inetd") && !machine.input_listens();
    cannot(parsed, is_session)?;
    let has_tokens = tokens(parsed, &mut plan)?;
    places(parsed, has_tokens, &mut plan)?;
    if parsed.has("inetd") {
        plan.say("inetd");
    }
    tls(parsed, machine, &mut plan)?;
    auth(parsed, &mut plan)?;
    lives(parsed, is_session, &mut plan)?;
    writes(parsed, &mut plan);
    pages(parsed, &mut plan)?;
    wrap(parsed, &mut plan)?;
    Ok(plan)
}

impl Plan {
    fn say(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
}

/// What there is not.
fn cannot(parsed: &Parsed, is_session: bool) -> Result<(), Wrong> {
    let why = if parsed.has("inetd") && parsed.has("unix-listen") {
        "--inetd serves what is the standard input: leave --unix-listen off"
    } else if parsed.has("inetd") && parsed.has("daemon") {
        "--inetd is for a super-server, which waits for the end of this program: leave -D off"
    } else if is_session && parsed.has("web") {
        "--inetd serves the one connection that is the standard input: leave --web off"
    } else if parsed.has("web-auth") && !parsed.has("auth-plugin") {
        "You must use --auth-plugin to use --web-auth"
    } else if parsed.has("web-auth")
        && parsed.text("auth-plugin").map(class) != Some("BasicHTTPAuth")
    {
        "--web-auth needs --auth-plugin BasicHTTPAuth here: a request for a page has no Origin, and certificates are asked of WebSockets alone"
    } else {
        return Ok(());
    };
    Err(Wrong(why.to_owned()))
}

/// Where to listen, and where to.
fn places(parsed: &Parsed, has_tokens: bool, plan: &mut Plan) -> Result<(), Wrong> {
    let unix_target = parsed.text("unix-target");
    let needs_target = unix_target.is_none() && !has_tokens && !parsed.wraps;
    let needs_source = !parsed.has("unix-listen") && !parsed.has("inetd");
    let needed = usize::from(needs_source) + usize::from(needs_target);
    if parsed.places.len() != needed {
        let why = match parsed.places.len() < needed {
            true => "Too few arguments",
            false => "Too many arguments",
        };
        return Err(Wrong(why.to_owned()));
    }
    let mut places = parsed.places.iter();
    if let Some(path) = parsed.text("unix-listen") {
        plan.say(&format!("--wsuri=ws+unix:{path}"));
        let mode = parsed.text("unix-listen-mode").unwrap_or("0600");
        plan.say(&format!("--unix-mode={mode}"));
    } else if needs_source && let Some(place) = places.next() {
        let (host, port) = place.rsplit_once(':').unwrap_or(("", place));
        if port.parse::<u16>().is_err() {
            return Err(Wrong("Error parsing listen port".to_owned()));
        }
        let host = match (host, parsed.has("prefer-ipv6")) {
            ("", false) => "0.0.0.0".to_owned(),
            ("", true) => "[::]".to_owned(),
            (host, _) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            (host, _) => host.to_owned(),
        };
        plan.say(&format!("--wsuri=ws://{host}:{port}"));
    }
    if let Some(path) = unix_target {
        plan.say(&format!("--target=unix:{path}"));
    } else if let Some(place) = places.next() {
        let Some((host, port)) = place.rsplit_once(':') else {
            return Err(Wrong("Error parsing target".to_owned()));
        };
        if port.parse::<u16>().is_err() {
            return Err(Wrong("Error parsing target port".to_owned()));
        }
        plan.say(&format!("--target={host}:{port}"));
    }
    Ok(())
}

fn tls(parsed: &Parsed, machine: &impl Machine, plan: &mut Plan) -> Result<(), Wrong> {
    let cert = parsed.text("cert").unwrap_or("self.pem");
    let has_cert = machine.has_file(cert);
    if has_cert {
        plan.say(&format!("--cert={cert}"));
        plan.say(&format!("--key={}", parsed.text("key").unwrap_or(cert)));
        if let Some(password) = parsed.text("key-password") {
            plan.say(&format!("--key-password=pass:{password}"));
        }
        ciphers(parsed, plan)?;
    } else if parsed.has("ssl-only") {
        return Err(Wrong(format!("SSL only and {cert} not found")));
    } else if parsed.has("cert") {
        plan.note(&format!(
            "{cert} is not there: clients are served without TLS"
        ));
    }
    if parsed.has("ssl-only") {
        plan.say("--tls=only");
    }
    if parsed.has("ssl-target") {
        plan.say("--ssl-target");
    }
    if parsed.has("verify-client") && has_cert {
        let system = "/etc/ssl/certs/ca-certificates.crt";
        let ca = parsed.text("cafile").unwrap_or(system);
        plan.say(&format!("--client-ca={ca}"));
        plan.say("--client-auth=required");
    } else if parsed.has("verify-client") {
        return Err(Wrong(format!(
            "--verify-client needs TLS, and {cert} is not there"
        )));
    }
    match parsed.text("ssl-version") {
        None | Some("default" | "tlsv1_2") => {}
        Some("tlsv1_3") => plan.say("--tls-min=1.3"),
        Some("tlsv1_1") => plan.note("TLS 1.1 is broken, and not there: the lowest version is 1.2"),
        Some(other) => {
            return Err(Wrong(format!(
                "--ssl-version {other} is none of default, tlsv1_1, tlsv1_2, tlsv1_3"
            )));
        }
    }
    Ok(())
}

/// The suites among those that OpenSSL would choose from: there are only good ones here.
fn ciphers(parsed: &Parsed, plan: &mut Plan) -> Result<(), Wrong> {
    let Some(text) = parsed.text("ssl-ciphers") else {
        return Ok(());
    };
    let (mut chosen, mut unknown) = (Vec::new(), Vec::new());
    for word in text.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        if let Some(excluded) = word.strip_prefix(['!', '-']) {
            chosen.retain(|cipher: &Cipher| cipher.name() != excluded);
        } else if ALL_OF_THEM.contains(&word) {
            chosen.extend(Cipher::all());
        } else if let Some(cipher) = Cipher::of(word) {
            chosen.push(cipher);
        } else {
            unknown.push(word);
        }
    }
    if chosen.is_empty() {
        return Err(Wrong(format!(
            "--ssl-ciphers {text} names none that is known here: give names of {}",
            Cipher::all()
                .map(Cipher::name)
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    if !unknown.is_empty() {
        plan.note(&format!(
            "--ssl-ciphers: not known here, and left out: {}",
            unknown.join(", ")
        ));
    }
    let names: Vec<_> = chosen.into_iter().map(Cipher::name).collect();
    plan.say(&format!("--tls-ciphers={}", names.join(":")));
    Ok(())
}

/// Words of OpenSSL that stand for all suites that are known here.
const ALL_OF_THEM: [&str; 4] = ["ALL", "DEFAULT", "HIGH", "ECDHE"];

/// The last part of a class's name.
fn class(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Says whether there are tokens.
fn tokens(parsed: &Parsed, plan: &mut Plan) -> Result<bool, Wrong> {
    let config = parsed.text("target-config");
    let plugin = parsed.text("token-plugin").map(class);
    let plugin = plugin.or_else(|| config.map(|_| "TokenFile"));
    let Some(plugin) = plugin else {
        return match parsed.has("token-source") {
            true => Err(Wrong(
                "You must use --token-plugin to use --token-source".to_owned(),
            )),
            false if parsed.has("host-token") => Err(Wrong(
                "You must use --token-plugin to use --host-token".to_owned(),
            )),
            false => Ok(false),
        };
    };
    let source = parsed.text("token-source").or(config);
    let Some(source) = source else {
        return Err(Wrong(format!(
            "--token-plugin {plugin} needs a --token-source"
        )));
    };
    match plugin {
        "TokenFile" | "ReadOnlyTokenFile" => plan.say(&format!("--token-file={source}")),
        "TokenFileName" => plan.say(&format!("--token-names={source}")),
        "BaseTokenAPI" | "JSONTokenApi" => plan.say(&format!("--token-url={source}")),
        "JWTTokenApi" => plan.say(&format!("--token-jwt={source}")),
        "UnixDomainSocketDirectory" => plan.say(&format!("--token-sockets={source}")),
        "TokenRedis" => redis(source, plan)?,
        other => {
            return Err(Wrong(format!(
                "--token-plugin {other}: classes of Python cannot be loaded here; let a program of yours answer HTTP, and give \
                 `ringway gateway --token-url=http://127.0.0.1:8000/%s`"
            )));
        }
    }
    if parsed.has("host-token") {
        plan.say("--token-from=host");
    }
    Ok(true)
}

/// `host[:port[:db[:password[:namespace]]]]`; quotes keep colons.
fn redis(source: &str, plan: &mut Plan) -> Result<(), Wrong> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for letter in source.chars() {
        match (letter, quote) {
            (':', None) => parts.push(String::new()),
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            (letter, _) => {
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
        }
    }
    let part = |at: usize| {
        parts
            .get(at)
            .map(String::as_str)
            .filter(|part| !part.is_empty())
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (port, database) = (part(1).unwrap_or("6379"), part(2).unwrap_or("0"));
    let (Some(host), true) = (part(0), is_number(port) && is_number(database)) else {
        return Err(Wrong(format!(
            "--token-source {source}: write it as host[:port[:db[:password[:namespace]]]]"
        )));
    };
    let password = part(3).map_or_else(String::new, |password| {
        let all = percent_encoding::NON_ALPHANUMERIC;
        format!(":{}@", percent_encoding::utf8_percent_encode(password, all))
    });
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    plan.say(&format!(
        "--token-redis=redis://{password}{host}:{port}/{database}"
    ));
    if let Some(namespace) = part(4) {
        plan.say(&format!(
            "--token-namespace={}",
            namespace.trim_end_matches(':')
        ));
    }
    Ok(())
}

fn auth(parsed: &Parsed, plan: &mut Plan) -> Result<(), Wrong> {
    let Some(plugin) = parsed.text("auth-plugin").map(class) else {
        return match parsed.has("auth-source") {
            true => Err(Wrong(
                "You must use --auth-plugin to use --auth-source".to_owned(),
            )),
            false => Ok(()),
        };
    };
    let source = parsed.text("auth-source").unwrap_or_default();
    match plugin {
        "BasicHTTPAuth" => {
            let login = source.split_once(':');
            let (user, password) = login.ok_or_else(|| {
                Wrong("--auth-source of BasicHTTPAuth is user:password".to_owned())
            })?;
            plan.login = Some((user.to_owned(), password.to_owned()));
        }
        "ExpectOrigin" => {
            for origin in source.split_whitespace() {
                plan.say(&format!("--allow-origin={origin}"));
            }
            plan.say("--require-origin");
        }
        "ClientCertCNAuth" => {
            let names: Vec<_> = source.split_whitespace().collect();
            plan.say(&format!("--client-name={}", names.join(",")));
        }
        other => {
            return Err(Wrong(format!(
                "--auth-plugin {other}: classes of Python cannot be loaded here; there are BasicHTTPAuth, ExpectOrigin and \
                 ClientCertCNAuth, and signed tokens with `ringway gateway --token-key`"
            )));
        }
    }
    Ok(())
}

/// How long it runs.
fn lives(parsed: &Parsed, is_session: bool, plan: &mut Plan) -> Result<(), Wrong> {
    let mut is_one = parsed.has("run-once");
    // There is one session anyway.
    if parsed.has("run-once") && !is_session {
        plan.say("--run-once");
    }
    for (name, option) in [
        ("timeout", "stop-after"),
        ("idle-timeout", "stop-when-idle"),
        ("heartbeat", "ping-interval"),
    ] {
        let Some(text) = parsed.text(name) else {
            continue;
        };
        let seconds: u32 = text
            .parse()
            .map_err(|_| Wrong(format!("option --{name}: invalid integer value: '{text}'")))?;
        if seconds > 0 && is_session && name != "heartbeat" {
            plan.note(&format!(
                "--{name} has no effect with --inetd, which is one session"
            ));
        } else if seconds > 0 {
            plan.say(&format!("--{option}={seconds}s"));
            is_one |= name != "heartbeat";
        }
    }
    if is_one && !is_session {
        plan.say("--workers=1");
        plan.say(DRAIN);
    }
    plan.daemon = parsed.has("daemon");
    if parsed.has("libserver") {
        plan.note(
            "--libserver has no effect: there is one server here, and nothing is lost with it",
        );
    }
    if parsed.has("auto-pong") {
        plan.note("--auto-pong has no effect: every Ping is answered");
    }
    Ok(())
}

/// What is written.
fn writes(parsed: &Parsed, plan: &mut Plan) {
    if parsed.has("verbose") {
        plan.say("--debug");
    }
    if parsed.has("traffic") {
        plan.say("--traffic");
    }
    if let Some(path) = parsed.text("record") {
        plan.say(&format!("--record={path}"));
    }
    match (parsed.text("log-file"), parsed.text("syslog")) {
        (Some(file), syslog) => {
            plan.say(&format!("--access-log={file}"));
            if syslog.is_some() {
                plan.note("--syslog has no effect beside --log-file: lines have one place here");
            }
        }
        (None, Some(server)) => plan.say(&format!("--access-log=syslog:{server}")),
        (None, None) => {}
    }
    if parsed.has("legacy-syslog") {
        plan.note("--legacy-syslog has no effect: lines have the form of RFC 5424");
    }
}

/// A program that believes to listen where we do.
fn wrap(parsed: &Parsed, plan: &mut Plan) -> Result<(), Wrong> {
    let mode = parsed.text("wrap-mode");
    if !parsed.wraps {
        if mode.is_some() {
            plan.note("--wrap-mode has no effect without a program behind --");
        }
        return Ok(());
    }
    let mode = mode.unwrap_or("exit");
    let why = match mode {
        "exit" | "ignore" | "respawn" if parsed.program.is_empty() => {
            "-- needs a program behind it".to_owned()
        }
        "exit" | "ignore" | "respawn" => {
            plan.say(&format!("--wrap-mode={mode}"));
            plan.say("--");
            plan.arguments.extend(parsed.program.iter().cloned());
            return Ok(());
        }
        other => format!(
            "option --wrap-mode: invalid choice: '{other}' (choose from exit, ignore, respawn)"
        ),
    };
    Err(Wrong(why))
}

/// Pages on the same port.
fn pages(parsed: &Parsed, plan: &mut Plan) -> Result<(), Wrong> {
    match parsed.text("web") {
        Some(folder) => {
            plan.say(&format!("--web={folder}"));
            if !parsed.has("file-only") {
                plan.say("--web-listing");
            }
            if parsed.has("web-auth") {
                plan.say("--web-auth");
            }
            Ok(())
        }
        None if parsed.has("file-only") => Err(Wrong(
            "--file-only has no effect without --web: leave it off".to_owned(),
        )),
        None => {
            if parsed.has("web-auth") {
                plan.note("--web-auth has no effect without --web: there are no pages");
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
