//! The public items of the library crates, held against the lists in `docs/api`: the surface changes on purpose or not at all.
//!
//! After a change: `RINGWAY_WRITE_DOCS=1 cargo test -p ringway-cli --test it public_api`, and read the difference.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::scratch;

/// The crates that others build on, each with all that it has.
const CRATES: [(&str, &str); 3] = [
    ("ringway-proto", ""),
    ("ringway", "tls,token"),
    ("ringway-client", "http"),
];

/// The versions of rustc that write the form which `public-api` reads. Others would show differences that are none.
const COMPILER: &str = "rustc 1.95.";

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("it exists")
}

/// The public items of a crate, a line each.
fn items(name: &str, features: &str, rustdoc: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--package", name])
        .args(["--features", features])
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .args(["--cap-lints", "allow"])
        .current_dir(root())
        .env("RUSTDOC", rustdoc)
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo rustdoc {name}: {stderr}");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let json = target
        .join("doc")
        .join(format!("{}.json", name.replace('-', "_")));
    let items = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    items.expect("rustdoc wrote it").to_string()
}

#[test]
fn the_surface_of_the_libraries_is_the_one_that_is_checked_in() {
    let version = Command::new("rustc").arg("--version").output();
    let version = version.expect("rustc runs").stdout;
    let version = String::from_utf8(version).expect("UTF-8");
    if !version.starts_with(COMPILER) {
        println!("not compared: this is {version}, and the lists are of {COMPILER}");
        return;
    }
    // JSON is written by stable rustdoc as well, if it is told so; only it shall be, or all dependencies are built anew.
    let folder = scratch("public-api");
    let rustdoc = folder.write(
        "rustdoc",
        "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n",
    );
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for (name, features) in CRATES {
        let now = items(name, features, &rustdoc);
        let path = root().join("docs/api").join(format!("{name}.txt"));
        if std::env::var_os("RINGWAY_WRITE_DOCS").is_some() {
            fs::create_dir_all(root().join("docs/api")).expect("a folder");
            fs::write(&path, &now).expect("a file");
            continue;
        }
        let listed = fs::read_to_string(&path).expect("the list is checked in");
        let (now, listed) = (lines(&now), lines(&listed));
        let added: Vec<_> = now.iter().filter(|line| !listed.contains(line)).collect();
        let removed: Vec<_> = listed.iter().filter(|line| !now.contains(line)).collect();
        assert!(
            added.is_empty() && removed.is_empty(),
            "{name}: added {added:#?}, removed {removed:#?}; if that is meant, see the top of this file"
        );
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}
