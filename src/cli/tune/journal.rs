//! The journal: which values `apply` changed, and their previous values. It is the state file between `apply` and `undo`.
//!
//! Owns: the file's format, and that it is replaced completely or not at all. Never: writes a knob.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One changed value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Change {
    /// The file's path on the machine itself, without the root of a test.
    pub(super) path: String,
    /// The value before the change.
    pub(super) old: String,
    /// The value after the change.
    pub(super) new: String,
}

/// Changes in the order in which they were made. A further `apply` adds to the same journal, so that `undo` restores the
/// values from before the first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    /// Version of the format; there is only one so far.
    version: u32,
    pub(super) changes: Vec<Change>,
}

const VERSION: u32 = 1;

impl Journal {
    /// Reads a journal. A missing file is an empty journal.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    version: VERSION,
                    changes: Vec::new(),
                });
            }
            other => other?,
        };
        let journal: Self = serde_json::from_str(&text)?;
        if journal.version != VERSION {
            let why = format!("its version is {}, not {VERSION}", journal.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let climbs = |change: &&Change| change.path.split('/').any(|part| part == "..");
        if let Some(change) = journal.changes.iter().find(climbs) {
            let why = format!("{} leads out of the file systems of settings", change.path);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(journal)
    }

    /// Replaces the file atomically: after a crash it is the old one or the new one. An empty journal removes the file.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if self.changes.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(folder)?;
        let mut temporary = PathBuf::from(path).into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::tests::Fake;
    use super::*;

    fn change(path: &str) -> Change {
        Change {
            path: path.to_owned(),
            old: "1".to_owned(),
            new: "2".to_owned(),
        }
    }

    #[test]
    fn a_journal_comes_back_and_an_empty_one_is_no_file() {
        let fake = Fake::new(&[]);
        let path = fake.path("var/lib/ringway/tune.json");
        let mut journal = Journal::load(&path).expect("none is empty");
        assert!(journal.changes.is_empty());
        journal.changes = vec![change("/a"), change("/b")];
        journal.store(&path).expect("ours");
        assert_eq!(Journal::load(&path).expect("it is there"), journal);
        let folder = path.parent().expect("a folder");
        let files = fs::read_dir(folder).expect("it is there").count();
        assert_eq!(files, 1, "nothing temporary is left");
        journal.changes.clear();
        journal.store(&path).expect("ours");
        assert!(!path.exists());
        journal.store(&path).expect("twice is no error");
    }

    #[test]
    fn what_is_no_journal_is_an_error_and_not_an_empty_one() {
        for text in [
            "",
            "{}",
            "{\"version\":2,\"changes\":[]}",
            "{\"version\":1,\"changes\":[{}]}",
        ] {
            let fake = Fake::new(&[("/tune.json", text)]);
            assert!(Journal::load(&fake.path("tune.json")).is_err(), "{text}");
        }
    }
}
