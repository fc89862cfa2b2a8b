//! `ringway tune` as it is typed: what it says about a machine, what it changes on one of plain files, how it ends.

use std::fs;
use std::path::Path;

use crate::common::{Scratch, run, scratch};
use serde_json::Value;

const SOMAXCONN: &str = "proc/sys/net/core/somaxconn";
const PORTS: &str = "proc/sys/net/ipv4/ip_local_port_range";

/// A machine of plain files, with a queue that is short, a range that is narrow, and a limit that is high.
fn machine(name: &str) -> Scratch {
    let machine = scratch(name);
    for (path, text) in [
        (SOMAXCONN, "128\n"),
        (PORTS, "32768\t60999\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
        (
            "proc/self/limits",
            "Max open files  1024  2097152  files\nMax locked memory  1  1  bytes\n",
        ),
    ] {
        let path = machine.path(path);
        fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("ours");
        fs::write(path, text).expect("ours");
    }
    machine
}

fn root(machine: &Scratch) -> String {
    format!("--root={}", machine.path(""))
}

fn file(machine: &Scratch, path: &str) -> String {
    let text = fs::read_to_string(machine.path(path)).expect("it is there");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn check_exits_one_and_names_what_to_change_and_why() {
    let machine = machine("tune-check");
    let output = run("ringway", &["tune", "check", &root(&machine)]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    for line in [
        "net.core.somaxconn: at least 8192 instead of 128",
        "    do            sysctl -w net.core.somaxconn=8192",
        "    do            sysctl -w net.ipv4.ip_local_port_range='10240 65535'",
        "Profile bench: 2 to change, 2 hold, 0 unknown, 1 for information, 67 not here.",
    ] {
        assert!(
            output.stdout.lines().any(|seen| seen == line),
            "{line}:\n{}",
            output.stdout
        );
    }

    let output = run(
        "ringway",
        &[
            "tune",
            "check",
            "--profile=million-idle",
            "--format=json",
            &root(&machine),
        ],
    );
    assert_eq!((output.code, output.stderr.as_str()), (1, ""));
    let report = json(&output.stdout);
    assert_eq!(report["profile"], "million-idle");
    assert_eq!(report["holds"], false);
    let knobs = report["knobs"].as_array().expect("an array");
    let knob = |name: &str| {
        let found = knobs.iter().find(|knob| knob["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not there"))
    };
    let queue = knob("net.core.somaxconn");
    assert_eq!(queue["status"], "change");
    assert_eq!(queue["wanted"], "at least 65535");
    assert_eq!(queue["readings"][0]["value"], "128");
    assert_eq!(queue["remedy"], "sysctl -w net.core.somaxconn=65535");
    assert_eq!(queue["scope"], "netns");
    assert_eq!(knob("rlimit:nofile")["status"], "holds");
    assert_eq!(knob("net.ipv4.tcp_mem")["status"], "absent");
}

#[test]
fn check_reads_the_real_machine_and_its_exit_code_says_whether_all_holds() {
    for profile in ["bench", "million-idle", "low-latency"] {
        let profile = format!("--profile={profile}");
        let output = run("ringway", &["tune", "check", &profile, "--format=json"]);
        let holds = json(&output.stdout)["holds"] == true;
        assert_eq!(output.code, i32::from(!holds), "{}", output.stderr);
    }
}

#[test]
fn apply_then_check_then_undo_leaves_every_file_as_it_was() {
    let machine = machine("tune-apply");
    let state = format!("--state={}", machine.path("state/tune.json"));
    let root = root(&machine);
    let tune = |arguments: &[&str]| {
        let mut all = vec!["tune"];
        all.extend(arguments);
        all.extend([root.as_str()]);
        run("ringway", &all)
    };

    let dry = tune(&["apply", "--dry-run", &state]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(
        dry.stdout
            .contains("/proc/sys/net/core/somaxconn: 128 -> 8192\n"),
        "{}",
        dry.stdout
    );
    assert!(dry.stdout.ends_with("2 values would be changed.\n"));
    assert_eq!(file(&machine, SOMAXCONN), "128");
    assert!(!Path::new(&machine.path("state/tune.json")).exists());

    let applied = tune(&["apply", &state]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stdout.ends_with("2 values changed.\n"));
    assert_eq!(file(&machine, SOMAXCONN), "8192");
    assert_eq!(file(&machine, PORTS), "10240 65535");
    assert_eq!(tune(&["check"]).code, 0);
    let again = tune(&["apply", &state]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "0 values changed.\n")
    );

    fs::write(machine.path(SOMAXCONN), "9999\n").expect("ours");
    let undone = tune(&["undo", &state, "--format=json"]);
    assert_eq!(undone.code, 1, "one was left: {}", undone.stderr);
    let steps = json(&undone.stdout)["steps"].clone();
    assert_eq!(steps[0]["step"], "changed");
    assert_eq!(steps[0]["old"], "10240 65535");
    assert_eq!(steps[0]["new"], "32768 60999");
    assert_eq!(steps[1]["step"], "kept");
    assert_eq!(file(&machine, SOMAXCONN), "9999");
    let forced = tune(&["undo", &state, "--force"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert_eq!(file(&machine, SOMAXCONN), "128");
    assert_eq!(file(&machine, PORTS), "32768 60999");
    assert!(!Path::new(&machine.path("state/tune.json")).exists());
}

#[test]
fn what_is_not_permitted_is_exit_code_three_and_changes_nothing() {
    let machine = machine("tune-forbidden");
    let state = format!("--state={}", machine.path("state.json"));
    // The kernel's name is written by nobody, not even by root.
    let cookies = machine.path("proc/sys/net/ipv4/tcp_syncookies");
    fs::remove_file(&cookies).expect("ours");
    std::os::unix::fs::symlink("/proc/sys/kernel/ostype", &cookies).expect("ours");
    let output = run("ringway", &["tune", "apply", &root(&machine), &state]);
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains(
            "/proc/sys/net/ipv4/tcp_syncookies cannot be written: Permission denied (os error 13); nothing was changed. \
             Run it as root"
        ),
        "{}",
        output.stderr
    );
    assert_eq!(file(&machine, SOMAXCONN), "128");
    assert!(!Path::new(&machine.path("state.json")).exists());

    fs::write(machine.path("journal"), "{}").expect("ours");
    let broken = format!("--state={}", machine.path("journal"));
    let output = run("ringway", &["tune", "apply", &root(&machine), &broken]);
    assert_eq!(output.code, 3);
    assert!(
        output.stderr.contains("cannot be read") && output.stderr.contains("--state"),
        "{}",
        output.stderr
    );
    let nowhere = format!("--state={}/state.json", machine.path(SOMAXCONN));
    let output = run("ringway", &["tune", "apply", &root(&machine), &nowhere]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(output.stderr.contains("nothing was changed"));
    assert_eq!(file(&machine, SOMAXCONN), "128");

    let output = run("ringway", &["tune", "undo", &root(&machine), &state]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "0 values changed.\n")
    );
}

#[test]
fn list_has_every_knob_of_the_files() {
    let table = run("ringway", &["tune", "list"]);
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    assert!(table.stdout.contains("  net.core.somaxconn (netns)\n"));
    let knobs = json(&run("ringway", &["tune", "list", "--format=json"]).stdout)["knobs"].clone();
    let knobs = knobs.as_array().expect("an array");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning");
    let files = fs::read_dir(folder).expect("the folder");
    let names = files.filter_map(|entry| {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let bench = path.file_name().is_some_and(|name| name == "bench.toml");
        (!bench).then(|| text.matches("\n[[knob]]\n").count())
    });
    assert_eq!(knobs.len(), names.sum::<usize>());
    for knob in knobs {
        for text in ["reason", "effect", "risk", "undo", "source"] {
            assert!(
                knob[text].as_str().is_some_and(|text| text.len() > 4),
                "{knob}"
            );
        }
    }
}

#[test]
fn a_bad_value_is_one_sentence_and_exit_code_two() {
    for (arguments, why) in [
        (
            &["check", "--profile=fast"][..],
            "--profile fast is not one of bench, million-idle, low-latency",
        ),
        (&["list", "--format=xml"], "not one of table, json"),
        (&["undo", "--format="], "not one of table, json"),
        (
            &["bench", "--rounds=5"],
            "--rounds 5 is not a number from 10 to 10000: fewer pairs cannot tell",
        ),
        (
            &["bench", "--rounds=5", "--knobs=mtu"],
            "--rounds 5 is not a number from 6 to 10000: ",
        ),
        (
            &["bench", "--knobs=mtu,colour"],
            "--knobs: 'colour' is none of control, somaxconn, ",
        ),
    ] {
        let output = run("ringway", &[&["tune"], arguments].concat());
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
        assert_eq!(output.stdout, "");
    }
    assert_eq!(run("ringway", &["tune"]).code, 2);
    assert_eq!(run("ringway", &["tune", "check", "--force"]).code, 2);
}

#[test]
fn help_starts_with_an_example_fits_eighty_columns_and_lists_exit_codes() {
    for command in ["check", "apply", "undo", "list", "bench"] {
        let output = run("ringway", &["tune", command, "--help"]);
        assert_eq!(output.code, 0);
        let help = output.stdout;
        assert!(help.starts_with("Example:\n"), "{help}");
        assert!(help.contains("Exit codes:\n  0  "), "{help}");
        let wide: Vec<_> = help
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(wide.is_empty(), "{wide:?}");
    }
}
