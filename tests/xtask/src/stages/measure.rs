//! Measures, and writes the tables of `docs/MEASUREMENTS.md`, except the table of single calls:
//! that is written together with its baseline, by `INSTRUCTIONS=accept ./ci.sh instructions`.

use super::{budgets, simulation};
use crate::context::{Context, say, words};
use crate::machine::want_network_tools;
use crate::project::{BENCHES, BENCHES_DIRECTORY};
use crate::tables::{self, DOCUMENT};
use anyhow::{Context as _, Result, ensure};
use std::thread::available_parallelism;
use xshell::cmd;

/// The seeds of the table `sim`.
const SIM_SEEDS: u64 = 1_000_000;

/// The tables. Those of a benchmark have its name and its section.
const TABLES: &[(&str, Source)] = &[
    ("cost", Source::Budgets),
    ("paths", Source::Bench("throughput", "paths", true)),
    ("tap", Source::Bench("throughput", "tap", false)),
    ("send", Source::Bench("throughput", "send", false)),
    ("latency", Source::Bench("throughput", "latency", false)),
    ("many", Source::Bench("throughput", "many", false)),
    ("lines", Source::Bench("slow_lines", "lines", true)),
    ("beats", Source::Bench("slow_lines", "beats", false)),
    ("sim", Source::Simulator),
];

#[derive(Debug, Clone, Copy)]
enum Source {
    Budgets,
    /// A benchmark, its section, and whether it draws a chart.
    Bench(&'static str, &'static str, bool),
    Simulator,
}

fn chosen(names: &[String]) -> Result<Vec<(&'static str, Source)>> {
    let known: Vec<_> = TABLES.iter().map(|(table, _)| *table).collect();
    for name in names {
        ensure!(
            known.contains(&name.as_str()),
            "MEASURE names no table: {name}; there are {}",
            known.join(" ")
        );
    }
    let is_wanted = |table: &str| names.is_empty() || names.iter().any(|name| name == table);
    let all = TABLES.iter().copied();
    Ok(all.filter(|(table, _)| is_wanted(table)).collect())
}

/// A line with the machine on which a table was measured.
fn machine_line(
    cpuinfo: &str,
    kernel: &str,
    load: &str,
    compiler: &str,
    processors: usize,
) -> String {
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .and_then(|line| line.split_once(':'))
        .map_or("", |(_, name)| name.trim());
    let model = if model.is_empty() { "unknown" } else { model };
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "{processors} processors ({model}), Linux {}, Rust {compiler}, load before: {load}",
        kernel.trim().split('-').next().unwrap_or_default()
    )
}

fn this_machine(context: &Context) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    Ok(machine_line(
        &read("/proc/cpuinfo")?,
        &read("/proc/sys/kernel/osrelease")?,
        &read("/proc/loadavg")?,
        &context.compiler()?,
        available_parallelism()?.get(),
    ))
}

/// Measures one table; `None` if that cannot run, or it is already written.
fn measure(context: &Context, source: Source) -> Result<Option<String>> {
    let shell = &context.shell;
    Ok(match source {
        Source::Budgets => {
            if let Some(costs) = budgets::measure(context)? {
                print!("{}", budgets::write_documents(context, &costs)?);
            }
            None
        }
        Source::Bench(bench, section, draws) => {
            want_network_tools(context);
            let heading = this_machine(context)?;
            let found = BENCHES.iter().find(|(_, name)| *name == bench);
            let (package, _) = found.with_context(|| format!("no benchmark {bench}"))?;
            let build = ["bench", "--locked", "-p", package, "--bench", bench];
            let mut command = cmd!(shell, "cargo {build...} -- --only {section}");
            if draws {
                let picture = context.root.join(BENCHES_DIRECTORY);
                command = command
                    .arg("--svg")
                    .arg(picture.join(format!("{bench}.svg")));
            }
            println!("  $ {command}");
            Some(tables::printed(&command.quiet().read()?, &heading))
        }
        Source::Simulator => {
            let heading = this_machine(context)?;
            let printed = simulation::measured(context, SIM_SEEDS)?;
            Some(tables::printed(&printed, &heading))
        }
    })
}

pub fn run(context: &Context) -> Result<()> {
    for (name, source) in chosen(&words("MEASURE"))? {
        say(&format!("measure {name}"));
        if let Some(table) = measure(context, source)? {
            print!("{table}");
            // Read again for each table, so that a failure does not lose earlier results.
            let document = tables::replace(&context.read(DOCUMENT)?, name, &table)?;
            context.write(DOCUMENT, &document)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_place_in_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/MEASUREMENTS.md");
        let document = std::fs::read_to_string(path).unwrap();
        for (name, _) in TABLES {
            let table = tables::table(&document, name).unwrap();
            assert!(!table.trim().is_empty(), "{name}");
        }
    }

    #[test]
    fn an_unknown_table_is_an_error() {
        assert_eq!(chosen(&[]).unwrap().len(), TABLES.len());
        assert_eq!(chosen(&["sim".to_owned()]).unwrap()[0].0, "sim");
        assert!(chosen(&["everything".to_owned()]).is_err());
    }

    #[test]
    fn the_machine_is_named_with_its_load() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor\nprocessor\t: 1\n";
        let line = machine_line(
            cpuinfo,
            "6.18.5-builder\n",
            "0.52 0.41 0.30 1/2 3\n",
            "1.95.0",
            2,
        );
        assert_eq!(
            line,
            "2 processors (A Processor), Linux 6.18.5, Rust 1.95.0, load before: 0.52"
        );
    }
}
