//! `mnemon snapshot`: saving, restoring, listing and pruning.

use crate::harbour::{harbour, id, with_harbour};
use crate::program::TestDir;
use assert_cmd::Command;
use harness::Outcome;
use insta::assert_snapshot;
use mnemon::NewTrace;
use serde_json::{Value, json};
use std::fs;

#[test]
fn snapshots_save_list_restore_prune() -> Outcome {
    let place = TestDir::new()?;
    let store = harbour(&place.path("memory.db"))?;
    assert_eq!(place.output("snapshot list --dir shots")?, "there is no snapshot in shots\n");
    let saved = place.run("snapshot save memory.db --dir shots --json")?;
    let report = saved.json()?;
    assert_eq!(
        (saved.code, &report["traces"], &report["links"]),
        (Some(0), &json!(3), &json!(2)),
        "{saved:?}"
    );
    store.insert(NewTrace::sensory(json!("later")).id(id(8)))?;
    store.close()?;
    let first = report["name"].as_str().ok_or("a name")?.to_owned();
    let later = place.run("snapshot save memory.db --dir shots --json")?.json()?;

    let list = place.output("snapshot list --dir shots --json")?;
    let names: Vec<Value> = list.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<_> = names.iter().map(|info| &info["name"]).collect();
    assert_eq!(names, [&later["name"], &json!(first)], "the newest first");

    // By name the older one, else the newest.
    let restored = place.run(&format!("snapshot restore memory.db --dir shots --name {first}"))?;
    assert_snapshot!("restored", restored.shown(&place).replace(&first, "[name]"));
    assert_eq!(place.held("memory.db")?.0.len(), 3);
    let restored = place.run("snapshot restore fresh.db --dir shots --json")?;
    assert_eq!(restored.json()?["traces"], 4, "{restored:?}");
    assert_eq!(place.held("fresh.db")?.0.len(), 4);

    fs::write(place.path("shots").join("snapshot-2020-01-01T00-00-00.000000Z.mnemon"), "no snapshot")?;
    let list = place.run("snapshot list --dir shots")?;
    let mut shown = list.shown(&place);
    for name in [&report["name"], &later["name"]] {
        shown =
            shown.replace(name.as_str().unwrap_or_default(), "snapshot-[the time it was saved at].mnemon");
    }
    assert_snapshot!("snapshot_list", shown);

    let pruned = place.run("snapshot prune --dir shots --keep 1 --json")?;
    assert_eq!(pruned.json()?, json!({"deleted": [first], "kept": 1}), "{pruned:?}");
    assert_snapshot!("pruned", pruned.shown(&place).replace(&first, "[name]"));
    Ok(())
}

#[test]
fn refused_snapshot_changes_and_makes_nothing() -> Outcome {
    let place = with_harbour()?;
    let saved = place.run("snapshot save memory.db --dir shots --json")?.json()?;
    let name = saved["name"].as_str().ok_or("a name")?;
    let path = place.path("shots").join(name);
    let spoilt = fs::read_to_string(&path)?.replace("tides", "winds");
    fs::write(&path, spoilt)?;
    let before = place.held("memory.db")?;
    for db in ["memory.db", "fresh.db"] {
        let ran = place.run(&format!("snapshot restore {db} --dir shots"))?;
        assert!(ran.code == Some(1) && ran.stderr.contains("is damaged"), "{ran:?}");
    }
    assert_eq!(place.held("memory.db")?, before);
    assert!(!place.path("fresh.db").exists());
    let ran = place.run("snapshot restore memory.db --dir nowhere")?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("there is no snapshot in nowhere: save one first"),
        "{ran:?}"
    );
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn folder_name_need_not_be_text() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let place = with_harbour()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command.current_dir(place.path("")).args(["snapshot", "save", "memory.db", "--json", "--dir"]);
    command.arg(std::ffi::OsStr::from_bytes(b"shots-\xff")).assert().success();
    Ok(())
}

#[test]
fn key_refuses_what_it_never_signed() -> Outcome {
    let place = with_harbour()?;
    fs::write(place.path("raw.key"), [7; 32])?;
    fs::write(place.path("hex.key"), "07".repeat(32) + "\n")?;
    fs::write(place.path("other.key"), [8; 32])?;
    fs::write(place.path("no.key"), "secret")?;
    place.output("snapshot save memory.db --dir signed --key raw.key")?;
    place.output("snapshot save memory.db --dir unsigned")?;
    place.output("snapshot restore memory.db --dir signed --key hex.key")?;
    place.output("snapshot restore memory.db --dir signed")?;
    for (folder, key, expected) in [
        ("signed", "other.key", "use a file that the required key has signed"),
        ("unsigned", "raw.key", "use a file that the required key has signed"),
        ("signed", "no.key", "no.key is no key: give 32 bytes"),
        ("signed", "nowhere.key", "nowhere.key can't be read"),
    ] {
        let ran = place.run(&format!("snapshot restore memory.db --dir {folder} --key {key}"))?;
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{ran:?}");
    }
    Ok(())
}
