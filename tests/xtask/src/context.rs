//! The environment of a stage: the repository, the target directory, and how programs are
//! started.

use anyhow::{Context as _, Result, bail, ensure};
use process_control::{ChildExt, Control};
use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use xshell::{Cmd, Shell};

/// What all stages share.
pub struct Context {
    pub shell: Shell,
    /// The root of the repository.
    pub root: PathBuf,
    /// The target directory, as an absolute path.
    pub target: PathBuf,
    /// Whether a stage that cannot run here fails.
    pub is_ci: bool,
    /// How often something could not run.
    pub skipped: Cell<u32>,
}

/// The whole output of a program, and how it ended.
pub struct Output {
    pub success: bool,
    /// `None`: a signal ended it.
    pub code: Option<i64>,
    /// Standard output, then standard error.
    pub text: String,
}

impl Context {
    pub fn new() -> Result<Self> {
        let shell = Shell::new()?;
        let root = shell.current_dir();
        ensure!(
            root.join("ci.sh").is_file() && root.join("src/lib.rs").is_file(),
            "{} is not the root of the repository; start ./ci.sh",
            root.display()
        );
        let is_ci = setting("CI").as_deref() == Some("true");
        if is_ci {
            // Leaves out what only helps the next build, and what only a debugger reads;
            // unoptimised backtraces still have names and lines.
            shell.set_var("CARGO_INCREMENTAL", "0");
            shell.set_var("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
        }
        let target = root.join(setting("CARGO_TARGET_DIR").unwrap_or_else(|| "target".to_owned()));
        std::fs::create_dir_all(&target)
            .with_context(|| format!("cannot create {}", target.display()))?;
        Ok(Self {
            target: target.canonicalize()?,
            shell,
            root,
            is_ci,
            skipped: Cell::new(0),
        })
    }

    /// A directory below the target directory.
    pub fn target(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// For a stage that cannot run here: fails under CI, and clearly reports it elsewhere.
    pub fn cannot_run(&self, why: &str) -> Result<()> {
        if self.is_ci {
            bail!("{why}; with CI=true nothing is skipped");
        }
        note(&format!("SKIPPED: {why}"));
        self.skipped.set(self.skipped.get() + 1);
        Ok(())
    }

    /// A file of the repository.
    pub fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        std::fs::write(self.root.join(path), text).with_context(|| format!("cannot write {path}"))
    }

    /// The version of the compiler, as in "1.95.0".
    pub fn compiler(&self) -> Result<String> {
        let text = xshell::cmd!(self.shell, "rustc --version").quiet().read()?;
        let version = text.split_whitespace().nth(1);
        Ok(version.context("rustc prints no version")?.to_owned())
    }
}

/// A variable of the environment; an empty one counts as unset.
pub fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The words of a variable of the environment.
pub fn words(name: &str) -> Vec<String> {
    let value = setting(name).unwrap_or_default();
    value.split_whitespace().map(str::to_owned).collect()
}

pub fn say(what: &str) {
    println!("\n==> {what}");
}

pub fn note(what: &str) {
    eprintln!("    note: {what}");
}

/// Prints a command and runs it; fails if it does.
pub fn run(command: Cmd<'_>) -> Result<()> {
    println!("  $ {command}");
    Ok(command.quiet().run()?)
}

/// Runs a command without printing it.
pub fn quietly(command: Cmd<'_>) -> Result<()> {
    Ok(command.quiet().run()?)
}

/// Whether a command succeeds; its output is not shown.
pub fn succeeds(command: Cmd<'_>) -> bool {
    let command = command.quiet().ignore_stdout().ignore_stderr();
    command.run().is_ok()
}

/// Runs a command, and returns its output whether it succeeds or not.
pub fn output_of(command: Cmd<'_>) -> Result<Output> {
    let output = command.quiet().ignore_status().output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Output {
        success: output.status.success(),
        code: output.status.code().map(i64::from),
        text,
    })
}

/// Runs a program without input, and ends it after `limit`. Fails if it does not succeed in time.
pub fn run_for(mut command: Command, limit: Duration) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let status = child
        .controlled()
        .time_limit(limit)
        .terminate_for_timeout()
        .wait()?;
    match status {
        None => bail!("more than {} s", limit.as_secs()),
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{status}"),
    }
}

/// Like [`run_for`], but returns the output; output after a timeout is lost.
pub fn output_within(program: &str, arguments: &[OsString], limit: Duration) -> Result<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let output = child
        .controlled_with_output()
        .time_limit(limit)
        .terminate_for_timeout()
        .wait()?
        .with_context(|| format!("{program} took more than {} s", limit.as_secs()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_runs_too_long_is_ended_and_fails() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = run_for(command, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[test]
    fn a_program_that_fails_fails_the_stage() {
        assert!(run_for(Command::new("false"), Duration::from_secs(60)).is_err());
        assert!(run_for(Command::new("true"), Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn both_outputs_of_a_program_are_returned() {
        let script = ["-c".into(), "echo one; echo two >&2".into()];
        let text = output_within("sh", &script, Duration::from_secs(60)).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }
}
