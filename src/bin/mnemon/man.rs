//! `mnemon man`: the manual pages.

use crate::{Cli, text};
use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;
use std::process::ExitCode;

/// Print a page of the manual, for `man`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Man {
    /// Of which command; of the program unless given.
    command: Option<String>,
}

const HELP: &str = "\
To read one:
  mnemon man list | man -l -
To have one at hand:
  mnemon man list > ~/.local/share/man/man1/mnemon-list.1

Exit codes: 0 done, 1 failure.";

impl Man {
    pub fn run(self) -> Result<ExitCode> {
        let mut program = Cli::command();
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => program.find_subcommand(name).cloned().with_context(|| {
                let known: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
                format!("there is no command {name}: give one of {}", known.join(", "))
            })?,
        };
        let mut page = Vec::new();
        Page::new(command).render(&mut page)?;
        text::print_bytes(&page)?;
        Ok(ExitCode::SUCCESS)
    }
}
