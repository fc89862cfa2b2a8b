//! The order of the house, held by a walk through `src/`: which module may name which, where `unsafe` lives, and how long
//! a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which top-level module may name which others. Arrows point one way: a cycle cannot be written down here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("random", &[]),
    ("exit", &[]),
    ("lines", &[]),
    ("signals", &[]),
    ("proto", &["time"]),
    ("io", &["random", "time"]),
    ("stats", &["time"]),
    ("conn", &["io", "proto", "random", "stats", "time"]),
    ("app", &["conn", "proto"]),
    (
        "supervise",
        &["exit", "lines", "random", "signals", "stats", "time"],
    ),
    ("tune", &["exit", "random", "supervise"]),
    ("options", &["supervise"]),
    (
        "worker",
        &[
            "app", "conn", "exit", "io", "lines", "options", "proto", "signals", "stats", "time",
        ],
    ),
    ("load", &["conn", "io", "proto", "random", "time"]),
    (
        "cli",
        &[
            "exit",
            "lines",
            "load",
            "options",
            "supervise",
            "time",
            "tune",
            "worker",
        ],
    ),
    ("bin", &["cli"]),
    ("lib", &[]),
];

/// Where `unsafe` lives.
const UNSAFE: [&str; 2] = ["src/io/", "src/supervise/sys.rs"];

/// Lines of a file; tests of their own file may be longer.
const LINES_MAX: usize = 700;

/// A source file: its path from the root of the crate, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").expect("below src");
        let first = inside.split('/').next().expect("a name");
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

fn row(module: &str) -> Option<&'static [&'static str]> {
    let found = MAY_USE.iter().find(|(name, _)| *name == module);
    found.map(|(_, others)| *others)
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module().to_owned();
        let Some(others) = row(&module) else {
            wrong.push(format!(
                "{}: the module '{module}' has no row in MAY_USE",
                source.path
            ));
            continue;
        };
        // Programs see the library from outside.
        let prefix = if module == "bin" {
            "ringway::"
        } else {
            "crate::"
        };
        for (number, line) in source.code() {
            for name in named(line, prefix).filter(|name| *name != module) {
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
fn the_table_has_no_cycle_and_no_row_without_a_module() {
    let modules: BTreeSet<_> = sources()
        .iter()
        .map(|source| source.module().to_owned())
        .collect();
    let mut above: Vec<&str> = Vec::new();
    let mut left: Vec<_> = MAY_USE.to_vec();
    while !left.is_empty() {
        let ready = |(_, others): &(&str, &[&str])| others.iter().all(|name| above.contains(name));
        let at = left.iter().position(ready);
        let at = at.unwrap_or_else(|| panic!("these name each other: {left:?}"));
        above.push(left.swap_remove(at).0);
    }
    for (module, _) in MAY_USE {
        assert!(modules.contains(*module), "{module} is no module");
    }
}

#[test]
fn unsafe_has_two_addresses_and_is_forbidden_elsewhere() {
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
    // Forbidden at the root of each module, or of each part of one that has an address of `unsafe`.
    let forbids = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| {
            source.text.contains("#![forbid(unsafe_code)]")
                || source.text.contains("#![deny(unsafe_code)]")
        })
    };
    for (module, _) in MAY_USE {
        let roots = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
        let excused = ["io", "bin", "lib"].contains(module);
        if !excused && !roots.iter().any(|root| forbids(root)) {
            wrong.push(format!("{module}: no forbid(unsafe_code) at its root"));
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
