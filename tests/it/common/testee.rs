//! A WebSocket server that misbehaves in known ways, to be measured by the load driver. It shares no code with Ringway.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use sha1::Digest as _;

/// What it does with each message.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Holds message `n` of the whole server back for so long, then sends it back.
    Delay(fn(u64) -> Duration),
    /// Sends everything back at once, but from `after` the first message on it says nothing for `length`.
    Stall { after: Duration, length: Duration },
    /// Changes the last byte of every `n`-th message.
    Corrupt(u64),
    /// Answers its `n`-th message on a connection with a frame of a reserved opcode.
    Violate(u64),
    /// Ends the connection in place of answering its `n`-th message.
    Hang(u64),
    /// Sends each message to every open connection, but for every `n`-th delivery.
    Broadcast { loses_every: Option<u64> },
    /// Sends each message to every open connection but its own.
    Others,
    /// A pubsub of one topic in the binary form of `docs/pubsub.md`, with a fault at every `n`-th delivery or publish.
    Pubsub { fault: PubsubFault, every: u64 },
    /// Sends everything back at once, what came together in one piece, and counts the segments that it came in.
    Count,
}

/// What a pubsub does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PubsubFault {
    /// A delivery comes twice.
    Doubles,
    /// A delivery is lost.
    Loses,
    /// A delivery is lost, and a gap says so.
    LosesAndTells,
    /// A publish is refused.
    Refuses,
}

/// A running server. Its threads end with their connections.
#[derive(Debug)]
pub struct Testee {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

type Outgoing = (Instant, Instant, Vec<u8>);

#[derive(Debug)]
struct Shared {
    behaviour: Behaviour,
    messages: AtomicU64,
    deliveries: AtomicU64,
    first: OnceLock<Instant>,
    /// The next connection's number.
    peer: AtomicU64,
    peers: Mutex<Vec<(u64, Sender<Outgoing>)>>,
    /// How long each message really was held.
    held: Mutex<Vec<Duration>>,
    /// TCP segments with data that came, of connections that ended.
    segments: AtomicU64,
}

impl Testee {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            behaviour,
            messages: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            first: OnceLock::new(),
            peer: AtomicU64::new(0),
            peers: Mutex::new(Vec::new()),
            held: Mutex::new(Vec::new()),
            segments: AtomicU64::new(0),
        });
        let of_threads = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = of_threads.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// TCP segments with data, and messages, of connections that ended.
    pub fn segments(&self) -> (f64, f64) {
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        (figure(&self.shared.segments), figure(&self.shared.messages))
    }

    /// The time that a share of the messages was held at most.
    pub fn held(&self, quantile: f64) -> Duration {
        let mut held = self.shared.held.lock().expect("unpoisoned").clone();
        held.sort_unstable();
        let last = held.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let at = (held.len() as f64 * quantile) as usize;
        held[at.min(last)]
    }
}

