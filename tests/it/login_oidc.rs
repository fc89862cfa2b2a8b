//! The example of a login by a third party: a browser's way through it, and what is refused.

use std::io::Write as _;

use crate::common::client::{Client, REQUEST, TEXT, dial, exchange};

#[path = "../../examples/login_oidc.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod example;

/// The example, for as long as a test runs: where the pages are, and the WebSocket.
fn start() -> (ringway::Running, String, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let pages = listener.local_addr().expect("bound").to_string();
    let program = example::program(&format!("http://{pages}"), "ws://127.0.0.1:0");
    let (running, router) = program.expect("a free port");
    // It ends with the test's process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("it serves");
        });
    });
    let websocket = running.url().trim_start_matches("ws://").to_owned();
    (running, pages, websocket)
}

/// What a browser gets for a URL, with a cookie.
fn get(pages: &str, url: &str, cookie: &str) -> String {
    let path = url.trim_start_matches("http://");
    let path = path.strip_prefix(pages).unwrap_or(path);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {pages}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    exchange(pages, request.as_bytes())
}

/// A header of an answer that sends the browser somewhere else.
fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let found = answer.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// The pair of a cookie that an answer sets.
fn cookie(answer: &str) -> &str {
    let (pair, attributes) = header(answer, "set-cookie: ")
        .split_once("; ")
        .expect("attributes");
    assert!(
        attributes.starts_with("HttpOnly; SameSite=Lax; "),
        "{answer}"
    );
    pair
}

fn asking(headers: &str) -> String {
    REQUEST.replacen("\r\n\r\n", &format!("\r\n{headers}\r\n\r\n"), 1)
}

#[test]
fn a_user_of_the_provider_talks_and_anybody_else_is_refused() {
    let (running, pages, websocket) = start();
    let page = get(&pages, "/", "a=b");
    assert!(
        page.contains(&format!("new WebSocket(\"ws://{websocket}")),
        "{page}"
    );

    let sent = get(&pages, "/login", "a=b");
    let (provider, login) = (header(&sent, "location: "), cookie(&sent));
    let form = get(&pages, provider, "a=b");
    assert!(form.contains("<title>Provider</title>"), "{form}");
    let back = get(&pages, &format!("{provider}&user=anna"), "a=b");
    let back = header(&back, "location: ");

    // Neither another browser, nor an answer to another login.
    let other = get(&pages, "/login", "a=b");
    for cookie in ["a=b", cookie(&other)] {
        let refused = get(&pages, back, cookie);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    }
    let done = get(&pages, back, &format!("a=b; {login}"));
    assert_eq!(header(&done, "location: "), "/");
    let token = cookie(&done);
    // A code is good once.
    let again = get(&pages, back, login);
    assert!(again.starts_with("HTTP/1.1 502 "), "{again}");

    let bearer = token.replacen("token=", "Authorization: Bearer ", 1);
    let own = format!("Cookie: a=b; {token}\r\nOrigin: http://{pages}");
    for headers in [&own, &bearer] {
        let mut stream = dial(&websocket).expect("it listens");
        stream.write_all(asking(headers).as_bytes()).expect("sent");
        let mut client = Client::opened(stream).expect("a WebSocket opens");
        client.send(TEXT, b"hello");
        client.expect(TEXT, b"anna said: hello");
        client.close();
    }
    let forged = format!("{bearer}A");
    for (headers, status) in [
        ("Cookie: a=b", "401"),
        (forged.as_str(), "401"),
        ("Authorization: Bearer ", "401"),
        (
            &format!("Cookie: {token}\r\nOrigin: http://elsewhere.example"),
            "403",
        ),
    ] {
        let refused = exchange(&websocket, asking(headers).as_bytes());
        let expected = format!("HTTP/1.1 {status} ");
        assert!(refused.starts_with(&expected), "{headers}: {refused}");
    }
    running.shutdown().expect("an orderly end");
}

#[test]
fn the_provider_serves_its_own_client_only() {
    let (running, pages, _) = start();
    let sent = get(&pages, "/login", "a=b");
    let asked = header(&sent, "location: ");
    for (right, wrong) in [
        ("client_id=greeter", "client_id=other"),
        ("/callback", "/elsewhere"),
        ("code_challenge_method=S256", "code_challenge_method=plain"),
        ("response_type=code", "response_type=token"),
    ] {
        let changed = asked.replacen(right, wrong, 1);
        assert_ne!(changed, asked);
        let refused = get(&pages, &format!("{changed}&user=anna"), "a=b");
        assert!(refused.starts_with("HTTP/1.1 400 "), "{wrong}: {refused}");
    }
    // A code alone, without the client's secret, is good for nothing.
    let back = get(&pages, &format!("{asked}&user=anna"), "a=b");
    let (_, code) = header(&back, "location: ")
        .split_once("?code=")
        .expect("a code");
    let (code, _) = code.split_once('&').expect("a state");
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier=x&client_id=greeter&client_secret=x\
         &redirect_uri=http://{pages}/callback"
    );
    let request = format!(
        "POST /provider/token HTTP/1.1\r\nHost: {pages}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let refused = exchange(&pages, request.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(
        refused.ends_with("{\"error\":\"invalid_grant\"}"),
        "{refused}"
    );
    running.shutdown().expect("an orderly end");
}
