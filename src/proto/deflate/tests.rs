//! The rules of RFC 7692 §7.2, each by the name of what others got wrong, and an independent inflater and compressor as
//! judge.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{Deflater, Direction, History, Hooks, Inflater, Part, Place, Progress, Setup, Stop};
use crate::violation::Violation;

const TAKEOVER: Direction = Direction::FARTHEST;
const AFRESH: Direction = Direction {
    takeover: false,
    window_bits: 15,
};
const SETUP: Setup = Setup {
    level: 1,
    window_bits: 12,
    mem_level: 5,
};
const UNLIMITED: u64 = 1 << 30;

/// One direction's receiver: an inflater of its own, made anew from the history for each message if asked.
struct Reader {
    inflater: Inflater,
    history: History,
    direction: Direction,
    anew: bool,
}

impl Reader {
    fn new(direction: Direction, anew: bool) -> Self {
        Self {
            inflater: Inflater::new(),
            history: History::default(),
            direction,
            anew,
        }
    }

    fn read(&mut self, compressed: &[u8], bytes_max: u64) -> Result<Vec<u8>, Violation> {
        if self.anew || !self.inflater.goes_on() || !self.direction.takeover {
            self.inflater.restart(&self.history);
        }
        let mut out = vec![0; 16];
        let mut checked = Vec::new();
        let mut grow = |out: &mut Vec<u8>, filled: usize| {
            assert_eq!(filled, out.len());
            out.resize(2 * filled, 0);
        };
        let mut check = |piece: &[u8]| {
            checked.extend_from_slice(piece);
            Ok(())
        };
        let end = if self.anew {
            // In parts of any size.
            let mut progress = Progress::new(3, bytes_max);
            let part_max = 1 + compressed.len() * 7 % 9000;
            loop {
                let before = progress.end();
                let hooks = Hooks {
                    grow: &mut grow,
                    check: &mut check,
                };
                let message = (compressed, &self.history);
                let is_whole =
                    self.inflater
                        .go_on(&mut progress, message, &mut out, part_max, hooks)?;
                assert!(progress.end() <= before + part_max);
                if is_whole {
                    break progress.end();
                }
                assert_eq!(progress.end(), before + part_max);
            }
        } else {
            let place = Place {
                out: &mut out,
                at: 3,
                bytes_max,
            };
            self.inflater
                .inflate(compressed, &self.history, place, &mut grow, &mut check)?
        };
        let message = out[3..end].to_vec();
        assert_eq!(message, checked, "each byte is checked once, in order");
        self.history.push(&message, self.direction);
        Ok(message)
    }

    /// The same with a message that arrives in parts of `part_bytes`, and of which each piece leaves the memory before the next.
    fn read_parts(
        &mut self,
        compressed: &[u8],
        part_bytes: usize,
        bytes_max: u64,
    ) -> Result<Vec<u8>, Violation> {
        self.inflater.restart(&self.history);
        let (mut message, mut gone) = (Vec::new(), History::default());
        let (mut out, mut at) = (vec![0; 1000], 3);
        let mut progress = Progress::new(at, bytes_max);
        let mut parts = compressed.chunks(part_bytes).peekable();
        let mut part = parts.next().unwrap_or_default();
        loop {
            let hooks = Hooks {
                grow: &mut |_, _| unreachable!("there is room"),
                check: &mut |_| Ok(()),
            };
            let now = Part {
                compressed: part,
                is_last: parts.peek().is_none(),
                history: &self.history,
                gone: &gone,
            };
            let stop = self
                .inflater
                .go_on_with(&mut progress, &now, &mut out, 700, hooks)?;
            let piece = &out[at..progress.end()];
            assert!(piece.len() == 700 || stop != Stop::Enough);
            message.extend_from_slice(piece);
            gone.push(piece, TAKEOVER);
            at = 3 + message.len() % 200;
            progress.move_to(at);
            match stop {
                Stop::Enough => {}
                Stop::PartEnds => part = parts.next().expect("there is one more"),
                Stop::MessageEnds => break,
            }
        }
        self.history.push(&message, self.direction);
        Ok(message)
    }
}

