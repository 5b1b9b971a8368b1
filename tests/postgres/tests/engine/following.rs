//! A space is followed from elsewhere: each cut in order, and gaps where one is not known.

use crate::space::{PATIENCE, Space};
use harness::{Outcome, State, manual_flush, note};
use mnemon::postgres::{Followed, Follower, follow};
use mnemon::{Commit, ErrorKind, TraceId, TraceStore};
use postgres_tests::Server;
use std::time::Duration;

/// A copy of a space, as its events say.
#[derive(Default)]
struct Copy {
    state: State,
    gaps: usize,
}

impl Copy {
    fn take(&mut self, Commit { traces, links, .. }: Commit) {
        for (id, trace) in traces {
            match trace {
                Some(trace) => drop(self.state.traces.insert(id, trace)),
                None => drop(self.state.traces.remove(&id)),
            }
        }
        for (ends, link) in links {
            match link {
                Some(link) => drop(self.state.links.insert(ends, link)),
                None => drop(self.state.links.remove(&ends)),
            }
        }
    }

    /// Waits for the next event, and returns its watermark; `None` if it was a gap, after which all is read.
    fn receive(&mut self, follower: &mut Follower) -> Outcome<Option<u64>> {
        match follower.recv_timeout(PATIENCE)?.ok_or("nothing comes")? {
            Followed::Committed(commit) => {
                let watermark = commit.watermark;
                self.take(commit);
                Ok(Some(watermark))
            }
            _ => {
                self.gaps += 1;
                self.state = State::default();
                self.take(follower.read()?);
                Ok(None)
            }
        }
    }
}

/// A store of a space whose owner soon sees who follows.
fn owner(server: &Server, space: &str) -> mnemon::Result<TraceStore> {
    manual_flush().space(space).lease(Duration::from_millis(1500)).connect(&server.url())
}

/// Flushes until the owner notes what it changes.
fn until_noticed(store: &TraceStore, follower: &mut Follower, copy: &mut Copy) -> Outcome {
    loop {
        store.insert(note("until somebody notes it"))?;
        store.flush()?;
        if copy.receive(follower)?.is_some() {
            return Ok(());
        }
    }
}

#[test]
fn follower_receives_each_cut() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let error = follow(&server.url(), "followed", 0).err();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::NotFound), "before there is a space");
    let store = owner(&server, "followed")?;
    let ids = store.insert_many((0..20).map(|n| note(n).partition(["even", "odd"][n % 2])))?;
    store.co_activate(ids[0], ids[1])?;
    store.flush()?;

    let (mut follower, mut copy) = (follow(&server.url(), "followed", 0)?, Copy::default());
    assert_eq!(copy.receive(&mut follower)?, None, "what was before is not known");
    assert_eq!(copy.state, State::of(&store));
    until_noticed(&store, &mut follower, &mut copy)?;
    copy.gaps = 0;
    type Change = fn(&TraceStore, &[TraceId]) -> mnemon::Result<()>;
    let changes: [Change; 6] = [
        |store, ids| store.update(ids[0], |trace| trace.confidence(0.25)).map(drop),
        |store, ids| store.update(ids[2], |trace| trace.payload(serde_json::json!("another"))).map(drop),
        |store, ids| ids[3..6].iter().try_for_each(|id| store.co_activate(*id, ids[1]).map(drop)),
        |store, ids| store.remove(ids[3]).map(drop),
        |store, ids| store.insert(note("new").id(ids[3])).map(drop),
        |store, _| store.erase_partition("odd").map(drop),
    ];
    for change in changes {
        change(&store, &ids)?;
        let report = store.flush()?;
        assert_eq!(copy.receive(&mut follower)?, Some(report.watermark));
        assert_eq!(copy.state, State::of(&store));
    }
    assert!(follower.recv_timeout(Duration::ZERO)?.is_none(), "nothing has changed since");
    Ok(())
}

#[test]
fn follower_resumes_from_its_watermark() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let store = owner(&server, "resumed")?;
    let (mut follower, mut copy) = (follow(&server.url(), "resumed", 0)?, Copy::default());
    until_noticed(&store, &mut follower, &mut copy)?;
    copy.gaps = 0;
    let since = follower.watermark();
    drop(follower);
    let ids = store.insert_many((0..10).map(note))?;
    store.flush()?;
    store.remove(ids[0])?;
    store.close()?;
    let store = owner(&server, "resumed")?;
    store.update(ids[1], |trace| trace.confidence(0.25))?;
    store.flush()?;

    let mut follower = follow(&server.url(), "resumed", since)?;
    copy.receive(&mut follower)?;
    assert_eq!((copy.gaps, &copy.state), (0, &State::of(&store)), "across a close");
    Ok(())
}

