//! Changes the values that a profile wants changed, and changes them back.
//!
//! Owns: the order of steps. The previous values are on disk before the first write. A missing permission is found before
//! anything is changed. A value that the kernel refuses later is reported and removed from the journal.
//! Never: writes a knob that a person must set; or, in `undo`, a value that somebody has changed since.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::check::{Report, check};
use super::journal::{Change, Journal};
use super::knob::Profile;
use super::root::Root;
use ringway::exit::Exit;
use ringway::exit::Fatal;

/// What `apply` or `undo` did, or with `--dry-run` would do.
#[derive(Debug)]
pub struct Outcome {
    dry_run: bool,
    steps: Vec<Step>,
}

/// The result for one value.
#[derive(Debug)]
struct Step {
    kind: Kind,
    /// The file, or the name of a knob that a person sets.
    what: String,
    /// The values before and after.
    values: Option<(String, String)>,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Written.
    Changed,
    /// A person has to change it.
    ByHand,
    /// Left as it is, because somebody else has changed it since.
    Kept,
    /// Nothing to do: the value is the previous one already, or the file is gone.
    Settled,
    /// The kernel refused.
    Failed,
}

/// Writes what `profile` wants, as far as it can be written. The previous values go to the journal at `state`.
pub fn apply(root: &Root, profile: Profile, state: &Path, dry_run: bool) -> Result<Outcome, Fatal> {
    let report = check(root, profile);
    let (plan, by_hand) = plan(&report);
    let mut steps = Vec::new();
    if dry_run {
        steps.extend(plan.iter().map(Step::changed));
    } else if !plan.is_empty() {
        let mut journal = load(state)?;
        permitted(root, plan.iter().map(|change| change.path.as_str()))?;
        let before = journal.changes.len();
        journal.changes.extend(plan);
        store(&journal, state, "nothing was changed")?;
        let mut made = Vec::new();
        for mut change in journal.changes.split_off(before) {
            let step = write(root, &change.path, &change.old, &change.new);
            if let (Kind::Changed, Some((_, new))) = (step.kind, &step.values) {
                change.new.clone_from(new);
                made.push(change);
            }
            steps.push(step);
        }
        journal.changes.extend(made);
        store(&journal, state, "the changes were made")?;
    }
    steps.extend(by_hand);
    Ok(Outcome { dry_run, steps })
}

/// Restores the values of the journal at `state`, the last change first. A value that differs from the one `apply` wrote
/// stays as it is, and stays in the journal, unless `force` is set.
pub fn undo(root: &Root, state: &Path, force: bool, dry_run: bool) -> Result<Outcome, Fatal> {
    let mut journal = load(state)?;
    let changes = journal.changes.iter().rev();
    // Values that earlier steps of this undo have written, or with `--dry-run` would have.
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let mut decided = Vec::new();
    for change in changes {
        let now = match written.get(&change.path) {
            Some(value) => Ok(value.clone()),
            None => root.read(&change.path),
        };
        let restoring = restoring(change, now, force);
        if let Restoring::Restore { .. } = restoring {
            written.insert(change.path.clone(), change.old.clone());
        }
        decided.push((change.clone(), restoring));
    }
    if !dry_run {
        let writes = decided.iter().filter(|(_, restoring)| restoring.writes());
        permitted(root, writes.map(|(change, _)| change.path.as_str()))?;
    }
    let mut steps = Vec::new();
    let mut left = Vec::new();
    for (change, restoring) in decided {
        let step = match restoring {
            Restoring::Restore { now } if dry_run => Step {
                kind: Kind::Changed,
                what: change.path.clone(),
                values: Some((now, change.old.clone())),
                why: String::new(),
            },
            Restoring::Restore { now } => write(root, &change.path, &now, &change.old),
            Restoring::Leave(kind, why) => Step {
                kind,
                what: change.path.clone(),
                values: None,
                why,
            },
        };
        if matches!(step.kind, Kind::Kept | Kind::Failed) {
            left.push(change);
        }
        steps.push(step);
    }
    if !dry_run {
        left.reverse();
        journal.changes = left;
        store(&journal, state, "the values are back")?;
    }
    Ok(Outcome { dry_run, steps })
}

/// What `undo` does about one change.
enum Restoring {
    Restore { now: String },
    Leave(Kind, String),
}

impl Restoring {
    fn writes(&self) -> bool {
        matches!(self, Self::Restore { .. })
    }
}

fn restoring(change: &Change, now: io::Result<String>, force: bool) -> Restoring {
    match now {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Restoring::Leave(Kind::Settled, "it is gone".to_owned())
        }
        Err(error) => Restoring::Leave(Kind::Failed, format!("cannot be read: {error}")),
        Ok(now) if now == change.old => {
            Restoring::Leave(Kind::Settled, format!("it is {now} already"))
        }
        Ok(now) if now == change.new || force => Restoring::Restore { now },
        Ok(now) => Restoring::Leave(
            Kind::Kept,
            format!(
                "it is {now} and not {}: somebody has changed it since; --force makes it {}",
                change.new, change.old
            ),
        ),
    }
}

