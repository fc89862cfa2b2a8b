//! The words of a websockify command line, as Python's optparse takes them.
//!
//! Owns: the names of its options and which of them have a value. Never: knows what they mean.
//!
//! `--name=value`, `--name value`, a beginning of a name that is no other's, `-v`, several letters in one word, options before and
//! after the places, and `--` before a program.

/// Options of 0.13, and of versions before it. `true`: with a value.
const OPTIONS: &[(&str, bool)] = &[
    ("verbose", false),
    ("traffic", false),
    ("record", true),
    ("daemon", false),
    ("run-once", false),
    ("timeout", true),
    ("idle-timeout", true),
    ("cert", true),
    ("key", true),
    ("key-password", true),
    ("ssl-only", false),
    ("ssl-target", false),
    ("verify-client", false),
    ("cafile", true),
    ("ssl-version", true),
    ("ssl-ciphers", true),
    ("unix-listen", true),
    ("unix-listen-mode", true),
    ("unix-target", true),
    ("inetd", false),
    ("web", true),
    ("web-auth", false),
    ("wrap-mode", true),
    ("prefer-ipv6", false),
    ("libserver", false),
    ("target-config", true),
    ("token-plugin", true),
    ("token-source", true),
    ("host-token", false),
    ("auth-plugin", true),
    ("auth-source", true),
    ("heartbeat", true),
    ("log-file", true),
    ("syslog", true),
    ("legacy-syslog", false),
    ("file-only", false),
    ("auto-pong", false),
];

/// Short names.
const LETTERS: [(char, &str); 3] = [('v', "verbose"), ('D', "daemon"), ('6', "prefer-ipv6")];

/// Why words are no command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) String);

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Options with their values; the last of a name counts.
    given: Vec<(&'static str, String)>,
    /// What is no option.
    pub(super) places: Vec<String>,
    /// What follows `--`: a program and its arguments.
    pub(super) program: Vec<String>,
    /// Whether there is a `--`.
    pub(super) wraps: bool,
}

impl Parsed {
    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value of the option.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut given = self.given.iter().rev();
        let found = given.find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the words behind the program's name.
pub(super) fn parse(words: &[String]) -> Result<Parsed, Wrong> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.wraps = true;
            parsed.program.extend(words.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (name, has_value) = find(name)?;
            let value = match (has_value, value) {
                (false, None) => String::new(),
                (false, Some(_)) => {
                    return Err(Wrong(format!("--{name} option does not take a value")));
                }
                (true, Some(value)) => value,
                (true, None) => words
                    .next()
                    .cloned()
                    .ok_or_else(|| Wrong(format!("--{name} option requires 1 argument")))?,
            };
            parsed.given.push((name, value));
        } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            for letter in letters.chars() {
                let known = LETTERS.iter().find(|(known, _)| *known == letter);
                let (_, name) = known.ok_or_else(|| Wrong(format!("no such option: -{letter}")))?;
                parsed.given.push((name, String::new()));
            }
        } else {
            parsed.places.push(word.clone());
        }
    }
    Ok(parsed)
}

/// The option of this name, or the only one that begins so.
fn find(name: &str) -> Result<(&'static str, bool), Wrong> {
    if let Some(exact) = OPTIONS.iter().find(|(known, _)| *known == name) {
        return Ok(*exact);
    }
    let begin_so: Vec<_> = OPTIONS
        .iter()
        .filter(|(known, _)| known.starts_with(name))
        .collect();
    match begin_so[..] {
        [only] if !name.is_empty() => Ok(*only),
        [] => Err(Wrong(format!(
            "no such option: --{name}; `ringway gateway --help` has those of the program behind this one"
        ))),
        _ => {
            let names: Vec<_> = begin_so
                .iter()
                .map(|(known, _)| format!("--{known}"))
                .collect();
            Err(Wrong(format!(
                "ambiguous option: --{name} ({}?)",
                names.join(", ")
            )))
        }
    }
}
