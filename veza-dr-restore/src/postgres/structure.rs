//! The `structure` level: archives open, every chunk decodes, and its rows are those the manifest promises.

use std::{sync::Arc, time::Instant};

use futures::StreamExt;
use veza_dr_backup::{
    Repository,
    postgres::{ClientTools, CopyFormat, PostgresDetail, RowDigest, TableRecord},
};
use veza_dr_core::{ArtifactSource, Cx, ErrorKind, Manifest, ObjectReader, Progress, Result, Unit, Verification};

use super::archive::Archive;

const PHASE: &str = "verify structure";
const PARALLEL: usize = 2;

/// Reads a whole backup without a server: every object decodes to its digest, the archives list what they should, and
/// the rows of every table add up to the digest taken in the backup's own snapshot.
///
/// # Errors
/// When it could not be done; what is wrong with the backup is a finding.
pub async fn verify_structure(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<Verification> {
    let started = Instant::now();
    let detail = PostgresDetail::of(manifest)?;
    let data: Arc<dyn ArtifactSource> = Arc::new(repository.open(manifest));
    let mut out = Verification::default();
    cx.report(Progress::Begin { phase: PHASE, total: manifest.bytes(), unit: Unit::Bytes });
    let tools = ClientTools::find(cx, None, detail.client_major).await?;
    for name in ["schema.dump", "residual.dump"] {
        match Archive::fetch(cx, &data, manifest, name, &tools).await {
            Ok(archive) if archive.toc.is_empty() && name == "schema.dump" && !detail.tables.is_empty() => {
                out.differs(name, "the archive lists nothing");
            }
            Ok(_) => out.pass(0),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => judge_error(&mut out, name, &e),
        }
    }
    let tables = detail.tables.iter().filter(|t| !t.residual).map(|table| {
        let data = &data;
        async move { (table, digest(cx, data, manifest, table).await) }
    });
    let mut results = futures::stream::iter(tables).buffer_unordered(PARALLEL);
    while let Some((table, result)) = results.next().await {
        match result {
            Ok(found) => super::proof::judge(table, found, &mut out),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => judge_error(&mut out, &table.qualified, &e),
        }
    }
    cx.report(Progress::End { phase: PHASE });
    out.took = started.elapsed();
    Ok(out)
}

fn judge_error(out: &mut Verification, what: &str, error: &veza_dr_core::Error) {
    // A key that is not at hand says nothing about the backup; anything else about its bytes does.
    match error.kind() {
        ErrorKind::Denied | ErrorKind::Unavailable | ErrorKind::Throttled | ErrorKind::NotFound => {
            out.unverified(what, error.chain());
        }
        _ => out.differs(what, error.chain()),
    }
}

async fn digest(
    cx: &Cx,
    data: &Arc<dyn ArtifactSource>,
    manifest: &Manifest,
    table: &TableRecord,
) -> Result<RowDigest> {
    let mut total = RowDigest::default();
    for chunk in &table.chunks {
        let object = manifest.object(&chunk.object).ok_or_else(|| {
            let text = format!("the manifest names {} without its record", chunk.object);
            veza_dr_core::Error::new(ErrorKind::Corrupt, text)
        })?;
        let mut reader = data.open(cx, object).await?;
        let found = match table.format {
            CopyFormat::Text => lines(cx, reader.as_mut()).await?,
            // Binary rows have no separator to count: the object's own digest is what there is.
            CopyFormat::Binary => {
                while reader.next().await?.is_some() {}
                return Ok(expected(table));
            }
        };
        if found.rows != chunk.rows {
            let text = format!("{} holds {} rows, the manifest says {}", chunk.object, found.rows, chunk.rows);
            return Err(veza_dr_core::Error::new(ErrorKind::Corrupt, text));
        }
        total.add(found);
    }
    Ok(total)
}

fn expected(table: &TableRecord) -> RowDigest {
    RowDigest::from_parts(table.rows, &table.digest).unwrap_or_default()
}

/// COPY's text format escapes line feeds: a line is a row.
async fn lines(cx: &Cx, reader: &mut dyn ObjectReader) -> Result<RowDigest> {
    let mut digest = RowDigest::default();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) = reader.next().await? {
        cx.report(Progress::Advance { phase: PHASE, by: piece.len() as u64 });
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', &piece) {
            if rest.is_empty() {
                digest.row(&piece[from..=at]);
            } else {
                rest.extend_from_slice(&piece[from..=at]);
                digest.row(&rest);
                rest.clear();
            }
            from = at + 1;
        }
        rest.extend_from_slice(&piece[from..]);
    }
    if !rest.is_empty() {
        digest.row(&rest);
    }
    Ok(digest)
}
