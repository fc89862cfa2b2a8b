//! Real programs under test: started on port 0, waited for by their ready line, killed on drop by pid.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test binaries, each of which uses its part"
)]

pub mod client;
pub mod process;
pub mod seccomp;
pub mod testee;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// More than any step takes on a loaded machine; nothing is ever waited for longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a program that ended left behind.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn program(name: &str) -> &'static str {
    match name {
        "ringway" => env!("CARGO_BIN_EXE_ringway"),
        "server" => env!("CARGO_BIN_EXE_server"),
        "websockify" => env!("CARGO_BIN_EXE_websockify"),
        "websocketd" => env!("CARGO_BIN_EXE_websocketd"),
        "wsperf" => env!("CARGO_BIN_EXE_wsperf"),
        _ => panic!("no such program: {name}"),
    }
}

/// Runs a program that is expected to end by itself; one that does not is killed and fails the test.
pub fn run(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program(name));
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    // Read while it runs: more than a pipe holds would keep it from ending.
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{name} {arguments:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        code: status.code().unwrap_or(-1),
        stdout: stdout.join().expect("text"),
        stderr: stderr.join().expect("text"),
    }
}

fn read(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.expect("piped");
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("text");
        text
    })
}

/// A running server.
pub struct Server {
    child: Child,
    /// The first line of stdout.
    pub ready: String,
    lines: Option<Receiver<String>>,
    stdout: Option<ChildStdout>,
    stderr: PathBuf,
}

