//! The documents that the supervisor serves to browsers: the dashboard, the chat, the fan-out and the topics.
//!
//! Owns: how a document is put together, once, out of a shell, a style and scripts. Each is complete: it loads nothing from elsewhere.
//! Never: knows a figure. The scripts ask `/stats.json` and `/history.json`, and talk to the server's WebSockets.
//!
//! | folder | what |
//! |---|---|
//! | `shared/` | the shell with the navigation, the style, and scripts that several pages have |
//! | one for each page | what stands in `main`, its style, its script |

use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The pages load nothing from elsewhere. Their scripts connect to the WebSockets of the server, whose port is another origin.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SHELL: &str = include_str!("shared/shell.html");
const STYLE: &str = include_str!("shared/style.css");
const COMMON: &str = include_str!("shared/common.js");
const PLOT: &str = include_str!("shared/plot.js");
const PUBSUB: &str = include_str!("shared/pubsub.js");

/// A page whose files lie in `folder`, with the shared scripts that it needs.
macro_rules! page {
    ($title:literal, $folder:literal, $($script:expr),*) => {{
        static HTML: OnceLock<String> = OnceLock::new();
        HTML.get_or_init(|| {
            document(
                $title,
                include_str!(concat!($folder, "/main.html")),
                &[STYLE, include_str!(concat!($folder, "/page.css"))],
                &[COMMON, $($script,)* include_str!(concat!($folder, "/page.js"))],
            )
        })
    }};
}

fn dashboard_html() -> &'static str {
    page!("Ringway", "dashboard", PLOT)
}

fn chat_html() -> &'static str {
    page!("Chat – Ringway", "chat", PUBSUB)
}

fn fanout_html() -> &'static str {
    page!("Fan-out – Ringway", "fanout", PLOT)
}

fn topics_html() -> &'static str {
    page!("Topics – Ringway", "topics", PUBSUB)
}

pub(super) async fn dashboard() -> Response {
    answer(dashboard_html())
}

pub(super) async fn chat() -> Response {
    answer(chat_html())
}

pub(super) async fn fanout() -> Response {
    answer(fanout_html())
}

pub(super) async fn topics() -> Response {
    answer(topics_html())
}

fn answer(html: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, html).into_response()
}

fn document(title: &str, main: &str, styles: &[&str], scripts: &[&str]) -> String {
    SHELL
        .replace("<!-- title -->", title)
        .replace("<!-- main -->", main)
        .replace("/* style */", &styles.concat())
        .replace("/* script */", &scripts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_one_document_without_outside_resources() {
        for html in [dashboard_html(), chat_html(), fanout_html(), topics_html()] {
            assert!(html.starts_with("<!doctype html>"));
            for placeholder in ["<!-- ", "/* style */", "/* script */"] {
                assert!(!html.contains(placeholder), "{placeholder}");
            }
            for outside in [
                "src=\"",
                "<link rel=\"stylesheet\"",
                "@import",
                "url(http",
                "https://",
            ] {
                assert!(!html.contains(outside), "{outside}");
            }
            assert_eq!(html.matches("</script>").count(), 1);
        }
    }
}
