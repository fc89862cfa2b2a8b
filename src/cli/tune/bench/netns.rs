//! Two network namespaces and a veth pair between them, for one run.
//!
//! Owns: their names, their addresses, and that they are removed.
//! Never: makes a device, an address or a setting in the host's own namespace.

use std::process::Command;
use std::time::{Duration, Instant};

use super::super::value::normal;
use super::environment;
use super::process::{Trouble, call};

/// The server's namespace or the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Driver,
}

/// Name of the device on either side, in its own namespace.
pub(super) const DEVICE: &str = "veth0";

/// The server's address. RFC 2544 reserves 198.18.0.0/15 for benchmarks of networks.
pub(super) const SERVER: &str = "198.18.0.1";

/// Both addresses with their prefix.
const ADDRESSES: [&str; 2] = ["198.18.0.1/30", "198.18.0.2/30"];

/// Prefix of all names. The pid of this process follows it, so that parallel runs do not collide.
const PREFIX: &str = "ringway-tune-";

/// A pair of namespaces.
#[derive(Debug)]
pub(super) struct Net {
    names: [String; 2],
}

impl Net {
    /// Makes the pair, with its link up. `tag` distinguishes it from other pairs of this process.
    pub(super) fn make(tag: &str) -> Result<Self, Trouble> {
        let name = |side| format!("{PREFIX}{}-{tag}-{side}", std::process::id());
        let net = Self {
            names: [name("server"), name("driver")],
        };
        let [server, driver] = &net.names;
        // From here on, dropping `net` removes whatever was made.
        for name in &net.names {
            let made = call(Command::new("ip").args(["netns", "add", name]), None);
            made.map_err(forbidden)?;
        }
        let pair = [
            "-n", server, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns",
            driver,
        ];
        call(Command::new("ip").args(pair), None).map_err(forbidden)?;
        for (name, address) in net.names.iter().zip(ADDRESSES) {
            for arguments in [
                &["address", "add", address, "dev", DEVICE][..],
                &["link", "set", "dev", DEVICE, "up"],
                &["link", "set", "dev", "lo", "up"],
            ] {
                let mut command = Command::new("ip");
                let made = call(command.args(["-n", name]).args(arguments), None);
                made.map_err(forbidden)?;
            }
        }
        Ok(net)
    }

    /// The beginning of a command that runs in a namespace, on one CPU.
    pub(super) fn command(&self, side: Side, cpu: usize) -> Command {
        let mut command = self.inside(side);
        command.args(["taskset", "--cpu-list", &cpu.to_string()]);
        command
    }

    fn inside(&self, side: Side) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[side as usize]]);
        command
    }

    /// The value of a file inside a namespace: `/proc/sys/net` and `/sys/class/net` show the namespace of the process
    /// that reads.
    pub(super) fn read(&self, side: Side, path: &str) -> Result<String, String> {
        let text = call(self.inside(side).args(["cat", path]), None);
        text.map(|text| normal(&text)).map_err(reason)
    }

    /// Writes a file inside a namespace, and checks that it has the value.
    pub(super) fn write(&self, side: Side, path: &str, value: &str) -> Result<(), String> {
        let input = format!("{value}\n");
        call(self.inside(side).args(["tee", path]), Some(&input)).map_err(reason)?;
        match self.read(side, path)? {
            now if same(&now, value) => Ok(()),
            now => Err(format!("the kernel makes {now} of {value}")),
        }
    }

    /// Sets a property of the device, and checks that it has it.
    pub(super) fn link(&self, side: Side, key: &str, value: &str) -> Result<(), String> {
        let name = &self.names[side as usize];
        let set = ["-n", name, "link", "set", "dev", DEVICE, key, value];
        call(Command::new("ip").args(set), None).map_err(reason)?;
        let show = ["-n", name, "-details", "link", "show", "dev", DEVICE];
        let shown = call(Command::new("ip").args(show), None).map_err(reason)?;
        let shown_key = if key == "txqueuelen" { "qlen" } else { key };
        match normal(&shown).contains(&format!("{shown_key} {value} ")) {
            true => Ok(()),
            false => Err(format!("the kernel does not take {key} {value}")),
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            remove(name);
        }
    }
}

/// Ends the processes that still run in a namespace, all of which this program started, and removes it. Errors are
/// ignored: the namespace may never have been made.
fn remove(name: &str) {
    let deadline = Instant::now() + LEAVE_TIME_MAX;
    loop {
        let pids = call(Command::new("ip").args(["netns", "pids", name]), None);
        let pids = pids.unwrap_or_default();
        let pids: Vec<_> = pids.split_whitespace().collect();
        if pids.is_empty() {
            break;
        }
        // Workers end by themselves after their supervisor.
        if Instant::now() > deadline {
            let kill = format!("kill -KILL {}", pids.join(" "));
            let _ = call(Command::new("sh").args(["-c", &kill]), None);
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = call(Command::new("ip").args(["netns", "delete", name]), None);
}

/// Longest wait for processes to leave a namespace.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);

/// Removes namespaces of this program whose process no longer runs: a killed run left them behind.
pub(super) fn remove_stale(talk: &mut impl FnMut(&str)) -> Result<(), Trouble> {
    let list = call(Command::new("ip").args(["netns", "list"]), None)?;
    let names = list.lines().filter_map(|line| line.split(' ').next());
    for name in names.filter(|name| is_stale(name)) {
        talk(&format!(
            "{name} is of a run that was killed: it is removed"
        ));
        remove(name);
    }
    Ok(())
}

fn is_stale(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX);
    let pid = rest.and_then(|rest| rest.split('-').next());
    let pid = pid.filter(|pid| pid.parse::<u32>().is_ok());
    pid.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists())
}

/// Whether the kernel's text `now` means `value`: it prints masks with leading zeros.
fn same(now: &str, value: &str) -> bool {
    let plain = |text: &str| text.trim_start_matches(['0', ',']).to_owned();
    now == value || (plain(now) == plain(value) && !plain(value).is_empty())
}

fn forbidden(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Run(why) => environment(format!(
            "no network namespace can be made: {why}. It takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN), and not in a container"
        ))
        .into(),
        other => other,
    }
}

fn reason(trouble: Trouble) -> String {
    match trouble {
        Trouble::Fatal(fatal) => fatal.sentence,
        Trouble::Run(why) => why,
        Trouble::Stopped => "a signal came".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_namespaces_of_processes_that_are_gone_are_stale() {
        let own = format!("{PREFIX}{}-r1-server", std::process::id());
        assert!(!is_stale(&own));
        // A number above the largest possible pid_max.
        assert!(is_stale("ringway-tune-4194305-r1-server"));
        assert!(!is_stale("ringway-tune-x-r1-server"));
        assert!(!is_stale("blue"));
    }

    #[test]
    fn masks_are_the_same_with_and_without_leading_zeros() {
        assert!(same("1", "1"));
        assert!(same("00000000,00000002", "2"));
        assert!(!same("2", "20"));
        assert!(!same("0", "1"));
        assert!(same("0", "0"));
    }
}
