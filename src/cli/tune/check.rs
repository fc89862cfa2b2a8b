//! Compares this machine with a profile.
//!
//! Owns: the comparison, and its forms as a table and as JSON. Never: changes anything.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::knob::{Knob, Profile, Scope, Subject, subjects};
use super::root::Root;
use super::value::Want;

/// The result of comparing a machine with a profile.
#[derive(Debug)]
pub struct Report {
    profile: Profile,
    findings: Vec<Finding>,
}

/// One knob on this machine.
#[derive(Debug)]
pub(super) struct Finding {
    subject: &'static Subject,
    pub(super) knob: &'static Knob,
    pub(super) want: Option<&'static Want>,
    pub(super) readings: Vec<Reading>,
}

/// One file of a knob.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) path: String,
    /// The value, or why it cannot be read.
    pub(super) value: Result<String, String>,
}

/// The result for one knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Its value is not what the profile wants.
    Change,
    /// Its file exists and cannot be read.
    Unknown,
    /// Its value is what the profile wants.
    Holds,
    /// This kernel or machine does not have it.
    Absent,
    /// The profile wants no particular value.
    Information,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Unknown => "unknown",
            Self::Holds => "holds",
            Self::Absent => "absent",
            Self::Information => "information",
        }
    }
}

/// Reads every knob and compares it.
pub fn check(root: &Root, profile: Profile) -> Report {
    let knobs = subjects()
        .iter()
        .flat_map(|subject| subject.knobs.iter().map(move |knob| (subject, knob)));
    let read = |path: String| Reading {
        value: root.read(&path).map_err(|error| error.to_string()),
        path,
    };
    let finding = |(subject, knob): (&'static Subject, &'static Knob)| Finding {
        subject,
        knob,
        want: knob.want.get(&profile),
        readings: root.expand(&knob.path).into_iter().map(read).collect(),
    };
    Report {
        profile,
        findings: knobs.map(finding).collect(),
    }
}

impl Finding {
    fn status(&self) -> Status {
        let Some(want) = self.want else {
            return match self.readings.is_empty() {
                true => Status::Absent,
                false => Status::Information,
            };
        };
        let values = self.readings.iter().map(|reading| reading.value.as_ref());
        if self.readings.is_empty() {
            Status::Absent
        } else if values.clone().flatten().any(|value| !want.holds(value)) {
            Status::Change
        } else if values.clone().any(|value| value.is_err()) {
            Status::Unknown
        } else {
            Status::Holds
        }
    }

    /// The distinct values, each with the files that have it.
    fn groups(&self) -> Vec<(String, Vec<&str>)> {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for Reading { path, value } in &self.readings {
            let shown = match value {
                Ok(value) if value.is_empty() => "(empty)".to_owned(),
                Ok(value) => value.clone(),
                Err(why) => format!("not readable: {why}"),
            };
            match groups.iter_mut().find(|(value, _)| *value == shown) {
                Some((_, paths)) => paths.push(path),
                None => groups.push((shown, vec![path])),
            }
        }
        groups
    }

    /// The command with which a person changes it.
    fn remedy(&self) -> String {
        if let Some(by_hand) = &self.knob.by_hand {
            return by_hand.clone();
        }
        let wrong = self.readings.iter().find_map(|reading| {
            let value = reading.value.as_ref().ok()?;
            let want = self.want.filter(|want| !want.holds(value))?;
            Some((reading, want.target(value)?))
        });
        match (wrong, self.knob.path.starts_with("/proc/sys/")) {
            (None, _) => "by hand: its value is not of the form that is compared".to_owned(),
            (Some((_, target)), true) if target.contains(' ') => {
                format!("sysctl -w {}='{target}'", self.knob.name)
            }
            (Some((_, target)), true) => format!("sysctl -w {}={target}", self.knob.name),
            (Some((reading, target)), false) if self.readings.len() == 1 => {
                format!("echo {target} > {}", reading.path)
            }
            (Some((_, target)), false) => format!("echo {target} > each {}", self.knob.path),
        }
    }
}

