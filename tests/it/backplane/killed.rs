//! What becomes of messages when a broker, a bridge or a worker is killed.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{
    Broker, Kind, OUTGOING, begin, count, hear, meet, on_both_brokers, publish, subscribe, sum,
    unwanted_when,
};
use crate::common::client::{Client, TEXT, frame};
use crate::common::{Server, is_alive, kill, until};

on_both_brokers!(
    a_broker_that_is_killed_costs_messages_that_are_counted_and_told,
    a_bridge_that_is_killed_is_replaced_and_the_workers_serve_on,
    a_worker_that_is_killed_takes_its_interests_with_it,
);

fn a_broker_that_is_killed_costs_messages_that_are_counted_and_told(kind: Kind) {
    let mut broker = Broker::start(kind);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let mut speaker = Client::connect(&here.address());
    let mut hearer = Client::connect(&there.address());
    let mut own = Client::connect(&here.address());
    subscribe(&mut hearer, "t");
    subscribe(&mut own, "t");
    meet(&mut speaker, &there, "t");
    let got = begin(&mut hearer);
    let begun = begin(&mut own);
    until("all have gone out", || count(&here, "published") == begun);
    unwanted_when(&there, got);
    let is_over = AtomicBool::new(false);
    let (sent, heard, gaps) = std::thread::scope(|scope| {
        let speaking = scope.spawn(|| speak(&mut speaker, &mut own, &is_over));
        let hearing = scope.spawn(|| listen(&mut hearer));
        until("messages cross", || count(&there, "received") > got + 20);
        broker.kill();
        until("drops are counted", || count(&here, "dropped_away") > 20);
        until("both know", || {
            [&here, &there]
                .iter()
                .all(|server| count(server, "connected") == 0)
        });
        broker.restart();
        until("both are back", || {
            [&here, &there]
                .iter()
                .all(|server| sum(server, &["connected", "reconnects"]) == 2)
        });
        let before = count(&there, "received");
        until("messages cross again", || {
            count(&there, "received") > before + 20
        });
        is_over.store(true, Ordering::Relaxed);
        let sent = speaking.join().expect("it spoke");
        let (heard, gaps) = hearing.join().expect("it heard");
        (sent, heard, gaps)
    });
    // Here: each message was handed over, or is counted as dropped. The one more is `end`.
    until("all are counted", || {
        sum(&here, &OUTGOING) == begun + sent + 1
    });
    let away = count(&here, "dropped_away");
    assert_eq!(
        sum(&here, &["dropped_full", "dropped_too_big", "bus_missed"]),
        0
    );
    // There: what the bridge has received is what the client has heard, and at most what was handed over, and what was on its way.
    unwanted_when(&there, got + heard + 1);
    assert!(
        heard <= sent && away > 20,
        "{heard} of {sent}, {away} dropped"
    );
    assert!(
        heard + away <= sent + 256,
        "{heard} of {sent}, {away} dropped"
    );
    assert!(gaps >= 1, "it was told");
    for server in [&here, &there] {
        assert!(count(server, "gaps") >= 1);
        let log = server.stderr();
        let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        assert_eq!(
            (lines(" is away: "), lines("note: the backplane ")),
            (1, 1),
            "{log}"
        );
        assert!(!log.contains("secret"), "{log}");
    }
}

/// Publishes numbers from 0 up, then `end`, and says how many numbers. Subscribers of the same server miss nothing, whatever becomes of
/// the broker.
fn speak(speaker: &mut Client, own: &mut Client, is_over: &AtomicBool) -> u64 {
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        publish(speaker, "t", &json!(number));
        let mut event = hear(own);
        while event["op"] == "gap" {
            event = hear(own);
        }
        assert_eq!(event["data"], number);
        number += 1;
    }
    publish(speaker, "t", &json!("end"));
    number
}

/// Hears numbers, in order and each once, until the `end`: how many, and how many gaps.
fn listen(hearer: &mut Client) -> (u64, u64) {
    let (mut heard, mut gaps, mut last) = (0, 0, None);
    loop {
        let event = hear(hearer);
        match (event["op"].as_str(), event["data"].as_u64()) {
            (Some("gap"), _) => gaps += 1,
            (_, Some(number)) => {
                assert!(last.is_none_or(|last| last < number), "in order, and once");
                last = Some(number);
                heard += 1;
            }
            _ => return (heard, gaps),
        }
    }
}

fn bridge_of(server: &Server) -> u32 {
    let mut pid = None;
    until("a bridge runs", || {
        pid = server.stats()["backplane"]["pid"].as_u64();
        pid.is_some()
    });
    u32::try_from(pid.expect("it runs")).expect("a pid")
}

