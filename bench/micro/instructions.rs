//! Instructions per message, counted by valgrind: a guard against regressions that has no noise.
//!
//! ```text
//! cargo run --release --example instructions                 counts, compares with instructions.txt, fails when a cell
//!                                                            got worse
//! cargo run --release --example instructions -- --update     writes instructions.txt: its diff is part of the review
//! cargo run --release --example instructions -- --only 'text 20 B x 16'
//! ```
//!
//! A cell runs the real worker over [`Replay`], with one receive per turn. Callgrind counts this program twice, with the
//! worker and with the replay alone. The difference is the worker's: set-up and copies cancel out.
//!
//! Counts depend on the compiler and, through `memcpy`, on the C library and the CPU. The baseline names those of the
//! machine where it was taken; elsewhere more difference is allowed.

mod replay;

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use replay::{Replay, Then, frame};
use ringway::io::{Fd, ReceiveMode};
use ringway::proto::Opcode;
use ringway::proto::deflate::Terms;
use ringway::services::Echo;
use ringway::worker::{Config, Deflate, Listener, Worker};
use ringway::{App, Async, Connection, OwnedMessage};

const BASELINE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../bench/micro/instructions.txt"
);

/// By how many per cent a cell may get worse: on the baseline's machine, and elsewhere.
const WORSE_MAX_HERE: f64 = 1.0;
const WORSE_MAX_ELSEWHERE: f64 = 10.0;

/// Receives in one counted run. The first ones cost more, because lists grow; that is a thousandth of the total.
const RECEIVES: u64 = 2000;

/// A counted load: its name in the baseline, and the bytes that arrive.
struct Cell {
    name: &'static str,
    mode: ReceiveMode,
    what: What,
    /// Both sides agreed to compress; these messages are too short for it.
    deflate: bool,
    /// The echo is an asynchronous handler.
    asynchronous: bool,
}

/// What one connection sends, again and again.
enum What {
    /// This many messages in a receive.
    Messages(Opcode, &'static str, usize, usize),
    /// Opening handshake, Close, end of the stream; then the next connection.
    Lives,
}

const ASCII: &str = "Hello, Ringway! ";
const MIXED: &str = "κόσμε — ok ";

fn cells() -> Vec<Cell> {
    use Opcode::{Binary, Ping, Text};
    use ReceiveMode::{Buffers, Readiness};
    let cell = |name, mode, what| Cell {
        name,
        mode,
        what,
        deflate: false,
        asynchronous: false,
    };
    let messages = |name, mode, opcode, unit, len, count| {
        cell(name, mode, What::Messages(opcode, unit, len, count))
    };
    vec![
        messages("text 20 B x 1", Buffers, Text, ASCII, 20, 1),
        messages("text 20 B x 16", Buffers, Text, ASCII, 20, 16),
        messages("binary 20 B x 1", Buffers, Binary, ASCII, 20, 1),
        messages("binary 20 B x 16", Buffers, Binary, ASCII, 20, 16),
        messages("mixed text 20 B x 16", Buffers, Text, MIXED, 20, 16),
        messages("text 125 B x 16", Buffers, Text, ASCII, 125, 16),
        messages("text 1 KiB x 1", Buffers, Text, ASCII, 1024, 1),
        messages("text 1 KiB x 16, bulk", Readiness, Text, ASCII, 1024, 16),
        messages(
            "binary 1 KiB x 16, bulk",
            Readiness,
            Binary,
            ASCII,
            1024,
            16,
        ),
        messages("text 16 KiB, bulk", Readiness, Text, ASCII, 16 << 10, 1),
        messages("binary 16 KiB, bulk", Readiness, Binary, ASCII, 16 << 10, 1),
        Cell {
            deflate: true,
            ..messages("text 20 B x 16, deflate", Buffers, Text, ASCII, 20, 16)
        },
        Cell {
            asynchronous: true,
            ..messages("text 20 B x 1, async", Buffers, Text, ASCII, 20, 1)
        },
        Cell {
            asynchronous: true,
            ..messages("text 20 B x 16, async", Buffers, Text, ASCII, 20, 16)
        },
        Cell {
            asynchronous: true,
            ..messages("text 1 KiB x 1, async", Buffers, Text, ASCII, 1024, 1)
        },
        messages("ping 20 B x 16", Buffers, Ping, ASCII, 20, 16),
        cell("connection", Buffers, What::Lives),
        cell("connection, bulk", Readiness, What::Lives),
        Cell {
            asynchronous: true,
            ..cell("connection, async", Buffers, What::Lives)
        },
    ]
}

impl Cell {
    fn replay(&self) -> Replay {
        let (script, then) = match &self.what {
            What::Messages(opcode, unit, len, count) => {
                let mut text = unit.repeat(len / unit.len() + 1);
                text.truncate(text.floor_char_boundary(*len));
                // Pads the mixed text to its length.
                text.extend(std::iter::repeat_n('r', len - text.len()));
                let frames = frame(*opcode, text.as_bytes()).repeat(*count);
                (vec![frames], Then::Repeat)
            }
            What::Lives => {
                let close = frame(Opcode::Close, &1000u16.to_be_bytes());
                (vec![close, Vec::new()], Then::Reconnect)
            }
        };
        let terms = self.deflate.then_some(Terms::ANY);
        Replay::new(terms, self.mode, script, then)
    }

