//! Proof that a webhook comes from who holds the key, and when: HMAC-SHA-256 over time and body.

use veza_dr_core::{ExposeSecret, SecretString};

use crate::hmac::hmac_sha256;

/// HMAC-SHA-256 (RFC 2104) of `message`, in hexadecimal.
///
/// ```
/// let tag = veza_dr_failover::notify::sign(&"key".into(), b"The quick brown fox jumps over the lazy dog");
/// assert_eq!(tag, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
/// ```
#[must_use]
pub fn sign(key: &SecretString, message: &[u8]) -> String {
    hmac_sha256(key.expose_secret().as_bytes(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_hashed_first() {
        // As openssl dgst -sha256 -hmac prints it.
        let key = SecretString::from("k".repeat(131));
        assert_eq!(
            sign(&key, b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "70e4b005732fa7ff79392aa24fb240159b925dbc9f1398420c0f45e6763dcf14"
        );
    }
}
