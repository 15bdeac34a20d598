//! The benchmarks: throughput over a TAP, slow lines in virtual time, and the pipe.

use crate::context::{Context, run as start, setting, words};
use crate::machine::want_network_tools;
use crate::project::{BENCHES, BENCHES_DIRECTORY, BENCHES_WITHOUT_PICTURE};
use anyhow::{Result, ensure};
use xshell::cmd;

/// The benchmarks with these names, or all.
fn chosen(names: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    for name in names {
        let known: Vec<_> = BENCHES.iter().map(|(_, bench)| *bench).collect();
        ensure!(
            known.contains(&name.as_str()),
            "BENCH names no benchmark: {name}; there are {}",
            known.join(" and ")
        );
    }
    let is_wanted = |bench: &str| names.is_empty() || names.iter().any(|name| name == bench);
    let all = BENCHES.iter().copied();
    Ok(all.filter(|(_, bench)| is_wanted(bench)).collect())
}

pub fn run(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let benches = chosen(&words("BENCH"))?;
    want_network_tools(context);
    for (package, bench) in benches {
        let picture = context
            .root
            .join(BENCHES_DIRECTORY)
            .join(format!("{bench}.svg"));
        let command = cmd!(
            shell,
            "cargo bench --locked -p {package} --bench {bench} --"
        );
        start(match setting("BENCH_ARGS") {
            Some(_) => command.args(words("BENCH_ARGS")),
            None if BENCHES_WITHOUT_PICTURE.contains(&bench) => command,
            None => command.arg("--svg").arg(picture),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_an_error() {
        assert_eq!(chosen(&[]).unwrap(), BENCHES);
        let one = chosen(&["slow_lines".to_owned()]).unwrap();
        assert!(matches!(one[..], [(_, "slow_lines")]));
        assert!(chosen(&["slow".to_owned()]).is_err());
    }
}
