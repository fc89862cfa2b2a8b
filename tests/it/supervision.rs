//! What may not end or hold up a server that runs: a worker that dies, a start that fails, output that nobody reads, visitors
//! of the web pages, a shortage that passes.

use std::io::{ErrorKind, PipeReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::client::{CLOSE, Client, REQUEST, TEXT, dial, expect_end};
use crate::common::process::{
    fill, limit_descriptors, limit_descriptors_of, nofile_hard, output_into,
};
use crate::common::seccomp::RingSetup;
use crate::common::{
    PATIENCE, Scratch, Server, get, is_alive, kill, on_both_tiers, scratch, stop, until,
};

on_both_tiers!(
    visitors_that_say_nothing_keep_no_worker_from_being_replaced,
    a_supervisor_without_descriptors_keeps_what_runs_and_fills_the_seat_when_there_are_some,
    output_that_nobody_reads_holds_nothing_up,
    a_debug_log_that_nobody_reads_holds_no_connection_up,
    a_stopping_server_refuses_connects_at_once,
    workers_without_a_supervisor_free_the_port_and_close_their_clients_in_order,
    a_worker_holds_as_many_connections_as_was_said,
    garbage_in_the_pipe_of_a_worker_costs_its_figures_only,
);

/// Sockets of a worker without clients: the listener, and what leads to its supervisor.
const IDLE_SOCKETS_MAX: usize = 2;

/// Clients of a server with two workers, and what each worker holds of them.
struct Crowd {
    clients: Vec<Client>,
    workers: [u32; 2],
    /// Sockets of a worker without clients.
    idle: usize,
}

impl Crowd {
    fn connect(server: &Server, address: &str) -> Self {
        let workers: [u32; 2] = server.workers().try_into().expect("two workers");
        let clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
        let sockets = || workers.map(|pid| server.sockets_of(pid).len());
        // Those of earlier clients go with them.
        let mut least = usize::MAX;
        until("each client is held by somebody", || {
            let sum: usize = sockets().iter().sum();
            least = sum - clients.len();
            least.is_multiple_of(2) && least <= 2 * IDLE_SOCKETS_MAX
        });
        Self {
            clients,
            workers,
            idle: least / 2,
        }
    }

    /// Kills one worker. Exactly the other one's clients are still served.
    fn lose_one(&mut self, server: &Server) {
        let healthy = server.sockets_of(self.workers[0]).len() - self.idle;
        assert!(healthy > 0, "both hold some");
        kill(self.workers[1]);
        self.clients.retain_mut(|client| {
            let sent = client.try_write(&crate::common::client::frame(TEXT, b"still there?"));
            sent.is_ok()
                && client
                    .try_recv()
                    .is_ok_and(|echo| echo.payload == b"still there?")
        });
        assert_eq!(self.clients.len(), healthy);
    }

    fn echo(&mut self) {
        for client in &mut self.clients {
            client.echo(TEXT, b"served on");
        }
    }

    /// Waits until another worker sits on the lost one's seat and serves; the healthy one's clients are served meanwhile.
    fn await_replacement(&mut self, server: &mut Server, address: &str) {
        until("a new worker serves", || {
            self.echo();
            assert!(!server.has_ended(), "{}", server.stderr());
            let workers = server.workers();
            assert!(workers.contains(&self.workers[0]));
            self.clients.push(Client::connect(address));
            // It has its name before it has a client; until it is a program of its own it has its parent's sockets.
            let new = workers
                .into_iter()
                .find(|pid| !self.workers.contains(pid) && is_named(*pid));
            new.is_some_and(|new| server.sockets_of(new).len() > self.idle)
        });
        self.echo();
    }
}

/// Whether a process has the name of a worker.
fn is_named(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.starts_with("ringway-w"))
}

/// A connection to the pages on which the first bytes of a request stand.
fn visitor(web: &str, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(web).expect("the accept queue has room");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes.as_bytes()).expect("connected");
    stream
}

