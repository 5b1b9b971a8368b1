//! The last line of a sealed file, over every byte before it.
//!
//! `{"kind":"seal","sha512":"…"}`, or with `"public_key":"…","ed25519ph":"…"` after the digest, in hexadecimal. The
//! signature is Ed25519ph of RFC 8032, section 5.1, made for streams: over the SHA-512 digest, with a context that no
//! other use of the key shares. It is checked strictly, and the line must be exactly the text that this module writes,
//! so no bit of a file can change unnoticed.

use super::error::ReadError;
use ed25519_dalek::{Signature, SignatureError, SigningKey, VerifyingKey};
use serde::Deserialize;
use sha2::{Digest, Sha512};
use std::fmt;

const CONTEXT: &[u8] = b"mnemon archive";

pub(super) const KIND: &str = "seal";

/// Of a file without one.
pub(super) const MISSING: &str = "its last line is no digest: it was cut short";

#[derive(Clone)]
pub(super) enum Key {
    None,
    Sign(SigningKey),
    Verify(VerifyingKey),
}

impl Key {
    /// The key that must have signed a file.
    pub(super) fn required(&self) -> Option<VerifyingKey> {
        match self {
            Key::None => None,
            Key::Sign(key) => Some(key.verifying_key()),
            Key::Verify(key) => Some(*key),
        }
    }

    /// Whether what is sealed with it would be accepted.
    pub(super) fn can_seal(&self) -> bool {
        !matches!(self, Key::Verify(_))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::None => f.write_str("None"),
            Key::Sign(key) => write!(f, "Sign({})", Hex(key.verifying_key().as_bytes())),
            Key::Verify(key) => write!(f, "Verify({})", Hex(key.as_bytes())),
        }
    }
}

struct Seal {
    sha512: [u8; 64],
    signed: Option<Signed>,
}

struct Signed {
    public_key: [u8; 32],
    signature: [u8; 64],
}

/// The seal over what was hashed.
pub(super) fn seal(hashed: &Sha512, key: &Key) -> Result<String, SignatureError> {
    let signed = match key {
        Key::Sign(key) => Some(Signed {
            public_key: key.verifying_key().to_bytes(),
            signature: key.sign_prehashed(hashed.clone(), Some(CONTEXT))?.to_bytes(),
        }),
        Key::None | Key::Verify(_) => None,
    };
    Ok(Seal { sha512: digest(hashed), signed }.to_string())
}

fn digest(hashed: &Sha512) -> [u8; 64] {
    hashed.clone().finalize().into()
}

/// Checks that this is the seal of what was hashed, and that the required key has signed it, if there is one.
pub(super) fn check(hashed: &Sha512, seal: &[u8], key: &Key) -> Result<(), ReadError> {
    let seal = Seal::parse(seal).ok_or(ReadError::Damaged(MISSING))?;
    if seal.sha512 != digest(hashed) {
        return Err(ReadError::Damaged("its digest does not match what it holds"));
    }
    let signer = seal.signed.map(|signed| signed.check(hashed)).transpose()?;
    match (key.required(), signer) {
        (Some(_), None) => Err(ReadError::Untrusted("is not signed".to_owned())),
        (Some(required), Some(signer)) if signer != required => {
            Err(ReadError::Untrusted(format!("is signed with another key, {}", Hex(signer.as_bytes()))))
        }
        _ => Ok(()),
    }
}

impl Signed {
    fn check(&self, hashed: &Sha512) -> Result<VerifyingKey, ReadError> {
        let verified = || {
            let key = VerifyingKey::from_bytes(&self.public_key)?;
            let signature = Signature::from_bytes(&self.signature);
            key.verify_prehashed_strict(hashed.clone(), Some(CONTEXT), &signature)?;
            Ok(key)
        };
        verified()
            .map_err(|_: SignatureError| ReadError::Damaged("its signature does not match what it holds"))
    }
}

impl Seal {
    fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Text<'a> {
            sha512: &'a str,
            public_key: Option<&'a str>,
            ed25519ph: Option<&'a str>,
        }
        let text: Text<'_> = serde_json::from_slice(line).ok()?;
        let signed = match (text.public_key, text.ed25519ph) {
            (Some(key), Some(signature)) => {
                Some(Signed { public_key: array(key)?, signature: array(signature)? })
            }
            _ => None,
        };
        let seal = Self { sha512: array(text.sha512)?, signed };
        (seal.to_string().as_bytes() == line).then_some(seal)
    }
}

/// With the line end.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"kind":"{KIND}","sha512":"{}""#, Hex(&self.sha512))?;
        if let Some(Signed { public_key, signature }) = &self.signed {
            write!(f, r#","public_key":"{}","ed25519ph":"{}""#, Hex(public_key), Hex(signature))?;
        }
        f.write_str("}\n")
    }
}

/// Bytes in lower-case hexadecimal.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// `None` if it is not `N` pairs of digits.
fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok());
    let bytes: Vec<_> = bytes.collect::<Option<_>>()?;
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}
