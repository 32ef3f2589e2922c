//! Makes one RDB of several, or of some databases of one.

use std::{
    fs::File,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use veza_dr_backup::redis::rdb::{Item, RawValue, Reader, Writer, functions_payload};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::proof;

const PIECE: usize = 256 * 1024;
/// Version and checksum at a payload's end.
const FOOT: usize = 10;

/// Copies the keys of `files` to a new file at `to`, without those of the databases in `without`.
pub(crate) async fn merge(cx: &Cx, files: &[PathBuf], without: &[u64], to: &Path) -> Result<()> {
    let (files, without, to, cx) = (files.to_vec(), without.to_vec(), to.to_owned(), cx.clone());
    let work = tokio::task::spawn_blocking(move || copy(&cx, &files, &without, &to));
    work.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the copy could not be written").with_source(e))?
}

fn copy(cx: &Cx, files: &[PathBuf], without: &[u64], to: &Path) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Full, format!("the copy cannot be written to {}", to.display())).with_source(e)
    };
    let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
    let mut out = BufWriter::with_capacity(PIECE, file);
    let mut writer: Option<Writer> = None;
    let mut seen = Vec::new();
    for path in files {
        let mut reader = Reader::new(proof::open(path)?)?;
        let version = u16::try_from(reader.header().version).unwrap_or(u16::MAX);
        let mut selected = None;
        let writer = writer.get_or_insert_with(|| Writer::new(version));
        while let Some(item) = reader.next()? {
            match item {
                // Every master of a cluster has all libraries.
                Item::Function(code) if !seen.contains(&code) => {
                    let payload = functions_payload([code.as_slice()], version);
                    writer.functions(&payload[..payload.len() - FOOT]);
                    seen.push(code);
                }
                Item::Key(key) if !without.contains(&key.db) => {
                    cx.check("copy the data")?;
                    if selected != Some(key.db) {
                        writer.select(key.db);
                        selected = Some(key.db);
                    }
                    let RawValue::Whole(value) = reader.value(u64::MAX - 1)? else { continue };
                    let mut dumped = Vec::with_capacity(value.len() + 1);
                    dumped.push(key.kind.byte());
                    dumped.extend_from_slice(&value);
                    writer.key(&key.name, key.expires_at, &dumped);
                }
                Item::Module(name) => {
                    let text = format!("the data of module {name} cannot be copied out of an RDB");
                    return Err(Error::new(ErrorKind::Unsupported, text));
                }
                _ => {}
            }
            if writer.ready() > PIECE {
                out.write_all(&writer.take()).map_err(failed)?;
            }
        }
    }
    if let Some(mut writer) = writer {
        writer.end();
        out.write_all(&writer.take()).map_err(failed)?;
    }
    out.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)
}