#[test]
fn follower_learns_of_gaps() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let store = owner(&server, "gaps")?;
    let (mut follower, mut copy) = (follow(&server.url(), "gaps", 0)?, Copy::default());
    until_noticed(&store, &mut follower, &mut copy)?;
    store.insert(note("noted"))?;
    store.flush()?;
    // Older than they are kept: the owner deletes them, when it next renews its lease.
    server.sql("UPDATE mnemon.cuts SET at = at - interval '61 minutes'")?;
    harness::wait_until(|| server.sql("SELECT count(*) FROM mnemon.cuts").is_ok_and(|notes| notes == "0"));
    assert_eq!(copy.receive(&mut follower)?, None);
    assert_eq!(copy.state, State::of(&store));
    store.insert(note("noted again"))?;
    store.flush()?;
    assert!(copy.receive(&mut follower)?.is_some());
    assert_eq!(copy.state, State::of(&store));

    // A server that has lost cuts.
    server.sql("UPDATE mnemon.spaces SET watermark = watermark - 1")?;
    assert_eq!(copy.receive(&mut follower)?, None);
    Ok(())
}

/// A server loses cuts with the host that had them in memory, and the next owner begins where they began.
#[test]
fn follower_learns_of_another_history() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let store = owner(&server, "history")?;
    let (mut follower, mut copy) = (follow(&server.url(), "history", 0)?, Copy::default());
    until_noticed(&store, &mut follower, &mut copy)?;
    let was = "CREATE TABLE r AS TABLE mnemon.spaces; CREATE TABLE t AS TABLE mnemon.traces;
        CREATE TABLE c AS TABLE mnemon.cuts";
    server.sql(was)?;
    let write = |store: &TraceStore, text: &str| -> Outcome {
        store.insert(note(text))?;
        store.flush()?;
        Ok(())
    };
    write(&store, "lost")?;
    assert!(copy.receive(&mut follower)?.is_some());
    store.close()?;
    server.sql(
        "UPDATE mnemon.spaces SET watermark = (SELECT watermark FROM r); DELETE FROM mnemon.traces;
        INSERT INTO mnemon.traces TABLE t; DELETE FROM mnemon.cuts; INSERT INTO mnemon.cuts TABLE c",
    )?;
    let store = owner(&server, "history")?;
    for cuts in 1..=2 {
        write(&store, "another")?;
        let mut resumed = follow(&server.url(), "history", follower.watermark())?;
        assert_eq!(Copy::default().receive(&mut resumed)?, None, "a gap after {cuts} cuts");
    }
    assert_eq!(copy.receive(&mut follower)?, None, "a gap");
    assert_eq!(copy.state, State::of(&store));
    Ok(())
}

#[test]
fn unfollowed_space_has_no_notes() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let (followed, other) = (owner(&server, "followed")?, owner(&server, "other")?);
    let (mut follower, mut copy) = (follow(&server.url(), "followed", 0)?, Copy::default());
    other.insert(note(1))?;
    other.flush()?;
    until_noticed(&followed, &mut follower, &mut copy)?;
    other.insert(note(2))?;
    other.close()?;
    let spaces = "SELECT string_agg(DISTINCT name, ',') FROM mnemon.cuts JOIN mnemon.spaces USING (space)";
    assert_eq!(server.sql(spaces)?, "followed");
    // An hour after the last follower was heard of.
    server.sql("UPDATE mnemon.spaces SET followed_until = clock_timestamp()")?;
    let notes = || server.sql("SELECT max(watermark) FROM mnemon.cuts");
    let flushed = || -> Outcome<String> {
        followed.insert(note(3))?;
        Ok(followed.flush()?.watermark.to_string())
    };
    while flushed()? == notes()? {}
    Ok(())
}

#[test]
fn follower_keeps_up_with_hosts() -> Outcome {
    let Some(server) = Server::start()? else { return Ok(()) };
    let mut space = Space::new(&server, "busy")?;
    let mut host = space.host(&server.url())?;
    let (mut follower, mut copy) = (follow(&server.url(), "busy", 0)?, Copy::default());
    while copy.receive(&mut follower)?.is_none() {}
    copy.gaps = 0;
    for _ in 0..20 {
        copy.receive(&mut follower)?;
    }
    host.kill()?;
    let mut next = space.host(&server.url())?;
    for _ in 0..20 {
        copy.receive(&mut follower)?;
    }
    next.close()?;
    space.check(&[&host, &next])?;
    let store = space.builder().connect(&server.url())?;
    while follower.watermark() < store.watermark().durable {
        copy.receive(&mut follower)?;
    }
    assert_eq!((copy.gaps, &copy.state), (0, &State::of(&store)));
    Ok(())
}
