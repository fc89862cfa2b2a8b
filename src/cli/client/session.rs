//! An open connection with what its user wants of it: showing, recording, counting, round trips of Pings.
//!
//! Owns: what is to be sent next, and how the connection ended. Never: decides what to send.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ringway_client::bytes::Bytes;
use ringway_client::{CloseCode, Error, Message, Receiver, Sender};
use ringway_command::recording::Way;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::command::{Command, HELP};
use super::ending::{Code, Failed, frame_in_words, in_words, of_peers_close};
use super::record::Recorder;
use super::screen::Screen;
use super::show::{Style, harmless, hex};

/// Pings of our own whose Pongs are waited for; RFC 6455 §5.5.3 lets a peer answer the last one only.
const PINGS_MAX: usize = 64;

/// What somebody types, or pipes in.
#[derive(Debug)]
pub(super) enum Input {
    Line(String),
    Message(Message),
    /// Ctrl-C on the terminal.
    Interrupt,
    /// The input cannot go on.
    Failed(Failed),
}

/// What [`Session::next`] found.
#[derive(Debug)]
pub(super) enum Happening {
    Message(Message),
    /// `None`: the input has ended.
    Input(Option<Input>),
    Deadline,
    /// The connection has ended.
    Ended,
    /// SIGINT or SIGTERM has come.
    Signal,
}

#[derive(Debug)]
enum Outgoing {
    Message(Message),
    Close(CloseCode, String),
}

/// What a session does beside passing messages.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) style: Style,
    pub(super) screen: Screen,
    pub(super) recorder: Option<Recorder>,
    /// Close after so many messages.
    pub(super) count: Option<u64>,
    /// Close at this time.
    pub(super) until: Option<Instant>,
    pub(super) show_control: bool,
    pub(super) message_bytes_max: u64,
    /// Changes with each signal to stop.
    pub(super) signals: watch::Receiver<u32>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    sender: Sender,
    receiver: Receiver,
    pub(super) manner: Manner,
    outgoing: VecDeque<Outgoing>,
    /// We have begun to close.
    is_closing: bool,
    failure: Option<Error>,
    /// Something else than the connection ends this session with a code.
    failed: Option<Failed>,
    pings: VecDeque<(Bytes, Instant)>,
    pings_sent: u64,
    received: u64,
    input_ended: bool,
}

impl Session {
    pub(super) fn new((sender, receiver): (Sender, Receiver), manner: Manner) -> Self {
        Self {
            sender,
            receiver,
            manner,
            outgoing: VecDeque::new(),
            is_closing: false,
            failure: None,
            failed: None,
            pings: VecDeque::new(),
            pings_sent: 0,
            received: 0,
            input_ended: false,
        }
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: Message) {
        self.outgoing.push_back(Outgoing::Message(message));
    }

