//! What each signal does to a server and to `wsperf serve`: an orderly end, or nothing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::client::{BINARY, CLOSE, Client, TEXT, expect_end, noise};
use crate::common::process::ignore_signal;
use crate::common::{
    PATIENCE, Server, is_alive, kill, on_both_tiers, scratch, signal, terminate, until,
};

on_both_tiers!(
    a_signal_to_all_processes_at_once_is_one_order_to_drain,
    signals_that_stop_close_every_client_in_order_and_take_the_socket_file_away,
    signals_without_a_meaning_end_neither_the_supervisor_nor_a_worker,
);

/// So many messages of 64 KiB are more than the sockets hold.
const MESSAGES: u64 = 100;

/// Answers a Close with 1001, which comes next.
fn expect_going_away(mut client: Client) {
    let close = client.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &[0x03, 0xe9][..])
    );
    client.send(CLOSE, &[0x03, 0xe9]);
    expect_end(&mut client.into_stream());
}

fn signals_that_stop_close_every_client_in_order_and_take_the_socket_file_away(io: &str) {
    let directory = scratch(&format!("signals{io}"));
    let path = directory.path("echo.sock");
    let wsuri = format!("--wsuri=ws+unix:{path}");
    for name in ["INT", "TERM", "QUIT", "PWR", "XCPU"] {
        // A shell starts its background jobs with SIGINT ignored; kill(1) means it all the same.
        let mut server = Server::start_with(
            &["--workers=2", "--port=0", "--drain-timeout=1m", io, &wsuri],
            |command| ignore_signal(command, libc::SIGINT),
        );
        let mut client = Client::connect(&server.address());
        client.echo(TEXT, b"hello");
        server.signal(name);
        expect_going_away(client);
        assert_eq!(server.wait(), Some(0), "{name}: {}", server.stderr());
        assert!(!std::path::Path::new(&path).exists(), "{name}");
        let told = server.stderr();
        assert!(
            told.contains(&format!("stopped by SIG{name} after a drain of ")),
            "{told}"
        );
    }
}

/// As systemd does: everything in the control group is told, and the supervisor tells its workers once more.
fn a_signal_to_all_processes_at_once_is_one_order_to_drain(io: &str) {
    let mut server = Server::start(&[
        "--workers=2",
        "--port=auto",
        "--interval=50ms",
        "--send-queue=64MiB",
        "--drain-timeout=1m",
        io,
    ]);
    let workers = server.workers();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&server.address())).collect();
    // More answers than the sockets hold, so that some are queued when the signals come.
    let message = noise(5, 64 << 10);
    for client in &mut clients {
        (0..MESSAGES).for_each(|_| client.send(BINARY, &message));
    }
    server.counter_reaching("messages_in", 8 * MESSAGES);
    for pid in workers.iter().chain([&server.pid()]) {
        terminate(*pid);
    }
    // Time enough for what came second.
    std::thread::sleep(Duration::from_millis(300));
    for mut client in clients {
        (0..MESSAGES).for_each(|_| client.expect(BINARY, &message));
        expect_going_away(client);
    }
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

/// A worker that is on its way when the server stops has nothing to complain of.
#[test]
fn a_server_that_is_stopped_while_a_worker_starts_ends_in_order_and_says_no_error() {
    let options = ["--workers=2", "--port=0"];
    for round in 0..20 {
        let mut server = Server::start(&options);
        kill(server.workers()[0]);
        until("the death is told", || {
            server.stderr().contains("a new one starts in 100 ms")
        });
        std::thread::sleep(Duration::from_millis(90 + round));
        server.signal("TERM");
        assert_eq!(server.wait(), Some(0), "{}", server.stderr());
        let told = server.stderr();
        assert!(
            !told.contains("error") && !told.contains("listening socket"),
            "{told}"
        );
    }
}

/// Who tells a worker itself twice means it.
#[test]
fn a_second_signal_to_a_worker_stops_it_hard() {
    let server = Server::start(&[
        "--workers=1",
        "--port=0",
        "--drain-timeout=1h",
        "--close-timeout=1h",
    ]);
    let worker = server.workers()[0];
    let mut mute = Client::connect(&server.address());
    terminate(worker);
    assert_eq!(mute.recv().first, CLOSE);
    assert!(is_alive(worker));
    terminate(worker);
    until("it leaves", || !is_alive(worker));
}

fn signals_without_a_meaning_end_neither_the_supervisor_nor_a_worker(io: &str) {
    let mut server = Server::start(&["--workers=2", "--port=0", io]);
    let workers = server.workers();
    let mut client = Client::connect(&server.address());
    let names = [
        "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "STKFLT", "XFSZ", "PIPE", "TTIN",
        "TTOU",
    ];
    for name in names {
        // Some shells do not know its name.
        let number = if name == "STKFLT" { "16" } else { name };
        for pid in workers.iter().chain([&server.pid()]) {
            signal(*pid, number);
        }
        client.echo(TEXT, name.as_bytes());
        if !["PIPE", "TTIN", "TTOU"].contains(&name) {
            let line = format!("SIG{name} is ignored: ");
            until(name, || server.stderr().contains(&line));
        }
    }
    client.echo(TEXT, b"after all of them");
    assert_eq!(server.workers(), workers);
    server.signal("TERM");
    expect_going_away(client);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

/// `ringway wsperf serve`, killed on drop.
struct Control {
    child: Child,
    /// Open, so that it may print.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Control {
    fn start(prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command
            .args(["wsperf", "serve", "--wsuri=ws://127.0.0.1:0", "--port=auto"])
            .stdin(Stdio::null());
        prepare(&mut command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is built");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a ready line");
        let (_, address) = line.split_once("ws://").expect("an address");
        let end = address.find([',', ' ', '\n']).expect("a line");
        let address = format!("ws://{}", address[..end].trim());
        Self {
            child,
            _stdout: lines,
            address,
        }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The exit code, and what it said on stderr.
    fn wait(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("a child").code();
        let mut told = String::new();
        let stderr = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut BufReader::new(stderr), &mut told).expect("text");
        (status, told)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the control WebSocket and takes its greeting.
fn commander(control: &Control) -> Client {
    let mut client = Client::connect(&control.address);
    assert_eq!(client.recv().first, TEXT);
    client
}

#[test]
fn a_control_server_ends_in_order_when_it_is_told_to_or_its_terminal_goes() {
    for name in ["INT", "TERM", "QUIT", "HUP"] {
        let control = Control::start(|_| {});
        let client = commander(&control);
        control.signal(name);
        expect_going_away(client);
        let (code, told) = control.wait();
        assert_eq!(code, Some(0), "{name}: {told}");
        assert!(
            told.contains(&format!("stopped by SIG{name}")),
            "{name}: {told}"
        );
    }
}

#[test]
fn a_control_server_that_was_to_outlive_its_terminal_does_and_minds_no_signal_without_a_meaning() {
    let control = Control::start(|command| ignore_signal(command, libc::SIGHUP));
    let mut client = commander(&control);
    for name in ["HUP", "USR1", "USR2", "ALRM", "PIPE"] {
        control.signal(name);
    }
    client.send(0x89, b"still there?");
    client.expect(0x8a, b"still there?");
    assert!(is_alive(control.child.id()));
    control.signal("TERM");
    expect_going_away(client);
    assert_eq!(control.wait().0, Some(0));
}
