//! A file that is not what was saved is refused, with the reason.

use super::super::format::MAX_LINE;
use super::*;

fn refused(bytes: &[u8], key: &Key) -> Error {
    read_bytes(bytes, key).expect_err("this file must be refused").of("FILE")
}

#[track_caller]
fn assert_refused(bytes: &[u8], key: &Key, kind: ErrorKind, message: &str) {
    let error = refused(bytes, key);
    assert_eq!((error.kind(), &*error.to_string()), (kind, message));
}

#[test]
fn every_flipped_byte_is_refused() {
    let lines = small_lines();
    let header = lines.find('\n').unwrap();
    for secret in [None, Some(SECRET)] {
        let mut bytes = file_of(&small(), secret);
        assert!(read_bytes(&bytes, &Key::None).is_ok());
        for at in 0..bytes.len() {
            // One bit of what the digest covers, and of a signature, which is slow to check.
            let one = secret.is_some() || (header + 1..lines.len()).contains(&at);
            let bits = if one { at % 8..at % 8 + 1 } else { 0..8 };
            for bit in bits {
                bytes[at] ^= 1 << bit;
                assert!(read_bytes(&bytes, &Key::None).is_err(), "bit {bit} of byte {at} of {secret:?}");
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn every_shorter_and_every_longer_file_is_refused() {
    for secret in [None, Some(SECRET)] {
        let mut bytes = file_of(&small(), secret);
        for length in 0..bytes.len() {
            assert!(read_bytes(&bytes[..length], &Key::None).is_err(), "{length} bytes of {secret:?}");
        }
        bytes.push(0);
        for last in 0..=u8::MAX {
            *bytes.last_mut().unwrap() = last;
            assert!(read_bytes(&bytes, &Key::None).is_err(), "{last} after the end of {secret:?}");
        }
    }
}

#[test]
fn damage_is_called_damage() {
    let bytes = file_of(&small(), None);
    let mut flipped = bytes.clone();
    flipped[200] ^= 1;
    let kind = ErrorKind::Corrupt;
    let message = "FILE is damaged, its digest does not match what it holds: use another file";
    assert_refused(&flipped, &Key::None, kind, message);
    let message = "FILE is damaged, its last line is no digest: it was cut short: use another file";
    assert_refused(&bytes[..300], &Key::None, kind, message);
    assert_refused(&bytes[..bytes.len() - 1], &Key::None, kind, message);
    let message = "FILE is damaged, its first line has no end: use another file";
    assert_refused(&bytes[..50], &Key::None, kind, message);
}

#[test]
fn a_foreign_file_is_refused() {
    let kind = ErrorKind::NotASnapshot;
    assert_refused(b"", &Key::None, kind, "FILE is empty: give the path of a snapshot");
    let message = "FILE does not begin with a header: give the path of a snapshot";
    for foreign in [
        "[\"mnemon-snapshot\",1,0,0]",
        "{}",
        "SQLite format 3\0",
        "{\"kind\":\"mnemon-snapsh",
        "{\"kind\":\"trace\"}",
    ] {
        assert_refused(&sealed(foreign, &Key::None), &Key::None, kind, message);
        assert_refused(foreign.as_bytes(), &Key::None, kind, message);
    }
    let folder = tempfile::tempdir().unwrap();
    let error = Snapshots::in_folder(folder.path()).read(folder.path()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let error = Snapshots::in_folder(folder.path()).read(&folder.path().join("gone")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[test]
fn a_newer_version_is_refused_as_such_whatever_it_looks_like() {
    let message = "FILE has archive version 2, and this version of mnemon knows up to 1: use a newer one";
    let newer = small_lines().replacen("\"version\":1", "\"version\":2", 1);
    assert_refused(&sealed(&newer, &Key::None), &Key::None, ErrorKind::NewerSchema, message);
    let unlike = b"{\"kind\":\"mnemon-snapshot\",\"version\":2,\x00\xff no line end, no digest";
    assert_refused(unlike, &Key::None, ErrorKind::NewerSchema, message);
}

#[test]
fn a_sealed_file_with_a_wrong_line_is_refused_with_its_number() {
    let lines = small_lines();
    let (_, rest) = lines.split_once('\n').unwrap();
    let [second, last] = [1, 3].map(|at| lines.split_inclusive('\n').nth(at).unwrap());
    let (link_and_trace, two_links) = (format!("{last}{second}"), last.repeat(2));
    let cases: [(&str, &str, &str); 40] = [
        (r#"version":1"#, r#"version":0"#, "line 1: there is no version 0"),
        (r#"version":1"#, r#"version":-1"#, "line 1: invalid value"),
        (r#"version":1"#, r#"version":99999999999999999999"#, "line 1: invalid type"),
        (r#""traces":2"#, r#""traces":3"#, "line 1: the header says 3 traces, and there are 2"),
        (r#""traces":2"#, r#""traces":1"#, "line 1: the header says 1 traces, and there are 2"),
        (
            r#""traces":2"#,
            r#""traces":18446744073709551615"#,
            "line 1: the header says 18446744073709551615 traces, and there are 2",
        ),
        (r#""links":1"#, r#""links":0"#, "line 1: the header says 0 links, and there are 1"),
        (r#""watermark":42"#, r#""watermark":-42"#, "line 1: invalid value"),
        (r#","watermark":42"#, "", "line 1: missing field `watermark`"),
        (r#""watermark""#, r#""more":1,"watermark""#, "line 1: unknown field `more`"),
        (last, &link_and_trace, "line 5: there is another trace 01010101"),
        (last, &two_links, "line 5: there is another link of 01010101"),
        (second, &link_and_trace, "line 2: the link is to trace 01010101-0101-0101-0101-010101010101, which"),
        (
            r#""b":"02020202"#,
            r#""b":"03030303"#,
            "line 4: the link is to trace 03030303-0202-0202-0202-020202020202, which is not there",
        ),
        (
            r#""b":"02020202-0202-0202-0202-020202020202"#,
            r#""b":"01010101-0101-0101-0101-010101010101"#,
            "line 4: link is from",
        ),
        (r#""count":3"#, r#""count":0"#, "line 4: count is 0: give 1 or more"),
        (r#""link""#, r#""chain""#, r#"line 4: kind is "chain": give trace or link"#),
        (r#""strength":0.1,"#, "", "line 3: it can't be parsed: missing field `strength`, column "),
        (r#""strength":0.1"#, r#""strength":1.5"#, "line 3: strength is 1.5: give"),
        (r#""strength":0.1"#, r#""strength":1e999"#, "line 3: it can't be parsed: number out of range"),
        (r#""strength":0.1"#, r#""strength":NaN"#, "line 3: it can't be parsed: expected value"),
        (
            r#""strength":0.1"#,
            r#""strength":0.1,"strength":0.1"#,
            "line 3: it can't be parsed: duplicate field",
        ),
        (r#""revision":1"#, r#""revision":0"#, "line 2: revision is 0: give"),
        (
            r#""last_decayed":"1970-"#,
            r#""last_decayed":"+99999-"#,
            r#"line 2: last_decayed is "+99999-01-01T00:00:00.000007Z": give a time such as"#,
        ),
        (r#""type":"episodic""#, r#""type":"iconic""#, r#"line 2: type is "iconic""#),
        (r#""tags":[]"#, r#""tags":[""]"#, "line 2: tag is empty"),
        ("[0.5,", "[1e39,", "line 3: it can't be parsed: number out of range"),
        ("[0.5,", r#"["0.5","#, "line 3: it can't be parsed: invalid type: string"),
        (r#""payload":{"#, r#""payload":"#, "line 2: it can't be parsed: expected `,` or `}`"),
        (
            r#""payload":{"#,
            r#""payload":{"":1e999,"#,
            "line 2: payload can't be used: give valid JSON text: number out of range",
        ),
        (
            r#""payload":{"#,
            r#""payload_text":"{}","payload":{"#,
            "line 2: payload_text does not say what payload does",
        ),
        (
            r#""emotional_valence":0.0"#,
            r#""emotional_valence":-1.5"#,
            "line 2: emotional_valence is -1.5: give a number from -1 to 1",
        ),
        (r#""id":"01010101-"#, r#""id":"-"#, "line 2: id is "),
        (rest, "[[[]]]\n", "line 2: it is not a JSON object"),
        (rest, "{\"kind\":\n", "line 2: it can't be parsed: EOF while parsing"),
        (rest, "{}\n", "line 2: it has no kind: give trace or link"),
        (rest, &lines, "line 2: it is a second header"),
        (rest, "\n", "line 1: the header says 2 traces, and there are 0"),
        (rest, "{\"kind\":\"erased-type\",\"type\":\"trust\"}\n", "line 2: it is a line of a spill"),
        ("été", "\u{0}", "line 3: it can't be parsed: control character"),
    ];
    for (from, to, reason) in cases {
        let changed = lines.replacen(from, to, 1);
        assert_ne!(changed, lines, "{reason}");
        let error = refused(&sealed(&changed, &Key::None), &Key::None);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let expected = format!("FILE can't be used, {reason}");
        assert!(error.to_string().starts_with(&expected), "{error} is not {expected}");
    }
    let mut not_utf8 = sealed("", &Key::None);
    not_utf8.clear();
    not_utf8.extend(lines.bytes().map(|byte| if byte == 0xc3 { 0xff } else { byte }));
    let seal = seal::seal(&Sha512::new_with_prefix(&not_utf8), &Key::None).unwrap();
    not_utf8.extend(seal.bytes());
    assert!(refused(&not_utf8, &Key::None).to_string().contains("line 3: it is not UTF-8: invalid utf-8"));
}

#[test]
fn key_requires_its_own_signature() -> Outcome {
    let signs = |secret| Key::Sign(SigningKey::from_bytes(&secret));
    let (own, other) = (signs(SECRET), signs([8; 32]));
    let verify = Key::Verify(SigningKey::from_bytes(&SECRET).verifying_key());
    let lines = small_lines();
    let signed = sealed(&lines, &own);
    for key in [&own, &verify, &Key::None] {
        assert_same(&read_bytes(&signed, key).unwrap(), &small());
    }
    for key in [&own, &verify] {
        let message = "FILE is not signed: use a file that the required key has signed";
        assert_refused(&sealed(&lines, &Key::None), key, ErrorKind::Untrusted, message);
        let message = "FILE is signed with another key, \
            1398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca: \
            use a file that the required key has signed";
        assert_refused(&sealed(&lines, &other), key, ErrorKind::Untrusted, message);
    }

    // Somebody without the key changes the file and computes the digest anew.
    let changed = lines.replacen("early", "late!", 1);
    let signature = String::from_utf8(signed.clone())?.split_once("\",\"public_key").unwrap().1.to_owned();
    let digest = String::from_utf8(sealed(&changed, &Key::None))?.trim_end_matches("\"}\n").to_owned();
    let forged = format!("{digest}\",\"public_key{signature}");
    for key in [&own, &Key::None] {
        let message = "FILE is damaged, its signature does not match what it holds: use another file";
        assert_refused(forged.as_bytes(), key, ErrorKind::Corrupt, message);
    }
    Ok(())
}

#[test]
fn a_line_that_never_ends_is_refused() {
    let long = format!("{}{}", small_lines(), "[".repeat(MAX_LINE as usize + 10));
    for lines in [format!("{long}\n"), format!("{long}\n{}", small_lines())] {
        let message = "FILE can't be used, line 5: it is longer than 1048576 bytes: use another file";
        assert_refused(&sealed(&lines, &Key::None), &Key::None, ErrorKind::Corrupt, message);
    }
    let header = small_lines().replacen(":1,", &format!(":1,{}", " ".repeat(1 << 11)), 1);
    let message = "FILE is damaged, its first line has no end: use another file";
    assert_refused(&sealed(&header, &Key::None), &Key::None, ErrorKind::Corrupt, message);
}
