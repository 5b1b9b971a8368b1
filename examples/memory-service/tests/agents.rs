//! The host of eight agents: killed and started again, it finds every exchange that it told of, and none in part.
#![cfg(unix)]

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const AGENTS: usize = 8;

struct Host {
    process: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Host {
    fn start(file: &Path) -> Outcome<Self> {
        let mut process =
            Command::new(env!("CARGO_BIN_EXE_agents")).arg(file).stdout(Stdio::piped()).spawn()?;
        let says = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        Ok(Self { process, says })
    }

    fn line(&mut self) -> Outcome<String> {
        Ok(self.says.next().ok_or("it says nothing more")??)
    }

    /// What it has found at its start, agent by agent: exchanges, and contents of its profile before.
    fn found(&mut self) -> Outcome<HashMap<String, (usize, usize)>> {
        (0..AGENTS)
            .map(|_| {
                let line = self.line()?;
                let (name, found) = line.split_once(": ").ok_or(line.clone())?;
                let counts =
                    found.split(", ").map(|part| Ok(part.split(' ').next().unwrap_or_default().parse()?));
                let counts = counts.collect::<Outcome<Vec<usize>>>()?;
                let &[questions, answers, known, before] = &counts[..] else { return Err(line.into()) };
                assert!(questions == answers && answers == known, "an exchange in part: {line}");
                Ok((name.to_owned(), (known, before)))
            })
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn told_exchanges_survive_each_kill() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("agents.db");
    let mut told = HashMap::new();
    for kill in 0..5 {
        let mut host = Host::start(&file)?;
        for (name, (exchanges, before)) in host.found()? {
            assert!(exchanges >= told.get(&name).copied().unwrap_or(0), "{name}: {exchanges} of {told:?}");
            // The first two contents may have come into one cut.
            assert!(
                (exchanges.saturating_sub(1).min(5)..=5).contains(&before),
                "{name}: {before} of {exchanges}"
            );
        }
        // At another moment each time.
        for _ in 0..20 + 13 * kill {
            let line = host.line()?;
            let (name, exchange) = line.split_once(' ').ok_or(line.clone())?;
            told.insert(name.to_owned(), exchange.parse::<usize>()?);
        }
    }
    let mut host = Host::start(&file)?;
    host.found()?;
    host.line()?;
    assert!(Command::new("kill").args(["-INT", &host.process.id().to_string()]).status()?.success());
    let last = host.says.by_ref().last().ok_or("it says nothing")??;
    assert!(last.starts_with("closed at cut "), "{last}");
    assert!(host.process.wait()?.success());
    Ok(())
}
