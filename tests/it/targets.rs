//! Where the sessions of a gateway lead to, and who may have one: real processes, and targets that share no code with them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::common::client::{
    BINARY, Client, Frame, REQUEST, dial, exchange, frame, noise, read_head,
};
use crate::common::{Scratch, Server, on_both_tiers, run, scratch, until};

on_both_tiers!(
    tokens_of_a_file_lead_to_targets_and_the_file_is_read_again,
    bytes_that_come_with_the_request_wait_for_the_lookup,
    a_password_is_checked_beside_the_worker,
    an_api_says_where_tokens_lead_to,
);

/// A target that says its name, and then sends back what comes.
pub(crate) fn named(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, name));
        }
    });
    address
}

fn serve(mut stream: impl Read + Write, name: &str) {
    let mut piece = [0; 4096];
    let _ = stream.write_all(name.as_bytes());
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        if stream.write_all(&piece[..len]).is_err() {
            return;
        }
    }
}

pub(crate) fn gateway(more: &[&str]) -> Server {
    let mut arguments = vec![
        "gateway",
        "--wsuri=ws://127.0.0.1:0",
        "--port=auto",
        "--interval=50ms",
    ];
    arguments.extend(more);
    Server::start_program("ringway", &arguments)
}

/// A request for a target, with lines of headers.
pub(crate) fn request(target: &str, headers: &str) -> String {
    REQUEST
        .replacen("GET /echo ", &format!("GET {target} "), 1)
        .replacen("\r\n\r\n", &format!("\r\n{headers}\r\n"), 1)
}

/// Opens a session, and returns it with the name that its target says.
pub(crate) fn open_with(server: &Server, target: &str, headers: &str) -> (Client, String) {
    let mut stream = dial(&server.address()).expect("it listens");
    let request = request(target, headers);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut client = Client::opened(stream).expect("a session");
    let Frame { first, payload } = client.recv();
    assert_eq!(first, BINARY);
    (client, String::from_utf8(payload).expect("a name"))
}

fn name_at(server: &Server, target: &str, headers: &str) -> String {
    open_with(server, target, headers).1
}

/// The status and the body of a refusal, and its head.
pub(crate) fn refusal(server: &Server, target: &str, headers: &str) -> (u16, String, String) {
    let answer = exchange(&server.address(), request(target, headers).as_bytes());
    let status = answer.get(9..12).and_then(|text| text.parse().ok());
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (status.expect("a status"), body.to_owned(), head.to_owned())
}

fn tokens_of_a_file_lead_to_targets_and_the_file_is_read_again(io: &str) {
    let folder = scratch("tokens");
    let (a, b) = (named("a"), named("b"));
    let socket = folder.path("c.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, "c"));
        }
    });
    let text = format!("# targets\n\nalice: {a}\nb/ob:\t{b}\ncarol: unix_socket:{socket}\n");
    let file = folder.write("tokens", &text);
    let server = gateway(&[io, "--workers=1", &format!("--token-file={file}")]);
    assert_eq!(name_at(&server, "/websockify?token=alice", ""), "a");
    assert_eq!(name_at(&server, "/?x=1&token=b%2Fob", ""), "b");
    assert_eq!(name_at(&server, "/?token=carol", ""), "c");
    for (target, sentence) in [
        ("/?token=eve", "no target belongs to this token"),
        ("/", "needs a token"),
        ("/?token=", "needs a token"),
        ("/?token=%ff", "needs a token"),
    ] {
        let (status, body, _) = refusal(&server, target, "");
        assert_eq!(status, 404, "{target}");
        assert!(body.contains(sentence), "{target}: {body}");
    }
    assert_eq!(server.counter_reaching("refused_tokens", 4), [4]);
    folder.write("tokens.new", &format!("eve: {a}\nalice: {b}\nbroken\n"));
    fs::rename(folder.path("tokens.new"), &file).expect("renamed");
    assert_eq!(name_at(&server, "/?token=eve", ""), "a");
    assert_eq!(name_at(&server, "/?token=alice", ""), "b");
    assert_eq!(refusal(&server, "/?token=carol", "").0, 404);
    assert!(server.stderr().contains("line 3"), "{}", server.stderr());
    fs::remove_file(&file).expect("removed");
    assert_eq!(refusal(&server, "/?token=alice", "").0, 502);
}

