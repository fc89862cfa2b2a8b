use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::random::Random;

fn pattern(text: &str) -> Pattern<'_> {
    Pattern::parse(text).expect("a pattern")
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text).expect("a topic")
}

fn found(topics: &mut Topics, name: &str) -> Vec<u64> {
    let mut found = vec![];
    topics.publish(topic(name), |number| found.push(number));
    found.sort_unstable();
    found
}

#[test]
fn names_and_patterns_have_limits() {
    let long = "a".repeat(256);
    let deep = ["a"; 17].join("/");
    for (text, expected) in [
        ("", BadTopic::Empty),
        (&long, BadTopic::TooLong),
        (&deep, BadTopic::TooManySegments),
        ("a\nb", BadTopic::ControlCharacter),
        ("a\u{85}b", BadTopic::ControlCharacter),
    ] {
        assert_eq!(Topic::parse(text), Err(expected));
        assert_eq!(Pattern::parse(text), Err(expected));
    }
    for text in ["+", "#", "a/+", "a+b", "a/#"] {
        assert_eq!(Topic::parse(text), Err(BadTopic::Wildcard), "{text}");
    }
    for text in ["a+", "#/a", "a/#b", "+#", "##", "a/#/b", "a/++"] {
        assert_eq!(
            Pattern::parse(text),
            Err(BadTopic::WildcardMisplaced),
            "{text}"
        );
    }
    assert!(Topic::parse(&long[1..]).is_ok());
    assert!(Pattern::parse(&deep[2..]).is_ok());
}

#[test]
fn wildcards_match_as_in_mqtt() {
    for (of, name, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("sport/#", "sports", false),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "a/b", true),
        ("#", "$sys/clients", false),
        ("+/clients", "$sys/clients", false),
        ("$sys/#", "$sys/clients", true),
        ("$sys/+", "$sys/clients", true),
        ("a/b", "a/b", true),
        ("a/b", "a/B", false),
    ] {
        assert_eq!(pattern(of).matches(topic(name)), expected, "{of} {name}");
        let mut topics = Topics::new(Limits::default());
        topics.subscribe(1, pattern(of)).expect("no limit");
        assert_eq!(found(&mut topics, name) == [1], expected, "{of} {name}");
    }
}

#[test]
fn a_pattern_covers_those_that_match_no_more_than_it_does() {
    for (wide, narrow, expected) in [
        ("#", "#", true),
        ("#", "a/+/#", true),
        ("#", "$sys", false),
        ("#", "$sys/#", false),
        // Both match the same topics. That is not seen, which errs on the safe side.
        ("+/#", "#", false),
        ("+/+", "#", false),
        ("a/#", "a", true),
        ("a/#", "a/#", true),
        ("a/+", "a/#", false),
        ("a/+", "a/+", true),
        ("a/+", "a/b", true),
        ("a/b", "a/+", false),
        ("a/+/#", "a/#", false),
        ("a/+/#", "a/b/#", true),
        ("a", "a/b", false),
    ] {
        assert_eq!(
            pattern(wide).covers(pattern(narrow)),
            expected,
            "{wide} {narrow}"
        );
    }
}

#[test]
fn the_first_and_the_last_subscriber_of_a_topic_are_told() {
    let mut topics = Topics::new(Limits::default());
    assert_eq!(topics.subscribe(1, pattern("a")), Ok(Subscribed::First));
    assert_eq!(topics.subscribe(1, pattern("a")), Ok(Subscribed::Already));
    assert_eq!(topics.subscribe(2, pattern("a")), Ok(Subscribed::Another));
    assert_eq!(topics.subscribe(2, pattern("+")), Ok(Subscribed::First));
    assert_eq!(
        topics.unsubscribe(1, pattern("+")),
        Unsubscribed::NotSubscribed
    );
    assert_eq!(
        topics.unsubscribe(3, pattern("a")),
        Unsubscribed::NotSubscribed
    );
    assert_eq!(topics.unsubscribe(1, pattern("a")), Unsubscribed::Others);
    let mut last = vec![];
    topics.remove(2, |name| last.push(name.to_owned()));
    last.sort();
    assert_eq!(last, ["+", "a"]);
    assert!(topics.is_empty());
    assert_eq!(topics.subscribe(1, pattern("a")), Ok(Subscribed::First));
    assert_eq!(topics.unsubscribe(1, pattern("a")), Unsubscribed::Last);
}

#[test]
fn a_subscriber_of_several_patterns_is_found_once() {
    let mut topics = Topics::new(Limits::default());
    for of in ["a/b", "a/+", "+/b", "a/#", "#", "+/+/#"] {
        topics.subscribe(7, pattern(of)).expect("no limit");
    }
    topics.subscribe(8, pattern("a/+")).expect("no limit");
    assert_eq!(found(&mut topics, "a/b"), [7, 8]);
    assert_eq!(found(&mut topics, "b"), [7]);
}

