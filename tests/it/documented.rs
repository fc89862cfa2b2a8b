//! Every option that a page names exists in the program that the page is about.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::run;

/// The options in a text: `--name`, where no letter, digit or hyphen stands before. Autobahn's names have `_` for `-`.
fn options_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '-') {
            continue;
        }
        let name: String = text[at + 2..]
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter))
            .map(|letter| if letter == '_' { '-' } else { letter })
            .collect();
        if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            found.insert(name);
        }
    }
    found
}

#[test]
fn every_option_that_a_page_names_is_one_of_its_program() {
    let help = |program: &str, words: &[&str]| {
        let output = run(program, words);
        assert_eq!(output.code, 0, "{}", output.stderr);
        options_in(&output.stdout)
    };
    let gateway = help("ringway", &["gateway", "--help"]);
    let forward = help("ringway", &["forward", "--help"]);
    let server = help("ringway", &["server", "--help"]);
    assert!(gateway.contains("token-file") && forward.contains("to") && server.contains("web"));
    // websockify's own are those of its original: its grammar knows their names.
    let grammar = concat!(env!("CARGO_MANIFEST_DIR"), "/websockify/grammar.rs");
    let grammar = fs::read_to_string(grammar).expect("the source is there");
    let of_websockify = grammar
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    let websockify: BTreeSet<String> = of_websockify.map(str::to_owned).collect();
    assert!(websockify.contains("inetd"));
    for (page, known) in [
        ("gateway.md", vec![&gateway, &forward]),
        ("forward.md", vec![&forward]),
        ("web.md", vec![&server, &gateway]),
        ("websockify.md", vec![&websockify, &gateway]),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(page);
        let text = fs::read_to_string(path).expect("the page is there");
        let named = options_in(&text);
        assert!(named.len() > 5, "{page} names {named:?}");
        let unknown: Vec<_> = named
            .iter()
            .filter(|name| !known.iter().any(|known| known.contains(*name)))
            .collect();
        assert!(unknown.is_empty(), "{page} names {unknown:?}");
    }
}
