//! The files behind the knobs, below a root folder: `/` for this machine, any folder for a test.
//!
//! Owns: globs, reading, writing. Never: decides what to write. Each write is one write(2), which files of the kernel
//! require.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::value::normal;

/// The folder that holds `proc` and `sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// A root.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The existing paths that match `pattern`, in order. A pattern without `*` matches itself.
    pub(super) fn expand(&self, pattern: &str) -> Vec<String> {
        if pattern.starts_with(RLIMIT) {
            return vec![pattern.to_owned()];
        }
        let mut found = vec![String::new()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let step = |at: &String| self.step(at, part);
            found = found.iter().flat_map(step).collect();
        }
        found
    }

    /// The names below `at` that match `part`.
    fn step(&self, at: &str, part: &str) -> Vec<String> {
        let there = |path: String| self.on_disk(&path).exists().then_some(path);
        if !part.contains('*') {
            return there(format!("{at}/{part}")).into_iter().collect();
        }
        let entries = fs::read_dir(self.on_disk(at)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| matches(part, name)).collect();
        // Sorts numbers by value: cpu2 before cpu10.
        names.sort_by_key(|name| (name.len(), name.clone()));
        let paths = names.into_iter().map(|name| format!("{at}/{name}"));
        paths.filter_map(there).collect()
    }

    /// The value at `path`, in its normal form.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        match path.strip_prefix(RLIMIT) {
            Some(name) => self.hard_limit(name),
            None => fs::read_to_string(self.on_disk(path)).map(|text| normal(&text)),
        }
    }

    /// Writes `value` to `path`.
    pub(super) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        // Plain files must be truncated; the kernel's files ignore it.
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .truncate(true)
            .open(self.on_disk(path))?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    /// Whether `path` could be written. Nothing is written.
    pub(super) fn probe(&self, path: &str) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).open(self.on_disk(path)).map(drop)
    }

    /// The hard limit of this process, from `/proc/self/limits`.
    fn hard_limit(&self, name: &str) -> io::Result<String> {
        let title = LIMITS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, title)| *title)
            .ok_or(io::ErrorKind::Unsupported)?;
        let text = fs::read_to_string(self.on_disk("/proc/self/limits"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(title));
        // The columns are soft limit, hard limit and unit.
        let hard = line.and_then(|rest| rest.split_whitespace().nth(1));
        hard.map(str::to_owned)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.0.join(Path::new(path.trim_start_matches('/')))
    }
}

/// Prefix of a limit's path.
pub(super) const RLIMIT: &str = "rlimit:";

/// Limits that can be read, with their names in `/proc/self/limits`.
const LIMITS: [(&str, &str); 2] = [
    ("memlock", "Max locked memory"),
    ("nofile", "Max open files"),
];

/// Whether `name` matches `pattern`, which has at most one `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A root of plain files that the test removes at its end.
    pub(in super::super) struct Fake {
        folder: PathBuf,
        pub(in super::super) root: Root,
    }

    impl Fake {
        pub(in super::super) fn new(files: &[(&str, &str)]) -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ringway-tune-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let root = Root::new(&folder);
            for (path, text) in files {
                let path = root.on_disk(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
                fs::write(path, text).expect("ours");
            }
            Self { folder, root }
        }

        pub(in super::super) fn path(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_star_is_a_part_of_one_name_and_numbers_are_in_order() {
        let fake = Fake::new(&[
            (
                "/sys/devices/system/cpu/cpu10/cpufreq/scaling_governor",
                "a",
            ),
            ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "b"),
            ("/sys/devices/system/cpu/cpufreq/scaling_governor", "c"),
            ("/sys/devices/system/cpu/cpu3/online", "1"),
        ]);
        assert_eq!(
            fake.root
                .expand("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"),
            [
                "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
                "/sys/devices/system/cpu/cpu10/cpufreq/scaling_governor"
            ]
        );
        assert!(fake.root.expand("/proc/sys/net/core/somaxconn").is_empty());
        assert!(fake.root.expand("/proc/*/nothing").is_empty());
    }

    #[test]
    fn limits_are_read_from_proc() {
        let limits = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max open files            1024                 524288               files     \n\
Max locked memory         8388608              unlimited            bytes     \n";
        let fake = Fake::new(&[("/proc/self/limits", limits)]);
        assert_eq!(fake.root.read("rlimit:nofile").expect("there"), "524288");
        assert_eq!(
            fake.root.read("rlimit:memlock").expect("there"),
            "unlimited"
        );
        assert!(fake.root.read("rlimit:cpu").is_err());
        let here = Root::default().read("rlimit:nofile").expect("Linux");
        assert!(here == "unlimited" || here.parse::<u64>().is_ok(), "{here}");
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_there_is_not_made() {
        let fake = Fake::new(&[("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n")]);
        let path = "/proc/sys/net/ipv4/tcp_wmem";
        assert_eq!(fake.root.read(path).expect("there"), "4096 16384 4194304");
        fake.root.write(path, "4096 16384 9999999").expect("ours");
        assert_eq!(fake.root.read(path).expect("there"), "4096 16384 9999999");
        assert!(fake.root.write("/proc/sys/net/core/nothing", "1").is_err());
        assert!(fake.root.probe("/proc/sys/net/core/nothing").is_err());
    }
}
