//! `mnemon completions`: what a shell needs to complete this program's words.

use crate::{Cli, text};
use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use std::process::ExitCode;

/// Print what a shell needs to complete this program's words.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

const HELP: &str = "\
For one session of bash:
  source <(mnemon completions bash)
For all of fish's:
  mnemon completions fish > ~/.config/fish/completions/mnemon.fish

Exit codes: 0 done, 1 failure.";

impl Completions {
    pub fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "mnemon", &mut script);
        text::print_bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
