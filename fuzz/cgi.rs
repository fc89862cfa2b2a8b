//! The fuzz targets of CGI, as [`super`] says of all targets: paths of programs, and heads of their answers.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::OnceLock;

use ringway_web::cgi::head::{self, Head};
use ringway_web::scripts::{Place, Scripts};

/// A path of a request, in a directory with programs, links that lead out, and a program outside. What is found is inside and may be
/// run, and what its program is told is the whole path.
pub fn cgi_path(data: &[u8]) {
    static TREE: OnceLock<(PathBuf, Scripts)> = OnceLock::new();
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    let (root, scripts) = TREE.get_or_init(tree);
    let whole = Place::of_command(path).path;
    let Ok(script) = scripts.find(path) else {
        return;
    };
    let real = script.file.canonicalize().expect("it is there");
    assert!(real.starts_with(root), "{path:?} is {}", real.display());
    let mode = real.metadata().expect("it is there").permissions().mode();
    assert!(real.is_file() && mode & 0o111 != 0);
    let Place {
        script_name,
        path_info,
        path,
    } = script.place;
    assert_eq!(path, whole);
    assert_eq!(
        [script_name.as_bytes(), path_info.as_bytes()].concat(),
        path.as_bytes()
    );
    assert!(path_info.is_empty() || path_info.as_bytes().starts_with(b"/"));
    let name = script_name.as_bytes();
    assert!(!name.windows(2).any(|two| two == b"/." || two == b"//"));
    assert!(!name.contains(&0));
}

fn tree() -> (PathBuf, Scripts) {
    let above = std::env::temp_dir().join(format!("ringway-fuzz-{}", std::process::id()));
    let root = above.join("in");
    fs::create_dir_all(root.join("d/e")).expect("a directory");
    for (name, mode) in [
        ("a", 0o755),
        ("d/b", 0o755),
        ("d/e/c", 0o755),
        ("t", 0o644),
        (".h", 0o755),
        ("../a", 0o755),
    ] {
        let file = root.join(name);
        fs::write(&file, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    for (name, to) in [
        ("o", "../a"),
        ("u", ".."),
        ("l", "d/b"),
        ("r", "/bin/sh"),
        ("x", "x"),
        ("m", "d"),
    ] {
        // It may be there from an earlier process of this number.
        let _ = symlink(to, root.join(name));
    }
    let scripts = Scripts::open(&root).expect("it is there");
    (root.canonicalize().expect("it is there"), scripts)
}

/// What a CGI program writes. Its head ends at the same place however it is cut, and what is read of it reads the same when it is
/// written again.
pub fn cgi_head(data: &[u8]) {
    let end = head::end(data, 0);
    for cut in 0..data.len() {
        let early = head::end(&data[..cut], 0);
        assert_eq!(early, end.filter(|end| *end <= cut));
        if early.is_none() {
            assert_eq!(head::end(data, cut), end);
        }
    }
    let Some(end) = end else {
        return;
    };
    let again = match head::parse(&data[..end]) {
        Err(why) => return assert!(why.starts_with("answers ")),
        Ok(Head::Elsewhere(path)) => {
            let path = path.as_str();
            assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains('#'));
            format!("Location: {path}\n\n").into_bytes()
        }
        Ok(Head::Answer { status, fields }) => {
            assert!((200..600).contains(&status.as_u16()));
            assert!(!fields.contains_key("status"));
            let mut again = format!("Status: {}\r\n", status.as_u16()).into_bytes();
            for (name, value) in &fields {
                assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
                again.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            again.extend(b"\r\n");
            again
        }
    };
    assert_eq!(head::end(&again, 0), Some(again.len()));
    assert_eq!(head::parse(&again), head::parse(&data[..end]));
}
