//! Compiles `preload.rs` for the target, as a shared library without dependencies.

use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    for file in ["preload.rs", "address.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let library = PathBuf::from(variable("OUT_DIR")).join("libringway_rebind.so");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args([
            "--crate-name=ringway_rebind_preload",
            "--crate-type=cdylib",
            "--edition=2024",
        ])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Clto=fat",
        ])
        // It needs a few functions of libc, which every program that it is loaded into has, whichever libc that is.
        .args(["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles"])
        .arg(format!("--target={}", variable("TARGET")))
        .arg("-o")
        .arg(&library)
        .arg("preload.rs");
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // Otherwise there are no shared libraries.
        command.arg("-Ctarget-feature=-crt-static");
    }
    let linker = variable("RUSTC_LINKER");
    if !linker.is_empty() {
        command.arg(format!("-Clinker={linker}"));
    }
    match command.status() {
        Ok(status) if status.success() => {}
        outcome => {
            eprintln!("preload.rs cannot be compiled: {outcome:?}");
            exit(1);
        }
    }
}
