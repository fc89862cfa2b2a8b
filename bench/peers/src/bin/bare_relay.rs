//! The floor of a gateway: a relay on epoll that answers any request with 101, and knows as much of frames as its driver needs.
//! One thread, one buffer, level-triggered, blocking sends. A message of up to 125 bytes is taken apart if a receive holds it
//! alone; longer ones are unmasked with any key, and passed on with their headers.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};

const BUFFER_BYTES: usize = 512 << 10;
/// Of a header of the longest frame.
const ROOM: usize = 10;
const HEAD_BYTES_MAX: usize = 4096;

struct Pair {
    client: TcpStream,
    target: TcpStream,
}

fn watch(epoll: RawFd, fd: RawFd, key: usize) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key as u64 };
    // SAFETY: `event` is valid and outlives the call.
    match unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn accept(listener: &TcpListener, target: SocketAddr) -> io::Result<Pair> {
    let (mut client, _) = listener.accept()?;
    client.set_nodelay(true)?;
    let read = client.read(&mut [0; HEAD_BYTES_MAX])?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    client.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    let target = TcpStream::connect(target)?;
    target.set_nodelay(true)?;
    Ok(Pair { client, target })
}

impl Pair {
    /// Hands on one receive. `Ok(false)`: an end has ended.
    fn up(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let len = self.client.read(buffer)?;
        let received = &mut buffer[..len];
        match len {
            0 => return Ok(false),
            7..=131 => {
                let (key, payload) = received[2..].split_at_mut(4);
                payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
                self.target.write_all(payload)?;
            }
            _ => {
                // As much work as unmasking is.
                received.iter_mut().for_each(|byte| *byte ^= 0x37);
                self.target.write_all(received)?;
            }
        }
        Ok(true)
    }

    fn down(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let len = self.target.read(&mut buffer[ROOM..])?;
        let head = match len {
            0 => return Ok(false),
            1..126 => vec![0x82, len as u8],
            _ => [&[0x82, 127], &(len as u64).to_be_bytes()[..]].concat(),
        };
        let begin = ROOM - head.len();
        buffer[begin..ROOM].copy_from_slice(&head);
        self.client.write_all(&buffer[begin..ROOM + len])?;
        Ok(true)
    }
}

fn main() -> io::Result<()> {
    let places: Vec<SocketAddr> = std::env::args().skip(1).filter_map(|place| place.parse().ok()).collect();
    let [place, target] = places[..] else {
        return Err(io::Error::other("usage: bare-relay LISTEN TARGET, ip:port each"));
    };
    let listener = TcpListener::bind(place)?;
    println!("listening {place}");
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    watch(epoll, listener.as_raw_fd(), 0)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut buffer = vec![0; ROOM + BUFFER_BYTES];
    loop {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: `event` has room for the one that is asked for, and outlives the call.
        if unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) } != 1 {
            continue;
        }
        // Keys count from 2: an even one is a client, the odd one behind it its target.
        let key = event.u64 as usize;
        if key == 0 {
            if let Ok(pair) = accept(&listener, target) {
                let key = 2 * (pairs.len() + 1);
                watch(epoll, pair.client.as_raw_fd(), key)?;
                watch(epoll, pair.target.as_raw_fd(), key + 1)?;
                pairs.push(Some(pair));
            }
        } else if let Some(pair) = &mut pairs[key / 2 - 1] {
            let is_going_on = if key % 2 == 0 { pair.up(&mut buffer) } else { pair.down(&mut buffer) };
            if !is_going_on.unwrap_or(false) {
                pairs[key / 2 - 1] = None;
            }
        }
    }
}
