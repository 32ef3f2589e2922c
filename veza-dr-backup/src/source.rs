//! Reads a stored object back to plain bytes: fetched, hashed, decrypted, decompressed, hashed again.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use veza_dr_core::{
    ArtifactSource, BackupId, BackupStore, ComponentName, Cx, Error, ErrorKind, Manifest, ObjectKey, ObjectReader,
    Result,
    manifest::{Codec, ObjectRecord},
};

use crate::{encryption::Encryption, repository::backup_key};

const PIECE: usize = 256 * 1024;
/// Pieces in flight on each side of the decoder: bounds memory to about 2 MiB an object.
const QUEUE: usize = 4;

/// The objects of one backup in one store.
#[derive(Debug, Clone)]
pub struct StoredBackup {
    store: Arc<dyn BackupStore>,
    component: ComponentName,
    id: BackupId,
    encryption: Encryption,
}

impl StoredBackup {
    pub(crate) fn new(store: Arc<dyn BackupStore>, manifest: &Manifest, encryption: Encryption) -> Self {
        Self { store, component: manifest.component.clone(), id: manifest.id.clone(), encryption }
    }
}

#[async_trait]
impl ArtifactSource for StoredBackup {
    async fn open(&self, cx: &Cx, object: &ObjectRecord) -> Result<Box<dyn ObjectReader>> {
        let owner = object.stored_in.as_ref().unwrap_or(&self.id);
        let key = backup_key(&self.component, owner)?.join(&object.name)?;
        let identities = if object.codec.contains(&Codec::Age) { self.encryption.identities()? } else { Vec::new() };
        let reader = self.store.get(cx, &key, 0).await.map_err(|e| missing(e, &key, self.store.as_ref()))?;
        let (stored_in, stored_out) = mpsc::channel(QUEUE);
        let (plain_in, plain_out) = mpsc::channel(QUEUE);
        let link = Arc::new(Link { pieces: Mutex::new(stored_out), failed: Mutex::default() });
        tokio::spawn(fetch(cx.clone(), reader, object.clone(), key.clone(), stored_in));
        let record = object.clone();
        tokio::task::spawn_blocking(move || decode(&link, &identities, &record, &key, &plain_in));
        Ok(Box::new(PlainReader { cx: cx.clone(), pieces: plain_out, name: object.name.clone(), done: false }))
    }
}

fn missing(e: Error, key: &ObjectKey, store: &dyn BackupStore) -> Error {
    if e.kind() != ErrorKind::NotFound {
        return e;
    }
    let text = format!("object {key} is named by the manifest but missing in store {}", store.info().name);
    Error::new(ErrorKind::Corrupt, text).with_source(e).with_help("restore from another backup or store: veza-dr list")
}

/// Moves stored bytes to the decoder while checking their size and SHA-256.
async fn fetch(
    cx: Cx,
    mut reader: Box<dyn ObjectReader>,
    record: ObjectRecord,
    key: ObjectKey,
    out: mpsc::Sender<Piece>,
) {
    let mut hash = Sha256::new();
    let mut bytes = 0u64;
    loop {
        match cx.run("read object", reader.next()).await {
            Ok(Some(piece)) => {
                hash.update(&piece);
                bytes += piece.len() as u64;
                if out.send(Ok(Some(piece))).await.is_err() {
                    return;
                }
            }
            Ok(None) => break,
            Err(e) => {
                let _ = out.send(Err(e)).await;
                return;
            }
        }
    }
    let stored = hex::encode(hash.finalize());
    let verdict = if bytes == record.stored_bytes && stored == record.stored_sha256 {
        Ok(None)
    } else {
        let text = format!(
            "object {key} is damaged: {bytes} bytes with SHA-256 {}…, the manifest says {} bytes with {}…",
            &stored[..12],
            record.stored_bytes,
            record.stored_sha256.get(..12).unwrap_or_default()
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    };
    let _ = out.send(verdict).await;
}

/// What passes between the two sides: pieces, then `None` once the digest was found right. A channel that closes
/// without that word means that the other side died, and is an error.
type Piece = Result<Option<Bytes>>;

/// The decoder's end of the stored bytes, with the typed error that `io::Error` cannot carry.
struct Link {
    pieces: Mutex<mpsc::Receiver<Piece>>,
    failed: Mutex<Option<Error>>,
}

impl Link {
    fn next(&self) -> io::Result<Option<Bytes>> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match pieces.blocking_recv() {
            Some(Ok(piece)) => return Ok(piece),
            Some(Err(e)) => e,
            None => Error::new(ErrorKind::Unavailable, "reading the stored object ended before its end"),
        };
        let text = error.to_string();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Err(io::Error::other(text))
    }
}

