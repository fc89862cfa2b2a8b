//! A TCP connection to a host: all its addresses in turn, the next one before the last has failed, and through a proxy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_proto::handshake::{
    TunnelAnswer, TunnelRequest, encode_tunnel_request, parse_tunnel_answer_from,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connect_error::ConnectError;
use crate::head::{self, NoHead};
use crate::options::Options;
use crate::url::Url;

/// Time that an address has before the next one is tried beside it (RFC 8305 §5: 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of a name that are tried: each costs an attempt, and a name server may tell thousands.
const ADDRESSES_MAX: usize = 16;

/// Connects to the first address that answers.
pub(crate) async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let found = lookup_host((host, port)).await;
    let addresses = found.map_err(|error| ConnectError::Lookup {
        host: host.to_owned(),
        error,
    })?;
    let addresses = in_turns(addresses.collect());
    let connected = first_of(&addresses).await;
    let stream = connected.map_err(|error| ConnectError::Connect {
        to: format!("{host} port {port}"),
        addresses: addresses.len(),
        error,
    })?;
    // Each send is a message, or the end of several: none shall wait for the answer to another.
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    Ok(stream)
}

/// The first addresses in the system's order, but both families in turns (RFC 8305 §4): one that leads nowhere costs one
/// wait.
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let both = first.len().min(second.len());
    let rest = first
        .split_off(both)
        .into_iter()
        .chain(second.split_off(both));
    let turns = first.into_iter().zip(second);
    turns
        .flat_map(|(one, other)| [one, other])
        .chain(rest.collect::<Vec<_>>())
        .take(ADDRESSES_MAX)
        .collect()
}

async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter();
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(*address))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let ended = match waiting.len() {
            0 => attempts.join_next().await,
            _ => timeout(HEAD_START, attempts.join_next())
                .await
                .unwrap_or(None),
        };
        match ended {
            // Dropping the set ends the other attempts.
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(panicked)) => last = io::Error::other(panicked),
            None => {}
        }
    }
}

/// Asks the proxy at the other end of `stream` for a tunnel to the host of `url`.
pub(crate) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Url,
    url: &Url,
    options: &Options,
) -> Result<(), ConnectError> {
    let mut request = Vec::new();
    encode_tunnel_request(
        &TunnelRequest {
            authority: &url.host_and_port(),
            authorization: proxy.credentials.as_deref(),
        },
        &mut request,
    )?;
    stream.write_all(&request).await.map_err(ConnectError::Io)?;
    let limits = options.head_limits();
    let answer = head::read(stream, |bytes, resume| {
        let progress = parse_tunnel_answer_from(bytes, resume, &limits)?;
        Ok(progress.map(|answer| match answer {
            TunnelAnswer::Open => None,
            TunnelAnswer::Refused(response) => Some(response.status().0),
        }))
    });
    match answer.await {
        Ok((Some(status), _)) => Err(ConnectError::ProxyRefused(status)),
        Ok((None, rest)) if rest.is_empty() => Ok(()),
        // No server speaks before its client does: these bytes are of the proxy itself.
        Ok((None, _)) => Err(ConnectError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            "the proxy sent more than its answer",
        ))),
        Err(NoHead::Bad(fault)) => Err(ConnectError::ProxyFault(fault)),
        Err(NoHead::Ended) => Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into())),
        Err(NoHead::Io(error)) => Err(ConnectError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |n: u8| match n {
            0..=9 => SocketAddr::from(([n, 0, 0, 1], 80)),
            _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n.into()], 80)),
        };
        let turns = |numbers: &[u8]| in_turns(numbers.iter().copied().map(address).collect());
        let expected = |numbers: &[u8]| numbers.iter().copied().map(address).collect::<Vec<_>>();
        assert_eq!(turns(&[]), []);
        assert_eq!(turns(&[1, 2]), expected(&[1, 2]));
        assert_eq!(turns(&[11, 12, 13, 1]), expected(&[11, 1, 12, 13]));
        assert_eq!(turns(&[1, 2, 3, 11, 12]), expected(&[1, 11, 2, 12, 3]));
        let many: Vec<u8> = (10..40).chain([1]).collect();
        let tried = turns(&many);
        assert_eq!((tried.len(), tried[1]), (ADDRESSES_MAX, address(1)));
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let good = listener.local_addr().expect("bound");
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let bad = closed.local_addr().expect("bound");
        drop(closed);
        let stream = first_of(&[bad, bad, good]).await.expect("one listens");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        let refused = first_of(&[bad, bad]).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let none = first_of(&[]).await.expect_err("there is none");
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
