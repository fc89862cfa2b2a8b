//! `ringway client`: talks to a WebSocket server by hand, through a pipe, or by a script.
//!
//! ```text
//!  options ─▶ opening / listen ─▶ session ◀─ terminal · pipe · script · replay     what is sent, and when to stop
//!                                   │ └────▶ show ─▶ screen                        what is printed
//!                                   └──────▶ record
//! ```
//!
//! It stands on `ringway-client`, on one thread; further threads read the standard input and write the output. `ending` has the
//! exit codes, `command` what lines mean.

mod command;
mod ending;
mod listen;
mod opening;
mod options;
mod pipe;
mod record;
mod replay;
mod screen;
mod script;
mod session;
mod show;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ringway_command::options::Given;
use ringway_command::output::{print, tell_error};
use ringway_command::recording::Entry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use ending::CODES;
use ending::{Code, Failed};
use listen::Listener;
use opening::Opened;
use options::{ClientArgs, ClientOptions, Messages};
use record::Recorder;
use screen::Screen;
use session::{Input, Manner, Session};
use show::{BinaryForm, Color, Style};
use terminal::Terminal;

pub(crate) const EXAMPLE: &str = "\
Example:
  ringway client ws://127.0.0.1:9000
  echo hello | ringway client ws://127.0.0.1:9000
  ringway client wss://host/feed -v --json --count=3 </dev/null
  ringway client ws://127.0.0.1:9000 --execute=hello --execute='/expect hello'

On a terminal, /help lists the commands.";

/// `ringway client …`
#[derive(Args, Debug)]
pub(crate) struct ClientCommand {
    #[command(flatten)]
    given: Given<ClientArgs>,
    /// The same as --show-handshake
    #[arg(short = 'v')]
    verbose: bool,
    /// Read options from a TOML file, same names; the command line wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective options as TOML that --config accepts, and exit
    #[arg(long)]
    print_config: bool,
}

/// Runs `ringway client`.
pub(crate) fn run(command: ClientCommand) -> ExitCode {
    match try_run(command) {
        Ok(code) => code,
        Err(failed) => {
            tell_error(&failed.sentence);
            failed.code.into()
        }
    }
}

fn try_run(command: ClientCommand) -> Result<ExitCode, Failed> {
    let mut given = command.given;
    if command.verbose {
        given.replace("show-handshake", "true".to_owned());
    }
    if let Some(path) = &command.config {
        given = given.over_file(path)?;
    }
    let options = options::resolve(&given).map_err(|bad| Failed::new(Code::Usage, bad.0))?;
    if command.print_config {
        return Ok(print(&options::to_toml(&options)).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Failed::new(
            Code::Environment,
            format!("the runtime does not start: {error}"),
        )
    })?;
    let code = runtime.block_on(talk(&options))?;
    // A thread that waits for input for ever must not be waited for.
    runtime.shutdown_background();
    Ok(code.into())
}

/// Who decides what is sent.
enum Driver {
    Terminal(Terminal),
    Pipe(mpsc::Receiver<Input>, Screen),
    Script(Vec<script::Step>, Screen),
    Replay(Vec<Entry>, Screen),
}

impl Driver {
    fn of(options: &ClientOptions) -> Result<Self, Failed> {
        if let Some(path) = &options.replay {
            let entries = record::read(path).map_err(|why| Failed::new(Code::Usage, why))?;
            return Ok(Self::Replay(entries, Screen::of_pipe()));
        }
        let text = match (&options.execute, &options.script) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(path)) => Some(read_script(path, options)?),
            (None, None) => None,
        };
        if let Some(text) = text {
            return Ok(Self::Script(script::parse(&text)?, Screen::of_pipe()));
        }
        if is_interactive(options) {
            return Terminal::start(history(options)).map(Self::Terminal);
        }
        let cut = pipe::Cut {
            messages: options.messages,
            is_text: options
                .send_text
                .unwrap_or(options.messages != Messages::Chunks),
            bytes_max: options.max_message,
        };
        Ok(Self::Pipe(pipe::read(cut), Screen::of_pipe()))
    }

    const fn screen(&self) -> &Screen {
        match self {
            Self::Terminal(terminal) => &terminal.screen,
            Self::Pipe(_, screen) | Self::Script(_, screen) | Self::Replay(_, screen) => screen,
        }
    }
}

fn is_interactive(options: &ClientOptions) -> bool {
    let is_script = options.is_script() || options.replay.is_some();
    let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    !is_script && !options.pipe && (options.interactive || on_terminal)
}

fn read_script(path: &Path, options: &ClientOptions) -> Result<String, Failed> {
    let bytes = session::read_file(path, options.max_message)
        .map_err(|why| Failed::new(Code::Usage, format!("--script {why}")))?;
    String::from_utf8(bytes).map_err(|_| {
        Failed::new(
            Code::Usage,
            format!("--script {}: it is no UTF-8", path.display()),
        )
    })
}

/// Where typed lines are kept.
fn history(options: &ClientOptions) -> Option<PathBuf> {
    match &options.history {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(path.clone()),
        None => {
            let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
            let home =
                || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
            state
                .filter(|path| path.is_absolute())
                .or_else(home)
                .map(|state| state.join("ringway/client-history"))
        }
    }
}

