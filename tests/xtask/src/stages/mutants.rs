//! Makes small changes to the core and the stack, one at a time: the tests must notice each,
//! except those that `tests/survivors.txt` excuses with a reason.

use crate::context::{Context, run as start, words};
use crate::machine::want_cargo_tool;
use crate::project::{JUDGES, Judge, LIBRARY};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use xshell::cmd;

/// A mutant without its line and column, which change with every line above it: "FILE:
/// WHAT" from "FILE:LINE:COLUMN: WHAT".
fn placeless(mutant: &str) -> String {
    let parts: Vec<_> = mutant.splitn(4, ':').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match parts[..] {
        [file, line, column, what] if is_number(line) && is_number(column) => {
            format!("{file}:{what}")
        }
        _ => mutant.to_owned(),
    }
}

/// The mutants with a reason, each on a separate line, followed by the indented reason.
fn excused(survivors: &str) -> BTreeSet<&str> {
    let mut excused = BTreeSet::new();
    let mut current = None;
    for line in survivors.lines() {
        if line.starts_with("src") {
            current = Some(line);
        } else if line.starts_with(' ')
            && !line.trim().is_empty()
            && let Some(name) = current.take()
        {
            excused.insert(name);
        }
    }
    excused
}

/// The missed mutants without an excuse.
fn unexcused(missed: &str, survivors: &str) -> BTreeSet<String> {
    let excused = excused(survivors);
    let missed = missed
        .lines()
        .filter(|line| !line.is_empty())
        .map(placeless);
    missed
        .filter(|name| !excused.contains(name.as_str()))
        .collect()
}

/// The results of all mutants, by the lists of their names.
fn summary(caught: usize, missed: usize, unviable: usize) -> Result<String> {
    ensure!(caught > 0, "no mutant was caught");
    #[allow(clippy::cast_precision_loss, reason = "some thousand mutants")]
    let percent = 100.0 * caught as f64 / (caught + missed) as f64;
    Ok(format!(
        "  {caught} caught, {missed} missed: {percent:.1} %; {unviable} do not build"
    ))
}

/// The options with which cargo starts a judge's tests.
fn options_of(judge: &Judge) -> Vec<String> {
    let mut options = Vec::new();
    if judge.library {
        options.push("--lib".to_owned());
    }
    options.extend(judge.tests.iter().map(|test| format!("--test={test}")));
    options.extend(
        judge
            .examples
            .iter()
            .map(|name| format!("--example={name}")),
    );
    options
}

/// The lists of mutants, over all judges.
#[derive(Default)]
struct Lists {
    caught: String,
    unviable: String,
    /// Missed by the last judge.
    missed: String,
}

/// Runs a judge on the mutants that no earlier judge has caught.
fn judge_mutants(context: &Context, output: &Path, judge: &Judge, all: &mut Lists) -> Result<()> {
    let shell = &context.shell;
    let package = judge.package;
    let options = ["-C=--locked".to_owned()].into_iter();
    let options = options.chain(
        options_of(judge)
            .into_iter()
            .map(|option| format!("-C={option}")),
    );
    let limits = [
        "--timeout",
        "40",
        "--build-timeout",
        "300",
        "--baseline",
        "skip",
    ];
    // Two at a time, each built in a copy of the tree.
    let command = cmd!(
        shell,
        "cargo mutants --package {LIBRARY} --test-package {package} --iterate --jobs 2"
    );
    let command = command
        .arg("--output")
        .arg(output)
        .args(limits)
        .args(["--colors", "never"])
        .args(words("MUTANTS_ARGS"))
        .args(options)
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_TEST_DEBUG", "none");
    println!("  $ {command}");
    let status = std::process::Command::from(command.quiet()).status()?;
    // 2: some are missed; 3: some timed out.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "cargo mutants ({status})"
    );
    let list = |name: &str| {
        let path = output.join("mutants.out").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    // A mutant that hangs is caught too: a test waited for it. The next judge does not try it
    // again.
    let caught = list("caught.txt")? + &list("timeout.txt")?;
    shell.write_file(output.join("mutants.out/caught.txt"), &caught)?;
    all.caught += &caught;
    all.unviable += &list("unviable.txt")?;
    all.missed = list("missed.txt")?;
    Ok(())
}

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let consequence = "NOTHING IS MUTATED";
    if !want_cargo_tool(context, "mutants", consequence) {
        return context.cannot_run(consequence);
    }
    // Without a mutation every judge must pass.
    let mut packages: Vec<_> = JUDGES.iter().map(|judge| judge.package).collect();
    packages.dedup();
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    start(cmd!(
        shell,
        "cargo test --locked --quiet {packages...} --lib --tests"
    ))?;
    let output = context.target("mutants");
    shell.remove_path(&output)?;
    shell.create_dir(&output)?;
    let mut all = Lists::default();
    for judge in JUDGES {
        judge_mutants(context, &output, judge, &mut all)?;
    }
    let count = |list: &str| list.lines().filter(|line| !line.is_empty()).count();
    println!(
        "{}",
        summary(count(&all.caught), count(&all.missed), count(&all.unviable))?
    );
    let unexcused = unexcused(&all.missed, &context.read("tests/survivors.txt")?);
    if unexcused.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = unexcused.into_iter().collect();
    bail!(
        "no test notices these, and tests/survivors.txt has no reason for them:\n{}",
        names.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURVIVORS: &str = "# Why.\n\nsrc/a.rs: replace > with >= in f\n    The same.\n\
        src/b.rs: delete ! in g\nsrc/b.rs: delete - in g\n    Both.\n\n    More words.\n";

    #[test]
    fn the_place_of_a_mutant_does_not_count() {
        assert_eq!(
            placeless("src/a.rs:12:7: replace > with >= in <impl A for B>::f"),
            "src/a.rs: replace > with >= in <impl A for B>::f"
        );
        assert_eq!(
            placeless("src/a.rs: replace a::b"),
            "src/a.rs: replace a::b"
        );
    }

    #[test]
    fn only_a_mutant_with_a_reason_right_below_it_is_excused() {
        let names = [
            "src/a.rs: replace > with >= in f",
            "src/b.rs: delete - in g",
        ];
        assert_eq!(excused(SURVIVORS), BTreeSet::from(names));
    }

    #[test]
    fn a_missed_mutant_without_an_excuse_is_named() {
        let missed = "src/a.rs:1:2: replace > with >= in f\nsrc/b.rs:3:4: delete ! in g\n\n";
        let expected = BTreeSet::from(["src/b.rs: delete ! in g".to_owned()]);
        assert_eq!(unexcused(missed, SURVIVORS), expected);
        assert!(unexcused("", SURVIVORS).is_empty());
    }

    #[test]
    fn a_run_that_catches_nothing_proves_nothing() {
        assert!(summary(0, 0, 12).is_err());
        let text = summary(742, 24, 229).unwrap();
        assert_eq!(text, "  742 caught, 24 missed: 96.9 %; 229 do not build");
    }

    #[test]
    fn every_excuse_of_the_repository_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../survivors.txt");
        let text = std::fs::read_to_string(path).unwrap();
        let names: BTreeSet<_> = text
            .lines()
            .filter(|line| line.starts_with("src"))
            .collect();
        assert_eq!(excused(&text), names, "a mutant without a reason");
    }

    #[test]
    fn a_judge_only_starts_its_own_tests() {
        let judge = Judge {
            package: "p",
            library: true,
            tests: &["a", "b"],
            examples: &["c"],
        };
        assert_eq!(
            options_of(&judge),
            ["--lib", "--test=a", "--test=b", "--example=c"]
        );
    }
}
