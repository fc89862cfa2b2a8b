//! The policy that Flash asks a server for, on the port itself, before it connects there on behalf of a page: so does the Flash that
//! stands in for a WebSocket in old browsers.
//!
//! Owns: what such a request looks like, and the answer. Never: decides whether it is answered.

use std::fmt;
use std::str::FromStr;

/// What Flash sends: 23 bytes, before anything else.
pub const REQUEST: &[u8] = b"<policy-file-request/>\0";

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Something else.
    No,
    /// The beginning of a request for the policy, or nothing yet.
    Incomplete,
    /// A request for the policy. Bytes behind it mean nothing.
    Complete,
}

/// Looks at all bytes that were received so far.
pub fn recognise(bytes: &[u8]) -> Recognised {
    if bytes.starts_with(REQUEST) {
        Recognised::Complete
    } else if REQUEST.starts_with(bytes) {
        Recognised::Incomplete
    } else {
        Recognised::No
    }
}

/// A policy that lets the pages of any site connect to some ports. It is read from these ports: `*`, or numbers and ranges with
/// commas between them, as `80,9000-9010`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    ports: String,
    answer: Vec<u8>,
}

impl Policy {
    /// The answer, with the NUL at its end.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }
}

impl FromStr for Policy {
    type Err = BadPorts;

    fn from_str(ports: &str) -> Result<Self, BadPorts> {
        let is_port = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number)
        };
        let is_range = |text: &str| match text.split_once('-') {
            None => is_port(text).is_some(),
            Some((from, to)) => {
                matches!((is_port(from), is_port(to)), (Some(a), Some(b)) if a <= b)
            }
        };
        if ports != "*" && !ports.split(',').all(is_range) {
            return Err(BadPorts);
        }
        let answer = format!(
            "<cross-domain-policy><allow-access-from domain=\"*\" to-ports=\"{ports}\"/></cross-domain-policy>\0"
        );
        Ok(Self {
            ports: ports.to_owned(),
            answer: answer.into_bytes(),
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ports)
    }
}

/// A text that names no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPorts;

impl fmt::Display for BadPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is neither * nor ports as 80,9000-9010")
    }
}

impl std::error::Error for BadPorts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recognised_with_its_last_byte_and_not_before() {
        for cut in 0..REQUEST.len() {
            assert_eq!(recognise(&REQUEST[..cut]), Recognised::Incomplete);
            let mut wrong = REQUEST[..=cut].to_vec();
            wrong[cut] ^= 0x20;
            assert_eq!(
                recognise(&wrong),
                Recognised::No,
                "{}",
                wrong.escape_ascii()
            );
        }
        assert_eq!(recognise(REQUEST), Recognised::Complete);
        assert_eq!(recognise(&[REQUEST, b"x"].concat()), Recognised::Complete);
        assert_eq!(recognise(b"GET / HTTP/1.1\r\n"), Recognised::No);
    }

    #[test]
    fn a_policy_names_its_ports() {
        let policy: Policy = "80,9000-9010".parse().expect("ports");
        assert_eq!(policy.to_string(), "80,9000-9010");
        assert_eq!(
            policy.answer(),
            b"<cross-domain-policy><allow-access-from domain=\"*\" to-ports=\"80,9000-9010\"/></cross-domain-policy>\0"
        );
        assert!("*".parse::<Policy>().is_ok());
        for wrong in [
            "", "80,", "65536", "9-8", "a", "+80", "80-", "-", "*,80", "80\"", "80 ",
        ] {
            assert_eq!(wrong.parse::<Policy>(), Err(BadPorts), "{wrong}");
        }
    }
}
