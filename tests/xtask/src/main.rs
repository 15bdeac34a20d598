//! The stages that `./ci.sh` runs, which must pass before a change is merged.
//!
//! [`project`] names the packages, tests and features of this repository, [`stages`] lists the
//! stages. Functions that judge a number or a tool's output do no I/O and have tests in the
//! same file; `stages` starts the programs.

mod api;
mod context;
mod machine;
mod project;
mod stages;
mod tables;

use anyhow::{Context as _, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use context::{Context, say};
use stages::{STAGES, Stage};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, Parser)]
#[command(
    name = "ci.sh",
    bin_name = "./ci.sh",
    about = "Everything that must pass before a change is merged",
    after_help = stages::help(),
    max_term_width = 100
)]
struct Arguments {
    /// The stages to run, in this order; without it, all stages of the first list below
    #[arg(value_name = "STAGE", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(names()))]
    stages: Vec<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|stage| stage.name).chain(["help"])
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.stages.iter().any(|name| name == "help") {
        let _ = <Arguments as clap::CommandFactory>::command().print_help();
        return ExitCode::SUCCESS;
    }
    match run(&stages::chosen(&arguments.stages)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(stages: &[&Stage]) -> Result<()> {
    let context = Context::new()?;
    let mut timings = Vec::new();
    for stage in stages {
        say(stage.name);
        let started = Instant::now();
        let skipped_before = context.skipped.get();
        (stage.run)(&context).context(stage.name)?;
        if context.is_ci {
            machine::sweep(&context, stage.name)?;
        }
        let is_skipped = context.skipped.get() > skipped_before;
        timings.push((stage.name, started.elapsed().as_secs(), is_skipped));
    }
    say(&verdict(&timings));
    for (name, seconds, is_skipped) in timings {
        let skipped = if is_skipped { "  SKIPPED" } else { "" };
        println!("  {name:<12} {seconds:4} s{skipped}");
    }
    Ok(())
}

/// The summary of stages that did not fail: the name of each, its seconds, and whether it was
/// skipped, partly or completely.
fn verdict(timings: &[(&str, u64, bool)]) -> String {
    match timings
        .iter()
        .filter(|(.., is_skipped)| *is_skipped)
        .count()
    {
        0 => "all stages passed".to_owned(),
        skipped => format!(
            "no stage failed, but {skipped} of {} SKIPPED",
            timings.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_stage_has_not_passed() {
        let timings = [("fmt", 1, false), ("budgets", 2, false)];
        assert_eq!(verdict(&timings), "all stages passed");
        let timings = [("fmt", 1, false), ("budgets", 2, true)];
        assert_eq!(verdict(&timings), "no stage failed, but 1 of 2 SKIPPED");
    }
}
