//! Measures one knob at a time: A is a new network namespace with the kernel's defaults, B the same with one setting.
//!
//! Owns: the namespaces, the processes in them, the order of runs, the significance of effects, the files of a result.
//! Never: writes a setting of the host. Every result shows that the host's values are the same afterwards.
//!
//! 1. `candidate` says what can be measured (`tuning/bench.toml`). Values that this kernel refuses are found before the
//!    first run.
//! 2. `order` interleaves the runs: ABBA within two rounds, candidates shuffled by a seed.
//! 3. `run` makes two namespaces and a veth pair (`netns`), starts a server in one and the load driver in the other
//!    (`process`, `driver`), each on a CPU for itself, and removes everything again.
//! 4. `significance` tells effects from noise.
//! 5. `result` prints, and writes the folder.

mod candidate;
mod driver;
mod netns;
mod order;
mod process;
mod result;
mod run;
mod significance;

use std::path::PathBuf;
use std::time::Duration;

pub use result::Results;

use candidate::{Candidate, Plan, Setting};
use netns::{Net, Side};
use process::{Stop, Trouble};
use run::Sample;

use super::knob::subjects;
use super::root::Root;
use ringway::exit::Exit;
use ringway::exit::Fatal;

/// What is measured, and how long.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Names of candidates. Empty: all of them.
    pub knobs: Vec<String>,
    /// Pairs of runs per candidate.
    pub rounds: usize,
    /// The measured window of a run.
    pub duration: Duration,
    /// The time of a run before its window.
    pub warmup: Duration,
    /// Seed of the order.
    pub seed: u64,
    /// A new folder for the result. None: no files are written.
    pub out: Option<PathBuf>,
    /// CPU of the server and CPU of the driver.
    pub cpus: [usize; 2],
    /// The program that is both server and driver.
    pub program: PathBuf,
    /// Another load driver instead of `ringway wsperf`.
    pub driver: Option<PathBuf>,
    /// The command line as typed, for the result.
    pub command: String,
}

/// Fewest rounds with which an effect of any size can be significant. Equal signs in all of n pairs are one in 2ⁿ⁻¹
/// outcomes, and for the first of `knobs` knobs that must be rare enough.
pub fn rounds_min(knobs: usize) -> usize {
    significance::pairs_min(knobs)
}

/// Names of everything that can be measured.
pub fn names() -> Vec<&'static str> {
    let plan = candidate::plan();
    plan.candidates.iter().map(|c| c.name.as_str()).collect()
}

/// The first two CPUs that this process may use. The error says why there are none.
pub fn cpus() -> Result<[usize; 2], Fatal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or_default();
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    let mut cpus = list.trim().split(',').filter_map(range).flatten();
    match (cpus.next(), cpus.next()) {
        (Some(server), Some(driver)) => Ok([server, driver]),
        _ => Err(environment(
            "server and driver need a CPU each, and this process may use one only: a shared one would measure the scheduler",
        )),
    }
}

/// Measures. `talk` is called with lines of progress.
pub fn bench(options: &BenchOptions, mut talk: impl FnMut(&str)) -> Result<Results, Fatal> {
    let stop = Stop::on_signals().map_err(|error| environment(format!("no signals: {error}")))?;
    if let Some(folder) = &options.out {
        result::claim(folder)?;
    }
    let host = host();
    let measured = measure(options, &stop, &mut talk);
    let changed = differences(&host, &self::host());
    let (candidates, skipped, samples) = match measured {
        Ok(measured) => measured,
        Err(Trouble::Fatal(fatal)) => return Err(fatal),
        Err(Trouble::Stopped) => {
            return Err(Fatal {
                exit: Exit::Interrupted,
                sentence: "stopped by a signal; the namespaces are gone, and runs that were done are in raw.jsonl if --out was given"
                    .to_owned(),
            });
        }
        Err(Trouble::Run(why)) => return Err(environment(why)),
    };
    let results = Results::new(options, candidates, skipped, &samples, host.len(), changed);
    if let Some(folder) = &options.out {
        results.write(folder, options)?;
    }
    Ok(results)
}

type Measured = (Vec<Chosen>, Vec<(String, String)>, Vec<Sample>);

fn measure(
    options: &BenchOptions,
    stop: &Stop,
    talk: &mut impl FnMut(&str),
) -> Result<Measured, Trouble> {
    netns::remove_stale(talk)?;
    let (chosen, skipped) = choose(candidate::plan(), options)?;
    for (name, why) in &skipped {
        talk(&format!("{name} is left out: {why}"));
    }
    let turns = order::order(chosen.len(), options.rounds, options.seed);
    let mut samples = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let Chosen {
            candidate, value, ..
        } = &chosen[turn.candidate];
        let sample = run::run(options, stop, candidate, value, *turn)?;
        talk(&format!(
            "run {} of {}: {} {}: {}",
            at + 1,
            turns.len(),
            candidate.name,
            turn.arm.name(),
            sample.summary()
        ));
        if let Some(folder) = &options.out {
            result::append(folder, &sample).map_err(Trouble::Fatal)?;
        }
        samples.push(sample);
    }
    Ok((chosen, skipped, samples))
}