/// All kinds of reader must read the same.
fn read_all(direction: Direction, compressed: &[&[u8]]) -> Vec<Vec<u8>> {
    let [anew, on] = [true, false].map(|anew| {
        let mut reader = Reader::new(direction, anew);
        let read = |bytes: &&[u8]| reader.read(bytes, UNLIMITED).expect("it is valid");
        compressed.iter().map(read).collect::<Vec<_>>()
    });
    assert_eq!(anew, on);
    for part_bytes in [1, 2, 7, 5000] {
        let mut reader = Reader::new(direction, false);
        let read = |bytes: &&[u8]| {
            let message = reader.read_parts(bytes, part_bytes, UNLIMITED);
            message.expect("it is valid")
        };
        let in_parts: Vec<_> = compressed.iter().map(read).collect();
        assert!(in_parts == on, "in parts of {part_bytes}");
    }
    on
}

/// JSON as an application would send it.
fn json(nth: usize, len: usize) -> Vec<u8> {
    let one = |n: usize| {
        format!(
            "{{\"id\":{n},\"price\":{},\"side\":\"buy\"}},",
            n * 7919 % 100_003
        )
    };
    (nth..)
        .map(one)
        .flat_map(String::into_bytes)
        .take(len)
        .collect()
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = b"Hello".to_vec();
    for (direction, messages) in [
        // §7.2.3.1: one compressed block.
        (
            AFRESH,
            vec![&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..]],
        ),
        // §7.2.3.2: the second message refers to the first.
        (
            TAKEOVER,
            vec![
                &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
                &[0xf2, 0x00, 0x11, 0x00, 0x00],
            ],
        ),
        // §7.2.3.3: a block without compression.
        (
            AFRESH,
            vec![&[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ]],
        ),
        // §7.2.3.4: a block with BFINAL set.
        (
            AFRESH,
            vec![&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]],
        ),
        // §7.2.3.5: two blocks.
        (
            AFRESH,
            vec![&[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ]],
        ),
    ] {
        for message in read_all(direction, &messages) {
            assert_eq!(message, hello);
        }
    }
}

#[test]
fn messages_after_a_block_with_bfinal_are_read() {
    let final_hello = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00][..];
    let hello = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..];
    // Without the empty block behind it, which some compressors leave away.
    let bare = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..];
    // A reference to the message before, which a compressor that only flushes may make.
    let again = &[0xf2, 0x00, 0x11, 0x00, 0x00][..];
    let read = read_all(
        TAKEOVER,
        &[final_hello, hello, bare, again, bare, final_hello],
    );
    assert_eq!(read, vec![b"Hello".to_vec(); 6]);
}

#[test]
fn a_stream_may_end_in_the_middle_of_a_message() {
    let twice = [
        0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(read_all(AFRESH, &[&twice]), [b"HelloHello".to_vec()]);
}

#[test]
fn ends_of_the_stream_without_end_are_no_way_to_hold_the_loop() {
    // An empty final block is two bytes.
    let ends = [0x03, 0x00].repeat(1_000_000);
    let mut reader = Reader::new(TAKEOVER, false);
    assert_eq!(
        reader.read(&ends, UNLIMITED),
        Err(Violation::DeflateInvalid)
    );
    assert_eq!(reader.read(&ends[..2048], UNLIMITED), Ok(Vec::new()));
}

#[test]
fn an_empty_message_is_empty_in_both_its_forms() {
    let hello = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..];
    let read = read_all(TAKEOVER, &[&[0x00], &[], hello, &[], &[0x00], hello]);
    assert_eq!(read.concat(), b"HelloHello");
}

#[test]
fn an_empty_block_inside_a_message_is_no_end() {
    // As a sender makes it that flushes per fragment, with what ends its fragments left in.
    let pieces = [
        &[
            0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff,
        ][..],
        &[0x00, 0x00, 0x00, 0xff, 0xff],
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    ];
    assert_eq!(
        read_all(AFRESH, &[&pieces.concat()]),
        [b"HelloHello".to_vec()]
    );
}

