//! How snapshots are kept: their names, their folder, what is listed and what goes.

use super::super::format::MAX_LINE;
use super::*;

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_public_key_reads_and_does_not_save() -> Outcome {
    let (_folder, snapshots) = in_folder();
    let signed = snapshots.clone().signed_with(SECRET);
    let reader = snapshots.clone().verified_with(signed.public_key().unwrap())?;
    let info = signed.write(&small())?;
    assert_same(&reader.read(&info.path)?, &small());
    let error = reader.write(&small()).unwrap_err();
    assert_eq!(error.to_string(), "no snapshot can be saved with a public key: give the secret one");
    assert_eq!(snapshots.list()?.len(), 1);
    for no_key in [[0; 32], [2; 32]] {
        let Err(error) = snapshots.clone().verified_with(no_key) else { panic!("{no_key:?} is no key") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    Ok(())
}

#[test]
fn a_secret_is_never_printed() {
    let printed = format!("{:?}", Snapshots::in_folder("folder").signed_with(SECRET));
    assert!(!printed.contains("0707") && !printed.contains("7, 7"), "{printed}");
}

#[test]
fn a_snapshot_is_named_by_time_and_is_its_owners_alone() -> Outcome {
    let (folder, snapshots) = in_folder();
    let nanoseconds: Timestamp = "2026-12-01T10:00:15.123456789Z".parse()?;
    let info = snapshots.write(&State { taken_at: nanoseconds, ..small() })?;
    let expected = snapshots.folder().join("snapshot-2026-12-01T10-00-15.123456Z.mnemon");
    assert_eq!(info.path, expected);
    let taken_at: Timestamp = "2026-12-01T10:00:15.123456Z".parse()?;
    assert_eq!(info.taken_at, taken_at);
    assert_eq!(snapshots.read(&info.path)?.taken_at, taken_at);
    assert_eq!(names(snapshots.folder()).len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&info.path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(snapshots.folder())?.permissions().mode() & 0o777, 0o700);
    }
    drop(folder);
    Ok(())
}

#[test]
fn saves_of_the_same_microsecond_do_not_clash() -> Outcome {
    let (_folder, snapshots) = in_folder();
    let start = Barrier::new(8);
    let paths: BTreeSet<PathBuf> = std::thread::scope(|scope| {
        let saves: Vec<_> = (0..8_u64)
            .map(|watermark| {
                let (snapshots, start) = (&snapshots, &start);
                scope.spawn(move || {
                    start.wait();
                    let path = snapshots.write(&State { watermark, ..small() }).unwrap().path;
                    assert_eq!(snapshots.read(&path).unwrap().watermark, watermark);
                    path
                })
            })
            .collect();
        saves.into_iter().map(|save| save.join().unwrap()).collect()
    });
    assert_eq!(paths.len(), 8);
    assert_eq!(names(snapshots.folder()).len(), 8);
    assert_eq!(snapshots.list()?.len(), 8);
    Ok(())
}

fn saved_at(snapshots: &Snapshots, micros: i64) -> PathBuf {
    snapshots.write(&State { taken_at: at(micros), watermark: micros as u64, ..small() }).unwrap().path
}

#[test]
fn the_newest_is_listed_first_and_what_cannot_be_read_with_the_reason() -> Outcome {
    let (_folder, snapshots) = in_folder();
    assert!(snapshots.list()?.is_empty());
    assert_eq!(snapshots.newest()?, None);
    assert!(snapshots.prune(0)?.is_empty());
    let paths: Vec<_> = [5_000_000, 4, 5_000_000, 999_999].map(|at| saved_at(&snapshots, at)).into();
    let empty = snapshots.folder().join("snapshot-2026-11-24T10-15-30.000000Z.mnemon");
    fs::write(&empty, "")?;
    fs::write(snapshots.folder().join("notes.txt"), "mine")?;
    fs::create_dir(snapshots.folder().join("snapshot-2027-11-24T10-15-30.000000Z.mnemon"))?;
    let listed = snapshots.list()?;
    let order: Vec<_> = listed.iter().map(|info| &info.path).collect();
    assert_eq!(
        order,
        [&empty, &paths[3], &paths[2], &paths[1], &paths[0]],
        "the last saved, whatever the clock"
    );
    assert_eq!(snapshots.newest()?.as_ref(), Some(&empty));
    let error = listed[0].error.as_ref().unwrap();
    assert_eq!(error.to_string(), format!("{} is empty: give the path of a snapshot", empty.display()));
    for (info, micros) in listed[1..].iter().zip([999_999, 5_000_000, 4, 5_000_000]) {
        assert!(info.error.is_none(), "{info:?}");
        assert_eq!((info.watermark, info.traces, info.links), (micros, 2, 1));
        assert_eq!(info.taken_at, at(micros as i64));
    }
    Ok(())
}

#[test]
fn pruning_keeps_the_newest_and_everything_foreign() -> Outcome {
    let (_folder, snapshots) = in_folder();
    let paths: Vec<_> = (0..13).map(|at| saved_at(&snapshots, at)).collect();
    let foreign = [
        ("notes.txt", Kind::Snapshot.beginning()),
        ("snapshot-1970-01-01T00-00-00.000000Z.mnemon.bak", Kind::Snapshot.beginning()),
        ("snapshot-1969-01-01T00-00-00.000000Z.mnemon", b"not ours"),
        ("snapshot-1969-01-01T00-00-01.000000Z.mnemon", b""),
        ("snapshot-2100-01-01T00-00-00.000000Z.mnemon", b"not ours, and newest"),
        ("snapshot-1969-01-01T00-00-00.000000Z.mnemon.partial", b"not ours"),
        ("other.partial", Kind::Snapshot.beginning()),
    ];
    for (name, content) in foreign {
        fs::write(snapshots.folder().join(name), content)?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        &paths[12],
        snapshots.folder().join("snapshot-1969-01-01T00-00-02.000000Z.mnemon"),
    )?;
    let before = names(snapshots.folder());
    assert_eq!(snapshots.prune(13)?, [] as [PathBuf; 0]);
    assert_eq!(names(snapshots.folder()), before);
    assert_eq!(snapshots.prune(10)?, paths[..3]);
    assert!(paths[3..].iter().all(|path| path.exists()));
    assert_eq!(snapshots.prune(0)?, paths[3..]);
    let left = names(snapshots.folder());
    assert_eq!(left.len(), before.len() - 13);
    assert!(foreign.iter().all(|(name, _)| left.contains(*name)));
    Ok(())
}

#[test]
fn pruning_clears_what_interrupted_saves_have_left() -> Outcome {
    let (_folder, snapshots) = in_folder();
    let path = saved_at(&snapshots, 1);
    let partial = |second| {
        snapshots.folder().join(format!("snapshot-2026-01-01T00-00-0{second}.000000Z.mnemon.partial"))
    };
    fs::copy(&path, partial(1))?;
    fs::write(partial(2), "")?;
    let in_use = fs::File::create(partial(3))?;
    in_use.lock()?;
    let gone: BTreeSet<_> = snapshots.prune(1)?.into_iter().collect();
    assert_eq!(gone, BTreeSet::from([partial(1), partial(2)]));
    assert!(path.exists() && partial(3).exists());
    Ok(())
}

#[test]
fn a_save_under_way_is_not_pruned_and_holds_its_name() -> Outcome {
    let (_folder, snapshots) = in_folder();
    let first = saved_at(&snapshots, 1);
    let partial = PathBuf::from(format!("{}.partial", first.display()));
    fs::rename(&first, &partial)?;
    let second = saved_at(&snapshots, 0);
    assert!(second.ends_with("snapshot-1970-01-01T00-00-00.000001Z_2.mnemon"));
    assert!(partial.exists());
    fs::rename(&partial, snapshots.folder().join("snapshot-1970-01-01T00-00-00.000001Z_4294967295.mnemon"))?;
    let error = snapshots.write(&State { taken_at: at(0), ..small() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert!(saved_at(&snapshots, 2).exists());
    Ok(())
}

#[test]
fn a_state_that_could_not_be_restored_is_not_saved() -> Outcome {
    let not_json = NewTrace::semantic(Payload::trusted("{")).id(id(3)).into_trace()?;
    let long = NewTrace::semantic(Payload::text(&"a".repeat(MAX_LINE as usize))).id(id(4));
    let mut bad_payload = small();
    bad_payload.traces.push(Arc::new(not_json));
    let cases = [
        (
            state([trace(1), trace(1)], []),
            "trace 01010101-0101-0101-0101-010101010101 can't be archived: there is another",
        ),
        (state([trace(1)], [link(1, 2)]), "a link can't be archived: the link is to trace 02020202"),
        (state([trace(1), trace(2)], [link(1, 2), link(2, 1)]), "a link can't be archived: there is another"),
        (
            state([long], []),
            "trace 04040404-0404-0404-0404-040404040404 can't be archived: its line is longer than 1048576",
        ),
        (bad_payload, "trace 03030303-0303-0303-0303-030303030303 can't be archived: replace or remove it"),
    ];
    let (_folder, snapshots) = in_folder();
    for (state, reason) in cases {
        let error = snapshots.write(&state).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(reason), "{error} is not {reason}");
        assert!(names(snapshots.folder()).is_empty(), "{reason}");
    }
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_is_left_as_it_was() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    fs::write(&file, "mine")?;
    for no_folder in [file.clone(), file.join("below")] {
        let error = Snapshots::in_folder(&no_folder).write(&small()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
        assert!(error.to_string().contains(&*no_folder.to_string_lossy()), "{error:?}");
    }
    assert!(Snapshots::in_folder(&file).list().is_err());
    assert_eq!(fs::read_to_string(&file)?, "mine");
    assert_eq!(names(folder.path()), BTreeSet::from(["file".to_owned()]));
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_folder_without_rights_is_left_as_it_was() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500))?;
    if fs::write(folder.path().join("probe"), "").is_ok() {
        return Ok(()); // Rights do not bind this user.
    }
    let error = Snapshots::in_folder(folder.path()).write(&small()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(names(folder.path()).is_empty());
    Ok(())
}
