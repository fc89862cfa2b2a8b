//! `ringway tune bench` with a load driver that is a script: what it sets and where, what it concludes, what it leaves.
//! Needs root, for network namespaces; without it these tests are skipped, and say so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use crate::common::{Scratch, is_alive, run, scratch, until};
use serde_json::Value;

/// Whether namespaces can be made here: not by an ordinary user, nor by root of most containers.
fn namespaces() -> bool {
    static MADE: LazyLock<Result<(), String>> = LazyLock::new(|| {
        let name = format!("ringway-test-{}-try", std::process::id());
        let ip = |what| {
            let made = Command::new("ip").args(["netns", what, &name]).output();
            let output = made.expect("iproute2 is installed");
            match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if cpus < 2 {
            return Err("server and driver need a CPU each".to_owned());
        }
        ip("add").and_then(|()| ip("delete"))
    });
    if let Err(why) = &*MADE {
        eprintln!("skipped, no network namespaces here: {why}");
    }
    MADE.is_ok()
}

/// A driver whose figures depend on what it finds in its namespace. It writes down its arguments.
fn driver(folder: &Scratch, body: &str) -> String {
    let script = format!(
        "#!/usr/bin/env bash\n\
         set -euo pipefail\n\
         echo \"$@\" >> '{}'\n\
         exec 3<>/dev/tcp/198.18.0.1/9000\n\
         {body}",
        folder.path("arguments")
    );
    let path = folder.write("driver", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

/// Figures that vary by one per cent, and that are a fifth better without timestamps.
const FIGURES: &str = r#"
cost=$((1000 + RANDOM % 10))
if [[ $(cat /proc/sys/net/ipv4/tcp_timestamps) == 0 ]]; then cost=$((cost * 8 / 10)); fi
printf '{"messages": 5000, "messages_per_second": %d, "errors": 0, "driver_saturated": false,
  "latency_us": {"p50": %d, "p99": %d}, "server_cpu_us_per_message": %d.5}\n' \
  $((10000000 / cost)) "$cost" $((cost * 2)) "$cost"
"#;

fn host(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn namespaces_of(pid: u32) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let list = String::from_utf8(output.expect("iproute2").stdout).expect("text");
    let own = |line: &&str| line.starts_with(&format!("ringway-tune-{pid}-"));
    list.lines().filter(own).map(str::to_owned).collect()
}

#[test]
fn an_effect_is_real_a_control_is_noise_and_the_host_is_untouched() {
    if !namespaces() {
        return;
    }
    let folder = scratch("tune-bench");
    let out = folder.path("result");
    let watched = [
        "/proc/sys/net/ipv4/tcp_timestamps",
        "/proc/sys/net/core/somaxconn",
    ];
    let before = watched.map(host);
    let output = run(
        "ringway",
        &[
            "tune",
            "bench",
            "--knobs=control,tcp_timestamps",
            "--rounds=8",
            "--seed=1",
            "--duration=200ms",
            "--warmup=10ms",
            "--format=json",
            &format!("--out={out}"),
            &format!("--driver={}", driver(&folder, FIGURES)),
        ],
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(watched.map(host), before);
    let result: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(result["seed"], 1);
    assert_eq!(result["host"]["changes"].as_array().map(Vec::len), Some(0));
    let effect = |knob: &str, figure: &str| {
        let knobs = result["knobs"].as_array().expect("an array");
        let knob = knobs.iter().find(|row| row["knob"] == knob);
        let effects = knob.expect("measured")["effects"].as_array();
        let found = effects.expect("an array").iter();
        let mut found = found.filter(|effect| effect["figure"] == figure);
        found.next().expect("looked at").clone()
    };
    let real = effect("tcp_timestamps", "server_cpu_us_per_message");
    assert_eq!(
        (&real["verdict"], &real["primary"]),
        (&"real".into(), &true.into())
    );
    assert_eq!(real["pairs"], 8);
    let factor = real["effect"].as_f64().expect("a number");
    assert!((-0.22..-0.18).contains(&factor), "{factor}");
    assert_eq!(effect("tcp_timestamps", "errors")["verdict"], "noise");
    assert_eq!(
        effect("control", "server_cpu_us_per_message")["verdict"],
        "noise"
    );

    the_folder_is_complete(&out);
    let arguments = fs::read_to_string(folder.path("arguments")).expect("it ran");
    assert_eq!(arguments.lines().count(), 32);
    let first = arguments.lines().next().expect("a line");
    assert!(
        first.starts_with(
            "echo ws://198.18.0.1:9000/ --connections=64 --size=64 --in-flight=1 --duration=200ms --warmup=10ms --threads=1 \
             --server-pid="
        ) && first.ends_with(" --format=json"),
        "{first}"
    );
    let again = run("ringway", &["tune", "bench", &format!("--out={out}")]);
    assert_eq!(again.code, 3);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
}

/// What `results/README.md` asks for, of two candidates in eight rounds.
fn the_folder_is_complete(out: &str) {
    for name in [
        "README.md",
        "machine.json",
        "plan.json",
        "summary.json",
        "summary.md",
    ] {
        let text = fs::read_to_string(format!("{out}/{name}")).expect("written");
        assert!(text.len() > 100, "{name}: {text}");
    }
    let raw = fs::read_to_string(format!("{out}/raw.jsonl")).expect("written");
    let raw: Vec<Value> = raw
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(raw.len(), 32);
    assert!(raw.iter().all(|run| run["error"].is_null()));
    let set = raw.iter().filter(|run| run["set"] == "tcp_timestamps=0");
    assert_eq!(set.count(), 8);
}

/// Without a script: the driver that users get understands what it is told, and says what is read.
#[test]
fn wsperf_is_driven_and_read() {
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning/bench.toml");
    let plan = fs::read_to_string(plan).expect("the file");
    let plan: toml::Table = plan.parse().expect("TOML");
    for (name, workload) in plan["workload"].as_table().expect("workloads") {
        let load = workload["arguments"].as_array().expect("arguments");
        let load: Vec<_> = load.iter().filter_map(toml::Value::as_str).collect();
        let output = run(
            "ringway",
            &[&["wsperf"], &load[..], &["--print-config"]].concat(),
        );
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
    }
    if !namespaces() {
        return;
    }
    // A window without a message is a failed run, and on a busy machine a short one may have none.
    let mut durations = ["50ms", "200ms", "1s"].into_iter();
    let control = loop {
        let duration = durations.next().expect("a second has room for messages");
        let control = bench_control(duration);
        if control["failed"]["a"] == 0 && control["failed"]["b"] == 0 {
            break control;
        }
    };
    let effects = control["effects"].as_array().expect("an array");
    assert_eq!(effects.len(), 5, "every figure is in the report");
    assert!(effects.iter().all(|effect| effect["pairs"] == 6));
}

/// Measures nothing but noise, and returns what is said of it.
fn bench_control(duration: &str) -> Value {
    let duration = format!("--duration={duration}");
    let output = run(
        "ringway",
        &[
            "tune",
            "bench",
            "--knobs=control",
            "--rounds=6",
            &duration,
            "--warmup=10ms",
            "--format=json",
        ],
    );
    assert_eq!(output.code, 0, "{}", output.stderr);
    let result: Value = serde_json::from_str(&output.stdout).expect("JSON");
    result["knobs"][0].clone()
}

#[test]
fn a_driver_that_fails_is_a_result_without_verdicts_and_says_why() {
    if !namespaces() {
        return;
    }
    let folder = scratch("tune-bench-fails");
    let driver = driver(&folder, "echo 'no such load' >&2; exit 2");
    let output = run(
        "ringway",
        &[
            "tune",
            "bench",
            "--knobs=control",
            "--rounds=6",
            &format!("--driver={driver}"),
        ],
    );
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(
        output
            .stdout
            .contains("control: 12 of 12 runs failed, 6 of A and 6 of B; the first: ")
            && output.stdout.contains("no such load"),
        "{}",
        output.stdout
    );
}

/// A measurement under way; it is asked to end, and so to clean up, when a test fails.
struct Bench(Child);

impl Bench {
    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal("TERM");
            let _ = self.0.wait();
        }
    }
}

#[test]
fn a_signal_ends_it_with_five_and_leaves_neither_namespaces_nor_processes() {
    if !namespaces() {
        return;
    }
    for signal in ["INT", "TERM"] {
        let folder = scratch(&format!("tune-bench-{signal}"));
        let driver = driver(&folder, "exec sleep 600");
        let bench = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args([
                "tune",
                "bench",
                "--knobs=control",
                &format!("--driver={driver}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is built");
        let mut bench = Bench(bench);
        let pid = bench.0.id();
        let arguments = folder.path("arguments");
        until("the driver runs", || {
            fs::read_to_string(&arguments).is_ok_and(|text| text.ends_with('\n'))
        });
        assert_eq!(namespaces_of(pid).len(), 2);
        let text = fs::read_to_string(&arguments).expect("it is there");
        let server = text.split("--server-pid=").nth(1).expect("it is given");
        let server: u32 = server
            .split(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a pid");
        assert!(is_alive(server));
        bench.signal(signal);
        until("it ends", || {
            bench.0.try_wait().is_ok_and(|end| end.is_some())
        });
        let status = bench.0.wait().expect("a child");
        assert_eq!(status.code(), Some(5));
        assert_eq!(namespaces_of(pid), [""; 0]);
        assert!(!is_alive(server));
    }
}

/// A namespace of this test.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let name = format!("ringway-test-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status();
        assert!(made.expect("iproute2").success());
        Self(name)
    }

    /// What a shell in it prints; none when it fails.
    fn shell(&self, script: &str) -> Option<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, "sh", "-c", script]);
        let output = command.output().expect("iproute2");
        let text = String::from_utf8(output.stdout).expect("text");
        output.status.success().then(|| text.trim().to_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.0])
            .status();
    }
}

