//! From a stored file of log to the plain one.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use veza_dr_core::{Error, ErrorKind, Result};

/// Decodes `stored`, whose name ends in the codecs' suffixes, into `plain`, which is made durable. Returns the plain
/// bytes.
pub(super) fn decode(stored: &Path, key: &str, identities: &[age::x25519::Identity], plain: &Path) -> Result<u64> {
    let corrupt = |e: io::Error| {
        Error::new(ErrorKind::Corrupt, format!("{key} cannot be decoded"))
            .with_source(e)
            .with_help("another store may hold it whole")
    };
    let mut reader: Box<dyn Read> = Box::new(BufReader::new(File::open(stored).map_err(|e| local(stored, e))?));
    let mut rest = key;
    if let Some(inner) = rest.strip_suffix(".age") {
        rest = inner;
        let opened = age::Decryptor::new(reader)
            .and_then(|d| d.decrypt(identities.iter().map(|i| i as &dyn age::Identity)))
            .map_err(|e| match e {
                age::DecryptError::NoMatchingKeys => {
                    Error::new(ErrorKind::Denied, format!("none of the configured age identities opens {key}"))
                }
                other => Error::new(ErrorKind::Corrupt, format!("{key} is not a readable age file")).with_source(other),
            })?;
        reader = Box::new(opened);
    }
    if rest.ends_with(".zst") {
        reader = Box::new(zstd::stream::read::Decoder::new(reader).map_err(corrupt)?);
    } else if rest.ends_with(".gz") {
        reader = Box::new(flate2::read::MultiGzDecoder::new(reader));
    }
    let mut out = File::create(plain).map_err(|e| local(plain, e))?;
    let mut piece = vec![0; 256 * 1024];
    let mut bytes = 0u64;
    loop {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                out.write_all(&piece[..n]).map_err(|e| local(plain, e))?;
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(corrupt(e)),
        }
    }
    out.sync_all().map_err(|e| local(plain, e))?;
    Ok(bytes)
}

/// A failure of this machine's own disk.
pub(super) fn local(path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::NotFound => ErrorKind::Config,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, path.display().to_string()).with_source(e)
}
