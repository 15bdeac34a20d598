//! The cost of lastbyte on a microcontroller: the same client on bare smoltcp and on lastbyte,
//! and the guard alone. Sizes are read from the linked programs, instructions are counted in
//! QEMU.

mod cost;

use crate::context::{Context, note, output_within, quietly};
use crate::machine::{EMULATORS, need_targets, want};
use crate::project::BUDGET_TARGETS;
use crate::tables::{self, Comparison, DOCUMENT, README};
use anyhow::{Context as _, Result, bail, ensure};
use cost::{Asynch, Client, Cost, Guard};
use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xshell::cmd;

/// The tables with these numbers: the file, the mark, and the function that makes it.
type Print = fn(&[Cost], &str) -> String;
const TABLES: [(&str, &str, Print); 2] = [
    (DOCUMENT, "cost", cost::markdown),
    (README, "summary", cost::summary),
];

const CEILINGS: &str = "tests/budgets/ceilings.txt";
/// How long an emulated board may run.
const LIMIT: Duration = Duration::from_secs(60);
const CODE: [&str; 2] = [".text", ".rodata"];
const MEMORY: [&str; 2] = [".data", ".bss"];

/// The bytes of these sections of a program.
fn sections_of(program: &Path, sections: &[&str]) -> Result<u64> {
    let bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no linked program", program.display()))?;
    let sizes = file.sections().filter_map(|section| {
        let is_wanted = section.name().is_ok_and(|name| sections.contains(&name));
        is_wanted.then(|| section.size())
    });
    Ok(sizes.sum())
}

/// Builds a program of `tests/budgets`, and returns its path.
fn build(context: &Context, target: &str, program: &str, features: &str) -> Result<PathBuf> {
    let shell = &context.shell;
    let directory = context.target("budgets");
    let build = ["build", "--locked", "--quiet", "--release"];
    let manifest = "tests/budgets/Cargo.toml";
    let what = ["--bin", program, "--features", features];
    quietly(cmd!(
        shell,
        "cargo {build...} --manifest-path {manifest} --target {target} --target-dir {directory} {what...}"
    ))?;
    Ok(directory.join(target).join("release").join(program))
}

/// Runs a program of `tests/budgets` to its end, and returns its output.
fn emulate(target: &str, program: &Path) -> Result<String> {
    let (emulator, board) = if target.starts_with("riscv32") {
        ("qemu-system-riscv32", "-M virt -bios none")
    } else {
        ("qemu-system-arm", "-M lm3s6965evb")
    };
    let options = "-nographic -icount shift=0 -semihosting-config enable=on,target=native -kernel";
    let mut arguments: Vec<_> = board.split(' ').map(Into::into).collect();
    arguments.extend(options.split(' ').map(Into::into));
    arguments.push(program.as_os_str().to_owned());
    output_within(emulator, &arguments, LIMIT)
}

fn measure_client(context: &Context, target: &str, client: &str) -> Result<Client> {
    let two = sections_of(&build(context, target, client, "two")?, &MEMORY)?;
    let program = build(context, target, client, "")?;
    let one = sections_of(&program, &MEMORY)?;
    let ran = cost::parse_client(&emulate(target, &program)?)?;
    Ok(Client {
        flash: sections_of(&program, &CODE)?,
        ram: one,
        connection: two
            .checked_sub(one)
            .context("a second connection takes no memory")?,
        stack: ran.stack,
        writes: ran.writes,
    })
}

/// The cost of the guard alone: the difference between two builds, and between two runs.
fn measure_guard(context: &Context, target: &str) -> Result<Guard> {
    let printed = emulate(target, &build(context, target, "guard", "")?)?;
    let without = sections_of(&build(context, target, "steps", "")?, &CODE)?;
    let with = sections_of(&build(context, target, "steps", "guard")?, &CODE)?;
    Ok(Guard {
        write_1460: cost::parse_guard(&printed)?,
        flash: with
            .checked_sub(without)
            .context("the guard takes no flash")?,
    })
}

