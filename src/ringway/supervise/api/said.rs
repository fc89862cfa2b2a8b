//! What the bodies and queries of the HTTP API say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ringway_bus::history::Retain;
use ringway_bus::pubsub::Limits;
use ringway_bus::topics::Topic;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::desk::{Data, Request};
use super::{Refused, bad};
use crate::proto::{Kind, frame};

/// A page of topics, or one topic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topics {
    pub(super) service: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) after: Option<String>,
    pub(super) limit: Option<u16>,
}

/// A message for a topic of a pubsub.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish<'a> {
    service: Option<String>,
    topic: String,
    #[serde(default)]
    retain: bool,
    /// Passed on as it is written.
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    base64: Option<String>,
}

/// A value that is there, `null` too.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// Arrays and objects inside each other in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// A message for the clients of a broadcast.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Broadcast {
    pub(super) service: Option<String>,
    pub(super) path: Option<String>,
    text: Option<String>,
    base64: Option<String>,
}

/// Clients to be closed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disconnect {
    pub(super) service: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) path: Option<String>,
    pub(super) address: Option<String>,
    /// Policy violation (1008), if nothing is said.
    #[serde(default = "policy_violation")]
    pub(super) code: u16,
    pub(super) reason: Option<String>,
}

const fn policy_violation() -> u16 {
    1008
}

/// A body with one object.
pub(super) fn one<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A body with one object, or with a list of them; and whether it is a list.
pub(super) fn one_or_more<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    count_max: usize,
) -> Result<(Vec<T>, bool), String> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return Ok((vec![one(body)?], false));
    }
    let list: Vec<T> = one(body)?;
    match list.len() > count_max {
        true => Err(format!("a list has at most {count_max} messages")),
        false => Ok((list, true)),
    }
}

impl Publish<'_> {
    /// What is asked, once the service is found.
    pub(super) fn request(
        self,
        service: impl FnOnce(Option<&str>) -> Result<String, Refused>,
    ) -> Result<Request, Refused> {
        if let Err(why) = Topic::parse(&self.topic) {
            return Err(bad(format!("topic: {why}")));
        }
        let data = match (self.data, self.base64) {
            // In a client's request it lies one deeper.
            (Some(json), None) if depth(json.get()) >= Limits::default().depth_max => {
                return Err(bad(
                    "data has too many arrays and objects inside each other",
                ));
            }
            (Some(json), None) => Data::Json(json.get().to_owned()),
            (None, Some(text)) => Data::Bytes(decoded(&text).map_err(bad)?),
            _ => return Err(bad("give either data, a JSON value, or base64")),
        };
        Ok(Request::Publish {
            service: service(self.service.as_deref())?,
            topic: self.topic,
            retain: if self.retain { Retain::Yes } else { Retain::No },
            data,
        })
    }
}

impl Broadcast {
    /// The frame of the message.
    pub(super) fn frame(&self) -> Result<Vec<u8>, String> {
        let (kind, payload) = match (&self.text, &self.base64) {
            (Some(text), None) => (Kind::Text, text.clone().into_bytes()),
            (None, Some(text)) => (Kind::Binary, decoded(text)?),
            _ => return Err("give either text or base64".to_owned()),
        };
        let (head, head_len) = frame::message_head(kind, payload.len());
        Ok([&head[..head_len], &payload].concat())
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text)
        .map_err(|error| format!("base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_passed_on_as_it_is_written() {
        let body = br#" [{"topic":"a/b","data":{"x": 1.0810},"retain":true},{"topic":"c","base64":"//4="}]"#;
        let (messages, is_list) = one_or_more::<Publish<'_>>(body, 2).expect("two messages");
        assert!(is_list);
        let mut requests = messages.into_iter().map(|message| {
            let found = |named: Option<&str>| Ok(named.unwrap_or("only").to_owned());
            message
                .request(found)
                .unwrap_or_else(|Refused(_, why)| panic!("{why}"))
        });
        assert!(
            matches!(requests.next(), Some(Request::Publish { data: Data::Json(text), retain: Retain::Yes, service, .. })
            if text == r#"{"x": 1.0810}"# && service == "only")
        );
        assert!(
            matches!(requests.next(), Some(Request::Publish { data: Data::Bytes(bytes), .. }) if bytes == [0xff, 0xfe])
        );
        assert!(one_or_more::<Publish<'_>>(body, 1).is_err());
    }

    #[test]
    fn what_is_no_message_says_why() {
        let why = |body: &str| {
            let message = match one::<Publish<'_>>(body.as_bytes()) {
                Ok(message) => message,
                Err(why) => return why,
            };
            let Err(Refused(status, why)) = message.request(|_| Ok(String::new())) else {
                panic!("it is one: {body}");
            };
            assert_eq!(status.as_u16(), 400);
            why
        };
        assert!(why(r#"{"topic":"a"}"#).contains("either data"));
        assert!(why(r#"{"topic":"a/#","data":1}"#).starts_with("topic: "));
        assert!(why(r#"{"topic":"a","data":1,"base64":"AA=="}"#).contains("either data"));
        assert!(why(r#"{"topic":"a","base64":"A"}"#).starts_with("base64: "));
        assert!(why(r#"{"topic":"a","dat":1}"#).contains("unknown field"));
        assert!(why(r#"{"topic":"a","data":null,"base64":"AA=="}"#).contains("either data"));
        let deep = |depth| {
            format!(
                r#"{{"topic":"a","data":{}"[\""{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(why(&deep(32)).contains("inside each other"));
        let message = one::<Publish<'_>>(br#"{"topic":"a","data":null}"#).expect("a message");
        let request = message.request(|_| Ok(String::new()));
        assert!(
            matches!(request, Ok(Request::Publish { data: Data::Json(text), .. }) if text == "null")
        );
        let flat = deep(31);
        let message = one::<Publish<'_>>(flat.as_bytes()).expect("a message");
        assert!(message.request(|_| Ok(String::new())).is_ok());
    }

    #[test]
    fn a_broadcast_is_one_frame() {
        let of = |body: &str| one::<Broadcast>(body.as_bytes()).and_then(|message| message.frame());
        assert_eq!(of(r#"{"text":"hi"}"#), Ok(b"\x81\x02hi".to_vec()));
        assert_eq!(of(r#"{"base64":"/w=="}"#), Ok(b"\x82\x01\xff".to_vec()));
        assert!(of(r#"{"path":"/a"}"#).is_err());
    }
}
