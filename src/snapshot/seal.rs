//! The last line of a file, which vouches for every byte before it.
//!
//! `{"sha512":"…"}`, or `{"sha512":"…","public_key":"…","ed25519ph":"…"}`, in hexadecimal. The signature is
//! Ed25519ph of RFC 8032, section 5.1, made for streams: over the SHA-512 digest, with a context that no
//! other use of the key shares. It is checked strictly, and the line must be the very text that this module
//! writes, so no bit of a file can change unnoticed.

use super::hex::{self, Hex};
use super::refusal::Refusal;
use ed25519_dalek::{Signature, SignatureError, SigningKey, VerifyingKey};
use serde::Deserialize;
use sha2::{Digest, Sha512};
use std::fmt;

const CONTEXT: &[u8] = b"mnemon snapshot";

/// No seal is longer, its line end included.
pub(super) const MAX_BYTES: usize = 512;

#[derive(Clone)]
pub(super) enum Key {
    None,
    Sign(SigningKey),
    Verify(VerifyingKey),
}

impl Key {
    /// Whose signature a file must bear.
    pub(super) fn demanded(&self) -> Option<VerifyingKey> {
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

pub(super) fn digest(hashed: &Sha512) -> [u8; 64] {
    hashed.clone().finalize().into()
}

/// Whether this seal vouches for what was hashed, as far as the key demands.
pub(super) fn check(hashed: &Sha512, seal: &[u8], key: &Key) -> Result<(), Refusal> {
    let seal =
        Seal::parse(seal).ok_or_else(|| Refusal::damaged("its last line is no digest: it was cut short"))?;
    if seal.sha512 != digest(hashed) {
        return Err(Refusal::damaged("its digest does not match what it holds"));
    }
    let signer = seal.signed.map(|signed| signed.check(hashed)).transpose()?;
    match (key.demanded(), signer) {
        (Some(_), None) => Err(Refusal::Untrusted("is not signed".to_owned())),
        (Some(demanded), Some(signer)) if signer != demanded => {
            Err(Refusal::Untrusted(format!("is signed with another key, {}", Hex(signer.as_bytes()))))
        }
        _ => Ok(()),
    }
}

impl Signed {
    fn check(&self, hashed: &Sha512) -> Result<VerifyingKey, Refusal> {
        let verified = || {
            let key = VerifyingKey::from_bytes(&self.public_key)?;
            let signature = Signature::from_bytes(&self.signature);
            key.verify_prehashed_strict(hashed.clone(), Some(CONTEXT), &signature)?;
            Ok(key)
        };
        verified().map_err(|_: SignatureError| Refusal::damaged("its signature does not match what it holds"))
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
                Some(Signed { public_key: hex::array(key)?, signature: hex::array(signature)? })
            }
            _ => None,
        };
        let seal = Self { sha512: hex::array(text.sha512)?, signed };
        (seal.to_string().as_bytes() == line).then_some(seal)
    }
}

/// With the line end.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"sha512":"{}""#, Hex(&self.sha512))?;
        if let Some(Signed { public_key, signature }) = &self.signed {
            write!(f, r#","public_key":"{}","ed25519ph":"{}""#, Hex(public_key), Hex(signature))?;
        }
        f.write_str("}\n")
    }
}
