//! An export, and every kind of archive read as one.

use super::*;
use crate::archive::{Line, Reader, Writer};

fn export(state: &State) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), state.traces.len() as u64, state.links.len() as u64).unwrap();
    state.traces.iter().for_each(|trace| writer.trace(trace).unwrap());
    state.links.iter().for_each(|link| writer.link(link).unwrap());
    writer.finish().unwrap()
}

/// The traces, the links, and the numbers of the bad lines with the reasons.
type Read = (Vec<Arc<Trace>>, Vec<Link>, Vec<(u64, String)>);

fn read(bytes: &[u8]) -> Result<Read, Error> {
    let (mut traces, mut links, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = Reader::new(bytes)?;
    while let Some(line) = reader.next() {
        match line? {
            Line::Trace(trace) => traces.push(Arc::new(trace)),
            Line::Link(link) => links.push(link),
            Line::Bad(error) => bad.push((reader.number(), format!("{error:?}"))),
        }
    }
    assert!(reader.next().is_none(), "the end is the end");
    Ok((traces, links, bad))
}

#[test]
fn export_is_read_back_to_the_bit() {
    let state = small();
    let bytes = export(&state);
    let (traces, links, bad) = read(&bytes).unwrap();
    assert_eq!((format!("{traces:?}"), links, bad), (format!("{:?}", state.traces), state.links, vec![]));
    assert!(!String::from_utf8(bytes).unwrap().contains("seal"));
}

#[test]
fn snapshot_is_read_as_an_export_if_its_seal_is_right() {
    for secret in [None, Some(SECRET)] {
        let mut bytes = file_of(&small(), secret);
        let (traces, links, bad) = read(&bytes).unwrap();
        assert_eq!((traces, links, bad), (small().traces, small().links, vec![]));
        let seal = bytes.len() - 20;
        for at in [300, seal] {
            bytes[at] ^= 1;
            let error = read(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            bytes[at] ^= 1;
        }
        let error = read(&bytes[..600]).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
}

#[test]
fn bad_lines_are_told_and_the_rest_is_read() {
    let text = String::from_utf8(export(&small())).unwrap();
    let changed =
        text.replacen("\"strength\":0.6", "\"strength\":1.6", 1).replacen("\"count\":3", "\"count\":-3", 1);
    let (traces, links, bad) = read(changed.as_bytes()).unwrap();
    assert_eq!((traces.len(), links.len()), (1, 0));
    let (lines, reasons): (Vec<_>, Vec<_>) = bad.into_iter().unzip();
    assert_eq!(lines, [2, 4]);
    assert!(reasons[0].starts_with("invalid input: strength is 1.6: give"), "{reasons:?}");
    assert!(
        reasons[1].starts_with("corrupt: it can't be parsed: invalid value: integer `-3`"),
        "{reasons:?}"
    );
}

#[test]
fn lines_written_by_hand_are_read() {
    let text = String::from_utf8(export(&small())).unwrap();
    let (_, lines) = text.split_once('\n').unwrap();
    let spaced = lines.replace("\":", "\" : ").replace(",\"", " , \"").replace('\n', "\r\n\n");
    let header = "\u{feff} { \"links\": 1, \"traces\": 2, \"version\": 1, \"kind\": \"mnemon-export\" }";
    let by_hand = format!("\n{header}\n{}", spaced.trim_end());
    let (traces, links, bad) = read(by_hand.as_bytes()).unwrap();
    assert_eq!((traces.len(), links, bad), (2, small().links, vec![]));
    let reader = Reader::new(by_hand.as_bytes()).unwrap();
    assert_eq!((reader.announced(), reader.number()), (3, 2));
}

#[test]
fn export_has_what_was_announced_and_can_be_read_back() {
    let mut writer = Writer::new(Vec::new(), 2, 0).unwrap();
    writer.trace(&small().traces[0]).unwrap();
    let spoilt = NewTrace::semantic(Payload::trusted("{")).into_trace().unwrap();
    let error = writer.trace(&spoilt).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = writer.finish().unwrap_err();
    assert!(error.to_string().starts_with("1 traces and 0 links are missing"), "{error}");
}

/// The store that they are inserted into makes equal ones of them.
#[test]
fn traces_become_new_ones_with_every_field() {
    for trace in small().traces {
        let again = NewTrace::from(Trace::clone(&trace)).into_trace().unwrap();
        assert_eq!(format!("{again:?}"), format!("{trace:?}"));
    }
}
