//! The machine on which a result was measured. Owns: reading `/proc`. Never: makes a run fail; an unknown figure stays
//! empty.

use std::fs;

use super::outcome::Machine;

/// This machine.
pub(super) fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = ["/proc/sys/kernel/ostype", "/proc/sys/kernel/osrelease"]
        .map(|path| read(path).trim().to_owned());
    Machine {
        kernel: kernel.join(" ").trim().to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        cpu: model(&read("/proc/cpuinfo")),
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
        memory_bytes: memory_bytes(&read("/proc/meminfo")),
    }
}

/// The model of the first CPU. Where models differ, nobody knows which of them the driver ran on.
fn model(cpuinfo: &str) -> Option<String> {
    let line = |name: &str| {
        let mut lines = cpuinfo.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
    };
    let model = line("model name").or_else(|| line("Model"))?;
    // Some vendors pad the name with blanks.
    let words: Vec<&str> = model.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_and_a_size_are_read_from_what_the_kernel_writes() {
        let cpuinfo =
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some  CPU @ 2.00GHz  \nflags: a\n";
        assert_eq!(model(cpuinfo), Some("Some CPU @ 2.00GHz".to_owned()));
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
        assert_eq!(
            memory_bytes("MemTotal:        2048 kB\nMemFree: 1 kB\n"),
            2 << 20
        );
        assert_eq!(memory_bytes(""), 0);
    }

    #[test]
    fn this_machine_has_a_kernel_cpus_and_memory() {
        let here = machine();
        assert!(
            here.kernel.starts_with("Linux ") && here.kernel.len() > 8,
            "{here:?}"
        );
        assert!(here.cpus > 0 && here.memory_bytes > 1 << 20, "{here:?}");
    }
}