impl Report {
    /// Whether the machine has everything that the profile wants.
    pub fn holds(&self) -> bool {
        self.count(Status::Change) + self.count(Status::Unknown) == 0
    }

    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn count(&self, status: Status) -> usize {
        let with = |finding: &&Finding| finding.status() == status;
        self.findings.iter().filter(with).count()
    }

    /// The form for people: first what should change, in detail; then what holds, and what is only information.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for finding in self.with(Status::Change) {
            change(&mut out, finding);
        }
        let mut list = |title: &str, statuses: &[Status]| {
            let found = self.findings.iter();
            let mut found = found
                .filter(|finding| statuses.contains(&finding.status()))
                .peekable();
            if found.peek().is_some() {
                let _ = writeln!(out, "{title}");
            }
            for finding in found {
                line(&mut out, finding);
            }
        };
        list("Holds:", &[Status::Holds]);
        list("Cannot be read:", &[Status::Unknown]);
        list(
            "For information; this profile wants nothing of it:",
            &[Status::Information],
        );
        let absent: Vec<_> = self
            .with(Status::Absent)
            .map(|f| f.knob.name.as_str())
            .collect();
        if !absent.is_empty() {
            let _ = writeln!(out, "Not on this machine:");
            let _ = writeln!(out, "{}", wrapped(&absent.join(", "), "  "));
        }
        let summary = format!(
            "Profile {}: {} to change, {} hold, {} unknown, {} for information, {} not here.",
            self.profile.name(),
            self.count(Status::Change),
            self.count(Status::Holds),
            self.count(Status::Unknown),
            self.count(Status::Information),
            absent.len(),
        );
        let _ = writeln!(out, "{}", wrapped(&summary, ""));
        out
    }

    fn with(&self, status: Status) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(move |finding| finding.status() == status)
    }

    /// The form for programs.
    pub fn json(&self) -> Value {
        let knob = |finding: &Finding| {
            let status = finding.status();
            let mut value = describe(finding.subject, finding.knob);
            value["status"] = status.name().into();
            value["wanted"] = finding.want.map(Want::to_string).into();
            value["remedy"] = (status == Status::Change).then(|| finding.remedy()).into();
            let reading = |Reading { path, value }: &Reading| {
                json!({
                    "path": path,
                    "value": value.as_ref().ok(),
                    "error": value.as_ref().err(),
                })
            };
            value["readings"] = finding.readings.iter().map(reading).collect();
            value
        };
        json!({
            "profile": self.profile.name(),
            "holds": self.holds(),
            "knobs": self.findings.iter().map(knob).collect::<Vec<_>>(),
        })
    }
}

/// All fields of a knob in its file of `tuning/`, except what profiles want.
fn describe(subject: &Subject, knob: &Knob) -> Value {
    json!({
        "name": knob.name,
        "subject": subject.subject,
        "file": format!("tuning/{}", subject.file),
        "path": knob.path,
        "scope": knob.scope.name(),
        "reason": knob.reason,
        "effect": knob.effect,
        "risk": knob.risk,
        "undo": knob.undo,
        "source": knob.source,
        "by_hand": knob.by_hand,
    })
}

/// The catalogue for people: every knob, without reading the machine.
pub fn catalogue() -> String {
    let mut out = String::new();
    for subject in subjects() {
        let _ = writeln!(out, "{} (tuning/{})", subject.subject, subject.file);
        let _ = writeln!(out, "{}", wrapped(&subject.about, "  "));
        for knob in &subject.knobs {
            let _ = writeln!(out, "\n  {} ({})", knob.name, knob.scope.name());
            if knob.name != knob.path && !knob.path.starts_with("/proc/sys/") {
                let _ = writeln!(out, "    {}", knob.path);
            }
            for (profile, want) in &knob.want {
                let _ = writeln!(out, "{}", labelled(profile.name(), &want.to_string()));
            }
            for (what, text) in texts(knob) {
                let _ = writeln!(out, "{}", labelled(what, text));
            }
        }
        let _ = writeln!(out);
    }
    out
}

