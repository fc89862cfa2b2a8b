//! Whom a connection belongs to, as the worker that relays it tells in a PROXY header.

use std::io;
use std::net::SocketAddr;

use ringway_proto::proxy_protocol::{self, HEADER_BYTES_MAX, Proxied};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes in front of the addresses in a PROXY header of version 2; the last two are the length of the rest.
const HEADER_BEGIN_BYTES: usize = 16;

/// Whom a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// `None`: it came through a Unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) is_tls: bool,
}

impl Peer {
    /// Reads a PROXY header of version 2, and not a byte more.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no PROXY header comes first");
        let mut header = vec![0; HEADER_BEGIN_BYTES];
        stream.read_exact(&mut header).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if HEADER_BEGIN_BYTES + rest > HEADER_BYTES_MAX {
            return Err(bad());
        }
        header.resize(HEADER_BEGIN_BYTES + rest, 0);
        stream.read_exact(&mut header[HEADER_BEGIN_BYTES..]).await?;
        match proxy_protocol::parse(&header) {
            Ok(Some((proxied, len))) if len == header.len() => Ok(Self {
                address: match proxied {
                    Proxied::Client(address) => Some(address),
                    Proxied::Unknown => None,
                },
                is_tls: proxy_protocol::is_tls(&header),
            }),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Option<(Peer, usize)> {
        let mut rest = bytes;
        let peer = Peer::read(&mut rest).await.ok()?;
        Some((peer, rest.len()))
    }

    #[tokio::test]
    async fn a_header_says_whose_connection_it_is_and_leaves_the_request() {
        let client = "[2001:db8::7]:256".parse().expect("an address");
        for (address, is_tls) in [
            (Some(client), true),
            (Some(client), false),
            (None, true),
            (None, false),
        ] {
            let mut bytes = Vec::new();
            let version = proxy_protocol::Version::V2;
            proxy_protocol::encode(version, address, address, is_tls, &mut bytes);
            let header = bytes.len();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let peer = Peer { address, is_tls };
            assert_eq!(read(&bytes).await, Some((peer, 16)));
            for cut in 0..header {
                assert_eq!(read(&bytes[..cut]).await, None);
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, None);
        assert_eq!(
            read(b"PROXY TCP4 192.0.2.7 192.0.2.7 256 256\r\n").await,
            None
        );
        let long = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &[0; 70_000][..]].concat();
        assert_eq!(read(&long).await, None);
    }
}
