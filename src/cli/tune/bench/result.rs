//! The result of a measurement: for people, for programs, and as a folder of `results/`.
//!
//! Owns: the forms. The folder has the layout of `results/README.md`; `raw.jsonl` grows run by run.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::super::check::check;
use super::super::knob::Profile;
use super::super::root::Root;
use super::order::Arm;
use super::process::call;
use super::run::Sample;
use super::significance::{self, Effect, FIGURES, Significance};
use super::{BenchOptions, Chosen, driver, environment};
use ringway::exit::Exit;
use ringway::exit::Fatal;

/// A measurement with the significance of its effects.
#[derive(Debug)]
pub struct Results {
    rows: Vec<Row>,
    skipped: Vec<(String, String)>,
    seed: u64,
    /// Number of the host's values that were compared before and after.
    host_values: usize,
    host_changes: Vec<String>,
}

/// One candidate.
#[derive(Debug)]
struct Row {
    chosen: Chosen,
    effects: Vec<Effect>,
    /// Errors of failed runs, of A and of B. The setting may be the reason.
    failed: [Vec<String>; 2],
    /// Number of runs in which the driver was saturated.
    saturated: usize,
    runs: usize,
}

impl Row {
    fn new(chosen: Chosen, samples: &[&Sample], seed: u64) -> Self {
        let report = |arm: Arm, round: usize| {
            let found = samples
                .iter()
                .find(|sample| sample.turn.arm == arm && sample.turn.round == round);
            found.and_then(|sample| sample.report.as_ref().ok())
        };
        let rounds = samples.iter().map(|sample| sample.turn.round).max();
        let pair = |round| Some((report(Arm::A, round)?, report(Arm::B, round)?));
        let pairs: Vec<_> = (0..=rounds.unwrap_or(0)).filter_map(pair).collect();
        let figures = FIGURES.iter();
        let reports = samples
            .iter()
            .filter_map(|sample| sample.report.as_ref().ok());
        let failed = |arm| {
            let own = samples.iter().filter(|sample| sample.turn.arm == arm);
            own.filter_map(|sample| sample.report.clone().err())
                .collect()
        };
        Self {
            effects: figures
                .filter_map(|figure| Effect::of(figure, &pairs, seed))
                .collect(),
            failed: [Arm::A, Arm::B].map(failed),
            saturated: reports.filter(|report| driver::saturated(report)).count(),
            runs: samples.len(),
            chosen,
        }
    }

    fn is_primary(&self, effect: &Effect) -> bool {
        self.chosen.candidate.workload().primary == effect.figure
    }

    fn set(&self) -> String {
        self.chosen.candidate.shown(&self.chosen.value)
    }
}