fn a_bridge_that_is_killed_is_replaced_and_the_workers_serve_on(kind: Kind) {
    let broker = Broker::start(kind);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let workers = there.seats();
    let mut speaker = Client::connect(&here.address());
    let mut hearers = there.clients_on_both_workers(1);
    for (number, client) in hearers.iter_mut().enumerate() {
        subscribe(client, "t");
        subscribe(client, &format!("own/{number}/#"));
    }
    meet(&mut speaker, &there, "t");
    for client in &mut *hearers {
        begin(client);
    }
    let killed = bridge_of(&there);
    kill(killed);
    until("it was replaced", || {
        let stats = there.stats();
        let bridge = &stats["backplane"];
        let is_other = bridge["pid"]
            .as_u64()
            .is_some_and(|pid| pid != u64::from(killed));
        is_other && bridge["restarts"] == 1 && bridge["total"]["connected"] == 1
    });
    // The new one has asked the workers: their subscriptions are as before, and clients know that they may have missed something.
    meet(&mut speaker, &there, "t");
    for client in &mut hearers {
        let mut gaps = 0;
        loop {
            let event = hear(client);
            gaps += u64::from(event["op"] == "gap");
            if event["data"] == "begin" {
                break;
            }
        }
        assert!(gaps >= 1, "it was told");
    }
    for (number, client) in hearers.iter_mut().enumerate() {
        meet(&mut speaker, &there, &format!("own/{number}/x"));
        begin(client);
    }
    assert_eq!(there.seats(), workers, "no worker was touched");
    let log = there.stderr();
    let lines = log
        .lines()
        .filter(|line| line.contains("the bridge to the backplane"));
    assert_eq!(lines.count(), 1, "{log}");
    // Its server ends in order, and the bridge with it.
    let bridge = bridge_of(&there);
    let mut there = there;
    there.signal("TERM");
    assert_eq!(there.wait(), Some(0), "{}", there.stderr());
    until("the bridge has ended", || !is_alive(bridge));
    // A supervisor that is killed takes its bridge along.
    let bridge = bridge_of(&here);
    here.signal("KILL");
    until("the bridge has ended", || !is_alive(bridge));
}

fn a_worker_that_is_killed_takes_its_interests_with_it(kind: Kind) {
    let broker = Broker::start(kind);
    let (here, there) = (broker.server("pubsub"), broker.server("pubsub"));
    let mut speaker = Client::connect(&here.address());
    let mut hearers = there.clients_on_both_workers(1);
    for (number, client) in hearers.iter_mut().enumerate() {
        subscribe(client, &format!("of/{number}"));
        subscribe(client, "of/all");
    }
    for number in 0..hearers.len() {
        meet(&mut speaker, &there, &format!("of/{number}"));
    }
    let victim = there.seats()[0];
    kill(victim);
    until("the worker was replaced", || {
        let seats = there.stats();
        let pid = seats["workers"][0]["pid"].as_u64();
        pid.is_some_and(|pid| pid != u64::from(victim)) && seats["workers"][0]["state"] == "ready"
    });
    // Who is still there still gets what it wants.
    let mut living = Vec::new();
    for (number, mut client) in hearers.into_iter().enumerate() {
        let frame = frame(TEXT, b"{\"op\":\"presence\",\"id\":9,\"topic\":\"x\"}");
        let is_alive = client.try_write(&frame).is_ok()
            && loop {
                match client.try_recv() {
                    Err(_) => break false,
                    Ok(frame) if frame.first != TEXT => break false,
                    Ok(frame) if frame.payload.starts_with(b"{\"op\":\"presence\"") => break true,
                    Ok(_) => {}
                }
            };
        if is_alive {
            living.push((number, client));
        }
    }
    assert!(!living.is_empty());
    for (number, client) in &mut living {
        for topic in [format!("of/{number}"), "of/all".to_owned()] {
            meet(&mut speaker, &there, &topic);
            begin(client);
        }
    }
    // What only the dead wanted is fetched no more.
    let dead = (0..).find(|number| living.iter().all(|(other, _)| other != number));
    let dead = format!("of/{}", dead.expect("somebody was on that worker"));
    let (number, client) = &mut living[0];
    let wanted = format!("of/{number}");
    let mut before = None;
    until("it is given up", || {
        publish(&mut speaker, &dead, &json!(0));
        meet(&mut speaker, &there, &wanted);
        begin(client);
        let unwanted = count(&there, "unwanted");
        before.replace(unwanted) == Some(unwanted)
    });
}
