//! The options for the sessions of a gateway: where each leads to, who may have one, what is written about them.
//!
//! Owns: their definitions, and the sentences for what does not go together. Never: opens what they name.

use std::time::Duration;

use ringway::options::ServerOptions;
use ringway::services::gateway::{LogFormat, RecordFormat, Route, SessionOptions, TokenFrom};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{
    Bare, Choice, Count, FILE, OrOff, Switch, Time, Unless, Words, Wrong,
};
use ringway_command::options::{Definition, define};

use crate::access::NAME;
use crate::options::FILES;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: gateway.sessions.$($name).+) };
}

/// Options that name targets: with one of them, TARGET may be left off.
pub(super) const SOURCES: [&str; 7] = [
    "token-file",
    "token-names",
    "token-sockets",
    "token-url",
    "token-jwt",
    "token-redis",
    "route",
];

#[rustfmt::skip] // one option per block, help last
pub(super) fn targets() -> [Definition<ServerOptions>; 10] {
    [
        define("token-file", field!(token_file), Unless(FILE),
            "Where tokens lead to: a file with lines `token: host:port` or `token: unix:/path`, or a directory of such files; read again \
             when it has changed")
            .default_said("none"),
        define("token-names", field!(token_names), Unless(FILE),
            "A directory in which a file has the token's name and says host:port").default_said("none"),
        define("token-sockets", field!(token_sockets), Unless(FILE),
            "A directory in which a Unix socket has the token's name").default_said("none"),
        define("token-url", field!(token_url), Unless(URL),
            "An http:// or https:// address with %s for the token, which answers host:port, or JSON with host and port").default_said("none"),
        define("token-jwt", field!(token_jwt), FILES,
            "Tokens are signed (JWT) and name their target with the claims host and port: files with the keys, as --token-key takes them")
            .default_said("none"),
        define("token-redis", field!(token_redis), Unless(REDIS),
            "A Redis server, as redis://host:6379/0, whose keys are tokens, and whose values host:port or JSON").default_said("none"),
        define("token-namespace", field!(token_namespace), Unless(NAME),
            "With --token-redis: what stands before the token in a key, with a colon").default_said("none"),
        define("token-from", field!(token_from), FROM,
            "Where a request has its token: query, query:NAME, path (its first segment), host, header:NAME or cookie:NAME"),
        define("route", field!(routes), ROUTES,
            "Targets by path and host: /vnc=127.0.0.1:5900, host.example=h:22 or host.example/ssh=h:22. A path stands for everything \
             below it; a host counts before the longest path. May be given several times")
            .default_said("none")
            .repeated(),
        define("lookup-timeout", field!(lookup_timeout), Time::from(Duration::from_millis(1)),
            "Time to find out a target, check of the password included (504 above); at most three quarters of --handshake-timeout"),
    ]
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn sessions() -> [Definition<ServerOptions>; 12] {
    [
        define("basic-auth", field!(basic_auth), Unless(USERS),
            "Clients need a user and a password (401): a file with lines user:hash, as `htpasswd -B` and `openssl passwd -6` make them, \
             or one such line")
            .default_said("none"),
        define("web-auth", ringway_command::field!(ServerOptions: web.auth), Switch,
            "With --basic-auth: whatever --web, --cgi-dir and --http-proxy answer needs a user and a password, too"),
        define("client-name", field!(client_names), NAMES,
            "With --client-ca: names (CN) of the certificates that may have a session, as alice,bob; others get 403")
            .default_said("every certificate"),
        define("max-sessions-per-target", field!(sessions_per_target_max),
            OrOff(Count(1..=u64::from(u32::MAX), "write it as 20 or 1k")),
            "Sessions of one target in each worker: one more is answered 503. 0 = no limit"),
        define("access-log", field!(access_log), Unless(LOG),
            "A line for each session at its end, and for each client that got none: a file, opened again when it was moved; - for stderr; \
             or syslog:/dev/log, syslog:host:514")
            .default_said("none"),
        define("access-log-format", field!(access_log_format),
            Choice("FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            "How: text, or json for one object per line"),
        define("record", field!(record), Unless(FILE),
            "Record every session, secrets and all: to files in this directory, or to files whose names begin so. Each gets a number")
            .default_said("none"),
        define("record-format", field!(record_format),
            Choice("FORMAT", &[("websockify", RecordFormat::Websockify), ("ringway", RecordFormat::Ringway)]),
            "How: as websockify does, or compact and with exact times; see docs/gateway.md"),
        define("traffic", field!(traffic), Switch,
            "Print a mark on stderr for each piece of a stream: }> to the target, {< to the client"),
        define("run-once", field!(run_once), Switch, "Stop when the first session has ended"),
        define("stop-after", field!(stop_after), OrOff(Time::from(Duration::from_millis(1))),
            "Accept nothing more after this time; sessions have --drain-timeout to end. 0 = never"),
        define("stop-when-idle", field!(stop_when_idle), OrOff(Time::from(Duration::from_millis(1))),
            "Stop when there was no session for this long. 0 = never"),
    ]
}

const fn text(value_name: &'static str, parse: fn(&str) -> Result<String, Wrong>) -> Words<String> {
    Words {
        value_name,
        parse,
        show: |text| Some(text.clone()),
        bare: Bare::Refused,
    }
}

const URL: Words<String> = text("URL", |url| {
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    match is_http && url.contains("%s") && url.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(url.to_owned()),
        false => Err(Wrong::not(
            "an address with a place for the token",
            "write it as http://127.0.0.1:8000/targets/%s",
        )),
    }
});

const REDIS: Words<String> = text("URL", |url| {
    match url.starts_with("redis://") || url.starts_with("rediss://") || url.starts_with("unix://")
    {
        true => Ok(url.to_owned()),
        false => Err(Wrong::not(
            "an address of Redis",
            "write it as redis://127.0.0.1:6379/0",
        )),
    }
});

const USERS: Words<String> = text("FILE", filled);
const LOG: Words<String> = text("FILE", filled);

fn filled(text: &str) -> Result<String, Wrong> {
    (NAME.parse)(text)
}

const NAMES: Words<Vec<String>> = Words {
    value_name: "NAME,...",
    parse: |list| match list.split(',').any(|name| name.trim().is_empty()) {
        true => Err(Wrong::Because(
            " has a place without a name: give names with one comma between two".to_owned(),
        )),
        false => Ok(list.split(',').map(|name| name.trim().to_owned()).collect()),
    },
    show: |names| (!names.is_empty()).then(|| names.join(",")),
    bare: Bare::Refused,
};

const ROUTES: Words<Vec<Route>> = Words {
    value_name: "ROUTE",
    parse: |list| {
        let one = |text: &str| {
            Route::parse(text.trim()).ok_or_else(|| {
                Wrong::Because(format!(
                    ": '{text}' is no route: write it as /vnc=127.0.0.1:5900 or host.example/ssh=unix:/run/ssh.sock"
                ))
            })
        };
        list.split(',').map(one).collect()
    },
    show: |routes| {
        let shown: Vec<_> = routes.iter().map(ToString::to_string).collect();
        (!shown.is_empty()).then(|| shown.join(","))
    },
    bare: Bare::Refused,
};

const FROM: Words<TokenFrom> = Words {
    value_name: "WHERE",
    parse: |text| {
        let is_name = |name: &&str| {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && name.bytes().all(is_token)
        };
        let named = text.split_once(':').filter(|(_, name)| is_name(name));
        match (text, named) {
            ("query", _) => Ok(TokenFrom::default()),
            ("path", _) => Ok(TokenFrom::Path),
            ("host", _) => Ok(TokenFrom::Host),
            (_, Some(("query", name))) => Ok(TokenFrom::Query(name.to_owned())),
            (_, Some(("header", name))) => Ok(TokenFrom::Header(name.to_owned())),
            (_, Some(("cookie", name))) => Ok(TokenFrom::Cookie(name.to_owned())),
            _ => Err(Wrong::not(
                "a place of a token",
                "write query, query:NAME, path, host, header:NAME or cookie:NAME",
            )),
        }
    },
    show: |from| {
        Some(match from {
            TokenFrom::Query(name) if name == "token" => "query".to_owned(),
            TokenFrom::Query(name) => format!("query:{name}"),
            TokenFrom::Path => "path".to_owned(),
            TokenFrom::Host => "host".to_owned(),
            TokenFrom::Header(name) => format!("header:{name}"),
            TokenFrom::Cookie(name) => format!("cookie:{name}"),
        })
    },
    bare: Bare::Refused,
};

/// Refuses what leads nowhere, or has no effect.
pub(super) fn check(options: &ServerOptions) -> Resolved<()> {
    let own = &options.gateway.sessions;
    let has_target = options.gateway.target.is_some();
    let sources = own.sources();
    let default = SessionOptions::default();
    let wrong = if sources > 1 {
        "tokens are looked up in one place: give one of --token-file, --token-names, --token-sockets, --token-url, --token-jwt, --token-redis"
    } else if sources == 1 && has_target {
        "with tokens there is no TARGET for everybody: leave one off"
    } else if sources == 0 && own.routes.is_empty() && !options.gateway.is_gateway() {
        "a gateway needs a TARGET, tokens or routes: ringway gateway 6080 127.0.0.1:5900"
    } else if sources == 0 && own.token_from != default.token_from {
        "--token-from has no effect without tokens: say where they are looked up, as --token-file, or leave it off"
    } else if own.token_redis.is_none() && own.token_namespace.is_some() {
        "--token-namespace has no effect without --token-redis: give its address, or leave it off"
    } else if options.web.auth && (own.basic_auth.is_none() || !options.web.is_wanted()) {
        "--web-auth has no effect without --basic-auth, and one of --web, --cgi-dir and --http-proxy: add them, or leave it off"
    } else if !own.client_names.is_empty() && options.tls.client_ca.is_none() {
        "--client-name needs certificates: say with --client-ca whose they are, or leave it off"
    } else if own.access_log.is_none() && own.access_log_format != default.access_log_format {
        "--access-log-format has no effect without --access-log: say where to, or leave it off"
    } else if own.record.is_none() && own.record_format != default.record_format {
        "--record-format has no effect without --record: say where to, or leave it off"
    } else if own.lookup_timeout != default.lookup_timeout
        && own.lookup_timeout > options.handshake_timeout * 3 / 4
    {
        "--lookup-timeout is to be at most three quarters of --handshake-timeout, which ends the wait: lower one or raise the other"
    } else if options.workers > 1
        && (own.run_once || own.stop_after.is_some() || own.stop_when_idle.is_some())
    {
        "--run-once, --stop-after and --stop-when-idle look at one worker: add --workers=1"
    } else {
        return Ok(());
    };
    Err(BadOption(wrong.to_owned()))
}
