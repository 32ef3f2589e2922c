//! Reads every RDB of a backup to its end and compares what is in them with the manifest, without any server.

use std::time::Instant;

use veza_dr_backup::{
    Repository,
    redis::rdb::{Scanner, Summary},
};
use veza_dr_core::{ArtifactSource, Cx, ErrorKind, Manifest, Result, Verification};

use super::{plan, proof, spool::at_the_end};

/// Proves checksum, form, keys, types and content digests of a backup.
///
/// ```no_run
/// # async fn f(repository: &veza_dr_backup::Repository) -> veza_dr_core::Result<()> {
/// use veza_dr_backup::Selector;
/// use veza_dr_core::{Cx, Verdict};
/// let cx = Cx::background();
/// let manifest = repository.manifest(&cx, &"redis".parse()?, &Selector::Latest).await?;
/// let found = veza_dr_restore::redis::verify_structure(&cx, repository, &manifest).await?;
/// assert_eq!(found.verdict(), Verdict::Equal);
/// # Ok(()) }
/// ```
///
/// # Errors
/// When an object could not be read; one that is damaged is a finding.
pub async fn verify_structure(cx: &Cx, repository: &Repository, manifest: &Manifest) -> Result<Verification> {
    plan::summary_of(manifest)?;
    let since = Instant::now();
    let data = repository.open(manifest);
    let mut whole: Option<Summary> = None;
    let mut verification = Verification::default();
    for object in manifest.objects.iter().filter(|o| o.name.contains(".rdb")) {
        let read = async {
            let mut scanner = Scanner::start();
            let mut reader = data.open(cx, object).await?;
            while let Some(piece) = cx.run("read the backup", reader.next()).await? {
                if let Err(e) = scanner.push(piece).await {
                    return Err(at_the_end(cx, "read the backup", reader.as_mut(), e).await);
                }
            }
            scanner.finish().await
        };
        match read.await {
            Ok(summary) => match &mut whole {
                None => whole = Some(summary),
                Some(whole) => whole.merge(&summary),
            },
            Err(e) if e.kind() == ErrorKind::Corrupt => verification.differs(&object.name, e.chain()),
            Err(e) => return Err(e),
        }
    }
    verification.merge(proof::against_manifest(&whole.unwrap_or_default(), manifest));
    verification.took = since.elapsed();
    Ok(verification)
}
