//! The manner of a pipe: the standard input becomes messages, and messages become the standard output.

use std::io::{self, BufRead, Read};
use std::thread;
use std::time::Duration;

use ringway_client::bytes::Bytes;
use ringway_client::{CloseCode, Message, Text};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ending::{Code, Failed};
use super::options::Messages;
use super::session::{Happening, Input, Session};

/// Bytes of a read.
const CHUNK_BYTES: usize = 64 << 10;

/// Messages that were read and wait to be sent.
const WAITING_MAX: usize = 4;

/// How the standard input becomes messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) messages: Messages,
    pub(super) is_text: bool,
    /// Longest message.
    pub(super) bytes_max: u64,
}

/// Starts to read the standard input, on a thread of its own: it may wait for ever, and the process ends without it.
pub(super) fn read(cut: Cut) -> mpsc::Receiver<Input> {
    let (inputs, waiting) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        let failed = cut_up(io::stdin().lock(), cut, |message| {
            inputs.blocking_send(Input::Message(message)).is_ok()
        });
        if let Err(failed) = failed {
            // Nobody may be there to be told.
            let _ = inputs.blocking_send(Input::Failed(failed));
        }
    });
    waiting
}

/// Cuts bytes into messages until they end, or `send` wants no more.
fn cut_up(
    mut input: impl BufRead,
    cut: Cut,
    mut send: impl FnMut(Message) -> bool,
) -> Result<(), Failed> {
    let mut number = 0_u64;
    loop {
        let mut bytes = Vec::new();
        let mut limited = (&mut input).take(cut.bytes_max + 1);
        let read = match cut.messages {
            Messages::Lines => limited.read_until(b'\n', &mut bytes),
            Messages::Whole => limited.read_to_end(&mut bytes),
            Messages::Chunks => {
                bytes.resize(
                    CHUNK_BYTES.min(usize::try_from(cut.bytes_max).unwrap_or(usize::MAX)),
                    0,
                );
                limited.read(&mut bytes).inspect(|len| bytes.truncate(*len))
            }
        };
        number += 1;
        match read {
            Ok(0) if cut.messages != Messages::Whole || number > 1 => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failed::new(
                    Code::Environment,
                    format!("the standard input cannot be read: {error}"),
                ));
            }
        }
        if cut.messages == Messages::Lines && bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.len() as u64 > cut.bytes_max {
            let what = format!(
                "message {number} of the standard input has more than {} bytes: --max-message allows more",
                cut.bytes_max
            );
            return Err(Failed::new(Code::Usage, what));
        }
        if !send(message(bytes, cut.is_text, number)?) || cut.messages == Messages::Whole {
            return Ok(());
        }
    }
}

fn message(bytes: Vec<u8>, is_text: bool, number: u64) -> Result<Message, Failed> {
    let bytes = Bytes::from(bytes);
    if !is_text {
        return Ok(Message::Binary(bytes));
    }
    match Text::try_from(bytes) {
        Ok(text) => Ok(Message::Text(text)),
        Err(_) => Err(Failed::new(
            Code::Usage,
            format!(
                "message {number} of the standard input is no UTF-8: --send-as=binary sends any bytes"
            ),
        )),
    }
}

/// Passes both directions on until the connection has ended. `linger`: silence behind the end of the input, after which it is
/// closed.
pub(super) async fn run(
    mut session: Session,
    inputs: &mut mpsc::Receiver<Input>,
    linger: Option<Duration>,
) -> Code {
    let mut silent_since = None;
    loop {
        let deadline = silent_since.and_then(|since| linger.map(|linger| since + linger));
        match session.next(inputs, deadline).await {
            Happening::Input(Some(Input::Message(message))) => session.send(message),
            Happening::Input(Some(Input::Failed(failed))) => {
                session.fail(failed);
                break;
            }
            // Lines are typed on terminals.
            Happening::Input(Some(Input::Line(_) | Input::Interrupt)) => {}
            Happening::Input(None) => silent_since = Some(Instant::now()),
            Happening::Message(_) => silent_since = silent_since.map(|_| Instant::now()),
            Happening::Deadline => {
                session.close(CloseCode::NormalClosure, "");
                break;
            }
            Happening::Signal => {
                session.interrupt();
                break;
            }
            Happening::Ended => break,
        }
    }
    session.end().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(input: &[u8], messages: Messages, bytes_max: u64) -> Result<Vec<Message>, Failed> {
        let cut = Cut {
            messages,
            is_text: messages != Messages::Chunks,
            bytes_max,
        };
        let mut found = Vec::new();
        cut_up(input, cut, |message| {
            found.push(message);
            true
        })?;
        Ok(found)
    }

    #[test]
    fn the_input_is_cut_as_it_was_asked() {
        let text = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Message::from(*text))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            cut(b"a\n\nbc", Messages::Lines, 2),
            Ok(text(&["a", "", "bc"]))
        );
        assert_eq!(cut(b"a\nb\n", Messages::Whole, 4), Ok(text(&["a\nb\n"])));
        assert_eq!(cut(b"", Messages::Whole, 4), Ok(text(&[""])));
        assert_eq!(cut(b"", Messages::Lines, 4), Ok(Vec::new()));
        assert_eq!(
            cut(b"abc", Messages::Chunks, 2),
            Ok(vec![b"ab".as_slice().into(), b"c".as_slice().into()])
        );
        let long = cut(b"a\nbcd\n", Messages::Lines, 2).expect_err("three bytes");
        assert!(
            long.sentence
                .starts_with("message 2 of the standard input has more than 2 bytes")
        );
        assert!(
            cut(b"\xff\n", Messages::Lines, 9)
                .expect_err("no UTF-8")
                .sentence
                .contains("--send-as=binary")
        );
    }
}