impl Results {
    pub(super) fn new(
        options: &BenchOptions,
        chosen: Vec<Chosen>,
        skipped: Vec<(String, String)>,
        samples: &[Sample],
        host_values: usize,
        host_changes: Vec<String>,
    ) -> Self {
        let row = |(index, chosen): (usize, Chosen)| {
            let own = samples.iter().filter(|s| s.turn.candidate == index);
            Row::new(chosen, &own.collect::<Vec<_>>(), options.seed)
        };
        let mut rows: Vec<_> = chosen.into_iter().enumerate().map(row).collect();
        let pairs_min = significance::pairs_min(rows.len());
        let mut all: Vec<_> = rows
            .iter_mut()
            .flat_map(|row| {
                let primary = &row.chosen.candidate.workload().primary;
                let effects = row.effects.iter_mut();
                effects.map(move |effect| (effect.figure == primary.as_str(), effect))
            })
            .collect();
        significance::decide(&mut all, pairs_min);
        Self {
            rows,
            skipped,
            seed: options.seed,
            host_values,
            host_changes,
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        let unknown = |row: &Row| {
            row.effects
                .iter()
                .all(|e| e.verdict == Significance::Unknown)
        };
        if !self.host_changes.is_empty() || self.rows.iter().all(unknown) {
            Exit::Failure
        } else {
            Exit::Ok
        }
    }

    /// The form for people, which is Markdown.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "| knob | B sets | figure | A | B | effect | pairs, least to greatest | p | verdict |\n\
             |---|---|---|---|---|---|---|---|---|"
        );
        for row in &self.rows {
            let (primary, others): (Vec<_>, Vec<_>) = row
                .effects
                .iter()
                .partition(|effect| row.is_primary(effect));
            for effect in primary.into_iter().chain(others) {
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {} | {} | {} | {:.4} | {} |",
                    row.chosen.candidate.name,
                    row.set(),
                    effect.figure,
                    number(effect.a),
                    number(effect.b),
                    effect.shown(),
                    effect.shown_span(),
                    effect.p,
                    effect.verdict.name(),
                );
            }
        }
        let _ = writeln!(out);
        for note in self.notes() {
            let _ = writeln!(out, "- {note}");
        }
        out
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "A is a new network namespace as the kernel makes it, B the same with the one setting; figures are medians of runs, \
             effects are means over pairs."
                .to_owned(),
            "REAL: p of the workload's primary figure (its first line) is at most 5 % after correction for the number of knobs, and \
             the effect at least 1 %. hint: another figure with p of at most 5 %, uncorrected."
                .to_owned(),
            format!("Seed of the order: {}.", self.seed),
        ];
        for row in &self.rows {
            let name = &row.chosen.candidate.name;
            if row.saturated > 0 {
                notes.push(format!(
                    "{name}: the driver had no time left in {} of {} runs; its rate is the driver's, CPU per message is not.",
                    row.saturated, row.runs
                ));
            }
            let [a, b] = &row.failed;
            if let Some(why) = a.first().or_else(|| b.first()) {
                notes.push(format!(
                    "{name}: {} of {} runs failed, {} of A and {} of B; the first: {why}",
                    a.len() + b.len(),
                    row.runs,
                    a.len(),
                    b.len(),
                ));
            }
            let real = |effect: &Effect| effect.verdict == Significance::Real;
            if name == "control" && row.effects.iter().any(real) {
                notes.push(
                    "The control, where nothing was set, came out as REAL: this machine is too busy to measure on."
                        .to_owned(),
                );
            }
        }
        for (name, why) in &self.skipped {
            notes.push(format!("{name} was left out: {why}."));
        }
        notes.push(match self.host_changes.as_slice() {
            [] => format!(
                "The host is as it was: {} values of its network compared before and after.",
                self.host_values
            ),
            changes => format!(
                "THE HOST HAS CHANGED meanwhile, by whomever: {}.",
                changes.join("; ")
            ),
        });
        notes
    }

    /// The form for programs.
    pub fn json(&self) -> Value {
        let effect = |row: &Row, effect: &Effect| {
            json!({
                "figure": effect.figure,
                "primary": row.is_primary(effect),
                "pairs": effect.pairs,
                "a_median": effect.a,
                "b_median": effect.b,
                "effect": effect.effect,
                "effect_least": effect.span[0],
                "effect_greatest": effect.span[1],
                "p": effect.p,
                "verdict": effect.verdict.name().to_lowercase(),
            })
        };
        let row = |row: &Row| {
            let candidate = row.chosen.candidate;
            json!({
                "knob": candidate.name,
                "why": candidate.why,
                "workload": candidate.workload_name(),
                "about": candidate.workload().about,
                "default": row.chosen.default,
                "set": row.set(),
                "runs": row.runs,
                "failed": { "a": row.failed[0].len(), "b": row.failed[1].len() },
                "driver_saturated": row.saturated,
                "effects": row.effects.iter().map(|e| effect(row, e)).collect::<Vec<_>>(),
            })
        };
        let skipped = |(name, why): &(String, String)| json!({ "knob": name, "why": why });
        json!({
            "seed": self.seed,
            "knobs": self.rows.iter().map(row).collect::<Vec<_>>(),
            "skipped": self.skipped.iter().map(skipped).collect::<Vec<_>>(),
            "host": { "values": self.host_values, "changes": self.host_changes },
            "notes": self.notes(),
        })
    }

    /// Writes all files except `raw.jsonl`.
    pub(super) fn write(&self, folder: &Path, options: &BenchOptions) -> Result<(), Fatal> {
        let plan = json!({
            "command": options.command,
            "rounds": options.rounds,
            "duration_ms": options.duration.as_millis(),
            "warmup_ms": options.warmup.as_millis(),
            "seed": options.seed,
            "server_cpu": options.cpus[0],
            "driver_cpu": options.cpus[1],
            "knobs": self.rows.iter().map(|row| json!({
                "name": row.chosen.candidate.name,
                "set": row.set(),
                "default": row.chosen.default,
                "workload": row.chosen.candidate.workload().arguments,
                "window_ms": row.chosen.candidate.workload().window(options.duration).as_millis(),
            })).collect::<Vec<_>>(),
        });
        let readme = format!(
            "# Which kernel settings matter\n\nWhich effect does each setting have on an echo, or on a storm of connects, when nothing \
             else changes? `tuning/bench.toml` says what is measured, and why.\n\n    {}\n\n{}",
            options.command,
            self.table()
        );
        for (name, text) in [
            ("README.md", readme),
            ("machine.json", format!("{:#}\n", machine(options))),
            ("plan.json", format!("{plan:#}\n")),
            ("summary.json", format!("{:#}\n", self.json())),
            ("summary.md", self.table()),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
        }
        Ok(())
    }
}

