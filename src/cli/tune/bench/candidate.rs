//! What can be measured: `tuning/bench.toml`, parsed.
//!
//! Owns: its format. Never: runs anything.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use super::netns::{DEVICE, Side};

/// Workloads and candidates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    #[serde(rename = "workload")]
    workloads: BTreeMap<String, Workload>,
    #[serde(rename = "candidate")]
    pub(super) candidates: Vec<Candidate>,
}

/// A load under which knobs are measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    /// Its description.
    pub(super) about: String,
    /// The driver's arguments for the scenario and its load. Windows, addresses and formats are added to them.
    pub(super) arguments: Vec<String>,
    /// Shortest measured window, in s.
    #[serde(default)]
    window_s_min: u64,
    /// The figure that decides. The others are shown with it.
    pub(super) primary: String,
}

impl Workload {
    /// The measured window. `asked` is what the user wants for all workloads.
    pub(super) fn window(&self, asked: Duration) -> Duration {
        asked.max(Duration::from_secs(self.window_s_min))
    }
}

/// A setting that is measured.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Candidate {
    pub(super) name: String,
    workload: String,
    pub(super) why: String,
    side: Sides,
    pub(super) setting: Setting,
    /// Values to try, in order: the first that the kernel accepts is measured.
    values: Vec<String>,
}

/// How B differs from A.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// It does not: a control.
    Control,
    /// By a value written to this file.
    File(String),
    /// By `ip link set dev DEVICE KEY VALUE`.
    Link(String),
}

/// A candidate as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    workload: String,
    why: String,
    #[serde(default)]
    side: Sides,
    sysctl: Option<String>,
    device: Option<String>,
    link: Option<[String; 2]>,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sides {
    #[default]
    Both,
    Server,
}

/// A value that stands for the mask of the CPU to which the server or the driver is pinned.
pub(super) const OWN_CPU: &str = "own-cpu";

impl TryFrom<Written> for Candidate {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, values, .. } = written;
        let (setting, values) = match (written.sysctl, written.device, written.link) {
            (Some(sysctl), None, None) => {
                let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
                (Setting::File(path), values)
            }
            (None, Some(file), None) => {
                let path = format!("/sys/class/net/{DEVICE}/{file}");
                (Setting::File(path), values)
            }
            (None, None, Some([key, value])) if values.is_empty() => {
                (Setting::Link(key), vec![value])
            }
            (None, None, None) if values.is_empty() => (Setting::Control, vec![String::new()]),
            _ => return Err(format!("{name}: one of sysctl, device and link")),
        };
        if values.is_empty() {
            return Err(format!("{name}: no value"));
        }
        Ok(Self {
            name,
            workload: written.workload,
            why: written.why,
            side: written.side,
            setting,
            values,
        })
    }
}

impl Candidate {
    pub(super) fn workload(&self) -> &'static Workload {
        plan()
            .workloads
            .get(&self.workload)
            .expect("the embedded file names workloads that it has: held by a test")
    }

    pub(super) fn workload_name(&self) -> &str {
        &self.workload
    }

    /// The file that is written, if the setting is one.
    pub(super) fn file(&self) -> Option<String> {
        match &self.setting {
            Setting::File(path) => Some(path.clone()),
            Setting::Control | Setting::Link(_) => None,
        }
    }

    /// Values to try, in order.
    pub(super) fn choices(&self) -> Vec<String> {
        self.values.clone()
    }

    pub(super) fn sides(&self) -> &'static [Side] {
        match self.side {
            Sides::Both => &[Side::Server, Side::Driver],
            Sides::Server => &[Side::Server],
        }
    }

    /// The setting of B, in a few words.
    pub(super) fn shown(&self, value: &str) -> String {
        let what = match &self.setting {
            Setting::Control => return "nothing".to_owned(),
            Setting::Link(key) => key.as_str(),
            Setting::File(path) => path.rsplit('/').next().unwrap_or(path),
        };
        format!("{what}={value}")
    }
}

/// The plan that is compiled into this program.
pub(super) fn plan() -> &'static Plan {
    static PLAN: LazyLock<Plan> = LazyLock::new(|| {
        let text = include_str!("../../../../tuning/bench.toml");
        toml::from_str(text).expect("the embedded file parses: held by a test")
    });
    &PLAN
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::significance;
    use super::*;

    #[test]
    fn the_plan_parses_and_its_names_fit_together() {
        let mut names = BTreeSet::new();
        for candidate in &plan().candidates {
            assert!(names.insert(&candidate.name), "{} twice", candidate.name);
            let workload = candidate.workload();
            let figure = significance::FIGURES
                .iter()
                .any(|figure| figure.name == workload.primary);
            assert!(figure, "{}: no such figure", workload.primary);
            assert!(!candidate.choices().is_empty());
            if let Setting::File(path) = &candidate.setting {
                assert!(
                    path.starts_with("/proc/sys/net/") || path.starts_with("/sys/class/net/"),
                    "{path}"
                );
            }
        }
        assert!(names.len() >= 12, "{}", names.len());
        assert!(names.contains(&"control".to_owned()));
    }

    #[test]
    fn a_candidate_that_sets_two_things_or_nothing_is_refused() {
        let written = |rest: &str| {
            let text = format!("name = 'n'\nworkload = 'small'\nwhy = 'y'\n{rest}");
            toml::from_str::<Candidate>(&text)
        };
        assert!(written("").is_ok(), "the control");
        assert!(written("sysctl = 'net.a'\nvalues = ['1']").is_ok());
        for rest in [
            "sysctl = 'net.a'",
            "values = ['1']",
            "sysctl = 'net.a'\nlink = ['mtu', '9000']",
            "link = ['mtu', '9000']\nvalues = ['1']",
            "device = 'a'\nsysctl = 'net.a'\nvalues = ['1']",
            "colour = 'red'",
        ] {
            assert!(written(rest).is_err(), "{rest}");
        }
    }
}
