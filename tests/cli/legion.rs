//! `import-legion` and `export-legion` say what went along and what did not, and scripts can tell by the exit code.
#![cfg(feature = "cli")]

use crate::program::TestDir;
use harness::Outcome;
use serde_json::Value;

#[test]
fn store_survives_export_and_import() -> Outcome {
    let place = TestDir::with_memories()?;
    let out = place.run("export-legion memory.db original.db")?;
    assert_eq!((out.code, &*out.stderr), (Some(2), ""));
    insta::assert_snapshot!("export", out.stdout);
    let back = place.run("import-legion again.db original.db")?;
    assert_eq!(
        (back.code, &*back.stderr, &*back.stdout),
        (Some(0), "", "6 traces and 5 links taken into again.db\n")
    );
    let twice = place.run("import-legion again.db original.db")?;
    let nothing = "0 traces and 0 links taken into again.db; there already: 6 traces, 5 links\n";
    assert_eq!((twice.code, &*twice.stdout), (Some(0), nothing));

    let json = place.run("export-legion again.db other.db --json")?;
    assert_eq!(json.code, Some(0));
    let report: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!((&report["traces"], &report["links"]), (&6.into(), &5.into()));
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{report}");
    Ok(())
}

#[test]
fn foreign_files_are_left_alone() -> Outcome {
    let place = TestDir::with_memories()?;
    let before = std::fs::read(place.path("memory.db"))?;
    let refused = place.run("export-legion memory.db memory.db")?;
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    insta::assert_snapshot!("exists", refused.stderr);
    assert_eq!(std::fs::read(place.path("memory.db"))?, before);
    let refused = place.run("import-legion new.db memory.db")?;
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    insta::assert_snapshot!("no_original", refused.stderr);
    assert!(!place.path("new.db").exists());
    Ok(())
}

#[test]
fn refused_trace_is_a_failure() -> Outcome {
    let place = TestDir::with_memories()?;
    assert_eq!(place.run("export-legion memory.db original.db")?.code, Some(2));
    // It can't be read, and holds on to its id.
    rusqlite::Connection::open(place.path("memory.db"))?
        .execute("UPDATE traces SET tier = 'tepid' WHERE row = 1", [])?;
    let back = place.run("import-legion memory.db original.db")?;
    assert!(back.code == Some(1) && back.stderr.contains(" is quarantined: "), "{back:?}");
    Ok(())
}

#[test]
fn long_text_survives_export_and_import() -> Outcome {
    let place = TestDir::new()?;
    let long = "tide ".repeat(1 << 18);
    let builder = mnemon::TraceStore::builder().max_payload_bytes(2 << 20);
    let store = builder.open(place.path("memory.db"))?;
    store.insert(mnemon::NewTrace::semantic(serde_json::json!(long)))?;
    store.close()?;
    assert_eq!(place.run("export-legion memory.db original.db")?.code, Some(0));
    let back = place.run("import-legion again.db original.db")?;
    assert_eq!((back.code, &*back.stdout), (Some(0), "1 trace and 0 links taken into again.db\n"));
    Ok(())
}

#[test]
fn paths_like_uris_are_paths() -> Outcome {
    let place = TestDir::with_memories()?;
    let before = std::fs::read(place.path("memory.db"))?;
    for (number, name) in ["file:memory.db", "file:memory.db?mode=memory", ":memory:"].iter().enumerate() {
        if cfg!(windows) && name.contains([':', '?']) {
            continue;
        }
        let out = place.run(&format!("export-legion memory.db {name}"))?;
        assert_eq!((out.code, &*out.stderr), (Some(2), ""));
        let back = place.run(&format!("import-legion again-{number}.db {name}"))?;
        assert!(back.code == Some(0) && back.stdout.starts_with("6 traces and 5 links taken"), "{back:?}");
    }
    assert_eq!(std::fs::read(place.path("memory.db"))?, before);
    Ok(())
}
