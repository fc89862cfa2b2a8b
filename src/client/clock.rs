//! The deadlines of a connection, on one timer that exists only while there is one.
//!
//! Owns: when the peer must have been heard, and when a closing connection ends. Never: sends or closes anything itself.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The closing handshake took too long.
    End,
    /// Nothing was heard for an interval: the peer is to be asked.
    Ping,
    /// The peer did not answer.
    Silence,
}

#[derive(Debug)]
pub(crate) struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
    /// When a closing connection ends.
    end: Option<Instant>,
    keepalive: Option<Keepalive>,
}

#[derive(Debug)]
struct Keepalive {
    interval: Duration,
    timeout: Duration,
    /// When something was heard, or when the peer was asked.
    since: Instant,
    /// The peer was asked.
    asked: bool,
}

impl Clock {
    /// With a Ping after each `interval` of silence, and `timeout` for what follows it.
    pub(crate) fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        let keepalive = |interval| Keepalive {
            interval,
            timeout,
            since: Instant::now(),
            asked: false,
        };
        Self {
            timer: None,
            end: None,
            keepalive: interval.map(keepalive),
        }
    }

    /// The closing handshake has begun, and may take so long. Nobody is asked any more.
    pub(crate) fn end_within(&mut self, timeout: Duration) {
        self.keepalive = None;
        if self.end.is_none() {
            self.end = Some(Instant::now() + timeout);
        }
    }

    /// Something came from the peer.
    pub(crate) fn heard(&mut self) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.since = Instant::now();
            keepalive.asked = false;
        }
    }

    /// What is due. Pending for ever without a deadline.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let (at, due) = match (self.end, &self.keepalive) {
                (Some(end), _) => (end, Due::End),
                (None, None) => return Poll::Pending,
                (None, Some(alive)) if alive.asked => (alive.since + alive.timeout, Due::Silence),
                (None, Some(alive)) => (alive.since + alive.interval, Due::Ping),
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            // The timer is not moved for everything that is heard: it may fire too early.
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() < at {
                timer.as_mut().reset(at);
                continue;
            }
            self.timer = None;
            if let (Due::Ping, Some(alive)) = (due, &mut self.keepalive) {
                (alive.since, alive.asked) = (Instant::now(), true);
            }
            return Poll::Ready(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_asked_and_then_given_up() {
        let second = Duration::from_secs(1);
        let mut clock = Clock::new(Some(10 * second), 3 * second);
        let begin = Instant::now();
        assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Due::Ping);
        assert_eq!(begin.elapsed().as_secs(), 10);
        clock.heard();
        tokio::time::sleep(4 * second).await;
        clock.heard();
        assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Due::Ping);
        assert_eq!(begin.elapsed().as_secs(), 24);
        assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Due::Silence);
        assert_eq!(begin.elapsed().as_secs(), 27);
        clock.end_within(second);
        clock.end_within(9 * second);
        assert_eq!(poll_fn(|cx| clock.poll(cx)).await, Due::End);
        assert_eq!(begin.elapsed().as_secs(), 28);
    }
}
