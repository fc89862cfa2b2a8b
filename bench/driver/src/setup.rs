//! Connections and opening handshakes. All of them are complete and checked before the first message is sent.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::options::{Mode, Options};
use crate::sys;

/// Most connects in progress: fewer than any listener's backlog.
const CONNECTING_MAX: usize = 64;
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);
const RESPONSE_BYTES_MAX: usize = 4096;

// The example of RFC 6455 §1.3: for a constant key the right answer is constant too.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

enum State {
    Connecting,
    Handshaking { response: Vec<u8> },
    Open,
}

struct Pending {
    socket: OwnedFd,
    state: State,
}

/// Opens all connections of `options`; any failure fails the run.
pub fn connect_all(options: &Options) -> Result<Vec<OwnedFd>, String> {
    let deadline = Instant::now() + SETUP_TIMEOUT;
    let mut open = Vec::with_capacity(options.connections);
    let mut pending: Vec<Pending> = Vec::new();
    while open.len() < options.connections {
        while pending.len() < CONNECTING_MAX && open.len() + pending.len() < options.connections {
            let socket = sys::connect(options.address, options.congestion.as_deref())
                .map_err(|error| format!("cannot connect to {}: {error}", options.address))?;
            pending.push(Pending { socket, state: State::Connecting });
        }
        let mut entries: Vec<_> = pending.iter().map(Pending::poll_entry).collect();
        sys::poll(&mut entries, Duration::from_millis(100)).map_err(|error| format!("poll: {error}"))?;
        for index in (0..pending.len()).rev() {
            if entries[index].revents != 0 {
                pending[index].step(options)?;
                if matches!(pending[index].state, State::Open) {
                    open.push(pending.swap_remove(index).socket);
                }
            }
        }
        if Instant::now() > deadline {
            return Err(format!("only {} of {} connections opened in time", open.len(), options.connections));
        }
    }
    Ok(open)
}

impl Pending {
    fn poll_entry(&self) -> libc::pollfd {
        let events = if matches!(self.state, State::Connecting) { libc::POLLOUT } else { libc::POLLIN };
        libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 }
    }

    fn step(&mut self, options: &Options) -> Result<(), String> {
        match &mut self.state {
            State::Connecting => {
                sys::connect_error(&self.socket)
                    .map_err(|error| format!("cannot connect to {}: {error}", options.address))?;
                sys::reset_on_close(&self.socket).map_err(|error| format!("SO_LINGER: {error}"))?;
                if options.mode == Mode::Tcp {
                    self.state = State::Open;
                    return Ok(());
                }
                let request = request(options.address);
                match sys::send(&self.socket, request.as_bytes()) {
                    Ok(sent) if sent == request.len() => {}
                    other => return Err(format!("cannot send the opening handshake: {other:?}")),
                }
                self.state = State::Handshaking { response: Vec::new() };
            }
            State::Handshaking { response } => {
                let mut bytes = [0; RESPONSE_BYTES_MAX];
                match sys::recv(&self.socket, &mut bytes) {
                    Ok(0) => return Err("the server closed the connection in the opening handshake".into()),
                    Ok(n) => response.extend_from_slice(&bytes[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(format!("opening handshake: {error}")),
                }
                if complete(response)? {
                    self.state = State::Open;
                }
            }
            State::Open => {}
        }
        Ok(())
    }
}

fn request(address: SocketAddr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Whether the response is complete; an error when it is not the one RFC 6455 §4.2.2 demands.
fn complete(response: &[u8]) -> Result<bool, String> {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        if response.len() > RESPONSE_BYTES_MAX {
            return Err("the response to the opening handshake is too long".into());
        }
        return Ok(false);
    };
    if end + 4 != response.len() {
        return Err("the server sent bytes after its handshake that were not asked for".into());
    }
    let head = String::from_utf8_lossy(&response[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        return Err(format!("the server refused the opening handshake: {status}"));
    }
    let header = |name: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("Sec-WebSocket-Accept") != Some(ACCEPT) {
        return Err(format!("wrong Sec-WebSocket-Accept: {:?}", header("Sec-WebSocket-Accept")));
    }
    if let Some(extensions) = header("Sec-WebSocket-Extensions") {
        return Err(format!("the server agreed to extensions that were not offered: {extensions}"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(accept: &str, more: &str) -> Vec<u8> {
        format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {accept}\r\n{more}\r\n").into_bytes()
    }

    #[test]
    fn a_right_response_is_complete_only_at_its_end() {
        let right = response(ACCEPT, "Upgrade: websocket\r\n");
        assert_eq!(complete(&right), Ok(true));
        assert_eq!(complete(&right[..right.len() - 1]), Ok(false));
    }

    #[test]
    fn a_wrong_accept_an_extension_and_early_bytes_are_noticed() {
        assert!(complete(&response("AAAA", "")).unwrap_err().contains("Accept"));
        assert!(complete(&response(ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate\r\n")).is_err());
        assert!(complete(&[response(ACCEPT, ""), b"\x81\x00".to_vec()].concat()).is_err());
        assert!(complete(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err().contains("400"));
    }
}
