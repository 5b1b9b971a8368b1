//! Runs a command with a PostgreSQL server of its own, whose URL the command finds in `MNEMON_TEST_POSTGRES`:
//! `cargo run -p postgres-tests --bin with-server -- cargo test ...`. Does nothing where PostgreSQL is not installed.

use harness::Outcome;
use harness::space::SERVER;
use postgres_tests::Server;
use std::process::{Command, exit};

fn main() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().ok_or("give a command")?;
    let status = Command::new(command).args(arguments).env(SERVER, server.url()).status()?;
    drop(server);
    exit(status.code().unwrap_or(1))
}
