//! The stages, in the order in which they run.

mod bench;
mod budgets;
mod checks;
mod clients;
mod deny;
mod firmware;
mod instructions;
mod measure;
mod mutants;
mod no_panic;
mod pipe;
mod simulation;

use crate::context::Context;
use anyhow::Result;
use std::fmt::Write as _;

/// One stage: what must hold, and the function that checks it.
pub struct Stage {
    pub name: &'static str,
    what: &'static str,
    /// Whether it runs by default.
    is_default: bool,
    pub run: fn(&Context) -> Result<()>,
}

const fn always(name: &'static str, what: &'static str, run: fn(&Context) -> Result<()>) -> Stage {
    Stage {
        name,
        what,
        is_default: true,
        run,
    }
}

const fn on_request(
    name: &'static str,
    what: &'static str,
    run: fn(&Context) -> Result<()>,
) -> Stage {
    Stage {
        name,
        what,
        is_default: false,
        run,
    }
}

pub const STAGES: &[Stage] = &[
    always("fmt", "formatting", checks::fmt),
    always(
        "lint",
        "clippy, warnings denied: the workspace, the core alone, all features,\n\
         the proofs and the budgets",
        checks::lint,
    ),
    always(
        "msrv",
        "the oldest supported compiler, or clippy's knowledge of it",
        checks::msrv,
    ),
    always(
        "test",
        "unit, integration and documentation tests; lastbyte built for less than\n\
         smoltcp is; the tests of these stages",
        checks::test,
    ),
    always(
        "doc",
        "rustdoc, warnings denied; the public API is what docs/API.txt lists\n\
         (UPDATE_API=1 writes it)",
        checks::doc,
    ),
    always(
        "examples",
        "every example, each within a minute",
        checks::examples,
    ),
    always(
        "no_std",
        "the core and the stack on bare-metal targets, over their combinations of\n\
         features",
        checks::no_std,
    ),
    always(
        "no_panic",
        "the linker's proof that the core has no panic path, and a search of a\n\
         linked firmware for one that lastbyte would bring into it",
        no_panic::run,
    ),
    always(
        "budgets",
        "the same client on bare smoltcp and on lastbyte, on a Cortex-M3 and on\n\
         riscv32: flash, memory, stack, instructions, held to their ceilings and to\n\
         the table of docs/MEASUREMENTS.md",
        budgets::run,
    ),
    always(
        "firmware",
        "the firmware of each board, booted in QEMU, against real sockets",
        firmware::run,
    ),
    always(
        "clients",
        "protocol crates (MQTT, HTTP, TLS), unchanged, over lastbyte::asynch, against\n\
         real servers that are killed, reset, stop and vanish",
        clients::run,
    ),
    always(
        "sim",
        "300,000 simulated networks, others with each commit",
        simulation::sim,
    ),
    on_request(
        "teeth",
        "break rules on purpose, and see that the simulator and the fuzzer's corpus\n\
         find each",
        simulation::teeth,
    ),
    on_request(
        "stress",
        "4,000 short runs of the command in namespaces of their own, SIGKILL\n\
         included, and nothing may be left of them; in some ten minutes\n\
         ($STRESS_RUNS for another number)",
        simulation::stress,
    ),
    on_request(
        "pipe",
        "the pipe at length: a million random sequences, longer exhaustive ones, every\n\
         order of two threads (loom), and Miri; needs a nightly compiler",
        pipe::run,
    ),
    on_request(
        "instructions",
        "what single calls cost, counted by valgrind, against bare smoltcp and the\n\
         baseline, which is in docs/MEASUREMENTS.md as well (INSTRUCTIONS=accept writes both again)",
        instructions::run,
    ),
    on_request(
        "bench",
        "how fast it is, in some minutes: over a TAP, over slow lines in virtual time,\n\
         with a picture of each, and the pipe (BENCH=throughput, BENCH=slow_lines or\n\
         BENCH=pipe for one of them; $BENCH_ARGS instead of the picture:\n\
         BENCH_ARGS=--quick for a first look, BENCH_ARGS=--help)",
        bench::run,
    ),
    on_request(
        "measure",
        "measures in some ten minutes, and writes the tables of docs/MEASUREMENTS.md\n\
         (MEASURE='cost lines' for some of: cost paths tap send latency many lines beats\n\
         sim)",
        measure::run,
    ),
    on_request(
        "fuzz",
        "arbitrary segments and calls for a minute ($FUZZ_SECONDS for longer); the\n\
         tests replay what was found before",
        simulation::fuzz,
    ),
    on_request(
        "mutants",
        "changes the core and the stack in a thousand small ways, one at a time; the\n\
         tests must notice each that tests/survivors.txt does not excuse; more than\n\
         an hour (MUTANTS_ARGS='--re src/core/timers.rs' for a part)",
        mutants::run,
    ),
    on_request(
        "deny",
        "licences, sources, duplicates, yanked and vulnerable versions of the\n\
         dependencies, by cargo-deny, which it installs",
        deny::run,
    ),
];

