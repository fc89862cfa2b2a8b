//! `--web` and `--http-proxy`: HTTP on the port of the WebSockets, by a process of its own. Client and application are in `web/http.rs`.

mod auth;
mod cgi;
mod http;

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::client::{Client, TEXT, dial, noise};
use crate::common::{Scratch, Server, kill, on_both_tiers, run, scratch, until};
use crate::tls;
use http::{Answer, Http, application, unix_application};

on_both_tiers!(
    files_have_types_validators_and_ranges,
    an_application_gets_what_is_for_no_file_and_knows_the_client,
    large_bodies_stream_both_ways_in_little_memory,
    an_application_that_is_away_is_502_and_a_slow_one_504,
    a_web_socket_and_pages_share_a_port,
    under_tls_the_application_knows_that_it_is,
    a_web_process_that_is_killed_is_replaced_and_requests_go_on,
    a_worker_that_is_replaced_relays_on,
    connections_above_the_limit_wait_and_then_get_502,
    a_client_that_stops_is_not_waited_for_for_ever,
    a_drain_lets_requests_end,
);

/// A directory with some files.
fn site() -> Scratch {
    let folder = scratch("web");
    folder.write("index.html", "<p>Grüße");
    folder.write("app.js", "let x = 1;");
    folder.write("app.js.gz", "compressed");
    folder.write("ten.bin", "0123456789");
    fs::create_dir(folder.path("sub")).expect("a directory");
    folder.write("sub/a b.txt", "a");
    folder
}

fn serve(folder: &Scratch, more: &[&str]) -> Server {
    let web = format!("--web={}", folder.path(""));
    let mut arguments = vec![web.as_str(), "--port=auto", "--interval=50ms"];
    if !more.iter().any(|option| option.starts_with("--workers")) {
        arguments.push("--workers=2");
    }
    arguments.extend(more);
    Server::start(&arguments)
}

fn serve_application(url: &str, more: &[&str]) -> Server {
    let proxy = format!("--http-proxy={url}");
    let mut arguments = vec![proxy.as_str(), "--port=auto", "--interval=50ms"];
    if !more.iter().any(|option| option.starts_with("--workers")) {
        arguments.push("--workers=2");
    }
    arguments.extend(more);
    Server::start(&arguments)
}

/// A figure of the web process.
fn figure(server: &Server, name: &str) -> u64 {
    server.stats()["web"]["total"][name].as_u64().expect(name)
}

fn web_pid(server: &Server) -> Option<u32> {
    let pid = server.stats()["web"]["pid"].as_u64()?;
    u32::try_from(pid).ok()
}

