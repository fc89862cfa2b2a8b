//! The application of a worker, and its sessions.

use super::app::App;
use crate::io::ConnId;

/// The application of a worker, and its session for each connection.
pub(crate) struct Host<A: App> {
    pub(crate) app: A,
    sessions: Sessions<A::Session>,
}

impl<A: App> Host<A> {
    pub(crate) fn new(app: A) -> Self {
        Self {
            app,
            sessions: Sessions::new(),
        }
    }

    /// The application and the session of one connection.
    #[inline]
    pub(crate) fn of(&mut self, id: ConnId) -> (&mut A, &mut A::Session) {
        (&mut self.app, self.sessions.of(id))
    }

    /// Takes the session of a connection that ends. The slot's next connection begins with a default one.
    pub(crate) fn end(&mut self, id: ConnId) -> (&mut A, A::Session) {
        let session = std::mem::take(self.sessions.of(id));
        (&mut self.app, session)
    }
}

/// Sessions by slot, in chunks that never move. They lie outside the table, so that a slot's size does not depend on
/// them.
#[derive(Debug)]
struct Sessions<S> {
    chunks: Vec<Box<[S]>>,
    /// The one session, if the type has no size: no chunk is needed then.
    only: S,
}

/// Sessions in one chunk.
const CHUNK: usize = 64;

impl<S: Default> Sessions<S> {
    fn new() -> Self {
        Self {
            chunks: Vec::new(),
            only: S::default(),
        }
    }

    #[inline]
    fn of(&mut self, id: ConnId) -> &mut S {
        if size_of::<S>() == 0 {
            return &mut self.only;
        }
        let (chunk, at) = (id.slot as usize / CHUNK, id.slot as usize % CHUNK);
        if chunk >= self.chunks.len() {
            self.grow(chunk);
        }
        &mut self.chunks[chunk][at]
    }

    #[cold]
    fn grow(&mut self, chunk: usize) {
        let fresh = || (0..CHUNK).map(|_| S::default()).collect();
        self.chunks.resize_with(chunk + 1, fresh);
    }
}
