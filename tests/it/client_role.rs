//! The client's role on real sockets: workers of clients against the server program, closed ports, silent listeners.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::common::client::noise;
use crate::common::{Server, on_both_tiers};
use ringway::io::epoll::Epoll;
use ringway::io::uring::{Options, Uring};
use ringway::io::{ConnectOptions, Errno, Io};
use ringway::proto::{CloseCode, Kind, Message, Role};
use ringway::worker::{
    App, Closed, Config, Context, Failure, Handle, OpeningRequest, Prepared, Scope, Worker,
};
use ringway::{Chunk, ConnId, Counters, Deflate, Receiving, Traffic};

const CONNECTIONS: u32 = 64;

/// Messages of each connection, one after the other.
const ROUNDS: usize = 20;

/// Payload bytes, in turn.
const SIZES: [usize; 3] = [20, 300 << 10, 20];

on_both_tiers!(
    messages_of_many_connections_come_back,
    compressed_messages_come_in_pieces,
    a_closed_port_is_told,
    a_listener_that_never_answers_times_out,
    the_source_address_is_as_asked,
);

/// Dials once for each tag, sends one message after the other on each, checks every answer, and closes.
struct Clients {
    dial: ConnectOptions,
    request: OpeningRequest,
    count: u32,
    begun: u32,
    prepared: Option<Prepared>,
    payloads: Vec<Vec<u8>>,
    /// Messages that each connection has got back.
    heard: BTreeMap<u32, usize>,
    /// What has arrived of messages in pieces.
    arrived: BTreeMap<u32, Vec<u8>>,
    connected: u32,
    failures: Vec<Failure>,
    /// The first connection, and the last that the kernel said of it.
    first: Option<ConnId>,
    traffic: Option<Traffic>,
    /// How each ended: whether cleanly, and with which code.
    closed: Vec<(bool, CloseCode)>,
    /// By the worker, when all is over.
    counted: Counters,
}

impl Clients {
    fn new(dial: ConnectOptions, count: u32) -> Self {
        Self {
            dial,
            request: OpeningRequest::new("localhost", "/echo", &[]).expect("a good request"),
            count,
            begun: 0,
            prepared: None,
            payloads: SIZES
                .iter()
                .zip(1..)
                .map(|(len, seed)| noise(seed, *len))
                .collect(),
            heard: BTreeMap::new(),
            arrived: BTreeMap::new(),
            connected: 0,
            failures: Vec::new(),
            first: None,
            traffic: None,
            closed: Vec::new(),
            counted: Counters::default(),
        }
    }

    fn is_done(&self) -> bool {
        self.failures.len() + self.closed.len() == self.count as usize
    }

    /// Every other message is prepared.
    fn send(&self, context: &mut Context<'_>) {
        let round = self.heard.get(&context.tag()).copied().unwrap_or(0);
        let index = round % SIZES.len();
        match &self.prepared {
            Some(prepared) if round.is_multiple_of(2) => context.send_prepared(prepared, index),
            _ => context.send(Kind::Binary, &self.payloads[index]),
        }
        .expect("one message at a time");
    }

    /// A message has come back: the next one follows.
    fn hear(&mut self, context: &mut Context<'_>, payload: &[u8]) {
        let round = self.heard.entry(context.tag()).or_default();
        let expected = &self.payloads[*round % SIZES.len()];
        assert!(payload == expected, "round {round} differs");
        *round += 1;
        if *round < ROUNDS {
            self.send(context);
        } else {
            context
                .close(CloseCode::NormalClosure, "")
                .expect("the first Close");
        }
    }
}

impl App for Clients {
    type Session = ();

    fn connected(&mut self, _scope: &mut Scope<'_>, (): &mut ()) {
        self.connected += 1;
    }

    fn failed(&mut self, _scope: &mut Scope<'_>, (): (), failed: Failure) {
        self.failures.push(failed);
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.send(context);
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        assert_eq!(message.kind(), Kind::Binary);
        self.hear(context, message.payload());
    }

