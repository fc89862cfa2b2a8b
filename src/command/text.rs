//! A value of an option before anybody has judged it.
//!
//! Owns: its place in clap and in TOML. Never: knows what a value means.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value as it was typed, judged later. In a file it may be a string, a number or a boolean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl FromStr for Text {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for Text {
    /// Numbers and switches without quotes, as people write them in a file.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.parse::<bool>(), self.0.parse::<i64>()) {
            (Ok(on), _) => serializer.serialize_bool(on),
            (_, Ok(number)) => serializer.serialize_i64(number),
            _ => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string, a number, true or false")]
        enum Plain {
            Boolean(bool),
            Integer(i64),
            Float(f64),
            String(String),
        }
        Ok(Self(match Plain::deserialize(deserializer)? {
            Plain::Boolean(value) => value.to_string(),
            Plain::Integer(value) => value.to_string(),
            Plain::Float(value) => value.to_string(),
            Plain::String(value) => value,
        }))
    }
}
