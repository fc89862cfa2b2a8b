//! Options of a program. Each is defined once; the command line, the configuration file, `--help` and `--print-config`
//! all read that definition.
//!
//! ```text
//!  define(name, field, kind, help) ─┬─▶ clap: what can be typed, --help with the default as T has it
//!                                   ├─▶ TOML: which keys there are
//!                                   ├─▶ apply: text → value → field of T, or the sentence for the user
//!                                   └─▶ show: field of T → text, for --print-config and the pages
//! ```
//!
//! Owns: the texts that the user gave, where each was given, and the beginning of the sentence for a bad value. Never:
//! judges how options go together (the owner of `T` does).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use ringway::exit::{Exit, Fatal};
use toml::{Table, Value};

use crate::file;
use crate::judge::{BadOption, Resolved};
use crate::kinds::{Bare, Kind, Wrong};

/// The place of a value in `T`.
#[derive(Debug)]
pub struct Field<T, V> {
    /// Reads the value.
    pub get: fn(&T) -> &V,
    /// Writes the value.
    pub set: fn(&mut T, V),
}

/// The [`Field`](crate::options::Field) of a type: `field!(ServerOptions: socket.nodelay)`.
#[macro_export]
macro_rules! field {
    ($type:ty: $($name:ident).+) => {
        $crate::options::Field::<$type, _> {
            get: |options| &options.$($name).+,
            set: |options, value| options.$($name).+ = value,
        }
    };
}

/// The definition of one option.
#[expect(missing_debug_implementations, reason = "it is made of functions")]
pub struct Definition<T> {
    name: &'static str,
    help: &'static str,
    heading: Option<&'static str>,
    /// The default's text in `--help`; `{}` stands for its value.
    default: &'static str,
    value_name: &'static str,
    bare: Bare,
    shape: Shape,
    set: Setter<T>,
    show: Shower<T>,
}

/// How the user types an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `--name value`, once.
    Once,
    /// `--name value`, any number of times: the values are joined with commas.
    Repeated,
    /// `--name value`, any number of times: the values are joined as lines.
    RepeatedLines,
    /// The value alone.
    Positional,
}

type Setter<T> = Box<dyn Fn(&mut T, &str) -> Result<(), Wrong>>;
type Shower<T> = Box<dyn Fn(&T) -> Option<String>>;

/// Defines an option `--name`, which is also the key `name` of a file: the field that it sets, the kind of its values,
/// and its help without the default.
pub fn define<T: 'static, V: 'static>(
    name: &'static str,
    field: Field<T, V>,
    kind: impl Kind<V> + Clone + 'static,
    help: &'static str,
) -> Definition<T> {
    let Field { get, set } = field;
    let shown = kind.clone();
    Definition {
        name,
        help,
        heading: None,
        default: "{}",
        value_name: kind.value_name(),
        bare: kind.bare(),
        shape: Shape::Once,
        set: Box::new(move |options, text| {
            set(options, kind.parse(text)?);
            Ok(())
        }),
        show: Box::new(move |options| shown.show(get(options))),
    }
}

impl<T> Definition<T> {
    /// Its name, without dashes.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Sets the default's text in `--help`; `{}` stands for its value.
    #[must_use]
    pub fn default_said(mut self, said: &'static str) -> Self {
        self.default = said;
        self
    }

    /// Lets the option be given several times: the values are joined with commas.
    #[must_use]
    pub const fn repeated(mut self) -> Self {
        self.shape = Shape::Repeated;
        self
    }

    /// Lets the option be given several times: the values, which may have commas, are joined as lines.
    #[must_use]
    pub const fn repeated_lines(mut self) -> Self {
        self.shape = Shape::RepeatedLines;
        self
    }

    /// Lets the value be typed without the name. In a file, the name is the key.
    #[must_use]
    pub const fn positional(mut self) -> Self {
        self.shape = Shape::Positional;
        self
    }

