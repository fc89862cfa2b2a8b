//! Token files: which token leads to which target.
//!
//! Owns: the form of the file, text in and table out. Never: opens a file.
//!
//! ```text
//!  # websockify's form: a token, a colon, white space, a target
//!  alice: 127.0.0.1:5901
//!  bob:   [::1]:5902
//!  carol: unix:/run/carol.sock
//! ```

use std::collections::HashMap;

use super::place::Place;

/// Bytes of a token in a file.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// Bytes of the longest token file that is read (16 MiB): some hundred thousand lines.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Faults of a file that are named; the rest is counted.
const FAULTS_MAX: usize = 8;

/// What a token file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Targets by token. Of two lines with one token the first counts, as in websockify.
    pub targets: HashMap<String, Place>,
    /// Lines that say nothing, by number from 1, with the reason: the first eight of them.
    pub faults: Vec<(usize, &'static str)>,
    /// How many such lines there are.
    pub faulty: usize,
}

/// Reads a token file.
pub fn read(text: &str) -> Table {
    let mut table = Table::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read_line(line) {
            Ok((token, place)) => {
                let token = token.to_owned();
                table.targets.entry(token).or_insert(place);
            }
            Err(why) => {
                table.faulty += 1;
                if table.faults.len() < FAULTS_MAX {
                    table.faults.push((at + 1, why));
                }
            }
        }
    }
    table
}

/// A token may have a colon itself: the first one with white space behind it ends it.
fn read_line(line: &str) -> Result<(&str, Place), &'static str> {
    let mut colons = line.match_indices(':').map(|(at, _)| at);
    let end = colons.find(|at| line[at + 1..].starts_with(char::is_whitespace));
    let end =
        end.ok_or("has no colon with white space behind it: write it as `token: host:port`")?;
    let (token, target) = (line[..end].trim_end(), line[end + 1..].trim());
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err("has no token, or one of more than 1024 bytes");
    }
    let place = Place::parse(target);
    place
        .map(|place| (token, place))
        .ok_or("names no target: write it as host:port, [::1]:port or unix:/path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_blank_lines() {
        let text = "# targets\n\nalice: 127.0.0.1:5901\n\tbob:\t[::1]:5902 \r\n a:b :  unix:/run/c.sock\nd: unix_socket:/d\n\
                    alice: 127.0.0.1:1\n";
        let table = read(text);
        let get = |token: &str| table.targets.get(token).map(ToString::to_string);
        assert_eq!(get("alice").as_deref(), Some("127.0.0.1:5901"));
        assert_eq!(get("bob").as_deref(), Some("[::1]:5902"));
        assert_eq!(get("a:b").as_deref(), Some("unix:/run/c.sock"));
        assert_eq!(get("d").as_deref(), Some("unix:/d"));
        assert_eq!((table.targets.len(), table.faulty), (4, 0));
    }

    #[test]
    fn what_is_no_line_is_told_by_its_number() {
        let table = read("a:127.0.0.1:1\nb: nowhere\n: h:1\nc: h:1\n");
        assert_eq!(table.targets.len(), 1);
        let lines: Vec<_> = table.faults.iter().map(|(line, _)| *line).collect();
        assert_eq!((lines, table.faulty), (vec![1, 2, 3], 3));
        assert_eq!(read(&"x\n".repeat(100)).faults.len(), 8);
    }
}
