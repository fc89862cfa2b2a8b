//! The options of programs as targets.

use std::time::Duration;

use ringway::options::ServerOptions;
use ringway::services::gateway::{KillLadder, Messages, Stderr};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Choice, Count, FILE, Switch, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};
use ringway_command::values;

use super::terminal::is_kind;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: gateway.programs.$($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(in crate::gateway) fn definitions() -> [Definition<ServerOptions>; 8] {
    [
        define("exec", field!(command), COMMAND,
            "Run a program for each session and join the WebSocket with its standard input and output: --exec -- PROGRAM ARGUMENTS, or, \
             where there is no --, its words with a backslash before each blank within one")
            .default_said("none"),
        define("exec-dir", field!(directory), Unless(FILE),
            "Run the program that the path of the request names in this directory; what follows its name is PATH_INFO (404, or 403 if it \
             may not be run)")
            .default_said("none"),
        define("exec-messages", field!(messages),
            Choice("HOW", &[("lines", Messages::Lines), ("binary", Messages::Binary)]),
            "lines: a line of output is a text message, and a text message a line of input. binary: messages have no meaning"),
        define("exec-stderr", field!(stderr),
            Choice("WHERE", &[("log", Stderr::Log), ("client", Stderr::Client), ("discard", Stderr::Discard)]),
            "Where the standard error of programs goes: log, client (as the standard output) or discard"),
        define("pty", field!(terminal), Switch,
            "Give each program a terminal in place of pipes; its size is what the client says. See docs/terminals.md"),
        define("pty-login", field!(login), Switch,
            "The same, with the login shell of the user who runs the gateway in place of a program"),
        define("pty-term", field!(term), TERM, "The type of terminals, for TERM, where the client says none"),
        define("pty-page", field!(page), Switch, "Serve a page with a terminal (xterm.js) to browsers, on the same port"),
    ]
}

/// Those of every program, whatever it runs for: a session, or with --cgi-dir a request.
#[rustfmt::skip] // one option per block, help last
pub(crate) fn of_processes() -> [Definition<ServerOptions>; 3] {
    [
        define("pass-env", field!(pass_env), NAMES,
            "Variables of our own environment that programs get beside those of CGI, as PATH,HOME; or none"),
        define("max-forks", field!(forks_max), Count(1..=1 << 20, "write it as 100 or 1k"),
            "Programs that run at a time in each worker, and CGI programs in the server: one more is answered 503"),
        define("kill-after", field!(kill_after), LADDER,
            "When a client has left, its program's input ends. Then its process group gets SIGINT, SIGTERM and SIGKILL, each after its time"),
    ]
}

/// A command as one text: its words with blanks between them.
pub(in crate::gateway) fn join(words: &[String]) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        if word.is_empty() {
            text.push_str("''");
        }
        for character in word.chars() {
            if character == ' ' || character == '\\' || character == '\'' {
                text.push('\\');
            }
            text.push(character);
        }
    }
    match text == BARE {
        true => format!("\\{BARE}"),
        false => text,
    }
}

/// What stands for `--exec` without a value.
const BARE: &str = "true";

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' => words.extend(word.take()),
            '\'' => {
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

const COMMAND: Words<Vec<String>> = Words {
    value_name: "COMMAND",
    parse: |text| match text {
        BARE => Err(Wrong::Because(
            " needs a program: ringway gateway 8080 --exec -- PROGRAM ARGUMENTS".to_owned(),
        )),
        text => {
            let words = split(text);
            let is_program = words.first().is_some_and(|name| !name.is_empty());
            match is_program && !text.contains('\0') {
                true => Ok(words),
                false => Err(Wrong::not(
                    "a program and its arguments",
                    "write it as 'cat -n'",
                )),
            }
        }
    },
    show: |words| (!words.is_empty()).then(|| join(words)),
    bare: Bare::Switch,
};

const TERM: Words<String> = Words {
    value_name: "NAME",
    parse: |text| match is_kind(text) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::not(
            "the type of a terminal",
            "write it as xterm-256color",
        )),
    },
    show: |name| Some(name.clone()),
    bare: Bare::Refused,
};

const NAMES: Words<Vec<String>> = Words {
    value_name: "NAME,...",
    parse: |list| {
        if list == "none" {
            return Ok(Vec::new());
        }
        let is_name = |name: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(is_part)
        };
        match list.split(',').map(str::trim).find(|name| !is_name(name)) {
            Some(_) => Err(Wrong::not(
                "names of variables",
                "write them as PATH,HOME, or none",
            )),
            None => Ok(list.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    },
    show: |names| {
        Some(match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(","),
        })
    },
    bare: Bare::Refused,
};