fn bytes_that_come_with_the_request_wait_for_the_lookup(io: &str) {
    let folder = scratch("tokens-early");
    let file = folder.write("t", &format!("alice: {}\n", named("")));
    let server = gateway(&[io, "--workers=1", &format!("--token-file={file}")]);
    for len in [5, 100_000] {
        let sent = noise(7, len);
        let mut bytes = request("/?token=alice", "").into_bytes();
        for piece in sent.chunks(1000) {
            bytes.extend(frame(BINARY, piece));
        }
        let mut stream = dial(&server.address()).expect("it listens");
        let mut writes = stream.try_clone().expect("a descriptor");
        let written = thread::spawn(move || writes.write_all(&bytes).expect("it is read"));
        let (head, early) = read_head(&mut stream).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut client = Client::of(stream, early);
        let mut came = Vec::new();
        while came.len() < len {
            came.extend(client.recv().payload);
        }
        assert!(came == sent);
        written.join().expect("written");
        client.close();
    }
}

#[test]
fn an_ipv6_target_of_a_token_is_reached() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, "six"));
        }
    });
    let folder = scratch("tokens-v6");
    let text = format!("six: {address}\n");
    folder.write("a-directory-of-files", &text);
    folder.write(".hidden", "seven: 127.0.0.1:1\n");
    let server = gateway(&["--workers=1", &format!("--token-file={}", folder.path(""))]);
    assert_eq!(name_at(&server, "/?token=six", ""), "six");
    assert_eq!(refusal(&server, "/?token=seven", "").0, 404);
}

#[test]
fn a_token_that_names_a_file_does_not_leave_its_directory() {
    let folder = scratch("tokens-names");
    let address = named("a");
    fs::create_dir(folder.path("in")).expect("a directory");
    folder.write("in/alice", &format!("{address}\n"));
    folder.write("in/bad", "nowhere\n");
    folder.write("out", &address);
    let names = format!("--token-names={}", folder.path("in"));
    let server = gateway(&["--workers=1", &names, "--token-from=path"]);
    assert_eq!(name_at(&server, "/alice/websockify", ""), "a");
    for path in ["/..%2Fout", "/%2e%2e", "/.", "/", "/none", "/alice%00"] {
        assert_eq!(refusal(&server, path, "").0, 404, "{path}");
    }
    assert_eq!(refusal(&server, "/bad", "").0, 502);
    let socket = folder.path("in/s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let _outside = UnixListener::bind(folder.path("o")).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, "s"));
        }
    });
    let sockets = format!("--token-sockets={}", folder.path("in"));
    let server = gateway(&["--workers=1", &sockets, "--token-from=cookie:vnc"]);
    assert_eq!(name_at(&server, "/", "Cookie: a=b; vnc=s\r\n"), "s");
    for token in ["../o", "..%2Fo", "alice", "none"] {
        let cookie = format!("Cookie: vnc={token}\r\n");
        assert_eq!(refusal(&server, "/", &cookie).0, 404, "{token}");
    }
}

#[test]
fn paths_and_hosts_lead_to_targets() {
    let (vnc, ssh, other) = (named("vnc"), named("ssh"), named("other"));
    let routes = [
        format!("--route=/vnc={vnc}"),
        format!("--route=ssh.example={ssh}"),
    ];
    let server = gateway(&["--workers=1", &routes[0], &routes[1]]);
    assert_eq!(name_at(&server, "/vnc/1?x", ""), "vnc");
    let host =
        |host: &str| request("/vnc", "").replacen("Host: localhost", &format!("Host: {host}"), 1);
    let answer = |host_text: &str| {
        let mut stream = dial(&server.address()).expect("it listens");
        stream
            .write_all(host(host_text).as_bytes())
            .expect("it reads");
        let mut client = Client::opened(stream).expect("a session");
        String::from_utf8(client.recv().payload).expect("a name")
    };
    assert_eq!(answer("SSH.example:80"), "ssh");
    let (status, body, _) = refusal(&server, "/vncs", "");
    assert_eq!(
        (status, body.contains("no target at this path")),
        (404, true),
        "{body}"
    );
    let target = format!("--target={other}");
    let server = gateway(&["--workers=1", &routes[0], &target]);
    assert_eq!(name_at(&server, "/any", ""), "other");
    assert_eq!(name_at(&server, "/vnc", ""), "vnc");
}

