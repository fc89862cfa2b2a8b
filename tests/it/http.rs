//! HTTP on the WebSocket port: health checks, browsers with many cookies, requests that are no opening handshake, and
//! what each answer has to have.

use std::io::{Read as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::client::{Client, REQUEST, TEXT, dial, exchange, read_head};
use crate::common::{Server, on_both_tiers, run, until};

on_both_tiers!(
    a_health_check_in_http_1_0_gets_the_page,
    an_upgrade_to_something_else_is_ignored,
    an_opening_handshake_is_judged_by_its_version_and_a_page_is_not,
    a_method_that_is_not_served_is_told_what_is,
    every_final_answer_has_a_date,
    cookies_of_16_kib_and_100_fields_open,
    limits_of_heads_are_options,
    a_target_of_8000_bytes_opens,
    a_subprotocol_is_chosen_in_the_order_of_the_client,
    one_page_answers_a_pipeline,
    a_head_that_is_cut_anywhere_has_one_answer,
    another_protocol_is_told_so_and_logged_once,
    a_request_with_a_body_gets_its_answer,
);

fn started(more: &[&str]) -> Server {
    Server::start(&[&["--workers=1", "--port=0"], more].concat())
}

/// The value of a header of an answer.
fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| {
        let (have, value) = line.split_once(':')?;
        have.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The opening handshake with lines added.
fn with(lines: &str) -> String {
    REQUEST.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

/// The head of the answer to an opening handshake.
fn opening(address: &str, request: &str) -> String {
    let mut stream = dial(address).expect("the server listens");
    stream.write_all(request.as_bytes()).expect("connected");
    read_head(&mut stream).expect("an answer").0
}

#[track_caller]
fn expect_page(address: &str, request: &str) {
    let answer = exchange(address, request.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n"),
        "{request:?} -> {answer}"
    );
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    let is_head = request.starts_with("HEAD ");
    assert_eq!(body.is_empty(), is_head, "{request:?} -> {answer}");
    assert!(is_head || body.contains("Ringway"), "{answer}");
}

fn a_health_check_in_http_1_0_gets_the_page(io: &str) {
    let server = started(&[io]);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "GET /health HTTP/1.0\r\nHost: a:9000\r\nUser-Agent: KeepAliveClient\r\n\r\n",
        "GET / HTTP/1.0\r\nHost:\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        // RFC 9110 §2.5: a higher minor version is processed as the highest one that is known.
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "HEAD /x?y HTTP/1.9\r\nHost: a\r\n\r\n",
        "GET http://a.example/x HTTP/1.1\r\nHost: b\r\n\r\n",
    ] {
        expect_page(&server.address(), request);
    }
    // RFC 9110 §9.3.2: no content for HEAD, whatever the answer is.
    let answer = exchange(&server.address(), b"HEAD / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    // RFC 9112 §3.2 asks for a Host from 1.1 on.
    for request in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.2\r\n\r\n"] {
        let answer = exchange(&server.address(), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

fn an_upgrade_to_something_else_is_ignored(io: &str) {
    let server = started(&[io]);
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0",
        "Connection: upgrade\r\nUpgrade: websockets",
        "Upgrade:",
        "Upgrade: h2c, foo/2",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        expect_page(&server.address(), &request);
    }
    // A list that has websocket in it, over several lines, asks for a WebSocket.
    let request = REQUEST
        .replace("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: WebSocket")
        .replace(
            "Connection: Upgrade",
            "Connection: keep-alive\r\nconnection: ,foo , uPGRADE,",
        );
    let head = opening(&server.address(), &request);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

fn an_opening_handshake_is_judged_by_its_version_and_a_page_is_not(io: &str) {
    let server = started(&[io]);
    let address = server.address();
    let versioned = |version| REQUEST.replace("HTTP/1.1", version);
    // RFC 6455 §4.1: "the HTTP version MUST be at least 1.1"
    for (version, status) in [
        ("HTTP/1.0", "505"),
        ("HTTP/1.1", "101"),
        ("HTTP/1.2", "101"),
        ("HTTP/1.9", "101"),
        ("HTTP/2.0", "505"),
        ("HTTP/0.9", "505"),
    ] {
        let head = opening(&address, &versioned(version));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{version}: {head}"
        );
    }
    let answer = exchange(&address, b"GET / HTTP/3.0\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

fn a_method_that_is_not_served_is_told_what_is(io: &str) {
    let server = started(&[io]);
    for (line, status) in [
        ("POST / HTTP/1.1", "405"),
        ("PUT / HTTP/1.0", "405"),
        ("DELETE /x HTTP/1.1", "405"),
        ("PATCH /x HTTP/1.1", "405"),
        ("TRACE / HTTP/1.1", "405"),
        ("OPTIONS / HTTP/1.1", "405"),
        ("OPTIONS * HTTP/1.1", "405"),
        ("CONNECT a:443 HTTP/1.1", "405"),
        // RFC 9110 §9.1: a method that nobody knows is not implemented. Methods are case-sensitive.
        ("BREW /pot HTTP/1.1", "501"),
        ("get / HTTP/1.1", "501"),
        // Forms of the target that do not go with the method (RFC 9112 §3.2).
        ("GET * HTTP/1.1", "400"),
        ("GET a:443 HTTP/1.1", "400"),
        ("CONNECT / HTTP/1.1", "400"),
        ("POST * HTTP/1.1", "400"),
    ] {
        let answer = exchange(
            &server.address(),
            format!("{line}\r\nHost: a\r\n\r\n").as_bytes(),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        let allow = (status == "405").then_some("GET, HEAD");
        assert_eq!(field(&answer, "Allow"), allow, "{line}: {answer}");
    }
    let post = exchange(
        &server.address(),
        REQUEST.replace("GET ", "POST ").as_bytes(),
    );
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970, day of the week and all.
fn seconds(date: &str) -> u64 {
    let words: Vec<&str> = date.split(' ').collect();
    let [weekday, day, month, year, time, "GMT"] = words[..] else {
        panic!("not the form of RFC 9110 §5.6.7: {date}");
    };
    assert_eq!(date.len(), 29, "{date}");
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .iter()
    .position(|name| *name == month)
    .expect("a month");
    let number = |text: &str| text.parse::<u64>().expect("digits");
    let year = number(year);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
    let days = years + lengths[..month].iter().sum::<u64>() + number(day) - 1;
    let weekdays = ["Thu,", "Fri,", "Sat,", "Sun,", "Mon,", "Tue,", "Wed,"];
    assert_eq!(weekdays[usize::try_from(days % 7).expect("small")], weekday);
    let time: Vec<u64> = time.split(':').map(number).collect();
    days * 86_400 + time[0] * 3600 + time[1] * 60 + time[2]
}

fn every_final_answer_has_a_date(io: &str) {
    assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), 784_111_777);
    let server = started(&["--max-connections=1", "--handshake-timeout=1s", io]);
    let address = server.address();
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.expect("after 1970").as_secs()
    };
    let check = |answer: &str, began: u64| {
        let date = field(answer, "Date").unwrap_or_else(|| panic!("no Date: {answer}"));
        // The server reads the clock when its turn begins, which may be a second before ours.
        assert!(
            seconds(date) + 1 >= began && seconds(date) <= now(),
            "{answer}"
        );
        assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{answer}");
    };
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "HEAD / HTTP/1.0\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "\x16\x03\x01".to_owned(),
        REQUEST.replace("Version: 13", "Version: 8"),
        REQUEST.replace("HTTP/1.1", "HTTP/1.0"),
        "GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"x".repeat(100_000),
        format!("GET /{}", "x".repeat(100_000)),
        // The head never ends: 408.
        "GET / HTTP/1.1\r\n".to_owned(),
    ] {
        let began = now();
        let answer = exchange(&address, request.as_bytes());
        // What is refused before it was read may be lost to the reset that follows.
        if !(answer.is_empty() && request.len() > 50_000) {
            check(&answer, began);
        }
    }
    let open = Client::connect(&address);
    let began = now();
    let full = exchange(&address, REQUEST.as_bytes());
    assert!(full.starts_with("HTTP/1.1 503 "), "{full}");
    check(&full, began);
    // RFC 9110 §6.6.1 leaves it to the server in a 1xx answer, and every opening handshake would carry it.
    drop(open);
    let mut head = String::new();
    until("there is room again", || {
        head = opening(&address, REQUEST);
        head.starts_with("HTTP/1.1 101 ")
    });
    assert_eq!(field(&head, "Date"), None);
}

fn cookies_of_16_kib_and_100_fields_open(io: &str) {
    let server = started(&[io]);
    let address = server.address();
    for lines in [
        format!("Cookie: {}", "c=0123456789; ".repeat(7600 / 14).trim_end()),
        format!("Cookie: a={}", "x".repeat(16 << 10)),
        ["X: y"; 95].join("\r\n"),
        // Not ASCII, as people really send it.
        "X-Name: J\u{fc}rgen".to_owned(),
    ] {
        let mut stream = dial(&address).expect("the server listens");
        stream
            .write_all(with(&lines).as_bytes())
            .expect("connected");
        Client::opened(stream)
            .expect("accepted")
            .echo(TEXT, b"after a large head");
    }
    for lines in [
        format!("Cookie: a={}", "x".repeat(40 << 10)),
        ["X: y"; 200].join("\r\n"),
    ] {
        let answer = exchange(&address, with(&lines).as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 431 ") || (answer.is_empty() && lines.len() > 30_000),
            "{answer}"
        );
    }
}

fn limits_of_heads_are_options(io: &str) {
    let server = started(&["--max-head=1000", "--max-headers=7", io]);
    let address = server.address();
    let filled = |bytes: usize| {
        let filler = "x".repeat(bytes - REQUEST.len() - "X: \r\n".len());
        with(&format!("X: {filler}"))
    };
    assert_eq!(filled(1000).len(), 1000);
    let status = |request: &str| exchange_head(&address, request)[9..12].to_owned();
    assert_eq!(status(&filled(1000)), "101");
    assert_eq!(status(&filled(1001)), "431");
    // Five fields are there.
    assert_eq!(status(&with("A: b\r\nC: d")), "101");
    assert_eq!(status(&with("A: b\r\nC: d\r\nE: f")), "431");

    let server = started(&["--max-head=1MiB", "--max-headers=5000", io]);
    let address = server.address();
    let status = |request: &str| exchange_head(&address, request)[9..12].to_owned();
    assert_eq!(status(&with(&["A: b"; 4000].join("\r\n"))), "101");
    assert_eq!(status(&filled(900_000)), "101");
}

fn exchange_head(address: &str, request: &str) -> String {
    let mut stream = dial(address).expect("the server listens");
    let _ = stream.write_all(request.as_bytes());
    read_head(&mut stream).expect("an answer").0
}

fn a_target_of_8000_bytes_opens(io: &str) {
    let server = started(&[io]);
    let target = format!("/{}?{}", "p".repeat(4000), "q".repeat(3998));
    assert_eq!(target.len(), 8000);
    let head = opening(&server.address(), &REQUEST.replace("/echo", &target));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    expect_page(
        &server.address(),
        &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
}

fn a_subprotocol_is_chosen_in_the_order_of_the_client(io: &str) {
    let chosen = |server: &Server, offer: &str| {
        let head = opening(&server.address(), &with(offer));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        field(&head, "Sec-WebSocket-Protocol").map(str::to_owned)
    };
    let some = |name: &str| Some(name.to_owned());
    // An echo speaks whatever it is asked for, and a browser fails a connection for which nothing is chosen.
    let server = started(&[io]);
    assert_eq!(chosen(&server, "X: y"), None);
    assert_eq!(chosen(&server, "Sec-WebSocket-Protocol: b, a"), some("b"));

    let server = started(&["--subprotocol=a,b", io]);
    assert_eq!(chosen(&server, "Sec-WebSocket-Protocol: b, a"), some("b"));
    assert_eq!(
        chosen(
            &server,
            "Sec-WebSocket-Protocol: c\r\nSec-WebSocket-Protocol: a,b"
        ),
        some("a")
    );
    assert_eq!(chosen(&server, "Sec-WebSocket-Protocol: c, A"), None);

    let server = started(&["--subprotocol=none", io]);
    assert_eq!(chosen(&server, "Sec-WebSocket-Protocol: a"), None);
}

fn one_page_answers_a_pipeline(io: &str) {
    let server = started(&[io]);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = exchange(&server.address(), request.repeat(3).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(field(&answer, "Connection"), Some("close"));
    let mixed = format!("{request}{REQUEST}");
    let answer = exchange(&server.address(), mixed.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains(" 101 "), "{answer}");
}

fn a_head_that_is_cut_anywhere_has_one_answer(io: &str) {
    let server = started(&[io]);
    let address = server.address();
    let page = "\r\n\r\nGET / HTTP/1.0\r\nUpgrade: h2c\r\n\r\n";
    for request in [REQUEST, page] {
        let status = if request == page { "200" } else { "101" };
        for cut in 1..request.len() {
            let mut stream = dial(&address).expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket");
            let (first, rest) = request.as_bytes().split_at(cut);
            stream.write_all(first).expect("connected");
            std::thread::yield_now();
            stream.write_all(rest).expect("connected");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).expect("an answer");
            let expected = format!("HTTP/1.1 {status}");
            assert_eq!(answer.escape_ascii().to_string(), expected, "cut at {cut}");
        }
    }
}

fn another_protocol_is_told_so_and_logged_once(io: &str) {
    let server = started(&[io]);
    let address = server.address();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for _ in 0..3 {
        let answer = exchange(&address, tls);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("TLS"), "{answer}");
    }
    for _ in 0..3 {
        let answer = exchange(
            &address,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        );
        assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
        assert!(answer.contains("HTTP/2"), "{answer}");
    }
    until("both are logged", || {
        let log = server.stderr();
        log.contains("TLS") && log.contains("HTTP/2")
    });
    let log = server.stderr();
    assert_eq!(log.matches("TLS").count(), 1, "{log}");
    assert_eq!(log.matches("HTTP/2").count(), 1, "{log}");
}

fn a_request_with_a_body_gets_its_answer(io: &str) {
    let server = started(&[io]);
    let address = server.address();
    let get = |lines: &str, body: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}");
        exchange(&address, request.as_bytes())[9..12].to_owned()
    };
    assert_eq!(get("Content-Length: 3", "abc"), "200");
    assert_eq!(
        get("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
        "200"
    );
    assert_eq!(get("Expect: 100-continue\r\nContent-Length: 3", ""), "200");
    // RFC 9112 §6.3: where a body ends must not have two readings.
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, gzip",
    ] {
        assert_eq!(get(lines, ""), "400", "{lines}");
    }
    assert_eq!(get("Transfer-Encoding: nonsense, chunked", ""), "501");
    for line in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        let answer = exchange(&address, with(line).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[test]
fn the_scheme_of_wsuri_ignores_case_and_a_user_is_refused_with_its_reason() {
    let server = Server::start(&["--workers=1", "--port=0", "--wsuri=WS://LocalHost:0"]);
    Client::connect(&server.address()).echo(TEXT, b"upper case");
    for (uri, reason) in [
        ("ws://user:pw@127.0.0.1:9000", "user"),
        ("wSs://127.0.0.1:9000", "TLS"),
        ("http://127.0.0.1:9000", "ws://"),
    ] {
        let output = run("server", &[&format!("--wsuri={uri}")]);
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    }
}