fn visitors_that_say_nothing_keep_no_worker_from_being_replaced(io: &str) {
    let options = ["--workers=2", "--port=auto", "--wsuri=ws://0.0.0.0:0", io];
    let mut server = Server::start_with(&options, |command| limit_descriptors(command, 40));
    // Whoever reaches the WebSockets does not reach the pages.
    let web = server.web();
    assert!(web.starts_with("127.0.0.1:"), "{web}");
    let address = server.address().replace("0.0.0.0", "127.0.0.1");
    let mut crowd = Crowd::connect(&server, &address);
    let mut visitors: Vec<_> = (0..100)
        .map(|number| visitor(&web, ["", "GET / HT"][number % 2]))
        .collect();
    crowd.lose_one(&server);
    crowd.await_replacement(&mut server, &address);
    // The first two have had their time: one said nothing, one half a line.
    for visitor in &mut visitors[..2] {
        expect_end(visitor);
    }
    drop(visitors);
    assert!(get(&web, "/metrics").starts_with("HTTP/1.1 200 "));
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

fn a_supervisor_without_descriptors_keeps_what_runs_and_fills_the_seat_when_there_are_some(
    io: &str,
) {
    let mut server = Server::start(&["--workers=2", "--port=0", io]);
    let address = server.address();
    let mut crowd = Crowd::connect(&server, &address);
    limit_descriptors_of(server.pid(), 3);
    crowd.lose_one(&server);
    until("the shortage is told", || {
        crowd.echo();
        server
            .stderr()
            .contains("no descriptor is left; raise the limit of open files (ulimit -n)")
    });
    // More attempts than a dying seat has, and none of them counts.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        crowd.echo();
        assert!(!server.has_ended(), "{}", server.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        server.stderr().matches("no descriptor is left").count(),
        1,
        "said once"
    );
    limit_descriptors_of(server.pid(), 1000);
    crowd.await_replacement(&mut server, &address);
    until("the end of it is told", || {
        server.stderr().contains(" failed starts")
    });
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

#[test]
fn a_replacement_without_a_ring_serves_on_epoll_where_it_may() {
    let ring = RingSetup::default();
    let options = ["--workers=2", "--port=auto", "--io=auto"];
    let mut server = Server::start_with(&options, |command| ring.watch(command));
    assert!(server.ready.contains("io=uring,"), "{}", server.ready);
    let address = server.address();
    let mut crowd = Crowd::connect(&server, &address);
    ring.fail_with(libc::ENOMEM);
    crowd.lose_one(&server);
    crowd.await_replacement(&mut server, &address);
    until("what it runs on is told", || {
        server
            .stderr()
            .contains("io_uring cannot be used, so epoll is: io_uring_setup: ")
    });
    assert!(server.stderr().contains("ENOMEM"), "{}", server.stderr());
    until("the figures of it have come", || {
        let stats = server.stats();
        let workers = stats["workers"].as_array().expect("two");
        let runs_on = |tier| workers.iter().any(|worker| worker["io"] == tier);
        runs_on("epoll") && runs_on("uring")
    });
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

#[test]
fn a_replacement_without_a_ring_is_tried_again_where_the_ring_was_asked_for() {
    let ring = RingSetup::default();
    let options = ["--workers=2", "--port=0", "--io=uring"];
    let mut server = Server::start_with(&options, |command| ring.watch(command));
    let address = server.address();
    let mut crowd = Crowd::connect(&server, &address);
    let before = ring.calls();
    ring.fail_with(libc::ENOMEM);
    crowd.lose_one(&server);
    until("more attempts failed than a dying seat has", || {
        crowd.echo();
        assert!(!server.has_ended(), "{}", server.stderr());
        ring.calls() >= before + 6
    });
    let told = server.stderr();
    assert!(told.contains("it is tried again until it serves"), "{told}");
    ring.fail_with(0);
    crowd.await_replacement(&mut server, &address);
    until("the end of it is told", || {
        server.stderr().contains(" failed starts")
    });
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

#[test]
fn a_worker_that_hangs_at_its_start_is_told_and_holds_nobody_up() {
    let directory = scratch("hangs");
    let (wsuri, address) = unix(&directory);
    let ring = RingSetup::default();
    ring.hold_next();
    let options = [
        "--workers=2",
        "--port=0",
        "--io=uring",
        "--drain-timeout=1s",
        &wsuri,
    ];
    let mut server = Server::start_unread_with(&options, |command| ring.watch(command));
    until("one hangs", || ring.is_holding());
    let mut client = None;
    until("the other one serves", || {
        client = Client::try_connect(&address).ok();
        client.is_some()
    });
    let mut client = client.expect("it serves");
    until("the start that hangs is told", || {
        client.echo(TEXT, b"served");
        server.stderr().contains("not ready after 10 s: worker ")
    });
    assert_eq!(server.workers().len(), 2);
    ring.release();
    until("it serves", || {
        server.stderr().contains("note: started on ")
    });
    // A replacement is no worse off.
    drop(client);
    let mut crowd = Crowd::connect(&server, &address);
    ring.hold_next();
    crowd.lose_one(&server);
    until("one hangs", || ring.is_holding());
    until("the replacement that hangs is told", || {
        crowd.echo();
        server
            .stderr()
            .matches("not ready after 10 s: worker ")
            .count()
            == 2
    });
    // Nor does it hold up the end.
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

/// A Unix socket whose place is known before the server runs: the option, and the address for clients.
fn unix(directory: &Scratch) -> (String, String) {
    let path = directory.path("echo.sock");
    (format!("--wsuri=ws+unix:{path}"), format!("ws+unix:{path}"))
}

/// Reads a pipe as it fills, from now on.
fn read_on(mut pipe: PipeReader) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let theirs = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut piece) {
            let piece = String::from_utf8_lossy(&piece[..len]);
            theirs.lock().expect("unpoisoned").push_str(&piece);
        }
    });
    text
}

fn contains(text: &Mutex<String>, what: &str) -> bool {
    text.lock().expect("unpoisoned").contains(what)
}

/// Stdout and stderr in one pipe that is full, as behind a pager or after Ctrl-S.
fn output_that_nobody_reads_holds_nothing_up(io: &str) {
    let directory = scratch(&format!("unread{io}"));
    let (wsuri, address) = unix(&directory);
    let options = [
        "--workers=2",
        "--port=auto",
        "--interval=10ms",
        "--drain-timeout=2s",
        "--close-timeout=1s",
        io,
        &wsuri,
    ];
    for is_read_later in [true, false] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        fill(&writer);
        let mut server =
            Server::start_unread_with(&options, |command| output_into(command, &writer));
        drop(writer);
        until("it serves", || Client::try_connect(&address).is_ok());
        until("both serve", || server.workers().len() == 2);
        let mut crowd = Crowd::connect(&server, &address);
        crowd.lose_one(&server);
        crowd.await_replacement(&mut server, &address);
        if is_read_later {
            // Far more than is kept for a reader: a block of statistics each ten milliseconds.
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(6) {
                crowd.echo();
                std::thread::sleep(Duration::from_millis(20));
            }
            let text = read_on(reader);
            until("what was dropped is counted and told", || {
                contains(
                    &text,
                    " blocks of statistics were dropped: nobody read them",
                )
            });
            assert!(
                contains(&text, "; a new one starts in 100 ms"),
                "lines that were kept come"
            );
            server.signal("TERM");
            assert_eq!(server.wait(), Some(0));
            until("the last line comes", || {
                contains(&text, "stopped by SIGTERM after a drain of")
            });
        } else {
            let began = Instant::now();
            server.signal("TERM");
            assert_eq!(server.wait(), Some(0));
            // Two seconds for the clients, who do not answer, and half a second for the last lines.
            assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
            drop(reader);
        }
    }
}

