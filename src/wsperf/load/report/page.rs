//! The frame of every page: one file that needs no other, light or dark as the reader's system is.
//!
//! Owns: head, style, tables, tiles, escaping. Never: knows what a page is about.

use std::fmt::Write as _;

/// Escapes text for use inside an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML cannot express other control characters.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => {
                out.push('\u{fffd}')
            }
            letter => out.push(letter),
        }
    }
    out
}

/// A whole page around `body`, which is HTML already.
pub(super) fn render(title: &str, body: &str) -> String {
    let title = escape(title);
    let style = include_str!("page.css");
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=color-scheme content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// One of the main figures: its name, the number, and a line below it.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) about: String,
    /// Shown in the colour of an alarm.
    pub(super) bad: bool,
}

/// A row of tiles.
pub(super) fn tiles(tiles: &[Tile]) -> String {
    let mut out = String::from("<dl class=tiles>\n");
    for tile in tiles {
        let class = if tile.bad { " class=bad" } else { "" };
        let (name, value, about) = (tile.name, escape(&tile.value), escape(&tile.about));
        let _ = writeln!(
            out,
            "<div{class}><dt>{name}</dt><dd><b>{value}</b><small>{about}</small></dd></div>"
        );
    }
    out.push_str("</dl>\n");
    out
}

/// A table with a heading. The first column holds names; the other columns are aligned to the right. Without column names
/// it is a list of pairs. Without rows it is empty text.
pub(super) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class = if head.is_empty() {
        "\"table pairs\""
    } else {
        "table"
    };
    let title = escape(title);
    let mut out = format!("<section class={class}>\n<h3>{title}</h3>\n<table>\n");
    if !head.is_empty() {
        out.push_str("<thead><tr>");
        for name in head {
            let _ = write!(out, "<th>{}", escape(name));
        }
        out.push_str("</tr></thead>\n");
    }
    out.push_str("<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_typed_becomes_an_element() {
        assert_eq!(
            escape("<script>alert('a & \"b\"')</script>\u{1b}"),
            "&lt;script&gt;alert(&#39;a &amp; &quot;b&quot;&#39;)&lt;/script&gt;\u{fffd}"
        );
    }

    #[test]
    fn a_page_asks_for_nothing_else() {
        let page = render("a < b", "<p>text</p>\n");
        assert!(page.starts_with("<!doctype html>"));
        assert!(page.contains("<title>a &lt; b</title>"));
        for word in [
            "http:", "https:", "//", "url(", "@import", "<script", "<link", "src=",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn a_table_without_rows_is_not_there() {
        assert_eq!(table("Notes", &["a"], &[]), "");
        let rows = [vec!["a".to_owned(), "1 < 2".to_owned()]];
        let html = table("T", &["name", "figure"], &rows);
        assert!(html.contains("<tr><td>a<td>1 &lt; 2</tr>"), "{html}");
    }
}
