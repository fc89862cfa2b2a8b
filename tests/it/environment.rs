//! Systems that refuse what a server would like to have: descriptors, io_uring, a reader of its statistics, its port.

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::client::{BINARY, Client, TEXT, noise};
use crate::common::process::{cpu_ticks, forbid_io_uring, limit_descriptors};
use crate::common::{Server, go_on, on_both_tiers, run, stop, until};

on_both_tiers!(
    with_more_clients_than_descriptors_the_rest_waits_in_the_backlog_and_is_served_later,
    a_worker_echoes_on_while_its_supervisor_is_stopped_and_figures_come_again,
);

fn with_more_clients_than_descriptors_the_rest_waits_in_the_backlog_and_is_served_later(io: &str) {
    let options = [
        "--workers=1",
        "--port=auto",
        "--interval=200ms",
        "--noaffinity",
        io,
    ];
    let server = Server::start_with(&options, |command| limit_descriptors(command, 64));
    assert!(
        server
            .stderr()
            .contains("the hard limit of open files is 64; raise it with: ulimit -Hn"),
        "{}",
        server.stderr()
    );
    let address = server.address();
    let worker = server.seats()[0];
    // Connected by the kernel, each of them; the opening handshake is for those that the worker accepts.
    let mut waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = crate::common::client::dial(&address).expect("the backlog is long");
            std::io::Write::write_all(&mut stream, crate::common::client::REQUEST.as_bytes())
                .expect("connected");
            stream
        })
        .collect();
    let served = server.counter_reaching("clients", 1)[0];
    until("the worker has no descriptor left", || {
        server.counter("accept_backoffs")[0] > 2
    });
    let open = server.counter("clients")[0];
    assert!((30..64).contains(&open), "{open} after {served}");

    // It waits instead of trying again and again.
    let (ticks, backoffs) = (cpu_ticks(worker), server.counter("accept_backoffs")[0]);
    std::thread::sleep(Duration::from_secs(2));
    let spent = cpu_ticks(worker) - ticks;
    assert!(spent <= 20, "{spent} of 200 ticks spent on waiting");
    let tried = server.counter("accept_backoffs")[0] - backoffs;
    assert!(tried <= 60, "{tried} tries in two seconds");
    until("it tries again", || {
        server.counter("accept_backoffs")[0] > backoffs
    });

    // Those that were first are served, and make room for the others in their turn.
    let mut served = 0;
    while !waiting.is_empty() {
        let mut client = Client::opened(waiting.remove(0)).expect("served in the end");
        client.echo(TEXT, b"at last");
        client.close();
        served += 1;
    }
    assert_eq!(served, 100);
    assert_eq!(server.counter_reaching("handshakes", 100), [100]);
}

fn a_worker_echoes_on_while_its_supervisor_is_stopped_and_figures_come_again(io: &str) {
    // A record is some hundred bytes and a pipe holds 64 KiB: at ten milliseconds it is full soon.
    let server = Server::start(&[
        "--workers=1",
        "--port=auto",
        "--interval=10ms",
        "--silence=false",
        io,
    ]);
    let mut client = Client::connect(&server.address());
    stop(server.pid());
    let payload = noise(7, 2000);
    let began = std::time::Instant::now();
    let mut echoes = 0_u64;
    while began.elapsed() < Duration::from_secs(4) {
        client.echo(BINARY, &payload);
        echoes += 1;
    }
    go_on(server.pid());
    server.counter_reaching("messages_in", echoes);
    until("records were dropped, and that is told", || {
        server.counter("records_dropped")[0] > 0
    });
    client.echo(BINARY, &payload);
    assert_eq!(
        server.counter_reaching("messages_in", echoes + 1),
        [echoes + 1]
    );
    println!("{io}: {echoes} echoes without a supervisor");
    assert!(
        !server.stderr().contains("out of step"),
        "{}",
        server.stderr()
    );
    client.close();
}

