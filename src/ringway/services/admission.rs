//! Who may come in, and what each client may then do: by the configuration, or by a signed token (`ringway_bus::token`).
//!
//! Owns: where in a request a token stands, and which answer a client without a good one gets. Never: knows a topic.

use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "token")]
use std::time::SystemTime;

use ringway_bus::rights::Rights;
#[cfg(feature = "token")]
use ringway_bus::token::Verifier;

use super::path::Pattern;
use crate::protocol::{Opening, Verdict};

/// The name of a token in a query and in a cookie.
#[cfg(feature = "token")]
const TOKEN: &str = "token";

/// A right of clients, as an option grants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// At the service with this path alone.
    pub service: Option<Pattern>,
    /// To topics that match this, in the syntax of MQTT 5.0 §4.7; empty: to none.
    pub topics: String,
}

impl Right {
    /// To all topics.
    pub fn to_all() -> Self {
        Self {
            service: None,
            topics: "#".to_owned(),
        }
    }

    /// The rights at one service: those that are for it alone, if there are any, otherwise those that are for all.
    pub fn at<'a>(rights: &'a [Self], service: Option<&Pattern>) -> Vec<&'a str> {
        let is_own = |right: &&Self| service.is_some() && right.service.as_ref() == service;
        let has_own = rights.iter().any(|right| is_own(&right));
        let rights = rights.iter().filter(|right| match has_own {
            true => is_own(right),
            false => right.service.is_none(),
        });
        let topics = rights.map(|right| right.topics.as_str());
        topics.filter(|topics| !topics.is_empty()).collect()
    }
}

/// Who may use a service.
#[derive(Clone, Debug)]
pub struct Admission {
    #[cfg(feature = "token")]
    configured: Arc<Rights>,
    /// The configured rights for a client that has no name.
    nameless: Arc<Rights>,
    /// Somebody will ask for clients by what is known of them.
    pub(super) is_listed: bool,
    #[cfg(feature = "token")]
    keys: Arc<[Verifier]>,
    #[cfg(feature = "token")]
    is_token_required: bool,
}

/// A client that may come in.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) rights: Arc<Rights>,
    /// Whom its token names.
    pub(super) subject: Option<Box<str>>,
    /// How long its token is good.
    pub(super) expires_in: Option<Duration>,
}

impl Default for Admission {
    /// Everybody may do everything.
    fn default() -> Self {
        Self::new(Rights::new(&["#"], &["#"]).unwrap_or_default())
    }
}

impl Admission {
    /// Everybody, with the same rights. What is for a [`SUBJECT`](ringway_bus::rights::SUBJECT) is for nobody, unless tokens name one.
    pub fn new(rights: Rights) -> Self {
        Self {
            nameless: Arc::new(rights.for_subject(None).unwrap_or_default()),
            #[cfg(feature = "token")]
            configured: Arc::new(rights),
            is_listed: false,
            #[cfg(feature = "token")]
            keys: Arc::new([]),
            #[cfg(feature = "token")]
            is_token_required: false,
        }
    }

    /// Whether a list of the clients is kept, for the HTTP API: about 150 bytes for each. Default: only if they bring tokens.
    #[must_use]
    pub const fn listed(mut self, is_listed: bool) -> Self {
        self.is_listed = is_listed;
        self
    }

    /// Clients with a token that one of these keys has signed; unless it `is_required`, also clients without any, with the configured
    /// rights. A token stands in `Authorization: Bearer`, in the query as `token=`, or in a cookie `token`: the first of these that is
    /// there counts.
    #[cfg(feature = "token")]
    #[must_use]
    pub fn tokens(mut self, keys: Arc<[Verifier]>, is_required: bool) -> Self {
        (self.keys, self.is_token_required) = (keys, is_required);
        self
    }

    /// Whether clients bring tokens.
    pub(super) fn has_tokens(&self) -> bool {
        #[cfg(feature = "token")]
        return !self.keys.is_empty();
        #[cfg(not(feature = "token"))]
        false
    }

    /// Judges a client, or says how it is refused.
    pub(super) fn judge(&self, opening: &Opening<'_>) -> Result<Admitted, Verdict> {
        #[cfg(feature = "token")]
        if self.has_tokens() {
            match token_of(opening) {
                Some(token) => return self.judge_token(token),
                None if self.is_token_required => {
                    return Err(Verdict::refuse(401, "a token is needed: in Authorization: Bearer, in ?token= or in the cookie token")
                        .header("WWW-Authenticate", "Bearer"));
                }
                None => {}
            }
        }
        let _ = opening;
        Ok(Admitted {
            rights: Arc::clone(&self.nameless),
            subject: None,
            expires_in: None,
        })
    }

    #[cfg(feature = "token")]
    fn judge_token(&self, token: &str) -> Result<Admitted, Verdict> {
        use ringway_bus::token::BadToken;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let mut fault = BadToken::Malformed;
        for key in &*self.keys {
            match key.verify(token, now, &self.configured) {
                Ok(grant) => {
                    return Ok(Admitted {
                        rights: Arc::new(grant.rights),
                        subject: grant.subject.map(Into::into),
                        expires_in: Some(grant.expires_at.saturating_sub(now)),
                    });
                }
                Err(why) => fault = why,
            }
            // Another key may have signed it; what this one has signed, it has judged.
            if !matches!(
                fault,
                BadToken::Malformed | BadToken::SignatureWrong | BadToken::AlgorithmWrong
            ) {
                break;
            }
        }
        let refused = Verdict::refuse(401, &fault.to_string());
        Err(refused.header("WWW-Authenticate", "Bearer error=\"invalid_token\""))
    }
}

#[cfg(feature = "token")]
fn token_of<'a>(opening: &Opening<'a>) -> Option<&'a str> {
    let request = opening.request();
    let text = |value: &'a [u8]| std::str::from_utf8(value).ok();
    let bearer = request.header("authorization").and_then(text);
    // RFC 9110 §11.1: the scheme's case does not matter. Another scheme is for somebody else, a proxy perhaps.
    let bearer = bearer.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let query = request.query().and_then(|query| named(query, '&'));
    let cookies = request.headers();
    let mut cookies = cookies.all("cookie").filter_map(text);
    bearer
        .map(|(_, token)| token.trim())
        .or(query)
        .or_else(|| cookies.find_map(|cookies| named(cookies, ';')))
}

/// The value of `token=` among several. A token needs no escapes, neither in a query nor in a cookie (RFC 7515 §7.1).
#[cfg(feature = "token")]
fn named(pairs: &str, between: char) -> Option<&str> {
    let mut pairs = pairs.split(between).filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(name, value)| (name.trim() == TOKEN).then_some(value.trim()))
}

#[cfg(all(test, feature = "token"))]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_among_other_pairs() {
        assert_eq!(named("a=b&token=x.y-z&c", '&'), Some("x.y-z"));
        assert_eq!(named("session=1; token=t", ';'), Some("t"));
        assert_eq!(named("tokens=1&atoken=2&token", '&'), None);
    }
}
