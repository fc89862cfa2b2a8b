//! `--replay`: sends what a client sent, when it did, and compares what comes back.

use std::time::Duration;

use ringway_client::{CloseCode, Message};
use ringway_command::recording::{Entry, Way, What};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ending::{Code, Failed};
use super::options::Check;
use super::record;
use super::session::{Happening, Session};

/// What the recording says came back, and what comes.
struct Comparison {
    check: Check,
    expected: Vec<Message>,
    came: usize,
    /// The first difference, as a sentence.
    difference: Option<String>,
}

impl Comparison {
    fn of(check: Check, entries: &[Entry]) -> Self {
        let received = entries.iter().filter(|entry| entry.way == Way::Received);
        let expected = received.filter(|entry| matches!(entry.what, What::Message(..)));
        Self {
            check,
            expected: expected
                .filter_map(|entry| record::message(&entry.what))
                .collect(),
            came: 0,
            difference: None,
        }
    }

    fn take(&mut self, message: &Message) {
        let expected = self.expected.get(self.came);
        self.came += 1;
        if self.check == Check::Exact && expected.is_some_and(|expected| expected != message) {
            self.difference.get_or_insert_with(|| {
                format!("message {} is another than in the recording", self.came)
            });
        }
    }

    fn is_complete(&self) -> bool {
        self.came >= self.expected.len()
    }

    fn difference(self) -> Option<String> {
        let count = self.came != self.expected.len();
        let difference = self.difference.or_else(|| {
            count.then(|| {
                format!(
                    "{} messages came back, and {} in the recording",
                    self.came,
                    self.expected.len()
                )
            })
        });
        difference.filter(|_| self.check != Check::None)
    }
}

/// Plays a recording back. After its last message, what the recording has is waited for, `patience` for each message.
pub(super) async fn run(
    mut session: Session,
    entries: &[Entry],
    speed: f64,
    check: Check,
    patience: Duration,
) -> Code {
    let mut comparison = Comparison::of(check, entries);
    let mut to_send = entries
        .iter()
        .filter(|entry| entry.way == Way::Sent)
        .peekable();
    let (_no_input, mut inputs) = mpsc::channel(1);
    let started = Instant::now();
    let mut heard = started;
    let (mut sent, mut is_over) = (0_u64, false);
    loop {
        let deadline = match to_send.peek() {
            Some(entry) => started + entry.at.div_f64(speed),
            None if comparison.is_complete() => break,
            None => heard + patience,
        };
        match session.next(&mut inputs, Some(deadline)).await {
            Happening::Deadline => match to_send.next().map(|entry| &entry.what) {
                Some(What::Close(code, reason)) => session.close(*code, reason),
                Some(what) => {
                    if let Some(message) = record::message(what) {
                        session.send(message);
                    }
                    (sent, heard) = (sent + 1, Instant::now());
                }
                None => break,
            },
            Happening::Message(message) => {
                comparison.take(&message);
                heard = Instant::now();
            }
            Happening::Signal => {
                session.interrupt();
                break;
            }
            Happening::Input(_) => {}
            Happening::Ended => {
                is_over = true;
                break;
            }
        }
    }
    let took = started.elapsed();
    let text = format!(
        "{sent} messages sent in {took:.1?}; {} of {} came back",
        comparison.came,
        comparison.expected.len()
    );
    session.manner.screen.remark(format!("{text}\n")).await;
    if let Some(difference) = comparison.difference() {
        session.fail(Failed::new(Code::Unexpected, difference));
    }
    if !is_over {
        session.close(CloseCode::NormalClosure, "");
    }
    session.end().await
}
