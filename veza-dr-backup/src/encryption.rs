//! age encryption: recipients to write for, identities to read with.

use std::{
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use veza_dr_core::{Error, ErrorKind, ExposeSecret, Result, SecretString};

/// Who can read what is written, and with which key this host reads.
///
/// A host that only backs up needs recipients alone: it cannot read what it wrote.
///
/// ```
/// let none = veza_dr_backup::Encryption::default();
/// assert!(!none.is_on());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    recipients: Vec<age::x25519::Recipient>,
    identities: Vec<IdentitySource>,
}

#[derive(Debug, Clone)]
enum IdentitySource {
    Inline(SecretString),
    File(PathBuf),
}

impl Encryption {
    /// Encrypts to these age recipients (`age1…`).
    ///
    /// # Errors
    /// `Config` naming the first that is not an age X25519 recipient.
    pub fn to_recipients<S: AsRef<str>>(recipients: &[S]) -> Result<Self> {
        let parse = |r: &S| {
            age::x25519::Recipient::from_str(r.as_ref().trim()).map_err(|why| {
                Error::new(ErrorKind::Config, format!("`{}` is not an age recipient: {why}", r.as_ref()))
                    .with_help("a recipient begins with age1; make a key pair with: age-keygen -o key.txt")
            })
        };
        Ok(Self { recipients: recipients.iter().map(parse).collect::<Result<_>>()?, identities: Vec::new() })
    }

    /// Also reads with the identities in this file, as `age-keygen` writes it. It is opened when a read needs it.
    #[must_use]
    pub fn with_identity_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.identities.push(IdentitySource::File(path.into()));
        self
    }

    /// Also reads with this identity (`AGE-SECRET-KEY-1…`).
    #[must_use]
    pub fn with_identity(mut self, identity: SecretString) -> Self {
        self.identities.push(IdentitySource::Inline(identity));
        self
    }

    /// The same with a key of its own instead of the configured ones: it opens nothing. For controls that must fail.
    #[must_use]
    pub fn with_a_stranger_s_key(&self) -> Self {
        let key = age::x25519::Identity::generate().to_string();
        Self { recipients: self.recipients.clone(), identities: vec![IdentitySource::Inline(key)] }
    }

    /// True when what is written is encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// True when an identity to read with is configured.
    #[must_use]
    pub fn can_read(&self) -> bool {
        !self.identities.is_empty()
    }

    /// The recipients, as text.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.recipients.iter().map(ToString::to_string).collect()
    }

    /// A mark of who can read what is written, as manifests record it: `none`, or a digest of the recipients in order.
    pub(crate) fn readers(&self) -> String {
        if !self.is_on() {
            return "none".to_owned();
        }
        let mut recipients = self.recipients();
        recipients.sort();
        recipients.dedup();
        format!("sha256:{}", hex::encode(Sha256::digest(recipients.join("\n"))))
    }

    pub(crate) fn encryptor(&self) -> Result<AgeEncoder> {
        let shared = SharedBuffer::default();
        let broken = |e: io::Error| Error::new(ErrorKind::Unexpected, "age encryption cannot begin").with_source(e);
        let recipients = self.recipients.iter().map(|r| r as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients)
            .map_err(|e| Error::new(ErrorKind::Config, "age refuses these recipients").with_source(e))?;
        let writer = encryptor.wrap_output(shared.clone()).map_err(broken)?;
        Ok(AgeEncoder { writer, shared })
    }

    /// Reads every configured identity.
    ///
    /// # Errors
    /// `Denied` when there is none; `NotFound` or `Config` naming the file that cannot be read or holds no key.
    pub fn identities(&self) -> Result<Vec<age::x25519::Identity>> {
        let mut keys = Vec::new();
        for source in &self.identities {
            let (text, origin) = match source {
                IdentitySource::Inline(secret) => (secret.clone(), "the given identity".to_owned()),
                IdentitySource::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|e| {
                        let kind = match e.kind() {
                            io::ErrorKind::NotFound => ErrorKind::NotFound,
                            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                            _ => ErrorKind::Config,
                        };
                        Error::new(kind, format!("age identity file {} cannot be read", path.display()))
                            .with_source(e)
                            .with_help("point encryption.identity_file at the key file that age-keygen wrote")
                    })?;
                    (SecretString::from(text), path.display().to_string())
                }
            };
            let before = keys.len();
            for line in text.expose_secret().lines().map(str::trim) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                // The line is a secret: the error must not repeat it.
                let key = age::x25519::Identity::from_str(line).map_err(|_| {
                    Error::new(ErrorKind::Config, format!("{origin} holds a line that is not an age identity"))
                        .with_help("an identity begins with AGE-SECRET-KEY-1")
                })?;
                keys.push(key);
            }
            if keys.len() == before {
                return Err(Error::new(ErrorKind::Config, format!("{origin} holds no age identity")));
            }
        }
        if keys.is_empty() {
            return Err(Error::new(ErrorKind::Denied, "the backup is encrypted and no age identity is configured")
                .with_help("set encryption.identity_file on the store"));
        }
        Ok(keys)
    }
}

#[derive(Clone, Default)]
struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Push-style age encryption: bytes in, whatever is ready out.
pub(crate) struct AgeEncoder {
    writer: age::stream::StreamWriter<SharedBuffer>,
    shared: SharedBuffer,
}

impl AgeEncoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.writer.write_all(bytes)?;
        Ok(self.shared.take())
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.writer.finish()?;
        Ok(self.shared.take())
    }
}

impl SharedBuffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_line_is_refused_without_being_shown() {
        let e = Encryption::default()
            .with_identity(SecretString::from("AGE-SECRET-KEY-1CANARY".to_owned()))
            .identities()
            .map(|_| ())
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(!e.chain().contains("CANARY"), "{}", e.chain());
    }

    #[test]
    fn a_bad_recipient_is_named() {
        let e = Encryption::to_recipients(&["age1nope"]).unwrap_err();
        assert!(e.to_string().contains("age1nope"));
    }
}
