//! [`Receiver`] against a second decoder that is slow, plain and written from RFC 6455 alone: one byte at a time, no
//! buffers shared, no fast path, its own UTF-8. Both get the same random conversations.
//!
//! A failure prints its seed; `RINGWAY_TEST_SEED=<seed> cargo test differential` repeats it alone.

use super::*;

/// Conversations per run: about a second.
const CONVERSATIONS: u64 = if cfg!(miri) { 20 } else { 20_000 };

#[test]
fn receiver_and_naive_decoder_agree_on_random_conversations() {
    if let Ok(seed) = std::env::var("RINGWAY_TEST_SEED") {
        return agree_on(seed.parse().expect("a seed is a number"));
    }
    for seed in 0..CONVERSATIONS {
        agree_on(seed);
    }
}

fn agree_on(seed: u64) {
    let mut random = Random::new(seed);
    let speaker = random.pick(&SPEAKERS);
    let limits = random.pick(&[
        UNLIMITED,
        UNLIMITED,
        Limits::default(),
        Limits {
            frame_bytes_max: 40,
            message_bytes_max: 100,
        },
    ]);
    let wire = conversation(&mut random, speaker);
    let mut naive = Naive::new(other(speaker), limits);
    // How many events there are after each byte: they must come no later, and no earlier.
    let mut heard_after = vec![0];
    for byte in &wire {
        naive.push(*byte);
        heard_after.push(naive.outcome.heard.len());
    }

    for how in ["whole", "bytes", "random", "random"] {
        let longest = random.pick(&[3, 20, 300]);
        let mut listener = Listener::new(other(speaker), limits);
        listener.echoes = random.below(2) == 0;
        let mut at = 0;
        while at < wire.len() {
            let len = match how {
                "whole" => wire.len(),
                "bytes" => 1,
                _ => random.below(longest) + 1,
            };
            let end = wire.len().min(at + len);
            listener.feed(&wire[at..end]);
            at = end;
            assert_eq!(
                listener.outcome.heard,
                naive.outcome.heard[..heard_after[at]],
                "seed {seed}, {speaker:?} speaks, {how}, byte {at} of {wire:x?}"
            );
        }
        assert_eq!(
            listener.outcome, naive.outcome,
            "seed {seed}, {speaker:?} speaks, {how}, {wire:x?}"
        );
    }
}

// ------------------------------------------------------------------------------------------------------ conversations

/// Mostly what an endpoint would say, with a fault now and then.
fn conversation(random: &mut Random, speaker: Role) -> Vec<u8> {
    let mut wire = vec![];
    let mut inside = false;
    for _ in 0..random.below(8) + 1 {
        let fault = random.below(40);
        let mut first = match random.below(8) {
            0 => 0x89,
            1 => 0x8A,
            2 if random.below(4) == 0 => 0x88,
            3..=4 if inside => 0x00,
            _ if inside => 0x80,
            3 => 0x01,
            4 => 0x02,
            5 => 0x82,
            _ => 0x81,
        };
        if first & 0x08 == 0 {
            inside = first & 0x80 == 0;
        }
        match fault {
            0 => first ^= 1 << random.below(7),
            1 => first = random.byte(),
            _ => {}
        }
        let said = payload(random, first);
        let mut frame = frame(first, said);
        frame.key = match random.below(4) {
            0 => [0; 4],
            1 => [0x81, 0x85, random.byte(), random.byte()], // looks like a header
            _ => [(); 4].map(|()| random.byte()),
        };
        match fault {
            2 => frame = frame.wrongly_masked(),
            3 => frame.len7 = random.byte() & 0x7F,
            4 => {
                frame.len7 = 127;
                frame.extended = (random.next() >> random.below(64)).to_be_bytes().to_vec();
            }
            _ => {}
        }
        wire.extend(frame.wire(speaker));
    }
    if random.below(10) == 0 {
        let at = random.below(wire.len());
        wire[at] = random.byte();
    }
    if random.below(4) == 0 {
        wire.truncate(random.below(wire.len() + 1));
    }
    wire
}