/// An API that says where a token leads to, as JSON, as text, or never.
fn an_api_says_where_tokens_lead_to(io: &str) {
    let target = named("a");
    let api = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/of/%s?x=1", api.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in api.incoming().map_while(Result::ok) {
            let mut bytes = [0; 2048];
            let len = stream.read(&mut bytes).expect("a request");
            let head = String::from_utf8_lossy(&bytes[..len]).into_owned();
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            let (host, port) = target.rsplit_once(':').expect("an address");
            let (status, body) = match path.as_str() {
                "/of/json?x=1" => (200, format!("{{\"host\":\"{host}\",\"port\":{port}}}")),
                "/of/a%2F%20b?x=1" => (200, target.clone()),
                "/of/odd?x=1" => (200, "nonsense".to_owned()),
                "/of/slow?x=1" => {
                    held.push(stream);
                    continue;
                }
                _ => (404, String::new()),
            };
            let len = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("it is read");
        }
    });
    let url = format!("--token-url={url}");
    let server = gateway(&[io, "--workers=1", &url, "--lookup-timeout=400ms"]);
    assert_eq!(name_at(&server, "/?token=json", ""), "a");
    assert_eq!(name_at(&server, "/?token=a/%20b", ""), "a");
    for (token, status) in [("none", 404), ("odd", 502), ("slow", 504)] {
        let target = format!("/?token={token}");
        assert_eq!(refusal(&server, &target, "").0, status, "{token}");
    }
    assert_eq!(server.counter_reaching("refused_lookups", 2), [2]);
}

/// A token of RFC 7519, which openssl signs.
fn signed(folder: &Scratch, secret: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = serde_json::json!({"alg": "HS256", "typ": "JWT"});
    let body = format!("{}.{}", part(&head), part(claims));
    let file = folder.write("body", &body);
    let sign = ["dgst", "-sha256", "-binary", "-hmac", secret, &file];
    let signature = Command::new("openssl")
        .args(sign)
        .output()
        .expect("openssl is installed");
    assert!(signature.status.success());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature.stdout))
}

#[test]
fn a_signed_token_opens_a_session_with_the_one_target() {
    let folder = scratch("tokens-bearer");
    let secret = "a secret of thirty-two bytes, at least";
    let key = folder.write("key", secret);
    let bearer = |secret: &str, claims: Value| {
        let token = signed(&folder, secret, &claims);
        format!("Authorization: Bearer {token}\r\n")
    };
    let server = gateway(&[
        "--workers=1",
        &format!("--token-key={key}"),
        "--token-issuer=us",
        &named("a"),
    ]);
    let claims = |issuer: &str| serde_json::json!({"exp": 4_102_444_800_u64, "iss": issuer});
    assert_eq!(name_at(&server, "/", &bearer(secret, claims("us"))), "a");
    for bad in [
        String::new(),
        bearer(secret, claims("them")),
        bearer("another secret of thirty-two bytes!!", claims("us")),
    ] {
        assert_eq!(refusal(&server, "/", &bad).0, 401, "{bad}");
    }
}

