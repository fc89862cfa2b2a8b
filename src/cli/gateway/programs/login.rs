//! The login shell of the user who runs the gateway (passwd(5)).

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use ringway::exit::Fatal;

/// Where programs are looked for if our own environment does not say it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A user's line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Login {
    pub(in crate::gateway) user: String,
    home: PathBuf,
    pub(super) shell: PathBuf,
}

impl Login {
    /// That of the user who runs this process.
    ///
    /// # Errors
    /// The file cannot be read, or the user has no line there.
    pub(in crate::gateway) fn own() -> Result<Self, Fatal> {
        let failed = |why: String| {
            Fatal::environment(format!(
                "the login shell is not known: {why}; give a program, as --pty --exec -- /bin/sh"
            ))
        };
        let own = std::fs::metadata("/proc/self").map_err(|error| failed(error.to_string()))?;
        let file = std::fs::read_to_string("/etc/passwd")
            .map_err(|error| failed(format!("/etc/passwd: {error}")))?;
        let found = Self::find(&file, own.uid());
        found.ok_or_else(|| failed(format!("/etc/passwd has no line of user {}", own.uid())))
    }

    fn find(file: &str, uid: u32) -> Option<Self> {
        file.lines().find_map(|line| {
            let [user, _, id, _, _, home, shell] = *line.split(':').collect::<Vec<_>>() else {
                return None;
            };
            let shell = if shell.is_empty() { "/bin/sh" } else { shell };
            (id.parse() == Ok(uid)).then(|| Self {
                user: user.to_owned(),
                home: home.into(),
                shell: shell.into(),
            })
        })
    }

    /// Its name as a login shell is called: with a hyphen before it.
    pub(super) fn name(&self) -> OsString {
        let mut name = OsString::from("-");
        name.push(self.shell.file_name().unwrap_or_default());
        name
    }

    /// The directory that it begins in, if there is one.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        self.home.is_dir().then(|| self.home.clone())
    }

    /// What it finds in its environment beside what other programs do.
    pub(super) fn environment(&self, has_path: bool) -> Vec<(OsString, OsString)> {
        let mut all: Vec<(OsString, OsString)> = vec![
            ("HOME".into(), self.home.clone().into()),
            ("SHELL".into(), self.shell.clone().into()),
            ("USER".into(), self.user.clone().into()),
            ("LOGNAME".into(), self.user.clone().into()),
        ];
        if !has_path {
            all.push(("PATH".into(), PATH.into()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let file = "root:x:0:0:root:/root:/bin/bash\nshort:x:7\nada:x:1000:1000::/home/ada:\n";
        let ada = Login::find(file, 1000).expect("a user");
        assert_eq!((ada.user.as_str(), ada.shell), ("ada", "/bin/sh".into()));
        let root = Login::find(file, 0).expect("a user");
        assert_eq!(root.name(), "-bash");
        assert_eq!(Login::find(file, 7), None);
    }
}
