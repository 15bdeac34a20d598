//! The proof that the core has no panic path, and the search of a linked firmware for panics
//! that lastbyte causes. A deliberate panic first shows that both can fail.

use crate::context::{Context, Output, output_of, quietly, say};
use crate::machine::need_targets;
use crate::project::CORTEX_M3;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::PathBuf;
use xshell::cmd;

/// The undefined symbol that the proof's panic handler needs.
const SYMBOL: &str = "a_panic_path_is_left";
const MANIFEST: &str = "tests/no-panic/Cargo.toml";
const OPT_LEVELS: [&str; 2] = ["s", "3"];
/// The features of the firmware for the search.
const FIRMWARES: [&str; 2] = ["stack", "ipv6"];

/// The deliberate panics that the search must find: one that contains its place, one at a place
/// of ours, and one inside a function of the standard library that we call.
const PLANTED: [&str; 3] = [
    "names this place: src/bin/stack.rs",
    "sabotage::place at",
    "sabotage::inside at",
];

/// Judges the link of the proof with a deliberate panic: it must fail, for this reason.
fn judge_planted_link(output: &Output) -> Result<()> {
    ensure!(
        !output.success,
        "the proof proves nothing: it links with a panic path in it"
    );
    ensure!(
        output.text.contains(&format!("undefined symbol: {SYMBOL}")),
        "the proof does not build, for another reason than a panic path:\n{}",
        output.text
    );
    Ok(())
}

/// Judges the link of the proof: it must succeed.
fn judge_link(output: &Output) -> Result<()> {
    if output.success {
        return Ok(());
    }
    if output.text.contains(SYMBOL) {
        bail!(
            "A PANIC PATH IS LEFT in the core: look for an index, a division, unchecked \
             arithmetic or an unwrap that was added (tests/no-panic):\n{}",
            output.text
        );
    }
    bail!("the proof does not build:\n{}", output.text);
}

/// Judges the search of a firmware with deliberate panics: it must find each.
fn judge_planted_search(found: &Output) -> Result<()> {
    // 1: there are panics of ours; anything else: the search did not work.
    ensure!(
        found.code == Some(1),
        "the search for panics does not work (status {:?}):\n{}",
        found.code,
        found.text
    );
    for panic in PLANTED {
        ensure!(
            found.text.contains(panic),
            "the search does not find: {panic}"
        );
    }
    Ok(())
}

/// Judges the search of a firmware: it must find nothing of ours.
fn judge_search(found: &Output) -> Result<()> {
    match found.code {
        Some(0) => Ok(()),
        Some(1) => bail!(
            "A PANIC PATH IS LEFT in what a firmware gets:\n{}",
            found.text
        ),
        code => bail!(
            "the search for panics failed (status {code:?}):\n{}",
            found.text
        ),
    }
}

fn link_proof(context: &Context, opt_level: &str, options: &[&str]) -> Result<Output> {
    let shell = &context.shell;
    let target = context.target("no-panic");
    let build = [
        "build",
        "--locked",
        "--release",
        "--manifest-path",
        MANIFEST,
    ];
    let command = cmd!(
        shell,
        "cargo {build...} --target {CORTEX_M3} --target-dir {target} --bin core {options...}"
    );
    output_of(command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level))
}

/// Builds the firmware with the whole stack in it. Similar calls are not merged into one, because
/// it would belong to none of them.
fn build_firmware(context: &Context, opt_level: &str, features: &str) -> Result<PathBuf> {
    let shell = &context.shell;
    let target = context.target("no-panic-stack");
    let flags = "-C link-arg=--emit-relocs -C llvm-args=-enable-tail-merge=0 \
                 -C llvm-args=-simplifycfg-sink-common=false";
    let build = [
        "build",
        "--locked",
        "--quiet",
        "--release",
        "--manifest-path",
        MANIFEST,
    ];
    let what = ["--bin", "stack", "--features", features];
    let command = cmd!(
        shell,
        "cargo {build...} --target {CORTEX_M3} --target-dir {target} {what...}"
    );
    let command = command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level);
    quietly(command.env("RUSTFLAGS", flags)).context("the firmware of the proof does not build")?;
    Ok(target.join(CORTEX_M3).join("release/stack"))
}