/// The catalogue for programs.
pub fn catalogue_json() -> Value {
    let knob = |subject: &'static Subject| {
        subject.knobs.iter().map(move |knob| {
            let mut value = describe(subject, knob);
            let wants = knob.want.iter();
            value["want"] = wants
                .map(|(profile, want)| (profile.name().to_owned(), want.to_string().into()))
                .collect::<serde_json::Map<_, _>>()
                .into();
            value
        })
    };
    json!({ "knobs": subjects().iter().flat_map(knob).collect::<Vec<_>>() })
}

fn texts(knob: &Knob) -> impl Iterator<Item = (&'static str, &str)> {
    let texts = [
        ("why", knob.reason.as_str()),
        ("effect", &knob.effect),
        ("risk", &knob.risk),
        ("undo", &knob.undo),
        ("source", &knob.source),
    ];
    let by_hand = knob.by_hand.as_deref().map(|text| ("by hand", text));
    texts.into_iter().chain(by_hand)
}

/// Appends a knob that should change, with its reasons.
fn change(out: &mut String, finding: &Finding) {
    let Finding { knob, subject, .. } = finding;
    let want = finding.want.map_or_else(String::new, Want::to_string);
    let found = format!("{}: {want} instead of {}", knob.name, values(finding));
    let _ = writeln!(out, "{}", wrapped(&found, ""));
    let scope = match knob.scope {
        Scope::Device => "of each device",
        Scope::Host => "of the whole host",
        Scope::Netns => "of this network namespace",
        Scope::Process => "of each process",
    };
    let _ = writeln!(out, "{}", labelled("do", &finding.remedy()));
    for (what, text) in texts(knob).take(3) {
        let _ = writeln!(out, "{}", labelled(what, text));
    }
    let more = format!("a setting {scope}; see tuning/{}", subject.file);
    let _ = writeln!(out, "{}\n", labelled("note", &more));
}

/// Appends a knob in one line.
fn line(out: &mut String, finding: &Finding) {
    let wanted = match finding.want {
        Some(Want::Exactly(_)) | None => String::new(),
        Some(want) => format!("  ({want})"),
    };
    let text = format!("{}  {}{wanted}", finding.knob.name, values(finding));
    let _ = writeln!(out, "{}", wrapped(&text, "  "));
}

/// The values of a knob in few words: the value, or how many files have each.
fn values(finding: &Finding) -> String {
    let groups = finding.groups();
    match groups.as_slice() {
        [(value, paths)] if paths.len() == 1 => value.clone(),
        groups => {
            let group = |(value, paths): &(String, Vec<&str>)| match paths.as_slice() {
                [path] => format!("{value} ({})", distinct(path, &finding.knob.path)),
                paths => format!("{value} ({} of {})", paths.len(), finding.readings.len()),
            };
            let shown = groups.iter().take(GROUPS_MAX).map(group);
            let mut shown: Vec<_> = shown.collect();
            if groups.len() > GROUPS_MAX {
                shown.push(format!("and {} other values", groups.len() - GROUPS_MAX));
            }
            shown.join("; ")
        }
    }
}

/// Most distinct values of one knob in a table.
const GROUPS_MAX: usize = 8;

/// The parts of `path` that the stars of `pattern` stand for.
fn distinct(path: &str, pattern: &str) -> String {
    let parts = path.split('/').zip(pattern.split('/'));
    let stars = parts.filter(|(_, pattern)| pattern.contains('*'));
    stars.map(|(part, _)| part).collect::<Vec<_>>().join(" ")
}

fn labelled(label: &str, text: &str) -> String {
    let body = wrapped(text, "                  ");
    format!("    {label:<12}  {}", body.trim_start())
}

