//! The `objects` level: every stored object is there, whole, undamaged and, with the key at hand, readable.

use std::time::Instant;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use sha2::{Digest, Sha256};
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, Progress, Result, Unit, Verification,
    manifest::{Codec, ObjectRecord},
};

use crate::repository::{Repository, backup_key};

const PARALLEL: usize = 4;

/// Reads every object of a backup and compares size and SHA-256 with the manifest. Where no key is configured for an
/// encrypted object, its stored bytes are compared and the plain ones are not.
///
/// # Errors
/// Only when the comparison could not be made at all; a damaged object is a finding.
pub async fn verify_objects(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<Verification> {
    let started = Instant::now();
    let source = repository.open(manifest);
    cx.report(Progress::Begin { phase: "verify objects", total: manifest.stored_bytes(), unit: Unit::Bytes });
    // Boxed, so that the whole can be sent to another thread by whoever awaits it behind a trait.
    let mut checks: Vec<BoxFuture<'_, (&ObjectRecord, Result<()>)>> = Vec::with_capacity(manifest.objects.len());
    for object in &manifest.objects {
        let source = &source;
        let check = async move {
            let sealed = object.codec.contains(&Codec::Age) && !repository.encryption().can_read();
            let result = if sealed {
                stored_only(cx, repository, manifest, object).await
            } else {
                drain(cx, source, object).await
            };
            cx.report(Progress::Advance { phase: "verify objects", by: object.stored_bytes });
            (object, result)
        };
        checks.push(check.boxed());
    }
    let mut verification = Verification::default();
    let mut results = futures::stream::iter(checks).buffer_unordered(PARALLEL);
    while let Some((object, result)) = results.next().await {
        match result {
            Ok(()) => verification.pass(0),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) if e.kind() == ErrorKind::Corrupt => verification.differs(&object.name, e.chain()),
            Err(e) => verification.unverified(&object.name, e.chain()),
        }
    }
    cx.report(Progress::End { phase: "verify objects" });
    verification.rows = manifest.rows();
    verification.findings.sort_by(|a, b| a.what.cmp(&b.what));
    verification.took = started.elapsed();
    Ok(verification)
}

async fn drain(cx: &Cx, source: &dyn ArtifactSource, object: &ObjectRecord) -> Result<()> {
    let mut reader = source.open(cx, object).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

async fn stored_only(cx: &Cx, repository: &Repository, manifest: &Manifest, object: &ObjectRecord) -> Result<()> {
    let key = backup_key(&manifest.component, manifest.owner(object))?.join(&object.name)?;
    let mut reader = repository.store().get(cx, &key, 0).await.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Corrupt, format!("object {key} is missing")).with_source(e),
        _ => e,
    })?;
    let mut hash = Sha256::new();
    let mut bytes = 0u64;
    while let Some(piece) = cx.run("read object", reader.next()).await? {
        hash.update(&piece);
        bytes += piece.len() as u64;
    }
    if bytes != object.stored_bytes || hex::encode(hash.finalize()) != object.stored_sha256 {
        return Err(Error::new(ErrorKind::Corrupt, format!("object {key} is not what was stored")));
    }
    Ok(())
}