fn payload(random: &mut Random, first: u8) -> Vec<u8> {
    const TEXTS: [&[u8]; 12] = [
        b"",
        b"a",
        b"Hello, World",
        "κόσμε".as_bytes(),
        "👋🏽".as_bytes(),
        "€€€€€€€€".as_bytes(),
        b"exactly sixteen.",
        b"\xE2",
        b"\x82\xAC",
        b"\xF0\x9F",
        b"\xED\xA0",
        b"\xFF",
    ];
    let mut said = vec![];
    if first & 0x0F == 0x8 {
        if random.below(5) > 0 {
            let code: u16 =
                random.pick(&[1000, 1001, 1002, 1005, 1006, 1011, 1014, 3000, 4999, 5000]);
            said.extend(code.to_be_bytes());
            said.extend(random.pick(&TEXTS));
        }
        said.truncate(random.below(40) + 1);
        return said;
    }
    let sound = if random.below(12) == 0 {
        TEXTS.len()
    } else {
        7
    };
    let pieces = random.pick(&[0, 1, 1, 2, 3, 8, 12, 40]);
    for _ in 0..pieces {
        said.extend(TEXTS[random.below(sound)]);
    }
    if first & 0x08 != 0 && random.below(30) > 0 {
        said.truncate(125);
    }
    said
}

/// SplitMix64: enough to draw cases from.
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

// ---------------------------------------------------------------------------------------------------- the naive decoder

/// RFC 6455 §5 to §8, one byte at a time.
struct Naive {
    listener: Role,
    limits: Limits,
    header: Vec<u8>,
    /// The payload of the frame in progress, once its header is there.
    payload: Option<Vec<u8>>,
    /// The opcode and the bytes of the message in progress.
    message: Option<(u8, Vec<u8>)>,
    /// The bytes that may follow, one range per byte still missing of a code point.
    utf8: Vec<(u8, u8)>,
    announced: u64,
    done: bool,
    outcome: Outcome,
}