struct LinkReader {
    link: Arc<Link>,
    current: Bytes,
    ended: Arc<AtomicBool>,
}

impl Read for LinkReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(0);
            }
            match self.link.next()? {
                Some(piece) => self.current = piece,
                None => self.ended.store(true, Ordering::Relaxed),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current[..n]);
        self.current.advance(n);
        Ok(n)
    }
}

fn decode(
    link: &Arc<Link>,
    identities: &[age::x25519::Identity],
    record: &ObjectRecord,
    key: &ObjectKey,
    out: &mpsc::Sender<Piece>,
) {
    let end = match pump(link, identities, record, key, out) {
        Ok(()) => Ok(None),
        // What the store or the checksum said is more precise than the decoder's complaint about it.
        Err(e) => Err(link.failed.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(e)),
    };
    let _ = out.blocking_send(end);
}

fn pump(
    link: &Arc<Link>,
    identities: &[age::x25519::Identity],
    record: &ObjectRecord,
    key: &ObjectKey,
    out: &mpsc::Sender<Piece>,
) -> Result<()> {
    let corrupt =
        |e: io::Error| Error::new(ErrorKind::Corrupt, format!("object {key} cannot be decoded")).with_source(e);
    let ended = Arc::new(AtomicBool::new(false));
    let source = LinkReader { link: link.clone(), current: Bytes::new(), ended: ended.clone() };
    let mut reader: Box<dyn Read> = Box::new(source);
    for codec in record.codec.iter().rev() {
        reader = match codec {
            Codec::Age => Box::new(decrypt(reader, identities, key)?),
            Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(corrupt)?),
            Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Codec::None => reader,
        };
    }
    let mut hash = Sha256::new();
    let mut bytes = 0u64;
    loop {
        let mut piece = vec![0u8; PIECE];
        let mut filled = 0;
        while filled < PIECE {
            match reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(corrupt(e)),
            }
        }
        if filled == 0 {
            break;
        }
        piece.truncate(filled);
        hash.update(&piece);
        bytes += filled as u64;
        if out.blocking_send(Ok(Some(Bytes::from(piece)))).is_err() {
            return Ok(());
        }
    }
    // A decoder may be content before the last stored byte; the stored digest's verdict is awaited all the same.
    while !ended.load(Ordering::Relaxed) {
        if link.next().map_err(corrupt)?.is_none() {
            break;
        }
    }
    if bytes != record.bytes || hex::encode(hash.finalize()) != record.sha256 {
        let text =
            format!("object {key} decodes to something else than was backed up ({bytes} bytes of {})", record.bytes);
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(())
}

fn decrypt(
    reader: Box<dyn Read>,
    identities: &[age::x25519::Identity],
    key: &ObjectKey,
) -> Result<age::stream::StreamReader<Box<dyn Read>>> {
    let fail = |e: age::DecryptError| match e {
        age::DecryptError::NoMatchingKeys => {
            Error::new(ErrorKind::Denied, format!("none of the configured age identities opens {key}"))
                .with_help("use the identity whose recipient is listed by: veza-dr show latest")
        }
        other => Error::new(ErrorKind::Corrupt, format!("object {key} is not a readable age file")).with_source(other),
    };
    age::Decryptor::new(reader)
        .and_then(|d| d.decrypt(identities.iter().map(|i| i as &dyn age::Identity)))
        .map_err(fail)
}

struct PlainReader {
    cx: Cx,
    pieces: mpsc::Receiver<Piece>,
    name: String,
    done: bool,
}

#[async_trait]
impl ObjectReader for PlainReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.done {
            return Ok(None);
        }
        let pieces = &mut self.pieces;
        let died = || Error::new(ErrorKind::Unexpected, format!("the decoder of {} died", self.name));
        let piece = self.cx.run(&self.name, async { pieces.recv().await.unwrap_or_else(|| Err(died())) }).await?;
        self.done = piece.is_none();
        Ok(piece)
    }
}

/// Reads a small object to its end.
///
/// # Errors
/// Those of the reader; `Corrupt` when it is longer than `limit` bytes.
pub(crate) async fn read_all(reader: &mut dyn ObjectReader, limit: usize, what: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        if all.len() + piece.len() > limit {
            return Err(Error::new(ErrorKind::Corrupt, format!("{what} is larger than {limit} bytes")));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
