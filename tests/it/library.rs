//! The library as a crate outside this repository sees it: what it compiles, and a server of one's own on processes and on threads.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::common::client::{CLOSE, Client, TEXT};
use crate::common::{kill, scratch, signal, until};

/// Direct dependencies of the crates that others build on.
const RINGWAY_DEPENDENCIES_MAX: usize = 12;
const PROTO_DEPENDENCIES_MAX: usize = 5;

/// What a program that embeds a server does not want to compile.
const UNWANTED: [&str; 4] = ["axum", "clap", "serde", "toml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README's first program.
fn program() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("```rust\n").expect("a program");
    let (program, _) = rest.split_once("```").expect("its end");
    program.to_owned()
}

/// The same application on threads: it prints where it listens, and stops when its stdin ends.
fn on_threads() -> String {
    let (application, _) = program()
        .split_once("fn main()")
        .map(|(before, after)| (before.to_owned(), after.to_owned()))
        .expect("a main function");
    application
        + r#"
fn main() -> ExitCode {
    let running = Server::new("ws://127.0.0.1:0").workers(2).start(|_worker| Echo).expect("a free port");
    println!("{}", running.url());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("stdin");
    assert_eq!(running.counters().handshakes, 1);
    running.shutdown().expect("an orderly end");
    ExitCode::SUCCESS
}
"#
}

/// The same until a signal stops it.
fn until_a_signal() -> String {
    on_threads()
        .split_once("fn main()")
        .map(|(application, _)| application.to_owned())
        .expect("a main function")
        + r#"
fn main() -> ExitCode {
    let uri = std::env::args().nth(1).expect("where to listen");
    Server::new(&uri).workers(2).run_threads(|_worker| Echo)
}
"#
}

fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        // Kept between runs: what it depends on is compiled once.
        .env("CARGO_TARGET_DIR", target())
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("outside")
}

/// The examples that need nothing but `ringway`.
const EXAMPLES: [&str; 12] = [
    "broadcast_server",
    "chat",
    "compressed_server",
    "custom_headers",
    "echo_client",
    "echo_server",
    "echo_variants",
    "login_cookie",
    "ping_server",
    "several_services",
    "slow_square",
    "subprotocols",
];

/// The pages that examples contain.
const PAGES: [&str; 2] = ["chat.html", "login_cookie.html"];

/// A crate with `ringway` as its only dependency, with programs of its own and the examples; made and built once.
fn outside() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("outside-crate");
        let sources = folder.join("src/bin");
        std::fs::create_dir_all(&sources).expect("a folder");
        let ringway = root().join("src/ringway").canonicalize().expect("it exists");
        let manifest = format!(
            "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
             [dependencies]\nringway = {{ path = {:?} }}\n",
            ringway.display()
        );
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("a file");
        };
        write("Cargo.toml", &manifest);
        write("src/bin/processes.rs", &program());
        write("src/bin/threads.rs", &on_threads());
        let examples = EXAMPLES.map(|name| format!("{name}.rs"));
        for file in examples.iter().map(String::as_str).chain(PAGES) {
            std::fs::copy(root().join("examples").join(file), sources.join(file)).expect(file);
        }
        write("src/bin/signals.rs", &until_a_signal());
        // The versions that this repository is tested with.
        std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
        cargo(&folder, &["build", "--offline"]);
        folder
    })
}

/// A process that is killed when the test is over.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start(program: &str, arguments: &[&str], stdout: Stdio) -> Running {
    outside();
    let child = Command::new(target().join("debug").join(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .spawn();
    Running(child.expect("it was built"))
}

fn echo(address: &str) -> bool {
    let Ok(mut client) = Client::try_connect(address) else {
        return false;
    };
    client.send(TEXT, b"from outside");
    client.expect(TEXT, b"from outside");
    true
}

fn first_line(server: &mut Running) -> String {
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    line
}

/// Where a server listens, as its first line says: `ringway: listening on ws://127.0.0.1:40123 (…`.
pub(crate) fn address(server: &mut Running) -> String {
    let line = first_line(server);
    let address = line.split("ws://").nth(1).expect("a URL");
    address.split(' ').next().expect("its end").to_owned()
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().expect("a pid"))
        .collect()
}

#[test]
fn the_readmes_first_program_serves_on_processes_and_survives_the_death_of_one() {
    let mut server = start("processes", &["ws://127.0.0.1:0"], Stdio::piped());
    let pid = server.0.id();
    let address = address(&mut server);
    assert_eq!(children(pid).len(), 2);
    assert!(echo(&address));
    let before = children(pid);
    kill(before[0]);
    until("another worker is there", || {
        let now = children(pid);
        now.len() == 2 && now != before
    });
    until("it still serves", || echo(&address));
    let lines = program().lines().filter(|line| !line.is_empty()).count();
    assert!((10..=15).contains(&lines), "{lines} lines");
    assert!(server.0.try_wait().expect("a child").is_none());
}

#[test]
fn the_same_application_runs_on_threads() {
    let mut server = start("threads", &[], Stdio::piped());
    let line = first_line(&mut server);
    let address = line.trim().strip_prefix("ws://").expect("a URL").to_owned();
    assert!(echo(&address));
    drop(server.0.stdin.take());
    assert!(server.0.wait().expect("a child").success());
}

#[test]
fn threads_drain_at_a_signal_leave_at_a_second_one_and_mind_no_other() {
    let directory = scratch("library-signals");
    let address = format!("ws+unix:{}", directory.path("echo.sock"));
    for (signals, code) in [(&["TERM"][..], 0), (&["QUIT"], 0), (&["INT", "TERM"], 5)] {
        let mut server = start("signals", &[&address], Stdio::null());
        let pid = server.0.id();
        until("it serves", || echo(&address));
        let mut client = Client::connect(&address);
        for name in ["HUP", "USR1", "ALRM"] {
            signal(pid, name);
        }
        client.send(TEXT, b"still there?");
        client.expect(TEXT, b"still there?");
        signal(pid, signals[0]);
        let close = client.recv();
        assert_eq!(close.payload[..2], [0x03, 0xe9], "1001");
        match signals.get(1) {
            // It waits for the answer to its Close, far longer than this test.
            Some(second) => signal(pid, second),
            None => client.send(CLOSE, &[0x03, 0xe9]),
        }
        assert_eq!(
            server.0.wait().expect("a child").code(),
            Some(code),
            "{signals:?}"
        );
    }
}

#[test]
fn a_program_that_embeds_a_server_compiles_no_command_line() {
    let folder = outside();
    let tree = cargo(
        folder,
        &[
            "tree",
            "--offline",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ],
    );
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"io-uring"), "{names:?}");
    let unwanted: Vec<_> = UNWANTED
        .iter()
        .filter(|name| names.contains(name))
        .collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
}

#[test]
fn the_crates_have_few_direct_dependencies() {
    for (name, max) in [
        ("ringway", RINGWAY_DEPENDENCIES_MAX),
        ("ringway-proto", PROTO_DEPENDENCIES_MAX),
    ] {
        let arguments = [
            "tree",
            "--offline",
            "--package",
            name,
            "--depth=1",
            "--edges=normal",
            "--prefix=none",
        ];
        let tree = cargo(&root(), &arguments);
        let direct = tree.lines().skip(1).filter(|line| !line.is_empty()).count();
        assert!((1..=max).contains(&direct), "{name} has {direct}:\n{tree}");
    }
}
