//! The simulator, its teeth, the fuzzer, and thousands of runs of the command.

use crate::context::{Context, quietly, run, setting};
use crate::machine::{want_cargo_tool, want_network_tools, want_nightly};
use crate::project::{COMMAND, SABOTAGE_FEATURES, SABOTAGE_FLAGS, SIM_SEEDS, STRESS, TEETH};
use anyhow::{Context as _, Result};
use xshell::cmd;

/// A range of seeds that depends on the commit, so that all are run eventually.
fn seeds_of(commits: u64) -> std::ops::Range<u64> {
    let first = commits.saturating_mul(SIM_SEEDS);
    first..first.saturating_add(SIM_SEEDS)
}

pub fn sim(context: &Context) -> Result<()> {
    let shell = &context.shell;
    // Without a history, as in an archive: the first range.
    let commits = cmd!(shell, "git rev-list --count HEAD")
        .quiet()
        .ignore_stderr();
    let commits = commits.read().ok().and_then(|count| count.parse().ok());
    let seeds = seeds_of(commits.unwrap_or(0));
    let seeds = format!("{}..{}", seeds.start, seeds.end);
    let (package, program) = COMMAND;
    let build = ["--locked", "--quiet", "--release"];
    run(cmd!(
        shell,
        "cargo run {build...} -p {package} --bin {program} -- sim --seeds {seeds}"
    ))
}

pub fn teeth(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let mut environment = Vec::new();
    if !SABOTAGE_FLAGS.is_empty() {
        let flags = setting("RUSTFLAGS").unwrap_or_default();
        let flags = format!("{flags} {SABOTAGE_FLAGS}");
        environment.push(shell.push_env("RUSTFLAGS", flags.trim()));
        environment.push(shell.push_env("CARGO_TARGET_DIR", context.target("sabotage")));
    }
    for (package, tests) in TEETH {
        let mut options: Vec<_> = tests.iter().flat_map(|test| ["--test", test]).collect();
        for feature in SABOTAGE_FEATURES {
            options.extend(["--features", feature]);
        }
        run(cmd!(
            shell,
            "cargo test --locked --release -p {package} {options...} -- --nocapture"
        ))?;
    }
    Ok(())
}

pub fn stress(context: &Context) -> Result<()> {
    let shell = &context.shell;
    want_network_tools(context);
    let (package, test) = STRESS;
    run(cmd!(
        shell,
        "cargo test --locked -p {package} --test {test}"
    ))
}

pub fn fuzz(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let seconds = setting("FUZZ_SECONDS").unwrap_or_else(|| "60".to_owned());
    let seconds: u32 = seconds
        .parse()
        .with_context(|| format!("FUZZ_SECONDS is no number of seconds: {seconds}"))?;
    let consequence = "NOTHING IS FUZZED";
    if !want_nightly(context, consequence) || !want_cargo_tool(context, "fuzz", consequence) {
        return context.cannot_run(consequence);
    }
    // New inputs are not stored in the repository: its corpus is minimised by hand (cargo
    // fuzz cmin).
    let found = context.target("fuzz-corpus");
    shell.create_dir(&found)?;
    let target = context.target("fuzz");
    let limits = [
        format!("-max_total_time={seconds}"),
        "-max_len=600".to_owned(),
    ];
    let corpus = "tests/fuzz/corpus/contract";
    // With cfg(fuzzing), smoltcp would check no checksum.
    let fuzz = [
        "+nightly",
        "fuzz",
        "run",
        "--no-cfg-fuzzing",
        "--fuzz-dir",
        "tests/fuzz",
    ];
    let command = cmd!(
        shell,
        "cargo {fuzz...} --target-dir {target} contract {found} {corpus} -- {limits...}"
    );
    run(command.arg("-print_final_stats=1")).context(
        "the input is in tests/fuzz/artifacts; FUZZ_TRACE=1 in its environment prints what it does",
    )
}

/// Runs `count` seeds, and returns what the simulator prints.
pub fn measured(context: &Context, count: u64) -> Result<String> {
    let shell = &context.shell;
    let (package, program) = COMMAND;
    let build = [
        "--locked",
        "--quiet",
        "--release",
        "-p",
        package,
        "--bin",
        program,
    ];
    quietly(cmd!(shell, "cargo build {build...}"))?;
    let program = context.target("release").join(program);
    let seeds = format!("0..{count}");
    Ok(cmd!(shell, "{program} sim --seeds {seeds}")
        .quiet()
        .read()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_commit_runs_seeds_that_no_other_does() {
        assert_eq!(seeds_of(0), 0..300_000);
        assert_eq!(seeds_of(1), 300_000..600_000);
        assert_eq!(seeds_of(700).start, seeds_of(699).end);
        assert!(seeds_of(u64::MAX).is_empty());
    }
}
