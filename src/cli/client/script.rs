//! `--execute` and `--script`: lines as a person would type them, and waits for what must come.

use std::collections::VecDeque;
use std::time::Duration;

use ringway_client::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::command::Command;
use super::ending::{Code, Failed};
use super::session::{Happening, Session};

/// Messages that wait for a `/wait` or `/expect`; of more, the latest are kept.
const WAITING_MAX: usize = 1000;

/// A line of a script with its number.
#[derive(Debug)]
pub(super) struct Step {
    number: usize,
    line: String,
    command: Command,
}

/// Reads a script. Lines that begin with `#` and empty ones are passed over. The error is a sentence.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, Failed> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let steps = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let step = |(number, line): (usize, &str)| match Command::parse(line) {
        Ok(command) => Ok(Step {
            number,
            line: line.to_owned(),
            command,
        }),
        Err(why) => Err(Failed::new(
            Code::Usage,
            format!("line {number} of the script: {why}"),
        )),
    };
    steps.map(step).collect()
}

/// Runs a script, and closes behind its last line.
pub(super) async fn run(session: Session, steps: Vec<Step>, patience: Duration) -> Code {
    let (_no_input, inputs) = mpsc::channel(1);
    let mut run = Run {
        session,
        inputs,
        patience,
        waiting: VecDeque::new(),
        has_ended: false,
    };
    for step in steps {
        if let Err((code, why)) = run.step(step.command).await {
            let sentence = match code {
                Code::Interrupted => String::new(),
                _ => format!("line {} of the script ({}): {why}", step.number, step.line),
            };
            run.session.fail(Failed::new(code, sentence));
            break;
        }
    }
    if !run.has_ended {
        run.session
            .close(ringway_client::CloseCode::NormalClosure, "");
    }
    run.session.end().await
}

struct Run {
    session: Session,
    inputs: mpsc::Receiver<super::session::Input>,
    patience: Duration,
    /// Messages that no step has looked at.
    waiting: VecDeque<Message>,
    has_ended: bool,
}

type Wrong = (Code, String);

impl Run {
    async fn step(&mut self, command: Command) -> Result<(), Wrong> {
        match command {
            Command::Wait(time) => {
                let message = self.message(time.unwrap_or(self.patience)).await?;
                message
                    .map(drop)
                    .ok_or_else(|| (Code::Timeout, "no message came in time".to_owned()))
            }
            Command::Expect(text) => self.expect(&text).await,
            Command::ExpectClose(code) => self.expect_close(code).await,
            Command::Sleep(time) => self.sleep(time).await,
            command if self.has_ended => Err((
                Code::Unexpected,
                format!("the connection has ended before {command:?}"),
            )),
            command => {
                self.session
                    .execute(command)
                    .await
                    .map_err(|why| (Code::Usage, why))?;
                // Handed over before the next line, so that messages keep their place beside waits.
                self.flush().await
            }
        }
    }

    /// The next message; `None` if none comes in time.
    async fn message(&mut self, time: Duration) -> Result<Option<Message>, Wrong> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(Some(message));
            }
            if self.has_ended {
                return Err((Code::Unexpected, "the connection has ended".to_owned()));
            }
            if !self.next(Some(deadline)).await? {
                return Ok(None);
            }
        }
    }

    /// Whether something has happened before the deadline.
    async fn next(&mut self, deadline: Option<Instant>) -> Result<bool, Wrong> {
        match self.session.next(&mut self.inputs, deadline).await {
            Happening::Message(message) => {
                if self.waiting.len() == WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(message);
            }
            Happening::Ended => self.has_ended = true,
            Happening::Signal => return Err((Code::Interrupted, String::new())),
            Happening::Input(_) => {}
            Happening::Deadline => return Ok(false),
        }
        Ok(true)
    }

    async fn flush(&mut self) -> Result<(), Wrong> {
        while !self.session.is_all_sent() && !self.has_ended {
            // A deadline that is over: what can be handed over is, without a wait.
            self.next(Some(Instant::now() + Duration::from_millis(1)))
                .await?;
        }
        Ok(())
    }

    async fn expect(&mut self, text: &str) -> Result<(), Wrong> {
        let deadline = Instant::now() + self.patience;
        let is_in = |message: &Message| {
            let payload = message.payload();
            payload
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        let mut others = 0;
        loop {
            match self
                .message(deadline.saturating_duration_since(Instant::now()))
                .await
            {
                Ok(Some(message)) if is_in(&message) => return Ok(()),
                Ok(Some(_)) => others += 1,
                Ok(None) => {
                    return Err((
                        Code::Timeout,
                        format!("no such message came in time, but {others} others"),
                    ));
                }
                Err((Code::Unexpected, why)) => {
                    return Err((Code::Unexpected, format!("{why}, and {others} others came")));
                }
                Err(wrong) => return Err(wrong),
            }
        }
    }

    async fn expect_close(&mut self, code: Option<u16>) -> Result<(), Wrong> {
        let deadline = Instant::now() + self.patience;
        while !self.has_ended {
            if !self.next(Some(deadline)).await? {
                return Err((Code::Timeout, "no Close came in time".to_owned()));
            }
        }
        let found = self.session.peers_close().await;
        match (found, code) {
            (None, _) => Err((
                Code::Unexpected,
                "the connection ended without a Close".to_owned(),
            )),
            (Some(found), Some(code)) if found.number() != code => Err((
                Code::Unexpected,
                format!("the peer closed with {}", super::ending::in_words(found)),
            )),
            (Some(_), _) => {
                self.session.close_was_expected();
                Ok(())
            }
        }
    }

    async fn sleep(&mut self, time: Duration) -> Result<(), Wrong> {
        let deadline = Instant::now() + time;
        while !self.has_ended && self.next(Some(deadline)).await? {}
        tokio::time::sleep_until(deadline).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_lines_with_numbers() {
        let steps = parse("# greets\n\nhello\n/expect hello\n").expect("a script");
        let numbers: Vec<_> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [3, 4]);
        let bad = parse("hello\n/expekt x\n").expect_err("no command");
        assert_eq!(bad.code, Code::Usage);
        assert!(
            bad.sentence.starts_with("line 2 of the script: /expekt"),
            "{}",
            bad.sentence
        );
    }
}
