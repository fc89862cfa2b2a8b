//! One simulated server: answers a client of the worker by its plan and at its own pace, and checks what comes from it
//! message by message. `proto` in the server's role decodes it, and so insists on masks and on every other rule.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::client::{Pace, difference};
use super::script::{self, Expected, Script};
use crate::io::sim::{PeerEnd, PeerId, Random, Sim};
use crate::proto::handshake::{self, Asked, Date, Progress, Refusal, Resume, StatusCode, Verdict};
use crate::proto::{CloseCode, Event, Input, Kind, Limits, Opcode, Receiver, Role};
use crate::time::Instant;

/// Bytes that the system of the worker holds unread before a server's sends wait.
const UNREAD_MAX: usize = 200_000;

/// What is under way between one client and its server.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Messages and Pings that the client sent and the server has not heard.
    pub(super) to_server: VecDeque<Expected>,
    /// Messages, Pings and Pongs that the server said and the client has not heard, and whether they are echoes.
    pub(super) to_client: VecDeque<(Expected, bool)>,
}

/// How a server takes a connect and the request on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The TCP connection is never taken up.
    Never,
    /// The TCP connection is refused.
    RefusesConnect,
    /// The request is not answered.
    Silent,
    /// What comes is not HTTP/1.1.
    Garbage,
    /// The request is refused.
    Status(StatusCode),
    /// 101, for another key.
    WrongAccept,
    /// 101.
    Opens,
}

/// How a server behaves at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Answers the client's Close.
    Answers,
    /// Sends its Close when it has heard so many messages and said its own.
    Closes(u64),
    /// Breaks the protocol then.
    Violates(u64),
    /// Ends its direction after so many bytes, the response among them.
    HalfClose(usize),
    /// Closes its socket after so many bytes.
    Disappear(usize),
    /// Resets after so many bytes.
    Reset(usize),
    /// Reads no frame, and resets at this instant.
    NeverReads(Instant),
}

/// A server of one connection.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) answer: Answer,
    pub(super) ending: Ending,
    pub(super) pace: Pace,
    /// Messages of its own that it will say, the first right behind the response.
    pub(super) own: usize,
    /// It reads only while it has nothing to say.
    pub(super) stubborn: bool,
    /// A proxy stands in front of it, and has not been asked for a tunnel yet.
    pub(super) tunnels: bool,
    /// How long it waits before it takes up the connection.
    pub(super) delay: Duration,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    /// The code that a client must fail it with, once it has broken the protocol.
    pub(super) violated: Option<u16>,
    /// The client's Close came, with this code.
    pub(super) close_heard: Option<u16>,
    random: Random,
    next: Instant,
    peer: Option<PeerId>,
    taken_up: bool,
    head: Vec<u8>,
    resume: Resume,
    receiver: Option<Receiver>,
    /// A message of the client that did not come in one piece.
    part: Vec<u8>,
    script: Script,
    said: usize,
    /// Messages heard.
    heard: u64,
    pongs: VecDeque<Vec<u8>>,
    close_said: bool,
    left: bool,
}

impl Server {
    pub(super) fn new(seed: u64, ledger: Rc<RefCell<Ledger>>) -> Self {
        Self {
            answer: Answer::Opens,
            ending: Ending::Answers,
            pace: Pace::fast(),
            own: 0,
            stubborn: false,
            tunnels: false,
            delay: Duration::ZERO,
            ledger,
            violated: None,
            close_heard: None,
            random: Random::new(seed),
            next: Instant::ZERO,
            peer: None,
            taken_up: false,
            head: Vec::new(),
            resume: Resume::default(),
            receiver: None,
            part: Vec::new(),
            script: Script::default(),
            said: 0,
            heard: 0,
            pongs: VecDeque::new(),
            close_said: false,
            left: false,
        }
    }

    /// The worker connects to it.
    pub(super) fn meet(&mut self, peer: PeerId, now: Instant) {
        assert_eq!(self.peer, None, "one connection for each dial");
        self.peer = Some(peer);
        self.next = now + self.delay;
    }

    /// Whether both sides are done with the connection, or there never was one.
    pub(super) fn is_over(&self, sim: &Sim) -> bool {
        self.peer
            .is_none_or(|peer| sim.is_over(peer) && (self.left || !self.taken_up))
    }

