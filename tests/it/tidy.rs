//! The order of the house, held by a walk through `src/`: which module may name which, where `unsafe` lives, and how long
//! a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the workspace: its folder below `src/`, and which of its top-level modules may name which others. Arrows point one way:
/// a cycle cannot be written down here. The arrows between crates are in the manifests, and Cargo refuses a cycle.
struct Member {
    folder: &'static str,
    /// As other crates write it.
    name: &'static str,
    /// Which crates of the workspace it may name.
    may_use: &'static [&'static str],
    modules: &'static [(&'static str, &'static [&'static str])],
}

const MEMBERS: &[Member] = &[
    Member {
        folder: "proto",
        name: "ringway_proto",
        may_use: &[],
        modules: &[],
    },
    Member {
        folder: "client",
        name: "ringway_client",
        may_use: &["ringway_proto"],
        modules: &[],
    },
    Member {
        folder: "bus",
        name: "ringway_bus",
        may_use: &[],
        modules: &[
            ("atomic", &[]),
            // Tests of the models take both.
            ("log", &["AtomicU64", "atomic", "doorbell", "random"]),
            ("doorbell", &["AtomicU64", "atomic"]),
            ("random", &[]),
            ("topics", &["random"]),
            ("wakes", &[]),
            ("api", &["topics"]),
            ("history", &["random", "topics"]),
            ("queue", &["history", "random"]),
            ("pubsub", &["history", "topics"]),
            ("rights", &["topics"]),
            ("token", &["rights", "topics"]),
            (
                "station",
                &[
                    "history", "log", "pubsub", "queue", "random", "rights", "topics",
                ],
            ),
            ("tests", &[]),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "backplane",
        name: "ringway_backplane",
        may_use: &["ringway_bus"],
        modules: &[
            ("counts", &[]),
            ("subject", &[]),
            ("envelope", &["Origin"]),
            ("interests", &[]),
            ("seen", &["Origin", "envelope"]),
            ("broker", &["subject"]),
            ("nats", &["broker", "subject"]),
            ("redis", &["broker", "subject"]),
            ("outbox", &["Origin", "broker", "counts", "envelope"]),
            (
                "bridge",
                &[
                    "Origin",
                    "broker",
                    "counts",
                    "envelope",
                    "interests",
                    "nats",
                    "outbox",
                    "redis",
                    "seen",
                    "subject",
                ],
            ),
            ("memory", &["broker", "subject"]),
            (
                "tests",
                &[
                    "Change", "Counts", "FromBus", "Message", "Options", "ToBus", "bridge",
                    "memory", "outbox",
                ],
            ),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "web",
        name: "ringway_web",
        may_use: &["ringway_proto"],
        modules: &[
            ("passwords", &[]),
            ("options", &["passwords"]),
            ("counts", &[]),
            ("body", &[]),
            ("peer", &[]),
            ("listing", &[]),
            ("auth", &["body", "passwords"]),
            ("scripts", &[]),
            ("stderr", &[]),
            ("environment", &["scripts"]),
            ("files", &["body", "listing", "options"]),
            ("forward", &["peer"]),
            ("upstream", &["body", "options"]),
            (
                "proxy",
                &["body", "counts", "forward", "options", "peer", "upstream"],
            ),
            (
                "cgi",
                &[
                    "body",
                    "counts",
                    "environment",
                    "forward",
                    "options",
                    "peer",
                    "scripts",
                    "stderr",
                ],
            ),
            (
                "answer",
                &[
                    "auth", "body", "cgi", "counts", "files", "options", "peer", "proxy",
                ],
            ),
            ("connection", &["answer", "counts", "options", "peer"]),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "ringway",
        name: "ringway",
        may_use: &[
            "ringway_backplane",
            "ringway_bus",
            "ringway_proto",
            "ringway_web",
        ],
        modules: &[
            ("time", &[]),
            ("random", &[]),
            ("exit", &[]),
            ("guide", &[]),
            ("lines", &["random"]),
            ("signals", &[]),
            ("proto", &[]),
            ("io", &["random", "time"]),
            ("bus", &["io"]),
            ("stats", &["time"]),
            ("control", &["io", "random"]),
            ("tls", &["exit"]),
            ("conn", &["io", "stats", "time", "tls"]),
            (
                "protocol",
                &[
                    "bus", "conn", "io", "proto", "random", "stats", "time", "tls",
                ],
            ),
            ("tasks", &["io", "proto", "protocol", "time"]),
            // Tests run asynchronous services in a simulated worker.
            (
                "worker",
                &[
                    "bus", "conn", "io", "proto", "protocol", "stats", "tasks", "time", "tls",
                ],
            ),
            ("services", &["io", "proto", "protocol", "stats", "time"]),
            ("seat", &["exit"]),
            (
                "supervise",
                &[
                    "bus", "control", "exit", "lines", "options", "proto", "random", "seat",
                    "signals", "stats", "time", "tls",
                ],
            ),
            ("options", &["bus", "proto", "seat", "services", "tls"]),
            (
                "server",
                &[
                    "bus",
                    "control",
                    "exit",
                    "io",
                    "lines",
                    "options",
                    "proto",
                    "protocol",
                    "seat",
                    "services",
                    "signals",
                    "stats",
                    "supervise",
                    "time",
                    "tls",
                    "worker",
                ],
            ),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "rebind",
        name: "ringway_rebind",
        may_use: &[],
        modules: &[],
    },
    Member {
        folder: "command",
        name: "ringway_command",
        may_use: &["ringway"],
        modules: &[
            ("text", &[]),
            ("values", &[]),
            ("kinds", &["values"]),
            ("judge", &["Text", "kinds"]),
            ("endpoint", &["Text", "judge", "kinds"]),
            ("file", &[]),
            ("options", &["file", "judge", "kinds"]),
            ("output", &[]),
            ("recording", &[]),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "wsperf",
        name: "wsperf",
        may_use: &["ringway", "ringway_bus", "ringway_command"],
        modules: &[
            (
                "load",
                &["io", "proto", "random", "signals", "time", "worker"],
            ),
            ("cli", &["exit", "load", "options", "supervise"]),
            ("lib", &[]),
        ],
    },
    Member {
        folder: "cli",
        name: "ringway_cli",
        may_use: &[
            "ringway",
            "ringway_client",
            "ringway_command",
            "ringway_rebind",
            "ringway_web",
            "wsperf",
        ],
        modules: &[],
    },
];

/// Where `unsafe` lives.
const UNSAFE: [&str; 3] = [
    "src/ringway/io/",
    "src/ringway/supervise/sys.rs",
    "src/rebind/preload.rs",
];

/// Lines of a file; tests of their own file may be longer.
const LINES_MAX: usize = 700;

/// A source file: its path from the root of the crate, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The crate that the file belongs to.
    fn member(&self) -> &'static Member {
        let inside = self.path.strip_prefix("src/").expect("below src");
        let folder = inside.split('/').next().expect("a name");
        let member = MEMBERS.iter().find(|member| member.folder == folder);
        member.unwrap_or_else(|| panic!("src/{folder} has no row in MEMBERS"))
    }

    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let mut parts = self.path.split('/').skip(2);
        let first = parts.next().expect("a name");
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_test(&self) -> bool {
        let is = |part: &str| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs");
        self.path.split('/').any(is)
    }

    /// Lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split("//").next().expect("the first part")))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = &root.join("../..").canonicalize().expect("the root");
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the crate") {
            let path: PathBuf = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let path = path.strip_prefix(root).expect("below the root");
                let path = path.to_str().expect("UTF-8").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 50, "the walk found the sources");
    found
}

/// The modules that a line names from the root of the crate: `prefix::name`, and `prefix::{name, name::…}`.
fn named<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let word = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        &text[..end.unwrap_or(text.len())]
    };
    line.match_indices(prefix).flat_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        let rest = &line[at + prefix.len()..];
        let inner = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let names: Vec<&str> = match rest.strip_prefix('{') {
            _ if inner => Vec::new(),
            Some(group) => group.split(',').map(|name| word(name.trim())).collect(),
            None => vec![word(rest)],
        };
        names.into_iter().filter(|name| !name.is_empty())
    })
}

