//! Serial devices and programs as ends of streams: pseudo-terminals play the devices (`docs/terminals.md`, `docs/forward.md`).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::common::client::{BINARY, CLOSE, Client, REQUEST, exchange, noise, reset};
use crate::common::{PATIENCE, Server, is_alive, on_both_tiers, run, until};

on_both_tiers!(
    a_session_has_a_device_for_itself,
    a_device_that_is_not_read_stops_its_client_and_loses_nothing,
    a_forwarder_leads_to_programs_and_devices,
);

/// A device, and what is at the other end of its line.
fn device() -> (String, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let other: OwnedFd = openpt(flags).expect("a terminal");
    grantpt(&other).expect("it may");
    unlockpt(&other).expect("it may");
    let name = ptsname(&other, Vec::new()).expect("a name");
    (name.into_string().expect("ASCII"), other.into())
}

fn gateway(io: &str, target: &str) -> Server {
    Server::start_gateway(target, &[io, "--workers=2"])
}

fn a_session_has_a_device_for_itself(io: &str) {
    let (name, mut line) = device();
    let server = gateway(io, &format!("serial:{name}:9600:8N1"));
    let mut client = Client::connect(&server.address());
    client.send(BINARY, b"AT\r\n\x03\x11");
    let mut came = [0; 6];
    line.read_exact(&mut came).expect("it is open");
    assert_eq!(&came, b"AT\r\n\x03\x11", "nothing is changed on the way");
    line.write_all(b"OK\n\xff").expect("it is open");
    client.expect(BINARY, b"OK\n\xff");
    let modes = tcgetattr(&line).expect("a terminal");
    assert_eq!(modes.output_speed(), 9600);
    assert!(!modes.local_modes.contains(LocalModes::ECHO));
    // Whichever worker gets the second one.
    for _ in 0..8 {
        let refused = exchange(&server.address(), REQUEST.as_bytes());
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("has a session already"), "{refused}");
    }
    client.close();
    until("it is free again", || {
        Client::try_connect(&server.address()).is_ok()
    });
    let mut client = loop {
        if let Ok(client) = Client::try_connect(&server.address()) {
            break client;
        }
    };
    drop(line);
    let frame = client.recv();
    assert_eq!(frame.first, CLOSE);
    assert_eq!(frame.payload, b"\x03\xf3the serial device is gone");
    let gone = gateway(io, &format!("serial:{name}x:9600"));
    let refused = exchange(&gone.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
}

fn a_device_that_is_not_read_stops_its_client_and_loses_nothing(io: &str) {
    const LEN: usize = 20_000_000;
    let (name, mut line) = device();
    let server = gateway(io, &format!("serial:{name}:115200"));
    let mut client = Client::connect(&server.address());
    let sent = noise(3, LEN);
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        for piece in sent.chunks(60_000) {
            client.send(BINARY, piece);
        }
        client
    });
    let taken = || -> u64 { server.counter("message_bytes_in").iter().sum() };
    let mut last = taken();
    until("it stands still", || {
        thread::sleep(std::time::Duration::from_millis(300));
        let before = std::mem::replace(&mut last, taken());
        before == last && last > 0
    });
    assert!(
        last < LEN as u64 / 2,
        "{last} bytes are somewhere in between"
    );
    let mut came = vec![0; LEN];
    line.read_exact(&mut came).expect("it is open");
    assert!(came == expected);
    // And back.
    let mut client = sender.join().expect("it has sent all");
    let back = noise(4, 1_000_000);
    let all = back.clone();
    let writer = thread::spawn(move || {
        line.write_all(&back).expect("it is open");
        line
    });
    let mut came = Vec::new();
    while came.len() < all.len() {
        came.extend(client.recv().payload);
    }
    assert!(came == all);
    drop(writer.join().expect("it has written all"));
}

fn forwarder(io: &str, to: &str) -> Server {
    let arguments = ["forward", "-e", "tcp:0:interface=127.0.0.1", "-d", to];
    let more = ["--workers=1", "--port=auto", "--interval=50ms", io];
    Server::start_program("ringway", &[&arguments[..], &more].concat())
}