/// A candidate with a value that this kernel accepts.
#[derive(Clone, Debug)]
struct Chosen {
    candidate: &'static Candidate,
    /// The value in A, if it can be read.
    default: Option<String>,
    /// The value in B. Empty for the control.
    value: String,
}

type Choice = (Vec<Chosen>, Vec<(String, String)>);

/// Tries every candidate in a pair of namespaces that is removed again. A value that the kernel refuses, or that is the
/// default already, cannot be measured.
fn choose(plan: &'static Plan, options: &BenchOptions) -> Result<Choice, Trouble> {
    let net = Net::make("probe")?;
    let asked = |candidate: &&Candidate| {
        options.knobs.is_empty() || options.knobs.contains(&candidate.name)
    };
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for candidate in plan.candidates.iter().filter(asked) {
        let default = candidate.read(&net);
        let mut why = "it has no value to set".to_owned();
        let values = candidate.choices().into_iter();
        let mut taken = None;
        for value in values {
            if default.as_ref() == Some(&value) {
                why = format!("{value} is the default here");
                continue;
            }
            match candidate.set(&net, &value, options.cpus) {
                Ok(()) => {
                    taken = Some(value);
                    break;
                }
                Err(refused) => why = refused,
            }
        }
        match taken {
            Some(value) => chosen.push(Chosen {
                candidate,
                default,
                value,
            }),
            None => skipped.push((candidate.name.clone(), why)),
        }
    }
    if chosen.is_empty() {
        let why: Vec<_> = skipped
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        return Err(Trouble::Run(format!(
            "nothing can be measured: {}",
            why.join("; ")
        )));
    }
    Ok((chosen, skipped))
}

impl Candidate {
    /// The value on the server's side, if the setting is a file.
    fn read(&self, net: &Net) -> Option<String> {
        let path = self.file()?;
        net.read(Side::Server, &path).ok()
    }

    /// Makes the setting on its side or sides. The error says why the kernel refused it.
    fn set(&self, net: &Net, value: &str, cpus: [usize; 2]) -> Result<(), String> {
        for &side in self.sides() {
            match &self.setting {
                Setting::Control => {}
                Setting::Link(key) => net.link(side, key, value)?,
                Setting::File(path) => {
                    let value = match value {
                        candidate::OWN_CPU => mask(cpus[side as usize]),
                        value => value.to_owned(),
                    };
                    net.write(side, path, &value)?;
                }
            }
        }
        Ok(())
    }
}

/// The mask of a CPU in the kernel's form: groups of 32 bits in hexadecimal.
fn mask(cpu: usize) -> String {
    let zeros = ",00000000".repeat(cpu / 32);
    format!("{:x}{zeros}", 1_u32 << (cpu % 32))
}

/// The host's values of every network knob in `tuning/`.
fn host() -> Vec<(String, String)> {
    let root = Root::default();
    let knobs = subjects().iter().flat_map(|subject| &subject.knobs);
    let paths = knobs.map(|knob| knob.path.as_str());
    let extra = candidate::plan()
        .candidates
        .iter()
        .filter_map(Candidate::file);
    let mut paths: Vec<_> = paths.map(str::to_owned).chain(extra).collect();
    paths.retain(|path| path.starts_with("/proc/sys/net/"));
    paths.sort();
    paths.dedup();
    let read = |path: String| root.read(&path).ok().map(|value| (path, value));
    paths.into_iter().filter_map(read).collect()
}

fn differences(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let changed = |(path, old): &(String, String)| {
        let new = after.iter().find(|(other, _)| other == path);
        let new = new.map_or("gone", |(_, value)| value.as_str());
        (new != old).then(|| format!("{path}: {old} -> {new}"))
    };
    before.iter().filter_map(changed).collect()
}

fn environment(sentence: impl Into<String>) -> Fatal {
    Fatal {
        exit: Exit::Environment,
        sentence: sentence.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_groups_of_thirty_two_bits() {
        assert_eq!(mask(0), "1");
        assert_eq!(mask(5), "20");
        assert_eq!(mask(31), "80000000");
        assert_eq!(mask(33), "2,00000000");
        assert_eq!(mask(64), "1,00000000,00000000");
    }

    #[test]
    fn a_changed_value_of_the_host_is_found() {
        let value = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let before = [value("/a", "1"), value("/b", "2"), value("/c", "3")];
        let after = [value("/a", "1"), value("/b", "9")];
        assert_eq!(
            differences(&before, &after),
            ["/b: 2 -> 9", "/c: 3 -> gone"]
        );
        assert_eq!(differences(&before, &before), [""; 0]);
    }

    #[test]
    fn the_values_that_are_watched_are_those_that_are_set() {
        let watched = host();
        assert!(watched.len() > 20, "{}", watched.len());
        for candidate in &candidate::plan().candidates {
            if let Some(path) = candidate.file().filter(|path| path.starts_with("/proc/")) {
                let known = watched.iter().any(|(watched, _)| *watched == path);
                assert!(known || !std::path::Path::new(&path).exists(), "{path}");
            }
        }
    }
}