#[test]
fn modules_name_each_other_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        let member = source.member();
        if member.modules.is_empty() {
            continue;
        }
        let module = source.module().to_owned();
        let row = member.modules.iter().find(|(name, _)| *name == module);
        let Some((_, others)) = row else {
            wrong.push(format!(
                "{}: the module '{module}' has no row in MEMBERS",
                source.path
            ));
            continue;
        };
        for (number, line) in source.code() {
            for name in named(line, "crate::").filter(|name| *name != module) {
                if !others.contains(&name) {
                    wrong.push(format!(
                        "{}:{number}: {module} may not name {name}",
                        source.path
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn crates_name_each_other_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        let member = source.member();
        for (number, line) in source.code() {
            let others = MEMBERS.iter().filter(|other| other.name != member.name);
            for other in others.filter(|other| !member.may_use.contains(&other.name)) {
                let path = format!("{}::", other.name);
                if named(line, &path).next().is_some() {
                    wrong.push(format!(
                        "{}:{number}: {} may not name {}",
                        source.path, member.name, other.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_tables_have_no_cycle_and_no_row_without_a_module() {
    let rows = MEMBERS
        .iter()
        .map(|member| (member.name, member.may_use))
        .collect();
    assert_no_cycle(rows);
    for member in MEMBERS {
        assert_no_cycle(member.modules.to_vec());
    }
    let sources = sources();
    let found: BTreeSet<_> = sources
        .iter()
        .map(|source| (source.member().folder, source.module()))
        .collect();
    for member in MEMBERS {
        for (module, _) in member.modules {
            let imported = *module == "proto"; // another crate under a name of its own
            assert!(
                imported || found.contains(&(member.folder, module)),
                "{module} is no module of {}",
                member.name
            );
        }
    }
}

fn assert_no_cycle(mut left: Vec<(&str, &[&str])>) {
    let rows: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
    let mut above: Vec<&str> = Vec::new();
    while !left.is_empty() {
        let ready = |(_, others): &(&str, &[&str])| {
            let mut others = others.iter();
            others.all(|name| above.contains(name) || !rows.contains(name))
        };
        let at = left.iter().position(ready);
        let at = at.unwrap_or_else(|| panic!("these name each other: {left:?}"));
        above.push(left.swap_remove(at).0);
    }
}

#[test]
fn unsafe_has_three_addresses_and_is_forbidden_elsewhere() {
    let sources = sources();
    let mut wrong = Vec::new();
    for source in &sources {
        if UNSAFE
            .iter()
            .any(|address| source.path.starts_with(address))
        {
            continue;
        }
        let starts = ["{", "fn", "impl", "extern", "trait"].map(|next| format!("unsafe {next}"));
        let words = |line: &str| starts.iter().any(|start| line.contains(start));
        let lines = source.code().filter(|(_, line)| words(line));
        wrong.extend(lines.map(|(number, _)| format!("{}:{number}: unsafe", source.path)));
    }
    // Forbidden at the root of each crate, or of each module of the one that has addresses of `unsafe`.
    let forbids = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| {
            source.text.contains("#![forbid(unsafe_code)]")
                || source.text.contains("#![deny(unsafe_code)]")
        })
    };
    for member in MEMBERS {
        if forbids(&format!("src/{}/lib.rs", member.folder)) {
            continue;
        }
        for (module, _) in member.modules {
            let stem = format!("src/{}/{module}", member.folder);
            let roots = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
            let excused = ["io", "lib", "proto"].contains(module);
            if !excused && !roots.iter().any(|root| forbids(root)) {
                wrong.push(format!("{stem}: no forbid(unsafe_code) at its root"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_not_longer_than_700_lines() {
    let sources = sources();
    let length = |source: &&Source| source.text.lines().count() > LINES_MAX && !source.is_test();
    let long = sources.iter().filter(length);
    let long: Vec<_> = long
        .map(|source| format!("{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn names_are_found_in_paths_and_in_groups() {
    let find = |line| named(line, "crate::").collect::<Vec<_>>();
    assert_eq!(find("use crate::io::{Fd, Io};"), ["io"]);
    assert_eq!(
        find("use crate::{io::Fd, proto, time::now};"),
        ["io", "proto", "time"]
    );
    assert_eq!(
        find("let a = crate::time::now(); crate::exit::f()"),
        ["time", "exit"]
    );
    assert_eq!(find("use mycrate::io; use super::io;"), [""; 0]);
}