impl Server {
    /// Starts `server` on port 0 unless `arguments` say otherwise, and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |_| {})
    }

    /// The same after `prepare` has had its way with the command.
    pub fn start_with(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(arguments, prepare).read()
    }

    /// Starts `ringway gateway`, whose counters come often.
    pub fn start_gateway(target: &str, more: &[&str]) -> Self {
        let mut arguments = vec![
            "gateway",
            "127.0.0.1:0",
            target,
            "--port=auto",
            "--interval=50ms",
        ];
        arguments.extend(more);
        Self::spawn_program("ringway", &arguments, |_| {}).read()
    }

    /// Starts a program that prints where it listens.
    pub fn start_program(name: &str, arguments: &[&str]) -> Self {
        Self::spawn_program(name, arguments, |_| {}).read()
    }

    /// Waits until it is ready.
    fn read(mut self) -> Self {
        let stdout = self.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        self.lines = Some(lines);
        self.ready = self.line();
        self
    }

    /// Starts it without reading what it prints.
    pub fn start_unread(arguments: &[&str]) -> Self {
        Self::spawn(arguments, |_| {})
    }

    /// The same after `prepare` has had its way with the command.
    pub fn start_unread_with(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(arguments, prepare)
    }

    /// Starts two workers with an application, whose counters come often.
    pub fn start_app(app: &str, io: &str, more: &[&str]) -> Self {
        Self::start_app_with(app, io, more, |_| {})
    }

    /// The same after `prepare` has had its way with the command.
    pub fn start_app_with(
        app: &str,
        io: &str,
        more: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let app = format!("--app={app}");
        let mut arguments = vec![&*app, "--workers=2", "--port=auto", "--interval=50ms", io];
        arguments.extend(more);
        Self::start_with(&arguments, prepare)
    }

    /// New clients, until each of two workers has at least `least` clients.
    pub fn clients_on_both_workers(&self, least: u64) -> Vec<client::Client> {
        let mut clients = Vec::new();
        let before = self.counter("accepted").iter().sum::<u64>();
        until("both workers have clients", || {
            for _ in 0..least {
                clients.push(client::Client::connect(&self.address()));
            }
            self.counter_reaching("accepted", before + clients.len() as u64);
            let mut held = Vec::new();
            until("all have opened", || {
                held = self.counter("clients");
                held.iter().sum::<u64>() >= clients.len() as u64
            });
            held.iter().all(|held| *held >= least)
        });
        clients
    }

    fn spawn(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        Self::spawn_program("server", arguments, prepare)
    }

    fn spawn_program(name: &str, arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let stderr = std::env::temp_dir().join(format!(
            "ringway-test-{}-{number}.stderr",
            std::process::id()
        ));
        // Through a shell that leaves a descriptor of its own open; `exec` keeps the pid.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 9</dev/full", program(name)]);
        let says_where = |argument: &&str| argument.starts_with("--wsuri");
        if name == "server" && !arguments.iter().any(says_where) {
            command.arg("--wsuri=ws://127.0.0.1:0");
        }
        command.args(arguments);
        prepare(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&stderr).expect("a temporary file"))
            .spawn()
            .expect("the program is built");
        let stdout = child.stdout.take();
        Self {
            child,
            ready: String::new(),
            lines: None,
            stdout,
            stderr,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout.
    pub fn line(&mut self) -> String {
        let lines = self.lines.as_ref().expect("stdout is read");
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => panic!("no line came; stderr: {}", self.stderr()),
        }
    }

    /// Leaves: the next write of the server finds nobody.
    pub fn close_stdout(&mut self) {
        // The reading thread ends at the next line, and drops the pipe with it.
        self.lines = None;
    }

    pub fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout
            .take()
            .expect("unread")
            .read_to_string(&mut rest)
            .expect("text");
        rest
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Where it listens, from the ready line: `ws://host:port` or `ws+unix:/path`.
    pub fn address(&self) -> String {
        let (_, rest) = self
            .ready
            .split_once("listening on ")
            .expect("a ready line");
        rest.split(' ').next().expect("an address").to_owned()
    }

    /// What `/stats.json` says.
    pub fn stats(&self) -> serde_json::Value {
        let response = get(&self.web(), "/stats.json");
        let body = response.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str(body).expect("JSON")
    }

    /// One counter of each worker since the start, in the order of the seats.
    pub fn counter(&self, name: &str) -> Vec<u64> {
        let stats = self.stats();
        let workers = stats["workers"].as_array().expect("an array");
        let figure = |worker: &serde_json::Value| worker["total"][name].as_u64().expect(name);
        workers.iter().map(figure).collect()
    }

    /// Waits until a counter of all workers together has reached `least`, and returns it for each.
    pub fn counter_reaching(&self, name: &str, least: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        until(&format!("{name} reaches {least}"), || {
            seen = self.counter(name);
            seen.iter().sum::<u64>() >= least
        });
        seen
    }

    /// Waits until another process has the seat of a worker that was killed.
    pub fn wait_for_successor(&self, seat: usize, victim: u32) {
        until("the worker was replaced", || {
            let pid = self.stats()["workers"][seat]["pid"].as_u64();
            pid.is_some_and(|pid| pid != u64::from(victim))
        });
    }

    /// The pid of the worker on each seat.
    pub fn seats(&self) -> Vec<u32> {
        let stats = self.stats();
        let workers = stats["workers"].as_array().expect("an array");
        let pid = |worker: &serde_json::Value| worker["pid"].as_u64().expect("it runs");
        workers
            .iter()
            .map(|worker| u32::try_from(pid(worker)).expect("a pid"))
            .collect()
    }

    /// The address of the web pages, from the ready line.
    pub fn web(&self) -> String {
        let (_, rest) = self
            .ready
            .split_once("web http://")
            .expect("the pages are on");
        rest.split('/').next().expect("an address").to_owned()
    }

    /// The pids of the workers, in the order they were started.
    pub fn workers(&self) -> Vec<u32> {
        let pid = self.pid();
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter(|pid| is_alive(*pid))
            .collect()
    }

    /// The sockets that a process holds, by inode.
    pub fn sockets_of(&self, pid: u32) -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .collect()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for the end; the exit code, or `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "the server did not end; stderr: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The workers first: a stopped one would not act on the signal that its parent's death brings.
        self.workers()
            .into_iter()
            .for_each(|pid| signal(pid, "KILL"));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.stderr);
    }
}

/// Makes a test of each function for each I/O tier; the functions take the option that chooses it.
#[allow(unused_macros, reason = "not every test binary has tiers")]
macro_rules! on_both_tiers {
    ($($name:ident),* $(,)?) => {
        mod uring { $(#[test] fn $name() { super::$name("--io=uring"); })* }
        mod epoll { $(#[test] fn $name() { super::$name("--io=epoll"); })* }
    };
}
#[allow(unused_imports, reason = "not every test binary has tiers")]
pub(crate) use on_both_tiers;

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody has, below those that the kernel gives to others: a broker has to come back to it, and a client that finds nobody at
/// a port of the kernel's choice may be given that very port, and meet itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 100 * 100).expect("below 10,000");
    let mut all =
        std::iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let free = all.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    free.expect("one of 10,000")
}

pub fn kill(pid: u32) {
    signal(pid, "KILL");
}

pub fn stop(pid: u32) {
    signal(pid, "STOP");
}

pub fn go_on(pid: u32) {
    signal(pid, "CONT");
}

pub fn terminate(pid: u32) {
    signal(pid, "TERM");
}

pub fn interrupt(pid: u32) {
    signal(pid, "INT");
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let arguments = ["-c".to_owned(), format!("kill -{name} {pid}")];
    let _ = Command::new("sh")
        .args(arguments)
        .stderr(Stdio::null())
        .status();
}

/// Whether a process runs: neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A plain GET; the whole response.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the pages are served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// A directory that goes away with the test.
pub struct Scratch(PathBuf);

/// A new one, whoever else asks for the same name.
pub fn scratch(name: &str) -> Scratch {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(format!("ringway-test-{name}-{pid}-{number}"));
    fs::create_dir_all(&path).expect("a directory");
    Scratch(path)
}

impl Scratch {
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("our directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
