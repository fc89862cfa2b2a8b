//! Programs that are wrapped: their port is moved, and the gateway stands where they believe to listen (`docs/wrap.md`).

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::common::client::{BINARY, CLOSE, Client};
use crate::common::{
    Scratch, Server, free_port, interrupt, is_alive, kill, on_both_tiers, run, scratch, terminate,
    until,
};

on_both_tiers!(a_program_is_reached_through_the_gateway_only);

/// An echo on the port of its first argument. The second one says where: `v4`, `v6` (IPv6 only), `dual` (one socket for both),
/// `loopback`, or several with commas between them; the third one is the file that gets its pid and its addresses, or the error.
const ECHO: &str = r#"
import os, selectors, socket, sys
port, said = int(sys.argv[1]), sys.argv[3]
wait, lines = selectors.DefaultSelector(), [str(os.getpid())]
for how in sys.argv[2].split(","):
    family = socket.AF_INET if how in ("v4", "loopback") else socket.AF_INET6
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, how == "v6")
    host = {"v4": "0.0.0.0", "loopback": "127.0.0.1"}.get(how, "::")
    try:
        listener.bind((host, port))
        listener.listen()
        lines.append(listener.getsockname()[0])
    except OSError as error:
        lines.append(f"{how}: {error}")
        continue
    wait.register(listener, selectors.EVENT_READ, True)
with open(said + ".new", "w") as file:
    file.write("\n".join(lines))
os.rename(said + ".new", said)
while True:
    for key, _ in wait.select():
        if key.data:
            wait.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
        else:
            piece = key.fileobj.recv(65536)
            if piece:
                key.fileobj.sendall(piece)
            else:
                wait.unregister(key.fileobj)
                key.fileobj.close()
"#;

/// A gateway on a free port of `host`, and the words of the program behind it, in which `PORT` is that port.
fn wrap(host: &str, options: &[&str], program: &[&str]) -> (Server, u16) {
    let port = free_port();
    let (listen, number) = (format!("{host}:{port}"), port.to_string());
    let mut arguments = vec!["gateway", &listen, "--port=0", "--workers=1"];
    arguments.extend(options);
    arguments.push("--");
    arguments.extend(program.iter().map(|word| match *word {
        "PORT" => &number,
        word => word,
    }));
    (Server::start_program("ringway", &arguments), port)
}

/// The same around the echo, and what it says.
fn wrap_echo(how: &str, options: &[&str], scratch: &Scratch) -> (Server, u16, Vec<String>) {
    let said = scratch.path("said");
    let program = ["python3", "-c", ECHO, "PORT", how, &said];
    let (server, port) = wrap("127.0.0.1", options, &program);
    let lines = read_when_there(&said);
    (server, port, lines)
}

fn read_when_there(path: &str) -> Vec<String> {
    until("the program has said something", || {
        fs::exists(path).unwrap_or(false)
    });
    let text = fs::read_to_string(path).expect("it is there");
    text.lines().map(str::to_owned).collect()
}

/// Addresses at which somebody listens on a port, as /proc/net writes them.
fn listeners(port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[1].ends_with(&wanted) && fields[3] == "0A" {
                found.push(fields[1].to_owned());
            }
        }
    }
    found
}

fn a_program_is_reached_through_the_gateway_only(io: &str) {
    for (how, bound) in [
        ("v4", &["127.0.0.1"][..]),
        ("loopback", &["127.0.0.1"]),
        ("v6", &["::1"]),
        ("dual", &["::ffff:127.0.0.1"]),
        ("v4,v6", &["127.0.0.1", "::1"]),
    ] {
        let scratch = scratch("wrap");
        let said = scratch.path("said");
        let program = ["python3", "-c", ECHO, "PORT", how, &said];
        let (server, port) = wrap("127.0.0.1", &["--wrap-mode=ignore", io], &program);
        // It may not listen yet: a session waits.
        let mut client = Client::connect(&server.address());
        client.echo(BINARY, b"abc");
        let lines = read_when_there(&said);
        assert_eq!(lines[1..], *bound, "{how}");
        // 127.0.0.1, and nobody else.
        assert_eq!(listeners(port), [format!("0100007F:{port:04X}")], "{how}");
        let dial = |host: &str| TcpStream::connect((host, port)).is_ok();
        assert!(!dial("::1") && !dial("127.0.0.2"), "{how}");
    }
}

