//! SHA-256 of messages, at every level of the interface: `cargo run --release --example streaming_hash -- ws://127.0.0.1:9000`
//!
//! | path | what the application gets | what it answers | memory of a connection |
//! |---|---|---|---|
//! | `/message` | whole messages | the digest | a message, 64 MiB at most |
//! | `/frame` | whole frames | the digest of each frame, and of the message | a frame, 1 MiB at most |
//! | `/streaming` | pieces as they arrive | the digest of the message | none, however long the message is |
//! | `/producer/{bytes}` | any message, as the order | a message of so many bytes, as fast as the client takes it, and its digest | the send queue |
//!
//! `streaming_client` is a client for each of them. A client may compress what it sends: it is inflated as it comes, and where frames
//! are wanted each piece of that counts as one.

use std::process::ExitCode;

use ring::digest::{Context as Sha256, Digest, SHA256};
use ringway::{
    App, Chunk, Context, Deflate, Kind, Limits, Message, Opening, Receiving, SendError, Server,
    Verdict,
};

fn main() -> ExitCode {
    let uri = std::env::args().nth(1);
    server(uri.as_deref().unwrap_or("ws://127.0.0.1:9000")).run()
}

/// The four services.
pub(crate) fn server(uri: &str) -> ringway::ServerOfServices {
    let limits = |message_bytes, frame_bytes| {
        let mut limits = Limits::default();
        limits.message_bytes_max = Some(message_bytes);
        limits.frame_bytes_max = Some(frame_bytes);
        limits.deflate = Some(Deflate::default());
        limits
    };
    let endless = usize::MAX;
    Server::new(uri)
        .workers(1)
        .service_with("/message", limits(64 << 20, 64 << 20), |_| OfMessages)
        .service_with("/frame", limits(endless, 1 << 20), |_| OfFrames)
        .service_with("/streaming", limits(endless, endless), |_| OfChunks)
        .service("/producer/{bytes}", |_| Producer)
}

fn say(context: &mut Context<'_>, digest: Digest) {
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Fails if the client asks for digests and reads none: it gets no further ones.
    let _ = context.send(Kind::Text, hex.as_bytes());
}

struct OfMessages;

impl App for OfMessages {
    type Session = ();

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        say(context, ring::digest::digest(&SHA256, message.payload()));
    }
}

/// The digest of a message that has begun.
#[derive(Default)]
struct Begun(Option<Sha256>);

impl Begun {
    /// Adds a piece. Returns the digest behind the last one.
    fn add(&mut self, chunk: &Chunk<'_>) -> Option<Digest> {
        self.0
            .get_or_insert_with(|| Sha256::new(&SHA256))
            .update(chunk.payload);
        let whole = self.0.take_if(|_| chunk.message_ends);
        whole.map(Sha256::finish)
    }
}

struct OfFrames;

impl App for OfFrames {
    type Session = Begun;

    fn connect(&mut self, _: &mut Opening<'_>, _: &mut Begun) -> Verdict {
        Verdict::accept().receiving(Receiving::Frames)
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Begun, _: Message<'_>) {}

    fn chunk(&mut self, context: &mut Context<'_>, begun: &mut Begun, frame: Chunk<'_>) {
        say(context, ring::digest::digest(&SHA256, frame.payload));
        if let Some(digest) = begun.add(&frame) {
            say(context, digest);
        }
    }
}

struct OfChunks;

impl App for OfChunks {
    type Session = Begun;

    fn connect(&mut self, _: &mut Opening<'_>, _: &mut Begun) -> Verdict {
        Verdict::accept().receiving(Receiving::Chunks)
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut Begun, _: Message<'_>) {}

    fn chunk(&mut self, context: &mut Context<'_>, begun: &mut Begun, chunk: Chunk<'_>) {
        if let Some(digest) = begun.add(&chunk) {
            say(context, digest);
        }
    }
}

/// Bytes of a part of a produced message.
const PART_BYTES: usize = 64 << 10;

struct Producer;

/// What a client ordered, and how much of it is made.
#[derive(Default)]
struct Order {
    bytes: u64,
    made: u64,
    digest: Option<Sha256>,
}

impl Producer {
    /// Makes parts until the client's queue is full; `writable` goes on then.
    fn produce(context: &mut Context<'_>, order: &mut Order) {
        while let Some(digest) = &mut order.digest {
            let left = order.bytes - order.made;
            let len = usize::try_from(left).map_or(PART_BYTES, |left| left.min(PART_BYTES));
            let part = vec![(order.made / PART_BYTES as u64).to_le_bytes()[0]; len];
            let ends = len as u64 == left;
            match context.send_part(Kind::Binary, &part, ends) {
                Ok(()) => digest.update(&part),
                Err(SendError::QueueFull) => return,
                // The connection is closing.
                Err(_) => return order.digest = None,
            }
            order.made += len as u64;
            if ends && let Some(digest) = order.digest.take() {
                say(context, digest.finish());
            }
        }
    }
}

impl App for Producer {
    type Session = Order;

    fn connect(&mut self, opening: &mut Opening<'_>, order: &mut Order) -> Verdict {
        match opening.place("bytes").and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) => order.bytes = bytes,
            None => return Verdict::refuse(404, "order a number of bytes"),
        }
        Verdict::accept()
    }

    fn message(&mut self, context: &mut Context<'_>, order: &mut Order, _: Message<'_>) {
        if order.digest.is_none() {
            order.made = 0;
            order.digest = Some(Sha256::new(&SHA256));
            Self::produce(context, order);
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, order: &mut Order) {
        Self::produce(context, order);
    }
}
