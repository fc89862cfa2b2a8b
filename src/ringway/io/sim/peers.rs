//! The test's side: the peers, and the descriptors that the worker watches.

use super::super::Fd;
use super::socket::Link;
use super::{File, PeerEnd, PeerId, Sim, Socket};

impl Sim {
    /// A listening socket. All listeners share one backlog.
    pub fn listen(&mut self) -> Fd {
        self.open(File::Listener)
    }

    /// A descriptor that is no socket. [`Self::raise`] makes it readable.
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

    /// A new peer, which waits in the backlog of the listeners.
    pub fn connect(&mut self) -> PeerId {
        let at = self.sockets.len();
        self.sockets
            .push(Socket::new(self.options.inbox_max, self.options.outbox_max));
        self.backlog.push_back(at);
        PeerId(at)
    }

    /// The next peer to which the worker connects. The test decides with [`Self::take_up`] or [`Self::refuse`].
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

    /// Resets every peer that was not accepted, as the kernel does when the last holder of the listeners closes them.
    pub fn clear_backlog(&mut self) {
        for at in self.backlog.drain(..) {
            self.sockets[at].close(true, &mut self.random);
        }
    }

    /// Whether `fd` is open in the worker.
    pub fn is_open(&self, fd: Fd) -> bool {
        self.files.contains_key(&fd.0)
    }

    /// The worker's descriptor for `peer`, between accept and close.
    pub fn fd(&self, peer: PeerId) -> Option<Fd> {
        self.sockets[peer.0].fd
    }

    /// Whether the worker has closed its descriptor for `peer`.
    pub fn is_over(&self, peer: PeerId) -> bool {
        self.sockets[peer.0].closed
    }

    /// Sends any number of bytes. They arrive as the socket has room for them.
    pub fn peer_send(&mut self, peer: PeerId, bytes: &[u8]) {
        self.sockets[peer.0].peer_send(bytes);
    }

    /// Reads all that the worker has sent. A peer that never reads fills the socket.
    pub fn peer_take(&mut self, peer: PeerId) -> Vec<u8> {
        self.peer_take_some(peer, usize::MAX)
    }

    /// Reads at most `max` bytes of what the worker has sent.
    pub fn peer_take_some(&mut self, peer: PeerId, max: usize) -> Vec<u8> {
        self.sockets[peer.0].peer_take(max)
    }

    /// What `peer` finds behind the bytes that it can read.
    pub fn peer_end(&self, peer: PeerId) -> PeerEnd {
        self.sockets[peer.0].peer_end_seen()
    }

    /// Bytes that `peer` can read.
    pub fn peer_pending(&self, peer: PeerId) -> usize {
        self.sockets[peer.0].waiting_for_peer()
    }

    /// Bytes from `peer` that the worker has not received.
    pub fn peer_unread(&self, peer: PeerId) -> usize {
        self.sockets[peer.0].waiting_for_worker()
    }

    /// Ends the peer's direction, behind the bytes that it has sent.
    pub fn peer_half_close(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_end();
    }

    /// Closes: a FIN behind the sent bytes, or at once a RST if the peer has unread bytes.
    pub fn peer_close(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_close();
    }

    /// Resets the connection: sent bytes that have not arrived are lost.
    pub fn peer_reset(&mut self, peer: PeerId) {
        self.sockets[peer.0].peer_reset();
    }
}
