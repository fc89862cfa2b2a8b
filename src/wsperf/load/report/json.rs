//! A result as one line of JSON, and back. `docs/wsperf.md` documents each field.
//!
//! Owns: both directions, and which schema is accepted. Never: prints.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::load::outcome::{Outcome, SCHEMA};

/// Most bytes of a file that is read. A soak of a day, second by second, is 30 MB.
const FILE_LEN_MAX: u64 = 256 << 20;

/// `value` on one line, without a line end.
pub fn render(value: &impl Serialize) -> String {
    let mut line = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut line, Figures);
    value
        .serialize(&mut serializer)
        .expect("a Vec takes every write, and results are numbers, texts and lists with names");
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// Formats numbers with at most nine digits, because nothing is measured more exactly. NaN and infinity become 0: JSON
/// has no form for them, and no reader of the schema expects a null in place of a number.
struct Figures;

impl Formatter for Figures {
    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let digits = format!("{value:.8e}").parse().unwrap_or(value);
        CompactFormatter.write_f64(out, digits)
    }

    fn write_null<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b"0.0")
    }
}

/// Reads one result from a file.
pub fn read(path: &Path) -> Result<Outcome, ReadError> {
    let failed = |cause| ReadError {
        path: path.to_owned(),
        cause,
    };
    let about = std::fs::metadata(path).map_err(|error| failed(Cause::Io(error)))?;
    if !about.is_file() {
        return Err(failed(Cause::Io(io::Error::other("it is no regular file"))));
    }
    if about.len() > FILE_LEN_MAX {
        return Err(failed(Cause::TooLong(about.len())));
    }
    let text = read_text(path).map_err(|error| failed(Cause::Io(error)))?;
    parse(&text).map_err(failed)
}

/// Reads at most as many bytes as a result can have. The file's length is no help: a device has none, and a pipe may
/// never end.
fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    file.take(FILE_LEN_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Outcome, Cause> {
    let value: Value = serde_json::from_str(text).map_err(Cause::Json)?;
    // Checks the schema first, so that the error for another schema says so instead of naming a missing field.
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(Cause::Schema(schema)),
        None => return Err(Cause::NoResult),
    }
    let mut outcome: Outcome = serde_json::from_value(value).map_err(Cause::Json)?;
    // A file may come from anybody, and its text goes to a terminal: control characters are removed.
    outcome.target.retain(|character| !character.is_control());
    for note in &mut outcome.notes {
        note.retain(|character| !character.is_control());
    }
    Ok(outcome)
}

/// Why a file is no result.
#[derive(Debug)]
pub struct ReadError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    TooLong(u64),
    Json(serde_json::Error),
    NoResult,
    Schema(u64),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Io(error) => write!(f, "cannot read {path}: {error}"),
            Cause::TooLong(len) => write!(f, "{path} is no result: {len} bytes are too many"),
            Cause::Json(error) => write!(
                f,
                "{path} is no result of `ringway wsperf --format=json`: {error}"
            ),
            Cause::NoResult => write!(
                f,
                "{path} is JSON, but no result of `ringway wsperf --format=json`: it has no field `schema`"
            ),
            Cause::Schema(schema) => write!(
                f,
                "{path} has schema {schema}, and this version reads {SCHEMA}: measure again, or use the version that wrote it"
            ),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::samples;
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/wsperf.md");

    /// The paths of all fields, such as `driver[].cpu`. The keys under `options` and `figures` are data.
    fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(_) if at == "options" || at == "figures" => {}
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    found.insert(path.clone());
                    paths(value, &path, found);
                }
            }
            Value::Array(values) => {
                for value in values {
                    paths(value, &format!("{at}[]"), found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_document_has_a_row_for_each_field_and_none_more() {
        let value = serde_json::to_value(samples::filled()).expect("an object");
        let mut fields = BTreeSet::new();
        paths(&value, "", &mut fields);
        assert!(fields.len() > 80, "{fields:?}");
        let schema = DOCUMENT.split("## Schema").nth(1).expect("the section");
        let schema = schema.split("\n## ").next().expect("its end");
        let rows = schema
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
        let missing: Vec<_> = fields.difference(&rows).collect();
        let unknown: Vec<_> = rows.difference(&fields).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "missing {missing:?}, unknown {unknown:?}"
        );
    }

    #[test]
    fn a_result_comes_back_from_its_line() {
        let line = render(&samples::filled());
        assert!(line.starts_with("{\"schema\":1,\"version\":\"0.1.0\",\"scenario\":\"echo\","));
        assert!(
            line.contains("\"mean\":100.237851,") && !line.contains('\n'),
            "{line}"
        );
        let outcome = parse(&line).expect("our own");
        assert_eq!(outcome.latency_us.mean, 100.237851);
        assert_eq!(parse(&render(&outcome)).expect("our own"), outcome);
        let empty = Outcome {
            schema: 1,
            ..Outcome::default()
        };
        assert_eq!(parse(&render(&empty)).expect("our own"), empty);
    }

    #[test]
    fn a_quotient_by_zero_is_written_as_zero() {
        let outcome = Outcome {
            schema: 1,
            driver_cpu_us_per_message: f64::NAN,
            ..Outcome::default()
        };
        let back = parse(&render(&outcome)).expect("a number");
        assert_eq!(back.driver_cpu_us_per_message, 0.0);
    }

    #[test]
    fn what_is_no_result_is_refused_with_a_reason() {
        let refused = |text: &str| {
            let cause = parse(text).expect_err("no result");
            ReadError {
                path: "a.json".into(),
                cause,
            }
            .to_string()
        };
        assert!(
            refused("x").starts_with(
                "a.json is no result of `ringway wsperf --format=json`: expected value"
            )
        );
        assert!(refused("{}").ends_with("it has no field `schema`"));
        assert!(
            refused("{\"schema\":9}").starts_with("a.json has schema 9, and this version reads 1")
        );
        assert!(refused("{\"schema\":1}").contains("missing field `version`"));
        let missing = read(Path::new("no/such/file.json"))
            .expect_err("not there")
            .to_string();
        assert!(
            missing.starts_with("cannot read no/such/file.json: "),
            "{missing}"
        );
    }
}
