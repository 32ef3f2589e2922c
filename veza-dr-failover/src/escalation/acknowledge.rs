//! Links by which a call is acknowledged: each holds a signature over what it is for, and ends by itself.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use chrono::{DateTime, TimeDelta, Utc};
use veza_dr_core::{Error, ErrorKind, ExposeSecret, OperationId, Result, SecretString};

use crate::hmac::hmac_sha256;

/// What a link is signed with. Kept in a file that only its owner may read, made at its first use.
#[derive(Debug, Clone)]
pub struct AckKey(SecretString);

impl AckKey {
    /// The key in this file; a new one, random, where there is none.
    ///
    /// # Errors
    /// `Denied` or `Unavailable` when it can neither be read nor made; `Corrupt` when it is too short to be one.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |e: std::io::Error| {
            let kind = match e.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("the key of acknowledging links {} cannot be had", path.display())).with_source(e)
        };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let key: String = (0..4).map(|_| OperationId::random().as_str().to_owned()).collect();
                file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)?;
                return Ok(Self(key.into()));
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(cannot(e)),
        }
        let mut key = String::new();
        std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut key)).map_err(cannot)?;
        let key = key.trim();
        if key.len() < 32 {
            return Err(Error::new(ErrorKind::Corrupt, format!("{} holds no key", path.display()))
                .with_help("remove it: a new one is made, and links sent before are void"));
        }
        Ok(Self(key.to_owned().into()))
    }

    /// A token that acknowledges `id` in the name of `who` until `until`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use chrono::{TimeDelta, Utc};
    /// let key = veza_dr_failover::escalation::AckKey::open(&dir.path().join("ack.key")).unwrap();
    /// let now = Utc::now();
    /// let token = key.token("i-1", "ann", now + TimeDelta::hours(1));
    /// assert!(key.check(&token, "i-1", "ann", now).is_ok());
    /// assert!(key.check(&token, "i-2", "ann", now).is_err());
    /// ```
    #[must_use]
    pub fn token(&self, id: &str, who: &str, until: DateTime<Utc>) -> String {
        let until = until.timestamp();
        format!("{until}.{}", self.sign(id, who, until))
    }

    /// Whether a token is for this, and still good.
    ///
    /// # Errors
    /// `Denied`, always with the same words but for one that has ended.
    pub fn check(&self, token: &str, id: &str, who: &str, now: DateTime<Utc>) -> Result<()> {
        let refused = || Error::new(ErrorKind::Denied, "the link is not valid");
        let (until, signature) = token.split_once('.').ok_or_else(refused)?;
        let until: i64 = until.parse().map_err(|_| refused())?;
        let expected = self.sign(id, who, until);
        let same = expected.len() == signature.len()
            && expected.bytes().zip(signature.bytes()).fold(0u8, |all, (a, b)| all | (a ^ b)) == 0;
        if !same {
            return Err(refused());
        }
        match DateTime::from_timestamp(until, 0) {
            Some(until) if now < until + TimeDelta::seconds(1) => Ok(()),
            _ => Err(Error::new(ErrorKind::Denied, "the link has ended")
                .with_help(format!("acknowledge with: veza-dr status --acknowledge {id}"))),
        }
    }

    fn sign(&self, id: &str, who: &str, until: i64) -> String {
        // Lengths first: no two pairs of id and name give the same text.
        let text = format!("{}:{id}:{}:{who}:{until}", id.len(), who.len());
        hmac_sha256(self.0.expose_secret().as_bytes(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_call_one_person_and_a_time() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ack.key");
        let key = AckKey::open(&path).unwrap();
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(9);
        let token = key.token("i-1", "ann", now);
        let again = AckKey::open(&path).unwrap();
        assert!(again.check(&token, "i-1", "ann", now).is_ok(), "after a restart too");
        for (id, who, at) in [("i-2", "ann", now), ("i-1", "bob", now), ("i-1", "ann", now + TimeDelta::seconds(2))] {
            assert_eq!(key.check(&token, id, who, at).unwrap_err().kind(), ErrorKind::Denied);
        }
        let (until, signature) = token.split_once('.').unwrap();
        let later = format!("{}.{signature}", until.parse::<i64>().unwrap() + 999);
        for forged in ["", ".", "1", &later, &token[..token.len() - 1]] {
            assert!(key.check(forged, "i-1", "ann", now).is_err(), "{forged}");
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{key:?}").contains(&std::fs::read_to_string(&path).unwrap()));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(AckKey::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
