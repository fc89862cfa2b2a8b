//! One test per bug that was found, by hand and without faults but the one that matters.

use std::time::Duration;

use super::script::Script;
use super::world::World;
use crate::conn::Config;
use crate::io::ReceiveMode;
use crate::io::sim::{Options, PeerId};

/// A world without clients.
fn world(mode: ReceiveMode) -> World {
    World::new(Options::faultless(mode), Config::default())
}

impl World {
    /// One turn that does not wait.
    fn turn(&mut self) {
        self.worker
            .turn(Some(Duration::ZERO))
            .expect("a simulation never fails");
    }

    /// A peer whose opening handshake is done.
    fn open(&mut self) -> PeerId {
        let octets = Script::open(&mut self.random).octets;
        let sim = self.worker.io_mut();
        let peer = sim.connect();
        sim.peer_send(peer, &octets);
        (0..3).for_each(|_| self.turn());
        assert!(self.take(peer).starts_with(b"HTTP/1.1 101 "));
        peer
    }

    fn send(&mut self, peer: PeerId, octets: &[u8]) {
        self.worker.io_mut().peer_send(peer, octets);
    }

    fn take(&mut self, peer: PeerId) -> Vec<u8> {
        self.worker.io_mut().peer_take(peer)
    }
}

/// The last completion of a cancelled receive can be `ENOBUFS`. It put the connection on the list of those that wait for
/// buffers and left it there: the slot and the descriptor were never freed.
#[test]
fn a_cancelled_receive_that_finds_no_buffer_still_frees_the_connection() {
    let mut world = world(ReceiveMode::Buffers);
    let peer = world.open();
    world.worker.abort();
    world.turn();
    let faults = world.worker.io_mut().faults_mut();
    (faults.cancel_races, faults.recv_enobufs) = (1000, 1000);
    world.send(peer, b"more");
    (0..3).for_each(|_| world.turn());
    assert_eq!(world.worker.connections(), 0);
    world.finish();
}
