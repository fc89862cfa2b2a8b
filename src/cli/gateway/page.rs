//! The page with a terminal that `--pty-page` serves: xterm.js and what joins it with the gateway, in this program.

use ringway::options::WebPage;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page and its parts. Their addresses are relative, so that the page works below any path.
pub(crate) const PAGES: &[WebPage] = &[
    WebPage {
        name: "",
        content_type: "text/html; charset=utf-8",
        body: include_bytes!("terminal_page/index.html"),
    },
    WebPage {
        name: "terminal.mjs",
        content_type: SCRIPT,
        body: include_bytes!("terminal_page/terminal.mjs"),
    },
    WebPage {
        name: "xterm.mjs",
        content_type: SCRIPT,
        body: include_bytes!("terminal_page/xterm/xterm.mjs"),
    },
    WebPage {
        name: "addon-fit.mjs",
        content_type: SCRIPT,
        body: include_bytes!("terminal_page/xterm/addon-fit.mjs"),
    },
    WebPage {
        name: "xterm.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("terminal_page/xterm/xterm.css"),
    },
];
