//! The floor of opening and closing a WebSocket: what the kernel asks for it, on a ring of its own and with nothing around.
//!
//! Per connection one completion of a multishot accept, a receive and a send for the opening handshake, a receive for the peer's
//! Close, and one chain in which the answer leaves and the descriptor is closed, so that Close and FIN share a TCP segment.
//! No limit, no timer, no check of what the peer says: a head ends with an empty line, and what begins like a Close frame is one.
//!
//! With `--end clean` the end is the one that a server owes its peer (RFC 6455, section 7.1.1): it ends its direction, and closes when the peer has
//! ended the other one. A peer that says something behind its Close would else get RST, and might lose the answer.
//!
//! `cargo run --release --example bare_open -- --port 9001 --cpuid 0 --end clean`

#[path = "bare/listen.rs"]
mod listen;

use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, squeue::Flags, types::Fd};
use ringway::proto::handshake::Key;

/// Bytes of a head at most; a connection with a longer one is closed.
const HEAD_BYTES_MAX: usize = 1024;
/// Completions of the kernel that one turn waits for, and room for all of them.
const ENTRIES: u32 = 4096;
/// Close with the code 1000, as a server sends it.
const CLOSE: [u8; 4] = [0x88, 2, 3, 232];
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// The user data of the accept; every other completion has its descriptor there.
const ACCEPT: u64 = u64::MAX;

/// A connection. It stays where it is: the kernel writes into it.
struct Connection {
    bytes: [u8; HEAD_BYTES_MAX],
    filled: usize,
    response: Vec<u8>,
    is_open: bool,
}

struct Bare {
    ring: IoUring,
    listener: Fd,
    /// By descriptor; the memory of one that is closed is for the next with its number.
    connections: Vec<Option<Box<Connection>>>,
    /// The peer's end is waited for.
    ends_clean: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = listen::options();
    let listener = listen::listen(&options)?;
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_no_sqarray()
        .setup_cqsize(ENTRIES * 4);
    let mut bare = Bare {
        ring: builder.build(ENTRIES)?,
        listener: Fd(listener.as_raw_fd()),
        connections: Vec::new(),
        ends_clean: options.get("--end").is_some_and(|end| end == "clean"),
    };
    bare.accept();
    let mut done = Vec::new();
    loop {
        bare.ring.submit_and_wait(1)?;
        done.extend(bare.ring.completion().map(|entry| {
            let more = io_uring::cqueue::more(entry.flags());
            (entry.user_data(), entry.result(), more)
        }));
        for (token, result, more) in done.drain(..) {
            match usize::try_from(token) {
                _ if token == ACCEPT => bare.accepted(result, more),
                Ok(fd) => bare.received(fd, result),
                Err(_) => {}
            }
        }
    }
}

impl Bare {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: an entry points into a boxed connection or to a constant. A box is never freed, and is used again only by the
        // next connection with its descriptor, which the kernel gives out after the last operation on this one.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("the ring takes entries");
        }
    }

    fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(self.listener).flags(libc::SOCK_CLOEXEC);
        self.push(&entry.build().user_data(ACCEPT));
    }

    fn accepted(&mut self, result: i32, more: bool) {
        if let Ok(fd) = usize::try_from(result) {
            let len = self.connections.len().max(fd + 1);
            self.connections.resize_with(len, || None);
            let connection = self.connections[fd].get_or_insert_with(|| {
                Box::new(Connection {
                    bytes: [0; HEAD_BYTES_MAX],
                    filled: 0,
                    response: Vec::new(),
                    is_open: false,
                })
            });
            (connection.filled, connection.is_open) = (0, false);
            self.receive(fd);
        }
        if !more {
            self.accept();
        }
    }

    fn receive(&mut self, fd: usize) {
        let connection = self.connections[fd].as_mut().expect("it was accepted");
        let room = &mut connection.bytes[connection.filled..];
        let len = u32::try_from(room.len()).expect("a small buffer");
        let entry = opcode::Recv::new(descriptor(fd), room.as_mut_ptr(), len).build();
        self.push(&entry.user_data(fd as u64));
    }

    fn received(&mut self, fd: usize, result: i32) {
        let Some(connection) = self.connections[fd].as_mut() else {
            return;
        };
        let len = usize::try_from(result).unwrap_or(0);
        connection.filled += len;
        let bytes = &connection.bytes[..connection.filled];
        if len == 0 || bytes.len() == HEAD_BYTES_MAX {
            return self.close(fd);
        }
        if connection.is_open {
            let is_close = bytes[0] == CLOSE[0];
            if is_close && self.ends_clean {
                connection.filled = 0;
                let socket = i32::try_from(fd).expect("descriptors are small");
                let flags = SEND_FLAGS | libc::MSG_MORE;
                // SAFETY: the pointer leads to a constant of four bytes.
                unsafe { libc::send(socket, CLOSE.as_ptr().cast(), 4, flags) };
                // SAFETY: takes no pointer.
                unsafe { libc::shutdown(socket, libc::SHUT_WR) };
                return self.receive(fd);
            }
            if is_close {
                let send = opcode::Send::new(descriptor(fd), CLOSE.as_ptr(), 4);
                let flags = Flags::SKIP_SUCCESS | Flags::IO_LINK;
                let send = send.flags(SEND_FLAGS | libc::MSG_MORE).build();
                self.push(&send.flags(flags).user_data(u64::from(u32::MAX)));
            }
            return self.close(fd);
        }
        if !bytes.ends_with(b"\r\n\r\n") {
            return self.receive(fd);
        }
        let Some(key) = key_of(bytes) else {
            return self.close(fd);
        };
        connection.response.clear();
        connection.response.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        connection.response.extend_from_slice(&key.accept());
        connection.response.extend_from_slice(b"\r\n\r\n");
        (connection.filled, connection.is_open) = (0, true);
        let (pointer, len) = (connection.response.as_ptr(), connection.response.len());
        let len = u32::try_from(len).expect("a short response");
        let send = opcode::Send::new(descriptor(fd), pointer, len).flags(SEND_FLAGS);
        self.push(
            &send
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(u64::from(u32::MAX)),
        );
        self.receive(fd);
    }

    /// Nothing is armed on it: its one receive has just completed.
    fn close(&mut self, fd: usize) {
        let entry = opcode::Close::new(descriptor(fd)).build();
        self.push(
            &entry
                .flags(Flags::SKIP_SUCCESS)
                .user_data(u64::from(u32::MAX)),
        );
    }
}

fn key_of(head: &[u8]) -> Option<Key> {
    const NAME: &[u8] = b"sec-websocket-key:";
    let mut lines = head.split(|&byte| byte == b'\n');
    let line = lines
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
    Key::parse(line[NAME.len()..].trim_ascii())
}

fn descriptor(fd: usize) -> Fd {
    Fd(i32::try_from(fd).expect("descriptors are small"))
}
