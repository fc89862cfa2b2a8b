//! TLS from `ringway gateway` to its targets: the options, and whom they trust.
//!
//! Owns: the definitions of these options. Never: reads a certificate (`wsperf::load` does) or looks up a name.

use ringway::exit::Fatal;
use ringway::options::ServerOptions;
use ringway::tls::TlsClient;
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, FILE, Switch, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};
use wsperf::load::tls::{StreamTls, TlsTrust};

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn definitions() -> [Definition<ServerOptions>; 4] {
    [
        define("ssl-target", field!(gateway.tls.wanted), Switch,
            "Speak TLS to the target; its certificate must be valid for its name"),
        define("ssl-target-ca", field!(gateway.tls.ca), Unless(FILE),
            "Certificates, PEM, of those that may have signed the target's")
            .default_said("those that this system trusts"),
        define("ssl-target-insecure", field!(gateway.tls.insecure), Switch, "Take any certificate of the target"),
        define("ssl-target-name", field!(gateway.tls.name), Unless(NAME),
            "The name to ask the target for (SNI), which its certificate must be valid for")
            .default_said("the host of the target; localhost of a Unix socket"),
    ]
}

/// A name or an address that a certificate could have.
const NAME: Words<String> = Words {
    value_name: "NAME",
    parse: |name| match rustls::pki_types::ServerName::try_from(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(Wrong::Because(
            " is no name that a certificate could have: give one as vnc.example, or an address"
                .to_owned(),
        )),
    },
    show: |name| Some(name.clone()),
    bare: Bare::Refused,
};

/// Refuses options that need `--ssl-target`, without it.
pub(super) fn check(options: &ServerOptions) -> Resolved<()> {
    let tls = &options.gateway.tls;
    let needs = [
        ("ssl-target-ca", tls.ca.is_some()),
        ("ssl-target-insecure", tls.insecure),
        ("ssl-target-name", tls.name.is_some()),
    ];
    match needs.iter().find(|(_, given)| *given && !tls.wanted) {
        None => Ok(()),
        Some((name, _)) => Err(BadOption(format!(
            "--{name} has no effect without --ssl-target: give that too"
        ))),
    }
}

/// The TLS that targets speak.
#[derive(Clone, Debug)]
pub(super) struct TargetTls {
    /// `None`: they speak none.
    trust: Option<StreamTls>,
    name: Option<String>,
}

impl TargetTls {
    /// Reads the certificates of those that are trusted.
    ///
    /// # Errors
    /// They cannot be read, or there are none.
    pub(super) fn read(options: &ServerOptions) -> Result<Self, Fatal> {
        let tls = &options.gateway.tls;
        let trust = TlsTrust {
            cacert: tls.ca.clone(),
            insecure: tls.insecure,
            resume: false,
        };
        let trust = tls.wanted.then(|| trust.of_streams("ssl-target-ca"));
        Ok(Self {
            trust: trust.transpose().map_err(Fatal::usage)?,
            name: tls.name.clone(),
        })
    }

    /// What connections to `host` need.
    ///
    /// # Errors
    /// No certificate could name the host.
    pub(super) fn of(&self, host: &str) -> Result<Option<TlsClient>, Fatal> {
        let host = self.name.as_deref().unwrap_or(host);
        let client = self.trust.as_ref().map(|trust| trust.to(host));
        client.transpose().map_err(Fatal::usage)
    }
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn names_are_those_that_a_certificate_could_have() {
        for name in ["vnc.example", "127.0.0.1", "::1", "localhost"] {
            assert!(NAME.parse(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "host:1", "[::1]"] {
            assert!(NAME.parse(name).is_err(), "{name}");
        }
    }
}