async fn talk(options: &ClientOptions) -> Result<Code, Failed> {
    let mut signals = signals()?;
    let listener = match &options.listen {
        Some(place) => Some(Listener::bind(options, place).await?),
        None => None,
    };
    if let Some(listener) = &listener {
        opening::tell('*', &format!("listening on {}", listener.url()));
    }
    let opened = match (&listener, &options.url) {
        (None, Some(url)) => Some(until_signal(&mut signals, opening::open(options, url)).await?),
        _ => None,
    };
    let mut driver = Driver::of(options)?;
    let screen = driver.screen().clone();
    let code = match (listener, opened) {
        (Some(listener), _) => serve(options, &mut driver, &listener, &mut signals).await,
        (None, Some(opened)) => converse(options, &mut driver, opened, &signals).await,
        (None, None) => Err(Failed::new(Code::Usage, "give a URL, or --listen")),
    };
    match driver {
        Driver::Terminal(terminal) => terminal.end().await,
        _ => screen.flush().await,
    }
    code
}

/// Serves one client, and on a terminal those that follow.
async fn serve(
    options: &ClientOptions,
    driver: &mut Driver,
    listener: &Listener,
    signals: &mut watch::Receiver<u32>,
) -> Result<Code, Failed> {
    loop {
        let accepted = match driver {
            Driver::Terminal(terminal) => {
                let accepting = until_signal(signals, listener.accept(options));
                tokio::select! {
                    accepted = accepting => accepted?,
                    input = terminal.inputs.recv() => match input {
                        Some(Input::Line(line)) if line.trim() != "/quit" => {
                            terminal.screen.remark("* nobody is connected; /quit ends\n".to_owned()).await;
                            continue;
                        }
                        _ => return Ok(Code::Clean),
                    }
                }
            }
            _ => until_signal(signals, listener.accept(options)).await?,
        };
        driver
            .screen()
            .remark(format!(
                "* a client asks for {}\n",
                show::harmless(&accepted.url)
            ))
            .await;
        let code = converse(options, driver, accepted, signals).await?;
        if !matches!(driver, Driver::Terminal(_)) || code == Code::Interrupted {
            return Ok(code);
        }
    }
}

/// Lets the driver talk over an open connection until it ends.
async fn converse(
    options: &ClientOptions,
    driver: &mut Driver,
    opened: Opened,
    signals: &watch::Receiver<u32>,
) -> Result<Code, Failed> {
    let is_terminal = matches!(driver, Driver::Terminal(_));
    let recorder = match &options.record {
        None => None,
        Some(path) => {
            let begun = Recorder::begin(path, &opened.url, opened.subprotocol.as_deref());
            Some(begun.map_err(|why| Failed::new(Code::Environment, why))?)
        }
    };
    let manner = Manner {
        style: style(options, is_terminal),
        screen: driver.screen().clone(),
        recorder,
        count: options.count,
        until: options.lasts.map(|time| Instant::now() + time),
        show_control: options.show_handshake,
        message_bytes_max: options.max_message,
        signals: signals.clone(),
    };
    let session = Session::new(opened.handles, manner);
    if is_terminal && options.listen.is_none() {
        session
            .remark(&format!(
                "connected to {}; /help lists the commands",
                opened.url
            ))
            .await;
    }
    Ok(match driver {
        Driver::Terminal(terminal) => terminal::run(session, &mut terminal.inputs).await,
        Driver::Pipe(inputs, _) => pipe::run(session, inputs, options.linger).await,
        Driver::Script(steps, _) => {
            script::run(session, std::mem::take(steps), options.timeout).await
        }
        Driver::Replay(entries, _) => {
            replay::run(
                session,
                entries,
                options.speed,
                options.check,
                options.timeout,
            )
            .await
        }
    })
}

fn style(options: &ClientOptions, is_terminal: bool) -> Style {
    let on_terminal = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Style {
        is_terminal,
        color: match options.color {
            Color::Auto => is_terminal && on_terminal,
            Color::Always => true,
            Color::Never => false,
        },
        times: options.times,
        json: options.json,
        text_as_hex: false,
        binary: options.binary.unwrap_or(BinaryForm::Hex),
        raw: !is_terminal && options.messages != Messages::Lines,
    }
}

/// A count of the signals to stop that have come.
fn signals() -> Result<watch::Receiver<u32>, Failed> {
    let failed = |error: io::Error| {
        Failed::new(
            Code::Environment,
            format!("signals cannot be received: {error}"),
        )
    };
    let (tell, count) = watch::channel(0);
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind).map_err(failed)?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tell.send_modify(|count| *count += 1);
            }
        });
    }
    Ok(count)
}

/// What comes of `wait`, unless a signal comes first.
async fn until_signal<T>(
    signals: &mut watch::Receiver<u32>,
    wait: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    tokio::select! {
        done = wait => done,
        _ = signals.changed() => Err(Failed::new(Code::Interrupted, "a signal has ended it before it was open")),
    }
}
