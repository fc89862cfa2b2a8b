//! Streams of lines over the simulation: each line is one text message however the kernel cuts it, each text message one line, and
//! bytes that are no UTF-8 never reach a client.

use super::script::{self, Script};
use super::streams::{handed, wind_up};
use super::wire::{Item, Wire};
use super::world::{TURNS_MAX, seeds};
use crate::io::sim::{Options, PeerEnd, PeerId, Random, Sim};
use crate::proto::{CloseCode, Message, Opcode};
use crate::protocol::Carriage;
use crate::worker::{App, Closed, Config, Context, Listener, Scope, Worker};

/// Joins every WebSocket with a stream of lines.
#[derive(Debug, Default)]
struct Gate {
    reasons: u64,
}

impl App for Gate {
    type Session = ();

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        context.join_handed(&handed(), Carriage::Lines);
    }

    fn message(&mut self, _: &mut Context<'_>, (): &mut (), _: Message<'_>) {
        unreachable!("messages are the stream's");
    }

    fn farewell(&mut self, (): &mut ()) -> (CloseCode, std::borrow::Cow<'static, str>) {
        self.reasons += 1;
        (CloseCode::GoingAway, "the last line was said".into())
    }

    fn close(&mut self, _: &mut Scope<'_>, (): (), _: Closed<'_>) {}
}

/// A client and its stream.
struct World {
    worker: Worker<Sim, Gate>,
    random: Random,
    client: PeerId,
    stream: Option<PeerId>,
    wire: Wire,
    /// What the client got: messages, then the code and reason of the Close.
    messages: Vec<String>,
    code: Option<u16>,
    /// What the stream got.
    got: Vec<u8>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x11FE);
        let mut sim = Sim::new(Options::draw(seed));
        let listener = Listener::new(sim.listen(), None);
        let config = Config {
            send_queue_bytes_max: random.pick(&[1_000, 20_000, 1 << 20]),
            ..Config::default()
        };
        let client = sim.connect();
        let mut wire = Wire::default();
        // Long lines come in several frames.
        wire.parts = Some(Vec::new());
        Self {
            worker: Worker::new(sim, Gate::default(), config, listener),
            random,
            client,
            stream: None,
            wire,
            messages: Vec::new(),
            code: None,
            got: Vec::new(),
        }
    }

    /// Runs until all of `up` and `down` are sent, the stream has ended, and so has the client.
    fn run(&mut self, up: &[u8], down: &[u8]) {
        let (mut up_sent, mut down_sent, mut turns) = (0, 0, 0);
        loop {
            turns += 1;
            assert!(turns < TURNS_MAX, "it ends");
            let (sim, random) = (self.worker.io_mut(), &mut self.random);
            let len = random.magnitude(100_000).min(up.len() - up_sent);
            sim.peer_send(self.client, &up[up_sent..][..len]);
            up_sent += len;
            self.stream = self.stream.or_else(|| sim.dialled());
            if let Some(stream) = self.stream {
                let len = random.magnitude(100_000).min(down.len() - down_sent);
                sim.peer_send(stream, &down[down_sent..][..len]);
                down_sent += len;
                let max = random.magnitude(100_000);
                self.got.extend(sim.peer_take_some(stream, max));
                if down_sent == down.len() && up_sent == up.len() {
                    sim.peer_half_close(stream);
                }
            }
            let max = random.magnitude(100_000);
            let taken = sim.peer_take_some(self.client, max);
            self.wire.extend(&taken);
            self.decode();
            if self.worker.io().peer_end(self.client) != PeerEnd::Open {
                break;
            }
            self.worker
                .turn(Some(std::time::Duration::from_micros(50)))
                .expect("a simulation");
        }
        let sim = self.worker.io_mut();
        let taken = sim.peer_take(self.client);
        self.wire.extend(&taken);
        sim.peer_close(self.client);
        self.decode();
        while self.worker.connections() > 0 {
            if let Some(stream) = self.stream {
                self.got.extend(self.worker.io_mut().peer_take(stream));
                if self.worker.io().peer_end(stream) != PeerEnd::Open {
                    self.worker.io_mut().peer_close(stream);
                    self.stream = None;
                }
            }
            self.worker
                .turn(Some(std::time::Duration::from_micros(50)))
                .expect("a simulation");
        }
        if let Some(stream) = self.stream {
            self.got.extend(self.worker.io_mut().peer_take(stream));
        }
        wind_up(&mut self.worker);
    }

    fn decode(&mut self) {
        while let Some(item) = self.wire.next() {
            match item {
                Item::Head(status) => assert_eq!(status, 101),
                Item::Frame { opcode: 1, payload } => {
                    let text = String::from_utf8(payload).expect("RFC 6455 \u{a7}8.1");
                    self.messages.push(text);
                }
                Item::Frame { opcode: 8, payload } => {
                    assert_eq!(&payload[2..], b"the last line was said");
                    self.code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    // A Close of zeros' masking key.
                    let close = b"\x88\x82\0\0\0\0\x03\xE8";
                    self.worker.io_mut().peer_send(self.client, close);
                }
                Item::Frame { opcode, .. } => panic!("opcode {opcode}"),
            }
        }
    }
}