/// More would outlast every drain.
const STEP_MAX: Duration = Duration::from_secs(3600);

const LADDER: Words<KillLadder> = Words {
    value_name: "TIME,TIME,TIME",
    parse: |text| {
        let times = text.split(',').map(|time| values::duration(time.trim()));
        let times: Option<Vec<_>> = times
            .map(|time| time.filter(|time| *time <= STEP_MAX))
            .collect();
        match times.as_deref() {
            Some([interrupt, terminate, kill]) => Ok(KillLadder {
                interrupt: *interrupt,
                terminate: *terminate,
                kill: *kill,
            }),
            _ => Err(Wrong::not(
                "three times of at most an hour",
                "write them as 100ms,250ms,500ms",
            )),
        }
    },
    show: |ladder| {
        let times = [ladder.interrupt, ladder.terminate, ladder.kill];
        let shown = times.map(|time| format!("{}ms", time.as_millis()));
        Some(shown.join(","))
    },
    bare: Bare::Refused,
};

/// Refuses what leads nowhere, or has no effect.
pub(in crate::gateway) fn check(options: &ServerOptions) -> Resolved<()> {
    let own = &options.gateway.programs;
    let gateway = &options.gateway;
    let leads = gateway.target.is_some() || gateway.sessions.leads();
    let default = ringway::services::gateway::ProgramOptions::default();
    let wrong = match own.runs() {
        false
            if (own.messages, own.stderr) != (default.messages, default.stderr)
                || own.has_terminal()
                || own.page
                || own.term != default.term =>
        {
            "--pty, --pty-term, --pty-page, --exec-messages and --exec-stderr have no effect without a program: give --exec or --exec-dir, or leave them off"
        }
        false => return Ok(()),
        true if usize::from(!own.command.is_empty())
            + usize::from(own.directory.is_some())
            + usize::from(own.login)
            > 1 =>
        {
            "--exec, --exec-dir and --pty-login each say what runs: leave one off"
        }
        true if own.has_terminal()
            && (own.messages, own.stderr) != (default.messages, default.stderr) =>
        {
            "--exec-messages and --exec-stderr are for programs that have pipes: leave them off with a terminal"
        }
        true if !own.has_terminal() && own.term != default.term => {
            "--pty-term has no effect without --pty: add it, or leave --pty-term off"
        }
        true if own.page && !own.has_terminal() => {
            "--pty-page has no effect without --pty: add it, or leave --pty-page off"
        }
        true if leads => {
            "a session leads to a program or to a target: leave --exec or the target off"
        }
        true if gateway.half_close || gateway.proxy_header.is_some() => {
            "--half-close and --send-proxy are for targets that are connected to: leave them off with --exec"
        }
        true => return Ok(()),
    };
    Err(BadOption(wrong.to_owned()))
}

/// Refuses those of every program where there is none.
pub(crate) fn check_processes(options: &ServerOptions) -> Resolved<()> {
    let own = &options.gateway.programs;
    let default = ringway::services::gateway::ProgramOptions::default();
    let is_default = own.pass_env == default.pass_env
        && own.forks_max == default.forks_max
        && own.kill_after == default.kill_after;
    if is_default || own.runs() || options.web.cgi_dir.is_some() {
        return Ok(());
    }
    let wrong = "--pass-env, --max-forks and --kill-after have no effect without a program: give --exec, --exec-dir or --cgi-dir, or \
                 leave them off";
    Err(BadOption(wrong.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_is_shown() {
        for words in [
            &["cat"][..],
            &["true"],
            &["sh", "-c", "echo 'a b'\\"],
            &["a b", "", "c"],
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!((COMMAND.parse)(&join(&words)).as_ref(), Ok(&words));
        }
        assert_eq!(split("cat  -n "), ["cat", "-n"]);
        for text in ["", "true", " ", "'' a"] {
            assert!((COMMAND.parse)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ladder_has_three_times() {
        let ladder = (LADDER.parse)("1s, 0,500ms").expect("a ladder");
        assert_eq!(ladder.whole(), Duration::from_millis(1500));
        assert_eq!((LADDER.show)(&ladder).as_deref(), Some("1000ms,0ms,500ms"));
        for text in ["1s", "1s,1s", "1s,1s,2h", "a,b,c"] {
            assert!((LADDER.parse)(text).is_err(), "{text}");
        }
    }
}