fn search(context: &Context, opt_level: &str, features: &str) -> Result<Output> {
    let shell = &context.shell;
    let program = build_firmware(context, opt_level, features)?;
    let target = context.target("judge");
    let judge = ["--manifest-path", "tests/no-panic/judge/Cargo.toml"];
    // Our folders, each with a final slash.
    let ours = ["src/", "tests/no-panic/src/"].map(|path| context.root.join(path));
    let others = ["--may-panic", "/smoltcp-", "--may-panic", "/embedded-io-"];
    let command = cmd!(
        shell,
        "cargo run --locked --quiet {judge...} --target-dir {target} --"
    );
    output_of(command.arg(program).args(ours).arg("src/bin/").args(others))
}

pub fn run(context: &Context) -> Result<()> {
    need_targets(context, &[CORTEX_M3])?;
    say("with a panic on purpose it must not link");
    judge_planted_link(&link_proof(context, "3", &["--features", "sabotage"])?)?;
    for opt_level in OPT_LEVELS {
        say(&format!(
            "the core, optimised with opt-level {opt_level}, must link"
        ));
        judge_link(&link_proof(context, opt_level, &[])?)?;
    }
    println!("  the core has no panic path");
    for opt_level in OPT_LEVELS {
        say(&format!(
            "the stack, opt-level {opt_level}: panics on purpose must be found"
        ));
        judge_planted_search(&search(context, opt_level, "stack,sabotage")?)?;
        for features in FIRMWARES {
            let what = format!("opt-level {opt_level}, feature {features}");
            say(&format!("the stack, {what}: no panic may be ours"));
            let found = search(context, opt_level, features)?;
            judge_search(&found)?;
            print!("{}", found.text);
        }
    }
    println!("  no panic in a firmware is the fault of lastbyte");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i64, text: &str) -> Output {
        Output {
            success: code == 0,
            code: Some(code),
            text: text.to_owned(),
        }
    }

    const UNDEFINED: &str = "rust-lld: error: undefined symbol: a_panic_path_is_left";

    #[test]
    fn a_proof_that_links_with_a_panic_on_purpose_proves_nothing() {
        assert!(judge_planted_link(&output(101, UNDEFINED)).is_ok());
        assert!(judge_planted_link(&output(0, "")).is_err());
        assert!(judge_planted_link(&output(101, "error[E0308]: mismatched types")).is_err());
    }

    #[test]
    fn a_panic_path_in_the_core_is_not_reported_as_a_failed_build() {
        assert!(judge_link(&output(0, "")).is_ok());
        let left = judge_link(&output(101, UNDEFINED)).unwrap_err().to_string();
        assert!(left.starts_with("A PANIC PATH IS LEFT"), "{left}");
        let broken = judge_link(&output(101, "error[E0308]"))
            .unwrap_err()
            .to_string();
        assert!(broken.starts_with("the proof does not build"), "{broken}");
    }

    #[test]
    fn a_search_that_misses_one_panic_on_purpose_fails() {
        let all = PLANTED.join("\n");
        assert!(judge_planted_search(&output(1, &all)).is_ok());
        assert!(judge_planted_search(&output(0, &all)).is_err());
        assert!(judge_planted_search(&output(2, &all)).is_err());
        for missing in PLANTED {
            let rest = all.replace(missing, "");
            let error = judge_planted_search(&output(1, &rest)).unwrap_err();
            assert!(error.to_string().contains(missing));
        }
    }

    #[test]
    fn only_a_search_that_finds_nothing_passes() {
        assert!(judge_search(&output(0, "")).is_ok());
        assert!(judge_search(&output(1, "src/core/ledger.rs")).is_err());
        assert!(judge_search(&output(101, "cannot read the program")).is_err());
    }
}