fn serve(mut stream: TcpStream, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(early) = accept(&mut stream) else {
        return;
    };
    let Ok(writing) = stream.try_clone() else {
        return;
    };
    if matches!(shared.behaviour, Behaviour::Count) {
        return count(stream, early, shared);
    }
    let (outgoing, queue) = channel();
    let me = shared.peer.fetch_add(1, Ordering::Relaxed);
    if matches!(
        shared.behaviour,
        Behaviour::Broadcast { .. } | Behaviour::Others
    ) {
        shared
            .peers
            .lock()
            .expect("unpoisoned")
            .push((me, outgoing.clone()));
    }
    let of_writer = shared.clone();
    std::thread::spawn(move || write(writing, &queue, &of_writer));
    let mut frames = Frames {
        stream,
        bytes: early,
    };
    let mut number = 0;
    while let Ok((first, payload)) = frames.next() {
        if first == 0x88 {
            let now = Instant::now();
            let _ = outgoing.send((now, now, encode(0x88, &payload)));
            return;
        }
        number += 1;
        if !answer(shared, (me, &outgoing), first, payload, number) {
            let _ = frames.stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// False: the connection is to end.
fn answer(
    shared: &Shared,
    (me, to): (u64, &Sender<Outgoing>),
    first: u8,
    mut payload: Vec<u8>,
    number: u64,
) -> bool {
    let now = Instant::now();
    let begun = *shared.first.get_or_init(|| now);
    let nth = shared.messages.fetch_add(1, Ordering::Relaxed) + 1;
    let mut release = now;
    match shared.behaviour {
        Behaviour::Delay(delay) => release = now + delay(nth),
        Behaviour::Stall { after, length } => {
            let (from, to) = (begun + after, begun + after + length);
            if (from..to).contains(&now) {
                release = to;
            }
        }
        Behaviour::Corrupt(every) if nth.is_multiple_of(every) => {
            if let Some(last) = payload.last_mut() {
                *last ^= 1;
            }
        }
        Behaviour::Hang(at) if number == at => return false,
        Behaviour::Violate(at) if number == at => {
            return to.send((now, now, encode(0x83, b""))).is_ok();
        }
        Behaviour::Corrupt(_) | Behaviour::Hang(_) | Behaviour::Violate(_) => {}
        Behaviour::Broadcast { loses_every } => {
            broadcast(shared, &encode(first, &payload), loses_every, None);
            return true;
        }
        Behaviour::Others => {
            broadcast(shared, &encode(first, &payload), None, Some(me));
            return true;
        }
        Behaviour::Pubsub { fault, every } => {
            let (id, rest) = payload[2..].split_at(4);
            let refused = fault == PubsubFault::Refuses && nth.is_multiple_of(every);
            if payload[0] == 1 {
                let mut peers = shared.peers.lock().expect("unpoisoned");
                peers.push((me, to.clone()));
            } else if refused {
                let error = [&[133, 7], id, b"not now"].concat();
                return to.send((now, now, encode(0x82, &error))).is_ok();
            } else {
                publish(shared, rest, fault, every);
            }
            let ack = encode(0x82, &[&[129, 0], id].concat());
            return to.send((now, now, ack)).is_ok();
        }
        Behaviour::Count => unreachable!("it has a loop of its own"),
    }
    to.send((now, release, encode(first, &payload))).is_ok()
}

fn broadcast(shared: &Shared, frame: &[u8], loses_every: Option<u64>, but: Option<u64>) {
    let now = Instant::now();
    let mut peers = shared.peers.lock().expect("unpoisoned");
    peers.retain(|(number, peer)| {
        if but == Some(*number) {
            return true;
        }
        let nth = shared.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
        let lost = loses_every.is_some_and(|every| nth.is_multiple_of(every));
        lost || peer.send((now, now, frame.to_vec())).is_ok()
    });
}

/// `publish`: length of the topic, topic, format, data.
fn publish(shared: &Shared, publish: &[u8], fault: PubsubFault, every: u64) {
    let now = Instant::now();
    let (topic, data) = publish.split_at(1 + usize::from(publish[0]));
    let event = [&[130, 0, 0, 0, 0, 0], topic, &[0; 8], &data[1..]].concat();
    let gap = [&[131, 0, 0, 0, 0, 0], topic, &1_u64.to_be_bytes()].concat();
    let mut peers = shared.peers.lock().expect("unpoisoned");
    peers.retain(|(_, peer)| {
        let nth = shared.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
        let sent: &[&[u8]] = match fault {
            PubsubFault::Doubles if nth.is_multiple_of(every) => &[&event, &event],
            PubsubFault::Loses if nth.is_multiple_of(every) => &[],
            PubsubFault::LosesAndTells if nth.is_multiple_of(every) => &[&gap],
            _ => &[&event],
        };
        let mut sent = sent.iter();
        sent.all(|event| peer.send((now, now, encode(0x82, event))).is_ok())
    });
}

/// Sends everything back; what came in one piece goes in one piece.
fn count(stream: TcpStream, early: Vec<u8>, shared: &Shared) {
    let mut frames = Frames {
        stream,
        bytes: early,
    };
    let mut back = Vec::new();
    let mut ends = false;
    while !ends && let Ok((first, payload)) = frames.next() {
        ends = first == 0x88;
        let is_message = u64::from(!ends);
        shared.messages.fetch_add(is_message, Ordering::Relaxed);
        back.extend_from_slice(&encode(first, &payload));
        if frames.bytes.is_empty() || ends {
            let segments = super::process::data_segments_in(&frames.stream);
            if ends {
                // The handshake's and the Close's are not of messages.
                let of_messages = segments.saturating_sub(2);
                shared.segments.fetch_add(of_messages, Ordering::Relaxed);
            }
            if frames.stream.write_all(&back).is_err() {
                return;
            }
            back.clear();
        }
    }
    let _ = frames.stream.shutdown(std::net::Shutdown::Both);
}

fn write(mut stream: TcpStream, queue: &Receiver<Outgoing>, shared: &Shared) {
    for (came, release, frame) in queue {
        std::thread::sleep(release.saturating_duration_since(Instant::now()));
        if stream.write_all(&frame).is_err() {
            return;
        }
        if matches!(shared.behaviour, Behaviour::Delay(_)) {
            shared.held.lock().expect("unpoisoned").push(came.elapsed());
        }
        if frame[0] == 0x88 {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// The opening handshake; returns what came behind the request.
fn accept(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let key = key.ok_or(io::ErrorKind::InvalidData)?.trim();
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes())?;
    Ok(bytes.split_off(end))
}

fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => {
            bytes.extend_from_slice(&piece[..len]);
            Ok(())
        }
    }
}

struct Frames {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Frames {
    /// The next frame, unmasked; only whole ones of less than 64 KiB come here.
    fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.fill(8)?;
        let (len, at) = match self.bytes[1] & 0x7F {
            126 => (
                usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
                4,
            ),
            len => (usize::from(len), 2),
        };
        self.fill(at + 4 + len)?;
        let rest = self.bytes.split_off(at + 4 + len);
        let frame = std::mem::replace(&mut self.bytes, rest);
        let key = &frame[at..at + 4];
        let unmask = |(byte, key): (&u8, &u8)| byte ^ key;
        let payload = frame[at + 4..]
            .iter()
            .zip(key.iter().cycle())
            .map(unmask)
            .collect();
        Ok((frame[0], payload))
    }

    /// A masked frame has 6 bytes at least; a Close with a code has 8.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        while self.bytes.len() < len {
            if self.bytes.len() >= 6 && self.bytes[1] == 0x80 && len == 8 {
                self.bytes.resize(8, 0);
                break;
            }
            read_some(&mut self.stream, &mut self.bytes)?;
        }
        Ok(())
    }
}

fn encode(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(len),
        _ => {
            frame.push(126);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes()[6..]);
        }
    }
    frame.extend_from_slice(payload);
    frame
}