    /// What the count of a receive is divided by: its messages, or for a connection its four turns.
    fn parts(&self) -> f64 {
        match self.what {
            What::Messages(_, _, _, count) => count as f64,
            What::Lives => 1.0 / f64::from(TURNS_OF_A_LIFE),
        }
    }
}

/// Accept, opening handshake, Close, end of the stream.
const TURNS_OF_A_LIFE: u32 = 4;

/// The run that callgrind counts.
fn run(cell: &Cell, alone: bool) {
    let echo = |connection: Connection, message: OwnedMessage| async move {
        let _ = connection.send(message).await;
    };
    match cell.asynchronous {
        true => run_app(cell, alone, Async::new(echo)),
        false => run_app(cell, alone, Echo::default()),
    }
}

fn run_app<A: App>(cell: &Cell, alone: bool, app: A) {
    let listener = Listener::new(Fd(3), None);
    let config = Config {
        deflate: cell.deflate.then(Deflate::default),
        ..Config::default()
    };
    let mut worker = Worker::new(cell.replay(), app, config, listener);
    let turn = |worker: &mut Worker<Replay, A>| {
        worker
            .turn(Some(Duration::ZERO))
            .expect("a replay never fails");
    };
    // First accept, opening handshake, and turns in which lists grow.
    for _ in 0..2 * TURNS_OF_A_LIFE {
        turn(&mut worker);
    }
    let before = (worker.io().sent, worker.io().closed);
    match (&cell.what, alone) {
        (_, false) => (0..RECEIVES).for_each(|_| turn(&mut worker)),
        // Without connections nothing arrives, so the replay alone costs nothing.
        (What::Lives, true) => return,
        (What::Messages(..), true) => {
            let mut done = Vec::new();
            (0..RECEIVES).for_each(|_| worker.io_mut().play(&mut done));
            return;
        }
    }
    let (sent, closed) = (worker.io().sent - before.0, worker.io().closed - before.1);
    match cell.what {
        What::Messages(_, _, len, count) => {
            let header = if len < 126 { 2 } else { 4 };
            let answers = RECEIVES * count as u64 * (len as u64 + header);
            assert_eq!(sent, answers, "every message is answered");
        }
        What::Lives => assert_eq!(
            closed,
            RECEIVES / u64::from(TURNS_OF_A_LIFE),
            "every connection ends in its fourth turn"
        ),
    }
}

/// Instructions of one message, or of one connection.
fn count(cell: &Cell) -> Result<f64, String> {
    let [with, without] = [false, true].map(|alone| callgrind(cell.name, alone));
    Ok((with? - without?) / RECEIVES as f64 / cell.parts())
}

/// Instructions of one run of this program.
fn callgrind(cell: &str, alone: bool) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--run", cell, if alone { "alone" } else { "whole" }])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}; try: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .filter(|_| output.status.success())
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind counted nothing for \"{cell}\":\n{text}"))
}

