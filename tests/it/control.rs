//! How a supervisor tells its workers: through a channel of messages, and by signals where that does not work.

use std::fs;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Socket, Type};

use crate::common::client::{CLOSE, Client, TEXT, expect_end};
use crate::common::process::{cpu_ticks, descriptor_of, forbid_sigterm};
use crate::common::{Server, on_both_tiers, stop, until};

on_both_tiers!(
    workers_drain_by_an_order_where_no_signal_can_be_sent,
    a_worker_whose_channel_is_shut_serves_on_and_drains_by_a_signal,
    a_stopped_worker_with_a_full_channel_goes_on_and_drains_by_a_signal,
    a_second_signal_has_the_workers_cut_what_is_left_and_tell_how_much,
);

/// Takes the Close with 1001 that comes next, and answers it.
fn expect_going_away(mut client: Client) {
    let close = client.recv();
    assert_eq!(
        (close.first, &close.payload[..2]),
        (CLOSE, &[0x03, 0xe9][..])
    );
    client.send(CLOSE, &[0x03, 0xe9]);
    expect_end(&mut client.into_stream());
}

fn workers_drain_by_an_order_where_no_signal_can_be_sent(io: &str) {
    let options = ["--workers=2", "--port=0", "--drain-timeout=1m", io];
    let mut server = Server::start_with(&options, forbid_sigterm);
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&server.address())).collect();
    for client in &mut clients {
        client.echo(TEXT, b"hello");
    }
    server.signal("TERM");
    clients.into_iter().for_each(expect_going_away);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    assert!(
        !server.stderr().contains("is told by"),
        "{}",
        server.stderr()
    );
}

/// A copy of a worker's end of its channel.
fn end_of_worker(pid: u32) -> Socket {
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs");
    let (_, rest) = environment
        .split_once(",control=")
        .expect("it has a channel");
    let number = rest.split([',', '\0']).next().expect("a number");
    descriptor_of(pid, number.parse().expect("a number"))
        .expect("ours to look at")
        .into()
}

/// A copy of the supervisor's end, where it has one worker.
fn end_of_supervisor(pid: u32) -> Socket {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number: i32| descriptor_of(pid, number).ok());
    let is_channel = |copy: &OwnedFd| {
        socket2::SockRef::from(copy)
            .r#type()
            .is_ok_and(|kind| kind == Type::SEQPACKET)
    };
    copies
        .filter(is_channel)
        .map(Socket::from)
        .next()
        .expect("it has a channel")
}

fn a_worker_whose_channel_is_shut_serves_on_and_drains_by_a_signal(io: &str) {
    let options = ["--workers=2", "--port=0", "--drain-timeout=1m", io];
    let mut server = Server::start(&options);
    let workers = server.workers();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&server.address())).collect();
    let end = end_of_worker(workers[0]);
    end.shutdown(Shutdown::Both).expect("a socket");
    drop(end);
    for client in &mut clients {
        client.echo(TEXT, b"served on");
    }
    // An end that stands in a set of descriptors is ready for ever.
    let pids = [server.pid(), workers[0]];
    let before = pids.map(cpu_ticks);
    std::thread::sleep(Duration::from_secs(1));
    for (before, pid) in before.into_iter().zip(pids) {
        let spent = cpu_ticks(pid) - before;
        assert!(spent <= 20, "{spent} of 100 ticks spent on an end");
    }
    assert_eq!(server.workers(), workers, "nobody was replaced");
    server.signal("TERM");
    clients.into_iter().for_each(expect_going_away);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    let told = server.stderr();
    let sentence = " is told by SIGTERM, because its control channel is closed";
    assert_eq!(told.matches(sentence).count(), 1, "{told}");
}

fn a_stopped_worker_with_a_full_channel_goes_on_and_drains_by_a_signal(io: &str) {
    let options = ["--workers=1", "--port=0", "--drain-timeout=1m", io];
    let mut server = Server::start(&options);
    let mut client = Client::connect(&server.address());
    let end = end_of_supervisor(server.pid());
    // Messages of a version to come, and what is no message at all.
    end.send(&[99, 1]).expect("room");
    end.send(&[7; 300]).expect("room");
    client.echo(TEXT, b"served on");
    until("it is told", || {
        server.stderr().contains("none of this version")
    });
    stop(server.workers()[0]);
    let full = loop {
        if let Err(error) = end.send(&[99, 1]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    drop(end);
    server.signal("TERM");
    expect_going_away(client);
    assert_eq!(server.wait(), Some(0), "{}", server.stderr());
    let told = server.stderr();
    assert!(
        told.contains("worker 0 is told by SIGTERM, because its control channel is full"),
        "{told}"
    );
    assert_eq!(
        told.matches("none of this version").count(),
        1,
        "once: {told}"
    );
}

fn a_second_signal_has_the_workers_cut_what_is_left_and_tell_how_much(io: &str) {
    let options = [
        "--workers=2",
        "--port=0",
        "--drain-timeout=1h",
        "--close-timeout=1h",
        io,
    ];
    let mut server = Server::start(&options);
    let mut clients: Vec<_> = (0..7).map(|_| Client::connect(&server.address())).collect();
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.recv().first, CLOSE);
    }
    server.signal("INT");
    for client in clients {
        expect_end(&mut client.into_stream());
    }
    assert_eq!(server.wait(), Some(5), "{}", server.stderr());
    let told = server.stderr();
    assert!(
        told.contains("; 7 connections had not ended, and were cut"),
        "{told}"
    );
    assert!(!told.contains("killing"), "{told}");
}