/// Lines of every length with every end, and the messages that they are.
fn lines(random: &mut Random) -> (Vec<u8>, Vec<String>) {
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    let size_max = random.pick(&[3, 100, 2_000, 70_000, 300_000]);
    for number in 0..random.between(1, 60) {
        let len = random.magnitude(size_max);
        let mut line = match random.chance(500) {
            true => script::text(random, len),
            false => script::bytes(random, len),
        };
        line.retain(|byte| !b"\r\n".contains(byte));
        if random.chance(200) {
            line.extend_from_slice(b"\r.");
        }
        messages.push(String::from_utf8_lossy(&line).into_owned());
        bytes.extend(line);
        let end: &[u8] = random.pick(&[&b"\n"[..], b"\r\n"]);
        bytes.extend_from_slice(end);
        if number > 20 && bytes.len() > 1_000_000 {
            break;
        }
    }
    if random.chance(500) {
        // The last line has no end, unless it is empty: then there is none.
        let len = random.magnitude(size_max) + 1;
        let line = script::text(random, len);
        messages.push(String::from_utf8(line.clone()).expect("text"));
        bytes.extend(line);
    }
    (bytes, messages)
}

#[test]
fn each_line_is_one_text_message_and_each_text_message_is_one_line() {
    seeds(150, |seed| {
        let mut world = World::new(seed);
        let (down, messages) = lines(&mut world.random);
        let random = &mut world.random;
        let mut script = Script::open(random);
        let mut up = Vec::new();
        for _ in 0..random.between(0, 40) {
            let size_max = random.pick(&[3, 2_000, 100_000]);
            let len = random.magnitude(size_max);
            let text = script::text(random, len);
            let cut = (0..=random.below(text.len() + 1)).rev();
            let cut = cut
                .into_iter()
                .find(|cut| std::str::from_utf8(&text[..*cut]).is_ok());
            match (cut, random.between(0, 3)) {
                (Some(cut), 0) => {
                    script.add_frame(random, false, Opcode::Text, &text[..cut]);
                    script.add_frame(random, true, Opcode::Continuation, &text[cut..]);
                    up.extend_from_slice(&text);
                    up.push(b'\n');
                }
                (_, 1) => {
                    script.add_frame(random, true, Opcode::Binary, &text);
                    up.extend_from_slice(&text);
                }
                _ => {
                    script.add_frame(random, true, Opcode::Text, &text);
                    up.extend_from_slice(&text);
                    up.push(b'\n');
                }
            }
        }
        world.run(&script.bytes, &down);
        assert_eq!(world.code, Some(1001));
        assert_eq!(world.messages.len(), messages.len());
        for (got, sent) in world.messages.iter().zip(&messages) {
            assert_eq!(got, sent);
        }
        assert!(world.got == up, "{} of {}", world.got.len(), up.len());
        assert_eq!(world.worker.app().reasons, 1);
    });
}