    /// What it waits for, for a run that does not end.
    pub(super) fn describe(&self) -> String {
        format!(
            "{:?}, {:?}: {} of {} bytes said, {} messages heard, {} not, {} of its own left, Close {:?}, left {}",
            self.answer,
            self.ending,
            self.said,
            self.script.bytes.len(),
            self.heard,
            self.ledger.borrow().to_server.len(),
            self.own,
            self.close_heard,
            self.left
        )
    }

    /// When it wants to act; `None` when it waits for the client.
    pub(super) fn alarm(&self, sim: &Sim) -> Option<Instant> {
        let peer = self.peer?;
        if self.left || (!self.taken_up && self.answer == Answer::Never) {
            return None;
        }
        let comes = sim.peer_pending(peer) > 0 || sim.peer_end(peer) != PeerEnd::Open;
        let acts = !self.taken_up
            || comes && self.reads()
            || self.may_say(sim, peer)
            || self.receiver.is_some()
                && self.says_more()
                && self.own > 0
                && self.said == self.script.bytes.len();
        match self.ending {
            Ending::NeverReads(until) if acts => Some(until.min(self.next)),
            Ending::NeverReads(until) => Some(until),
            _ => acts.then_some(self.next),
        }
    }

    fn reads(&self) -> bool {
        let never = matches!(self.ending, Ending::NeverReads(_)) && self.receiver.is_some();
        let first = self.stubborn && self.said < self.script.bytes.len();
        !never && !first
    }

    fn may_say(&self, sim: &Sim, peer: PeerId) -> bool {
        self.said < self.script_end() && sim.peer_unread(peer) < UNREAD_MAX
    }

    /// Where it ends for this server.
    fn script_end(&self) -> usize {
        let len = self.script.bytes.len();
        match self.ending {
            Ending::HalfClose(at) | Ending::Disappear(at) | Ending::Reset(at) => at.min(len),
            _ => len,
        }
    }

    /// Acts, if it is time.
    pub(super) fn step(&mut self, sim: &mut Sim, now: Instant) {
        let Some(peer) = self.peer else { return };
        if now < self.next || self.left {
            return;
        }
        let pause = self
            .random
            .below(usize::try_from(self.pace.interval_max.as_nanos()).expect("short"));
        self.next = now + Duration::from_nanos(pause as u64);
        if !self.taken_up && !sim.is_over(peer) {
            match self.answer {
                Answer::Never => return,
                Answer::RefusesConnect => sim.refuse(peer),
                _ => sim.take_up(peer),
            }
            self.taken_up = true;
        }
        self.read(sim, peer);
        self.talk();
        self.write(sim, peer);
        match self.ending {
            Ending::NeverReads(until) if now >= until => self.leave(|| sim.peer_reset(peer)),
            _ if sim.peer_end(peer) != PeerEnd::Open && sim.peer_pending(peer) == 0 => {
                self.leave(|| sim.peer_close(peer));
            }
            _ => {}
        }
    }

    fn leave(&mut self, how: impl FnOnce()) {
        how();
        self.left = true;
    }

    fn read(&mut self, sim: &mut Sim, peer: PeerId) {
        if !self.reads() {
            return;
        }
        let max = self.random.magnitude(self.pace.read_max);
        let mut bytes = sim.peer_take_some(peer, max);
        if bytes.is_empty() {
            return;
        }
        if self.tunnels {
            self.read_tunnel_request(&bytes);
            return;
        }
        if self.receiver.is_none() {
            bytes = self.read_head(&bytes);
        }
        if !bytes.is_empty() {
            assert!(
                self.said >= self.script.head_bytes,
                "no frame goes out before the response is there"
            );
            self.read_frames(&mut bytes);
        }
    }

    fn read_tunnel_request(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
        if self.head.ends_with(b"\r\n\r\n") {
            let wanted = b"CONNECT ringway:80 HTTP/1.1\r\nHost: ringway:80\r\n\r\n";
            assert_eq!(self.head, wanted, "the server is asked through the tunnel");
            self.head.clear();
            self.tunnels = false;
            let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
            self.script.bytes.extend_from_slice(answer);
        }
    }

