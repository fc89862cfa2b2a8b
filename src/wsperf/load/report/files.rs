//! The files that are written besides the printed result.
//!
//! Owns: writing each file completely, or an error that names it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::hdr::{self, IntervalHistogram};
use super::{html, json};
use crate::load::options::Outputs;
pub use crate::load::options::is_stdout;
use crate::load::outcome::Outcome;

/// Writes what `outputs` names. An interval log without intervals has only its head.
pub fn write(
    outputs: &Outputs,
    outcome: &Outcome,
    intervals: &[IntervalHistogram],
) -> Result<(), WriteError> {
    if let Some(path) = &outputs.json {
        write_text(path, &format!("{}\n", json::render(outcome)))?;
    }
    if let Some(path) = &outputs.hdr {
        file(path, |mut out| hdr::write_log(&mut out, outcome, intervals))?;
    }
    if let Some(path) = &outputs.html {
        write_text(path, &html::render(outcome))?;
    }
    Ok(())
}

/// Checks before a run that a file can be written, so that the result is not lost after it. An existing file stays as it
/// is. A file that did not exist is removed again: an empty one would look like a result.
pub fn check(path: &Path) -> Result<(), WriteError> {
    if is_stdout(path) {
        return Ok(());
    }
    let create = OpenOptions::new().write(true).create_new(true).open(path);
    let checked = match create {
        Ok(file) => {
            drop(file);
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    };
    checked.map_err(|error| WriteError {
        path: path.to_owned(),
        error,
    })
}

/// Creates or replaces a file with the page or JSON line of a sweep or a comparison.
pub fn write_text(path: &Path, text: &str) -> Result<(), WriteError> {
    file(path, |out| out.write_all(text.as_bytes()))
}

fn file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let write = || {
        if is_stdout(path) {
            // A reader that has closed its end of stdout is no failure.
            let mut out = BufWriter::new(io::stdout().lock());
            let written = fill(&mut out).and_then(|()| out.flush());
            return match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            };
        }
        let mut out = BufWriter::new(File::create(path)?);
        fill(&mut out)?;
        out.flush()
    };
    write().map_err(|error| WriteError {
        path: path.to_owned(),
        error,
    })
}

/// A file that could not be written.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, error) = (self.path.display(), &self.error);
        write!(f, "cannot write {path}: {error}; name another file")
    }
}

impl std::error::Error for WriteError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_is_asked_for_is_written() {
        let folder = std::env::temp_dir().join(format!("ringway-files-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let outputs = Outputs {
            json: Some(folder.join("result.json")),
            hdr: Some(folder.join("result.hlog")),
            html: Some(folder.join("result.html")),
        };
        let outcome = Outcome {
            schema: 1,
            messages: 5,
            ..Outcome::default()
        };
        write(&outputs, &outcome, &[]).expect("a writable folder");
        let back = json::read(&folder.join("result.json")).expect("a result");
        assert_eq!(back, outcome);
        let text = |name: &str| fs::read_to_string(folder.join(name)).expect("written");
        assert!(text("result.hlog").starts_with("#[Histogram log format version 1.3]\n"));
        assert!(text("result.html").ends_with("</html>\n"));
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn a_check_leaves_nothing_behind_and_spoils_nothing() {
        let folder = std::env::temp_dir().join(format!("ringway-check-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (fresh, old) = (folder.join("fresh.json"), folder.join("old.json"));
        fs::write(&old, "a result").expect("a writable folder");
        assert!(check(&fresh).is_ok() && check(&old).is_ok());
        assert!(!fresh.exists());
        assert_eq!(fs::read_to_string(&old).expect("kept"), "a result");
        assert!(check(&folder.join("no/such/a.json")).is_err());
        assert!(check(Path::new("-")).is_ok() && !Path::new("-").exists());
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let outputs = Outputs {
            json: Some("no/such/folder/a.json".into()),
            ..Outputs::default()
        };
        let error = write(&outputs, &Outcome::default(), &[]).expect_err("no folder");
        assert!(
            error
                .to_string()
                .starts_with("cannot write no/such/folder/a.json: ")
        );
    }
}