    /// The option as clap's argument.
    fn arg(&self, defaults: &T) -> Arg {
        let arg = Arg::new(self.name);
        let arg = match self.shape {
            Shape::Once => arg.long(self.name),
            Shape::Repeated | Shape::RepeatedLines => arg.long(self.name).action(ArgAction::Append),
            Shape::Positional => arg,
        };
        let arg = arg
            .value_name(self.value_name)
            .help(self.full_help(defaults))
            .help_heading(self.heading);
        match self.bare {
            Bare::Refused => arg,
            Bare::Means(value) => arg.num_args(0..=1).default_missing_value(value),
            Bare::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        }
    }

    /// The default's text; `None` for a switch that is off, and if there is no value.
    fn default_text(&self, defaults: &T) -> Option<String> {
        match ((self.show)(defaults), self.bare) {
            (Some(value), Bare::Switch) if value == "false" => None,
            (Some(value), _) => Some(self.default.replace("{}", &value)),
            (None, _) if self.default == "{}" => None,
            (None, _) => Some(self.default.to_owned()),
        }
    }

    /// The help with the default.
    fn full_help(&self, defaults: &T) -> String {
        match self.default_text(defaults) {
            Some(default) => format!("{} [default: {default}]", self.help),
            None => self.help.to_owned(),
        }
    }
}

/// What a table of options says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The heading in `--help`.
    pub heading: Option<&'static str>,
    /// The name, without dashes.
    pub name: &'static str,
    /// The placeholder for the value.
    pub value_name: &'static str,
    /// The default; `None` for a switch that is off, and if there is no value.
    pub default: Option<String>,
    /// The help without the default.
    pub help: &'static str,
}

/// A row for each option, in the order of `--help`.
pub fn rows<D: Defined>() -> Vec<Row> {
    let defaults = D::defaults();
    let row = |definition: &Definition<D::Options>| Row {
        heading: definition.heading,
        name: definition.name,
        value_name: definition.value_name,
        default: definition.default_text(&defaults),
        help: definition.help,
    };
    D::definitions().iter().map(row).collect()
}

/// Puts options under a heading of `--help`.
pub fn under<T, const N: usize>(
    heading: &'static str,
    definitions: [Definition<T>; N],
) -> [Definition<T>; N] {
    definitions.map(|definition| Definition {
        heading: Some(heading),
        ..definition
    })
}

/// The options of one program.
pub trait Defined: 'static {
    /// The struct whose fields they set.
    type Options;

    /// All options, in the order of `--help`.
    fn definitions() -> Vec<Definition<Self::Options>>;

    /// The values of options that the user did not give.
    fn defaults() -> Self::Options;
}

/// Where the user gave a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    CommandLine,
    /// In the file of this name.
    File(String),
}

/// The texts that the user gave for the options `D`. They are not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<D> {
    texts: BTreeMap<&'static str, (String, Source)>,
    of: PhantomData<D>,
}

impl<D> Default for Given<D> {
    fn default() -> Self {
        Self {
            texts: BTreeMap::new(),
            of: PhantomData,
        }
    }
}

impl<D: Defined> Given<D> {
    /// Reads the text of a file. The error is a sentence without the file's name.
    ///
    /// # Errors
    /// The text is no TOML, or has an unknown key, or a value that no option can have.
    pub fn parse_file(text: &str, name: &str) -> Result<Self, String> {
        let definitions = D::definitions();
        let known: Vec<&str> = definitions
            .iter()
            .map(|definition| definition.name)
            .collect();
        let table = file::parse_table(text, &known)?;
        let mut given = Self::default();
        for definition in &definitions {
            if let Some(value) = table.get(definition.name) {
                let text = (plain(value.clone()), Source::File(name.to_owned()));
                given.texts.insert(definition.name, text);
            }
        }
        Ok(given)
    }

    /// Adds the options of a file. Options that were typed win.
    ///
    /// # Errors
    /// The file cannot be read, or [`Self::parse_file`] fails.
    pub fn over_file(self, path: &Path) -> Result<Self, Fatal> {
        let shown = path.display().to_string();
        let usage = |sentence: String| Fatal {
            exit: Exit::Usage,
            sentence,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| usage(format!("cannot read the configuration {shown}: {error}")))?;
        let mut merged =
            Self::parse_file(&text, &shown).map_err(|why| usage(format!("{shown}: {why}")))?;
        merged.texts.extend(self.texts);
        Ok(merged)
    }

