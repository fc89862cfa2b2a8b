//! A connection that is opened again when it ends: with back-off, and with jitter, so that the clients of a server that
//! restarts do not all come at once.
//!
//! Owns: when the next attempt is due. Never: sends a message twice, or keeps one for the next connection: only the
//! program knows what is still true then.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::connect::Connector;
use crate::connect_error::ConnectError;
use crate::error::Error;
use crate::message::{CloseFrame, Message};
use crate::random;
use crate::response::Response;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Backoff {
    /// The longest wait before the second attempt. The first one is made at once. Default 500 ms.
    pub first: Duration,
    /// The longest wait of all. Default 30 s.
    pub max: Duration,
    /// By how much each wait is longer than the one before. Default 2.
    pub factor: f64,
    /// The part of a wait that is random, from 0 (none) to 1 (all of it). Default 0.5.
    pub jitter: f64,
    /// An attempt that fails is the last one if there were so many failures in a row with it. The end of a connection is
    /// also a failure, and begins a new row if it was open for [`stable_after`](Self::stable_after). Default: no limit.
    pub attempts_max: Option<u32>,
    /// After a connection that was open for so long, the waits start again with `first`. Default 10 s.
    pub stable_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.5,
            attempts_max: None,
            stable_after: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row. `random` is in `0.0..1.0`.
    fn wait(&self, failed: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.first.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let longest = grown.min(self.max.as_secs_f64());
        let part = longest * (1.0 - self.jitter.clamp(0.0, 1.0) * random);
        Duration::try_from_secs_f64(part).unwrap_or(self.max)
    }
}

/// What happens on a connection that is opened again and again.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening {
    /// The WebSocket is open, for the first time or again: the place to log in and to subscribe.
    Open(Response),
    /// A message.
    Message(Message),
    /// The connection has ended, and will be opened again: by the peer's Close, or because it failed.
    Lost(Result<Option<CloseFrame>, Error>),
    /// An attempt has failed, and will be followed by another one.
    Failed(ConnectError),
}

type Opened = Result<(WebSocket<Stream>, Response), ConnectError>;

enum State {
    /// Waits until the next attempt is due.
    Waiting(Option<Pin<Box<Sleep>>>),
    Connecting(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Open(Box<WebSocket<Stream>>),
    /// There is no further attempt.
    GivenUp,
}

/// A WebSocket that is opened again when it ends.
///
/// ```no_run
/// # async fn example() -> Result<(), ringway_client::ConnectError> {
/// use ringway_client::{Connector, Happening, Reconnecting};
///
/// let mut feed = Reconnecting::new(Connector::new("wss://example.com/feed"));
/// while let Some(happening) = feed.next().await? {
///     match happening {
///         Happening::Open(_) => drop(feed.send("subscribe").await), // if that fails, `next` says why
///         Happening::Message(message) => println!("{message:?}"),
///         other => eprintln!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reconnecting {
    connector: Connector,
    backoff: Backoff,
    /// Attempts that failed in a row, and connections that did not stay open.
    failed: u32,
    opened_at: Instant,
    state: State,
}

impl Reconnecting {
    /// With the usual [`Backoff`]. Nothing is opened before [`next`](Self::next) is called.
    pub fn new(connector: Connector) -> Self {
        Self::with_backoff(connector, Backoff::default())
    }

    /// With another one.
    pub fn with_backoff(connector: Connector, backoff: Backoff) -> Self {
        Self {
            connector,
            backoff,
            failed: 0,
            opened_at: Instant::now(),
            state: State::Waiting(None),
        }
    }

    /// What happens next. `None` after [`close`](Self::close). The future may be dropped; nothing is lost, and an attempt
    /// goes on with the next call.
    ///
    /// # Errors
    /// There will be no further attempt: this one failed in a way that another one would, too
    /// ([`ConnectError::is_transient`]), or it was the last one allowed. `None` follows.
    pub async fn next(&mut self) -> Result<Option<Happening>, ConnectError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends a message on the connection that is open, as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// [`Error::Closed`] while none is open: nothing is kept for the next one.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        match &mut self.state {
            State::Open(websocket) => websocket.send(message).await,
            _ => Err(Error::Closed),
        }
    }

    /// The connection that is open.
    pub fn websocket(&mut self) -> Option<&mut WebSocket<Stream>> {
        match &mut self.state {
            State::Open(websocket) => Some(websocket),
            _ => None,
        }
    }

    /// Closes the connection with 1000, and makes no further attempt. The future may be dropped: then
    /// the connection is dropped with this value.
    ///
    /// # Errors
    /// As [`WebSocket::close`].
    pub async fn close(&mut self) -> Result<(), Error> {
        let result = match &mut self.state {
            State::Open(websocket) => {
                websocket
                    .close(ringway_proto::CloseCode::NormalClosure, "")
                    .await
            }
            _ => Ok(()),
        };
        self.state = State::GivenUp;
        result
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Happening>, ConnectError>> {
        loop {
            self.state = match &mut self.state {
                State::GivenUp => return Poll::Ready(Ok(None)),
                State::Waiting(timer) => {
                    if let Some(timer) = timer {
                        ready!(timer.as_mut().poll(cx));
                    }
                    let connector = self.connector.clone();
                    State::Connecting(Box::pin(async move { connector.connect().await }))
                }
                State::Connecting(attempt) => match ready!(attempt.as_mut().poll(cx)) {
                    Ok((websocket, response)) => {
                        self.opened_at = Instant::now();
                        self.state = State::Open(Box::new(websocket));
                        return Poll::Ready(Ok(Some(Happening::Open(response))));
                    }
                    Err(error) => return Poll::Ready(self.attempt_failed(error).map(Some)),
                },
                State::Open(websocket) => {
                    let lost = match ready!(websocket.poll_message(cx)) {
                        Ok(Some(message)) => {
                            return Poll::Ready(Ok(Some(Happening::Message(message))));
                        }
                        Ok(None) => Ok(websocket.closed().cloned()),
                        Err(error) => Err(error),
                    };
                    if self.opened_at.elapsed() >= self.backoff.stable_after {
                        self.failed = 0;
                    }
                    self.wait();
                    return Poll::Ready(Ok(Some(Happening::Lost(lost))));
                }
            };
        }
    }

    fn attempt_failed(&mut self, error: ConnectError) -> Result<Happening, ConnectError> {
        let is_last = self
            .backoff
            .attempts_max
            .is_some_and(|max| self.failed.saturating_add(1) >= max);
        if is_last || !error.is_transient() {
            self.state = State::GivenUp;
            return Err(error);
        }
        self.wait();
        Ok(Happening::Failed(error))
    }

    fn wait(&mut self) {
        self.failed = self.failed.saturating_add(1);
        let wait = self.backoff.wait(self.failed, random::fraction());
        let timer = Box::pin(sleep_until(Instant::now() + wait));
        self.state = State::Waiting(Some(timer));
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("connector", &self.connector)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_limit_and_a_part_of_them_is_random() {
        let mut backoff = Backoff::default();
        let ms = |backoff: &Backoff, failed, random| backoff.wait(failed, random).as_millis();
        let waits: Vec<_> = (1..9).map(|failed| ms(&backoff, failed, 0.0)).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(ms(&backoff, 2, 0.5), 750);
        assert_eq!(ms(&backoff, u32::MAX, 1.0), 15_000);
        (backoff.jitter, backoff.factor) = (9.0, 0.1);
        assert_eq!(ms(&backoff, 5, 1.0), 0);
        assert_eq!(ms(&backoff, 5, 0.0), 500);
    }
}