    /// Returns what follows the head.
    fn read_head(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.head.extend_from_slice(bytes);
        let limits = handshake::Limits::default();
        let head_bytes = match handshake::parse_request_from(&self.head, self.resume, &limits)
            .expect("the client's request is good")
        {
            Progress::Incomplete { resume } => {
                self.resume = resume;
                return Vec::new();
            }
            Progress::Complete { head, head_bytes } => {
                let Asked::WebSocket(head) = head else {
                    panic!("the client asks for a WebSocket")
                };
                answer(&head, self.answer, &mut self.script.bytes);
                head_bytes
            }
        };
        self.script.head_bytes = self.script.bytes.len();
        self.receiver = Some(Receiver::new(Role::Server, Limits::default()));
        self.head.split_off(head_bytes)
    }

    fn read_frames(&mut self, bytes: &mut [u8]) {
        assert_eq!(self.close_heard, None, "nothing follows a Close");
        let mut receiver = self.receiver.take().expect("the head was read");
        let mut input = Input::new(bytes);
        loop {
            match receiver
                .poll_event(&mut input)
                .expect("the client keeps to RFC 6455")
            {
                Some(Event::Message(message)) => {
                    self.handle_message(message.kind(), message.payload().to_vec());
                }
                Some(Event::Chunk(part)) => {
                    self.part.extend_from_slice(part.payload);
                    if part.message_ends {
                        let payload = std::mem::take(&mut self.part);
                        self.handle_message(part.kind, payload);
                    }
                }
                Some(Event::Ping(payload)) => self.handle_ping(payload.to_vec()),
                Some(Event::Pong(payload)) => {
                    assert_eq!(Some(payload), self.pongs.pop_front().as_deref(), "a Pong");
                }
                Some(Event::Close(close)) => {
                    let code = close.code;
                    self.handle_close(code);
                    break;
                }
                None => break,
            }
        }
        assert_eq!(input.remaining(), 0, "nothing follows a Close");
        self.receiver = Some(receiver);
    }

    fn hear(&self, opcode: Opcode, payload: Vec<u8>) -> Expected {
        let opcode = opcode as u8;
        let got = Expected { opcode, payload };
        let expected = self.ledger.borrow_mut().to_server.pop_front();
        let expected = expected.expect("nothing is heard that was not sent");
        assert!(got == expected, "{}", difference(&got, &expected));
        got
    }

    fn handle_message(&mut self, kind: Kind, payload: Vec<u8>) {
        let message = self.hear(kind.opcode(), payload);
        self.heard += 1;
        if self.says_more() {
            let random = &mut self.random;
            self.script
                .add_frame(random, true, kind.opcode(), &message.payload);
            self.ledger
                .borrow_mut()
                .to_client
                .push_back((message, true));
        }
    }

    fn handle_ping(&mut self, payload: Vec<u8>) {
        let Expected { payload, .. } = self.hear(Opcode::Ping, payload);
        if self.says_more() {
            self.script
                .add_control(&mut self.random, Opcode::Pong, &payload);
            let opcode = Opcode::Pong as u8;
            let pong = (Expected { opcode, payload }, false);
            self.ledger.borrow_mut().to_client.push_back(pong);
        }
    }

    fn handle_close(&mut self, code: Option<CloseCode>) {
        let number = code.unwrap_or(CloseCode::NoStatusRcvd).number();
        self.close_heard = Some(number);
        if self.says_more() {
            self.say_close(code);
        }
        if let Some(violated) = self.violated {
            // Or its own Close was under way before it knew.
            assert!([violated, 1000, 1001].contains(&number), "{number}");
        }
    }

    fn says_more(&self) -> bool {
        self.answer == Answer::Opens && !self.close_said && self.violated.is_none()
    }

    fn say_close(&mut self, code: Option<CloseCode>) {
        let payload = code.map(|code| code.number().to_be_bytes());
        let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
        self.script
            .add_control(&mut self.random, Opcode::Close, payload);
        self.close_said = true;
    }

    /// Says what it has to say of its own accord.
    fn talk(&mut self) {
        if self.receiver.is_none() || !self.says_more() {
            return;
        }
        let silent = self.said == self.script.bytes.len();
        if self.own > 0 && (silent || self.random.chance(500)) {
            self.own -= 1;
            self.add_message();
        }
        if self.own > 0 {
            return;
        }
        match self.ending {
            Ending::Closes(after) if self.heard >= after => {
                let code = self.random.pick(&[None, Some(CloseCode::NormalClosure)]);
                self.say_close(code);
            }
            Ending::Violates(after) if self.heard >= after => self.violate(),
            _ => {}
        }
    }

