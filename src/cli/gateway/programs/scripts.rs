//! Which program of a directory a path names.
//!
//! Owns: the way from a path to a file. Never: leaves the directory, whatever a path or a symbolic link says (`cap-std` opens nothing
//! outside of it).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, PermissionsExt as _};
use percent_encoding::percent_decode_str;
use ringway::exit::Fatal;
use ringway::services::gateway::{Refusal, Why};

/// Directories that are looked through on the way to a program.
const DEPTH_MAX: usize = 32;

/// How a request's path is told to its program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The part that names the program.
    pub(super) script_name: OsString,
    /// What follows it.
    pub(super) path_info: OsString,
    /// All of it.
    pub(super) path: OsString,
}

/// A program in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) file: PathBuf,
    pub(super) place: Place,
}

/// The place of a program that every path leads to.
pub(super) fn of_command(path: &str) -> Place {
    let path = OsString::from_vec(decoded(path).unwrap_or_default());
    Place {
        script_name: "/".into(),
        path_info: path.clone(),
        path,
    }
}

/// A directory of programs.
pub(super) struct Scripts {
    path: PathBuf,
    directory: Dir,
}

impl Scripts {
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Fatal> {
        let wrong =
            |error: std::io::Error| Fatal::usage(format!("--exec-dir {}: {error}", path.display()));
        Ok(Self {
            directory: Dir::open_ambient_dir(path, ambient_authority()).map_err(wrong)?,
            path: path.canonicalize().map_err(wrong)?,
        })
    }

    /// The program that the longest part of `path` names that exists.
    ///
    /// # Errors
    /// There is none (404), or it may not be run (403).
    pub(super) fn find(&self, path: &str) -> Result<Script, Refusal> {
        let missing = || Refusal::new(Why::NoTarget, 404, "there is no program at this path");
        let path = decoded(path).ok_or_else(missing)?;
        let mut file = PathBuf::new();
        let mut end = 0;
        for part in path
            .strip_prefix(b"/")
            .ok_or_else(missing)?
            .split(|byte| *byte == b'/')
            .take(DEPTH_MAX)
        {
            // Neither `.` nor `..`, nor what is hidden.
            if part.is_empty() || part.starts_with(b".") {
                return Err(missing());
            }
            end += 1 + part.len();
            file.push(OsString::from_vec(part.to_vec()));
            let metadata = self.directory.metadata(&file).map_err(|_| missing())?;
            if metadata.is_dir() {
                continue;
            }
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
                let sentence = "what is at this path may not be run";
                return Err(Refusal::new(Why::NotAllowed, 403, sentence));
            }
            let name = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            return Ok(Script {
                file: self.path.join(file),
                place: Place {
                    script_name: name(&path[..end]),
                    path_info: name(&path[end..]),
                    path: name(&path),
                },
            });
        }
        Err(missing())
    }
}

/// Percent-decoded. `None`: with a byte that no path has.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    (!bytes.contains(&0)).then_some(bytes)
}

/// Where a command is: in `PATH`, unless it is a path itself. A path is started faster than a name, which is looked for in the child.
pub(crate) fn locate(name: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        let metadata = path.metadata();
        metadata.is_ok_and(|metadata| {
            metadata.is_file()
                && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0
        })
    };
    if name.contains('/') {
        return is_program(Path::new(name)).then(|| name.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    places.find(|place| is_program(place))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_longest_part_that_exists_is_the_program_and_nothing_is_outside() {
        let root = std::env::temp_dir().join(format!("ringway-scripts-{}", std::process::id()));
        let inside = root.join("in");
        std::fs::create_dir_all(inside.join("deep")).expect("a directory");
        let program = |path: PathBuf, mode| {
            std::fs::write(&path, "#!/bin/sh\n").expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        program(inside.join("a b"), 0o755);
        program(inside.join("deep/run"), 0o755);
        program(inside.join("text"), 0o644);
        program(inside.join(".hidden"), 0o755);
        program(root.join("outside"), 0o755);
        symlink("../outside", inside.join("leads-out")).expect("a link");
        symlink("deep/run", inside.join("leads-in")).expect("a link");
        let scripts = Scripts::open(&inside).expect("it is there");
        let place = |path: &str| {
            let script = scripts.find(path).map_err(|refusal| refusal.why)?;
            let of = |text: OsString| text.into_string().expect("text");
            Ok((of(script.place.script_name), of(script.place.path_info)))
        };
        let found = |script: &str, rest: &str| Ok((script.to_owned(), rest.to_owned()));
        assert_eq!(place("/a%20b"), found("/a b", ""));
        assert_eq!(place("/a%20b/x/../y"), found("/a b", "/x/../y"));
        assert_eq!(place("/deep/run/x//y"), found("/deep/run", "/x//y"));
        assert_eq!(place("/leads-in"), found("/leads-in", ""));
        assert_eq!(place("/text"), Err(Why::NotAllowed));
        for path in [
            "/",
            "/deep",
            "/deep/",
            "/none",
            "/leads-out",
            "/../outside",
            "/deep/../../outside",
            "/%2e%2e/outside",
            "/..%2foutside",
            "/.hidden",
            "//a%20b",
            "/a%00",
            "",
        ] {
            assert_eq!(place(path), Err(Why::NoTarget), "{path}");
        }
        std::fs::remove_dir_all(&root).expect("it was there");
    }
}
