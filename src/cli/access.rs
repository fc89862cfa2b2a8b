//! Who may use the topics of a server: rights, tokens, and the HTTP API.
//!
//! Owns: these options, and reading the files that they name. Never: judges a client (`ringway::services` does).

use std::path::Path;
use std::sync::Arc;

use ringway::exit::Fatal;
use ringway::options::ServerOptions;
use ringway::services::{Admission, Pattern, Right, Rights, Verifier};
use ringway_command::judge::BadOption;
use ringway_command::kinds::{Bare, FILE, Switch, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};

use super::options::FILES;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn definitions() -> [Definition<ServerOptions>; 7] {
    [
        define("may-publish", field!(may_publish), RIGHTS,
            "Topics that clients of a pubsub may publish to, as chat/+,news/#, and paths of a broadcast, as /live/#; for one --service \
             alone as /chat=room/#, and none there as /chat=; {sub} is the subject of the client's token; empty = none"),
        define("may-subscribe", field!(may_subscribe), RIGHTS,
            "Topics and patterns that they may subscribe to, written the same"),
        define("token-key", field!(token_keys), FILES,
            "Clients of a broadcast, pubsub or gateway bring a signed token (JWT) that one of these keys has signed: a file with a secret of at \
             least 32 bytes (HS256), or with a public key in PEM, Ed25519 (EdDSA) or RSA (RS256). Its claims publish and subscribe take the place of \
             --may-publish and --may-subscribe"),
        define("token-issuer", field!(token_issuer), Unless(NAME), "The issuer (iss) that tokens must name").default_said("any"),
        define("token-audience", field!(token_audience), Unless(NAME), "The audience (aud) that tokens must name")
            .default_said("none; a token that names one is refused"),
        define("token-required", field!(token_required), Switch,
            "Whether a client without a token is refused with 401. Otherwise it may do what --may-publish and --may-subscribe say"),
        define("api-key", field!(api_key), Unless(FILE),
            "Turns the HTTP API on, below /api/ on --port, for those who send the first line of this file, of at least 16 bytes, as \
             `Authorization: Bearer`")
            .default_said("no API"),
    ]
}

pub(super) const NAME: Words<String> = Words {
    value_name: "NAME",
    parse: |name| match name.is_empty() {
        true => Err(Wrong::Because(" is empty: leave it off".to_owned())),
        false => Ok(name.to_owned()),
    },
    show: |name| Some(name.clone()),
    bare: Bare::Refused,
};

/// Topics and patterns with commas between them; with a path and `=` before it, for the service at that path.
const RIGHTS: Words<Vec<Right>> = Words {
    value_name: "PATTERN,...",
    parse: |list| {
        let rights = list.split(',').filter(|right| !right.is_empty());
        rights.map(parse_right).collect()
    },
    show: |rights| {
        let shown = rights.iter().map(|right| match &right.service {
            Some(path) => format!("{path}={}", right.topics),
            None => right.topics.clone(),
        });
        Some(shown.collect::<Vec<_>>().join(","))
    },
    bare: Bare::Refused,
};

fn parse_right(text: &str) -> Result<Right, Wrong> {
    let (service, topics) = match text.split_once('=') {
        Some((path, topics)) if path.starts_with('/') => {
            let path = Pattern::new(path).map_err(|bad| Wrong::Because(format!(": {bad}")))?;
            (Some(path), topics)
        }
        _ => (None, text),
    };
    // Nothing behind a path is no right there.
    if service.is_none() || !topics.is_empty() {
        Rights::new(&[topics], &[]).map_err(|bad| Wrong::Because(format!(": {bad}")))?;
    }
    Ok(Right {
        service,
        topics: topics.to_owned(),
    })
}

/// Refuses rights at a service that there is not.
pub(super) fn check(options: &ServerOptions) -> Result<(), BadOption> {
    for (name, rights) in [
        ("may-publish", &options.may_publish),
        ("may-subscribe", &options.may_subscribe),
    ] {
        for path in rights.iter().filter_map(|right| right.service.as_ref()) {
            if !options
                .applications
                .iter()
                .any(|(pattern, _)| pattern == path)
            {
                return Err(BadOption(format!(
                    "--{name} names {path}=, and no --service has this path: write it as it stands there"
                )));
            }
        }
        let services = options.applications.iter().map(|(path, _)| Some(path));
        for service in services.chain([None]) {
            Rights::new(&Right::at(rights, service), &[])
                .map_err(|bad| BadOption(format!("--{name}: {bad}")))?;
        }
    }
    Ok(())
}

/// The keys of tokens, read from their files.
pub(super) fn keys(options: &ServerOptions) -> Result<Arc<[Verifier]>, Fatal> {
    options
        .token_keys
        .iter()
        .map(|file| key(options, file))
        .collect()
}

fn key(options: &ServerOptions, file: &Path) -> Result<Verifier, Fatal> {
    let mut verifier = verifier("--token-key", file)?;
    if let Some(issuer) = &options.token_issuer {
        verifier = verifier.with_issuer(issuer);
    }
    if let Some(audience) = &options.token_audience {
        verifier = verifier.with_audience(audience);
    }
    Ok(verifier)
}

/// The key in a file: a secret (HS256), or in PEM a public key of Ed25519 (EdDSA) or RSA (RS256).
pub(super) fn verifier(option: &str, file: &Path) -> Result<Verifier, Fatal> {
    let bytes = read(option, file)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("ssh-") || text.starts_with('{') {
        return Err(Fatal::usage(format!(
            "{option} {}: this is a key in another form: give a public Ed25519 or RSA key in PEM, or a secret",
            file.display()
        )));
    }
    let verifier = match text.find("-----BEGIN") {
        Some(at) => {
            let pem = &text.as_bytes()[at..];
            Verifier::eddsa(pem).or_else(|bad| Verifier::rs256(pem).map_err(|_| bad))
        }
        // One line break at the end is the editor's.
        None => {
            let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            Verifier::hs256(secret.strip_suffix(b"\r").unwrap_or(secret))
        }
    };
    verifier.map_err(|bad| Fatal::usage(format!("{option} {}: {bad}", file.display())))
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>, Fatal> {
    std::fs::read(file).map_err(|error| {
        Fatal::usage(format!(
            "{option} {}: {error}; give a file that this user can read",
            file.display()
        ))
    })
}

/// Who may use the service at a path.
pub(super) fn admission(
    options: &ServerOptions,
    service: Option<&Pattern>,
    keys: &Arc<[Verifier]>,
) -> Admission {
    let publish = Right::at(&options.may_publish, service);
    let subscribe = Right::at(&options.may_subscribe, service);
    // `check` has refused others.
    let rights = Rights::new(&publish, &subscribe).unwrap_or_default();
    Admission::new(rights)
        .listed(options.api_key.is_some())
        .tokens(Arc::clone(keys), options.token_required)
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn a_right_is_for_all_services_or_for_one() {
        let text = "#,/chat/*=room/+,/live/#";
        let rights = RIGHTS.parse(text).expect("rights");
        assert_eq!(RIGHTS.show(&rights).as_deref(), Some(text));
        let chat = Pattern::new("/chat/*").expect("a path");
        assert_eq!(Right::at(&rights, Some(&chat)), ["room/+"]);
        assert_eq!(Right::at(&rights, None), ["#", "/live/#"]);
        let other = Pattern::new("/other").expect("a path");
        assert_eq!(Right::at(&rights, Some(&other)), ["#", "/live/#"]);
        assert!(RIGHTS.parse("a/#/b").is_err() && RIGHTS.parse("/a b=c").is_err());
    }
}
