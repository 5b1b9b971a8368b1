//! Single traces are put, changed, tagged, linked and removed in a file that no host has open.

use super::program::{Output, TestDir};
use harness::Outcome;
use mnemon::{TraceId, TraceStore};
use serde_json::{Value, json};

/// The JSON that it ends with.
fn json(place: &TestDir, arguments: &str) -> Outcome<Value> {
    Ok(serde_json::from_str(&place.output(&format!("{arguments} --json"))?)?)
}

#[track_caller]
fn refused(ran: Outcome<Output>, with: &str) -> Outcome {
    let ran = ran?;
    assert!(ran.code == Some(1) && ran.stderr.contains(with) && ran.stdout.is_empty(), "{ran:?}");
    Ok(())
}

#[test]
fn put_makes_a_store_and_traces() -> Outcome {
    let place = TestDir::new()?;
    let put =
        json(&place, "put memory.db tide --tag sea --tag moon --ref chat/1 --confidence 0.9 --pinned true")?;
    assert_eq!(put["id"], json!(TraceId::from_reference("chat/1").to_string()));
    assert_eq!(
        (&put["type"], &put["payload"], &put["tags"]),
        (&json!("semantic"), &json!("tide"), &json!(["moon", "sea"]))
    );
    let put = json(&place, r#"put memory.db {"depth":4} --raw --type episodic --partition bar"#)?;
    assert_eq!((&put["payload"], &put["partition"]), (&json!({"depth": 4}), &json!("bar")));
    let said = place.output("put memory.db ebb")?;
    assert!(said.trim_end().ends_with(" stored"), "{said}");
    assert_eq!(place.traces()?.len(), 3);
    refused(place.run("put memory.db again --ref chat/1"), "is in the store")?;
    refused(place.run("put memory.db {oops --raw"), "payload can't be used")?;
    refused(place.run("put other.db {oops --raw"), "payload can't be used")?;
    refused(place.run("put other.db x --partition "), "a value is required")?;
    assert_eq!(place.names()?, ["memory.db"], "nothing was made for what was refused");
    Ok(())
}

#[test]
fn set_changes_what_is_given() -> Outcome {
    let place = TestDir::new()?;
    let id = TraceId::from_reference("a");
    place.output("put memory.db tide --ref a --tag sea")?;
    let parent = TraceId::from_reference("b");
    let set = json(
        &place,
        &format!("set memory.db {id} --payload ebb --confidence 1 --unresolved true --parent {parent}"),
    )?;
    assert_eq!(
        (&set["payload"], &set["confidence"], &set["revision"]),
        (&json!("ebb"), &json!(1.0), &json!(2))
    );
    assert_eq!(
        (&set["unresolved"], &set["tags"], &set["parent"]),
        (&json!(true), &json!(["sea"]), &json!(parent.to_string()))
    );
    let text = id.to_string();
    let set = json(&place, &format!("set memory.db {} --revision 2 --emotional-valence -0.5", &text[24..]))?;
    assert_eq!((&set["emotional_valence"], &set["payload"]), (&json!(-0.5), &json!("ebb")));
    refused(place.run(&format!("set memory.db {id} --revision 2 --confidence 0")), "has revision 3, not 2")?;
    refused(place.run(&format!("set memory.db {id} --confidence 1")), "nothing of")?;
    refused(place.run(&format!("set memory.db {id} --emotional-valence nan")), "give a number from -1 to 1")?;
    refused(place.run(&format!("set memory.db {} --confidence 1", TraceId::new())), "holds no trace")?;
    refused(place.run(&format!("set nowhere.db {id} --confidence 1")), "there is no store at nowhere.db")?;
    assert_eq!((place.names()?, place.traces()?[0].revision()), (vec!["memory.db".to_owned()], 3));
    Ok(())
}

#[test]
fn edits_change_tags_links_and_traces() -> Outcome {
    let place = TestDir::new()?;
    let [a, b, c] = ["a", "b", "c"].map(TraceId::from_reference);
    for name in ["a", "b", "c"] {
        place.output(&format!("put memory.db {name} --ref {name}"))?;
    }
    assert_eq!(
        place.output(&format!("tag memory.db {a} sea moon"))?,
        format!("{a} has the tags moon, sea\n")
    );
    assert_eq!(
        place.output(&format!("tag memory.db {a} sea moon --remove"))?,
        format!("{a} has no tags now\n")
    );
    refused(place.run(&format!("tag memory.db {a}")), "required")?;

    assert_eq!(place.output(&format!("link memory.db {a} {b}"))?, format!("{a} {b} 1 time\n"));
    assert_eq!(
        place.output(&format!("link memory.db {b} {a} --times 2"))?,
        format!("{b} {a} 3 times: associated\n")
    );
    let linked = json(&place, &format!("link memory.db {b} {c}"))?;
    assert_eq!((&linked["count"], &linked["associated"]), (&json!(1), &json!(false)));
    place.output(&format!("link memory.db {c} {b} --remove"))?;
    refused(place.run(&format!("link memory.db {c} {b} --remove")), "have no link")?;
    refused(place.run(&format!("link memory.db {c} {c}")), "give two traces")?;

    refused(place.run(&format!("rm memory.db {c} {}", TraceId::new())), "holds no trace")?;
    assert_eq!(place.traces()?.len(), 3, "all or none");
    assert_eq!(json(&place, &format!("rm memory.db {a} {c}"))?, json!({"traces": 2, "links": 1}));
    assert_eq!(place.traces()?.iter().map(|trace| trace.id()).collect::<Vec<_>>(), [b]);
    Ok(())
}

#[test]
fn a_host_keeps_its_file() -> Outcome {
    let place = TestDir::new()?;
    place.output("put memory.db tide --ref a")?;
    let host = TraceStore::open(place.path("memory.db"))?;
    let id = TraceId::from_reference("a");
    for command in
        ["put memory.db x".to_owned(), format!("rm memory.db {id}"), format!("tag memory.db {id} x")]
    {
        refused(place.run(&command), "in use")?;
    }
    assert_eq!(host.len(), 1);
    host.close()?;
    Ok(())
}

#[test]
fn list_takes_each_condition() -> Outcome {
    let place = TestDir::new()?;
    let parent = TraceId::from_reference("a");
    place.output("put memory.db a --ref a --tag x --tag y")?;
    place.output("put memory.db b --ref b --tag y --tag z")?;
    place.output("put memory.db c --ref c")?;
    place.output(&format!("set memory.db {} --parent {parent}", TraceId::from_reference("c")))?;
    let payloads = |conditions: &str| -> Outcome<Vec<String>> {
        let lines = place.output(&format!("query memory.db --json --order created {conditions}"))?;
        let payload = |line: &str| {
            Ok(serde_json::from_str::<Value>(line)?["payload"].as_str().unwrap_or("").to_owned())
        };
        lines.lines().map(payload).collect()
    };
    assert_eq!(payloads("")?, ["c", "b", "a"]);
    assert_eq!(payloads("--any-tag x,z")?, ["b", "a"]);
    assert_eq!(payloads("--tag y --no-tag z")?, ["a"]);
    assert_eq!(payloads(&format!("--parent {parent}"))?, ["c"]);
    Ok(())
}

#[test]
fn invalid_traces_are_listed_on_request() -> Outcome {
    let place = TestDir::new()?;
    let [a, b] = ["a", "b"].map(TraceId::from_reference);
    let put = json(&place, "put memory.db tide --ref a --valid-until 2026-12-01")?;
    assert_eq!(put["valid_until"], json!("2026-12-01T00:00:00Z"));
    let put = json(&place, "put memory.db ebb --ref b")?;
    assert_eq!((put.get("valid_until"), put.get("superseded_by")), (None, None));
    let listed = |options: &str| -> Outcome<usize> {
        Ok(place.output(&format!("list memory.db --json {options}"))?.lines().count())
    };
    let (before, after) = ("--at 2026-11-30T23:59:59Z", "--at 2026-12-01");
    assert_eq!((listed(before)?, listed(after)?, listed(&format!("{after} --include-invalid"))?), (2, 1, 2));
    let set = json(&place, &format!("set memory.db {b} --superseded-by {a} --valid-until 2026-12-02"))?;
    assert_eq!(set["superseded_by"], json!(a.to_string()));
    let page = place.output(&format!("get memory.db {b}"))?;
    assert!(page.contains("valid until") && page.contains("superseded by"), "{page}");
    let set = json(&place, &format!("set memory.db {b} --no-valid-until"))?;
    assert_eq!((set.get("valid_until"), set.get("superseded_by")), (None, None));
    refused(place.run(&format!("set memory.db {b} --superseded-by {b}")), "give the id of another trace")?;
    refused(
        place.run(&format!("set memory.db {b} --no-valid-until --valid-until 2026-12-01")),
        "cannot be used",
    )?;
    Ok(())
}
