//! `wsperf compare A B`: from two names to a text, and to whether B is worse.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use super::{Comparison, compare, forms};
use crate::load::outcome::Outcome;
use crate::load::report::json;

/// Options of `compare`.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// A result file, a folder of them, or a pattern with `*` and `?` in its last part.
    pub a: String,
    /// The same for the other side.
    pub b: String,
    /// JSON instead of the table.
    pub json: bool,
    /// A figure that got worse by less is no regression.
    pub threshold: Threshold,
}

/// Smallest change that counts, as a share; typed as `5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold(pub f64);

impl Default for Threshold {
    /// 5 %.
    fn default() -> Self {
        Self(0.05)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').map(str::trim_end);
        let percent = number.and_then(|number| number.parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..=1000.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err(format!("'{text}' is no threshold: percent, like 5%")),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// The result of `compare`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The text for stdout, with its last line end.
    pub text: String,
    /// Whether B is worse than A in some figure, significantly and by at least the threshold.
    pub regressed: bool,
}

/// The JSON form: the comparison and its regressions.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    threshold: f64,
    regressions: Vec<&'a str>,
}

/// Reads both sides and compares them. The error is a sentence about a file or about the two sides.
pub fn run(options: &CompareOptions) -> Result<Compared, String> {
    let (a, b) = (read(&options.a)?, read(&options.b)?);
    let comparison = compare(&a, &b)?;
    let threshold = options.threshold.0;
    let regressions = comparison.regressions(threshold);
    let regressions: Vec<&str> = regressions.iter().map(|change| &*change.name).collect();
    let regressed = !regressions.is_empty();
    let text = if options.json {
        let judged = Judged {
            comparison: &comparison,
            threshold,
            regressions,
        };
        format!("{}\n", json::render(&judged))
    } else {
        forms::table(&comparison, [&options.a, &options.b], threshold)
    };
    Ok(Compared { text, regressed })
}

fn read(name: &str) -> Result<Vec<Outcome>, String> {
    let paths = expand(name)?;
    let results = paths.iter().map(|path| json::read(path));
    let results: Result<Vec<_>, _> = results.collect();
    results.map_err(|error| error.to_string())
}

/// The files that a name, folder or pattern stands for, sorted by name.
fn expand(name: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(name);
    let (folder, pattern) = if path.is_dir() {
        (path, "*.json")
    } else if path.exists() || !name.contains(['*', '?']) {
        return Ok(vec![path.to_owned()]);
    } else {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let last = path.file_name().and_then(|name| name.to_str());
        (
            parent.unwrap_or_else(|| Path::new(".")),
            last.unwrap_or_default(),
        )
    };
    let failed = |error| format!("cannot read the folder {}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| matches(pattern.as_bytes(), name.as_bytes()))
        {
            found.push(entry.path());
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(format!(
            "no file is named {}",
            folder.join(pattern).display()
        ));
    }
    Ok(found)
}

/// Whether `name` matches `pattern`, in which `*` stands for any bytes and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=name.len()).any(|at| matches(rest, name.get(at..).unwrap_or_default()))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((one, rest)), Some((other, tail))) => one == other && matches(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::samples;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        let cases = [
            ("*.json", "a.json", true),
            ("*.json", "a.json~", false),
            ("run-?.json", "run-1.json", true),
            ("run-?.json", "run-12.json", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbY", false),
            ("*", "", true),
        ];
        for (pattern, name, fits) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn thresholds_are_percent() {
        assert_eq!("5%".parse(), Ok(Threshold::default()));
        assert_eq!("2.5 %".parse(), Ok(Threshold(0.025)));
        assert_eq!(Threshold(0.025).to_string(), "2.5%");
        for text in ["5", "%", "-1%", "x%", "1e9%"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }

    #[test]
    fn files_folders_and_patterns_are_read() {
        let folder = std::env::temp_dir().join(format!("ringway-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for seed in 1..=8 {
            let mut outcome = samples::run(seed, 3, 1);
            let scale = if seed > 4 { 0.8 } else { 1.0 };
            outcome.messages_per_second *= scale - seed as f64 / 1e4;
            let side = if seed > 4 { "b" } else { "a" };
            let path = folder.join(format!("{side}-{seed}.json"));
            std::fs::write(path, json::render(&outcome)).expect("a writable folder");
        }
        let name = |last: &str| folder.join(last).to_str().expect("UTF-8").to_owned();
        assert_eq!(read(&name("")).map(|found| found.len()), Ok(8));
        assert_eq!(read(&name("a-1.json")).map(|found| found.len()), Ok(1));
        let mut options = CompareOptions {
            a: name("a-*.json"),
            b: name("b-?.json"),
            json: true,
            threshold: Threshold::default(),
        };
        let found = run(&options).expect("eight results");
        assert!(found.regressed);
        assert!(
            found
                .text
                .starts_with("{\"schema\":1,\"scenario\":\"echo\",\"runs_a\":4,\"runs_b\":4,"),
            "{}",
            found.text
        );
        assert!(
            found
                .text
                .ends_with("\"threshold\":0.05,\"regressions\":[\"rate\"]}\n"),
            "{}",
            found.text
        );
        options.threshold = Threshold(0.5);
        assert!(!run(&options).expect("eight results").regressed);
        options.b = name("c-*.json");
        assert!(
            run(&options)
                .expect_err("no such file")
                .starts_with("no file is named ")
        );
        options.b = name("c.json");
        assert!(
            run(&options)
                .expect_err("no such file")
                .starts_with("cannot read ")
        );
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
