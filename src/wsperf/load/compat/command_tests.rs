//! Which commands are accepted, and the answers to the others.

use super::*;

/// As the original's own page sends it.
const MESSAGE: &str = "message_test:uri=ws://localhost:9002;size=10;count=1;timeout=10000;binary=true;sync=true;\
                       correctness=exact;token=foo;quantile_count=10;rtts=false;";
const STRESS: &str =
    "stress_test:uri=ws://localhost:9002;token=stress;connection_count=5;handshake_delay=10;";

fn refused(text: &str) -> (String, String, String) {
    let refusal = parse(text).expect_err(text);
    (refusal.token, refusal.data, refusal.detail)
}

#[test]
fn the_originals_message_test_is_understood() {
    let expected = MessageTest {
        uri: Uri::parse("ws://localhost:9002").expect("a URI"),
        token: "foo".to_owned(),
        size: 10,
        count: 1,
        timeout: Duration::from_secs(10),
        binary: true,
        sync: true,
        correctness: Verify::Exact,
        quantile_count: 10,
        rtts: false,
    };
    assert_eq!(parse(MESSAGE), Ok(Test::Message(expected)));
}

#[test]
fn the_originals_stress_test_is_understood_with_its_defaults() {
    let expected = StressTest {
        uri: Uri::parse("ws://localhost:9002").expect("a URI"),
        token: "stress".to_owned(),
        connection_count: 5,
        handshake_delay: Duration::from_millis(10),
        messages: Messages::Fixed(0),
        msg_size: 0,
        lifetime: Lifetime::Infinite,
    };
    assert_eq!(parse(STRESS), Ok(Test::Stress(expected.clone())));
    let few = "stress_test:uri=ws://localhost:9002;token=stress;connection_count=;msg_mode=;";
    let connection_count = 1;
    assert_eq!(
        parse(few),
        Ok(Test::Stress(StressTest {
            connection_count,
            ..expected
        }))
    );
}

#[test]
fn no_command_is_an_invalid_command_without_a_token() {
    let cases = [
        ("", "it has no ':' after its name"),
        ("message_test", "it has no ':' after its name"),
        (
            "close:code=1000;token=a;",
            "there is no such command; see message_test and stress_test",
        ),
        (
            "Message_test:token=a;",
            "there is no such command; see message_test and stress_test",
        ),
    ];
    for (text, detail) in cases {
        let expected = (
            String::new(),
            "Invalid Command".to_owned(),
            detail.to_owned(),
        );
        assert_eq!(refused(text), expected, "{text}");
    }
    let long = format!("stress_test:token={};", "a".repeat(8192));
    assert_eq!(refused(&long).2, "it is longer than 8192 bytes");
}

#[test]
fn a_wrong_parameter_is_named_and_the_token_comes_back() {
    let cases = "\
        size=10 | size= | size | it is required
        size=10 | size=-1 | size | it must be a number from 0 to 67108864
        size=10 | size=67108865 | size | it must be a number from 0 to 67108864
        size=10 | size=18446744073709551616 | size | it must be a number from 0 to 67108864
        count=1 | count=0 | count | it must be a number from 1 to 1000000
        timeout=10000 | timeout=+5 | timeout | it must be a number from 0 to 3600000
        sync=true | sync=True | sync | it must be one of: true, false
        binary=true | binary=1 | binary | it must be one of: true, false
        =exact | =Length | correctness | it must be one of: exact, length
        ws://localhost:9002 | localhost | uri | it does not begin with ws:// or wss://
        rtts=false; | rtts=false;rtt=1; | rtt | message_test has no such parameter
        rtts=false; | rtts=false;size=1; | size | it is given twice
        rtts=false; | rtts=false;; |  | message_test has no such parameter";
    for case in cases.lines() {
        let parts: Vec<_> = case.split(" | ").map(str::trim).collect();
        let &[good, bad, key, detail] = parts.as_slice() else {
            panic!("{case}")
        };
        let expected = (
            "foo".to_owned(),
            format!("Invalid {key} parameter."),
            detail.to_owned(),
        );
        assert_eq!(refused(&MESSAGE.replace(good, bad)), expected, "{bad}");
    }
}

/// The original program lost the last parameter here, and behaved as if it were not given.
#[test]
fn a_last_parameter_without_its_semicolon_is_an_error() {
    let (token, data, detail) = refused(MESSAGE.strip_suffix(';').expect("it has one"));
    assert_eq!(
        (token.as_str(), data.as_str()),
        ("foo", "Invalid rtts parameter.")
    );
    assert_eq!(detail, "it does not end with ';'");
}

/// The original program looked for the '=' of `msg_size` beyond its `;`, and so lost `connection_count`.
#[test]
fn a_parameter_without_a_value_does_not_swallow_the_next() {
    let text = "stress_test:uri=ws://h/?a=b;token=t;msg_size;connection_count=7;";
    let Ok(Test::Stress(test)) = parse(text) else {
        panic!("understood")
    };
    assert_eq!((test.connection_count, test.msg_size), (7, 0));
    assert_eq!(test.uri.resource, "/?a=b");
}

#[test]
fn limits_hold_over_all_connections() {
    let with = |more: &str| parse(&format!("{STRESS}{more}").replace("=5;", "=1000;"));
    let test = with("msg_count=1000;msg_size=268435;").expect("the most");
    assert!(matches!(test, Test::Stress(test) if test.messages == Messages::Fixed(1000)));
    let refused = |more| with(more).expect_err("too many").data;
    assert_eq!(refused("msg_count=1001;"), "Invalid msg_count parameter.");
    assert_eq!(refused("msg_size=268436;"), "Invalid msg_size parameter.");
}

#[test]
fn messages_without_end_need_a_lifetime() {
    let with = |more: &str| parse(&format!("{STRESS}{more}"));
    let refusal = with("msg_mode=infinite;").expect_err("it would not end");
    assert_eq!(refusal.data, "Invalid con_lifetime parameter.");
    let Ok(Test::Stress(test)) = with("msg_mode=infinite;con_lifetime=random;con_duration=20;")
    else {
        panic!("understood")
    };
    assert_eq!(test.messages, Messages::Infinite);
    assert_eq!(test.lifetime, Lifetime::Random(Duration::from_millis(20)));
}

#[test]
fn no_time_limit_is_the_longest_one() {
    let Ok(Test::Message(test)) = parse(&MESSAGE.replace("=10000;", "=0;")) else {
        panic!("understood")
    };
    assert_eq!(test.timeout, Duration::from_secs(3600));
}

#[test]
fn what_is_shown_is_the_same_command() {
    let more = "con_lifetime=fixed;con_duration=7;msg_mode=infinite;msg_size=3;";
    for text in [MESSAGE, STRESS, &format!("{STRESS}{more}")] {
        let test = parse(text).expect("good");
        assert_eq!(parse(&test.to_string()), Ok(test));
    }
}
