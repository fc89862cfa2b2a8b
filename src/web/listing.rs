//! The list of a directory, as a page.
//!
//! Owns: its form, and the limit on its length. Names are links; what has a meaning in HTML or in an address is escaped.

use std::fmt::Write as _;

use cap_std::fs::Dir;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most names of a list: a page of about a megabyte.
const NAMES_MAX: usize = 10_000;

/// What is not written as it is in one part of a path (RFC 3986: unreserved characters are).
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The list of the directory at `path`, which ends with a slash. `None`: there is none that we may read.
pub(crate) fn page(root: &Dir, path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let parts = path.split('/').filter(|part| !part.is_empty());
    if parts.clone().any(|part| part == "..") {
        return None;
    }
    let below = parts.collect::<Vec<_>>().join("/");
    let dir = match below.is_empty() {
        true => root.try_clone().ok()?,
        false => root.open_dir(&below).ok()?,
    };
    let mut names = Vec::new();
    for entry in dir
        .entries()
        .ok()?
        .map_while(Result::ok)
        .take(NAMES_MAX + 1)
    {
        // A name that is no text cannot be asked for.
        let Ok(mut name) = entry.file_name().into_string() else {
            continue;
        };
        // Through a link. What leads out of the directory is not there.
        let Ok(metadata) = dir.metadata(&name) else {
            continue;
        };
        if metadata.is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    let is_cut = names.len() > NAMES_MAX;
    names.truncate(NAMES_MAX);
    names.sort_unstable();
    let above = (!below.is_empty()).then_some("../".to_owned());
    Some(render(&path, above.into_iter().chain(names), is_cut))
}

fn render(path: &str, names: impl Iterator<Item = String>, is_cut: bool) -> String {
    let title = escape(path);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    for name in names {
        let (part, slash) = match name.strip_suffix('/') {
            Some(part) => (part, "/"),
            None => (&*name, ""),
        };
        // With `./` in front, a colon in a name makes no scheme of it.
        let link = utf8_percent_encode(part, PART);
        let shown = escape(&name);
        let _ = writeln!(page, "<li><a href=\"./{link}{slash}\">{shown}</a></li>");
    }
    if is_cut {
        page += "<li>and more</li>\n";
    }
    page + "</ul>\n</html>\n"
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_text_and_in_links() {
        let names = ["a b.txt", "<i>", "c:d", "é/", "../"].map(str::to_owned);
        let page = render("/x&y/", names.into_iter(), true);
        for line in [
            "<h1>/x&amp;y/</h1>",
            "<li><a href=\"./a%20b.txt\">a b.txt</a></li>",
            "<li><a href=\"./%3Ci%3E\">&lt;i&gt;</a></li>",
            "<li><a href=\"./c%3Ad\">c:d</a></li>",
            "<li><a href=\"./%C3%A9/\">é/</a></li>",
            "<li><a href=\"./../\">../</a></li>",
            "<li>and more</li>",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}
