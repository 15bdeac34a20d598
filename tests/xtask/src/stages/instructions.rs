//! The cost of single calls, counted by valgrind, which gungraun's runner starts; the runner
//! must have the version of the library.

mod counts;

use crate::context::{Context, note, run as start, setting};
use crate::machine::{VALGRIND, locked_version, want};
use crate::project::{BENCHES_DIRECTORY, INSTRUCTIONS};
use crate::tables::{self, DOCUMENT};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::PathBuf;
use xshell::cmd;

use counts::{Baseline, Call};

const CONSEQUENCE: &str = "NO INSTRUCTIONS ARE COUNTED";

fn baseline_path() -> String {
    format!("{BENCHES_DIRECTORY}/instructions/baseline.tsv")
}

/// Installs the runner; `None` if that is not possible.
fn runner(context: &Context) -> Result<Option<PathBuf>> {
    let shell = &context.shell;
    if !want(context, VALGRIND, CONSEQUENCE) {
        return Ok(None);
    }
    let version = locked_version(&context.read("Cargo.lock")?, "gungraun")?;
    let tools = context.target("tools");
    let runner = tools.join("bin/gungraun-runner");
    let installed = cmd!(shell, "{runner} --version")
        .quiet()
        .ignore_stderr()
        .read();
    let is_right = installed.is_ok_and(|text| text.ends_with(&format!(" {version}")));
    let wanted = format!("={version}");
    let install = [
        "install",
        "gungraun-runner",
        "--locked",
        "--version",
        &wanted,
    ];
    if !is_right && start(cmd!(shell, "cargo {install...} --root {tools}")).is_err() {
        note(&format!(
            "{CONSEQUENCE}: gungraun-runner {version} cannot be installed"
        ));
        return Ok(None);
    }
    Ok(Some(runner))
}

/// Counts all calls; `None` if that cannot run.
fn count(context: &Context) -> Result<Option<Vec<Call>>> {
    let shell = &context.shell;
    let Some(runner) = runner(context)? else {
        context.cannot_run(CONSEQUENCE)?;
        return Ok(None);
    };
    let (package, bench) = INSTRUCTIONS;
    let command = cmd!(shell, "cargo bench --locked -p {package} --bench {bench}")
        .env("GUNGRAUN_RUNNER", runner)
        .env("GUNGRAUN_HOME", context.target("gungraun"));
    let printed = command.quiet().read().context("nothing was counted")?;
    Ok(Some(counts::parse(&printed)?))
}

pub fn run(context: &Context) -> Result<()> {
    let accept = match setting("INSTRUCTIONS").as_deref() {
        None => false,
        Some("accept") => true,
        Some(other) => bail!("INSTRUCTIONS={other} means nothing; INSTRUCTIONS=accept does"),
    };
    let Some(calls) = count(context)? else {
        return Ok(());
    };
    let compiler = context.compiler()?;
    let path = baseline_path();
    if accept {
        context.write(&path, &counts::baseline_text(&calls, &compiler))?;
        let table = counts::markdown(&calls, &compiler);
        let document = tables::replace(&context.read(DOCUMENT)?, "calls", &table)?;
        context.write(DOCUMENT, &document)?;
        println!("  accepted into {path} and {DOCUMENT}");
    }
    let baseline = Baseline::parse(&context.read(&path)?).context(path.clone())?;
    print!("{}", counts::text(&calls, &baseline));
    if baseline.compiler != compiler {
        note(&format!(
            "NOT COMPARED WITH {path}, which is of Rust {}",
            baseline.compiler
        ));
        return Ok(());
    }
    let wrong = counts::complaints(&calls, &baseline);
    ensure!(
        wrong.is_empty(),
        "different from {path}; if that is intended: INSTRUCTIONS=accept ./ci.sh instructions\n{}",
        wrong.join("\n")
    );
    Ok(())
}
