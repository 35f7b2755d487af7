//! The part of a message body that the dead-letter store keeps.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The largest body that the dead-letter store keeps whole, in bytes: 1 MiB.
pub const WHOLE_BODY_LIMIT: usize = 1024 * 1024;
/// The number of leading bytes that the dead-letter store keeps of a larger body: 64 KiB.
pub const TRUNCATED_BODY: usize = 64 * 1024;

/// A body as the dead-letter store keeps it: whole up to [`WHOLE_BODY_LIMIT`], truncated above.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The bytes kept: all of the body, or its first [`TRUNCATED_BODY`] bytes.
    pub bytes: Bytes,
    /// The length of the body as published, in bytes.
    pub length: u64,
    /// The SHA-256 of the body as published, in hex; `None` where `bytes` is the whole body.
    pub sha256: Option<String>,
}

impl StoredBody {
    /// Returns the part of `body` that is kept.
    pub fn keep(body: &Bytes) -> Self {
        let length = body.len() as u64;
        if body.len() <= WHOLE_BODY_LIMIT {
            return Self { bytes: body.clone(), length, sha256: None };
        }
        Self { bytes: body.slice(..TRUNCATED_BODY), length, sha256: Some(sha256(body)) }
    }

    /// Returns whether the body was kept whole.
    pub fn is_whole(&self) -> bool {
        self.sha256.is_none()
    }
}

/// Prints the length only: a body may contain anything.
impl std::fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredBody").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Returns the SHA-256 of a body, in lowercase hex.
pub fn sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body)).collect()
}

/// Returns the lowercase hex digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four_bits: u8| char::from(DIGITS[usize::from(four_bits)]);
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 0xf)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_over_the_limit_is_kept_by_its_beginning_length_and_hash() {
        let body = Bytes::from(vec![b'x'; WHOLE_BODY_LIMIT + 1]);
        let kept = StoredBody::keep(&body);
        assert_eq!(kept.bytes.len(), TRUNCATED_BODY);
        assert_eq!(kept.length, body.len() as u64);
        assert_eq!(kept.sha256.as_deref().map(str::len), Some(64));
        assert!(StoredBody::keep(&Bytes::from_static(b"{}")).is_whole());
    }
}