/// The compiler, C library and CPU on which counts depend.
fn environment() -> String {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let output = output.map_or_else(|_| Vec::new(), |output| output.stdout);
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let vectors = match (cfg!(target_feature = "avx2"), has_avx2()) {
        (true, _) => "built for AVX2",
        (false, true) => "AVX2",
        (false, false) => "no AVX2",
    };
    [
        said("rustc", "--version"),
        said("getconf", "GNU_LIBC_VERSION"),
        said("valgrind", "--version"),
        vectors.to_owned(),
    ]
    .join(", ")
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_avx2() -> bool {
    false
}

/// The checked-in counts, and the machine on which they were taken.
#[derive(Default)]
struct Baseline {
    environment: String,
    counts: Vec<(String, f64)>,
}

impl Baseline {
    fn parse(text: &str) -> Self {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once('|') {
                Some((name, count)) => {
                    let count = count.trim().parse().unwrap_or_default();
                    baseline.counts.push((name.trim().to_owned(), count));
                }
                None => baseline.environment += line.trim(),
            }
        }
        baseline
    }

    fn of(&self, name: &str) -> Option<f64> {
        let found = self.counts.iter().find(|(cell, _)| cell == name);
        found.map(|(_, count)| *count)
    }
}

fn render(environment: &str, counts: &[(&str, f64)]) -> String {
    let mut text = String::from(
        "# Instructions per message (per connection where the cell says so), counted by callgrind.\n\
         # Written by `cargo run --release --example instructions -- --update`; scripts/test fails when a cell got 1 % worse.\n",
    );
    text += environment;
    text += "\n";
    for (name, count) in counts {
        text += &format!("{name:<26} | {count:9.1}\n");
    }
    text
}

/// Counts every cell, and prints it next to its baseline. Returns the cells that got worse.
fn compare(only: Option<&str>, baseline: &Baseline, worse_max: f64) -> Result<Compared, String> {
    let mut compared = Compared::default();
    println!("{:<26} {:>9} {:>9}", "instructions", "baseline", "now");
    for cell in cells() {
        // Asynchronous cells have no baseline: they are counted when they are asked for.
        if only.map_or(cell.asynchronous, |only| only != cell.name) {
            continue;
        }
        let now = count(&cell)?;
        let (was, change) = match baseline.of(cell.name) {
            Some(was) => (format!("{was:.1}"), (now / was - 1.0) * 100.0),
            None => ("none".to_owned(), f64::INFINITY),
        };
        println!("{:<26} {was:>9} {now:>9.1} {change:>+7.2} %", cell.name);
        if change > worse_max && !cell.asynchronous {
            compared.worse.push(cell.name);
        }
        compared.counts.push((cell.name, now));
    }
    Ok(compared)
}

#[derive(Default)]
struct Compared {
    counts: Vec<(&'static str, f64)>,
    worse: Vec<&'static str>,
}

fn guard(update: bool, only: Option<&str>) -> Result<(), String> {
    let here = environment();
    let baseline = Baseline::parse(&std::fs::read_to_string(BASELINE).unwrap_or_default());
    let worse_max = if baseline.environment == here {
        WORSE_MAX_HERE
    } else {
        println!("here:     {here}\nbaseline: {}", baseline.environment);
        println!(
            "not the same, so {WORSE_MAX_ELSEWHERE} % are allowed in place of {WORSE_MAX_HERE} %"
        );
        WORSE_MAX_ELSEWHERE
    };
    let compared = compare(only, &baseline, worse_max)?;
    if update {
        let text = render(&here, &compared.counts);
        return std::fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"));
    }
    if compared.counts.is_empty() {
        return Err("no cell has that name".to_owned());
    }
    match &compared.worse[..] {
        [] => Ok(()),
        worse => Err(format!(
            "more than {worse_max} % worse than bench/micro/instructions.txt: {}; when that is the price of something, \
             write it there with `cargo run --release --example instructions -- --update`",
            worse.join(", ")
        )),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["--run", name, how] => match cells().iter().find(|cell| cell.name == name) {
            Some(cell) => {
                run(cell, how == "alone");
                Ok(())
            }
            None => Err("no cell has that name".to_owned()),
        },
        [] => guard(false, None),
        ["--update"] => guard(true, None),
        ["--only", name] => guard(false, Some(name)),
        _ => Err("usage: instructions [--update | --only CELL]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("instructions: {sentence}");
            ExitCode::FAILURE
        }
    }
}
