//! The backplane, through which several servers share their topics.

/// Where the servers of a deployment meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackplaneOptions {
    /// The broker: `nats://host:port`, `tls://` (NATS over TLS), `redis://` or `rediss://` (Redis over TLS), with `user:password@` before the
    /// host if it asks for that. Default: none, and then topics stay on this server.
    pub url: Option<String>,
    /// The first part of all names at the broker: 1 to 64 letters, digits, `_` and `-`. Servers with the same one share their topics.
    /// Default `ringway`.
    pub prefix: String,
}

impl Default for BackplaneOptions {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "ringway".to_owned(),
        }
    }
}

impl BackplaneOptions {
    /// Whether such a backplane can be had.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn check(&self) -> Result<(), String> {
        let Some(url) = &self.url else { return Ok(()) };
        check(url, &self.prefix)
    }

    /// The address without its user and password, to be shown.
    pub fn shown(&self) -> Option<String> {
        let (scheme, rest) = self.url.as_ref()?.split_once("://")?;
        // What follows the host has no '@'; a password may have one.
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Some(format!("{scheme}://{host}"))
    }
}

#[cfg(feature = "backplane")]
fn check(url: &str, prefix: &str) -> Result<(), String> {
    if !ringway_backplane::is_prefix(prefix) {
        return Err(format!(
            "'{prefix}' is no prefix of a backplane: it has 1 to {} letters, digits, '_' and '-'",
            ringway_backplane::PREFIX_BYTES_MAX
        ));
    }
    // Without the address: it may hold a password.
    ringway_backplane::check(url).map_err(|why| {
        format!(
            "the address of the backplane cannot be used: {why}; write it as nats://127.0.0.1:4222"
        )
    })
}

#[cfg(not(feature = "backplane"))]
fn check(_url: &str, _prefix: &str) -> Result<(), String> {
    Err("a backplane needs the feature backplane of the crate ringway".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> BackplaneOptions {
        BackplaneOptions {
            url: Some(url.to_owned()),
            ..BackplaneOptions::default()
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("nats://a:4222", "nats://a:4222"),
            ("redis://u:p@w@[::1]:6379/1", "redis://[::1]:6379/1"),
        ] {
            assert_eq!(at(url).shown().as_deref(), Some(shown));
        }
        assert_eq!(BackplaneOptions::default().shown(), None);
    }

    #[cfg(feature = "backplane")]
    #[test]
    fn what_is_no_backplane_says_why() {
        for url in [
            "nats://127.0.0.1:4222",
            "tls://u:p@b",
            "redis://:p@b/1",
            "rediss://b",
        ] {
            assert_eq!(at(url).check(), Ok(()), "{url}");
        }
        for url in ["", "b", "http://b", "nats://", "redis://", "redis://b/x"] {
            let why = at(url).check().expect_err(url);
            assert!(why.contains("cannot be used"), "{why}");
        }
        let bad = BackplaneOptions {
            prefix: "a.b".to_owned(),
            ..at("nats://b")
        };
        assert!(bad.check().expect_err("no prefix").contains("'a.b'"));
    }
}
