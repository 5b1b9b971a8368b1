//! Files with a seal over all of their bytes: without the right one no mutation gets any further.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha512};

/// The file that the input stands for: the first byte says whether the rest is all of it, or what a seal is set to.
pub fn file_of(data: &[u8]) -> Vec<u8> {
    match data.split_first() {
        Some((b's', lines)) => seal(lines),
        Some((_, whole)) => whole.to_vec(),
        None => Vec::new(),
    }
}

pub fn seal(lines: &[u8]) -> Vec<u8> {
    let mut file = lines.to_vec();
    if file.last().is_some_and(|byte| *byte != b'\n') {
        file.push(b'\n');
    }
    let digest: String = Sha512::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    file.extend_from_slice(format!("{{\"kind\":\"seal\",\"sha512\":\"{digest}\"}}\n").as_bytes());
    file
}

/// What a line says, as far as the targets ask.
#[derive(Deserialize)]
pub struct Line {
    pub kind: String,
    pub id: Option<String>,
    pub watermark: Option<u64>,
    payload: Option<Box<RawValue>>,
    payload_text: Option<String>,
}

impl Line {
    /// The payload of a trace.
    pub fn payload(&self) -> &str {
        let payload = self.payload.as_deref().unwrap_or(RawValue::NULL);
        self.payload_text.as_deref().unwrap_or(payload.get())
    }
}

/// The lines that have a kind, the seal included.
pub fn lines(file: &[u8]) -> Vec<Line> {
    let unmarked = |line: &[u8]| {
        let line = line.trim_ascii();
        serde_json::from_slice(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)).ok()
    };
    file.split(|byte| *byte == b'\n').filter_map(unmarked).collect()
}