#[test]
fn where_io_uring_is_forbidden_or_missing_epoll_serves_and_the_reason_is_told() {
    for (errno, reason) in [
        (
            libc::EPERM,
            "EPERM: forbidden by sysctl kernel.io_uring_disabled or by a seccomp profile",
        ),
        (libc::ENOSYS, "ENOSYS: the kernel has no io_uring"),
    ] {
        let server = Server::start_with(&["--workers=2", "--port=0", "--io=auto"], |command| {
            forbid_io_uring(command, errno);
        });
        assert!(
            server.ready.contains(" 2 workers, io=epoll ("),
            "{}",
            server.ready
        );
        assert!(server.ready.contains(reason), "{}", server.ready);
        let warned = server.stderr();
        assert!(
            warned.contains("io_uring cannot be used, so epoll is"),
            "{warned}"
        );
        assert!(warned.contains(reason), "{warned}");
        let mut client = Client::connect(&server.address());
        client.echo(TEXT, b"served all the same");
        client.close();
    }
}

#[test]
fn io_uring_that_is_forced_and_impossible_is_exit_code_three_with_the_remedy() {
    for (errno, remedy) in [
        (
            libc::EPERM,
            "sysctl kernel.io_uring_disabled or by a seccomp profile",
        ),
        (libc::ENOSYS, "a seccomp profile hides it"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
        command.args([
            "--workers=2",
            "--port=0",
            "--wsuri=ws://127.0.0.1:0",
            "--io=uring",
        ]);
        forbid_io_uring(&mut command, errno);
        let output = command.stdin(Stdio::null()).output().expect("it is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(output.stdout.is_empty());
        assert!(
            said.contains("--io=uring is impossible here: io_uring_setup: "),
            "{said}"
        );
        assert!(said.contains(remedy), "{said}");
        assert!(said.contains("--io=auto"), "what to type instead: {said}");
    }
}

/// `--fd N` with something else behind the descriptor.
#[test]
fn a_descriptor_that_is_no_listener_is_exit_code_two_and_says_so() {
    let null = std::fs::File::open("/dev/null").expect("it is everywhere");
    let (pipe, _end) = std::io::pipe().expect("a pipe");
    let connected = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let connected = std::net::TcpStream::connect(connected.local_addr().expect("bound"));
    let connected = connected.expect("it listens");
    let unbound = std::net::UdpSocket::bind("127.0.0.1:0").expect("port 0 is free");
    for fd in [
        null.as_raw_fd(),
        pipe.as_raw_fd(),
        connected.as_raw_fd(),
        unbound.as_raw_fd(),
    ] {
        let output = run_as_worker(fd, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("--fd=99 is not a listening socket: "),
            "{said}"
        );
    }
    let output = run("server", &["--fd=77"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(
        output.stderr.contains("--fd=77 is not a listening socket"),
        "{}",
        output.stderr
    );
    assert_eq!(run("server", &["--fd=-1"]).code, 2);
    assert_eq!(run("server", &["--fd=stdin"]).code, 2);
}

/// Runs `server --fd 99` with `fd` as descriptor 99.
fn run_as_worker(fd: i32, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.arg("--fd=99").args(arguments).stdin(Stdio::null());
    let inherit = move || {
        // SAFETY: takes integers only; the copy is inherited because dup2 clears close-on-exec.
        match unsafe { libc::dup2(fd, 99) } {
            99 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one plain system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(inherit) };
    command.output().expect("it is built")
}

#[test]
fn no_workers_at_all_is_exit_code_two() {
    for zero in [
        "--workers=0",
        "--workers=-1",
        "--workers=",
        "--workers=none",
    ] {
        let output = run("server", &[zero, "--port=0", "--wsuri=ws://127.0.0.1:0"]);
        assert_eq!(output.code, 2, "{zero}: {}", output.stderr);
        assert!(
            output.stderr.contains("--workers"),
            "{zero}: {}",
            output.stderr
        );
    }
}

#[test]
fn an_address_that_is_not_ours_is_exit_code_three() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let output = run("server", &["--wsuri=ws://192.0.2.1:0", "--port=0"]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(
        output.stderr.contains("cannot listen on 192.0.2.1:0"),
        "{}",
        output.stderr
    );
    let output = run(
        "server",
        &["--wsuri=ws+unix:/no/such/directory/socket", "--port=0"],
    );
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(
        output.stderr.contains("/no/such/directory/socket"),
        "{}",
        output.stderr
    );
}