impl Naive {
    fn new(listener: Role, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            header: vec![],
            payload: None,
            message: None,
            utf8: vec![],
            announced: 0,
            done: false,
            outcome: Outcome::default(),
        }
    }

    fn push(&mut self, byte: u8) {
        if self.done {
            return;
        }
        if let Err(violation) = self.take(byte) {
            self.outcome.heard.push(Heard::Violation(violation));
            self.message = None;
            self.done = true;
        }
        self.outcome.unfinished = self.message.as_ref().map(|(_, bytes)| bytes.clone());
    }

    fn take(&mut self, byte: u8) -> Result<(), Violation> {
        if self.payload.is_none() {
            self.header.push(byte);
            if !self.header_is_complete()? {
                return Ok(());
            }
            self.frame_begins()?;
            self.payload = Some(vec![]);
        } else {
            self.payload_byte(byte)?;
        }
        let had = self.payload.as_ref().map_or(0, Vec::len) as u64;
        if had == self.len() {
            return self.frame_ends();
        }
        Ok(())
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x0F
    }

    fn fin(&self) -> bool {
        self.header[0] & 0x80 != 0
    }

    fn masked(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    fn extended_bytes(&self) -> usize {
        match self.header[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn len(&self) -> u64 {
        match self.extended_bytes() {
            0 => u64::from(self.header[1] & 0x7F),
            count => self.header[2..2 + count]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        }
    }

    fn header_is_complete(&self) -> Result<bool, Violation> {
        let reserved = self.header[0] & 0x70;
        if reserved != 0 {
            return Err(Violation::ReservedBits(reserved));
        }
        if !matches!(self.opcode(), 0 | 1 | 2 | 8 | 9 | 10) {
            return Err(Violation::ReservedOpcode(self.opcode()));
        }
        if self.header.len() < 2 {
            return Ok(false);
        }
        if self.opcode() >= 8 {
            if !self.fin() {
                return Err(Violation::FragmentedControl);
            }
            if self.header[1] & 0x7F > 125 {
                return Err(Violation::ControlTooLong);
            }
        }
        let key = if self.masked() { 4 } else { 0 };
        Ok(self.header.len() == 2 + self.extended_bytes() + key)
    }

    fn frame_begins(&mut self) -> Result<(), Violation> {
        match (self.extended_bytes(), self.len()) {
            (2, 0..=125) | (8, 0..=65535) => return Err(Violation::NonMinimalLength),
            (8, len) if len > u64::MAX / 2 => return Err(Violation::LengthTopBit),
            _ => {}
        }
        match (self.listener, self.masked()) {
            (Role::Server, false) => return Err(Violation::UnmaskedClientFrame),
            (Role::Client, true) => return Err(Violation::MaskedServerFrame),
            _ => {}
        }
        match (self.opcode(), &self.message) {
            (1 | 2, Some(_)) => return Err(Violation::MessageInsideMessage),
            (0, None) => return Err(Violation::ContinuationWithoutMessage),
            (1 | 2, None) => {
                self.message = Some((self.opcode(), vec![]));
                self.announced = 0;
            }
            (0, Some(_)) => {}
            _ => return Ok(()),
        }
        self.announced = self.announced.saturating_add(self.len());
        if self.len() > self.limits.frame_bytes_max {
            return Err(Violation::FrameTooBig(self.len()));
        }
        if self.announced > self.limits.message_bytes_max {
            return Err(Violation::MessageTooBig(self.announced));
        }
        Ok(())
    }

    fn payload_byte(&mut self, byte: u8) -> Result<(), Violation> {
        let payload = self.payload.as_mut().unwrap();
        let plain = if self.header[1] & 0x80 == 0 {
            byte
        } else {
            let key = &self.header[self.header.len() - 4..];
            byte ^ key[payload.len() % 4]
        };
        payload.push(plain);
        if self.opcode() < 8 {
            let (kind, bytes) = self.message.as_mut().unwrap();
            bytes.push(plain);
            if *kind == 1 {
                self.utf8_byte(plain)?;
            }
        }
        Ok(())
    }

    /// RFC 3629 §4, the grammar of UTF-8.
    fn utf8_byte(&mut self, byte: u8) -> Result<(), Violation> {
        const TAIL: (u8, u8) = (0x80, 0xBF);
        if let Some((low, high)) = self.utf8.pop() {
            if byte < low || byte > high {
                return Err(Violation::TextNotUtf8);
            }
            return Ok(());
        }
        // The next byte is at the end.
        self.utf8 = match byte {
            0x00..=0x7F => vec![],
            0xC2..=0xDF => vec![TAIL],
            0xE0 => vec![TAIL, (0xA0, 0xBF)],
            0xE1..=0xEC | 0xEE..=0xEF => vec![TAIL, TAIL],
            0xED => vec![TAIL, (0x80, 0x9F)],
            0xF0 => vec![TAIL, TAIL, (0x90, 0xBF)],
            0xF1..=0xF3 => vec![TAIL, TAIL, TAIL],
            0xF4 => vec![TAIL, TAIL, (0x80, 0x8F)],
            _ => return Err(Violation::TextNotUtf8),
        };
        Ok(())
    }

    fn frame_ends(&mut self) -> Result<(), Violation> {
        let payload = self.payload.take().unwrap();
        let heard = match self.opcode() {
            8 => {
                self.done = true;
                Some(close(&payload)?)
            }
            9 => Some(Ping(payload)),
            10 => Some(Pong(payload)),
            _ if !self.fin() => None,
            _ => {
                if !self.utf8.is_empty() {
                    return Err(Violation::TextNotUtf8);
                }
                let (kind, bytes) = self.message.take().unwrap();
                Some(if kind == 1 {
                    Text(String::from_utf8(bytes).unwrap())
                } else {
                    Binary(bytes)
                })
            }
        };
        self.outcome.heard.extend(heard);
        self.header.clear();
        Ok(())
    }
}

fn close(payload: &[u8]) -> Result<Heard, Violation> {
    match payload {
        [] => Ok(Closing(None, String::new())),
        [_] => Err(Violation::ClosePayloadOneByte),
        [high, low, reason @ ..] => {
            let code = u16::from(*high) * 256 + u16::from(*low);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::CloseCodeInvalid(code));
            }
            match String::from_utf8(reason.to_vec()) {
                Ok(reason) => Ok(Closing(Some(code), reason)),
                Err(_) => Err(Violation::CloseReasonNotUtf8),
            }
        }
    }
}