/// The changes that can be written, and the steps for a person.
fn plan(report: &Report) -> (Vec<Change>, Vec<Step>) {
    let (mut changes, mut by_hand) = (Vec::new(), Vec::new());
    for finding in report.findings() {
        let Some(want) = finding.want else { continue };
        for reading in &finding.readings {
            let Ok(old) = &reading.value else { continue };
            if want.holds(old) {
                continue;
            }
            match (want.target(old), &finding.knob.by_hand) {
                (Some(new), None) => changes.push(Change {
                    path: reading.path.clone(),
                    old: old.clone(),
                    new,
                }),
                (_, remedy) => by_hand.push(Step {
                    kind: Kind::ByHand,
                    what: finding.knob.name.clone(),
                    values: Some((old.clone(), want.to_string())),
                    why: remedy.clone().unwrap_or_else(|| {
                        format!("{} is not of the form that is compared", reading.path)
                    }),
                }),
            }
        }
    }
    (changes, by_hand)
}

/// Writes a value and reads it back: the kernel may round, clamp or ignore it.
fn write(root: &Root, path: &str, old: &str, new: &str) -> Step {
    let after = root.write(path, new).and_then(|()| root.read(path));
    let (kind, after, why) = match after {
        Err(error) => (
            Kind::Failed,
            new,
            format!("the kernel refuses {new}: {error}"),
        ),
        Ok(after) if after == old => (Kind::Failed, new, format!("the kernel keeps {old}")),
        Ok(after) if after == new => (Kind::Changed, new, String::new()),
        Ok(after) => {
            let why = format!("{new} was asked for");
            return Step::new(Kind::Changed, path, old, &after, why);
        }
    };
    Step::new(kind, path, old, after, why)
}

/// Fails if one of the files cannot be opened for writing. Nothing has been changed then.
fn permitted<'a>(root: &Root, paths: impl Iterator<Item = &'a str>) -> Result<(), Fatal> {
    let refused = paths.filter_map(|path| Some((path, root.probe(path).err()?)));
    let refused: Vec<_> = refused.collect();
    let Some((path, error)) = refused.first() else {
        return Ok(());
    };
    let others = match refused.len() - 1 {
        0 => String::new(),
        others => format!(" (nor {others} others)"),
    };
    Err(environment(format!(
        "{path} cannot be written{others}: {error}; nothing was changed. Run it as root, and not in a container, which does not \
         own the host's settings"
    )))
}

fn load(state: &Path) -> Result<Journal, Fatal> {
    Journal::load(state).map_err(|error| {
        environment(format!(
            "the previous values in {} cannot be read: {error}; nothing was changed. Look at the file, or name another one \
             with --state",
            state.display()
        ))
    })
}

fn store(journal: &Journal, state: &Path, fact: &str) -> Result<(), Fatal> {
    journal.store(state).map_err(|error| {
        environment(format!(
            "the previous values cannot be saved in {}: {error}; {fact}. Name a place that can be written with --state",
            state.display()
        ))
    })
}

fn environment(sentence: String) -> Fatal {
    Fatal {
        exit: Exit::Environment,
        sentence,
    }
}

impl Step {
    fn new(kind: Kind, what: &str, old: &str, new: &str, why: String) -> Self {
        Self {
            kind,
            what: what.to_owned(),
            values: Some((old.to_owned(), new.to_owned())),
            why,
        }
    }

    fn changed(change: &Change) -> Self {
        let Change { path, old, new } = change;
        Self::new(Kind::Changed, path, old, new, String::new())
    }
}

impl Outcome {
    /// The exit code: [`Exit::Environment`] when the kernel refused a value, [`Exit::Failure`] when `undo` left one as it
    /// was.
    pub fn exit(&self) -> Exit {
        let any = |kind| self.steps.iter().any(|step| step.kind == kind);
        if any(Kind::Failed) {
            Exit::Environment
        } else if any(Kind::Kept) {
            Exit::Failure
        } else {
            Exit::Ok
        }
    }

