//! The files that are written beside a result.
//!
//! Owns: writing each of them whole, or an error that names it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::hdr::{self, IntervalHistogram};
use super::{html, json};
use crate::load::options::Outputs;
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
        file(path, |out| hdr::write_log(out, outcome, intervals))?;
    }
    if let Some(path) = &outputs.html {
        write_text(path, &html::render(outcome))?;
    }
    Ok(())
}

/// Creates or replaces a file: a page or a line of a sweep or a comparison.
pub fn write_text(path: &Path, text: &str) -> Result<(), WriteError> {
    file(path, |out| out.write_all(text.as_bytes()))
}

fn file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), WriteError> {
    let write = || {
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
        write!(f, "cannot write {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for WriteError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_is_asked_for_is_written() {
        let folder = std::env::temp_dir().join(format!("ringway-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
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
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("written");
        assert!(text("result.hlog").starts_with("#[Histogram log format version 1.3]\n"));
        assert!(text("result.html").ends_with("</html>\n"));
        std::fs::remove_dir_all(&folder).expect("ours");
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
