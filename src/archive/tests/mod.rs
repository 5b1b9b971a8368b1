//! The promises of archives: here, that they hold everything, and what they look like.

mod exported;
mod golden;
mod kept;
mod refused;

use super::State;
use super::error::ReadError;
use super::format::Kind;
use super::seal::{self, Key};
use super::snapshots::Snapshots;
use crate::error::{Error, ErrorKind};
use crate::trace::{Link, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceType, timestamp};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use sha2::{Digest, Sha512};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SECRET: [u8; 32] = [7; 32];

fn id(number: u8) -> TraceId {
    TraceId::from_bytes([number; 16])
}

fn at(micros: i64) -> Timestamp {
    timestamp(micros).unwrap()
}

fn trace(number: u8) -> NewTrace {
    let payload = Payload::from_json(format!(r#"{{"text": "the tide is early", "number": {number}}}"#));
    NewTrace::episodic(payload.unwrap()).id(id(number)).created_at(at(7))
}

fn state(traces: impl IntoIterator<Item = NewTrace>, links: impl IntoIterator<Item = Link>) -> State {
    State {
        watermark: 42,
        taken_at: at(1_796_119_215_123_456),
        traces: traces.into_iter().map(|new| Arc::new(new.into_trace().unwrap())).collect(),
        links: links.into_iter().collect(),
    }
}

fn link(a: u8, b: u8) -> Link {
    Link::new((id(a), id(b)), 3, at(8), at(9)).unwrap()
}

/// Two traces, one of them with every field, and a link.
fn small() -> State {
    let full = trace(2)
        .source_agent("ana")
        .encryption_key_id("key 1")
        .tags(["harbour", "été"])
        .parent(id(1))
        .children([id(9), id(3)])
        .embedding([0.5, -1.25])
        .strength(0.1)
        .peak_strength(0.3);
    state([trace(1), full], [link(1, 2)])
}

fn in_folder() -> (tempfile::TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::in_folder(folder.path().join("snapshots"));
    (folder, snapshots)
}

/// The same, to the bit: what is printed of a number tells it from every other.
fn assert_same(read: &State, saved: &State) {
    assert_eq!((read.watermark, read.taken_at), (saved.watermark, saved.taken_at));
    assert_eq!(read.traces.len(), saved.traces.len());
    for (read, saved) in read.traces.iter().zip(&saved.traces) {
        assert_eq!(read, saved);
        assert_eq!(format!("{read:?}"), format!("{saved:?}"));
    }
    assert_eq!(read.links, saved.links);
}

/// What `state` is as a file, with this key.
fn file_of(state: &State, secret: Option<[u8; 32]>) -> Vec<u8> {
    let (_folder, mut snapshots) = in_folder();
    if let Some(secret) = secret {
        snapshots = snapshots.signed_with(secret);
    }
    fs::read(snapshots.write(state).unwrap().path).unwrap()
}

/// These lines with a seal that is right.
fn sealed(lines: &str, key: &Key) -> Vec<u8> {
    let seal = seal::seal(&Sha512::new_with_prefix(lines), key).unwrap();
    [lines.as_bytes(), seal.as_bytes()].concat()
}

/// The lines of the small state, without its seal.
fn small_lines() -> String {
    let text = String::from_utf8(file_of(&small(), None)).unwrap();
    let end = text.trim_end().rfind('\n').unwrap();
    text[..=end].to_owned()
}

fn read_bytes(bytes: &[u8], key: &Key) -> Result<State, ReadError> {
    State::verified(bytes, key)
}

#[test]
fn every_field_survives_to_the_bit() -> Outcome {
    let texts = [
        "\"plain\"",
        " {\"b\": 1,\n\r\n\t\"a\": [1.0, 1e3, 12345678901234567890, \"\\u0000 \\\\ \\/ \\ud83d\\ude00\"]} ",
        "\"café 日本 עברית العربية हिन्दी 😀 e\u{301} \u{200b}\u{202e}\u{feff}\u{2028}\u{2029}\u{7f}\u{85}\u{fffd}\u{10ffff}\"",
        "null",
        "\"\"",
        "[]",
    ];
    let numbers = [0.0, 5e-324, f64::MIN_POSITIVE, 0.1 + 0.2, 1.0 / 3.0, 1.0 - f64::EPSILON / 2.0, 1.0];
    let rates =
        [0.0, 5e-324, 2.225073858507201e-308, 9.109383632044565e-31, f64::MAX, 1e23, 123456789.12345679];
    let signed = [-1.0, -0.0, -5e-324, 0.1, -1.0 / 3.0];
    let times = [Timestamp::MIN, at(-1), at(0), at(1), Timestamp::MAX];
    let bits =
        [0, 1, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff, 0x8000_0000, 0x8000_0001, 0xff7f_ffff, 0x3eaa_aaab];
    let long = "é".repeat(512);
    let mut all = Vec::new();
    for number in 0..=250_u8 {
        let at = |list: usize| usize::from(number) % list;
        let name = ["a", "日本", "\n\u{1}\"\\", &long][at(4)];
        let mut new = NewTrace::new(TraceType::ALL[at(7)], Payload::from_json(texts[at(texts.len())])?)
            .id(id(number))
            .origin(Origin::ALL[at(4)])
            .tier(Tier::ALL[at(4)])
            .partition(name)
            .created_at(times[at(5)])
            .last_reinforced(times[at(3)])
            .last_decayed(times[at(4)])
            .revision([1, 2, i64::MAX as u64][at(3)])
            .reinforcement_count([0, 1, u32::MAX][at(3)])
            .strength(numbers[at(7)])
            .peak_strength(numbers[at(6)])
            .base_decay_rate(rates[at(7)])
            .emotional_valence(signed[at(5)])
            .emotional_intensity(numbers[at(5)])
            .confidence(numbers[at(4)])
            .unresolved(number & 1 > 0)
            .consolidation_candidate(number & 2 > 0)
            .pinned(number & 4 > 0);
        if number & 8 > 0 {
            new = new.tags([name, "b"]).children([id(number), id(0), id(255)]).parent(id(255));
        }
        if number & 16 > 0 {
            new = new.source_agent(name).encryption_key_id(name);
        }
        if number & 64 > 0 {
            new = new.valid_until(times[at(5)]);
        }
        if number & 128 > 0 {
            new = new.superseded_by(id(255));
        }
        if number & 32 > 0 {
            let vector: Vec<f32> = bits.into_iter().map(f32::from_bits).take(at(bits.len() + 1)).collect();
            new = new.embedding(vector);
        }
        all.push(new);
    }
    let links = [
        Link::new((id(3), id(1)), 1, Timestamp::MIN, Timestamp::MAX)?,
        Link::new((id(1), id(2)), u32::MAX, at(-1), at(0))?,
    ];
    let saved = State { watermark: u64::MAX, ..state(all, links) };
    let (_folder, snapshots) = in_folder();
    for snapshots in [snapshots.clone(), snapshots.signed_with(SECRET)] {
        let info = snapshots.write(&saved)?;
        assert_same(&snapshots.read(&info.path)?, &saved);
    }
    Ok(())
}

#[test]
fn random_numbers_survive_to_the_bit() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let traces = (0..200).map(|number| {
        let rate = f64::from_bits(next() >> 1);
        let fraction = (next() >> 11) as f64 / (1_u64 << 53) as f64;
        let new = trace(number).base_decay_rate(if rate.is_finite() { rate } else { 0.0 });
        let vector: Vec<f32> =
            (0..50).map(|_| f32::from_bits(next() as u32)).filter(|number| number.is_finite()).collect();
        new.strength(fraction).embedding(vector)
    });
    let saved = state(traces, []);
    assert_same(&read_bytes(&file_of(&saved, None), &Key::None).unwrap(), &saved);
}

#[test]
fn an_empty_store_can_be_saved() {
    for taken_at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, at(Timestamp::MAX.as_microsecond())] {
        let saved = State { taken_at, ..state([], []) };
        assert_same(&read_bytes(&file_of(&saved, None), &Key::None).unwrap(), &saved);
    }
}

#[test]
fn the_format_is_what_it_was() {
    let files = [(None, golden::DIGEST), (Some(SECRET), golden::SIGNED)];
    for (secret, seal) in files {
        let golden = format!("{}{seal}", golden::LINES);
        assert_eq!(String::from_utf8(file_of(&small(), secret)).unwrap(), golden);
        assert_same(&read_bytes(golden.as_bytes(), &Key::None).unwrap(), &small());
    }
}

#[test]
fn sharing_survives() -> Outcome {
    let saved = state((0..3).map(|number| trace(number).partition("harbour")), []);
    let read = read_bytes(&file_of(&saved, None), &Key::None).unwrap();
    let partition = |trace: &Trace| trace.content.names.partition.clone();
    assert!(Arc::ptr_eq(&partition(&read.traces[0]), &partition(&read.traces[2])));
    Ok(())
}
