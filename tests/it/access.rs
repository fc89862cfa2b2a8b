//! Who may use topics: tokens and the HTTP API, with real workers. openssl signs the tokens.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::common::client::{CLOSE, Client, REQUEST, TEXT, dial, exchange};
use crate::common::{PATIENCE, Scratch, Server, get, run, scratch};

const SECRET: &str = "a secret of more than 32 bytes, for tests alone";
const KEY: &str = "0123456789abcdef-the-key-of-the-api";

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// What is signed of a token (RFC 7515 §5.1), with claims that are good for so many seconds.
fn unsigned(algorithm: &str, seconds: i64, mut claims: Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("a time");
    claims["exp"] = json!(now + seconds);
    let head = json!({"alg": algorithm, "typ": "JWT"}).to_string();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", part(&head), part(&claims.to_string()))
}

fn signed_with(secret: &str, seconds: i64, claims: Value) -> String {
    let body = unsigned("HS256", seconds, claims);
    let sign = ["dgst", "-sha256", "-binary", "-hmac", secret];
    let signature = openssl(&sign, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed(seconds: i64, claims: Value) -> String {
    signed_with(SECRET, seconds, claims)
}

/// The head of the answer to an opening handshake with one more header.
fn answer(server: &Server, path: &str, header: &str) -> String {
    let request = REQUEST
        .replacen("GET /echo ", &format!("GET {path} "), 1)
        .replacen("\r\n\r\n", &format!("\r\n{header}\r\n"), 1);
    exchange(&server.address(), request.as_bytes())
}

fn status(server: &Server, path: &str, header: &str) -> String {
    let answer = answer(server, path, header);
    answer.split(' ').nth(1).expect("a status").to_owned()
}

fn open(server: &Server, path: &str, header: &str) -> Client {
    let mut stream = dial(&server.address()).expect("it listens");
    let request = REQUEST
        .replacen("GET /echo ", &format!("GET {path} "), 1)
        .replacen("\r\n\r\n", &format!("\r\n{header}\r\n"), 1);
    stream.write_all(request.as_bytes()).expect("it reads");
    Client::opened(stream).expect("a WebSocket opens")
}

fn hear(client: &mut Client) -> Value {
    let frame = client.recv();
    assert_eq!(frame.first, TEXT);
    serde_json::from_slice(&frame.payload).expect("JSON")
}

/// The status code of the Close that comes next.
fn closed_with(client: &mut Client) -> u16 {
    let frame = client.recv();
    assert_eq!(frame.first, CLOSE);
    u16::from_be_bytes([frame.payload[0], frame.payload[1]])
}

fn ask(client: &mut Client, request: &Value) -> Value {
    client.send(TEXT, request.to_string().as_bytes());
    hear(client)
}

fn with_tokens(folder: &Scratch, app: &str, more: &[&str]) -> Server {
    let key = format!(
        "--token-key={}",
        folder.write("secret", &format!("{SECRET}\n"))
    );
    let mut arguments = vec![&*key];
    arguments.extend(more);
    Server::start_app(app, "--io=auto", &arguments)
}

#[test]
fn a_token_says_what_its_client_may_do() {
    let folder = scratch("token");
    let more = ["--may-subscribe=news", "--may-publish=chat/{sub}"];
    let server = with_tokens(&folder, "pubsub", &more);
    let refused = answer(&server, "/", "");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(
        refused.contains("WWW-Authenticate: Bearer\r\n"),
        "{refused}"
    );
    let good = signed(600, json!({"sub": "ada", "subscribe": ["chat/#"]}));
    for (path, header) in [
        ("/".to_owned(), format!("Authorization: bearer {good}\r\n")),
        (format!("/?a=b&token={good}"), String::new()),
        ("/".to_owned(), format!("Cookie: a=b; token={good}\r\n")),
    ] {
        let mut client = open(&server, &path, &header);
        let mut code = |request: Value| ask(&mut client, &request)["code"].clone();
        for (op, topic, answer) in [
            ("subscribe", "chat/ada", Value::Null),
            ("subscribe", "news", json!("not_allowed")),
            ("publish", "chat/bob", json!("not_allowed")),
            ("publish", "chat/grace/x", json!("not_allowed")),
        ] {
            let mut request = json!({"op": op, "id": 1, "topic": topic});
            if op == "publish" {
                request["data"] = json!(1);
            }
            let said = code(request);
            assert_eq!(said, answer, "{op} {topic}");
        }
        client.send(
            TEXT,
            json!({"op": "publish", "topic": "chat/ada", "data": 7})
                .to_string()
                .as_bytes(),
        );
        assert_eq!(hear(&mut client)["data"], 7);
    }
    let of_others = signed_with(
        "another secret, which has 32 bytes, too",
        600,
        json!({"sub": "ada"}),
    );
    let old = signed(-61, json!({"sub": "ada"}));
    let two = signed(600, json!({"sub": "a/b"}));
    for (token, why) in [
        (&*of_others, "signature"),
        (&old, "expired"),
        ("nonsense", "no token"),
        (&two, "subject"),
    ] {
        let refused = answer(&server, &format!("/?token={token}"), "");
        assert!(
            refused.starts_with("HTTP/1.1 401 ") && refused.contains(why),
            "{why}: {refused}"
        );
    }
}

#[test]
fn a_client_is_closed_when_its_token_is_over() {
    let folder = scratch("token");
    for app in ["pubsub", "broadcast"] {
        let server = with_tokens(&folder, app, &[]);
        // The clocks' difference, a minute, is granted: one second is left.
        let token = signed(-59, json!({}));
        let mut client = open(&server, &format!("/?token={token}"), "");
        assert_eq!(closed_with(&mut client), 1008, "{app}");
    }
}

#[test]
fn tokens_are_signed_with_either_key_and_name_issuer_and_audience() {
    let folder = scratch("token");
    let private = folder.path("private.pem");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private], b"");
    let public = folder.path("public.pem");
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public], b"");
    let keys = format!("--token-key={},{public}", folder.write("secret", SECRET));
    let more = [
        "--token-issuer=us",
        "--token-audience=it",
        "--token-required=false",
    ];
    let server = Server::start_app("broadcast", "--io=auto", &[&[&*keys], &more[..]].concat());
    let body = unsigned("EdDSA", 600, json!({"iss": "us", "aud": "it"}));
    let message = folder.write("body", &body);
    let sign = [
        "pkeyutl", "-sign", "-rawin", "-inkey", &private, "-in", &message,
    ];
    let signature = URL_SAFE_NO_PAD.encode(openssl(&sign, b""));
    drop(open(&server, &format!("/?token={body}.{signature}"), ""));
    let with_secret = signed(600, json!({"iss": "us", "aud": "it"}));
    drop(open(&server, &format!("/?token={with_secret}"), ""));
    drop(open(&server, "/", ""));
    for claims in [json!({"iss": "us"}), json!({"iss": "them", "aud": "it"})] {
        let token = signed(600, claims);
        assert_eq!(status(&server, &format!("/?token={token}"), ""), "401");
    }
}

