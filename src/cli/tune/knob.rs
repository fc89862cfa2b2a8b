//! The knobs: `tuning/*.toml`, parsed.
//!
//! Owns: the format, and by its tests that the files of this crate have it. Never: reads the machine.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::value::Want;

/// The purpose of a machine. A knob says which value it should have for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A benchmark on loopback or in a local network: connect storms, repeatable runs.
    Bench,
    /// Very many connections that are silent most of the time.
    MillionIdle,
    /// Latency matters more than power and throughput.
    LowLatency,
}

impl Profile {
    /// Every profile with its name.
    pub const ALL: [(&str, Self); 3] = [
        ("bench", Self::Bench),
        ("million-idle", Self::MillionIdle),
        ("low-latency", Self::LowLatency),
    ];

    /// The name, as it is typed.
    pub fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, profile)| *profile == self);
        named.map_or("", |(name, _)| name)
    }
}

/// The part of a system that a value applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One network device.
    Device,
    /// The whole machine, containers included.
    Host,
    /// One network namespace: a container has its own.
    Netns,
    /// One process and its children.
    Process,
}

impl Scope {
    /// The name, as the files write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::Netns => "netns",
            Self::Process => "process",
        }
    }
}

/// A file of `tuning/`: knobs that belong together, with an introduction.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The file's name, which is not in the file itself.
    #[serde(skip)]
    pub file: &'static str,
    /// The subject, in a word or two.
    pub subject: String,
    /// How its knobs work together, and what can go wrong.
    pub about: String,
    /// The knobs.
    #[serde(rename = "knob")]
    pub knobs: Vec<Knob>,
}

/// One setting of the kernel or the system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// The name of the sysctl, or a short name.
    pub name: String,
    /// A file below `/proc` or `/sys`, where `*` stands for a part of one name; or `rlimit:NAME`, the hard limit of this
    /// process.
    pub path: String,
    /// The part of the system that it applies to.
    pub scope: Scope,
    /// Why it matters for Ringway.
    pub reason: String,
    /// The benefit of changing it.
    pub effect: String,
    /// The possible cost of changing it.
    pub risk: String,
    /// How to change it back without this program.
    pub undo: String,
    /// The source of these facts.
    pub source: String,
    /// How a person changes it, where `apply` cannot or must not.
    pub by_hand: Option<String>,
    /// The value that each profile wants. A profile that is not listed wants none.
    #[serde(default)]
    pub want: BTreeMap<Profile, Want>,
}

/// Every subject, in the order of the files' names.
pub fn subjects() -> &'static [Subject] {
    static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
        let parsed = FILES.iter().map(|(file, text)| parse(file, text));
        parsed
            .collect::<Result<_, _>>()
            .expect("the embedded files parse: `every_file_parses` of this module holds it")
    });
    &SUBJECTS
}

/// Parses one file. The error names it.
fn parse(file: &'static str, text: &str) -> Result<Subject, String> {
    let mut subject: Subject = toml::from_str(text).map_err(|error| format!("{file}: {error}"))?;
    subject.file = file;
    // Long texts are wrapped in the files. Here a text is one line.
    let fold = |text: &mut String| *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    fold(&mut subject.about);
    for knob in &mut subject.knobs {
        let texts = [
            &mut knob.reason,
            &mut knob.effect,
            &mut knob.risk,
            &mut knob.undo,
            &mut knob.source,
        ];
        texts.into_iter().chain(&mut knob.by_hand).for_each(fold);
    }
    Ok(subject)
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../tuning/", $name)))),*]
    };
}