fn a_debug_log_that_nobody_reads_holds_no_connection_up(io: &str) {
    let directory = scratch(&format!("debug{io}"));
    let (wsuri, address) = unix(&directory);
    let options = [
        "--workers=1",
        "--port=0",
        "--debug",
        "--silence",
        "--drain-timeout=2s",
        io,
        &wsuri,
    ];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let mut server = Server::start_unread_with(&options, |command| output_into(command, &writer));
    drop(writer);
    let mut client = None;
    until("it serves", || {
        client = Client::try_connect(&address).ok();
        client.is_some()
    });
    let mut client = client.expect("it serves");
    // A line for each of these, and together far more than is kept for a reader.
    for _ in 0..6000 {
        let mut stranger = dial(&address).expect("it listens");
        let _ = stranger.write_all(b"BREW /pot HTCPCP/1.0\r\n\r\n");
        let mut answer = [0; 12];
        stranger.read_exact(&mut answer).expect("an answer");
        client.echo(TEXT, b"not held up");
    }
    let text = read_on(reader);
    until("what was dropped is counted and told", || {
        client.echo(TEXT, b"served on");
        contains(&text, " lines of this log were dropped: nobody read them")
    });
    client.close();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

fn a_stopping_server_refuses_connects_at_once(io: &str) {
    let directory = scratch(&format!("refuses{io}"));
    let (wsuri, _) = unix(&directory);
    for more in [&[][..], &["--reuseport"], &[&wsuri[..]]] {
        let mut options = vec![
            "--workers=2",
            "--port=0",
            "--drain-timeout=1m",
            "--close-timeout=1m",
            io,
        ];
        options.extend(more);
        let mut server = Server::start(&options);
        let address = server.address();
        let mut mute = Client::connect(&address);
        server.signal("TERM");
        assert_eq!(mute.recv().first, CLOSE);
        // It has begun to drain, and the listener went first.
        let refused = dial(&address).expect_err("nobody listens").kind();
        assert!(
            matches!(refused, ErrorKind::ConnectionRefused | ErrorKind::NotFound),
            "{refused} {more:?}"
        );
        assert!(!server.has_ended(), "it still drains");
        if !address.starts_with("ws+unix") {
            TcpListener::bind(address.trim_start_matches("ws://")).expect("the port is free");
        }
        mute.send(CLOSE, &[0x03, 0xe9]);
        expect_end(&mut mute.into_stream());
        assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    }
}

fn workers_without_a_supervisor_free_the_port_and_close_their_clients_in_order(io: &str) {
    let mut server = Server::start(&[
        "--workers=2",
        "--port=auto",
        "--interval=50ms",
        "--drain-timeout=1m",
        "--close-timeout=1m",
        io,
    ]);
    let address = server.address();
    let workers = server.workers();
    let mut crowd = Crowd::connect(&server, &address);
    for client in &mut crowd.clients {
        for number in 0..10 {
            client.send(TEXT, format!("accepted {number}").as_bytes());
        }
    }
    let messages = 10 * crowd.clients.len() as u64;
    server.counter_reaching("messages_in", messages);
    // One of them cannot act, and does not hold the port.
    stop(workers[1]);
    server.signal("KILL");
    assert_eq!(server.wait(), None);
    until("the port is free", || {
        TcpListener::bind(address.trim_start_matches("ws://")).is_ok()
    });
    assert!(is_alive(workers[0]), "it drains");
    crate::common::go_on(workers[1]);
    for mut client in crowd.clients {
        for number in 0..10 {
            client.expect(TEXT, format!("accepted {number}").as_bytes());
        }
        let close = client.recv();
        assert_eq!(
            (close.first, &close.payload[..2]),
            (CLOSE, &[0x03, 0xe9][..])
        );
        client.send(CLOSE, &[0x03, 0xe9]);
        expect_end(&mut client.into_stream());
    }
    until("the workers leave", || {
        !workers.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn too_few_descriptors_are_a_sentence_and_exit_code_three_and_never_a_panic() {
    let mut started = 0;
    let mut refused = 0;
    for files in [
        8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 28, 30, 31, 32, 33, 34, 36, 37, 38, 40, 50,
    ] {
        for workers in ["--workers=1", "--workers=4"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
            command.args([
                workers,
                "--wsuri=ws://127.0.0.1:0",
                "--port=auto",
                "--drain-timeout=1s",
            ]);
            limit_descriptors(&mut command, files);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().expect("it is built");
            let mut first = [0; 20];
            // The ready line, or the end.
            let is_ready = child
                .stdout
                .as_mut()
                .expect("piped")
                .read_exact(&mut first)
                .is_ok();
            if is_ready {
                started += 1;
                crate::common::terminate(child.id());
            }
            let output = child.wait_with_output().expect("a child");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{files} {workers}: {said}");
            if is_ready {
                assert_eq!(output.status.code(), Some(0), "{files} {workers}: {said}");
                continue;
            }
            refused += 1;
            assert_eq!(output.status.code(), Some(3), "{files} {workers}: {said}");
            assert!(
                said.contains("ulimit") || said.contains("LimitNOFILE"),
                "{files} {workers}: {said}"
            );
        }
    }
    assert!(started > 4 && refused > 4, "{started} {refused}");
}

fn a_worker_holds_as_many_connections_as_was_said(io: &str) {
    for more in ["--reuseport=false", "--reuseport=true"] {
        let options = ["--workers=1", "--port=auto", "--interval=100ms", io, more];
        let server = Server::start_with(&options, |command| limit_descriptors(command, 64));
        let told = server.stderr();
        let (_, number) = told
            .split_once("each worker can hold ")
            .expect("it is told");
        let number = number.split(' ').next().expect("a number");
        let most: usize = number.parse().expect("a number");
        let address = server.address();
        let mut clients: Vec<_> = (0..most).map(|_| Client::connect(&address)).collect();
        let mut beyond = dial(&address).expect("the accept queue has room");
        beyond.write_all(REQUEST.as_bytes()).expect("connected");
        until("it has no descriptor left", || {
            server.counter("accept_backoffs")[0] > 0
        });
        for client in &mut clients {
            client.echo(TEXT, b"held");
        }
        clients.pop().expect("some").close();
        let mut last = Client::opened(beyond).expect("taken when there is room");
        last.echo(TEXT, b"held");
    }
}

#[test]
fn a_default_start_says_one_line_and_a_stop_another() {
    let mut server = Server::start(&["--workers=1", "--port=0"]);
    until("the start is told", || {
        server.stderr().contains("started on")
    });
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let told = server.stderr();
    // A limit of open files that is low is worth a word, and this machine may have one.
    let is_ours = |line: &&str| nofile_hard() >= 65_536 || !line.contains("each worker can hold");
    let lines: Vec<_> = told.lines().filter(is_ours).collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(
        lines[0].starts_with("ringway: note: started on ws://127.0.0.1:"),
        "{told}"
    );
    assert!(
        lines[1].starts_with("ringway: note: stopped by SIGTERM after a drain of "),
        "{told}"
    );
    // Who asks for more than the kernel gives is told.
    let server = Server::start(&["--workers=1", "--port=0", "--backlog=2000000000"]);
    assert_eq!(
        server
            .stderr()
            .matches("net.core.somaxconn clips it")
            .count(),
        1
    );
}

fn garbage_in_the_pipe_of_a_worker_costs_its_figures_only(io: &str) {
    let mut server = Server::start(&["--workers=2", "--port=auto", "--interval=50ms", io]);
    let address = server.address();
    let mut crowd = Crowd::connect(&server, &address);
    let worker = crowd.workers[1];
    let environment = std::fs::read(format!("/proc/{worker}/environ")).expect("it runs");
    let environment = String::from_utf8(environment).expect("text");
    let (_, seat) = environment.split_once("stats=").expect("its seat");
    let fd: u32 = seat
        .split([',', '\0'])
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    let mut pipe = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{worker}/fd/{fd}"))
        .expect("its pipe");
    for _ in 0..20 {
        pipe.write_all(&crate::common::client::noise(3, 5000))
            .expect("it is read");
        crowd.echo();
    }
    drop(pipe);
    until("it is told", || {
        server
            .stderr()
            .contains("it serves on, its figures are lost")
    });
    crowd.echo();
    assert!(server.workers().contains(&worker), "nobody was replaced");
    crowd.lose_one(&server);
    crowd.await_replacement(&mut server, &address);
    server.signal("TERM");
    drop(crowd);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
}

/// One asks and never takes the answers, one asks for a byte now and then.
#[test]
fn visitors_that_read_slowly_are_cut_off() {
    let server = Server::start(&["--workers=1", "--port=auto"]);
    let web = server.web();
    let sockets = || server.sockets_of(server.pid()).len();
    let without = sockets();
    let request = format!("GET / HTTP/1.1\r\nHost: {web}\r\n\r\n");
    let mut greedy = visitor(&web, "");
    let small = socket2::SockRef::from(&greedy).set_recv_buffer_size(4096);
    small.expect("a socket");
    greedy
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    while greedy.write_all(request.repeat(100).as_bytes()).is_ok() {}
    let mut dripping = visitor(&web, "GET / HTTP/1.1\r\nX: ");
    until("both are held", || sockets() == without + 2);
    std::thread::spawn(move || {
        while dripping.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let began = Instant::now();
    while sockets() > without {
        assert!(began.elapsed() < 3 * PATIENCE, "they are still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(get(&web, "/stats.json").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_socket_file_that_somebody_else_put_there_since_is_left_alone() {
    let directory = scratch("replaced");
    let (wsuri, address) = unix(&directory);
    let path = address.trim_start_matches("ws+unix:");
    let mut server = Server::start(&["--workers=1", "--port=0", &wsuri]);
    std::fs::remove_file(path).expect("it is there");
    let theirs = UnixListener::bind(path).expect("the path is free");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    dial(&address).expect("theirs is still there");
    drop(theirs);
}
