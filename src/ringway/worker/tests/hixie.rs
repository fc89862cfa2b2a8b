//! Clients of Hixie-75 and Hixie-76, whose bytes are written out here, over a kernel with faults.

use std::time::Duration;

use super::script::text;
use super::world::{TURNS_MAX, World, seeds};
use crate::io::sim::{Options, PeerEnd, Random};
use crate::proto::handshake::Versions;
use crate::protocol::OpeningRules;
use crate::worker::Config;

const ASK_75: &[u8] =
    b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nHost: a\r\n\r\n";
const ANSWER_75: &[u8] =
    b"HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    WebSocket-Location: ws://a/\r\n\r\n";
/// The keys and the digest of the draft's example.
const ASK_76: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nHost: a\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\r\n^n:ds[4U";
const ANSWER_76: &[u8] =
    b"HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Location: ws://a/\r\n\r\n8jKS'y:G*Co,Wxa-";

#[test]
fn old_clients_get_every_text_back_over_a_kernel_with_faults() {
    seeds(150, |seed| {
        let mut random = Random::new(seed ^ 0x01D);
        let is_76 = random.chance(500);
        let (mut says, mut hears) = match is_76 {
            true => (ASK_76.to_vec(), ANSWER_76.to_vec()),
            false => (ASK_75.to_vec(), ANSWER_75.to_vec()),
        };
        let texts = random.pick(&[1, 5, 100]);
        for _ in 0..texts {
            let len = random.magnitude(50_000 / texts);
            let frame = [b"\0", &text(&mut random, len)[..], b"\xFF"].concat();
            says.extend_from_slice(&frame);
            hears.extend_from_slice(&frame);
            if !is_76 && random.chance(200) {
                says.extend_from_slice(b"\x80\x02\0\xFF\x01passed\xFF");
            }
        }
        if is_76 {
            says.extend_from_slice(b"\xFF\0");
            hears.extend_from_slice(b"\xFF\0");
        }
        let config = Config {
            opening: OpeningRules {
                versions: Versions::Legacy,
                ..OpeningRules::default()
            },
            send_queue_bytes_max: random.pick(&[1_000, 1 << 20]),
            ..Config::default()
        };
        let mut world = World::new(Options::draw(seed), config);
        let peer = world.worker.io_mut().connect();
        let (mut rest, mut heard, mut turns) = (&says[..], Vec::new(), 0);
        while heard.len() < hears.len()
            || is_76 && world.worker.io().peer_end(peer) == PeerEnd::Open
        {
            let (now, later) = rest.split_at(random.magnitude(20_000).min(rest.len()));
            rest = later;
            let sim = world.worker.io_mut();
            sim.peer_send(peer, now);
            let most = random.pick(&[0, 500, 100_000]);
            heard.extend(sim.peer_take_some(peer, most));
            let turn = world.worker.turn(Some(Duration::from_millis(1)));
            turn.expect("a simulation never fails");
            turns += 1;
            assert!(
                turns < TURNS_MAX,
                "{} of {} bytes",
                heard.len(),
                hears.len()
            );
        }
        assert!(heard == hears, "{} of {} bytes", heard.len(), hears.len());
        world.worker.io_mut().peer_close(peer);
        let counters = world.finish();
        assert_eq!(counters.messages_in, texts as u64);
        assert_eq!(counters.messages_out, texts as u64);
        assert_eq!((counters.handshakes_hixie, counters.violations), (1, 0));
        assert_eq!(
            (counters.drops, counters.closed_unclean),
            (0, u64::from(!is_76))
        );
    });
}