/// As one that is linked statically: the library is not loaded.
#[test]
fn a_program_that_cannot_be_moved_finds_its_port_taken() {
    for host in ["127.0.0.1", "0.0.0.0", "[::1]"] {
        let scratch = scratch("wrap-static");
        let said = scratch.path("said");
        let (server, port) = wrap(
            host,
            &["--wrap-mode=ignore"],
            &[
                "env",
                "-u",
                "LD_PRELOAD",
                "python3",
                "-c",
                ECHO,
                "PORT",
                "v4,v6,dual",
                &said,
            ],
        );
        let lines = read_when_there(&said);
        assert_eq!(lines.len(), 4, "{lines:?}");
        for line in &lines[1..] {
            assert!(line.contains("Address already in use"), "{host}: {line}");
        }
        assert_eq!(listeners(port).len(), 1, "{host}");
        drop(server);
    }
}

#[test]
fn the_gateway_ends_with_the_program_and_its_status() {
    for (script, code) in [
        ("exit 7", 7),
        ("exit 0", 0),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        // That it is `exit` need not be said.
        let (mut server, _) = wrap("127.0.0.1", &[], &["sh", "-c", script]);
        assert_eq!(server.wait(), Some(code), "{script}: {}", server.stderr());
        assert!(
            server.stderr().contains("the end of sh"),
            "{}",
            server.stderr()
        );
    }
    // Sessions that are open are drained first.
    let scratch = scratch("wrap-exit");
    let (mut server, _, lines) = wrap_echo("v4", &["--drain-timeout=30s"], &scratch);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"abc");
    kill(lines[0].parse().expect("a pid"));
    assert_eq!(client.recv().first, CLOSE);
    drop(client);
    assert_eq!(server.wait(), Some(137), "{}", server.stderr());
}

#[test]
fn a_program_that_goes_to_the_background_is_served_and_stays() {
    let scratch = scratch("wrap-daemon");
    let said = scratch.path("said");
    let script = "setsid python3 -c \"$0\" \"$@\" > /dev/null 2>&1 & exit 3";
    let program = ["sh", "-c", script, ECHO, "PORT", "dual", &said];
    let (mut server, _) = wrap("127.0.0.1", &["--wrap-mode=ignore"], &program);
    let pid: u32 = read_when_there(&said)[0].parse().expect("a pid");
    until("the first process has ended", || {
        server
            .stderr()
            .contains("exit status: 3; the gateway goes on")
    });
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"abc");
    client.close();
    terminate(server.pid());
    assert_eq!(server.wait(), Some(0));
    assert!(is_alive(pid));
    kill(pid);
}

#[test]
fn a_program_that_ends_at_once_is_started_again_and_again() {
    let scratch = scratch("wrap-respawn");
    let starts = scratch.path("starts");
    let script = "echo x >> \"$0\"; exit 1";
    let (mut server, _) = wrap(
        "127.0.0.1",
        &["--wrap-mode=respawn"],
        &["sh", "-c", script, &starts],
    );
    let count = || {
        fs::read_to_string(&starts)
            .unwrap_or_default()
            .lines()
            .count()
    };
    until("it was started four times", || count() >= 4);
    let said = server.stderr();
    for delay in [100, 200, 400] {
        assert!(said.contains(&format!("again in {delay} ms")), "{said}");
    }
    assert!(!server.has_ended());
    terminate(server.pid());
    assert_eq!(server.wait(), Some(0));
    // The port is there for each of them.
    let said = scratch.path("said");
    let (server, _) = wrap(
        "127.0.0.1",
        &["--wrap-mode=respawn"],
        &["python3", "-c", ECHO, "PORT", "v4", &said],
    );
    let first = read_when_there(&said)[0].clone();
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"abc");
    fs::remove_file(&said).expect("it is there");
    kill(first.parse().expect("a pid"));
    let second = read_when_there(&said);
    assert_eq!((second[0] == first, &*second[1]), (false, "127.0.0.1"));
    Client::connect(&server.address()).echo(BINARY, b"abc");
}

