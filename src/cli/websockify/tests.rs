use super::*;

/// A machine on which these files are.
struct Has(&'static [&'static str]);

/// Stands for a listening socket as standard input.
const LISTENER: &str = "listener";

impl Machine for Has {
    fn has_file(&self, path: &str) -> bool {
        self.0.contains(&path)
    }

    fn input_listens(&self) -> bool {
        self.0.contains(&LISTENER)
    }
}

fn plan(line: &str) -> Result<Plan, String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let parsed = grammar::parse(&words);
    let plan = parsed.and_then(|parsed| translate(&parsed, &Has(&["cert.pem", "key.pem"])));
    plan.map_err(|Wrong(why)| why)
}

/// What is said behind `--port=0 --interval=24h`.
fn said(line: &str) -> String {
    let plan = plan(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    assert_eq!(plan.arguments[..2], ["--port=0", "--interval=24h"]);
    plan.arguments[2..].join(" ")
}

/// Command lines of websockify, and the same in the words of `ringway gateway`.
const MEANINGS: &[(&str, &str)] = &[
    (
        "6080 127.0.0.1:5900",
        "--wsuri=ws://0.0.0.0:6080 --target=127.0.0.1:5900",
    ),
    (
        "-6 6080 [::1]:5900",
        "--wsuri=ws://[::]:6080 --target=[::1]:5900",
    ),
    (
        "localhost:6080 h:1",
        "--wsuri=ws://localhost:6080 --target=h:1",
    ),
    (
        "[::1]:6080 h:1 -v",
        "--wsuri=ws://[::1]:6080 --target=h:1 --debug",
    ),
    (
        "--unix-target=/t 6080",
        "--wsuri=ws://0.0.0.0:6080 --target=unix:/t",
    ),
    (
        "--unix-listen /l h:1",
        "--wsuri=ws+unix:/l --unix-mode=0600 --target=h:1",
    ),
    (
        "--unix-listen=/l --unix-listen-mode=0660 --unix-target=/t",
        "--wsuri=ws+unix:/l --unix-mode=0660 --target=unix:/t",
    ),
    (
        "--cert=cert.pem --key=key.pem --ssl-only 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --cert=cert.pem --key=key.pem --tls=only",
    ),
    (
        "--cert cert.pem --verify-client --cafile ca.pem --ssl-version tlsv1_3 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --cert=cert.pem --key=cert.pem --client-ca=ca.pem --client-auth=required \
             --tls-min=1.3",
    ),
    (
        "--ssl-target 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --ssl-target",
    ),
    (
        "--web=/srv 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --web=/srv --web-listing",
    ),
    (
        "--web=/srv --web-auth --auth-plugin=BasicHTTPAuth --auth-source=a:b --file-only 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --web=/srv --web-auth",
    ),
    (
        "--web=/srv --file-only 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --web=/srv",
    ),
    (
        "--token-plugin TokenFile --token-source /t 1",
        "--token-file=/t --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=a.b.ReadOnlyTokenFile --token-source=/t 1",
        "--token-file=/t --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--target-config=/t 1",
        "--token-file=/t --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=TokenFileName --token-source=/d 1",
        "--token-names=/d --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=JSONTokenApi --token-source=http://a/%s 1",
        "--token-url=http://a/%s --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=BaseTokenAPI --token-source=http://a/%s 1",
        "--token-url=http://a/%s --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=JWTTokenApi --token-source=/k 1",
        "--token-jwt=/k --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=UnixDomainSocketDirectory --token-source=/d --host-token 1",
        "--token-sockets=/d --token-from=host --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=TokenRedis --token-source=h 1",
        "--token-redis=redis://h:6379/0 --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--token-plugin=TokenRedis --token-source=h:6380:2:\"a:b\":vnc 1",
        "--token-redis=redis://:a%3Ab@h:6380/2 --token-namespace=vnc --wsuri=ws://0.0.0.0:1",
    ),
    (
        "--auth-plugin=ExpectOrigin --auth-source=https://a.example 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --allow-origin=https://a.example --require-origin",
    ),
    (
        "--auth-plugin=ClientCertCNAuth --auth-source=ada 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --client-name=ada",
    ),
    (
        "--run-once 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --run-once --workers=1 --drain-timeout=24h",
    ),
    (
        "--timeout=5 --idle-timeout=7 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --stop-after=5s --stop-when-idle=7s --workers=1 --drain-timeout=24h",
    ),
    (
        "--timeout=0 --heartbeat=30 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --ping-interval=30s",
    ),
    (
        "--traffic --record=/r --log-file=/l 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --traffic --record=/r --access-log=/l",
    ),
    (
        "--syslog /dev/log 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --access-log=syslog:/dev/log",
    ),
    ("--inetd --run-once h:1", "--target=h:1 inetd"),
    (
        "5901 -- vncserver -fg :1",
        "--wsuri=ws://0.0.0.0:5901 --wrap-mode=exit -- vncserver -fg :1",
    ),
    (
        "--web=/srv --wrap-mode=ignore [::1]:5901 -- vncserver --inetd",
        "--wsuri=ws://[::1]:5901 --web=/srv --web-listing --wrap-mode=ignore -- vncserver --inetd",
    ),
    (
        "--cert=cert.pem --key=key.pem --key-password=a:b --ssl-ciphers=ECDHE-RSA-AES128-GCM-SHA256:!aNULL 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --cert=cert.pem --key=key.pem --key-password=pass:a:b \
             --tls-ciphers=ECDHE-RSA-AES128-GCM-SHA256",
    ),
    // A beginning that is no other option's.
    (
        "--heart 9 1 h:1",
        "--wsuri=ws://0.0.0.0:1 --target=h:1 --ping-interval=9s",
    ),
];

#[test]
fn every_option_has_its_meaning_here() {
    for (line, ours) in MEANINGS {
        assert_eq!(said(line), *ours, "{line}");
    }
}

#[test]
fn a_listener_that_is_handed_over_serves_many_sessions() {
    let words = ["--inetd", "--run-once", "--timeout=5", "--web=/srv", "h:1"].map(str::to_owned);
    let parsed = grammar::parse(&words).expect("a command line");
    let plan = translate(&parsed, &Has(&[LISTENER])).expect("a plan");
    assert_eq!(plan.notes, [""; 0]);
    assert_eq!(
        plan.arguments[2..].join(" "),
        "--target=h:1 inetd --run-once --stop-after=5s --workers=1 --drain-timeout=24h --web=/srv --web-listing"
    );
}

#[test]
fn a_password_is_not_passed_on_as_it_is() {
    let plan = plan("--auth-plugin=BasicHTTPAuth --auth-source=ada:a:b 1 h:1").expect("a plan");
    assert_eq!(plan.login, Some(("ada".to_owned(), "a:b".to_owned())));
    assert!(
        !plan
            .arguments
            .iter()
            .any(|argument| argument.contains("a:b"))
    );
}

#[test]
fn what_has_no_effect_is_noted() {
    for (line, note) in [
        ("--libserver 1 h:1", "--libserver"),
        ("--legacy-syslog 1 h:1", "RFC 5424"),
        ("--auto-pong 1 h:1", "Ping"),
        ("--cert=other.pem 1 h:1", "other.pem is not there"),
        ("--ssl-version=tlsv1_1 1 h:1", "1.2"),
        (
            "--cert=cert.pem --ssl-ciphers=HIGH:RC4 1 h:1",
            "left out: RC4",
        ),
        ("--inetd --timeout=5 h:1", "--timeout has no effect"),
        ("--log-file=/l --syslog=/dev/log 1 h:1", "--syslog"),
    ] {
        let plan = plan(line).expect("a plan");
        assert!(
            plan.notes.iter().any(|known| known.contains(note)),
            "{line}: {plan:?}"
        );
    }
    assert!(plan("-D 1 h:1").expect("a plan").daemon);
    assert!(plan("-vD6 1 h:1").expect("a plan").daemon);
}

#[test]
fn what_cannot_be_had_says_the_way_here() {
    for (line, sentence) in [
        ("1", "Too few arguments"),
        ("1 h:1 h:2", "Too many arguments"),
        ("--unix-target=/t 1 h:1", "Too many arguments"),
        ("a:b h:1", "Error parsing listen port"),
        ("1 h", "Error parsing target"),
        ("1 h:x", "Error parsing target port"),
        ("--ssl-only 1 h:1", "SSL only and self.pem not found"),
        (
            "--web-auth 1 h:1",
            "You must use --auth-plugin to use --web-auth",
        ),
        (
            "--web=/srv --web-auth --auth-plugin=ExpectOrigin --auth-source=http://a 1 h:1",
            "needs --auth-plugin BasicHTTPAuth",
        ),
        ("1 --", "needs a program"),
        ("1 h:1 -- program", "Too many arguments"),
        ("--wrap-mode=never 1 -- program", "invalid choice"),
        ("--inetd -D h:1", "leave -D off"),
        ("--inetd 1 h:1", "Too many arguments"),
        ("--inetd --web=/srv h:1", "--web off"),
        (
            "--cert=cert.pem --ssl-ciphers=RC4 1 h:1",
            "names none that is known here",
        ),
        (
            "--cert=cert.pem --ssl-ciphers=TLS_AES_128_GCM_SHA256:!TLS_AES_128_GCM_SHA256 1 h:1",
            "names none",
        ),
        ("--token-plugin=my.Plugin --token-source=x 1", "--token-url"),
        ("--token-plugin=TokenFile 1", "needs a --token-source"),
        ("--token-source=x 1 h:1", "--token-plugin"),
        (
            "--token-plugin=TokenRedis --token-source=h:x 1",
            "host[:port",
        ),
        ("--auth-plugin=My --auth-source=x 1 h:1", "--token-key"),
        ("--timeout=x 1 h:1", "invalid integer value"),
        ("--verify-client 1 h:1", "--verify-client needs TLS"),
        ("--file-only 1 h:1", "--file-only has no effect"),
        ("--nonsense 1 h:1", "no such option: --nonsense"),
        ("-x 1 h:1", "no such option: -x"),
        ("--t 1 h:1", "ambiguous option: --t"),
        ("--traffic=1 1 h:1", "does not take a value"),
        ("1 h:1 --record", "requires 1 argument"),
    ] {
        let why = plan(line).expect_err(line);
        assert!(why.contains(sentence), "{line}: {why}");
    }
}