const FILES: [(&str, &str); 10] = embed![
    "accept-queues.toml",
    "busy-poll.toml",
    "cpu.toml",
    "files.toml",
    "io-uring.toml",
    "memory.toml",
    "network-queues.toml",
    "ports.toml",
    "tcp-behaviour.toml",
    "tcp-memory.toml",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn knobs() -> impl Iterator<Item = &'static Knob> {
        subjects().iter().flat_map(|subject| &subject.knobs)
    }

    #[test]
    fn every_file_parses() {
        for (file, text) in FILES {
            let subject = parse(file, text).unwrap_or_else(|why| panic!("{why}"));
            assert!(!subject.knobs.is_empty(), "{file}");
            assert!(subject.about.len() > 100, "{file}: about");
        }
    }

    #[test]
    fn every_file_of_tuning_is_embedded_and_in_the_index() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning");
        let index = std::fs::read_to_string(format!("{folder}/README.md")).expect("the index");
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let name = entry.expect("readable").file_name();
            let name = name.to_str().expect("UTF-8");
            if name.ends_with(".toml") && name != "bench.toml" {
                assert!(FILES.iter().any(|(file, _)| *file == name), "{name}");
                assert!(index.contains(&format!("({name})")), "{name}: no index");
            }
        }
    }

    #[test]
    fn every_knob_says_everything_once() {
        let mut names = BTreeSet::new();
        let mut paths = BTreeSet::new();
        for knob in knobs() {
            let Knob { name, path, .. } = knob;
            assert!(names.insert(name), "{name} twice");
            assert!(paths.insert(path), "{path} twice");
            for text in [&knob.reason, &knob.effect, &knob.risk] {
                assert!(text.ends_with('.'), "{name}: no sentence: {text}");
            }
            assert!(!knob.undo.is_empty() && !knob.source.is_empty(), "{name}");
        }
        assert!(names.len() > 60, "{}", names.len());
    }

    #[test]
    fn a_sysctl_is_named_as_its_path_and_everything_else_has_a_known_root() {
        for knob in knobs() {
            let Knob { name, path, .. } = knob;
            match path.strip_prefix("/proc/sys/") {
                Some(inside) => assert_eq!(&inside.replace('/', "."), name),
                None => assert!(
                    ["/sys/", "/proc/irq/", "rlimit:"]
                        .iter()
                        .any(|root| path.starts_with(root)),
                    "{path}"
                ),
            }
            assert!(!path.contains(".."), "{path}");
            let scope = match knob.scope {
                Scope::Device => path.starts_with("/sys/class/net/*/"),
                Scope::Netns => path.starts_with("/proc/sys/net/"),
                Scope::Process => path.starts_with("rlimit:"),
                Scope::Host => !path.starts_with("rlimit:") && !path.starts_with("/sys/class/net"),
            };
            assert!(scope, "{path} is not of scope {}", knob.scope.name());
            assert!(knob.scope != Scope::Process || knob.by_hand.is_some());
        }
    }

    #[test]
    fn the_knobs_of_the_issue_are_there() {
        for name in [
            "net.core.somaxconn",
            "net.ipv4.tcp_max_syn_backlog",
            "net.ipv4.ip_local_port_range",
            "rlimit:nofile",
            "fs.nr_open",
            "fs.file-max",
            "net.ipv4.tcp_mem",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem",
            "net.core.busy_poll",
            "rps_cpus",
            "net.core.rps_sock_flow_entries",
            "smp_affinity_list",
            "transparent_hugepage/enabled",
            "scaling_governor",
            "kernel.io_uring_disabled",
            "net.core.netdev_max_backlog",
            "net.ipv4.tcp_max_orphans",
            "fs.pipe-max-size",
            "net.ipv4.tcp_window_scaling",
            "net.ipv4.tcp_low_latency",
            "net.ipv4.tcp_syncookies",
        ] {
            assert!(knobs().any(|knob| knob.name == name), "{name}");
        }
    }

    #[test]
    fn every_profile_wants_something_and_applying_what_it_wants_makes_it_hold() {
        for (name, profile) in Profile::ALL {
            assert_eq!(profile.name(), name);
            let wants = knobs().filter_map(|knob| knob.want.get(&profile).map(|want| (knob, want)));
            let mut count = 0;
            for (knob, want) in wants {
                count += 1;
                for value in ["0", "1", "999999999999", "1 2", "5 6 7", "none"] {
                    if let Some(target) = want.target(value) {
                        assert!(want.holds(&target), "{}: {want}: {target}", knob.name);
                    }
                }
            }
            assert!(count >= 15, "{name}: {count}");
        }
    }
}