    /// The form for people: a line per value.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for Step {
            kind,
            what,
            values,
            why,
        } in &self.steps
        {
            let (old, new) = values.clone().unwrap_or_default();
            let line = match kind {
                Kind::Changed if why.is_empty() => format!("{what}: {old} -> {new}"),
                Kind::Changed => format!("{what}: {old} -> {new} ({why})"),
                Kind::ByHand => format!("{what}: by hand, {new} instead of {old}: {why}"),
                Kind::Kept => format!("{what}: left alone, {why}"),
                Kind::Settled => format!("{what}: nothing to do, {why}"),
                Kind::Failed => format!("{what}: FAILED, {why}"),
            };
            out.push_str(&line);
            out.push('\n');
        }
        let changed = self.steps.iter().filter(|step| step.kind == Kind::Changed);
        let verb = if self.dry_run {
            "would be changed"
        } else {
            "changed"
        };
        out.push_str(&format!("{} values {verb}.\n", changed.count()));
        out
    }

    /// The form for programs.
    pub fn json(&self) -> Value {
        let step = |step: &Step| {
            let name = match step.kind {
                Kind::Changed => "changed",
                Kind::ByHand => "by_hand",
                Kind::Kept => "kept",
                Kind::Settled => "settled",
                Kind::Failed => "failed",
            };
            json!({
                "step": name,
                "what": step.what,
                "old": step.values.as_ref().map(|(old, _)| old),
                "new": step.values.as_ref().map(|(_, new)| new),
                "why": step.why,
            })
        };
        json!({
            "dry_run": self.dry_run,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::root::tests::Fake;
    use super::*;

    const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
    const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

    fn machine() -> (Fake, PathBuf) {
        let fake = Fake::new(&[
            (SOMAXCONN, "128\n"),
            (PORTS, "32768\t60999\n"),
            ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
            ("/proc/self/limits", "Max open files  64  64  files\n"),
        ]);
        let state = fake.path("var/lib/ringway/tune.json");
        (fake, state)
    }

    fn kinds(outcome: &Outcome) -> Vec<Kind> {
        outcome.steps.iter().map(|step| step.kind).collect()
    }

    #[test]
    fn what_is_applied_holds_and_undo_restores_every_file_to_the_letter() {
        let (fake, state) = machine();
        let outcome = apply(&fake.root, Profile::Bench, &state, false).expect("permitted");
        assert_eq!(
            kinds(&outcome),
            [Kind::Changed, Kind::Changed, Kind::ByHand]
        );
        assert_eq!(outcome.exit(), Exit::Ok);
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "8192");
        assert_eq!(fake.root.read(PORTS).expect("there"), "10240 65535");
        assert!(state.exists());

        let outcome = undo(&fake.root, &state, false, false).expect("permitted");
        assert_eq!(kinds(&outcome), [Kind::Changed, Kind::Changed]);
        assert_eq!(outcome.steps[0].what, PORTS, "the last one first");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "128");
        assert_eq!(fake.root.read(PORTS).expect("there"), "32768 60999");
        assert!(!state.exists());
        let again = undo(&fake.root, &state, false, false).expect("nothing to do");
        assert!(again.steps.is_empty());
    }

    #[test]
    fn a_dry_run_says_the_same_and_changes_nothing() {
        let (fake, state) = machine();
        let dry = apply(&fake.root, Profile::Bench, &state, true).expect("no rights needed");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "128");
        assert!(!state.exists());
        let wet = apply(&fake.root, Profile::Bench, &state, false).expect("permitted");
        assert_eq!(dry.json()["steps"], wet.json()["steps"]);
        assert!(
            dry.table().contains(&format!("{SOMAXCONN}: 128 -> 8192\n")),
            "{}",
            dry.table()
        );
        let dry = undo(&fake.root, &state, false, true).expect("no rights needed");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "8192");
        let wet = undo(&fake.root, &state, false, false).expect("permitted");
        assert_eq!(dry.json()["steps"], wet.json()["steps"]);
    }

    #[test]
    fn two_profiles_in_a_row_are_undone_to_where_the_first_began() {
        let (fake, state) = machine();
        apply(&fake.root, Profile::LowLatency, &state, false).expect("permitted");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "4096");
        apply(&fake.root, Profile::MillionIdle, &state, false).expect("permitted");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "65535");
        undo(&fake.root, &state, false, false).expect("permitted");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "128");
    }

    #[test]
    fn a_value_that_somebody_has_changed_since_is_left_alone_unless_forced() {
        let (fake, state) = machine();
        apply(&fake.root, Profile::Bench, &state, false).expect("permitted");
        fake.root.write(SOMAXCONN, "9999").expect("ours");
        let outcome = undo(&fake.root, &state, false, false).expect("permitted");
        assert_eq!(kinds(&outcome), [Kind::Changed, Kind::Kept]);
        assert_eq!(outcome.exit(), Exit::Failure);
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "9999");
        assert!(state.exists(), "what is left can still be undone");
        let outcome = undo(&fake.root, &state, true, false).expect("permitted");
        assert_eq!(kinds(&outcome), [Kind::Changed]);
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "128");
        assert!(!state.exists());
    }

    #[test]
    fn what_cannot_be_saved_is_not_changed() {
        let (fake, _) = machine();
        // A file where the folder should be.
        let state = fake.path("proc/self/limits/tune.json");
        let fatal = apply(&fake.root, Profile::Bench, &state, false).expect_err("no folder");
        assert_eq!(fatal.exit, Exit::Environment);
        assert!(fatal.sentence.contains("nothing was changed"), "{fatal}");
        assert_eq!(fake.root.read(SOMAXCONN).expect("there"), "128");
    }

    #[test]
    fn a_file_that_is_gone_is_settled() {
        let (fake, state) = machine();
        apply(&fake.root, Profile::Bench, &state, false).expect("permitted");
        std::fs::remove_file(fake.path(&PORTS[1..])).expect("ours");
        let outcome = undo(&fake.root, &state, false, false).expect("permitted");
        assert_eq!(kinds(&outcome), [Kind::Settled, Kind::Changed]);
        assert_eq!(outcome.exit(), Exit::Ok);
        assert!(!state.exists());
    }
}