/// What the files of `tuning/` say of a setting's scope is what the kernel does.
#[test]
fn settings_of_a_namespace_are_its_own_and_settings_of_the_host_cannot_be_written_in_one() {
    if !namespaces() {
        return;
    }
    let inside = Namespace::new();
    let list = run("ringway", &["tune", "list", "--format=json"]).stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let (mut own, mut shared) = (0, 0);
    for knob in list["knobs"].as_array().expect("an array") {
        let path = knob["path"].as_str().expect("a path");
        // In older kernels it is the host's.
        let moved = knob["name"] == "net.core.optmem_max";
        if moved || !path.starts_with("/proc/sys/net/") || !fs::exists(path).unwrap_or(false) {
            continue;
        }
        // Written back as it is: nothing changes wherever it is.
        let write = inside.shell(&format!("cat {path} | tee {path}"));
        match knob["scope"].as_str() {
            Some("netns") => {
                assert!(write.is_some(), "{path} is not of a namespace");
                own += 1;
            }
            _ => {
                assert!(write.is_none(), "{path} is not of the host alone");
                shared += 1;
            }
        }
    }
    assert!(own > 15 && shared > 5, "{own} {shared}");

    // Another value inside: the host keeps its own.
    for (path, value) in [
        ("/proc/sys/net/core/somaxconn", "77"),
        ("/proc/sys/net/ipv4/tcp_timestamps", "0"),
        ("/proc/sys/net/ipv4/tcp_rmem", "4096 65536 1048576"),
        ("/proc/sys/net/ipv4/tcp_notsent_lowat", "7777"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "20000 30001"),
    ] {
        let before = host(path);
        let now = inside.shell(&format!("echo {value} > {path} && cat {path}"));
        let now = now.map(|now| now.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(now.as_deref(), Some(value), "{path}");
        assert_eq!(host(path), before, "{path}");
    }
}
