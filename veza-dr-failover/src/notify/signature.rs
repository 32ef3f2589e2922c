//! Proof that a webhook comes from who holds the key, and when: HMAC-SHA-256 over time and body.

use sha2::{Digest, Sha256};
use veza_dr_core::{ExposeSecret, SecretString};

const BLOCK: usize = 64;

/// HMAC-SHA-256 (RFC 2104) of `message`, in hexadecimal.
///
/// ```
/// let tag = veza_dr_failover::notify::sign(&"key".into(), b"The quick brown fox jumps over the lazy dog");
/// assert_eq!(tag, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
/// ```
#[must_use]
pub fn sign(key: &SecretString, message: &[u8]) -> String {
    let key = key.expose_secret().as_bytes();
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    hex::encode(Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize())
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