    /// Queues a Close behind the messages that wait. Only the first one counts.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.is_closing {
            self.is_closing = true;
            self.outgoing
                .push_back(Outgoing::Close(code, reason.to_owned()));
        }
    }

    /// Closes, and remembers why this is no clean end.
    pub(super) fn fail(&mut self, failed: Failed) {
        self.failed.get_or_insert(failed);
        self.close(CloseCode::NormalClosure, "");
    }

    /// A signal has come: leaves.
    pub(super) fn interrupt(&mut self) {
        self.failed
            .get_or_insert_with(|| Failed::new(Code::Interrupted, ""));
        self.close(CloseCode::GoingAway, "");
    }

    /// Whether nothing waits to be sent.
    pub(super) fn is_all_sent(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Waits for what happens next, sends and shows messages meanwhile.
    pub(super) async fn next(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        deadline: Option<Instant>,
    ) -> Happening {
        loop {
            let sends = !self.outgoing.is_empty();
            let until = self.manner.until.filter(|_| !self.is_closing);
            let earliest = [deadline, until].into_iter().flatten().min();
            let received = tokio::select! {
                _ = self.manner.signals.changed() => return Happening::Signal,
                received = self.receiver.recv() => received,
                sent = transmit(&self.sender, self.outgoing.front()), if sends => {
                    self.sent(sent);
                    continue;
                }
                input = inputs.recv(), if !sends && !self.input_ended => {
                    self.input_ended = input.is_none();
                    return Happening::Input(input);
                }
                () = at(earliest) => {
                    if until.is_some_and(|until| until <= Instant::now()) {
                        self.close(CloseCode::NormalClosure, "");
                        continue;
                    }
                    return Happening::Deadline;
                }
            };
            match received {
                Ok(None) => return Happening::Ended,
                Err(error) => self.failure = Some(error),
                Ok(Some(message)) => {
                    if let Some(message) = self.take(message).await {
                        return Happening::Message(message);
                    }
                }
            }
        }
    }

    /// The front of the queue was handed over, or never will be.
    fn sent(&mut self, sent: Result<(), Error>) {
        let Some(outgoing) = self.outgoing.pop_front() else {
            return;
        };
        match (outgoing, sent) {
            (Outgoing::Message(message), Ok(())) => self.record(Way::Sent, &message),
            (Outgoing::Close(code, reason), _) => {
                if let Some(recorder) = &mut self.manner.recorder {
                    recorder.close(Way::Sent, code, &reason);
                }
                let sender = self.sender.clone();
                tokio::spawn(async move { sender.close(code, &reason).await });
            }
            // The end, which is told next, says more than this.
            (Outgoing::Message(_), Err(_)) => {}
        }
    }

    fn record(&mut self, way: Way, message: &Message) {
        if let Some(recorder) = &mut self.manner.recorder {
            recorder.message(way, message);
        }
    }

    /// Shows and records what has come. Returned are messages; Pings and Pongs are dealt with here.
    async fn take(&mut self, message: Message) -> Option<Message> {
        self.record(Way::Received, &message);
        match &message {
            Message::Text(_) | Message::Binary(_) => {}
            Message::Ping(payload) => {
                self.control("Ping", payload).await;
                return None;
            }
            Message::Pong(payload) => {
                self.pong(payload).await;
                return None;
            }
        }
        if self
            .manner
            .count
            .is_some_and(|count| self.received >= count)
        {
            return None;
        }
        self.received += 1;
        let now = SystemTime::now();
        if self
            .manner
            .screen
            .message(self.manner.style.received(&message, now))
            .await
            .is_err()
        {
            // As for `head`: whoever read has read enough.
            self.close(CloseCode::NormalClosure, "");
        }
        if self.manner.count == Some(self.received) {
            self.close(CloseCode::NormalClosure, "");
        }
        Some(message)
    }

    async fn control(&self, what: &str, payload: &[u8]) {
        if self.manner.show_control {
            self.remark(&format!("{what} {}", payload_in_words(payload)))
                .await;
        }
    }

    async fn pong(&mut self, payload: &Bytes) {
        let Some(at) = self.pings.iter().position(|(sent, _)| sent == payload) else {
            return self.control("Pong", payload).await;
        };
        let since = self
            .pings
            .drain(..=at)
            .next_back()
            .map(|(_, since)| since.elapsed());
        let time = since.unwrap_or_default();
        self.remark(&format!(
            "Pong {} after {time:.1?}",
            payload_in_words(payload)
        ))
        .await;
    }

    /// Says something beside the messages.
    pub(super) async fn remark(&self, text: &str) {
        let text = self.manner.style.remark(text, SystemTime::now());
        self.manner.screen.remark(text).await;
    }

    /// Does what a line says, if it is not for scripts alone. The error is a clause for the user.
    pub(super) async fn execute(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Text(text) => self.send(text.into()),
            Command::Binary(bytes) => self.send(bytes.into()),
            Command::SendFile(path) => {
                let bytes = read_file(&path, self.manner.message_bytes_max)?;
                self.remark(&format!("sends {} bytes", bytes.len())).await;
                self.send(bytes.into());
            }
            Command::Ping(text) => self.ping(text),
            Command::Pong(text) => self.send(Message::Pong(text.into())),
            Command::Close(code, reason) => self.close(code, &reason),
            Command::Quit => self.close(CloseCode::NormalClosure, ""),
            Command::Hex(on) => self.manner.style.text_as_hex = on,
            Command::Json(on) => self.manner.style.json = on,
            Command::Help => self.manner.screen.remark(format!("{HELP}\n")).await,
            Command::Wait(_) | Command::Expect(_) | Command::ExpectClose(_) | Command::Sleep(_) => {
                return Err("this is for scripts: --execute or --script".to_owned());
            }
        }
        Ok(())
    }

    fn ping(&mut self, text: Option<String>) {
        self.pings_sent += 1;
        let payload = Bytes::from(text.unwrap_or_else(|| self.pings_sent.to_string()));
        if self.pings.len() == PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back((payload.clone(), Instant::now()));
        self.send(Message::Ping(payload));
    }

    /// Passes everything on until the connection has ended, and says how. A second signal or Ctrl-C does not wait for that.
    pub(super) async fn end(mut self) -> Code {
        let (_no_input, mut inputs) = mpsc::channel(1);
        loop {
            match self.next(&mut inputs, None).await {
                Happening::Ended | Happening::Signal => break,
                _ => {}
            }
        }
        self.ended().await
    }

    /// The peer's Close; only of a connection that has ended.
    pub(super) async fn peers_close(&self) -> Option<CloseCode> {
        self.receiver.ended().await.close.map(|frame| frame.code)
    }

    /// Whatever code the peer closed with, a script wanted it.
    pub(super) fn close_was_expected(&mut self) {
        self.is_closing = true;
    }

    async fn ended(mut self) -> Code {
        let signalled = self
            .failed
            .as_ref()
            .is_some_and(|failed| failed.code == Code::Interrupted);
        // After a signal, the connection may be open still.
        let patience = if signalled {
            Duration::ZERO
        } else {
            Duration::from_secs(1)
        };
        let ended = tokio::time::timeout(patience, self.receiver.ended())
            .await
            .ok();
        let close = ended.as_ref().and_then(|ended| ended.close.as_ref());
        if let Some(recorder) = &mut self.manner.recorder {
            if let Some(frame) = close {
                recorder.close(Way::Received, frame.code, &frame.reason);
            }
            if let Err(why) = recorder.end() {
                self.failed
                    .get_or_insert_with(|| Failed::new(Code::Environment, why));
            }
        }
        let code = match (&self.failure, close) {
            (Some(error), _) => {
                let failed = Failed::connection(error);
                let code = failed.code;
                self.failed.get_or_insert(failed);
                code
            }
            (None, Some(frame)) if self.is_closing => {
                if self.manner.style.is_terminal || self.manner.show_control {
                    self.remark(&format!("closed, with {}", in_words(frame.code)))
                        .await;
                }
                Code::Clean
            }
            (None, Some(frame)) => {
                let code = of_peers_close(frame.code);
                if self.manner.style.is_terminal || self.manner.show_control || code != Code::Clean
                {
                    self.remark(&format!("the peer closed with {}", frame_in_words(frame)))
                        .await;
                }
                code
            }
            (None, None) => Code::Clean,
        };
        let unsent = ended.map_or(0, |ended| ended.unsent) + self.outgoing.len() as u64;
        if unsent > 0 {
            self.remark(&format!("messages that were not sent: {unsent}"))
                .await;
        }
        self.complain().await;
        self.failed.map_or(code, |failed| failed.code)
    }

    /// Says why this was no clean end.
    async fn complain(&self) {
        match &self.failed {
            None => {}
            Some(failed) if failed.sentence.is_empty() => {}
            Some(failed) if self.manner.style.is_terminal => self.remark(&failed.sentence).await,
            Some(failed) => {
                let line = format!("ringway: error: {}\n", failed.sentence);
                self.manner.screen.remark(line).await;
            }
        }
    }
}

/// The payload of a Ping or Pong.
fn payload_in_words(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => format!("\"{}\"", harmless(text)),
        Err(_) => hex(payload),
    }
}

/// A file to send.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{shown}: {error}"))?;
    match bytes.len() as u64 > bytes_max {
        true => Err(format!(
            "{shown} has more than {bytes_max} bytes: --max-message allows more"
        )),
        false => Ok(bytes),
    }
}

async fn transmit(sender: &Sender, outgoing: Option<&Outgoing>) -> Result<(), Error> {
    match outgoing {
        Some(Outgoing::Message(message)) => sender.send(message.clone()).await,
        Some(Outgoing::Close(..)) | None => Ok(()),
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
