//! A configuration file: TOML, with the option names of the command line.
//!
//! Owns: reading the file. Never: judges a value.

use toml::{Table, Value};

/// Reads the text of a file that may have the keys `known`, each with a string, a number, true or false. The error is
/// one sentence without the file's name.
pub(crate) fn parse_table(text: &str, known: &[&str]) -> Result<Table, String> {
    let table: Table = toml::from_str(text).map_err(|error| one_line(&error, text))?;
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        // Two different letters are a typing error in a long name, but a different word in a short one.
        let near = known
            .iter()
            .filter(|name| distance(name, key) <= 2.min(name.len() / 3))
            .min_by_key(|name| distance(name, key));
        let hint = near.map_or_else(
            || "see --help for the options, without their dashes".to_owned(),
            |name| format!("did you mean '{name}'?"),
        );
        return Err(format!("unknown key '{key}': {hint}"));
    }
    match table.iter().find(|(_, value)| !is_plain(value)) {
        Some((key, _)) => Err(format!(
            "key '{key}' must be a string, a number, true or false"
        )),
        None => Ok(table),
    }
}

fn is_plain(value: &Value) -> bool {
    matches!(
        value,
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_)
    )
}

/// A TOML error as one line: the reason, and the line of the file.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text.as_bytes()[..span.start.min(text.len())]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

/// Levenshtein distance: the number of edits between two names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(
            (
                distance("port", "port"),
                distance("prot", "port"),
                distance("", "abc")
            ),
            (0, 2, 3)
        );
    }
}