/// What the client of `asynch` costs over the blocking one.
fn measure_asynch(context: &Context, target: &str, blocking: &Client) -> Result<Asynch> {
    let program = build(context, target, "asynch", "async")?;
    let ran = cost::parse_client(&emulate(target, &program)?)?;
    let flash = sections_of(&program, &CODE)?;
    Ok(Asynch::over(blocking, flash, ran.writes))
}

/// The measurements of all targets; `None` if that cannot run.
pub fn measure(context: &Context) -> Result<Option<Vec<Cost>>> {
    let consequence = "NO BUDGET IS MEASURED";
    if !want(context, EMULATORS, consequence) {
        context.cannot_run(consequence)?;
        return Ok(None);
    }
    let ceilings = cost::parse_ceilings(&context.read(CEILINGS)?)?;
    let mut costs = Vec::new();
    for (target, board) in BUDGET_TARGETS {
        need_targets(context, &[target])?;
        let bare = measure_client(context, target, "bare")
            .with_context(|| format!("nothing is measured of bare smoltcp on {target}"))?;
        let ours = measure_client(context, target, "writer")
            .with_context(|| format!("nothing is measured of lastbyte on {target}"))?;
        let guard = measure_guard(context, target)
            .with_context(|| format!("nothing is measured of the guard on {target}"))?;
        let asynch = measure_asynch(context, target, &ours)
            .with_context(|| format!("nothing is measured of the async client on {target}"))?;
        let rows = cost::compare(target, &bare, &ours, &guard, &asynch, &ceilings)?;
        costs.push(Cost {
            target,
            board,
            rows,
        });
    }
    Ok(Some(costs))
}

pub fn run(context: &Context) -> Result<()> {
    let Some(costs) = measure(context)? else {
        return Ok(());
    };
    println!("  the same client twice, Ethernet and IPv4, opt-level s:");
    let mut exceeded = Vec::new();
    for cost in &costs {
        print!("{}", cost::text(cost));
        if cost.rows.iter().any(cost::Row::is_exceeded) {
            exceeded.push(cost.target);
        }
    }
    ensure!(
        exceeded.is_empty(),
        "more than {CEILINGS} allows on {}",
        exceeded.join(" ")
    );
    compare_documents(context, &costs)
}

/// Compares the tables in documents with what was just measured.
fn compare_documents(context: &Context, costs: &[Cost]) -> Result<()> {
    let compiler = context.compiler()?;
    for (path, name, print) in TABLES {
        let document = context.read(path)?;
        let documented = tables::table(&document, name).context(path)?;
        match tables::compare(documented, &print(costs, &compiler), &compiler) {
            Comparison::Same => println!("  as in {path}"),
            Comparison::OtherCompiler => note(&format!(
                "NOT COMPARED WITH {path}: its figures are not of Rust {compiler}"
            )),
            Comparison::Different(lines) => bail!(
                "{path} has other figures; MEASURE=cost ./ci.sh measure writes these:\n{}",
                lines.join("\n")
            ),
        }
    }
    Ok(())
}

/// Writes the tables in documents, and returns them.
pub fn write_documents(context: &Context, costs: &[Cost]) -> Result<String> {
    let compiler = context.compiler()?;
    let mut all = String::new();
    for (path, name, print) in TABLES {
        let table = print(costs, &compiler);
        let document = tables::replace(&context.read(path)?, name, &table).context(path)?;
        context.write(path, &document)?;
        all += &table;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_a_program_are_summed_by_their_names() {
        let program = std::env::current_exe().unwrap();
        let text = sections_of(&program, &[".text"]).unwrap();
        let rodata = sections_of(&program, &[".rodata"]).unwrap();
        assert!(text > 0 && rodata > 0);
        assert_eq!(sections_of(&program, &CODE).unwrap(), text + rodata);
        assert_eq!(sections_of(&program, &[".tex"]).unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_not_a_program_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        assert!(sections_of(&path, &CODE).is_err());
        std::fs::write(&path, "no program").unwrap();
        assert!(sections_of(&path, &CODE).is_err());
    }
}
