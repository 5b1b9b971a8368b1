//! What every command does: it says what its exit codes are, colours nothing but terminals, lets no text of a store
//! command them, and ends quietly when nobody reads on.
#![cfg(feature = "cli")]

use crate::program::{FACT, TestDir};
use harness::Outcome;
use mnemon::{NewTrace, Payload, TraceStore};
use serde_json::json;
use std::process::{Command, Stdio};

const READING: [&str; 5] =
    ["list memory.db", "list memory.db --full", "walk memory.db", "recall memory.db pilot", "get memory.db"];

/// Of a command that needs one, with the id.
fn with_id(command: &str, id: &str) -> String {
    if command.starts_with("get") || command.starts_with("walk") {
        format!("{command} {id}")
    } else {
        command.to_owned()
    }
}

/// All but `help`, as the help of the program lists them.
fn commands(place: &TestDir) -> Outcome<Vec<String>> {
    let help = place.run("--help")?.stdout;
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(names.len() >= 11, "{help}");
    Ok(names.into_iter().filter(|name| name != "help").collect())
}

#[test]
fn help_lists_exit_codes() -> Outcome {
    let place = TestDir::new()?;
    for command in commands(&place)?.iter().chain([&String::new()]) {
        let ran = place.run(&format!("{command} --help"))?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("Exit codes: 0 "), "{command}: {}", ran.stdout);
        let longest = ran.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{command}: {}", ran.stdout);
    }
    Ok(())
}

#[test]
fn commands_have_pages_and_completions() -> Outcome {
    let place = TestDir::new()?;
    let commands = commands(&place)?;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = place.run(&format!("completions {shell}"))?;
        assert_eq!(ran.code, Some(0), "{shell}: {}", ran.stderr);
        for command in &commands {
            assert!(ran.stdout.contains(command.as_str()), "{command} in {shell}");
        }
    }
    let page = place.run("man")?.stdout.replace("\\-", "-");
    for command in &commands {
        assert!(page.contains(&format!("mnemon-{command}(1)")), "{command} in {page}");
        let ran = place.run(&format!("man {command}"))?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!(".TH mnemon-{command} 1")), "{}", ran.stdout);
        assert!(ran.stdout.contains("Exit codes: "), "{}", ran.stdout);
    }
    let ran = place.run("man nothing")?;
    assert_eq!(
        (ran.code, ran.stderr.contains("there is no command nothing: give one of demo, ")),
        (Some(1), true)
    );
    Ok(())
}

