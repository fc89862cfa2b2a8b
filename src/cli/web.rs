//! The options of the web process, which `ringway server` and `ringway gateway` share: files, CGI programs and an application on the port
//! of the WebSockets.
//!
//! Owns: their definitions, the texts of their values, and the sentences for those that do not go together. Never: opens a file.

use std::time::Duration;

use ringway::options::{Endpoint, ServerOptions, WebOptions};
use ringway::proto::handshake::Letterhead;
use ringway::proto::http::authority;
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Count, FILE, Switch, Time, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn definitions() -> [Definition<ServerOptions>; 9] {
    [
        define("web", field!(web.dir), Unless(FILE),
            "Directory whose files are served to requests that open no WebSocket. See docs/web.md"),
        define("web-listing", field!(web.listing), Switch, "List a directory of --web that has no index.html, instead of answering 404"),
        define("web-cache-control", field!(web.cache_control), CACHE_CONTROL,
            "The Cache-Control header of files; without text there is none. no-cache: a client asks each time whether the file is still the same"),
        define("cgi-dir", field!(web.cgi_dir), Unless(FILE),
            "Directory of CGI programs: one answers the requests whose path names it, and what follows its name is PATH_INFO. They come \
             before files"),
        define("cgi-timeout", field!(web.cgi_timeout), Time::from(Duration::from_millis(1)),
            "Time in which a CGI program must take or send something, or else the client gets 504; and to exit after its answer"),
        define("http-proxy", field!(web.proxy), Unless(UPSTREAM),
            "Application that answers requests that open no WebSocket, and that are for no program of --cgi-dir and no file of --web: \
             http://host:port or unix:/path"),
        define("http-proxy-timeout", field!(web.proxy_timeout), Time::from(Duration::from_millis(1)),
            "Time in which the application must take or send something, or else the client gets 504; for a connect at most 5s of it"),
        define("web-connections", field!(web.connections), Count(1..=1 << 20, "write it as 1000 or 1k"),
            "Connections that are served for --web, --cgi-dir and --http-proxy at a time, about 20 KiB for each and up to 128 KiB while it moves a \
             body. As many again wait, further ones get 502"),
        define("web-idle-timeout", field!(web.idle_timeout), Time::from(Duration::from_millis(1)),
            "Of such a connection: time for the head of a request, between two requests, and in which a client must send something of a body (408)"),
    ]
}

/// Refuses options that have no effect.
pub(super) fn check(web: &WebOptions) -> Resolved<()> {
    let bad = |name: &str, remedy: &str| {
        let sentence =
            format!("--{name} has no effect without {remedy}: add it, or leave --{name} off");
        Err(BadOption(sentence))
    };
    let defaults = WebOptions::default();
    if web.dir.is_none() && web.listing {
        return bad("web-listing", "--web");
    }
    if web.dir.is_none() && web.cache_control != defaults.cache_control {
        return bad("web-cache-control", "--web");
    }
    if web.cgi_dir.is_none() && web.cgi_timeout != defaults.cgi_timeout {
        return bad("cgi-timeout", "--cgi-dir");
    }
    if web.proxy.is_none() && web.proxy_timeout != defaults.proxy_timeout {
        return bad("http-proxy-timeout", "--http-proxy");
    }
    let any = "--web, --cgi-dir or --http-proxy";
    if !web.is_wanted() && web.connections != defaults.connections {
        return bad("web-connections", any);
    }
    if !web.is_wanted() && web.idle_timeout != defaults.idle_timeout {
        return bad("web-idle-timeout", any);
    }
    Ok(())
}

/// The value of a header.
const CACHE_CONTROL: Words<String> = Words {
    value_name: "VALUE",
    parse: |text| match Letterhead::new("", &[("Cache-Control", text)]) {
        Ok(_) => Ok(text.to_owned()),
        Err(misuse) => Err(Wrong::Because(format!(": {misuse}"))),
    },
    show: |value| Some(value.clone()),
    bare: Bare::Refused,
};

/// `http://host:port` or `unix:/path`.
const UPSTREAM: Words<Endpoint> = Words {
    value_name: "URL",
    parse: parse_upstream,
    show: |place| {
        Some(match place {
            Endpoint::Tcp { host, port } => format!("http://{}", authority(host, port)),
            Endpoint::Unix { path } => format!("unix:{}", path.display()),
        })
    },
    bare: Bare::Refused,
};

fn parse_upstream(text: &str) -> Result<Endpoint, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        let wrong = |why| Wrong::Because(format!(": {why}, as unix:/run/app.sock"));
        return Endpoint::unix(path).map_err(wrong);
    }
    let wrong = || {
        Wrong::not(
            "an application",
            "write it as http://127.0.0.1:5000 or unix:/path",
        )
    };
    let place = text.strip_prefix("http://").ok_or_else(wrong)?;
    match format!("ws://{place}").parse() {
        Ok(Endpoint::Tcp { port: 0, .. }) | Err(_) => Err(wrong()),
        // The zone of a link-local address has no place in an HTTP address.
        Ok(Endpoint::Tcp { host, .. }) if host.contains('%') => Err(wrong()),
        Ok(place) => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn applications_are_read_as_they_are_shown() {
        for text in [
            "http://127.0.0.1:5000",
            "http://[::1]:80",
            "http://app.internal:8000",
            "unix:/run/a b.sock",
        ] {
            let place = UPSTREAM.parse(text).expect("an application");
            assert_eq!(UPSTREAM.show(&place).as_deref(), Some(text));
        }
        for text in [
            "",
            "127.0.0.1:5000",
            "https://127.0.0.1:5000",
            "http://127.0.0.1:0",
            "http://127.0.0.1:5000/app",
            "http://a:b@127.0.0.1:5000",
            "unix:a",
        ] {
            assert!(UPSTREAM.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        let with = |set: fn(&mut WebOptions)| {
            let mut web = WebOptions::default();
            set(&mut web);
            check(&web).map_err(|bad| bad.to_string())
        };
        assert_eq!(with(|_| {}), Ok(()));
        type Set = fn(&mut WebOptions);
        let alone: [(Set, &str); 6] = [
            (
                |web| web.listing = true,
                "--web-listing has no effect without --web:",
            ),
            (
                |web| web.cache_control.clear(),
                "--web-cache-control has no effect without --web:",
            ),
            (
                |web| web.cgi_timeout /= 2,
                "--cgi-timeout has no effect without --cgi-dir:",
            ),
            (
                |web| web.proxy_timeout /= 2,
                "--http-proxy-timeout has no effect without --http-proxy:",
            ),
            (
                |web| web.connections = 1,
                "--web-connections has no effect without --web, --cgi-dir or --http-proxy:",
            ),
            (
                |web| web.idle_timeout /= 2,
                "--web-idle-timeout has no effect without --web, --cgi-dir or --http-proxy:",
            ),
        ];
        for (set, sentence) in alone {
            let why = with(set).expect_err("it has no effect");
            assert!(why.starts_with(sentence), "{why}");
        }
        let both = |web: &mut WebOptions| (web.dir, web.listing) = (Some("/srv".into()), true);
        assert_eq!(with(both), Ok(()));
    }
}
