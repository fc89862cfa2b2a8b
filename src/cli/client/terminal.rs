//! The manner of a terminal: a line that is edited, with a history, and messages above it.
//!
//! Owns: the thread that edits, and the terminal's state, which is given back as it was. Never: knows what a line means.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

use ringway_client::CloseCode;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor, ExternalPrinter as _};
use tokio::sync::mpsc;

use super::command::Command;
use super::ending::{Code, Failed};
use super::screen::{Above, Screen};
use super::session::{Happening, Input, Session};

/// Lines that a history keeps.
const HISTORY_LINES_MAX: usize = 1000;

type Lines = Editor<(), FileHistory>;

/// A terminal on which lines are edited.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) screen: Screen,
    before: Option<Termios>,
}

impl Terminal {
    /// Starts to edit lines. `history`: where they are kept.
    pub(super) fn start(history: Option<PathBuf>) -> Result<Self, Failed> {
        let failed = |error: ReadlineError| {
            Failed::new(
                Code::Environment,
                format!("the terminal cannot be used: {error}"),
            )
        };
        let before = tcgetattr(io::stdin()).ok();
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .map_err(failed)?;
        // As in shells: what begins with a blank, a password for example, is not kept.
        let config = config
            .history_ignore_space(true)
            .auto_add_history(true)
            .build();
        let kept = FileHistory::with_config(&config);
        let mut editor = Lines::with_history(config, kept).map_err(failed)?;
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        let mut printer = editor.create_external_printer().map_err(failed)?;
        let above: Above = Box::new(move |text| {
            // The terminal is gone: its end of file says so, too.
            let _ = printer.print(text);
        });
        let (lines, inputs) = mpsc::channel(1);
        thread::spawn(move || edit(editor, history, &lines));
        Ok(Self {
            inputs,
            screen: Screen::above(above),
            before,
        })
    }

    /// Prints what waits, and gives the terminal back.
    pub(super) async fn end(self) {
        self.screen.flush().await;
        if let Some(before) = &self.before {
            // The line that is being typed goes; without bracketed paste, which the editor has turned on.
            let _ = io::stdout().write_all(b"\r\x1b[J\x1b[?2004l");
            let _ = io::stdout().flush();
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Edits lines until the process ends. It never stops before: what is printed above a line waits for it.
fn edit(mut editor: Lines, history: Option<PathBuf>, lines: &mpsc::Sender<Input>) {
    loop {
        let (input, is_last) = match editor.readline("> ") {
            Ok(line) => {
                keep(&mut editor, history.as_ref());
                (Some(Input::Line(line)), false)
            }
            Err(ReadlineError::Interrupted) => (Some(Input::Interrupt), false),
            Err(ReadlineError::Eof) => (Some(Input::Line("/quit".to_owned())), false),
            Err(_) => (None, true),
        };
        if let Some(input) = input {
            // The session may be over already.
            let _ = lines.blocking_send(input);
        }
        if is_last {
            return;
        }
    }
}

/// Writes the history, for its owner alone to read.
fn keep(editor: &mut Lines, path: Option<&PathBuf>) {
    let Some(path) = path else { return };
    if let Some(folder) = path.parent() {
        // Without a folder there is no history, which is no reason to stop.
        let _ = fs::create_dir_all(folder);
    }
    let _ = editor.append_history(path);
}

/// Does what is typed until the connection has ended.
pub(super) async fn run(mut session: Session, inputs: &mut mpsc::Receiver<Input>) -> Code {
    let mut is_leaving = false;
    loop {
        match session.next(inputs, None).await {
            Happening::Input(Some(Input::Line(line))) => {
                is_leaving |= line.trim() == "/quit";
                if let Err(why) = type_in(&mut session, &line).await {
                    session.remark(&why).await;
                }
            }
            Happening::Input(Some(Input::Interrupt)) | Happening::Signal => {
                session.interrupt();
                if is_leaving {
                    return Code::Interrupted;
                }
                is_leaving = true;
            }
            // The terminal is gone.
            Happening::Input(None) => session.close(CloseCode::GoingAway, ""),
            Happening::Input(Some(Input::Message(_) | Input::Failed(_)))
            | Happening::Message(_)
            | Happening::Deadline => {}
            Happening::Ended => break,
        }
    }
    session.end().await
}

async fn type_in(session: &mut Session, line: &str) -> Result<(), String> {
    // A paste may have several lines, and is one message.
    if line.is_empty() {
        return Ok(());
    }
    let command = Command::parse(line)?;
    session.execute(command).await
}