/// Makes the folder of a result. A folder with files in it is refused.
pub(super) fn claim(folder: &Path) -> Result<(), Fatal> {
    let used = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(environment(format!(
            "{} is not empty: a result is written once; name another folder with --out",
            folder.display()
        )));
    }
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))
}

/// Adds a run to `raw.jsonl`.
pub(super) fn append(folder: &Path, sample: &Sample) -> Result<(), Fatal> {
    let path = folder.join("raw.jsonl");
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(format!("{}\n", sample.raw).as_bytes()))
        .map_err(|error| cannot_write(&path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Fatal {
    environment(format!("{} cannot be written: {error}", path.display()))
}

/// Facts about the machine that a reader of the figures needs. Never its name.
fn machine(options: &BenchOptions) -> Value {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let output = |program: &str, arguments: &[&str]| {
        let text = call(Command::new(program).args(arguments), None).ok()?;
        Some(text.trim().to_owned())
    };
    let cpuinfo = file("/proc/cpuinfo");
    let program = options.program.to_string_lossy();
    let hash = output("sha256sum", &[&program]);
    json!({
        "cpu": {
            "model": field(&cpuinfo, "model name"),
            "logical_cpus": cpuinfo.matches("\nprocessor").count() + 1,
            "virtual_machine": cpuinfo.contains(" hypervisor"),
        },
        "memory": field(&file("/proc/meminfo"), "MemTotal"),
        "kernel": file("/proc/sys/kernel/osrelease").trim(),
        "ringway": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "commit": output("git", &["rev-parse", "HEAD"]),
        "commit_has_changes": output("git", &["status", "--porcelain"]).map(|text| !text.is_empty()),
        "binary_sha256": hash.as_deref().and_then(|text| text.split(' ').next()),
        "iproute2": output("ip", &["-Version"]),
        "knobs": check(&Root::default(), Profile::Bench).json()["knobs"].as_array().map(|knobs| {
            let pair = |knob: &Value| {
                let values = knob["readings"].as_array()?.iter().map(|reading| reading["value"].clone());
                let mut values: Vec<_> = values.collect();
                values.dedup();
                Some((knob["name"].as_str()?.to_owned(), values.into()))
            };
            Value::Object(knobs.iter().filter_map(pair).collect())
        }),
    })
}

/// A median with a sensible number of digits.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
