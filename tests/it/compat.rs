//! The command protocol and the standalone form of the original wsperf, with real programs: `ringway wsperf serve`
//! between a control client, which is written here, and a real server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::common::client::{self, Client, TEXT};
use crate::common::{Server, run, scratch};
use base64::Engine as _;
use serde_json::{Value, json};
use sha1::Digest as _;

/// A running control server, killed on drop.
struct Control {
    child: Child,
    address: String,
    page: String,
}

impl Control {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["wsperf", "serve", "--wsuri=ws://127.0.0.1:0", "--port=auto"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program is built");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut ready)
            .expect("a ready line");
        let after = |what: &str| {
            let (_, rest) = ready.split_once(what).expect("the ready line says it");
            let end = rest.find([',', '\n']).expect("an end");
            rest[..end].to_owned()
        };
        Self {
            child,
            address: after("wsperf control on "),
            page: after("page on http://"),
        }
    }

    /// Connects, and reads the welcome.
    fn client(&self) -> Client {
        let mut client = Client::connect(&self.address);
        let welcome = hear(&mut client);
        assert_eq!(welcome["type"], "test_welcome");
        assert_eq!(welcome["ident"], "Unspecified");
        client
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hear(client: &mut Client) -> Value {
    let frame = client.recv();
    assert_eq!(frame.first, TEXT);
    serde_json::from_slice(&frame.payload).expect("JSON")
}

/// Sends a command, and returns the result. Checks the replies that must precede and follow it.
fn ask(client: &mut Client, command: &str) -> Value {
    client.send(TEXT, command.as_bytes());
    let start = hear(client);
    assert_eq!(start["type"], "test_start", "{start}");
    let data = hear(client);
    let complete = hear(client);
    assert_eq!(data["type"], "test_data", "{data}");
    let token = &start["token"];
    assert_eq!(&data["token"], token);
    assert_eq!(
        complete,
        json!({"type": "test_complete", "token": token, "data": ""})
    );
    data["data"].clone()
}

fn message_test(uri: &str, size: usize, count: usize, more: &str) -> String {
    format!(
        "message_test:uri={uri};token=t;size={size};count={count};quantile_count=4;rtts=true;{more}"
    )
}

/// Accepts the next connection and completes its opening handshake, with further headers.
fn take_in(listener: &TcpListener, headers: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a connection");
    let (head, _) = client::read_head(&mut stream).expect("a request");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a key");
    let accept = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(accept);
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
    )
    .expect("the client reads");
    stream
}

/// The next message of a client, of at most 65,535 bytes.
fn hear_masked(stream: &mut TcpStream) -> Value {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert_eq!((head[0], head[1] & 0x80), (TEXT, 0x80));
    let len = match head[1] & 0x7f {
        126 => {
            let mut len = [0; 2];
            stream.read_exact(&mut len).expect("a length");
            usize::from(u16::from_be_bytes(len))
        }
        len => usize::from(len),
    };
    let mut rest = vec![0; 4 + len];
    stream.read_exact(&mut rest).expect("a payload");
    let (key, payload) = rest.split_at(4);
    let payload: Vec<u8> = payload
        .iter()
        .zip(key.iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    serde_json::from_slice(&payload).expect("JSON")
}

const SYNC: &str = "timeout=30000;binary=false;sync=true;correctness=exact;";

#[test]
fn message_tests_pass_on_an_echo_server_on_both_tiers() {
    let server = Server::start(&["--port=0"]);
    for arguments in [["--io=uring", "--threads=2"], ["--io=epoll", "--threads=0"]] {
        let control = Control::start(&arguments);
        let mut client = control.client();
        for size in [0, 16, 4096, 1 << 20] {
            for binary in ["true", "false"] {
                for sync in ["true", "false"] {
                    let more =
                        format!("timeout=30000;binary={binary};sync={sync};correctness=exact;");
                    let data = ask(
                        &mut client,
                        &message_test(&server.address(), size, 10, &more),
                    );
                    assert_eq!(data["result"], "pass", "{size} {binary} {sync}: {data}");
                    assert_eq!(data["bytes"], 10 * size);
                    let rtts = data["rtts"].as_array().expect("asked for");
                    assert_eq!(rtts.len(), 10);
                    let quantiles = data["quantiles"].as_array().expect("asked for");
                    assert_eq!((quantiles.len(), &quantiles[3][1]), (4, &data["max"]));
                    assert_eq!((&rtts[0], &rtts[4]), (&data["min"], &data["median"]));
                }
            }
        }
    }
}

#[test]
fn stress_tests_open_exchange_and_close_on_both_tiers() {
    let server = Server::start(&["--port=0"]);
    for tier in ["--io=uring", "--io=epoll"] {
        let control = Control::start(&[tier]);
        let command = format!(
            "stress_test:uri={};token=s;connection_count=50;handshake_delay=0;msg_count=3;msg_size=100;",
            server.address()
        );
        let data = ask(&mut control.client(), &command);
        let count = |name: &str| data[name].as_u64();
        assert_eq!(count("current_connections"), Some(0));
        assert_eq!(
            (count("total_connections"), count("failed_connections")),
            (Some(50), Some(0))
        );
        let connections = data["connection_data"].as_array().expect("a list");
        assert_eq!(connections.len(), 50);
        for (id, connection) in connections.iter().enumerate() {
            assert_eq!(
                (&connection["id"], &connection["status"]),
                (&json!(id), &json!("Closed"))
            );
            assert_eq!(connection["messages"].as_array().map(Vec::len), Some(3));
            let at = |name: &str| connection[name].as_f64().expect("a number");
            let steps = ["start", "tcp", "open", "close_sent", "close"].map(at);
            assert!(steps.is_sorted(), "{connection}");
        }
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_a_failed_connection() {
    let control = Control::start(&[]);
    let mut client = control.client();
    let nobody = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let uri = format!("ws://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let data = ask(&mut client, &message_test(&uri, 1, 1, SYNC));
    assert_eq!(data["result"], "connection_failed", "{data}");
    let data = ask(
        &mut client,
        &format!("stress_test:uri={uri};token=t;connection_count=2;"),
    );
    assert_eq!(data["failed_connections"], 2, "{data}");
    // The page's port speaks only HTTP.
    let page = format!("ws://{}", control.page);
    let data = ask(&mut client, &message_test(&page, 1, 1, SYNC));
    assert_eq!(data["result"], "connection_failed", "{data}");
    let detail = data["detail"].as_str().expect("a reason");
    assert!(
        detail.starts_with("the server answered 200 OK: <!doctype html>"),
        "{detail}"
    );
}

#[test]
fn a_wrong_answer_fails_the_test() {
    let control = Control::start(&["--threads=1"]);
    // A control server sends a welcome, which is not the message that was sent.
    let data = ask(
        &mut control.client(),
        &message_test(&control.address, 1, 1, SYNC),
    );
    assert_eq!(
        (&data["result"], &data["bytes"]),
        (&json!("fail"), &json!(0))
    );
}

#[test]
fn an_answer_that_does_not_come_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let uri = format!("ws://{}", listener.local_addr().expect("bound"));
    let silent = std::thread::spawn(move || {
        let mut stream = take_in(&listener, "");
        // Held open until the other side has given up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let control = Control::start(&[]);
    let more = "timeout=50;binary=true;sync=true;correctness=length;";
    let data = ask(&mut control.client(), &message_test(&uri, 5, 3, more));
    assert_eq!(
        (&data["result"], &data["bytes"]),
        (&json!("time_out"), &json!(0))
    );
    assert_eq!(
        data["quantiles"],
        json!([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    );
    silent.join().expect("no panic");
}

#[test]
fn a_client_that_leaves_takes_its_test_with_it() {
    let server = Server::start(&["--port=0"]);
    let control = Control::start(&["--threads=1"]);
    let mut first = control.client();
    let long = format!(
        "stress_test:uri={};token=t;connection_count=3;con_lifetime=fixed;con_duration=3600000;",
        server.address()
    );
    first.send(TEXT, long.as_bytes());
    assert_eq!(hear(&mut first)["type"], "test_start");
    first.reset();
    // The one thread is free again.
    let data = ask(
        &mut control.client(),
        &message_test(&server.address(), 1, 1, SYNC),
    );
    assert_eq!(data["result"], "pass");
}

#[test]
fn what_cannot_be_obeyed_is_answered_in_the_originals_words() {
    let control = Control::start(&[]);
    let mut client = control.client();
    let cases = [
        ("nonsense", "", "Invalid Command"),
        (
            "message_test:token=a\";size=1;",
            "a\"",
            "Invalid uri parameter.",
        ),
        // Another machine must not be tested.
        (
            "stress_test:uri=ws://192.0.2.1:9;token=far;",
            "far",
            "Invalid uri parameter.",
        ),
    ];
    for (command, token, data) in cases {
        client.send(TEXT, command.as_bytes());
        let mut answer = hear(&mut client);
        if answer["type"] == "test_start" {
            answer = hear(&mut client);
        }
        assert_eq!(answer["type"], "error", "{command}");
        assert_eq!(
            (&answer["token"], &answer["data"]),
            (&json!(token), &json!(data))
        );
    }
    client.close();
}

#[test]
fn a_page_of_another_origin_is_turned_away() {
    let control = Control::start(&["--allow-origin=http://friend.test"]);
    let request = |origin: &str| {
        let origin = format!("Origin: {origin}\r\nUpgrade:");
        let request = client::REQUEST.replace("Upgrade: websocket", &format!("{origin} websocket"));
        let mut stream = client::dial(&control.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (head, _) = client::read_head(&mut stream).expect("an answer");
        head.lines().next().expect("a status line").to_owned()
    };
    assert_eq!(request("http://evil.test"), "HTTP/1.1 403 Forbidden");
    assert_eq!(request("null"), "HTTP/1.1 403 Forbidden");
    // The Host header of REQUEST is `localhost`.
    for origin in ["http://localhost:8081", "http://friend.test"] {
        assert_eq!(
            request(origin),
            "HTTP/1.1 101 Switching Protocols",
            "{origin}"
        );
    }
}

#[test]
fn a_master_commands_and_is_connected_to_again() {
    let server = Server::start(&["--port=0"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let master = format!("--master=ws://{}", listener.local_addr().expect("bound"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["wsperf", "serve", &master, "--reconnect=10ms"])
        .stdout(Stdio::null())
        .spawn()
        .expect("the program is built");
    // First refused, then accepted, then lost, then accepted again.
    drop(listener.accept().expect("a connection"));
    for _ in 0..2 {
        let mut stream = take_in(&listener, "Sec-WebSocket-Protocol: wsperf\r\n");
        assert_eq!(hear_masked(&mut stream)["type"], "test_welcome");
        let command = message_test(&server.address(), 1, 1, SYNC);
        let length = u16::try_from(command.len()).expect("short");
        assert!(length > 125, "in two bytes");
        let [high, low] = length.to_be_bytes();
        stream.write_all(&[TEXT, 126, high, low]).expect("it reads");
        stream.write_all(command.as_bytes()).expect("it reads");
        assert_eq!(hear_masked(&mut stream)["type"], "test_start");
        assert_eq!(hear_masked(&mut stream)["data"]["result"], "pass");
        assert_eq!(hear_masked(&mut stream)["type"], "test_complete");
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn the_page_is_served_with_the_port_of_the_control_server() {
    let control = Control::start(&[]);
    let page = crate::common::get(&control.page, "/");
    let (_, port) = control.address.rsplit_once(':').expect("a port");
    assert!(
        page.contains(&format!("const CONTROL_PORT = {port};")),
        "{page}"
    );
}

#[test]
fn the_standalone_form_writes_a_file_that_aggregate_reads() {
    let server = Server::start(&["--port=0"]);
    let folder = scratch("standalone");
    let uri = server.address();
    let files = ["one.json", "two.json"].map(|name| folder.path(name));
    for (threads, file) in ["0", "2"].iter().zip(&files) {
        let output = run("ringway", &["wsperf", &uri, threads, "60", "5", "10", file]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        let text = std::fs::read(file).expect("it was written");
        let result: Value = serde_json::from_slice(&text).expect("JSON");
        let stats = result["connection_stats"].as_array().expect("a list");
        assert_eq!(stats.len(), 60);
        assert!(stats.iter().all(|connection| connection["failed"] == false));
        assert!(result["handshake_throttle_count"].as_u64() >= Some(1));
        let time = |name: &str| result[name].as_u64().expect("a number");
        assert!(time("ended") > time("started") && time("started") > 1_700_000_000_000_000_000);
    }
    let output = run("ringway", &["wsperf", "aggregate", &files[0], &files[1]]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "Aggregate results (WebSocket Opening+Closing Handshake)"
    );
    assert_eq!(
        lines[3..6],
        [
            "             Total:       120",
            "           Success:       120",
            "              Fail:         0",
        ]
    );
    let output = run(
        "ringway",
        &["wsperf", "aggregate", &files[0], "--format=json"],
    );
    let json: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(
        (&json["total"], &json["fail_percent"]),
        (&json!(60), &json!(0.0))
    );
}

#[test]
fn a_wrong_form_says_how_it_is_typed() {
    let output = run("ringway", &["wsperf", "ws://127.0.0.1:9", "1", "2"]);
    assert_eq!(output.code, 2);
    assert!(
        output.stderr.starts_with(
            "wsperf: error: there are 3 arguments instead of 6: wsperf URI THREADS CONNS LOW HIGH RESULT.json"
        ),
        "{}",
        output.stderr
    );
}
