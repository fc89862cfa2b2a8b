//! The files of seeds and corpora: one input a line, behind comments. The tests that replay them include this.

use std::path::Path;

/// The inputs of a file below `fuzz/`, as they stand there. None: there is no such file.
pub fn lines(folder: &str, target: &str) -> Option<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let text = std::fs::read_to_string(root.join(folder).join(format!("{target}.txt"))).ok()?;
    let inputs = text.lines().filter(|line| !line.starts_with('#'));
    Some(inputs.map(str::to_owned).collect())
}

/// Printable ASCII is itself; the rest is `\xNN`, `\r`, `\n` or `\\`.
pub fn unescape(mut line: &str) -> Vec<u8> {
    let mut bytes = vec![];
    while let Some((plain, escaped)) = line.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (name, rest) = escaped.split_at(1);
        let (byte, rest) = match name {
            "n" => (b'\n', rest),
            "r" => (b'\r', rest),
            "x" => {
                let (hex, rest) = rest.split_at(2);
                let byte = u8::from_str_radix(hex, 16).expect("two hexadecimal digits");
                (byte, rest)
            }
            _ => (b'\\', rest),
        };
        bytes.push(byte);
        line = rest;
    }
    bytes.extend_from_slice(line.as_bytes());
    bytes
}
