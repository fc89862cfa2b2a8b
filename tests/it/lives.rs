//! How long a connection lives: peers that do not read, that vanish, that leave with answers under way, and workers that
//! stop or run out of descriptors.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::client::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES, CONTINUES_LAST, Client, REQUEST, TEXT, dial,
    expect_end, frame, noise, read_head,
};
use crate::common::process::limit_descriptors;
use crate::common::{PATIENCE, Server, on_both_tiers, terminate, until};

on_both_tiers!(
    a_client_that_never_reads_is_dropped_and_one_that_reads_slowly_is_not,
    answers_wait_for_a_client_that_pauses_after_its_close,
    a_draining_server_waits_for_a_client_that_pauses_before_it_reads,
    a_flood_of_empty_fragments_is_answered_and_so_is_everyone_else,
    the_kernel_probes_silent_clients_by_default,
    a_draining_worker_gives_its_listener_up,
    a_worker_without_descriptors_says_so_once_and_accepts_again_when_there_are_some,
);

/// Sends messages without reading until the server takes no more.
fn stuff(client: &mut Client) {
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let message = frame(BINARY, &noise(1, 100_000));
    while client.try_write(&message).is_ok() {}
}

fn a_client_that_never_reads_is_dropped_and_one_that_reads_slowly_is_not(io: &str) {
    let server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--interval=200ms",
        "--write-timeout=4s",
        // What the kernel holds for the slow one is little enough to be seen to move.
        "--sndbuf=64KiB",
        io,
    ]);
    let address = server.address();
    let [mut mute, mut slow] = [(); 2].map(|()| Client::connect(&address));
    stuff(&mut mute);
    stuff(&mut slow);
    let mut piece = vec![0; 100_000];
    // Once, the mute one stayed for ever.
    until("one of them is dropped", || {
        let mut stream = slow.stream();
        stream.read_exact(&mut piece).expect("it is still served");
        std::thread::sleep(Duration::from_millis(50));
        server.counter("clients") == [1]
    });
    assert_eq!(server.counter("drops"), [1]);
    drop(mute);
}

/// So many messages of 64 KiB are more than the sockets hold.
const MESSAGES: u64 = 100;

fn message(number: u64) -> Vec<u8> {
    noise(number, 64 << 10)
}

/// Has the server's answers queue up.
fn ask_for_many(client: &mut Client) {
    for number in 0..MESSAGES {
        client.send(BINARY, &message(number));
    }
}

fn answers_wait_for_a_client_that_pauses_after_its_close(io: &str) {
    let server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--interval=200ms",
        "--send-queue=64MiB",
        io,
    ]);
    let mut client = Client::connect(&server.address());
    ask_for_many(&mut client);
    client.send(CLOSE, &[0x03, 0xe8]);
    // Once, everything that was queued was lost after a second.
    std::thread::sleep(Duration::from_millis(2500));
    for number in 0..MESSAGES {
        client.expect(BINARY, &message(number));
    }
    client.expect(CLOSE, &[0x03, 0xe8]);
    expect_end(&mut client.into_stream());
    until("it is gone", || server.counter("clients") == [0]);
    assert_eq!(server.counter("drops"), [0]);
}

fn a_draining_server_waits_for_a_client_that_pauses_before_it_reads(io: &str) {
    let mut server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--interval=50ms",
        "--send-queue=64MiB",
        "--close-timeout=300ms",
        "--drain-timeout=1m",
        io,
    ]);
    let mut client = Client::connect(&server.address());
    ask_for_many(&mut client);
    until("every message has arrived", || {
        server.counter("messages_in") == [MESSAGES]
    });
    server.signal("TERM");
    // Once, everything that was queued was lost after the close timeout.
    std::thread::sleep(Duration::from_millis(2500));
    for number in 0..MESSAGES {
        client.expect(BINARY, &message(number));
    }
    let close = client.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &[0x03, 0xe9][..])
    );
    client.send(CLOSE, &[0x03, 0xe9]);
    expect_end(&mut client.into_stream());
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

fn a_flood_of_empty_fragments_is_answered_and_so_is_everyone_else(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0", io]);
    let address = server.address();
    let (mut loud, mut quiet) = (Client::connect(&address), Client::connect(&address));
    let mut flood = frame(BINARY_BEGINS, b"first");
    for _ in 0..200_000 {
        flood.extend(frame(CONTINUES, b""));
    }
    flood.extend(frame(CONTINUES_LAST, b" and last"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                loud.write(&flood);
                loud.expect(BINARY, b"first and last");
            }
        });
        for _ in 0..100 {
            quiet.echo(TEXT, b"in between");
        }
    });
}