#[test]
fn a_signed_token_names_its_target() {
    let target = named("a");
    let port: u16 = target
        .rsplit_once(':')
        .expect("an address")
        .1
        .parse()
        .expect("a port");
    let folder = scratch("tokens-jwt");
    let secret = "a secret of thirty-two bytes, at least";
    let key = folder.write("key", secret);
    let signed = |secret: &str, claims: Value| signed(&folder, secret, &claims);
    let claims = |exp: u64| serde_json::json!({"host": "127.0.0.1", "port": port, "exp": exp});
    let server = gateway(&[
        "--workers=1",
        &format!("--token-jwt={key}"),
        "--token-from=header:x-target",
    ]);
    let header = |token: &str| format!("X-Target: {token}\r\n");
    let good = signed(secret, claims(4_102_444_800));
    assert_eq!(name_at(&server, "/", &header(&good)), "a");
    let text = serde_json::json!({"host": "127.0.0.1", "port": port.to_string()});
    assert_eq!(name_at(&server, "/", &header(&signed(secret, text))), "a");
    for bad in [
        signed(secret, claims(1)),
        signed(
            "another secret of thirty-two bytes!!",
            claims(4_102_444_800),
        ),
        signed(secret, serde_json::json!({"host": "127.0.0.1"})),
        "a.b.c".to_owned(),
    ] {
        assert_eq!(refusal(&server, "/", &header(&bad)).0, 404, "{bad}");
    }
}

/// A process that is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_says_where_tokens_lead_to_and_may_come_back() {
    let target = named("a");
    let folder = scratch("tokens-redis");
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port")
        .port();
    let start = || {
        let (port, folder) = (port.to_string(), folder.path(""));
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            &folder,
            "--port",
            &port,
        ]);
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        until("redis listens", || {
            TcpStream::connect(("127.0.0.1", port.parse().expect("a port"))).is_ok()
        });
        Killed(child)
    };
    let set = |key: &str, value: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let command = format!(
            "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n",
            key.len(),
            value.len()
        );
        stream.write_all(command.as_bytes()).expect("it reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"+OK\r\n");
    };
    let redis = start();
    set("vnc:plain", &target);
    set("vnc:json", &format!("{{\"host\":\"{target}\"}}"));
    set("plain", "127.0.0.1:1");
    let url = format!("--token-redis=redis://127.0.0.1:{port}/0");
    let server = gateway(&["--workers=1", &url, "--token-namespace=vnc"]);
    assert_eq!(name_at(&server, "/?token=plain", ""), "a");
    assert_eq!(name_at(&server, "/?token=json", ""), "a");
    assert_eq!(refusal(&server, "/?token=none", "").0, 404);
    drop(redis);
    assert_eq!(refusal(&server, "/?token=plain", "").0, 502);
    let _redis = start();
    set("vnc:plain", &target);
    until("redis is asked again", || {
        let answer = exchange_head(&server, "/?token=plain");
        answer.starts_with("HTTP/1.1 101 ")
    });
}

/// The head of the answer to a request for a session.
fn exchange_head(server: &Server, target: &str) -> String {
    let mut stream = dial(&server.address()).expect("it listens");
    stream
        .write_all(request(target, "").as_bytes())
        .expect("it reads");
    read_head(&mut stream).expect("an answer").0
}

#[test]
fn a_name_that_cannot_be_found_is_502_and_one_that_can_is_dialled() {
    let target = named("a");
    let port = target.rsplit_once(':').expect("an address").1;
    let folder = scratch("tokens-dns");
    let file = folder.write(
        "t",
        &format!("bad: no-such-name.invalid:1\ngood: localhost:{port}\n"),
    );
    let server = gateway(&["--workers=1", &format!("--token-file={file}")]);
    let (status, body, _) = refusal(&server, "/?token=bad", "");
    assert_eq!(status, 502);
    assert!(
        body.contains("'no-such-name.invalid' cannot be found"),
        "{body}"
    );
    assert_eq!(name_at(&server, "/?token=good", ""), "a");
}

