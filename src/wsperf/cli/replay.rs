//! The options of `wsperf replay`, and its recording.
//!
//! Owns: their definitions, how they go together, and the reading of the file. All others are those of [`LoadArgs`].

use std::sync::Arc;

use super::args::Kind;
use super::options::{DURATION_MAX, DURATION_MIN, LoadArgs, Own, RATE_MAX, Run};
use crate::load::options::{Check, Replay, Scenario};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Choice, Count, Decimal, FILE, Time, Unless, Words, Wrong};
use ringway_command::options::{Defined, Definition, define, under};
use ringway_command::recording::{self, Limits, Recording};

/// Sessions of one connection.
const REPEAT_MAX: u64 = 1_000_000_000;

/// The options of `wsperf replay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplayArgs;

impl Defined for ReplayArgs {
    type Options = Run;

    fn definitions() -> Vec<Definition<Run>> {
        let is_shared =
            |one: &Definition<Run>| Kind::Replay.knows(one.name()) && !is_own(one.name());
        let mut all = Vec::from(under("Recording", own()));
        all.extend(LoadArgs::definitions().into_iter().filter(is_shared));
        all
    }

    fn defaults() -> Run {
        Run::new(Kind::Replay)
    }
}

/// Whether an option is one of [`own`].
pub(super) fn is_own(name: &str) -> bool {
    own().iter().any(|one| one.name() == name)
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(Run: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
fn own() -> [Definition<Run>; 6] {
    [
        define("file", field!(own.file), Unless(FILE),
            "A recording: of ringway client --record, or of a gateway's --record in either form")
            .positional(),
        define("speed", field!(own.speed), SPEED,
            "How fast: 2x takes half the time; max sends each message as soon as the one before is sent"),
        define("check", field!(own.check),
            Choice("HOW", &[("exact", Check::Exact), ("count", Check::Count), ("none", Check::None)]),
            "What is compared of what comes back: exact (every message, or the bytes of a stream, in order), count, or none"),
        define("repeat", field!(own.repeat), Count(1..=REPEAT_MAX, "each connection plays the session at least once"),
            "Sessions of each connection, one after another, each on a WebSocket of its own"),
        define("rate", field!(own.connects_per_second), Unless(Decimal(0.001..=RATE_MAX)),
            "Connections that begin per second")
            .default_said("as fast as --connecting allows"),
        define("duration", field!(options.duration), Time(DURATION_MIN..=DURATION_MAX),
            "Time that the run may take; it ends when all have played"),
    ]
}

/// A factor, or `max`.
const SPEED: Words<Option<f64>> = Words {
    value_name: "FACTOR",
    parse: |text| {
        if text == "max" {
            return Ok(None);
        }
        let factor = text.strip_suffix('x').unwrap_or(text).parse().ok();
        let factor = factor.filter(|factor| (0.001..=1e6).contains(factor));
        factor.map(Some).ok_or_else(|| {
            Wrong::not(
                "a factor from 0.001x to 1000000x, or max",
                "write it as 2x or 0.5x",
            )
        })
    },
    show: |speed| Some(speed.map_or_else(|| "max".to_owned(), |factor| format!("{factor}x"))),
    bare: Bare::Refused,
};

/// What the options say of the scenario, without what is in the file.
pub(super) fn scenario(own: &Own) -> Resolved<Replay> {
    let file = own.file.clone().ok_or_else(|| {
        BadOption("there is nothing to play: give the FILE of a recording, then the URI".to_owned())
    })?;
    Ok(Replay {
        file,
        recording: Arc::new(Recording::default()),
        speed: own.speed,
        check: own.check,
        repeat: own.repeat,
        connects_per_second: own.connects_per_second,
    })
}

/// Reads the recording of a replay. The error is a sentence.
pub(super) fn read(run: &mut Run) -> Result<(), String> {
    let limit = run.options.duration;
    let Scenario::Replay(replay) = &mut run.options.scenario else {
        return Ok(());
    };
    let recording = recording::read(&replay.file, &Limits::default())?;
    let shown = replay.file.display();
    if recording.entries.is_empty() {
        return Err(format!(
            "{shown}: there is nothing in this recording to play"
        ));
    }
    replay.recording = Arc::new(recording);
    let longest = replay.length().saturating_mul(replay.repeat);
    if longest > limit {
        return Err(format!(
            "{shown}: it takes {longest:.1?} at this --speed, and --duration is {limit:?}: raise one of them"
        ));
    }
    Ok(())
}
