//! What a server answered to an opening handshake.

use ringway_proto::http;

/// The head of a server's answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Where the WebSocket was opened in the end.
    pub(crate) url: String,
}

impl Response {
    pub(crate) fn of(head: &http::Response<'_>) -> Self {
        let owned = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
        Self {
            status: head.status().0,
            headers: head.headers().map(owned).collect(),
            url: String::new(),
        }
    }

    /// The status; 101 if the WebSocket is open.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The value of the first header called `name` in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.headers();
        all.find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The URL that answered, behind all redirects, without user and password. Empty for a stream that the caller opened.
    pub fn url(&self) -> &str {
        &self.url
    }
}
