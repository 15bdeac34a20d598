//! Passes the memory layout of the emulated boards to the linker.

use std::path::Path;
use std::{env, fs};

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let out = env::var("OUT_DIR").unwrap_or_default();
    let board = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("riscv32") => "memory-virt.x",
        _ => "memory-lm3s6965.x",
    };
    let memory = fs::copy(
        Path::new(&here).join(board),
        Path::new(&out).join("memory.x"),
    );
    assert!(memory.is_ok(), "cannot copy {board}: {memory:?}");
    println!("cargo::rustc-link-search={out}");
    if board == "memory-virt.x" {
        // riscv-rt requires that the program names its memory regions first.
        println!("cargo::rustc-link-arg-bins=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed={board}");
}
