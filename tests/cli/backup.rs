//! `mnemon backup` and `mnemon verify`.

use crate::harbour::{harbour, with_harbour};
use crate::program::TestDir;
use harness::Outcome;
use insta::assert_snapshot;
use rusqlite::Connection;
use std::fs;

#[test]
fn backup_reports_and_never_overwrites() -> Outcome {
    let place = TestDir::new()?;
    let store = harbour(&place.path("memory.db"))?;
    let ran = place.run("backup memory.db monday.db --json")?;
    // SQLite's own layout decides how long the file is.
    let bytes = fs::metadata(place.path("monday.db"))?.len();
    assert_eq!(ran.json()?["bytes"], bytes);
    assert_snapshot!("backup", ran.shown(&place));
    assert_snapshot!("backup_refused", place.run("backup memory.db monday.db")?.shown(&place));
    assert_eq!(place.held("monday.db")?, place.held("memory.db")?);
    store.close()?;

    Connection::open(place.path("memory.db"))?.execute("UPDATE traces SET pinned = 7 WHERE pinned", [])?;
    assert_snapshot!("backup_unsound_row", place.run("backup memory.db tuesday.db")?.shown(&place));
    Ok(())
}

#[test]
fn verify_exits_with_its_verdict() -> Outcome {
    let place = with_harbour()?;
    assert_snapshot!("verify_sound", place.run("verify memory.db")?.shown(&place));
    assert_snapshot!("verify_sound_json", place.run("verify memory.db --json")?.shown(&place));
    Connection::open(place.path("memory.db"))?.execute_batch(
        "UPDATE traces SET payload = '{' WHERE id = x'01010101010101010101010101010101';
         DELETE FROM traces WHERE id = x'02020202020202020202020202020202';",
    )?;
    fs::write(place.path("memory.db.spill"), "left")?;
    let row = |text: String| -> Outcome<String> {
        // Which row a trace has is the store's choice.
        let store = Connection::open(place.path("memory.db"))?;
        let sql = "SELECT row FROM traces WHERE id = x'01010101010101010101010101010101'";
        let row: i64 = store.query_row(sql, [], |row| row.get(0))?;
        Ok(text
            .replace(&format!("row {row}"), "row [row]")
            .replace(&format!("\"row\":{row}"), "\"row\":[row]"))
    };
    assert_snapshot!("verify_findings", row(place.run("verify memory.db")?.shown(&place))?);
    assert_snapshot!("verify_findings_json", row(place.run("verify memory.db --json")?.shown(&place))?);
    assert_snapshot!("verify_nowhere", place.run("verify nowhere.db")?.shown(&place));
    Ok(())
}
