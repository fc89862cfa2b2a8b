//! The options of opening handshakes.

use crate::proto::Network;
use crate::proto::flash_policy::Policy;
use crate::proto::handshake::{Letterhead, OriginPattern, Versions};

/// What an operator wants of opening handshakes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpeningOptions {
    /// The origins whose pages may connect; the pages of others get 403. Empty, the default: every origin.
    pub allowed_origins: Vec<OriginPattern>,
    /// Whether the origin `null` may connect while `allowed_origins` is not empty. Default: no.
    pub allow_null_origin: bool,
    /// Whether a request without an origin, which no browser sends, gets 403. Default: no.
    pub require_origin: bool,
    /// The versions of the protocol that are served. Default: 13.
    pub versions: Versions,
    /// How many proxies append to `X-Forwarded-For`: the n-th address from the right is the client's. Default: the header
    /// is not read.
    pub forwarded_by: Option<usize>,
    /// The proxies whose `X-Forwarded-For` is read. Empty, the default: every peer's.
    pub proxies: Vec<Network>,
    /// The proxies whose connections begin with a PROXY header, version 1 or 2, which names the client; one that begins
    /// with none is reset. A Unix socket's peer is one of them if there are any. Default: none.
    pub proxy_protocol: Vec<Network>,
    /// Fields that every answer has, the 101 and refusals alike: name and value. Default: none.
    pub headers: Vec<(String, String)>,
    /// The `Server` field of every answer; empty for none. Default: `ringway/` and the version.
    pub server_name: String,
    /// A path on which GET and HEAD are answered 200, and 503 while the worker drains. Default: none.
    pub health_path: Option<String>,
    /// Whether the protocols before RFC 6455 are served beside it: Hixie-75 and Hixie-76, and versions 7 and 8 whatever `versions`
    /// says. Their proof that a request came from a WebSocket is weak or missing. To clients of Hixie's, binary messages and Pings
    /// fail with [`Misuse::NotInHixie`](crate::Misuse::NotInHixie). Default: no.
    pub legacy: bool,
    /// The ports that Flash may connect to: what asks for a policy in place of a request gets one. Default: no policy.
    pub flash_policy: Option<Policy>,
}

impl Default for OpeningOptions {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allow_null_origin: false,
            require_origin: false,
            versions: Versions::default(),
            forwarded_by: None,
            proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            headers: Vec::new(),
            server_name: concat!("ringway/", env!("CARGO_PKG_VERSION")).to_owned(),
            health_path: None,
            legacy: false,
            flash_policy: None,
        }
    }
}

impl OpeningOptions {
    /// The letterhead of every answer; `None` if it is the usual one.
    ///
    /// # Errors
    /// One sentence with the remedy: a field or the name cannot be sent.
    pub(crate) fn letterhead(&self) -> Result<Option<Letterhead>, String> {
        if self.headers.is_empty() && self.server_name == Self::default().server_name {
            return Ok(None);
        }
        let pairs = self.headers.iter();
        let fields: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let letterhead = Letterhead::new(&self.server_name, &fields);
        letterhead.map(Some).map_err(|misuse| {
            format!("a header of every answer cannot be sent: {misuse}; correct it or leave it out")
        })
    }
}