#[test]
fn paths_of_a_broadcast_and_services_have_rights() {
    let server = Server::start(&[
        "--service=/live/*=broadcast,/chat=pubsub,/open=pubsub",
        "--may-subscribe=/live/#,/chat=room/+",
        "--may-publish=/live/a,/chat=,x",
        "--workers=2",
        "--port=auto",
    ]);
    let mut listener = open(&server, "/live/b", "");
    listener.send(TEXT, b"hi");
    assert_eq!(closed_with(&mut listener), 1008);
    let mut speaker = open(&server, "/live/a", "");
    speaker.send(TEXT, b"hi");
    assert_eq!(speaker.recv().payload, b"hi");
    let code = |path: &str, op: &str, topic: &str| {
        let mut client = open(&server, path, "");
        ask(&mut client, &json!({"op": op, "id": 1, "topic": topic}))["code"].clone()
    };
    assert_eq!(code("/chat", "subscribe", "room/a"), Value::Null);
    assert_eq!(code("/chat", "subscribe", "x"), "not_allowed");
    assert_eq!(code("/open", "subscribe", "x"), "not_allowed");
    assert_eq!(code("/open", "subscribe", "/live/x"), Value::Null);
}

/// The status and the body of an answer of the API.
fn call(server: &Server, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
    let address = server.web();
    let mut stream = std::net::TcpStream::connect(&address).expect("the pages are served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = body.len();
    let request = format!(
        "{method} /api/{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    call(server, "POST", path, KEY, &body.to_string())
}

fn with_api(folder: &Scratch, more: &[&str]) -> Server {
    let key = format!(
        "--api-key={}",
        folder.write("key", &format!("{KEY}\nnotes\n"))
    );
    let mut arguments = vec!["--workers=2", "--port=auto", "--interval=50ms", &key];
    arguments.extend(more);
    Server::start(&arguments)
}

#[test]
fn the_api_needs_its_key() {
    let folder = scratch("api");
    let server = with_api(&folder, &["--app=pubsub"]);
    for key in ["", "wrong", &KEY[1..]] {
        let (status, body) = call(&server, "GET", "services", key, "");
        assert_eq!(status, 401, "{body}");
    }
    let (status, body) = call(&server, "GET", "services", KEY, "");
    assert_eq!(
        (status, body),
        (
            200,
            json!({"services": [{"service": "", "application": "pubsub"}]})
        )
    );
    let page = get(&server.web(), "/metrics");
    assert!(page.contains("\nringway_api_requests_total 4\n"), "{page}");
    assert!(
        page.contains("\nringway_api_unauthorized_total 3\n"),
        "{page}"
    );
    // Every refusal says why, as JSON.
    for (method, path, status) in [
        ("GET", "nothing", 404),
        ("POST", "topics", 405),
        ("GET", "topics?limit=x", 400),
        ("POST", "publish", 400),
    ] {
        let (said, body) = call(&server, method, path, KEY, "");
        assert_eq!(said, status, "{method} {path}");
        assert!(body["error"].is_string(), "{method} {path}: {body}");
    }
    let off = Server::start_app("pubsub", "--io=auto", &[]);
    assert_eq!(call(&off, "GET", "services", KEY, "").0, 404);
}

#[test]
fn the_api_publishes_to_subscribers_on_all_workers() {
    let folder = scratch("api");
    let server = with_api(&folder, &["--app=pubsub", "--bus-log=64KiB"]);
    let mut clients = server.clients_on_both_workers(2);
    for client in &mut clients {
        ask(client, &json!({"op": "subscribe", "id": 1, "topic": "a/+"}));
    }
    let body = r#"{"topic":"a/b", "data": {"bid": 1.0810} }"#;
    let (status, first) = call(&server, "POST", "publish", KEY, body);
    assert_eq!((status, &first["offset"]), (200, &json!(1)), "{first}");
    let batch = json!([
        {"topic": "a/b", "data": "two"},
        {"topic": "a/#", "data": 3},
        {"topic": "a/c", "base64": "//4=", "retain": true},
        {"topic": "a/b", "base64": "A".repeat(16 << 10)},
    ]);
    let (status, answers) = post(&server, "publish", &batch);
    assert_eq!(
        (status, &answers[0]["offset"]),
        (200, &json!(2)),
        "{answers}"
    );
    assert_eq!(
        (&answers[1]["status"], &answers[2]["offset"]),
        (&json!(400), &json!(1))
    );
    assert_eq!(answers[3]["status"], 413);
    for client in &mut clients {
        let frame = client.recv();
        let text = String::from_utf8(frame.payload).expect("JSON");
        // As it was written.
        assert!(text.contains(r#""data":{"bid": 1.0810}"#), "{text}");
        // Topics have no common order.
        let mut both = [hear(client), hear(client)];
        both.sort_by_key(|message| message["topic"].to_string());
        assert_eq!(
            (&both[0]["data"], &both[0]["offset"]),
            (&json!("two"), &json!(2))
        );
        assert_eq!(both[1]["base64"], "//4=");
    }
    // Topics, in pages.
    ask(
        &mut clients[0],
        &json!({"op": "subscribe", "id": 2, "topic": "z"}),
    );
    let all = clients.len();
    let (_, page) = call(&server, "GET", "topics?limit=1", KEY, "");
    let first = json!([{"topic": "a/+", "subscribers": all}]);
    assert_eq!(
        page,
        json!({"topics": first, "more": true, "complete": true})
    );
    let (_, page) = call(&server, "GET", "topics?after=a/%2B", KEY, "");
    let rest = json!([{"topic": "z", "subscribers": 1}]);
    assert_eq!(
        page,
        json!({"topics": rest, "more": false, "complete": true})
    );
    let (_, page) = call(&server, "GET", "topics?topic=z", KEY, "");
    assert_eq!(page["topics"], rest);
    let (status, _) = post(&server, "broadcast", &json!({"text": "x"}));
    assert_eq!(status, 400, "there is no broadcast");
}

#[test]
fn the_api_broadcasts_and_disconnects() {
    let folder = scratch("api");
    let token = format!("--token-key={}", folder.write("secret", SECRET));
    let more = [
        "--service=/live/*=broadcast,/more=broadcast",
        &token,
        "--token-required=false",
    ];
    let server = with_api(&folder, &more);
    let ada = signed(600, json!({"sub": "ada"}));
    let mut first = open(&server, &format!("/live/a?token={ada}"), "");
    let mut second = open(&server, "/live/b", "");
    let mut third = open(&server, "/more", "");
    let done = (200, json!({}));
    assert_eq!(
        post(
            &server,
            "broadcast",
            &json!({"path": "/live/a", "text": "to a"})
        ),
        done
    );
    assert_eq!(
        post(
            &server,
            "broadcast",
            &json!({"service": "/live/*", "text": "below live"})
        ),
        done
    );
    assert_eq!(post(&server, "broadcast", &json!({"base64": "/w=="})), done);
    for (client, texts) in [
        (&mut first, &["to a", "below live"][..]),
        (&mut second, &["below live"]),
        (&mut third, &[]),
    ] {
        for text in texts {
            assert_eq!(client.recv().payload, text.as_bytes());
        }
        assert_eq!(client.recv().payload, b"\xff");
    }
    let both = json!({"path": "/live/a", "service": "/more", "text": "x"});
    assert_eq!(post(&server, "broadcast", &both).0, 400);
    let (_, page) = call(&server, "GET", "topics?service=/live/*", KEY, "");
    let paths =
        json!([{"topic": "/live/a", "subscribers": 1}, {"topic": "/live/b", "subscribers": 1}]);
    assert_eq!(page["topics"], paths);
    let (status, _) = post(&server, "disconnect", &json!({"code": 4000}));
    assert_eq!(status, 400, "nobody is meant");
    let closed = |count: u64| (200, json!({"closed": count, "complete": true}));
    let whom = json!({"subject": "ada", "code": 4001, "reason": "bye"});
    assert_eq!(post(&server, "disconnect", &whom), closed(1));
    assert_eq!(closed_with(&mut first), 4001);
    assert_eq!(
        post(&server, "disconnect", &json!({"path": "/more"})),
        closed(1)
    );
    assert_eq!(closed_with(&mut third), 1008);
    assert_eq!(
        post(&server, "disconnect", &json!({"subject": "grace"})),
        closed(0)
    );
    assert_eq!(
        post(
            &server,
            "disconnect",
            &json!({"address": "127.0.0.1", "code": 1001})
        )
        .1["complete"],
        true
    );
    assert_eq!(closed_with(&mut second), 1001);
}

#[test]
fn wrong_keys_are_told_before_anything_starts() {
    let folder = scratch("api");
    let short = folder.write("short", "short");
    let other = folder.write(
        "other",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0gkq0XcyQ user@host",
    );
    for (option, why) in [
        (format!("--token-key={short}"), "at least 32 bytes"),
        (
            format!("--token-key={}", folder.path("none")),
            "give a file",
        ),
        (format!("--token-key={other}"), "in another form"),
        (format!("--api-key={short}"), "openssl rand"),
        (
            "--may-publish=/x=a".to_owned(),
            "no --service has this path",
        ),
        (
            "--token-issuer=x".to_owned(),
            "no effect without --token-key",
        ),
    ] {
        let output = run(
            "server",
            &["--app=pubsub", "--wsuri=ws://127.0.0.1:0", &option],
        );
        let stderr = output.stderr;
        assert_eq!(output.code, 2, "{option}: {stderr}");
        assert!(stderr.contains(why), "{option}: {stderr}");
    }
}
