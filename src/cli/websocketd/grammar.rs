//! The words of a websocketd command line, as Go's flag package takes them.
//!
//! Owns: the names of its options and which of them have a value. Never: knows what they mean.
//!
//! `-name` and `--name` are the same; `--name=value`, `--name value`; a switch has its value behind an equals sign, if any. The first word
//! that is no option, or what follows `--`, is the command with its arguments.

/// Options of 0.4.1 and of 0.5. `true`: with a value.
const OPTIONS: &[(&str, bool)] = &[
    ("port", true),
    ("address", true),
    ("unixsocket", true),
    ("sameorigin", false),
    ("origin", true),
    ("ssl", false),
    ("sslcert", true),
    ("sslkey", true),
    ("sslca", true),
    ("redirport", true),
    ("passenv", true),
    ("binary", false),
    ("passstderr", false),
    ("reverselookup", false),
    ("dir", true),
    ("staticdir", true),
    ("cgidir", true),
    ("devconsole", false),
    ("maxforks", true),
    ("maxframesize", true),
    ("closems", true),
    ("pingms", true),
    ("header", true),
    ("header-ws", true),
    ("header-http", true),
    ("loglevel", true),
    ("version", false),
    ("license", false),
    ("help", false),
];

/// Why words are no command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) String);

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    given: Vec<(&'static str, String)>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
}

impl Parsed {
    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value of the option: the last one counts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// All values of an option, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.given.iter();
        given.filter_map(move |(known, value)| (*known == name).then_some(value.as_str()))
    }

    /// The number that the option has.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let wrong = |text| Wrong(format!("--{name}={text}: this is no number"));
        self.text(name)
            .map(|text| text.parse().map_err(|_| wrong(text)))
            .transpose()
    }
}

/// Reads the words behind the program's name.
pub(super) fn parse(words: &[String]) -> Result<Parsed, Wrong> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.command.extend(words.by_ref().cloned());
            break;
        }
        let Some(option) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            parsed.command.push(word.clone());
            parsed.command.extend(words.by_ref().cloned());
            break;
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let name = if name == "h" { "help" } else { name };
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        let (name, has_value) = known.ok_or_else(|| {
            Wrong(format!(
                "no such option: --{name}; `ringway gateway --help` has those of the program behind this one"
            ))
        })?;
        let value = match (has_value, value) {
            (true, Some(value)) => value,
            (true, None) => words
                .next()
                .cloned()
                .ok_or_else(|| Wrong(format!("--{name} needs a value")))?,
            (false, None) => String::new(),
            (false, Some(value)) => match value.as_str() {
                "true" | "1" | "t" => String::new(),
                "false" | "0" | "f" => continue,
                _ => return Err(Wrong(format!("--{name}={value}: give true or false"))),
            },
        };
        parsed.given.push((name, value));
    }
    Ok(parsed)
}