    /// Whether the user gave this option.
    ///
    /// # Panics
    /// In debug builds, when there is no such option.
    pub fn has(&self, name: &str) -> bool {
        debug_assert!(
            D::definitions().iter().any(|known| known.name == name),
            "{name} is an option"
        );
        self.texts.contains_key(name)
    }

    /// Sets each field for which the user gave a text.
    ///
    /// # Errors
    /// The sentence for the first bad value. It begins with where the user gave it.
    pub fn apply(&self, options: &mut D::Options) -> Resolved<()> {
        for definition in D::definitions() {
            let name = definition.name;
            let Some((text, source)) = self.texts.get(name) else {
                continue;
            };
            (definition.set)(options, text).map_err(|wrong| {
                BadOption(match source {
                    Source::CommandLine if definition.shape == Shape::Positional => {
                        format!("{text}{wrong}")
                    }
                    Source::CommandLine => format!("--{name} {text}{wrong}"),
                    Source::File(file) => format!("{file}: {name} = {text}{wrong}"),
                })
            })?;
        }
        Ok(())
    }

    /// Adds a value as if the user had typed it, for tests.
    #[must_use]
    pub fn typed(texts: &[(&'static str, &str)]) -> Self {
        let text = |(name, text): &(&'static str, &str)| {
            (*name, ((*text).to_owned(), Source::CommandLine))
        };
        Self {
            texts: texts.iter().map(text).collect(),
            of: PhantomData,
        }
    }

    /// The sentence for a detail of compression that the user gave without `--deflate`.
    pub fn deflate_is_missing(&self) -> BadOption {
        let given = self.names().find(|name| name.starts_with("deflate-"));
        let name = given.unwrap_or("deflate-level");
        BadOption(format!(
            "--{name} says how messages are compressed, and none are: give --deflate too, or leave it off"
        ))
    }

    /// The names of the options that the user gave.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.texts.keys().copied()
    }

    /// Sets a value as if the user had typed it. Returns whether there was one.
    pub fn replace(&mut self, name: &'static str, text: String) -> bool {
        let text = (text, Source::CommandLine);
        self.texts.insert(name, text).is_some()
    }

    /// The text that the user gave for an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|(text, _)| text.as_str())
    }
}