#[test]
fn a_program_ends_with_the_gateway_step_by_step() {
    let scratch = scratch("wrap-signals");
    let heard = scratch.path("heard");
    // It leaves at SIGTERM only, and a child of it is in its group.
    let script = "trap 'echo INT >> \"$0\"' INT; trap 'echo TERM >> \"$0\"; exit' TERM; sleep 600 & echo $! > \"$0.pid\"; \
                  echo ready >> \"$0\"; while :; do sleep 0.05; done";
    let (mut server, _) = wrap("127.0.0.1", &[], &["sh", "-c", script, &heard]);
    until("it is ready", || fs::exists(&heard).unwrap_or(false));
    let child = read_when_there(&format!("{heard}.pid"))[0]
        .parse()
        .expect("a pid");
    assert!(is_alive(child));
    terminate(server.pid());
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    assert_eq!(read_when_there(&heard), ["ready", "INT", "TERM"]);
    assert!(!is_alive(child));
    // One that does not leave is killed at once by a second signal.
    let script = "trap '' INT TERM; echo > \"$0\"; while :; do sleep 0.05; done";
    let stubborn = scratch.path("stubborn");
    let (mut server, _) = wrap("127.0.0.1", &[], &["sh", "-c", script, &stubborn]);
    until("it is ready", || fs::exists(&stubborn).unwrap_or(false));
    terminate(server.pid());
    until("the sessions are over", || {
        server.stderr().contains("stopped by")
    });
    interrupt(server.pid());
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_was_loaded_before_is_kept_and_output_goes_to_stderr() {
    let scratch = scratch("wrap-preload");
    let (loaded, port) = (scratch.path("loaded"), free_port());
    let listen = format!("127.0.0.1:{port}");
    let script = "echo out; echo err >&2; echo $LD_PRELOAD > \"$0\"; echo $RINGWAY_WRAP_PORTS >> \"$0\"; ulimit -n >> \"$0\"";
    let limit = Command::new("sh")
        .args(["-c", "ulimit -n"])
        .output()
        .expect("a shell");
    let output = Command::new(crate::common::program("ringway"))
        .args([
            "gateway",
            &listen,
            "--port=0",
            "--workers=1",
            "--",
            "sh",
            "-c",
            script,
            &loaded,
        ])
        .env("LD_PRELOAD", "libnot-there.so")
        .output()
        .expect("it is built");
    let lines = read_when_there(&loaded);
    assert!(
        lines[0].ends_with(".so:libnot-there.so") && lines[0].contains("ringway-wrap-"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with(&format!("{port}:")), "{lines:?}");
    // Our own limit of descriptors is higher than what programs are used to.
    assert_eq!(lines[2], String::from_utf8_lossy(&limit.stdout).trim());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("out\n") && stderr.contains("err\n"),
        "{stderr}"
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with("ringway: listening on") && !stdout.contains("out\n"));
}

#[test]
fn a_program_that_never_listens_is_a_target_that_refuses() {
    let (server, _) = wrap("127.0.0.1", &[], &["sleep", "600"]);
    let mut client = Client::connect(&server.address());
    let close = client.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &1011_u16.to_be_bytes()[..])
    );
}

#[test]
fn a_worker_that_dies_leaves_the_program_alone() {
    let scratch = scratch("wrap-worker");
    let (server, _, lines) = wrap_echo("v4", &[], &scratch);
    let program: u32 = lines[0].parse().expect("a pid");
    let mut workers = server.workers().into_iter();
    let worker = workers.find(|pid| *pid != program).expect("a worker");
    kill(worker);
    until("another worker serves", || {
        let mut workers = server.workers().into_iter();
        workers.any(|pid| pid != program && pid != worker)
    });
    Client::connect(&server.address()).echo(BINARY, b"abc");
    assert!(is_alive(program));
}

#[test]
fn the_original_command_line_wraps_as_well() {
    let scratch = scratch("wrap-websockify");
    let (said, port) = (scratch.path("said"), free_port());
    let (listen, number) = (format!("127.0.0.1:{port}"), port.to_string());
    let program = [
        &listen, "--", "python3", "-c", ECHO, &number, "v4,v6", &said,
    ];
    let mut server = Server::start_program("websockify", &program);
    let mut client = Client::connect(&server.address());
    client.echo(BINARY, b"abc");
    client.close();
    let pid = read_when_there(&said)[0].parse().expect("a pid");
    interrupt(pid);
    // Python's answer to SIGINT.
    assert_eq!(server.wait(), Some(130), "{}", server.stderr());
    let respawning = [&listen, "--wrap-mode=ignore", "--", "sh", "-c", "exit 4"];
    let mut server = Server::start_program("websockify", &respawning);
    until("the program has ended", || {
        server.stderr().contains("the gateway goes on")
    });
    terminate(server.pid());
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_cannot_be_wrapped_is_refused() {
    let port = free_port().to_string();
    for (arguments, why) in [
        (&[&*port, "--", "/no/such/program"][..], "cannot be started"),
        (&["127.0.0.1:0", "--", "cat"], "one TCP port"),
        (&["unix:/tmp/no.sock", "--", "cat"], "one TCP port"),
        (&[&*port, "h:1", "--", "cat"], "leave TARGET off"),
        (&["inetd", "--", "cat"], "leave TARGET off"),
        (
            &[&*port, "--wrap-mode=exit", "--target=h:1", "--", "cat"],
            "leave TARGET off",
        ),
        (&[&*port, "--token-file=/t", "--", "cat"], "leave tokens"),
        (
            &["--wsuri=ws://127.0.0.1:1", "--wrap-mode=exit"],
            "needs a program",
        ),
        (&[&*port, "h:1", "--wrap-mode=exit"], "needs a program"),
        (&[&*port, "--wrap-mode=never", "--", "cat"], "exit"),
    ] {
        let mut all = vec!["gateway", "--port=0", "--workers=1"];
        all.extend(arguments);
        let output = run("ringway", &all);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(why),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}