fn files_have_types_validators_and_ranges(io: &str) {
    let folder = site();
    let more = [
        io,
        "--web-cache-control=max-age=60",
        "--header=X-Frame-Options: DENY",
        "--server-name=own",
    ];
    let server = serve(&folder, &more);
    let mut http = Http::to(&server.address());
    let page = http.get("/");
    assert_eq!((page.status, page.text()), (200, "<p>Grüße"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("x-frame-options", "DENY"),
        ("server", "own"),
        ("content-length", "10"),
    ] {
        assert_eq!(page.field(name), Some(value), "{page:?}");
    }
    let etag = page.field("etag").expect("a validator").to_owned();
    let modified = page.field("last-modified").expect("a time").to_owned();
    let head = http.ask("HEAD", "/index.html", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some("10"));
    for condition in [
        format!("If-None-Match: {etag}\r\n"),
        format!("If-Modified-Since: {modified}\r\n"),
    ] {
        let same = http.ask("GET", "/", &condition);
        assert_eq!((same.status, same.body.len()), (304, 0), "{condition}");
        assert_eq!(same.field("etag"), Some(&*etag));
        assert_eq!(same.field("cache-control"), Some("max-age=60"));
    }
    assert_eq!(
        http.ask("GET", "/", "If-None-Match: \"other\"\r\n").status,
        200
    );

    let absent = http.get("/none");
    assert!(
        absent.status == 404 && absent.text().starts_with("404: "),
        "{absent:?}"
    );
    assert_eq!(absent.field("x-frame-options"), Some("DENY"));
    let written = http.ask("POST", "/", "Content-Length: 0\r\n");
    assert_eq!(
        (written.status, written.field("allow")),
        (405, Some("GET, HEAD"))
    );
    assert!(written.text().starts_with("405: "));
    until("requests are counted", || figure(&server, "requests") == 7);
    assert_eq!(
        (figure(&server, "files"), figure(&server, "refused")),
        (5, 2)
    );
    assert_eq!(server.counter_reaching("relayed", 1).iter().sum::<u64>(), 1);
    let metrics = crate::common::get(&server.web(), "/metrics");
    for line in [
        "\nringway_web_requests_total 7\n",
        "\nringway_web_restarts_total 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn files_are_read_in_parts_and_compressed() {
    let folder = site();
    let server = serve(&folder, &[]);
    let mut http = Http::to(&server.address());
    let part = http.ask("GET", "/ten.bin", "Range: bytes=2-4\r\n");
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(part.field("content-type"), Some("application/octet-stream"));
    assert_eq!(
        http.ask("GET", "/ten.bin", "Range: bytes=-2\r\n").text(),
        "89"
    );
    let beyond = http.ask("GET", "/ten.bin", "Range: bytes=20-\r\n");
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, Some("bytes */10"))
    );
    // A download that is taken up again: only if the file is still the same.
    let etag = part.field("etag").expect("a validator").to_owned();
    let range = |of: &str| format!("Range: bytes=5-\r\nIf-Range: {of}\r\n");
    assert_eq!(http.ask("GET", "/ten.bin", &range(&etag)).text(), "56789");
    folder.write("ten.bin", "abcdefghijk");
    let anew = http.ask("GET", "/ten.bin", &range(&etag));
    assert_eq!((anew.status, anew.text()), (200, "abcdefghijk"));

    let packed = http.ask("GET", "/app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!(
        (packed.field("content-encoding"), packed.text()),
        (Some("gzip"), "compressed")
    );
    assert_eq!(
        packed.field("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(http.get("/app.js").text(), "let x = 1;");
}

#[test]
fn requests_behind_others_are_held_to_the_rules() {
    let folder = site();
    let server = serve(&folder, &[]);
    let all = |requests: &str| {
        let mut stream = dial(&server.address()).expect("it listens");
        stream.write_all(requests.as_bytes()).expect("room");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("an end");
        answers
    };
    let first = "GET /app.js HTTP/1.1\r\nHost: a\r\n\r\n";
    for (fields, why) in [("Host: a\r\nHost: b\r\n", "two"), ("", "none")] {
        let answers = all(&format!("{first}GET / HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{why}: {answers}");
        assert!(
            answers.ends_with("400: a request has exactly one Host\n"),
            "{why}"
        );
    }
    // Only a worker opens a WebSocket: whoever asks here has to ask again.
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answers = all(&format!(
        "{first}GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"
    ));
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.ends_with("let x = 1;"), "{answers}");
}

#[test]
fn a_request_without_a_body_has_neither_a_length_nor_chunks() {
    let server = serve_application(&application(), &[]);
    let bare = Http::to(&server.address()).ask("DELETE", "/head", "");
    assert_eq!(bare.status, 200);
    assert!(!bare.text().contains("transfer-encoding"), "{bare:?}");
    assert!(!bare.text().contains("content-length"), "{bare:?}");
}

#[test]
fn directories_have_an_index_a_slash_and_a_list_if_asked_for() {
    let folder = site();
    let server = serve(&folder, &[]);
    let mut http = Http::to(&server.address());
    let moved = http.get("/sub?a=1");
    assert_eq!(
        (moved.status, moved.field("location")),
        (301, Some("/sub/?a=1"))
    );
    assert_eq!(http.get("/sub/").status, 404);
    // It would lead to the host `sub`.
    assert_eq!(http.get("//sub").status, 404);

    let server = serve(&folder, &["--web-listing"]);
    let mut http = Http::to(&server.address());
    let list = http.get("/sub/");
    assert_eq!(list.status, 200);
    assert_eq!(list.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(list.text().contains("<a href=\"./a%20b.txt\">a b.txt</a>"));
    assert_eq!(http.get("/sub/a%20b.txt").text(), "a");
    assert_eq!(http.get("/").text(), "<p>Grüße", "an index comes first");
    assert_eq!(http.get("/none/").status, 404);
}

#[test]
fn nothing_outside_of_the_directory_is_served() {
    let outside = scratch("web-outside");
    outside.write("secret.txt", "secret");
    let folder = site();
    let link = |to: &str, name: &str| symlink(to, folder.path(name)).expect("a link");
    link(&outside.path("secret.txt"), "file");
    link(&outside.path(""), "dir");
    link("../../../../../../../../etc/passwd", "up");
    link("loop", "loop");
    link("sub/a b.txt", "inner");
    let fifo = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(fifo.expect("mkfifo runs").success());
    let secret = outside.path("secret.txt");
    let name = outside.path("");
    let name = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .expect("a name");
    let server = serve(&folder, &["--web-listing"]);
    let mut http = Http::to(&server.address());
    for path in [
        "/file",
        "/dir/secret.txt",
        "/dir/",
        "/dir",
        "/up",
        "/loop",
        "/pipe",
        &format!("/../{name}/secret.txt"),
        &format!("/sub/../../{name}/secret.txt"),
        &format!("/%2e%2e/{name}/secret.txt"),
        &format!("/..%2f{name}/secret.txt"),
        &format!("/sub/..%2F..%2F{name}/"),
        &format!("/..%5c{name}/secret.txt"),
        &format!("/{secret}"),
        "/index.html%00.txt",
        &format!("/{}", "a".repeat(300)),
        "/index.html/x",
    ] {
        let answer = http.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    assert_eq!(http.get("/inner").text(), "a", "a link to a file within");
    let list = http.get("/");
    assert_eq!(list.status, 200);
    fs::remove_file(folder.path("index.html")).expect("it is there");
    let list = http.get("/");
    assert!(
        list.text().contains(">inner<") && !list.text().contains(">file<"),
        "{list:?}"
    );
}

fn an_application_gets_what_is_for_no_file_and_knows_the_client(io: &str) {
    let folder = site();
    let proxy = format!("--http-proxy={}", application());
    let server = serve(&folder, &[io, &proxy, "--header=X-Own: 1"]);
    let mut http = Http::to(&server.address());
    assert_eq!(
        http.get("/ten.bin").text(),
        "0123456789",
        "files come first"
    );
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                  Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nCookie: a=b\r\n";
    let told = http.ask("GET", "/head?q=%20x", fields);
    let expected = "GET /head?q=%20x HTTP/1.1\nhost: site.example\ncookie: a=b\nx-forwarded-for: 127.0.0.1\n\
                    x-forwarded-proto: http\nx-forwarded-host: site.example\n";
    assert_eq!((told.status, told.text()), (200, expected));
    assert_eq!(
        (told.field("x-own"), told.field("x-powered-by")),
        (Some("1"), Some("test"))
    );
    assert!(
        told.field("server")
            .is_some_and(|name| name.starts_with("ringway/"))
    );
    assert_eq!(
        (told.field("x-hop"), told.field("connection")),
        (None, None)
    );
    // A method and a body of the application, on a path that is a file's.
    http.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let echoed = http.answer(false).expect("an answer");
    assert_eq!((echoed.status, echoed.text()), (201, "abcde"));
    // 100 comes before the body is sent.
    http.send(
        b"PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(http.answer(false).expect("an answer").status, 100);
    http.send(b"body");
    assert_eq!(http.answer(false).expect("an answer").text(), "body");
    // A client that ends its direction behind its request.
    let mut last = Http::to(&server.address());
    last.send(b"GET /head HTTP/1.0\r\n\r\n");
    last.0
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("it is open");
    let mut text = String::new();
    last.0.read_to_string(&mut text).expect("an answer");
    assert!(text.contains("\r\n\r\nGET /head HTTP/1.1\n"), "{text}");

    let trusting = [
        "--trust-forwarded-for=1",
        "--trust-proxies=127.0.0.1",
        &proxy,
        io,
    ];
    let server = serve(&folder, &trusting);
    let fields =
        "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n";
    let told = Http::to(&server.address()).ask("GET", "/head", fields);
    for line in [
        "x-forwarded-for: 192.0.2.9, 127.0.0.1\n",
        "x-forwarded-proto: https\n",
        "x-forwarded-host: shop\n",
    ] {
        assert!(told.text().contains(line), "{}", told.text());
    }
    let at = unix_application(&folder.path("app.sock"));
    let server = serve_application(&at, &[io]);
    assert!(
        Http::to(&server.address())
            .get("/head")
            .text()
            .contains("host: site.example\n")
    );
}

/// Resident memory of a process, bytes, at its highest.
fn peak(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") * 1024
}

fn large_bodies_stream_both_ways_in_little_memory(io: &str) {
    const LEN: usize = 100 << 20;
    let server = serve_application(&application(), &[io, "--workers=1"]);
    let web = web_pid(&server).expect("it runs");
    let before: Vec<_> = server
        .workers()
        .into_iter()
        .map(|pid| (pid, peak(pid)))
        .collect();
    assert!(before.iter().any(|(pid, _)| *pid == web));
    let mut http = Http::to(&server.address());
    http.send(format!("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n").as_bytes());
    http.send(&noise(1, LEN));
    assert_eq!(
        http.answer(false).expect("an answer").text(),
        LEN.to_string()
    );
    let down = http.get(&format!("/noise/{LEN}"));
    assert!(down.status == 200 && down.body == noise(2, LEN));
    // A reader that stops for a while is waited for.
    let mut slow = Http::to(&server.address());
    slow.send(format!("GET /noise/{LEN} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    thread::sleep(Duration::from_secs(1));
    assert!(slow.answer(false).expect("an answer").body == noise(2, LEN));
    for (pid, before) in before {
        let grown = peak(pid).saturating_sub(before);
        assert!(grown < 16 << 20, "{pid} has grown by {grown} bytes");
    }
}

fn an_application_that_is_away_is_502_and_a_slow_one_504(io: &str) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let server = serve_application(&format!("http://{address}"), &[io]);
    let mut http = Http::to(&server.address());
    for _ in 0..3 {
        let away = http.get("/");
        assert!(
            away.status == 502 && away.text().starts_with("502: "),
            "{away:?}"
        );
    }
    until("they are counted", || figure(&server, "proxy_failed") == 3);
    let said = server.stderr().matches("a request got 502").count();
    assert_eq!(said, 1, "{}", server.stderr());

    let server = serve_application(&application(), &[io, "--http-proxy-timeout=300ms"]);
    let mut http = Http::to(&server.address());
    let slow = http.get("/silent");
    assert!(
        slow.status == 504 && slow.text().starts_with("504: "),
        "{slow:?}"
    );
    assert_eq!(http.get("/garbage").status, 502);
    assert_eq!(http.get("/head").status, 200, "the connection goes on");
    for path in ["/cut", "/half"] {
        let mut http = Http::to(&server.address());
        http.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(
            http.answer(false).is_none(),
            "an answer without its end is none"
        );
    }
    until("they are counted", || figure(&server, "proxy_cut") == 2);
}

fn a_web_socket_and_pages_share_a_port(io: &str) {
    let folder = site();
    let server = serve(&folder, &[io]);
    let mut client = Client::connect_to(&server.address(), "/index.html");
    let mut http = Http::to(&server.address());
    for number in 0..3 {
        client.echo(TEXT, format!("{number}").as_bytes());
        assert_eq!(http.get("/").status, 200);
    }

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let web = format!("--web={}", folder.path(""));
    let server = Server::start_gateway(&target, &[io, "--workers=2", &web]);
    let mut client = Client::connect(&server.address());
    let (mut stream, _) = listener.accept().expect("a stream");
    assert_eq!(
        Http::to(&server.address()).get("/ten.bin").text(),
        "0123456789"
    );
    stream.write_all(b"hello").expect("it reads");
    client.expect(crate::common::client::BINARY, b"hello");
}

fn under_tls_the_application_knows_that_it_is(io: &str) {
    let folder = site();
    let web = format!("--web={}", folder.path(""));
    let proxy = format!("--http-proxy={}", application());
    let server = tls::started(&folder, &["localhost"], &[io, &web, &proxy, "--workers=2"]);
    let client = || {
        Http(BufReader::new(tls::client(
            &server,
            &folder,
            "localhost",
            |_| {},
        )))
    };
    let mut http = client();
    assert_eq!(http.get("/ten.bin").text(), "0123456789");
    let told = http.get("/head");
    assert!(
        told.text().contains("x-forwarded-proto: https\n"),
        "{}",
        told.text()
    );
    const LEN: usize = 5 << 20;
    http.send(format!("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n").as_bytes());
    http.send(&noise(1, LEN));
    assert_eq!(
        http.answer(false).expect("an answer").text(),
        LEN.to_string()
    );
    assert!(client().get(&format!("/noise/{LEN}")).body == noise(2, LEN));
    let plain = Http::to(&server.address()).get("/head");
    assert!(
        plain.text().contains("x-forwarded-proto: http\n"),
        "beside it on the same port"
    );
    let mut websocket = tls::open(&server, &folder, "localhost");
    websocket
        .write_all(&crate::common::client::frame(TEXT, b"hi"))
        .expect("sent");
    tls::expect(&mut websocket, TEXT, b"hi");
}

fn a_web_process_that_is_killed_is_replaced_and_requests_go_on(io: &str) {
    let folder = site();
    let server = serve(&folder, &[io]);
    let mut client = Client::connect(&server.address());
    for number in 1..=3 {
        let victim = web_pid(&server).expect("it runs");
        let mut open = Http::to(&server.address());
        assert_eq!(open.get("/").status, 200);
        kill(victim);
        // Its connections end with it.
        open.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(open.answer(false).is_none());
        // New ones wait for the next one.
        let ask = || {
            thread::spawn({
                let address = server.address();
                move || Http::to(&address).get("/ten.bin").body
            })
        };
        let asked: Vec<_> = (0..8).map(|_| ask()).collect();
        for asked in asked {
            assert_eq!(asked.join().expect("an answer"), b"0123456789");
        }
        client.echo(TEXT, b"nothing of this concerns a WebSocket");
        until("it is counted", || {
            server.stats()["web"]["restarts"] == number
        });
    }
    assert!(
        server.stderr().contains("the web process (pid "),
        "{}",
        server.stderr()
    );
}

fn a_worker_that_is_replaced_relays_on(io: &str) {
    let folder = site();
    let server = serve(&folder, &[io, "--workers=1"]);
    assert_eq!(Http::to(&server.address()).get("/").status, 200);
    let victim = server.seats()[0];
    kill(victim);
    server.wait_for_successor(0, victim);
    assert_eq!(Http::to(&server.address()).get("/").status, 200);
}

fn connections_above_the_limit_wait_and_then_get_502(io: &str) {
    let folder = site();
    let server = serve(
        &folder,
        &[io, "--web-connections=2", "--web-idle-timeout=60s"],
    );
    let mut served: Vec<_> = (0..2).map(|_| Http::to(&server.address())).collect();
    for http in &mut served {
        assert_eq!(http.get("/").status, 200);
    }
    // The kernel's queue holds one more than it is told.
    let mut rest: Vec<_> = (0..8).map(|_| Http::to(&server.address())).collect();
    for http in &mut rest {
        http.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    let failed = server.counter_reaching("relays_failed", 5);
    assert_eq!(failed.iter().sum::<u64>(), 5);
    drop(served);
    let mut statuses = Vec::new();
    for mut http in rest {
        let answer = http.answer(false).expect("an answer");
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502, 502, 502]);
}

fn a_client_that_stops_is_not_waited_for_for_ever(io: &str) {
    let server = serve_application(&application(), &[io, "--web-idle-timeout=300ms"]);
    // Between two requests, and within the head of the second one.
    for rest in ["", "GET / HTT"] {
        let mut http = Http::to(&server.address());
        assert_eq!(http.get("/head").status, 200);
        http.send(rest.as_bytes());
        let answer = http.answer(false);
        assert!(answer.is_none_or(|answer| answer.status == 408));
    }
    // Within a body.
    let mut http = Http::to(&server.address());
    http.send(b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    let answer = http.answer(false).expect("an answer");
    assert!(
        answer.status == 408 && answer.text().starts_with("408: "),
        "{answer:?}"
    );
    until("none is left", || figure(&server, "connections") == 0);
}

fn a_drain_lets_requests_end(io: &str) {
    let mut server = serve_application(&application(), &[io, "--drain-timeout=5m"]);
    let mut idle = Http::to(&server.address());
    assert_eq!(idle.get("/head").status, 200);
    let mut busy = Http::to(&server.address());
    busy.send(
        b"PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(busy.answer(false).expect("an answer").status, 100);
    server.signal("TERM");
    until("no more connections are accepted", || {
        dial(&server.address()).is_err()
    });
    assert!(idle.answer(false).is_none(), "it is ended");
    busy.send(b"body");
    let Answer { status, body, .. } = busy.answer(false).expect("an answer");
    assert_eq!((status, &body[..]), (201, &b"body"[..]));
    drop((idle, busy));
    let began = Instant::now();
    assert_eq!(server.wait(), Some(0));
    assert!(
        began.elapsed() < Duration::from_mins(1),
        "it waits for nobody"
    );
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let server = |option| ["server", "--wsuri=ws://127.0.0.1:0", "--port=0", option];
    let forward = [
        "forward",
        "--endpoint=tcp:0:interface=127.0.0.1",
        "--dest-endpoint=tcp:127.0.0.1:1",
        "--web=/",
    ];
    for (arguments, sentence) in [
        (server("--web=/no/such/place"), "this is no directory"),
        (server("--web-listing"), "has no effect without --web"),
        (
            server("--http-proxy=https://127.0.0.1:1"),
            "is not an application",
        ),
        (forward, "what is accepted here are streams"),
    ] {
        let output = run("ringway", &arguments);
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
}
