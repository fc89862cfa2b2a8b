//! `--web-auth`: whatever the web process answers needs a user and a password.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::http::{Http, application};
use super::{figure, site};
use crate::common::client::{REQUEST, exchange};
use crate::common::{Server, run, scratch, until};

/// `secret`, as `htpasswd -B` writes it.
const ADA: &str = "ada:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
/// `ada:secret`, and with another password.
const GOOD: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";
const BAD: &str = "Authorization: Basic YWRhOlNlY3JldA==\r\n";

#[test]
fn whatever_is_answered_needs_a_user() {
    let files = site();
    files.write("users", &format!("# users\n{ADA}\n"));
    let programs = scratch("web-auth");
    let script = "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; echo $AUTH_TYPE $REMOTE_USER $HTTP_AUTHORIZATION\n";
    let path = programs.write("who", script);
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = target.local_addr().expect("an address").to_string();
    let options = [
        "--workers=2".to_owned(),
        "--web-auth".to_owned(),
        "--web-listing".to_owned(),
        format!("--basic-auth={}", files.path("users")),
        format!("--web={}", files.path("")),
        format!("--cgi-dir={}", programs.path("")),
        format!("--http-proxy={}", application()),
    ];
    let options = options.each_ref().map(String::as_str);
    let server = Server::start_gateway(&target, &options);
    let mut http = Http::to(&server.address());
    let requests = [
        ("GET", "/"),
        ("HEAD", "/ten.bin"),
        ("GET", "/sub/"),
        ("GET", "/who"),
        ("GET", "/head"),
        ("DELETE", "/head"),
        ("GET", "/none/"),
    ];
    for fields in [
        "",
        BAD,
        "Authorization: Basic !\r\n",
        "Authorization: Bearer YWRhOnNlY3JldA==\r\n",
    ] {
        for (method, path) in requests {
            let answer = http.ask(method, path, fields);
            assert_eq!(answer.status, 401, "{method} {path}");
            let challenge = "Basic realm=\"Ringway\", charset=\"UTF-8\"";
            assert_eq!(answer.field("www-authenticate"), Some(challenge));
        }
    }
    // The body of a stranger is not waited for.
    let mut stranger = Http::to(&server.address());
    stranger.send(b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(stranger.answer(false).expect("an answer").status, 401);
    until("they are counted", || figure(&server, "unauthorized") == 29);

    let mut http = Http::to(&server.address());
    assert_eq!(http.ask("GET", "/", GOOD).text(), "<p>Grüße");
    assert_eq!(http.ask("HEAD", "/ten.bin", GOOD).status, 200);
    assert!(http.ask("GET", "/sub/", GOOD).text().contains("a b.txt"));
    assert_eq!(http.ask("GET", "/who", GOOD).text(), "Basic ada\n");
    let told = http.ask("GET", "/head", &format!("{GOOD}X-Forwarded-User: root\r\n"));
    assert!(
        told.text().contains("\nx-forwarded-user: ada\n"),
        "{}",
        told.text()
    );
    assert!(!told.text().contains("root"), "{}", told.text());
    assert_eq!(
        http.ask("GET", "/", BAD).status,
        401,
        "on the same connection"
    );
    // WebSockets are guarded by their worker.
    let refused = exchange(&server.address(), REQUEST.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
}

#[test]
fn without_it_pages_are_for_everybody() {
    let files = site();
    let web = format!("--web={}", files.path(""));
    let users = format!("--basic-auth={ADA}");
    let server = Server::start_gateway("127.0.0.1:1", &[&web, &users]);
    assert_eq!(Http::to(&server.address()).get("/").status, 200);
    let alone = [
        "gateway",
        "127.0.0.1:0",
        "127.0.0.1:1",
        "--port=0",
        "--web-auth",
    ];
    for more in [&users, &web] {
        let output = run("ringway", &[&alone[..], &[more]].concat());
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(
            output.stderr.contains("--web-auth has no effect without"),
            "{}",
            output.stderr
        );
    }
}
