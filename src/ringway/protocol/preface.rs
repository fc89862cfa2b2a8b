//! The PROXY header in front of an opening handshake, from peers that the operator named.

use std::net::SocketAddr;

use super::{Connection, Head, Shared, Speaks};
use crate::io::sys;
use crate::proto::proxy_protocol::{self, BadHeader, HEADER_BYTES_MAX, Proxied};

/// How far the beginning of an accepted connection was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preface {
    /// A PROXY header is arriving. The head's bytes are its beginning.
    Arriving,
    /// There is none, or it said that the proxy does not know whose the connection is.
    #[default]
    Silent,
    /// It named the client.
    Names(SocketAddr),
}

impl Preface {
    /// The address of the client whose connection has the descriptor `fd`.
    pub(super) fn peer(self, fd: crate::io::Fd) -> Option<SocketAddr> {
        match self {
            Self::Names(client) => Some(client),
            Self::Arriving | Self::Silent => sys::peer_address(fd),
        }
    }
}

impl Shared {
    /// Whether the next bytes of the connection are a PROXY header.
    pub(crate) fn expects_preface(&self, conn: &mut Connection) -> bool {
        let proxies = &self.protocol.config.opening.proxy_protocol;
        if proxies.is_empty() {
            return false;
        }
        match conn.speaks.head() {
            Some(head) => head.preface == Preface::Arriving,
            // The peer of a Unix socket is on this machine, and the file's mode says who may connect.
            None => sys::peer_address(conn.link.fd)
                .is_none_or(|peer| proxies.iter().any(|proxy| proxy.contains(peer.ip()))),
        }
    }

    /// Reads a PROXY header, as far as it has arrived. Returns how many bytes of `buf` belong to it: all of them, unless
    /// it is complete.
    pub(crate) fn feed_preface(&mut self, conn: &mut Connection, buf: &[u8]) -> usize {
        let Speaks::Opening(kept) = &mut conn.speaks else {
            unreachable!("a header comes before the handshake")
        };
        let mut head: Box<Head> = kept.take().unwrap_or_default();
        let before = head.bytes.len();
        head.push(buf, HEADER_BYTES_MAX);
        match proxy_protocol::parse(&head.bytes) {
            Ok(None) => {
                head.preface = Preface::Arriving;
                *kept = Some(head);
                buf.len()
            }
            Ok(Some((proxied, header_bytes))) => {
                let preface = match proxied {
                    Proxied::Client(client) => Preface::Names(client),
                    Proxied::Unknown => Preface::Silent,
                };
                *kept = Some(Box::new(Head {
                    preface,
                    ..Head::default()
                }));
                header_bytes.saturating_sub(before)
            }
            Err(bad) => {
                self.reject_preface(conn, bad);
                buf.len()
            }
        }
    }

    /// Resets a connection whose beginning is no PROXY header although its peer was named as a proxy: whose connection
    /// it is cannot be said, and the proxy is set up wrongly.
    #[cold]
    fn reject_preface(&mut self, conn: &mut Connection, bad: BadHeader) {
        self.counters.proxy_headers_bad += 1;
        if std::mem::replace(&mut self.protocol.told.preface, true) {
            tracing::debug!("connection reset: {bad}");
        } else {
            tracing::warn!(
                "a connection from an address of --proxy-protocol was reset: {bad} (further ones are not logged)"
            );
        }
        // What else it sends in this turn is discarded.
        conn.speaks = Speaks::Over;
        self.protocol.commands.reset(conn.link.id);
    }
}