/// Wraps a text at blanks to 80 columns, with `indent` before each line.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        let used = last.chars().count() + word.chars().count();
        if last.len() == indent.len() {
            last.push_str(word);
        } else if used < 80 {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("{indent}{word}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::root::tests::Fake;
    use super::*;

    fn finding(report: &Report, name: &str) -> (Status, String) {
        let found = report.findings.iter().find(|f| f.knob.name == name);
        let found = found.expect("a knob");
        (found.status(), values(found))
    }

    #[test]
    fn a_machine_is_compared_knob_by_knob() {
        let fake = Fake::new(&[
            ("/proc/sys/net/core/somaxconn", "128\n"),
            ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
            ("/proc/sys/net/ipv4/tcp_fastopen", "3\n"),
            (
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            ),
        ]);
        let report = check(&fake.root, Profile::Bench);
        let found = |name| finding(&report, name);
        assert_eq!(
            found("net.core.somaxconn"),
            (Status::Change, "128".to_owned())
        );
        assert_eq!(found("net.ipv4.tcp_syncookies").0, Status::Holds);
        assert_eq!(found("net.ipv4.tcp_fastopen").0, Status::Information);
        assert_eq!(found("kernel.io_uring_disabled").0, Status::Absent);
        assert!(!report.holds());
        let table = report.table();
        for line in [
            "net.core.somaxconn: at least 8192 instead of 128",
            "    do            sysctl -w net.core.somaxconn=8192",
            "transparent_hugepage/enabled: madvise or never instead of always",
            "    do            echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "  net.ipv4.tcp_fastopen  3",
        ] {
            assert!(table.lines().any(|seen| seen == line), "{line}:\n{table}");
        }
    }

    #[test]
    fn many_files_of_one_knob_are_one_finding_with_a_count() {
        let path = |cpu: u32| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        let paths: Vec<_> = (0..4).map(path).collect();
        let governors = ["powersave", "powersave", "performance", "powersave"];
        let files: Vec<_> = paths.iter().map(String::as_str).zip(governors).collect();
        let report = check(&Fake::new(&files).root, Profile::LowLatency);
        assert_eq!(
            finding(&report, "scaling_governor"),
            (
                Status::Change,
                "powersave (3 of 4); performance (cpu2)".to_owned()
            )
        );
        let json = report.json();
        assert_eq!(json["holds"], false);
        let knobs = json["knobs"].as_array().expect("an array");
        let governor = knobs.iter().find(|k| k["name"] == "scaling_governor");
        let governor = governor.expect("it is there");
        assert_eq!(governor["readings"][2]["value"], "performance");
        assert_eq!(governor["status"], "change");
        assert_eq!(governor["file"], "tuning/cpu.toml");
    }

    #[test]
    fn what_is_there_and_cannot_be_read_does_not_hold() {
        // A folder in the place of the file: it exists, but reading it fails even for root.
        let fake = Fake::new(&[("/proc/sys/net/core/somaxconn/in-the-way", "")]);
        let report = check(&fake.root, Profile::Bench);
        assert_eq!(finding(&report, "net.core.somaxconn").0, Status::Unknown);
        assert!(!report.holds());
        assert!(report.table().contains("Cannot be read:\n"));
    }

    #[test]
    fn an_empty_machine_has_nothing_to_change_but_the_limits() {
        let limits = "Max open files  64  1048576  files\nMax locked memory 1 1 bytes\n";
        let fake = Fake::new(&[("/proc/self/limits", limits)]);
        let report = check(&fake.root, Profile::MillionIdle);
        assert!(report.holds(), "{}", report.table());
        assert_eq!(finding(&report, "rlimit:nofile").0, Status::Holds);
    }

    #[test]
    fn tables_stay_within_eighty_columns_where_words_allow() {
        let wide = |text: &str| {
            let too_wide = |line: &&str| line.chars().count() > 80;
            // Commands and paths are not wrapped, so that they can be copied.
            let prose = |line: &&str| line.split_whitespace().count() > 2;
            text.lines()
                .filter(too_wide)
                .filter(prose)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(wide(&catalogue()), [""; 0]);
        for (_, profile) in Profile::ALL {
            assert_eq!(wide(&check(&Root::default(), profile).table()), [""; 0]);
        }
    }
}
