//! The file of the library that a wrapped program is started with.
//!
//! Owns: where it is. Never: removes it: what a wrapped program has started goes on when the gateway has ended, and each process of it is
//! told to load this file.
//!
//! The file is in a directory that only this user can write, and has the name of its content: all gateways of a user share one.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ringway::exit::Fatal;
use rustix::fs::{StatVfsMountFlags, statvfs};

/// The user's own directory, which is gone when it has logged out.
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// Writes the library, unless it is there.
///
/// # Errors
/// No directory serves.
pub(super) fn place() -> Result<PathBuf, Fatal> {
    let runtime = std::env::var_os(RUNTIME).map(PathBuf::from);
    let candidates = runtime.into_iter().chain([std::env::temp_dir()]);
    let mut failed = Vec::new();
    for parent in candidates {
        match place_in(&parent) {
            Ok(path) => return Ok(path),
            Err(error) => failed.push(format!("{}: {error}", parent.display())),
        }
    }
    Err(Fatal::environment(format!(
        "the library of a wrapped program cannot be written ({}); TMPDIR names another directory",
        failed.join("; ")
    )))
}

fn place_in(parent: &Path) -> io::Result<PathBuf> {
    if statvfs(parent)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other("nothing can be executed from there"));
    }
    let user = fs::metadata("/proc/self")?.uid();
    let shared = fs::metadata(parent)?;
    let is_sticky = shared.mode() & 0o1000 != 0;
    if shared.uid() != user && !is_sticky {
        return Err(io::Error::other("another user could replace what is there"));
    }
    let folder = parent.join(format!("ringway-wrap-{user}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let about = fs::symlink_metadata(&folder)?;
    if !about.is_dir() || about.uid() != user || about.mode() & 0o077 != 0 {
        let why = format!("{} is not this user's alone", folder.display());
        return Err(io::Error::other(why));
    }
    let bytes = ringway_rebind::LIBRARY;
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let name: String = digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = folder.join(format!("{name}.so"));
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    // Another gateway may read it at this moment: it appears whole.
    let new = folder.join(format!("{name}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o500)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_file_is_written_once_and_in_a_directory_of_ones_own() {
        let parent = std::env::temp_dir().join(format!("ringway-library-{}", std::process::id()));
        fs::create_dir(&parent).expect("a new directory");
        let path = place_in(&parent).expect("it is written");
        assert_eq!(
            fs::read(&path).expect("it is there"),
            ringway_rebind::LIBRARY
        );
        let written = fs::metadata(&path).expect("it is there").ino();
        assert_eq!(place_in(&parent).expect("it is there"), path);
        assert_eq!(fs::metadata(&path).expect("the same file").ino(), written);
        // What was cut short is written again.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        fs::write(&path, "x").expect("ours");
        assert_eq!(place_in(&parent).expect("it is written"), path);
        assert_eq!(
            fs::read(&path).expect("it is there"),
            ringway_rebind::LIBRARY
        );
        let folder = path.parent().expect("a directory").to_owned();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).expect("ours");
        assert!(place_in(&parent).is_err(), "others may write");
        fs::rename(&folder, parent.join("moved")).expect("ours");
        symlink(parent.join("moved"), &folder).expect("a link");
        assert!(place_in(&parent).is_err(), "it is a link");
        fs::remove_dir_all(&parent).expect("ours");
    }
}
