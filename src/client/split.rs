//! A connection with a task of its own: senders that are cheap to clone, and one receiver.
//!
//! ```text
//!  Sender ──┐  commands, bounded           messages, bounded
//!  Sender ──┼────────────────────▶ driver ───────────────────▶ Receiver
//!  Sender ──┘                      WebSocket
//! ```
//!
//! Owns: the two channels and the task between them. Never: touches frames.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ringway_proto::frame::CONTROL_PAYLOAD_BYTES_MAX;
use ringway_proto::{CloseCode, Misuse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::error::Error;
use crate::message::{CloseFrame, Message, Text};
use crate::websocket::{Traffic, WebSocket};

enum Command {
    Send(Message),
    Close(CloseCode, Text),
}

/// Sends messages from any task. A clone costs a count. When all senders and the receiver are gone, the connection is
/// closed with 1000.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: mpsc::Sender<Command>,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The peer's Close, if there was one.
    pub close: Option<CloseFrame>,
    /// Why it failed, as a sentence; none after a closing handshake.
    pub failure: Option<String>,
    /// Messages that a sender had handed over, and that were not sent: they came behind a Close.
    pub unsent: u64,
    /// What went over the connection.
    pub traffic: Traffic,
}

/// Receives the messages of a connection.
#[derive(Debug)]
pub struct Receiver {
    messages: mpsc::Receiver<Result<Message, Error>>,
    /// Keeps the connection open while only the receiver is left.
    sender: Sender,
}

impl Sender {
    /// Hands a message to the connection's task; waits while as many wait as may. If the future is dropped before it
    /// ends, the message was not handed over. Messages of one sender keep their order.
    ///
    /// # Errors
    /// [`Error::Closed`]: the connection has ended, or begun to close. [`Error::Misuse`]: a Ping or Pong of more than 125
    /// bytes.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let message = message.into();
        check(&message)?;
        let sent = self.commands.send(Command::Send(message)).await;
        sent.map_err(|_| Error::Closed)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// The message: as many wait as may, the connection has ended, or it is too long for a Ping or Pong.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Unsent> {
        let message = message.into();
        if check(&message).is_err() {
            return Err(Unsent::TooLong(message));
        }
        let tried = self.commands.try_send(Command::Send(message));
        tried.map_err(|error| match error {
            TrySendError::Full(Command::Send(message)) => Unsent::Full(message),
            TrySendError::Closed(Command::Send(message)) => Unsent::Closed(message),
            TrySendError::Full(_) | TrySendError::Closed(_) => unreachable!("it was a message"),
        })
    }

    /// Closes the connection once fewer than [`Options::send_buffer_bytes`](crate::Options::send_buffer_bytes) wait of what
    /// was sent before, and waits for its end. What the peer still sends reaches the receiver. What the receiver has not
    /// taken [`Options::close_timeout`](crate::Options::close_timeout) after that is discarded and counted.
    ///
    /// A peer that does not read holds the Close up: [`Options::ping_interval`](crate::Options::ping_interval) ends such a
    /// connection. If the peer has closed first, nothing is discarded: the receiver has to take what came before.
    ///
    /// A code that may not be sent becomes 1000, and [`Ended::failure`] says so.
    pub async fn close(&self, code: CloseCode, reason: &str) -> Ended {
        // Refused only by a connection that has ended.
        let _ = self
            .commands
            .send(Command::Close(code, reason.into()))
            .await;
        self.ended().await
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> Ended {
        ended(self.ended.clone()).await
    }

    /// Whether the connection has ended, or begun to close.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// As many wait as may.
    Full(Message),
    /// The connection has ended, or begun to close.
    Closed(Message),
    /// A Ping or Pong of more than 125 bytes.
    TooLong(Message),
}

/// The task has nobody whom it could tell of a misuse.
fn check(message: &Message) -> Result<(), Error> {
    let is_control = matches!(message, Message::Ping(_) | Message::Pong(_));
    match is_control && message.len() > CONTROL_PAYLOAD_BYTES_MAX {
        true => Err(Misuse::ControlTooLong.into()),
        false => Ok(()),
    }
}

impl Receiver {
    /// The next message. `None` once the connection has ended. The future may be dropped; nothing is lost.
    ///
    /// # Errors
    /// The connection failed, which is told once; `None` follows.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        self.messages.recv().await.transpose()
    }

    /// Waits for the end of the connection. Messages that nobody takes may hold it up.
    pub async fn ended(&self) -> Ended {
        self.sender.ended().await
    }

    /// Another sender.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }
}

impl futures_core::Stream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(cx)
    }
}

async fn ended(mut ended: watch::Receiver<Option<Ended>>) -> Ended {
    match ended.wait_for(Option::is_some).await {
        Ok(known) => known.clone().unwrap_or_else(aborted),
        Err(_) => aborted(),
    }
}