#[test]
fn the_limit_is_exact_to_one_byte_and_counts_inflated_ones() {
    for len in [1, 100, 4096, 65_536, 65_537, 1 << 20] {
        let message = vec![b'a'; len];
        let mut out = Vec::new();
        let mut deflater = Deflater::new(SETUP);
        let end = deflater.compress(&message, &mut out, 0);
        for (bytes_max, expected) in [
            (len as u64, Ok(message.clone())),
            (len as u64 + 1, Ok(message.clone())),
            (len as u64 - 1, Err(Violation::MessageTooBig(len as u64))),
        ] {
            let mut reader = Reader::new(AFRESH, true);
            assert_eq!(reader.read(&out[..end], bytes_max), expected);
            let mut reader = Reader::new(AFRESH, true);
            assert_eq!(reader.read_parts(&out[..end], 100, bytes_max), expected);
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let mut out = Vec::new();
    let zeros = vec![0; 64 << 20];
    let end = Deflater::new(SETUP).compress(&zeros, &mut out, 0);
    assert!(end < 1 << 20, "{end}");
    let mut reader = Reader::new(TAKEOVER, false);
    let result = reader.read(&out[..end], 1 << 20);
    assert_eq!(result, Err(Violation::MessageTooBig((1 << 20) + 1)));
}

#[test]
fn what_is_not_deflate_is_a_violation() {
    for bad in [
        &[0xff, 0xff][..],
        &[0x07],                         // a block type that is reserved
        &[0x00, 0x05, 0x00, 0x00, 0x00], // a length and not its complement
        &[0xf2, 0x00, 0x11, 0x00, 0x00], // a reference to what never was
    ] {
        let mut reader = Reader::new(TAKEOVER, false);
        assert_eq!(
            reader.read(bad, UNLIMITED),
            Err(Violation::DeflateInvalid),
            "{bad:x?}"
        );
    }
}

#[test]
fn a_history_keeps_the_last_window_and_grows_no_larger() {
    let direction = Direction {
        takeover: true,
        window_bits: 9,
    };
    let mut history = History::default();
    let mut all = Vec::new();
    for len in [0, 1, 100, 300, 200, 511, 1, 512, 513, 5000, 3] {
        let message = json(all.len(), len);
        history.push(&message, direction);
        all.extend_from_slice(&message);
        assert_eq!(history.bytes(), &all[all.len().saturating_sub(512)..]);
        assert!(history.capacity() <= 512);
    }
    let mut none = History::default();
    none.push(&all, AFRESH);
    assert_eq!(none.capacity(), 0);
}

/// Every setup against the judge, with engines that take turns between two conversations.
#[test]
fn what_is_compressed_here_is_read_by_another_inflater() {
    let setups = (9..=15).flat_map(|window_bits| {
        [(1, 1), (1, 5), (3, 8), (6, 5), (9, 9)].map(|(level, mem_level)| Setup {
            level,
            window_bits,
            mem_level,
        })
    });
    for setup in setups {
        let direction = Direction {
            takeover: true,
            window_bits: setup.window_bits,
        };
        let mut deflater = Deflater::new(setup);
        let mut histories = [History::default(), History::default()];
        let mut judges = [Decompress::new(false), Decompress::new(false)];
        let mut ours = [Reader::new(TAKEOVER, true), Reader::new(TAKEOVER, false)];
        for nth in 0..12 {
            let who = nth % 3 % 2;
            let message = json(nth, [1, 64, 1024, 5000, 40_000][nth % 5]);
            deflater.restart(&histories[who]);
            let mut out = vec![0; Deflater::compressed_bytes_max(message.len())];
            let room = out.len();
            let end = deflater.compress(&message, &mut out, 0);
            assert_eq!(out.len(), room, "there was room");
            histories[who].push(&message, direction);
            assert_eq!(
                ours[who].read(&out[..end], UNLIMITED).as_ref(),
                Ok(&message)
            );
            let mut whole = out[..end].to_vec();
            whole.extend_from_slice(&[0, 0, 0xff, 0xff]);
            let mut read = Vec::with_capacity(message.len() + 100);
            let judge = &mut judges[who];
            judge
                .decompress_vec(&whole, &mut read, FlushDecompress::Sync)
                .expect("the judge reads it");
            assert_eq!(read, message, "{setup:?}");
        }
    }
}

/// One engine that goes on from message to message: beyond its memory, with text, noise and long runs, in blocks of every size.
#[test]
fn an_engine_that_goes_on_for_long_is_read_by_another_inflater() {
    for (level, window_bits, mem_level) in [
        (1, 9, 1),
        (1, 12, 5),
        (3, 15, 8),
        (6, 12, 9),
        (9, 10, 3),
        (9, 15, 1),
    ] {
        let setup = Setup {
            level,
            window_bits,
            mem_level,
        };
        let mut deflater = Deflater::new(setup);
        let mut judge = Decompress::new(false);
        let mut out = Vec::new();
        for nth in 0..120_usize {
            let len = [1, 3, 4, 5, 300, 1024, 20_000, 65_535, 140_000][nth * 7 % 9];
            let message: Vec<u8> = match nth % 4 {
                0 | 1 => json(nth, len),
                2 => vec![b'x'; len],
                _ => (0..len as u64)
                    .map(|n| {
                        (n.wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ nth as u64) >> 32).to_le_bytes()[1]
                    })
                    .collect(),
            };
            let end = deflater.compress(&message, &mut out, 0);
            assert!(end <= Deflater::compressed_bytes_max(len));
            let mut whole = out[..end].to_vec();
            whole.extend_from_slice(&[0, 0, 0xff, 0xff]);
            let mut read = Vec::with_capacity(message.len() + 100);
            judge
                .decompress_vec(&whole, &mut read, FlushDecompress::Sync)
                .expect("the judge reads it");
            assert!(read == message, "{setup:?}, message {nth}");
        }
    }
}

#[test]
fn a_higher_level_makes_less() {
    let text = json(0, 16 << 10);
    let sizes = [1, 3, 6, 9].map(|level| {
        let mut out = Vec::new();
        Deflater::new(Setup { level, ..SETUP }).compress(&text, &mut out, 0)
    });
    assert!(sizes.is_sorted_by(|more, less| more >= less), "{sizes:?}");
    let mut zlib = Vec::with_capacity(16 << 10);
    Compress::new(Compression::new(6), false)
        .compress_vec(&text, &mut zlib, FlushCompress::Sync)
        .expect("there is room");
    assert!(
        sizes[0] < zlib.len() * 11 / 10,
        "{sizes:?} beside {}",
        zlib.len()
    );
}

#[test]
fn what_another_compressor_makes_is_read_here() {
    for level in [1, 6, 9] {
        let mut judge = Compress::new(Compression::new(level), false);
        let mut readers = [true, false].map(|anew| Reader::new(TAKEOVER, anew));
        for nth in 0..20 {
            let message = json(nth, [1, 64, 1024, 5000, 70_000][nth % 5]);
            let mut out = Vec::with_capacity(message.len() * 2 + 100);
            judge
                .compress_vec(&message, &mut out, FlushCompress::Sync)
                .expect("the judge writes");
            let out = out.strip_suffix(&[0, 0, 0xff, 0xff]).expect("a flush");
            for reader in &mut readers {
                assert_eq!(reader.read(out, UNLIMITED).as_ref(), Ok(&message));
            }
        }
    }
}

#[test]
fn noise_grows_by_no_more_than_stated() {
    let noise: Vec<u8> = (0..100_000_u64)
        .map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes()[1])
        .collect();
    for mem_level in 1..=9 {
        for len in [1, 2, 100, 1000, 100_000] {
            let mut deflater = Deflater::new(Setup { mem_level, ..SETUP });
            let mut out = vec![0; Deflater::compressed_bytes_max(len)];
            let room = out.len();
            let end = deflater.compress(&noise[..len], &mut out, 0);
            assert_eq!(out.len(), room);
            let read = Reader::new(AFRESH, true).read(&out[..end], UNLIMITED);
            assert_eq!(read.as_deref(), Ok(&noise[..len]));
        }
    }
}