#[test]
fn colours_only_for_terminals_or_asked() -> Outcome {
    let place = TestDir::with_memories()?;
    for command in READING {
        let command = with_id(command, FACT);
        let plain = place.run(&command)?.stdout;
        assert!(!plain.contains('\u{1b}'), "{command}: {plain}");
        let coloured = place.run_in(&command, &[("COLUMNS", "80"), ("CLICOLOR_FORCE", "1")])?.stdout;
        assert!(coloured.contains("\u{1b}["), "{command}: {coloured}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain, "{command}");
    }
    Ok(())
}

/// JSON has whole ids and payloads anyway.
#[test]
fn json_is_whole_without_full_too() -> Outcome {
    let place = TestDir::with_memories()?;
    for command in READING.iter().filter(|command| !command.starts_with("get")) {
        let command = with_id(&command.replace(" --full", ""), FACT);
        let json = place.objects(&command)?;
        assert!(!json.is_empty(), "{command}");
        assert_eq!(place.objects(&format!("{command} --full"))?, json, "{command}");
    }
    Ok(())
}

#[test]
fn stored_text_cannot_command_the_terminal() -> Outcome {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    let hostile = "pilot \u{9b}2J \u{202e}evil";
    let payload = format!(r#"{{"text": "\u001b[2J{hostile}", "{hostile}": 1}}"#);
    let new = NewTrace::semantic(Payload::from_json(payload)?).tag(hostile).tag("\u{1b}]0;title\u{7}");
    let id = store.insert(new.partition(hostile).source_agent(hostile).encryption_key_id(hostile))?;
    store.close()?;
    for command in READING {
        let command = with_id(command, &id.to_string());
        // Else what looks like a colour would be taken out on the way.
        let ran = place.run_in(&command, &[("COLUMNS", "200"), ("CLICOLOR_FORCE", "1")])?;
        assert!(ran.stdout.contains("pilot"), "{command}: {ran:?}");
        for command_of_it in ["\u{9b}", "\u{202e}", "\u{1b}[2J", "\u{1b}]", "\u{7}"] {
            assert!(!ran.stdout.contains(command_of_it), "{command}: {:?}", ran.stdout);
        }
    }
    Ok(())
}

#[test]
fn errors_cannot_command_the_terminal() -> Outcome {
    let place = TestDir::with_memories()?;
    let hostile = "\u{1b}]0;title\u{7}\u{9b}2J";
    let open = || rusqlite::Connection::open(place.path("memory.db"));
    // A damaged index of its own, a name that no store gives, and a row that can't be read.
    open()?.execute_batch(&format!(
        "CREATE INDEX \"pilot{hostile}\" ON traces (strength);
         UPDATE traces SET partition = 'pilot{hostile}' WHERE row = 1;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, '(strength)', '(confidence)') WHERE name LIKE 'pilot%';"
    ))?;
    let escaped = r"pilot \u001b]0;title\u0007\u009b2J";
    std::fs::write(place.path("records.jsonl"), format!("{{\"type\": \"semantic\", \"{escaped}\": 1}}\n"))?;
    let header = format!("{{\"kind\":\"mnemon-snapshot\",\"version\":1,\"{escaped}\":1}}\n");
    let begins = r#"{"kind":"mnemon-export","version":1,"traces":0,"links":0,"#;
    std::fs::write(place.path("a.jsonl"), format!("{begins}\"{escaped}\":1}}\n"))?;
    std::fs::create_dir(place.path("shots"))?;
    std::fs::write(place.path("shots/snapshot-2026-01-01T00-00-00.000000Z.mnemon"), header)?;
    for (command, code) in [
        ("verify memory.db", 2),
        ("stat memory.db", 0),
        ("backup memory.db copy.db", 1),
        ("ingest other.db records.jsonl", 2),
        ("import other.db a.jsonl", 1),
        ("snapshot list --dir shots", 2),
        ("snapshot restore other.db --dir shots", 1),
    ] {
        let ran = place.run_in(command, &[("COLUMNS", "200"), ("CLICOLOR_FORCE", "1")])?;
        assert_eq!(ran.code, Some(code), "{command}: {ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("pilot"), "{command}: {said:?}");
        for command_of_it in ["\u{9b}", "\u{1b}]", "\u{7}"] {
            assert!(!said.contains(command_of_it), "{command}: {said:?}");
        }
    }
    Ok(())
}

#[test]
fn store_as_an_option_is_understood() -> Outcome {
    let place = TestDir::with_memories()?;
    place.output("export memory.db a.jsonl")?;
    assert_eq!(place.run("export-legion original.db --db memory.db")?.code, Some(2), "with findings");
    place.output("snapshot save memory.db --dir shots")?;
    for command in [
        "import a.jsonl --db other.db",
        "import-legion --json original.db --db other.db",
        "snapshot restore --db other.db --dir shots",
        "host --seconds 0.1 --db other.db",
    ] {
        let ran = place.run(command)?;
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        assert!(place.path("other.db").exists(), "{command}");
        std::fs::remove_file(place.path("other.db"))?;
    }
    let ran = place.run("ingest a.jsonl --db")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("unexpected argument '--db'"), "{ran:?}");
    Ok(())
}

/// Also where no URL is expected, and where the command line itself is wrong.
#[test]
fn no_error_shows_a_password() -> Outcome {
    let place = TestDir::with_memories()?;
    for url in [
        "postgres://gull:s3cret@127.0.0.1:1/d",
        "postgresql://gull:s3c@r3t@127.0.0.1:1/d?space=a",
        "POSTGRES://gull:s3cret@127.0.0.1:1/d",
        "postgres://127.0.0.1:1/d?user=gull&password=s3cret",
    ] {
        for command in [
            "URL",
            "stat URL --no-such-option",
            "stat memory.db URL",
            "stat --json=URL memory.db",
            "get memory.db URL",
            "walk memory.db URL",
            "list memory.db --at URL",
            "list memory.db --limit URL",
            "list memory.db --type=URL",
            "put memory.db x --confidence URL",
            "rm memory.db URL",
            "host memory.db --seconds URL",
            "snapshot URL",
            "completions URL",
            // What is wrong is found later.
            "stat URL",
            "export memory.db URL",
            "import memory.db URL",
            "man URL",
            "snapshot save memory.db --dir shots --key URL",
        ] {
            let ran = place.run(&command.replace("URL", url))?;
            assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
            let shown =
                !ran.stderr.is_empty() && !["s3c", "r3t"].iter().any(|part| ran.stderr.contains(part));
            assert!(shown, "{command}: {ran:?}");
        }
    }
    Ok(())
}

#[test]
fn exit_code_ignores_closed_output() -> Outcome {
    let place = TestDir::with_memories()?;
    std::fs::write(place.path("records.jsonl"), "nonsense\n")?;
    std::fs::write(place.path("memory.db.spill"), "left")?;
    let cases = [
        ("verify memory.db", 2),
        ("verify memory.db --json", 2),
        ("ingest other.db records.jsonl", 2),
        ("snapshot save memory.db --dir shots", 0),
        ("export memory.db a.jsonl", 0),
        ("export memory.db", 0),
        ("list nowhere.db", 1),
    ];
    for (arguments, code) in cases {
        for closed in ["stdout", "stderr", "both"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
            command.current_dir(place.path("")).args(arguments.split(' '));
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            if closed != "stderr" {
                drop(child.stdout.take());
            }
            if closed != "stdout" {
                drop(child.stderr.take());
            }
            let ended = child.wait_with_output()?.status.code();
            assert_eq!(ended, Some(code), "{arguments}, {closed} closed");
        }
    }
    Ok(())
}

#[test]
fn closed_pipe_ends_quietly() -> Outcome {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    // More than a pipe holds.
    store
        .insert_many((0..3_000).map(|n| NewTrace::semantic(json!(format!("{n} {}", "pilot ".repeat(20))))))?;
    store.close()?;
    for arguments in [
        "list memory.db --limit 3000 --full",
        "list memory.db --limit 3000 --json",
        "recall memory.db pilot --limit 3000",
        "completions bash",
        "export memory.db",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
        command.current_dir(place.path("")).args(arguments.split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output()?;
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments}");
    }
    Ok(())
}

#[test]
fn help_names_exit_codes() -> Outcome {
    let place = TestDir::new()?;
    let commands = ["export", "import", "backup", "verify"].map(str::to_owned).into_iter();
    let snapshots = ["save", "restore", "list", "prune"].map(|command| format!("snapshot {command}"));
    for command in commands.chain(snapshots) {
        for help in ["-h", "--help"] {
            let shown = place.output(&format!("{command} {help}"))?;
            assert!(shown.contains("Exit codes: 0 "), "{command} {help}: {shown}");
        }
    }
    Ok(())
}
