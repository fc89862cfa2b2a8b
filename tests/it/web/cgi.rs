//! `--cgi-dir`: a program for a request, what it is told, what it answers, and that nothing of it stays behind.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use super::http::{Http, application};
use super::{figure, peak, site, web_pid};
use crate::common::client::{Client, TEXT, noise, reset};
use crate::common::{Scratch, Server, is_alive, on_both_tiers, scratch, until};

on_both_tiers!(
    large_bodies_cross_a_program_both_ways_at_once,
    a_client_that_leaves_takes_its_program_along,
);

/// A directory of programs.
fn programs(all: &[(&str, &str)]) -> Scratch {
    let folder = scratch("cgi");
    for (name, script) in all {
        program(&folder, name, script);
    }
    folder
}

fn program(folder: &Scratch, name: &str, script: &str) {
    let path = folder.write(name, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

fn serve(folder: &Scratch, more: &[&str]) -> Server {
    let cgi = format!("--cgi-dir={}", folder.path(""));
    let mut arguments = vec![
        cgi.as_str(),
        "--port=auto",
        "--interval=50ms",
        "--workers=1",
    ];
    arguments.extend(more);
    Server::start(&arguments)
}

/// Says what follows as text.
const PLAIN: &str = "printf 'Content-Type: text/plain\\n\\n'";

/// A shell and its child that both ignore SIGINT and SIGTERM, and say nothing after the child's pid.
const STUBBORN: &str = "trap '' INT TERM; printf 'Content-Type: text/plain\\n\\n'
    sh -c 'echo $$; while :; do sleep 1; done' & wait; while :; do sleep 1; done";

/// Asks for `/stubborn` and reads the head and the pid. The body goes on.
fn ask_stubborn(server: &Server) -> (Http<std::net::TcpStream>, u32) {
    let mut http = Http::to(&server.address());
    http.send(b"GET /stubborn HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut line = String::new();
    // The head, the length of the first chunk, and the chunk.
    while line.trim().parse::<u32>().is_err() || line.trim().len() < 3 {
        line.clear();
        assert!(http.0.read_line(&mut line).expect("a line") > 0);
    }
    let pid = line.trim().parse().expect("a pid");
    (http, pid)
}

/// Whether the process is there, also as one that nobody has waited for.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_program_is_told_all_of_its_request() {
    let folder = programs(&[("env", &format!("{PLAIN}; env -0; echo; pwd"))]);
    let server = serve(&folder, &["--pass-env=CARGO_PKG_NAME,NONE_OF_THIS_NAME"]);
    let mut http = Http::to(&server.address());
    let port = http.0.get_ref().local_addr().expect("an address").port();
    let fields = "Content-Type: a/b\r\nContent-Length: 3\r\nCookie: a=1\r\nCookie: b=2\r\nProxy: http://evil/\r\n\
                  Authorization: Basic eA==\r\nX_Y: no\r\n";
    let head =
        format!("PUT /env/a%20b?d=%20e HTTP/1.1\r\nHost: site.example:81\r\n{fields}\r\nabc");
    http.send(head.as_bytes());
    let answer = http.answer(false).expect("an answer");
    assert_eq!(
        (answer.status, answer.field("content-type")),
        (200, Some("text/plain"))
    );
    let (variables, directory) = answer.text().rsplit_once('\0').expect("variables");
    let real = fs::canonicalize(folder.path("")).expect("a directory");
    assert_eq!(directory.trim(), real.to_str().expect("text"));
    let mut got: BTreeMap<&str, &str> = variables
        .split('\0')
        .filter_map(|line| line.split_once('='))
        .collect();
    let unique = got.remove("UNIQUE_ID").expect("it is there");
    assert!(unique.parse::<u64>().is_ok(), "{unique}");
    let software = got.remove("SERVER_SOFTWARE").expect("it is there");
    assert!(software.starts_with("ringway/"), "{software}");
    // The shell's own.
    got.retain(|name, _| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    let port = port.to_string();
    let expected = [
        ("AUTH_TYPE", ""),
        ("CARGO_PKG_NAME", "ringway-cli"),
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "a/b"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_COOKIE", "a=1, b=2"),
        ("PATH_INFO", "/a b"),
        ("PATH_TRANSLATED", "/env/a b"),
        ("QUERY_STRING", "d=%20e"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_HOST", "127.0.0.1"),
        ("REMOTE_IDENT", ""),
        ("REMOTE_PORT", &port),
        ("REMOTE_USER", ""),
        ("REQUEST_METHOD", "PUT"),
        ("REQUEST_URI", "/env/a%20b?d=%20e"),
        ("SCRIPT_NAME", "/env"),
        ("SERVER_NAME", "site.example"),
        ("SERVER_PORT", "81"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ];
    assert_eq!(got, BTreeMap::from(expected));
    // Without a body there is no length, and trusted proxies say who the client is.
    let trusting = [
        "--pass-env=none",
        "--trust-forwarded-for=1",
        "--trust-proxies=127.0.0.1",
    ];
    let server = serve(&folder, &trusting);
    let fields = "X-Forwarded-For: 6.6.6.6, 192.0.2.9\r\n";
    let answer = Http::to(&server.address()).ask("GET", "/env", fields);
    for line in [
        "CONTENT_LENGTH=\0",
        "REMOTE_ADDR=192.0.2.9\0",
        "PATH_INFO=\0",
    ] {
        assert!(answer.text().contains(line), "{}", answer.text());
    }
}

#[test]
fn programs_come_before_files_and_files_before_the_application() {
    let folder = programs(&[("ten.bin", &format!("{PLAIN}; echo program"))]);
    folder.write("app.js", "no program");
    fs::create_dir(folder.path("deep")).expect("a directory");
    program(
        &folder,
        "deep/run",
        &format!("{PLAIN}; echo deep $PATH_INFO"),
    );
    program(&folder, ".hidden", PLAIN);
    let outside = programs(&[("out", PLAIN)]);
    symlink(outside.path("out"), folder.path("leads-out")).expect("a link");
    let name = outside.path("");
    let name = Path::new(&name)
        .file_name()
        .expect("a name")
        .to_str()
        .expect("text");
    let files = site();
    let web = format!("--web={}", files.path(""));
    let server = serve(&folder, &[&web]);
    let mut http = Http::to(&server.address());
    assert_eq!(http.get("/ten.bin").text(), "program\n");
    assert_eq!(http.get("/deep/run/x/../y").text(), "deep /x/../y\n");
    // What may not be run is no program.
    assert_eq!(http.get("/app.js").text(), "let x = 1;");
    assert_eq!(http.get("/").text(), "<p>Grüße");
    for path in [
        "/deep",
        "/leads-out",
        "/.hidden",
        &format!("/../{name}/out"),
        &format!("/%2e%2e/{name}/out"),
        &format!("/deep/..%2f..%2f{name}/out"),
    ] {
        assert_eq!(http.get(path).status, 404, "{path}");
    }
    until("programs are counted", || figure(&server, "cgi") == 2);
    let mut websocket = Client::connect_to(&server.address(), "/ten.bin");
    websocket.echo(TEXT, b"a WebSocket is never a program's");

    let proxy = format!("--http-proxy={}", application());
    let server = serve(&folder, &[&web, &proxy]);
    let mut http = Http::to(&server.address());
    assert_eq!(http.ask("POST", "/ten.bin", "").text(), "program\n");
    assert_eq!(http.get("/app.js").text(), "let x = 1;");
    assert!(http.get("/head").text().starts_with("GET /head "));
}

#[test]
fn an_answer_is_what_the_program_says() {
    let folder = programs(&[
        (
            "made",
            "cat; printf 'Status: 201 Made\\r\\nContent-Type: a/b\\r\\nConnection: X-Hop\\r\\nX-Hop: 1\\r\\nSet-Cookie: a=1\\r\\nSet-Cookie: b=2\\r\\n\\r\\nbody'",
        ),
        (
            "length",
            "printf 'Content-Type: a/b\\nContent-Length: 4\\n\\nbodyand more'; sleep 0.3; echo ended > ended",
        ),
        ("nothing", "printf 'Status: 204\\nContent-Length: 0\\n\\n'"),
        ("away", "printf 'Location: http://a.example/b\\n\\n'"),
        ("near", "printf 'Location: /who/x?y=z\\n\\n'"),
        ("file", "printf 'Location: /ten.bin\\n\\n'"),
        ("circle", "printf 'Location: /circle\\n\\n'"),
        (
            "who",
            "printf 'Content-Type: a/b\\n\\n'; echo $REQUEST_METHOD $PATH_INFO $QUERY_STRING $HTTP_COOKIE $CONTENT_LENGTH",
        ),
    ]);
    let files = site();
    let web = format!("--web={}", files.path(""));
    let server = serve(&folder, &[&web]);
    let mut http = Http::to(&server.address());
    let made = http.get("/made");
    assert_eq!((made.status, made.text()), (201, "body"));
    assert_eq!(
        (made.field("x-hop"), made.field("connection")),
        (None, None)
    );
    let cookies = made.head.iter().filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.count(), 2);
    let head = http.ask("HEAD", "/made", "");
    assert_eq!(
        (head.status, head.field("content-type")),
        (201, Some("a/b"))
    );
    // What is said beyond the length is nobody's, and the program ends in peace.
    assert_eq!(http.get("/length").text(), "body");
    until("it has ended by itself", || {
        fs::read_to_string(folder.path("ended")).is_ok()
    });
    let nothing = http.get("/nothing");
    assert_eq!(
        (nothing.status, nothing.field("content-length")),
        (204, None)
    );
    let away = http.get("/away");
    assert_eq!(
        (away.status, away.field("location")),
        (302, Some("http://a.example/b"))
    );
    http.send(b"POST /near HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\nContent-Length: 3\r\n\r\nabc");
    let near = http.answer(false).expect("an answer");
    assert_eq!((near.status, near.text()), (200, "GET /x y=z c=1\n"));
    assert_eq!(http.get("/file").text(), "0123456789");
    assert_eq!(http.get("/circle").status, 502);
    let last = Http::to(&server.address()).ask("GET", "/who", "Connection: close\r\n");
    assert_eq!(last.text(), "GET\n");
}

/// The program writes while it reads, as `cat` does.
fn large_bodies_cross_a_program_both_ways_at_once(io: &str) {
    const LEN: usize = 50 << 20;
    let folder = programs(&[("cat", "printf 'Content-Type: a/b\\n\\n'; exec cat")]);
    let server = serve(&folder, &[io]);
    let web = web_pid(&server).expect("it runs");
    let before = peak(web);
    let mut http = Http::to(&server.address());
    let mut writes = http.0.get_ref().try_clone().expect("a descriptor");
    let sender = thread::spawn(move || {
        let head = format!("PUT /cat HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n");
        writes.write_all(head.as_bytes()).expect("it reads");
        writes.write_all(&noise(1, LEN)).expect("it reads");
    });
    let answer = http.answer(false).expect("an answer");
    sender.join().expect("all is sent");
    assert!(answer.status == 200 && answer.body == noise(1, LEN));
    let grown = peak(web).saturating_sub(before);
    assert!(grown < 16 << 20, "it has grown by {grown} bytes");
}

#[test]
fn a_program_that_does_not_speak_cgi_is_502_and_a_silent_one_504() {
    let folder = programs(&[
        ("empty", "exit 3"),
        ("page", "echo '<p>no head'"),
        ("endless", "yes 'A: b'"),
        ("silent", "sleep 1000"),
        ("half", "printf 'Content-Type: a/b\\n\\nhalf!'; sleep 1000"),
        (
            "short",
            "printf 'Content-Type: a/b\\nContent-Length: 9\\n\\nhalf!'",
        ),
        ("loud", "echo 'what was wrong' >&2; exit 1"),
    ]);
    folder.write("script", "#!/no/such/interpreter\n");
    let executable = Permissions::from_mode(0o755);
    fs::set_permissions(folder.path("script"), executable).expect("it is ours");
    let server = serve(&folder, &["--cgi-timeout=300ms", "--kill-after=0,0,0"]);
    let mut http = Http::to(&server.address());
    for path in ["/empty", "/page", "/endless", "/loud", "/script"] {
        let answer = http.get(path);
        assert!(
            answer.status == 502 && answer.text().starts_with("502: "),
            "{path}: {answer:?}"
        );
    }
    let silent = http.get("/silent");
    assert!(
        silent.status == 504 && silent.text().starts_with("504: "),
        "{silent:?}"
    );
    for path in ["/half", "/short"] {
        let mut http = Http::to(&server.address());
        http.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(
            http.answer(false).is_none(),
            "an answer without its end is none"
        );
    }
    until("they are counted", || {
        (figure(&server, "cgi_failed"), figure(&server, "cgi_cut")) == (6, 1)
    });
    for said in [
        "what was wrong",
        "has ended: exit status: 3",
        "does not answer",
    ] {
        until(said, || server.stderr().contains(said));
    }
}

#[test]
fn a_body_needs_a_length_and_arrives_in_time() {
    let folder = programs(&[(
        "cat",
        "cat > got; printf 'Content-Type: a/b\\n\\n'; cat got",
    )]);
    let server = serve(&folder, &["--web-idle-timeout=300ms", "--kill-after=0,0,0"]);
    let mut http = Http::to(&server.address());
    http.send(
        b"POST /cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(http.answer(false).expect("an answer").status, 411);
    let mut http = Http::to(&server.address());
    http.send(b"PUT /cat HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(http.answer(false).expect("an answer").status, 100);
    http.send(b"body");
    assert_eq!(http.answer(false).expect("an answer").text(), "body");
    let mut http = Http::to(&server.address());
    http.send(b"POST /cat HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    let late = http.answer(false).expect("an answer");
    assert!(
        late.status == 408 && late.text().starts_with("408: "),
        "{late:?}"
    );
}

#[test]
fn one_program_more_than_may_run_is_503() {
    let folder = programs(&[
        ("stubborn", STUBBORN),
        ("quick", &format!("{PLAIN}; echo done")),
    ]);
    let server = serve(&folder, &["--max-forks=1", "--kill-after=10ms,10ms,10ms"]);
    let (held, _) = ask_stubborn(&server);
    let refused = Http::to(&server.address()).get("/quick");
    assert!(
        refused.status == 503 && refused.text().starts_with("503: "),
        "{refused:?}"
    );
    reset(held.0.get_ref());
    drop(held);
    until("there is room again", || {
        Http::to(&server.address()).get("/quick").status == 200
    });
}

fn a_client_that_leaves_takes_its_program_along(io: &str) {
    let folder = programs(&[("stubborn", STUBBORN)]);
    let server = serve(&folder, &[io, "--kill-after=50ms,50ms,100ms"]);
    let (http, grandchild) = ask_stubborn(&server);
    assert!(is_alive(grandchild));
    reset(http.0.get_ref());
    drop(http);
    until("the grandchild is gone", || !exists(grandchild));
    // One whose body breaks off.
    let mut http = Http::to(&server.address());
    http.send(b"POST /stubborn HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    until("it runs", || !children(web_pid(&server)).is_empty());
    reset(http.0.get_ref());
    drop(http);
    until("none is left, and no zombie", || {
        children(web_pid(&server)).is_empty()
    });
}

/// Processes whose parent is this one.
fn children(pid: Option<u32>) -> Vec<u32> {
    let pid = pid.expect("it runs").to_string();
    let listed = Command::new("ps")
        .args(["-o", "pid=", "--ppid", &pid])
        .output();
    let listed = String::from_utf8(listed.expect("ps runs").stdout).expect("text");
    listed
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    let script = format!("{PLAIN}; sleep 1000 > /dev/null & echo $!");
    let folder = programs(&[
        ("leaves", &script),
        ("closes", &format!("{script}; exec >&- 2>&-; sleep 1000")),
    ]);
    let more = ["--kill-after=10ms,10ms,10ms", "--cgi-timeout=500ms"];
    let server = serve(&folder, &more);
    for path in ["/leaves", "/closes"] {
        let answer = Http::to(&server.address()).get(path);
        let left: u32 = answer.text().trim().parse().expect("a pid");
        until("it is gone", || !is_alive(left));
    }
    until("none is left", || children(web_pid(&server)).is_empty());
}

#[test]
fn a_server_that_stops_leaves_no_program() {
    let folder = programs(&[("stubborn", STUBBORN)]);
    let more = ["--kill-after=10s,10s,10s", "--drain-timeout=100ms"];
    let mut server = serve(&folder, &more);
    let (_held, grandchild) = ask_stubborn(&server);
    let program = children(web_pid(&server));
    assert_eq!(program.len(), 1);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    until("they are killed", || {
        !is_alive(grandchild) && !is_alive(program[0])
    });
}

#[test]
fn programs_inherit_no_descriptor_and_no_ignored_signal() {
    let folder = programs(&[(
        "self",
        &format!("{PLAIN}; ls /proc/$$/fd; grep -E 'SigIgn|SigBlk' /proc/$$/status"),
    )]);
    let server = serve(&folder, &[]);
    let answer = Http::to(&server.address()).get("/self");
    let lines: Vec<&str> = answer.text().lines().collect();
    // 10 is where the shell keeps its script.
    let descriptors: Vec<_> = lines.iter().filter(|line| !line.contains(':')).collect();
    assert!(
        descriptors
            .iter()
            .all(|name| ["0", "1", "2", "10"].contains(name)),
        "{lines:?}"
    );
    for line in lines.iter().filter(|line| line.contains(':')) {
        let (name, mask) = line.split_once(":\t").expect("a mask");
        let mask = u64::from_str_radix(mask, 16).expect("a mask");
        // 32 and 33 are the C library's own: it has them ignored in what it starts by posix_spawn(3).
        assert_eq!(mask & !(0b11 << 31), 0, "{name}");
    }
}

#[test]
fn what_a_program_writes_is_sent_before_it_ends() {
    let folder = programs(&[(
        "wait",
        &format!("{PLAIN}; echo first; read line; echo $line"),
    )]);
    let server = serve(&folder, &[]);
    let mut http = Http::to(&server.address());
    http.send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n");
    let mut read = BufReader::new(http.0.get_ref().try_clone().expect("a descriptor"));
    let mut line = String::new();
    while line != "first\n" {
        line.clear();
        assert!(read.read_line(&mut line).expect("a line") > 0);
    }
    http.send(b"second\n");
    while line != "second\n" {
        line.clear();
        assert!(read.read_line(&mut line).expect("a line") > 0);
    }
}