/// The stages with these names, or all that run by default.
pub fn chosen(names: &[String]) -> Vec<&'static Stage> {
    if names.is_empty() {
        return STAGES.iter().filter(|stage| stage.is_default).collect();
    }
    let named = |name: &String| STAGES.iter().find(|stage| stage.name == name);
    names.iter().filter_map(named).collect()
}

/// The text that `--help` prints after the usage.
pub fn help() -> String {
    let mut text = String::new();
    for (title, is_default) in [
        ("Without STAGE, all of these, in this order:", true),
        ("Only when asked for:", false),
    ] {
        let _ = writeln!(text, "{title}\n");
        for stage in STAGES.iter().filter(|stage| stage.is_default == is_default) {
            let mut name = stage.name;
            for line in stage.what.lines() {
                let _ = writeln!(text, "  {name:<12}  {line}");
                name = "";
            }
        }
        text.push('\n');
    }
    text.push_str(
        "Builds go to $CARGO_TARGET_DIR, else to target/. With CI=true, what cannot run fails, builds\n\
         are made small, and where the disk is short each is removed as soon as no later stage uses it.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_names_the_default_stages_run_in_order() {
        let names: Vec<_> = chosen(&[]).iter().map(|stage| stage.name).collect();
        let expected =
            "fmt lint msrv test doc examples no_std no_panic budgets firmware clients sim";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn named_stages_run_in_the_order_given() {
        let wanted = ["sim".to_owned(), "fmt".to_owned()];
        let names: Vec<_> = chosen(&wanted).iter().map(|stage| stage.name).collect();
        assert_eq!(names, ["sim", "fmt"]);
    }

    #[test]
    fn help_and_the_contributing_guide_name_every_stage() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../CONTRIBUTING.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let help = help();
        for stage in STAGES {
            assert!(
                guide.contains(&format!("| `{}` |", stage.name)),
                "{}",
                stage.name
            );
            assert!(
                help.contains(&format!("\n  {:<12}  ", stage.name)),
                "{}",
                stage.name
            );
        }
    }

    /// The stages of a workflow's matrix, by the line that lists them.
    fn matrix(workflow: &str) -> Vec<String> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.github/workflows");
        let text = std::fs::read_to_string(format!("{directory}/{workflow}")).unwrap();
        let list = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("stage: ["));
        let list = list.unwrap().strip_suffix(']').unwrap();
        list.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn the_workflows_run_every_stage() {
        let of = |is_default: bool| -> Vec<_> {
            let stages = STAGES.iter().filter(|stage| stage.is_default == is_default);
            stages.map(|stage| stage.name).collect()
        };
        assert_eq!(matrix("ci.yml"), of(true));
        let mut on_request = of(false);
        on_request.retain(|name| !["bench", "measure"].contains(name));
        assert_eq!(matrix("weekly.yml"), on_request);
    }

    #[test]
    fn every_stage_has_a_different_name() {
        let mut names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGES.len());
    }
}