fn connect(server: &Server) -> TcpStream {
    let address = server.address();
    let address = address
        .rsplit_once('/')
        .map_or(address.as_str(), |(_, rest)| rest);
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

fn a_forwarder_leads_to_programs_and_devices(io: &str) {
    // One program for each stream; the end of the input passes through.
    let server = forwarder(io, r"process:sh:-c:echo a\:b c\=d; cat; echo end; exit 3");
    for text in ["one", "two"] {
        let mut stream = connect(&server);
        stream.write_all(text.as_bytes()).expect("it reads");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut came = String::new();
        stream.read_to_string(&mut came).expect("it ends");
        assert_eq!(came, format!("a:b c=d\n{text}end\n"));
    }
    until("the log says how it has ended", || {
        server.stderr().contains("exit status 3")
    });
    // A client that is gone ends the program.
    let server = forwarder(io, "process:sh:-c:echo $$; exec sleep 600");
    let mut stream = connect(&server);
    let mut pid = [0; 16];
    let len = stream.read(&mut pid).expect("it says it");
    let pid = String::from_utf8_lossy(&pid[..len]).trim().parse();
    let pid: u32 = pid.expect("a pid");
    assert!(is_alive(pid));
    // It would not learn of the end of its input, which it does not read.
    reset(&stream);
    drop(stream);
    until("it has ended", || !is_alive(pid));
    // A device is for one stream at a time, and free when that has ended.
    let (name, mut line) = device();
    let server = forwarder(io, &format!("serial:{name}:115200"));
    let mut stream = connect(&server);
    let mut came = [0; 4];
    stream.write_all(b"ping").expect("it reads");
    line.read_exact(&mut came).expect("it is open");
    line.write_all(b"pong").expect("it is open");
    stream.read_exact(&mut came).expect("it comes");
    assert_eq!(&came, b"pong");
    let mut second = connect(&server);
    assert_eq!(second.read(&mut came).unwrap_or(0), 0, "it ends at once");
    drop(stream);
    until("the device is free", || {
        let mut stream = connect(&server);
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(200)))
            .expect("a time");
        // One that is refused ends; one that has the device waits.
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
}

#[test]
fn a_program_or_a_device_is_the_one_stream_of_a_forwarder() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!(
        "tcp:127.0.0.1:{}",
        listener.local_addr().expect("a port").port()
    );
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        stream.write_all(b"question\n").expect("it reads");
        let mut came = String::new();
        stream.read_to_string(&mut came).expect("it ends");
        came
    });
    let from = "process:sh:-c:read line; echo got $line";
    let output = run("ringway", &["forward", "-e", from, "-d", &to]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(peer.join().expect("it was answered"), "got question\n");
    let (name, mut line) = device();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!(
        "tcp:127.0.0.1:{}",
        listener.local_addr().expect("a port").port()
    );
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        stream.write_all(b"ping").expect("it reads");
        let mut came = [0; 4];
        line.read_exact(&mut came).expect("it is open");
        line.write_all(b"pong").expect("it is open");
        stream.read_exact(&mut came).expect("it comes");
        came
    });
    let from = format!("serial:{name}:115200");
    let output = run("ringway", &["forward", "-e", &from, "-d", &to]);
    assert_eq!(&peer.join().expect("both"), b"pong");
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn what_is_no_device_or_program_is_refused() {
    for (arguments, why) in [
        (
            &["gateway", "1", "serial:/dev/ttyS0:9601"][..],
            "9601 is no speed",
        ),
        (&["gateway", "1", "serial:ttyS0:9600"], "begins with /dev/"),
        (
            &["gateway", "1", "serial:/dev/ttyS0:9600", "--half-close"],
            "leave them off with serial:",
        ),
        (
            &["forward", "1", "--to=process:/none/of/this"],
            "is no program here",
        ),
        (
            &["forward", "1", "--to=process:cat", "--half-close"],
            "--ssl-target and --half-close",
        ),
    ] {
        let output = run("ringway", arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(why),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}