impl<D: Defined> clap::Args for Given<D> {
    fn augment_args(command: Command) -> Command {
        let defaults = D::defaults();
        D::definitions()
            .iter()
            .fold(command, |command, definition| {
                command.arg(definition.arg(&defaults))
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<D: Defined> clap::FromArgMatches for Given<D> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for definition in D::definitions() {
            if let Some(texts) = matches.get_many::<String>(definition.name) {
                let texts: Vec<&str> = texts.map(String::as_str).collect();
                let between = match definition.shape {
                    Shape::RepeatedLines => "\n",
                    Shape::Once | Shape::Repeated | Shape::Positional => ",",
                };
                let text = (texts.join(between), Source::CommandLine);
                self.texts.insert(definition.name, text);
            }
        }
        Ok(())
    }
}

/// Name and text of each option, as a user would type them to get the present values.
pub fn pairs<D: Defined>(options: &D::Options) -> Vec<(String, String)> {
    let pair = |definition: &Definition<D::Options>| {
        let text = (definition.show)(options)?;
        Some((definition.name.to_owned(), text))
    };
    D::definitions().iter().filter_map(pair).collect()
}

/// The present values as a configuration file.
pub fn show<D: Defined>(options: &D::Options) -> String {
    show_those::<D>(options, |_| true)
}

/// The present values of the options that `wanted` selects, as a configuration file.
pub fn show_those<D: Defined>(options: &D::Options, wanted: impl Fn(&str) -> bool) -> String {
    let line = |(name, text): (String, String)| {
        // Without quotes for numbers and switches, as users write them.
        let value = match (text.parse::<bool>(), text.parse::<i64>()) {
            (Ok(on), _) => Value::Boolean(on),
            (_, Ok(number)) => Value::Integer(number),
            _ => Value::String(text),
        };
        Table::from_iter([(name, value)]).to_string()
    };
    let pairs = pairs::<D>(options).into_iter();
    pairs.filter(|(name, _)| wanted(name)).map(line).collect()
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::kinds::{OrOff, Size, Switch, Time, Unless};

    #[derive(Clone, Debug, PartialEq)]
    struct Kettle {
        boil: Duration,
        rest: Option<Duration>,
        water_bytes: Option<u32>,
        whistle: bool,
    }

    #[derive(Clone, Debug, PartialEq)]
    struct KettleArgs;

    impl Defined for KettleArgs {
        type Options = Kettle;

        fn definitions() -> Vec<Definition<Kettle>> {
            let second = Duration::from_secs(1);
            let mut all = vec![
                define(
                    "boil",
                    field!(Kettle: boil),
                    Time::from(second),
                    "Time to boil",
                ),
                define(
                    "rest",
                    field!(Kettle: rest),
                    OrOff(Time::from(second)),
                    "Time to rest",
                )
                .default_said("{}, or longer"),
            ];
            all.extend(under(
                "Parts",
                [
                    define(
                        "water",
                        field!(Kettle: water_bytes),
                        Unless(Size(1..=4096)),
                        "Water",
                    ),
                    define("whistle", field!(Kettle: whistle), Switch, "Whistle"),
                ],
            ));
            all
        }

        fn defaults() -> Kettle {
            Kettle {
                boil: Duration::from_secs(90),
                rest: None,
                water_bytes: None,
                whistle: false,
            }
        }
    }

    type Typed = Given<KettleArgs>;

    fn typed(arguments: &[&str]) -> Typed {
        let command = Typed::augment_args(Command::new("kettle").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).expect("in order");
        Typed::from_arg_matches(&matches).expect("strings")
    }

    fn kettle(given: &Typed) -> Result<Kettle, String> {
        let mut kettle = KettleArgs::defaults();
        given.apply(&mut kettle).map_err(|bad| bad.0)?;
        Ok(kettle)
    }

    #[test]
    fn help_shows_the_default_that_the_field_has() {
        let mut command = Typed::augment_args(Command::new("kettle"));
        let help = command.render_long_help().to_string();
        for line in [
            "Time to boil [default: 90s]",
            "Time to rest [default: 0, or longer]",
            "          Water\n",
            "          Whistle\n",
            "Parts:\n",
            "--whistle[=<BOOL>]",
        ] {
            assert!(help.contains(line), "{line:?} is not in {help}");
        }
    }

    #[test]
    fn what_was_typed_wins_over_a_file_and_a_bad_value_says_where_it_stands() {
        let folder = std::env::temp_dir().join(format!("ringway-options-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("kettle.toml");
        std::fs::write(&path, "boil = 0.5\nwater = '1KiB'\nwhistle = true\n").expect("a file");
        let merged = typed(&["--boil=2s"]).over_file(&path).expect("it is there");
        assert!(merged.has("water") && !merged.has("rest"));
        let expected = Kettle {
            boil: Duration::from_secs(2),
            rest: None,
            water_bytes: Some(1024),
            whistle: true,
        };
        assert_eq!(kettle(&merged), Ok(expected));

        let why = "0.5 is not a time from 1s to 24h: write it as 250ms, 10s or 1m";
        let file = typed(&[]).over_file(&path).expect("it is there");
        assert_eq!(
            kettle(&file),
            Err(format!("{}: boil = {why}", path.display()))
        );
        assert_eq!(
            kettle(&typed(&["--boil=0.5"])),
            Err(format!("--boil {why}"))
        );
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn what_is_shown_is_a_file_that_means_the_same() {
        for arguments in [
            &[][..],
            &["--rest=1m", "--water", "64", "--whistle"],
            &["--rest=0", "--whistle=false"],
        ] {
            let meant = kettle(&typed(arguments)).expect("in order");
            let shown = show::<KettleArgs>(&meant);
            let read = Typed::parse_file(&shown, "kettle.toml").expect("TOML");
            assert_eq!(kettle(&read), Ok(meant), "{shown}");
        }
    }
}
