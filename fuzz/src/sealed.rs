//! Files with a seal over all of their bytes: without the right one no mutation gets any further.

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
    file.extend_from_slice(format!("{{\"sha512\":\"{digest}\"}}\n").as_bytes());
    file
}

/// The lines that are JSON objects, the last but the seal.
pub fn lines(file: &[u8]) -> Vec<serde_json::Value> {
    file.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
