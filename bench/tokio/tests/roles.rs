//! Every program serves and drives every other one: what a run measures is an echo, and no message is lost.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PROGRAMS: [&str; 5] = [
    env!("CARGO_BIN_EXE_ringway"),
    env!("CARGO_BIN_EXE_ringway-uring"),
    env!("CARGO_BIN_EXE_tungstenite"),
    env!("CARGO_BIN_EXE_fastwebsockets"),
    env!("CARGO_BIN_EXE_tokio-websockets"),
];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        self.0.wait().expect("it was not waited for");
    }
}

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().expect("piped");
        // The programs print one line, and nothing behind it that a buffer could keep.
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        line
    }
}

fn start(program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(command.spawn().expect("it was built"))
}

fn server(program: &str) -> (Running, String) {
    let mut server = start(program, &["server", "--port", "0"]);
    let line = server.line();
    let address = line.trim().strip_prefix("listening ").expect("the ready line");
    let address = address.to_owned();
    (server, address)
}

#[test]
fn every_client_gets_back_what_it_sent_from_every_server() {
    for program in PROGRAMS {
        let (_server, address) = server(program);
        for client in PROGRAMS {
            // Whole turns: of 16 messages on 3 connections it takes 7 for 300.
            let loads: [(&[&str], _); 3] = [
                (&["--size", "20", "--in-flight", "16"], 336),
                (&["--size", "0"], 300),
                (&["--size", "70000", "--binary"], 300),
            ];
            for (load, messages) in loads {
                let fixed = ["client", &address, "--connections", "3", "--messages", "300", "--warm-up", "9"];
                let line = start(client, &[&fixed[..], load].concat()).line();
                let expected = format!("{{\"messages\":{messages},");
                assert!(line.starts_with(&expected), "{client} {load:?} of {program}: {line:?}");
            }
        }
    }
}

#[test]
fn a_client_that_holds_stays_until_its_input_ends() {
    for client in PROGRAMS {
        let (_server, address) = server(PROGRAMS[0]);
        let mut held = start(client, &["client", &address, "--connections", "2", "--messages", "2", "--hold"]);
        assert!(held.line().starts_with("{\"messages\":2,"), "{client}");
        assert!(held.0.try_wait().expect("waitable").is_none(), "{client}");
        drop(held.0.stdin.take());
        assert!(held.0.wait().expect("waitable").success(), "{client}");
    }
}

#[test]
fn what_is_no_echo_is_an_error() {
    // A server that ends every connection at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    for client in PROGRAMS {
        let mut failing = start(client, &["client", &address, "--messages", "1"]);
        assert_eq!(failing.0.wait().expect("waitable").code(), Some(1), "{client}");
    }
}
