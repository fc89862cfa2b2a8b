//! Requests that open no WebSocket, answered by an application.

use std::time::Duration;

use crate::io::ReceiveMode;
use crate::io::sim::{Options, Sim};
use crate::proto::Message;
use crate::proto::http::{Answer, Request, StatusCode};
use crate::worker::{App, Config, Context, Listener, Worker};

/// Says back what it was asked for.
#[derive(Debug, Default)]
struct Mirror {
    said: String,
}

impl App for Mirror {
    type Session = ();

    fn request<'a>(&'a mut self, request: &'a Request<'_>) -> Answer<'a> {
        let (method, path, host) = (request.method(), request.path(), request.host());
        let agent = request.header("User-Agent").unwrap_or_default();
        self.said = format!(
            "{method} {path} {:?} {host} {}",
            request.query(),
            agent.escape_ascii()
        );
        let bad = path == "/bad";
        Answer {
            status: StatusCode(if bad { 99 } else { 202 }),
            content_type: "text/plain",
            headers: &[("X-By", "mirror")],
            body: self.said.as_bytes(),
        }
    }

    fn message(&mut self, _context: &mut Context<'_>, (): &mut (), _message: Message<'_>) {
        unreachable!("no WebSocket is opened here")
    }
}

/// What comes back for a request that arrives in two pieces; its date is left out.
fn answered(mode: ReceiveMode, request: &[u8], cut: usize) -> String {
    let mut sim = Sim::new(Options::faultless(mode));
    let listener = Listener::new(sim.listen(), None);
    let mut worker = Worker::new(sim, Mirror::default(), Config::default(), listener);
    let turns = |worker: &mut Worker<Sim, Mirror>| {
        for _ in 0..3 {
            worker
                .turn(Some(Duration::ZERO))
                .expect("a simulation never fails");
        }
    };
    let peer = worker.io_mut().connect();
    worker.io_mut().peer_send(peer, &request[..cut]);
    turns(&mut worker);
    worker.io_mut().peer_send(peer, &request[cut..]);
    turns(&mut worker);
    let answer = worker.io_mut().peer_take(peer);
    worker.io_mut().peer_half_close(peer);
    turns(&mut worker);
    assert_eq!(worker.connections(), 0, "the connection is closed");
    assert_eq!(worker.counters().handshakes_failed, 0);
    let answer = String::from_utf8(answer).expect("text");
    let (before, rest) = answer.split_once("Date: ").expect("a date");
    format!(
        "{before}{}",
        &rest["Sun, 06 Nov 1994 08:49:37 GMT\r\n".len()..]
    )
}

#[test]
fn an_application_answers_a_request_that_is_cut_anywhere() {
    let request =
        b"PUT /a/b?c HTTP/1.0\r\nHost: h:1\r\nUser-Agent: x\xff\r\nContent-Length: 3\r\n\r\nabc";
    for mode in [ReceiveMode::Buffers, ReceiveMode::Readiness] {
        for cut in 0..request.len() {
            assert_eq!(
                answered(mode, request, cut),
                "HTTP/1.1 202 Accepted\r\nServer: ringway/0.1.0\r\nConnection: close\r\nX-By: mirror\r\n\
                 Content-Type: text/plain\r\nContent-Length: 28\r\n\r\nPUT /a/b Some(\"c\") h:1 x\\xff",
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn an_answer_that_http_cannot_express_becomes_a_500() {
    let mut sim = Sim::new(Options::faultless(ReceiveMode::Buffers));
    let listener = Listener::new(sim.listen(), None);
    let mut worker = Worker::new(sim, Mirror::default(), Config::default(), listener);
    let peer = worker.io_mut().connect();
    worker
        .io_mut()
        .peer_send(peer, b"GET /bad HTTP/1.0\r\n\r\n");
    for _ in 0..3 {
        worker
            .turn(Some(Duration::ZERO))
            .expect("a simulation never fails");
    }
    let answer = worker.io_mut().peer_take(peer);
    assert!(answer.starts_with(b"HTTP/1.1 500 Internal Server Error\r\n"));
}