/// The runtime has stopped under the task.
fn aborted() -> Ended {
    Ended {
        close: None,
        failure: Some("the connection's task was ended".to_owned()),
        unsent: 0,
        traffic: Traffic::default(),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Two handles, and the future that carries the connection between them: to be spawned, or joined with others.
    /// [`Options::handle_messages`](crate::Options::handle_messages) wait between them in each direction.
    ///
    /// The future ends with the connection. While the receiver does not take its messages, the peer is not read, and
    /// Pings behind those messages are not answered.
    pub fn split(self) -> (Sender, Receiver, impl Future<Output = ()>) {
        let waiting_max = self.options().handle_messages.max(1);
        let (commands, from_senders) = mpsc::channel(waiting_max);
        let (to_receiver, messages) = mpsc::channel(waiting_max);
        let (tell, ended) = watch::channel(None);
        let driver = Driver {
            websocket: self,
            commands: Some(from_senders),
            messages: to_receiver,
            delivery: None,
            end: None,
            failure: None,
            unsent: 0,
        };
        let sender = Sender {
            commands,
            ended: ended.clone(),
        };
        let receiver = Receiver {
            messages,
            sender: sender.clone(),
        };
        let driven = async move {
            // Nobody may be there to be told.
            let _ = tell.send(Some(driver.run().await));
        };
        (sender, receiver, driven)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> WebSocket<S> {
    /// Gives the connection a task on tokio's runtime, which sends, receives, answers Pings and keeps deadlines while the
    /// receiver takes its messages.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn spawn(self) -> (Sender, Receiver) {
        let (sender, receiver, driver) = self.split();
        tokio::spawn(driver);
        (sender, receiver)
    }
}

/// An item that waits for room in the receiver's channel.
struct Delivery {
    is_message: bool,
    /// Whether the receiver was there to take it.
    sending: Pin<Box<dyn Future<Output = bool> + Send>>,
}

struct Driver<S> {
    websocket: WebSocket<S>,
    /// `None`: nothing more is sent.
    commands: Option<mpsc::Receiver<Command>>,
    messages: mpsc::Sender<Result<Message, Error>>,
    delivery: Option<Delivery>,
    /// Since a sender has closed the connection: how long the receiver may hold its end up.
    end: Option<Pin<Box<Sleep>>>,
    failure: Option<String>,
    unsent: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(mut self) -> Ended {
        poll_fn(|cx| self.poll(cx)).await;
        self.end_commands();
        Ended {
            close: self.websocket.closed().cloned(),
            failure: self.failure,
            unsent: self.unsent,
            traffic: *self.websocket.traffic(),
        }
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.take_commands(cx);
            ready!(self.poll_delivery(cx));
            match ready!(self.websocket.poll_message(cx)) {
                Ok(None) => return Poll::Ready(()),
                Ok(Some(message)) => self.deliver(Ok(message)),
                Err(error) => {
                    self.failure = Some(error.to_string());
                    self.deliver(Err(error));
                }
            }
        }
    }

    /// Ready when nothing waits for the receiver.
    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(delivery) = &mut self.delivery else {
            return Poll::Ready(());
        };
        let is_message = delivery.is_message;
        let is_taken = match delivery.sending.as_mut().poll(cx) {
            Poll::Ready(is_taken) => is_taken,
            Poll::Pending => {
                // How writing goes is told by receiving.
                let _ = self.websocket.poll_send_flush(cx);
                let Some(end) = &mut self.end else {
                    return Poll::Pending;
                };
                ready!(end.as_mut().poll(cx));
                false
            }
        };
        self.delivery = None;
        if is_message && !is_taken {
            self.websocket.count_discarded();
        }
        Poll::Ready(())
    }

    /// Takes what the senders want, as long as the connection takes it.
    fn take_commands(&mut self, cx: &mut Context<'_>) {
        while let Some(commands) = &mut self.commands {
            match self.websocket.poll_send_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => return self.end_commands(),
                Poll::Ready(Ok(())) => {}
            }
            match commands.poll_recv(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Command::Send(message))) => {
                    self.unsent += u64::from(self.websocket.queue(message).is_err());
                }
                Poll::Ready(Some(Command::Close(code, reason))) => {
                    self.start_close(code, &reason);
                }
                Poll::Ready(None) => self.start_close(CloseCode::NormalClosure, ""),
            }
        }
    }

    fn start_close(&mut self, code: CloseCode, reason: &str) {
        if let Err(error) = self.websocket.start_close(code, reason) {
            // The code cannot be sent: the connection closes all the same.
            self.failure = Some(error.to_string());
            let _ = self.websocket.start_close(CloseCode::NormalClosure, reason);
        }
        let close_timeout = self.websocket.options().close_timeout;
        self.end = Some(Box::pin(sleep(close_timeout)));
        self.end_commands();
    }

    /// Nothing more is sent: counts what waits for it.
    fn end_commands(&mut self) {
        let Some(mut commands) = self.commands.take() else {
            return;
        };
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.unsent += u64::from(matches!(command, Command::Send(_)));
        }
    }

    fn deliver(&mut self, item: Result<Message, Error>) {
        match self.messages.try_send(item) {
            Ok(()) => {}
            Err(TrySendError::Closed(Ok(_))) => self.websocket.count_discarded(),
            Err(TrySendError::Closed(Err(_))) => {}
            Err(TrySendError::Full(item)) => {
                let (messages, is_message) = (self.messages.clone(), item.is_ok());
                self.delivery = Some(Delivery {
                    is_message,
                    sending: Box::pin(async move { messages.send(item).await.is_ok() }),
                });
            }
        }
    }
}
