//! The formats of what is written about sessions: bytes in, text out.
//!
//! Owns: lines of the access log, and both forms of a recording (`docs/gateway.md`). Never: opens a file, reads a clock.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ringway::Way;
use ringway::proto::http::civil;
use ringway::services::gateway::{Account, LogFormat, Outcome, RecordFormat};
use ringway_command::recording;
use serde_json::{Map, Value};

/// A line about a session, with its line break. `now` is its end.
pub(super) fn line(
    format: LogFormat,
    account: &Account,
    outcome: &Outcome<'_>,
    now: SystemTime,
) -> String {
    let fields = fields(account, outcome, now);
    match format {
        LogFormat::Json => {
            let object: Map<String, Value> = fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            format!("{}\n", shown(&Value::Object(object)))
        }
        LogFormat::Text => {
            let mut line = String::new();
            for (at, (name, value)) in fields.iter().enumerate() {
                let _ = match (at, value) {
                    (0, Value::String(time)) => write!(line, "{time}"),
                    (_, Value::String(text)) if is_plain(text) => write!(line, " {name}={text}"),
                    // Quoted as JSON: nothing that a client sends makes a line of its own.
                    (_, value) => write!(line, " {name}={}", shown(value)),
                };
            }
            line.push('\n');
            line
        }
    }
}

/// A value as JSON, without a character that a terminal obeys, or that turns or breaks a line. serde escapes only those below U+0020.
fn shown(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        let _ = match letter {
            '\u{7f}'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => write!(text, "\\u{:04x}", u32::from(letter)),
            letter => write!(text, "{letter}"),
        };
    }
    text
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// What is told of a session, without what there is not.
fn fields(account: &Account, outcome: &Outcome<'_>, now: SystemTime) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("time", Value::from(timestamp(now)))];
    let mut add = |name, value: Option<Value>| fields.extend(value.map(|value| (name, value)));
    let text = |text: &Option<Box<str>>| text.as_deref().map(Value::from);
    let client = account.client.map(|client| client.to_string());
    add(
        "client",
        Some(client.map_or_else(|| Value::from("unix"), Value::from)),
    );
    add("host", Some(Value::from(&*account.host)));
    add("path", Some(Value::from(&*account.path)));
    add("subprotocol", text(&account.subprotocol));
    add("user", text(&account.user));
    add("token", text(&account.token));
    add("target", account.target.as_deref().map(Value::from));
    let (end, code, reason) = match outcome {
        Outcome::Refused { status, reason } => {
            add("end", Some(Value::from("refused")));
            add("status", Some(Value::from(*status)));
            add("reason", Some(Value::from(*reason)));
            return fields;
        }
        Outcome::Left => {
            add("end", Some(Value::from("left")));
            return fields;
        }
        Outcome::Closed(closed) => match &account.parted {
            Some((code, reason)) => ("target", *code, &**reason),
            None if closed.violation.is_some() => ("violation", closed.code, closed.reason),
            None if !closed.clean => ("broken", closed.code, closed.reason),
            None => ("client", closed.code, closed.reason),
        },
    };
    add("to_target", Some(Value::from(account.to_target)));
    add("to_client", Some(Value::from(account.to_client)));
    let time = now.duration_since(account.asked_at).unwrap_or_default();
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    add("milliseconds", Some(Value::from(milliseconds)));
    add("end", Some(Value::from(end)));
    add("code", Some(Value::from(code.number())));
    add("reason", (!reason.is_empty()).then(|| Value::from(reason)));
    fields
}

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The beginning of a recording.
pub(super) fn begin(format: RecordFormat, account: &Account) -> Vec<u8> {
    match format {
        RecordFormat::Websockify => b"var VNC_frame_data = [\n".to_vec(),
        RecordFormat::Ringway => {
            let began = timestamp(account.asked_at);
            let target = account.target.as_deref();
            let subprotocol = account.subprotocol.as_deref();
            let about = serde_json::json!({
                "began": began, "target": target, "path": &*account.path, "subprotocol": subprotocol
            });
            let mut bytes = recording::STREAM.to_vec();
            bytes.extend_from_slice(format!("{about}\n").as_bytes());
            bytes
        }
    }
}