fn a_password_is_checked_beside_the_worker(io: &str) {
    let target = named("a");
    let folder = scratch("passwords");
    // crypt(3) with bcrypt, and `openssl passwd -6 -salt saltsalt 'pa:ss'`.
    let users = folder.write(
        "users",
        "ada:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n\
         bob:$6$saltsalt$viur7/i1tNWmrRgvPDAJMXRuH3l5KO9LzaobxEDvqIoHVlW29jgn2ia1GRynmgm5ui.LHZYJrj3pT4TsV/nkZ1\n",
    );
    let log = folder.path("log");
    let basic = format!("--basic-auth={users}");
    let target = format!("--target={target}");
    let access_log = format!("--access-log={log}");
    let server = gateway(&[io, "--workers=1", &target, &basic, &access_log]);
    let login = |login: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(login));
    assert_eq!(name_at(&server, "/", &login("ada:secret")), "a");
    assert_eq!(name_at(&server, "/", &login("bob:pa:ss")), "a");
    for header in [
        "".to_owned(),
        login("ada:pa:ss"),
        login("eve:secret"),
        "Authorization: Bearer x\r\n".to_owned(),
    ] {
        let (status, _, head) = refusal(&server, "/", &header);
        assert_eq!(status, 401, "{header}");
        assert!(
            head.contains("WWW-Authenticate: Basic realm=\"Ringway\""),
            "{head}"
        );
    }
    assert_eq!(server.counter_reaching("refused_logins", 4), [4]);
    until("the sessions are logged with their users", || {
        let text = fs::read_to_string(&log).expect("a file");
        text.contains(" user=ada ") && text.contains(" user=bob ") && !text.contains("secret")
    });
}

#[test]
fn a_target_has_so_many_sessions() {
    let (a, b) = (named("a"), named("b"));
    let folder = scratch("limits");
    let file = folder.write("t", &format!("a: {a}\nb: {b}\n"));
    let file = format!("--token-file={file}");
    let server = gateway(&["--workers=1", &file, "--max-sessions-per-target=2"]);
    let first = open_with(&server, "/?token=a", "").0;
    let _second = open_with(&server, "/?token=a", "").0;
    assert_eq!(refusal(&server, "/?token=a", "").0, 503);
    assert_eq!(server.counter_reaching("refused_limits", 1), [1]);
    assert_eq!(name_at(&server, "/?token=b", ""), "b");
    first.close();
    until("the place of the first one is free", || {
        exchange_head(&server, "/?token=a").starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn a_gateway_stops_after_its_first_session_or_when_nobody_comes() {
    let target = format!("--target={}", named("a"));
    let mut server = gateway(&["--workers=1", &target, "--run-once"]);
    // What opens no WebSocket does not count.
    assert!(
        exchange(&server.address(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 ")
    );
    open_with(&server, "/", "").0.close();
    assert_eq!(server.wait(), Some(0));
    for option in ["--stop-when-idle=50ms", "--stop-after=50ms"] {
        let mut server = gateway(&["--workers=1", &target, option]);
        assert_eq!(server.wait(), Some(0), "{option}");
    }
}

#[test]
fn what_leads_nowhere_or_has_no_effect_is_refused_with_a_sentence() {
    for (arguments, sentence) in [
        (
            &["gateway", "1", "a:1", "--token-file=/t"][..],
            "leave one off",
        ),
        (
            &["gateway", "1", "--token-file=/t", "--token-names=/d"],
            "one place",
        ),
        (
            &["gateway", "a:1", "--token-from=path"],
            "no effect without tokens",
        ),
        (
            &["gateway", "1", "--token-file=/no/such/file"],
            "--token-file: /no/such/file",
        ),
        (&["gateway", "1", "--token-names=/no/such"], "no directory"),
        (
            &["gateway", "1", "--token-url=http://a/b"],
            "place for the token",
        ),
        (&["gateway", "1", "--route=vnc"], "is no route"),
        (&["gateway", "a:1", "--client-name=ada"], "--client-ca"),
        (
            &["gateway", "a:1", "--basic-auth=/no/such"],
            "--basic-auth /no/such",
        ),
        (
            &["gateway", "a:1", "--basic-auth=ada:$1$x$y"],
            "htpasswd -B",
        ),
        (
            &["gateway", "a:1", "--record-format=ringway"],
            "without --record",
        ),
        (
            &["gateway", "a:1", "--access-log=/no/such/log"],
            "--access-log /no/such/log",
        ),
        (
            &["gateway", "a:1", "--run-once", "--workers=2"],
            "--workers=1",
        ),
        (
            &["gateway", "1", "--token-jwt=/no/such"],
            "--token-jwt /no/such",
        ),
    ] {
        let output = run("ringway", arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(sentence),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}