#[test]
fn each_limit_refuses_and_changes_nothing() {
    let mut topics = Topics::new(Limits {
        topics_max: 3,
        subscriptions_max: 4,
        subscriber_max: 2,
    });
    topics.subscribe(1, pattern("a")).expect("below");
    topics.subscribe(1, pattern("b/+")).expect("below");
    assert_eq!(topics.subscribe(1, pattern("c")), Err(Full::Subscriber));
    topics.subscribe(2, pattern("c")).expect("below");
    assert_eq!(topics.subscribe(2, pattern("d/#")), Err(Full::Topics));
    assert_eq!(topics.subscribe(1, pattern("a")), Ok(Subscribed::Already));
    topics.subscribe(2, pattern("a")).expect("below");
    assert_eq!(topics.subscribe(3, pattern("a")), Err(Full::Subscriptions));
    assert_eq!((topics.len(), topics.subscriptions()), (3, 4));
    topics.unsubscribe(1, pattern("b/+"));
    assert_eq!(topics.subscribe(3, pattern("x/#")), Ok(Subscribed::First));
    assert_eq!(
        topics.topics_of(2).collect::<BTreeSet<_>>(),
        ["a", "c"].into()
    );
}

/// Another reading of the syntax, by lists of segments.
fn model_matches(of: &[&str], name: &[&str]) -> bool {
    match (of, name) {
        ([], []) | (["#"], _) => true,
        (["+", of @ ..], [_, name @ ..]) => model_matches(of, name),
        ([first, of @ ..], [other, name @ ..]) => first == other && model_matches(of, name),
        _ => false,
    }
}

/// Publishes to a random topic, and looks through all subscriptions of the model for it.
fn expect_found(random: &mut Random, topics: &mut Topics, model: &BTreeMap<u64, BTreeSet<String>>) {
    let name: Vec<&str> = (0..1 + random.below(4))
        .map(|_| *random.pick(&["a", "b", "", "$s", "c"]))
        .collect();
    let text = name.join("/");
    if text.is_empty() {
        return;
    }
    let meant = |of: &String| {
        let of: Vec<&str> = of.split('/').collect();
        let is_hidden = text.starts_with('$') && ["+", "#"].contains(&of[0]);
        !is_hidden && model_matches(&of, &name)
    };
    let expected = model.iter().filter(|(_, own)| own.iter().any(meant));
    let expected: Vec<u64> = expected.map(|(number, _)| *number).collect();
    assert_eq!(found(topics, &text), expected, "{text}");
}

#[test]
fn the_table_finds_what_a_list_of_all_subscriptions_finds() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut topics = Topics::new(Limits::default());
        let mut model: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for _ in 0..800 {
            let subscriber = random.next() % 12;
            let mut segments: Vec<&str> = (0..1 + random.below(4))
                .map(|_| *random.pick(&["a", "b", "", "+", "$s"]))
                .collect();
            if random.below(3) == 0 {
                segments.push("#");
            }
            let text = segments.join("/");
            let Ok(of) = Pattern::parse(&text) else {
                assert_eq!(text, "");
                continue;
            };
            let others = |model: &BTreeMap<u64, BTreeSet<String>>| {
                model.values().any(|own| own.contains(&text))
            };
            match random.below(8) {
                0..4 => {
                    let had = others(&model);
                    let is_new = model.entry(subscriber).or_default().insert(text.clone());
                    let expected = match (is_new, had) {
                        (false, _) => Subscribed::Already,
                        (true, true) => Subscribed::Another,
                        (true, false) => Subscribed::First,
                    };
                    assert_eq!(topics.subscribe(subscriber, of), Ok(expected));
                }
                4..7 => {
                    let was = model.entry(subscriber).or_default().remove(&text);
                    let expected = match (was, others(&model)) {
                        (false, _) => Unsubscribed::NotSubscribed,
                        (true, true) => Unsubscribed::Others,
                        (true, false) => Unsubscribed::Last,
                    };
                    assert_eq!(topics.unsubscribe(subscriber, of), expected);
                }
                _ => {
                    let own = model.remove(&subscriber).unwrap_or_default();
                    let gone = own
                        .into_iter()
                        .filter(|text| !model.values().any(|o| o.contains(text)));
                    let mut last = BTreeSet::new();
                    topics.remove(subscriber, |name| assert!(last.insert(name.to_owned())));
                    assert_eq!(last, gone.collect());
                }
            }
            expect_found(&mut random, &mut topics, &model);
        }
        let all = model.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(topics.subscriptions(), all);
        for subscriber in 0..12 {
            topics.remove(subscriber, |_| {});
        }
        assert!(topics.is_empty() && topics.names.is_empty() && topics.pairs.is_empty());
        assert!(topics.subscribers.is_empty() && topics.numbers.is_empty());
        assert_eq!(topics.tree.nodes(), 1);
    }
}