/// A piece of a stream, `at` after the beginning. In Ringway's own form times are differences: from the piece `before` it.
pub(super) fn piece(
    format: RecordFormat,
    way: Way,
    (before, at): (Duration, Duration),
    bytes: &[u8],
    out: &mut Vec<u8>,
) {
    let mark = match way {
        Way::ToTarget => '}',
        Way::ToClient => '{',
    };
    match format {
        RecordFormat::Websockify => {
            let mut text = format!("'{mark}{}{mark}", at.as_millis());
            for byte in bytes {
                match *byte {
                    b'\\' => text.push_str("\\\\"),
                    b'\'' => text.push_str("\\'"),
                    b'\t' => text.push_str("\\t"),
                    b'\n' => text.push_str("\\n"),
                    b'\r' => text.push_str("\\r"),
                    byte @ 0x20..0x7f => text.push(char::from(byte)),
                    byte => {
                        let _ = write!(text, "\\x{byte:02x}");
                    }
                }
            }
            text.push_str("',\n");
            out.extend_from_slice(text.as_bytes());
        }
        RecordFormat::Ringway => {
            let mark = match way {
                Way::ToTarget => b'>',
                Way::ToClient => b'<',
            };
            recording::write(mark, at.saturating_sub(before), bytes, out);
        }
    }
}

/// The end of a recording. One that lacks something says so.
pub(super) fn end(format: RecordFormat, is_complete: bool) -> &'static [u8] {
    match (format, is_complete) {
        (RecordFormat::Websockify, true) => b"'EOF'];\n",
        (RecordFormat::Websockify, false) => b"/* incomplete */\n'EOF'];\n",
        (RecordFormat::Ringway, true) => b".",
        (RecordFormat::Ringway, false) => b"!",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            asked_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_987_999),
            client: Some(([127, 0, 0, 1], 5000).into()),
            host: "h:1".into(),
            path: "/a \"b\"".into(),
            subprotocol: None,
            user: Some("ada".into()),
            token: None,
            target: Some("127.0.0.1:5900".into()),
            to_target: 3,
            to_client: 70_000,
            parted: Some((ringway::CloseCode::InternalError, "no\nway".into())),
        }
    }

    #[test]
    fn a_line_tells_a_refusal_and_quotes_what_clients_send() {
        let mut account = account();
        account.target = None;
        let outcome = Outcome::Refused {
            status: 404,
            reason: "no target belongs to this token",
        };
        let now = account.asked_at + Duration::from_millis(1250);
        assert_eq!(
            line(LogFormat::Text, &account, &outcome, now),
            "2026-11-29T21:33:20.250Z client=127.0.0.1:5000 host=h:1 path=\"/a \\\"b\\\"\" user=ada end=refused status=404 \
             reason=\"no target belongs to this token\"\n"
        );
        let json = line(LogFormat::Json, &account, &Outcome::Left, now);
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&value["end"], &value["path"]),
            (&"left".into(), &"/a \"b\"".into())
        );
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_399_007);
        assert_eq!(timestamp(time), "2000-02-28T23:59:59.007Z");
    }

    #[test]
    fn recordings_have_the_form_that_is_documented() {
        let mut out = begin(RecordFormat::Websockify, &account());
        let times = (Duration::from_millis(5), Duration::from_millis(1234));
        piece(
            RecordFormat::Websockify,
            Way::ToTarget,
            times,
            b"a'\\\n\x00\xe9",
            &mut out,
        );
        out.extend_from_slice(end(RecordFormat::Websockify, true));
        assert_eq!(
            String::from_utf8(out).expect("ASCII"),
            "var VNC_frame_data = [\n'}1234}a\\'\\\\\\n\\x00\\xe9',\n'EOF'];\n"
        );
        let mut out = Vec::new();
        piece(
            RecordFormat::Ringway,
            Way::ToClient,
            times,
            &[7; 200],
            &mut out,
        );
        assert_eq!(out[..6], [b'<', 0xc8, 0x81, 0x4b, 0xc8, 0x01]);
        assert_eq!(out.len(), 6 + 200);
    }
}