    fn chunk(&mut self, context: &mut Context<'_>, (): &mut (), chunk: Chunk<'_>) {
        let arrived = self.arrived.entry(context.tag()).or_default();
        assert_eq!(chunk.message_begins, arrived.is_empty());
        arrived.extend_from_slice(chunk.payload);
        if chunk.message_ends {
            let message = std::mem::take(arrived);
            self.hear(context, &message);
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        let request = Arc::new(self.request.clone());
        while self.begun < self.count {
            let begun = reach.connect(&self.dial, &request, self.begun);
            let id = begun.expect("descriptors and ports");
            self.first.get_or_insert(id);
            self.begun += 1;
        }
        let traffic = self.first.and_then(|first| reach.traffic(first));
        self.traffic = traffic.or(self.traffic);
    }

    fn close(&mut self, _scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.closed.push((closed.clean, closed.code));
    }
}

/// Runs clients on the tier until each has had its outcome.
fn run(tier: &str, clients: Clients, config: Config) -> Clients {
    match tier {
        "--io=uring" => {
            let ring = Uring::new(&Options::default()).expect("io_uring serves here");
            turn(Worker::client(ring, clients, config))
        }
        _ => {
            let epoll = Epoll::new().expect("epoll serves everywhere");
            turn(Worker::client(epoll, clients, config))
        }
    }
}

fn turn<I: Io>(mut worker: Worker<I, Clients>) -> Clients {
    let payloads = worker.app().payloads.clone();
    let messages: Vec<_> = payloads
        .iter()
        .map(|payload| (Kind::Binary, payload.as_slice()))
        .collect();
    let prepared = worker
        .prepare(Role::Client, &messages, None)
        .expect("little");
    worker.app_mut().prepared = Some(prepared);
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while !worker.app().is_done() || worker.connections() > 0 {
        assert!(std::time::Instant::now() < deadline, "it ends");
        worker
            .turn(Some(Duration::from_millis(5)))
            .expect("the ring works");
    }
    assert_eq!(worker.counters().clients, 0);
    worker.app_mut().counted = *worker.counters();
    let none = ConnectOptions::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    std::mem::replace(worker.app_mut(), Clients::new(none, 0))
}

fn messages_of_many_connections_come_back(tier: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", tier]);
    let address = server.address();
    let to = address.trim_start_matches("ws://").parse::<SocketAddr>();
    let dial = ConnectOptions::new(to.expect("an address"));
    let clients = run(tier, Clients::new(dial, CONNECTIONS), Config::default());
    assert_eq!(clients.failures, []);
    assert_eq!(clients.connected, CONNECTIONS);
    assert!(clients.heard.values().all(|heard| *heard == ROUNDS));
    for (clean, code) in clients.closed {
        assert_eq!((clean, code), (true, CloseCode::NormalClosure));
    }
    let messages = u64::from(CONNECTIONS) * ROUNDS as u64;
    assert_eq!(server.counter_reaching("messages_in", messages), [messages]);
    assert_eq!(
        server.counter_reaching("messages_out", messages),
        [messages]
    );
    // Both sides count the same, each in its own direction.
    let ours = clients.counted;
    assert_eq!((ours.messages_in, ours.messages_out), (messages, messages));
    assert_eq!(server.counter("message_bytes_in"), [ours.message_bytes_out]);
    assert_eq!(server.counter("message_bytes_out"), [ours.message_bytes_in]);
    assert!(ours.message_bytes_out > messages);
    // The kernel saw what the first one sent and received, but perhaps not its last bytes.
    let most: usize = (0..ROUNDS - 1)
        .map(|round| SIZES[round % SIZES.len()])
        .sum();
    let traffic = clients.traffic.expect("it was connected");
    assert!(traffic.bytes_received > most as u64, "{traffic:?}");
    assert!(traffic.bytes_acknowledged > most as u64, "{traffic:?}");
    assert!(!traffic.round_trip.is_zero(), "{traffic:?}");
}

fn compressed_messages_come_in_pieces(tier: &str) {
    let server = Server::start(&["--workers=1", "--port=auto", "--deflate", tier]);
    let address = server.address();
    let to = address.trim_start_matches("ws://").parse::<SocketAddr>();
    let dial = ConnectOptions::new(to.expect("an address"));
    for receiving in [Receiving::Frames, Receiving::Chunks] {
        let mut clients = Clients::new(dial.clone(), 8);
        for payload in &mut clients.payloads {
            let text = b"what repeats itself is short. ";
            *payload = text.iter().copied().cycle().take(payload.len()).collect();
        }
        clients.request = clients
            .request
            .deflate(Deflate::default())
            .receiving(receiving);
        let clients = run(tier, clients, Config::default());
        assert!(clients.heard.values().all(|heard| *heard == ROUNDS));
        assert_eq!(clients.heard.len(), 8);
        // Those of 20 bytes are not worth it.
        let large = (0..ROUNDS).filter(|round| round % SIZES.len() == 1).count();
        assert_eq!(clients.counted.inflated, 8 * large as u64);
    }
}

fn a_closed_port_is_told(tier: &str) {
    // Bound, so that nobody else takes it, but not listening.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let bound = bound.expect("a descriptor");
    bound
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("port 0 is free");
    let to = bound.local_addr().ok().and_then(|to| to.as_socket());
    let dial = ConnectOptions::new(to.expect("an address"));
    let clients = run(tier, Clients::new(dial, 3), Config::default());
    let refused = Failure::Connect(Errno(libc::ECONNREFUSED));
    assert_eq!(clients.failures, vec![refused; 3]);
    assert_eq!(clients.connected, 0);
}

/// The system completes some connects for a listener that never accepts, as many as its backlog holds, and leaves the
/// others on the way.
fn a_listener_that_never_answers_times_out(tier: &str) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("port 0 is free");
    socket.listen(1).expect("it is bound");
    let to = socket.local_addr().ok().and_then(|to| to.as_socket());
    let dial = ConnectOptions::new(to.expect("an address"));
    let config = Config {
        handshake_timeout: Duration::from_millis(300),
        ..Config::default()
    };
    let clients = run(tier, Clients::new(dial, 8), config);
    assert_eq!(clients.failures, vec![Failure::Timeout; 8]);
    assert!((1..8).contains(&clients.connected), "{}", clients.connected);
}

fn the_source_address_is_as_asked(tier: &str) {
    let second = IpAddr::from([127, 0, 0, 2]);
    for (at, from) in [
        (IpAddr::from(Ipv4Addr::LOCALHOST), second),
        (
            IpAddr::from(Ipv6Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ),
    ] {
        let Ok(listener) = TcpListener::bind((at, 0)) else {
            assert!(at.is_ipv6(), "only IPv6 may be missing");
            continue;
        };
        let dial = ConnectOptions {
            from: Some(from),
            ..ConnectOptions::new(listener.local_addr().expect("bound"))
        };
        let accept = std::thread::spawn(move || {
            let (_, peer) = listener.accept().expect("somebody connects");
            peer.ip()
        });
        // The listener is dropped with its connection, unanswered.
        let clients = run(tier, Clients::new(dial, 1), Config::default());
        assert_eq!(accept.join().expect("it accepts"), from);
        assert_eq!(
            (clients.connected, clients.failures),
            (1, vec![Failure::Closed])
        );
    }
}