/// Which timer runs on the server's side of a connection, as /proc/net/tcp has it.
fn timer_of(server_port: u16, client_port: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let (local, remote) = (format!(":{server_port:04X}"), format!(":{client_port:04X}"));
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote);
        is_it.then(|| fields[5][..2].to_owned())
    })
}

/// A keep-alive timer is 02; a socket without one has 00.
fn the_kernel_probes_silent_clients_by_default(io: &str) {
    for (option, timer) in [("--nodelay=true", "02"), ("--keepalive=0", "00")] {
        let server = Server::start(&["--workers=1", "--port=0", option, io]);
        let mut client = Client::connect(&server.address());
        client.echo(TEXT, b"hello");
        let stream = client.stream();
        let ours = stream.local_addr().expect("bound").port();
        let theirs = stream.peer_addr().expect("connected").port();
        until("the timer is the right one", || {
            timer_of(theirs, ours).as_deref() == Some(timer)
        });
    }
}

/// What the worker finds its listener at.
const INHERITED: i32 = 20;

/// A worker without a supervisor, on a listener of the test.
struct Lone {
    child: Child,
    address: String,
    listener: Option<TcpListener>,
    stderr: PathBuf,
}

impl Lone {
    fn start(name: &str, io: &str, files: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = format!("ws://{}", listener.local_addr().expect("bound"));
        let name = format!("ringway-test-{name}{io}-{}", std::process::id());
        let stderr = std::env::temp_dir().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
        command
            .args([
                &format!("--fd={INHERITED}"),
                "--silence",
                "--workers=1",
                "--drain-timeout=20s",
                "--close-timeout=20s",
                io,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a temporary file"));
        let fd = listener.as_raw_fd();
        let inherit = move || {
            // SAFETY: takes integers only; the child has no other use for that number.
            match unsafe { libc::dup2(fd, INHERITED) } {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: the closure makes one plain system call, which is allowed between fork and exec.
        unsafe { command.pre_exec(inherit) };
        limit_descriptors(&mut command, files);
        Self {
            child: command.spawn().expect("the program is built"),
            address,
            listener: Some(listener),
            stderr,
        }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("it was made")
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.stderr);
    }
}

/// Once, who connected to a server that was stopping got no answer until it had stopped.
fn a_draining_worker_gives_its_listener_up(io: &str) {
    let mut lone = Lone::start("drain", io, 1000);
    let mut client = Client::connect(&lone.address);
    client.echo(TEXT, b"hello");
    lone.listener = None;
    terminate(lone.child.id());
    assert_eq!(client.recv().first, CLOSE);
    until("a connect is refused", || {
        dial(&lone.address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(lone.child.try_wait().expect("a child").is_none());
    client.send(CLOSE, &[0x03, 0xe9]);
    expect_end(&mut client.into_stream());
    assert_eq!(lone.child.wait().expect("a child").code(), Some(0));
}

fn a_worker_without_descriptors_says_so_once_and_accepts_again_when_there_are_some(io: &str) {
    let lone = Lone::start("files", io, 30);
    let mut clients = Vec::new();
    let mut waiting = loop {
        let mut stream = dial(&lone.address).expect("the queue has room");
        stream.write_all(REQUEST.as_bytes()).expect("connected");
        let look = Some(Duration::from_secs(2));
        stream.set_read_timeout(look).expect("a timeout");
        // Not taken: either there is no descriptor, or the machine is very busy, which the log tells.
        let taken = stream.peek(&mut [0]).is_ok();
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        if !taken && lone.stderr().contains("cannot accept") {
            break stream;
        }
        clients.push(Client::opened(stream).expect("it opens"));
    };
    assert!(clients.len() > 3, "{} clients", clients.len());
    // Some more attempts, about which nothing is said.
    std::thread::sleep(Duration::from_millis(500));
    let told = lone.stderr();
    assert_eq!(told.matches("cannot accept").count(), 1, "{told}");
    assert!(told.contains("--max-connections"), "{told}");
    clients.pop().expect("some").close();
    let (head, _) = read_head(&mut waiting).expect("it is taken");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}
