//! The test's side: peers, and what else the worker watches.

use super::super::Fd;
use super::socket::Link;
use super::{File, PeerEnd, PeerId, Sim, Socket};

impl Sim {
    /// A listening socket. All of them share one backlog.
    pub fn listen(&mut self) -> Fd {
        self.open(File::Listener)
    }

    /// A descriptor that is no socket and becomes readable with [`Self::raise`].
    pub fn watchable(&mut self) -> Fd {
        self.open(File::Watch { raised: false })
    }

    /// Makes a watched descriptor readable, once.
    pub fn raise(&mut self, watch: Fd) {
        assert!(
            matches!(self.file(watch), File::Watch { .. }),
            "{watch:?} is watched"
        );
        self.files.insert(watch.0, File::Watch { raised: true });
    }

    /// A new peer, in the backlog of the listeners.
    pub fn connect(&mut self) -> PeerId {
        let at = self.sockets.len();
        self.sockets
            .push(Socket::new(self.options.inbox_max, self.options.outbox_max));
        self.backlog.push_back(at);
        PeerId(at)
    }

    /// The next peer that the worker connects to: [`Self::take_up`] or [`Self::refuse`] it.
    pub fn dialled(&mut self) -> Option<PeerId> {
        self.dialled.pop_front()
    }

    /// The peer accepts the connection.
    pub fn take_up(&mut self, peer: PeerId) {
        self.sockets[peer.0].link = Link::Up;
        self.sockets[peer.0].edge = true;
    }

    /// The peer refuses the connection.
    pub fn refuse(&mut self, peer: PeerId) {
        self.sockets[peer.0].link = Link::Refused;
        self.sockets[peer.0].edge = true;
    }

    /// Resets every peer that is not accepted, as when the last holder of the listeners closes them.
    pub fn clear_backlog(&mut self) {
        for at in self.backlog.drain(..) {
            self.sockets[at].close(true, &mut self.random);
        }
    }

    /// Whether the worker has not closed `fd`.
    pub fn is_open(&self, fd: Fd) -> bool {
        self.files.contains_key(&fd.0)
    }

    /// The descriptor that the worker has for `peer`, between accept and close.
    pub fn fd(&self, peer: PeerId) -> Option<Fd> {
        self.sockets[peer.0].fd
    }

    /// Whether the worker has closed its descriptor for `peer`.
    pub fn is_over(&self, peer: PeerId) -> bool {
        self.sockets[peer.0].closed
    }

    /// Sends: any number of bytes, which arrive as there is room for them.
    pub fn peer_send(&mut self, peer: PeerId, bytes: &[u8]) {
        self.sockets[peer.0].peer_send(bytes);
    }

    /// Reads all that has come from the worker. A peer that never does fills the socket.
    pub fn peer_take(&mut self, peer: PeerId) -> Vec<u8> {
        self.peer_take_some(peer, usize::MAX)
    }

    /// Reads at most `max` bytes of what has come from the worker.
    pub fn peer_take_some(&mut self, peer: PeerId, max: usize) -> Vec<u8> {
        self.sockets[peer.0].peer_take(max)
    }

    /// What `peer` meets after the bytes that it can take.
    pub fn peer_end(&self, peer: PeerId) -> PeerEnd {
        self.sockets[peer.0].peer_end_seen()
    }

    /// Bytes that `peer` could take.
    pub fn peer_pending(&self, peer: PeerId) -> usize {
        self.sockets[peer.0].waiting_for_peer()
    }

    /// Bytes from `peer` that the worker has not received.
    pub fn peer_unread(&self, peer: PeerId) -> usize {
        self.sockets[peer.0].waiting_for_worker()
    }

    /// Ends the peer's direction, after what it has sent.
    pub fn peer_half_close(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_end();
    }

    /// Closes: FIN after what was sent; RST at once when there is something that the peer did not read.
    pub fn peer_close(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_close();
    }

    /// Resets: what was sent and has not arrived is lost.
    pub fn peer_reset(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_reset();
    }
}
