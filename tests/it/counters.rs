//! What a server counts when its application is no echo: every way of receiving and of sending, on threads and on processes.

use ringway::{App, ConnId, Context, Kind, Message, Server};

use crate::common::client::{BINARY, Client, TEXT};
use crate::common::{get, until};

/// Says something by itself, in every way there is, and answers nothing.
#[derive(Default)]
struct Herald {
    others: Vec<ConnId>,
}

const NEWS: &[u8] = b"hear, hear";

impl App for Herald {
    type Session = ();

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        context.send(Kind::Text, NEWS).expect("it is open");
        let messages = [(Kind::Text, NEWS), (Kind::Binary, &[7; 300][..])];
        let prepared = context.prepare(&messages).expect("little");
        context
            .send_prepared_run(&prepared, 0..2)
            .expect("it is open");
        for other in &self.others {
            context.commands().send(*other, Kind::Text, NEWS);
            context.commands().send_prepared(*other, &prepared, 1);
        }
        self.others.push(context.id());
    }

    fn message(&mut self, _: &mut Context<'_>, (): &mut (), _: Message<'_>) {}
}

#[test]
fn an_application_that_only_sends_shows_what_it_sends() {
    let server = Server::new("ws://127.0.0.1:0").workers(1);
    let running = server.start(|_worker| Herald::default()).expect("port 0");
    let address = running.address().expect("TCP").to_string();
    let mut first = Client::connect(&address);
    let own = |client: &mut Client| {
        client.expect(TEXT, NEWS);
        client.expect(TEXT, NEWS);
        client.expect(BINARY, &[7; 300]);
    };
    own(&mut first);
    let mut second = Client::connect(&address);
    own(&mut second);
    first.expect(TEXT, NEWS);
    first.expect(BINARY, &[7; 300]);
    let counters = running.counters();
    assert_eq!(
        (counters.messages_out, counters.message_bytes_out),
        (8, 5 * 10 + 3 * 300)
    );
    assert_eq!((counters.messages_in, counters.message_bytes_in), (0, 0));

    // What is received and not answered counts as well: whole, in fragments, and long enough for the bulk path.
    first.send(TEXT, b"one");
    first.send(0x02, b"in three ");
    first.send(0x00, b"frames, ");
    first.send(0x80, b"this");
    first.send(BINARY, &vec![1; 100_000]);
    until("all of it has arrived", || {
        running.counters().messages_in == 3
    });
    let counters = running.counters();
    assert_eq!(counters.message_bytes_in, 3 + 21 + 100_000);
    assert_eq!((counters.messages_out, counters.drops), (8, 0));
    running.shutdown().expect("an orderly end");
}

/// Each page shows what was counted, under the same name.
#[test]
fn every_page_has_messages_and_bytes_of_both_directions() {
    let server = crate::common::Server::start(&["--workers=1", "--port=auto", "--interval=50ms"]);
    let mut client = Client::connect(&server.address());
    client.echo(TEXT, b"twelve bytes");
    client.echo(BINARY, b"");
    for (name, count) in [
        ("messages_in", 2),
        ("message_bytes_in", 12),
        ("messages_out", 2),
        ("message_bytes_out", 12),
    ] {
        assert_eq!(server.counter_reaching(name, count), [count], "{name}");
        let sample = format!("ringway_{name}_total{{worker=\"0\"}} {count}");
        let metrics = get(&server.web(), "/metrics");
        assert!(metrics.lines().any(|line| line == sample), "{metrics}");
    }
    let page = get(&server.web(), "/");
    assert!(
        page.contains("live.messages_out.per_s"),
        "the page's script"
    );
    client.close();
}