    fn add_message(&mut self) {
        let random = &mut self.random;
        let size_max = random.pick(&[20, 125, 5_000, 20_000, 70_000, 200_000]);
        let len = random.magnitude(size_max);
        let (fragmented, pinged) = (random.pick(&[0, 500]), random.pick(&[0, 300]));
        self.script.add_message(random, len, fragmented, pinged);
        for said in self.script.expected.drain(..) {
            let mut ledger = self.ledger.borrow_mut();
            if said.opcode == Opcode::Pong as u8 {
                let ping = Expected {
                    opcode: Opcode::Ping as u8,
                    payload: said.payload.clone(),
                };
                ledger.to_client.push_back((ping, false));
                self.pongs.push_back(said.payload);
            } else {
                ledger.to_client.push_back((said, false));
            }
        }
    }

    /// Breaks RFC 6455; what follows must not matter.
    fn violate(&mut self) {
        let random = &mut self.random;
        let (bytes, code): (&[u8], u16) = random.pick(&[
            (&[0xC1, 0x00], 1002),                         // RSV1
            (&[0x83, 0x00], 1002),                         // reserved opcode
            (&[0x81, 0x81, 0, 0, 0, 0, b'x'], 1002),       // masked
            (&[0x09, 0x00], 1002),                         // fragmented Ping
            (&[0x80, 0x00], 1002),                         // continuation of nothing
            (&[0x88, 0x01, 3], 1002),                      // Close of one byte
            (&[0x81, 0x02, 0xC3, 0x28], 1007),             // not UTF-8
            (&[0x82, 0x7F, 0, 0, 0, 1, 0, 0, 0, 0], 1009), // 4 GiB announced
        ]);
        self.script.bytes.extend_from_slice(bytes);
        let len = random.below(3000);
        let noise = script::bytes(random, len);
        self.script.bytes.extend_from_slice(&noise);
        self.violated = Some(code);
    }

    fn write(&mut self, sim: &mut Sim, peer: PeerId) {
        if self.may_say(sim, peer) {
            let max = self.random.magnitude(self.pace.send_max);
            let until = self.script_end().min(self.said + max);
            sim.peer_send(peer, &self.script.bytes[self.said..until]);
            self.said = until;
        }
        let done = self.said == self.script.bytes.len();
        match self.ending {
            Ending::HalfClose(at) if self.said >= at => sim.peer_half_close(peer),
            Ending::Disappear(at) if self.said >= at => self.leave(|| sim.peer_close(peer)),
            Ending::Reset(at) if self.said >= at => self.leave(|| sim.peer_reset(peer)),
            _ => {}
        }
        let answered = self.receiver.is_some() && done;
        let over = match self.answer {
            Answer::Opens => self.close_said && self.close_heard.is_some(),
            Answer::Silent => false,
            _ => true,
        };
        if answered && over && !self.left {
            // RFC 6455 §7.1.1: "the server SHOULD close the connection first".
            sim.peer_half_close(peer);
        }
    }
}

/// The response to a request, as `answer` has it.
fn answer(request: &handshake::Request<'_>, answer: Answer, out: &mut Vec<u8>) {
    let verdict = Verdict::Accept {
        compression: None,
        subprotocol: None,
        headers: &[],
    };
    let date = Date::from_unix_s(0);
    match answer {
        Answer::Garbage => out.extend_from_slice(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"),
        Answer::Status(status) => {
            handshake::encode_refusal(&Refusal::new(status, "not today"), &date, out);
        }
        Answer::Opens | Answer::WrongAccept => {
            handshake::encode_verdict(request, &verdict, &date, out).expect("a good verdict");
        }
        Answer::Silent | Answer::Never | Answer::RefusesConnect => {}
    }
    if answer == Answer::WrongAccept {
        // The accept value ends with `=`: the character before it is part of what is compared.
        let at = out
            .windows(3)
            .position(|three| three == b"=\r\n")
            .expect("an accept value");
        out[at - 1] = if out[at - 1] == b'A' { b'E' } else { b'A' };
    }
}
