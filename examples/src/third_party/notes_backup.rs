//! A backup of a store of notes: one JSON file of names and texts, which its service replaces by renames.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use veza_dr_core::{
    ArtifactSink, BackupCaps, BackupRequest, BackupTarget, Clock, Cx, Error, ErrorKind, Manifest, Outcome, Report,
    Result, SystemClock, TargetInfo,
    manifest::{ConsistencyPoint, ContentRecord, SourceIdentity},
};

const ENGINE: &str = "notes";
const OBJECT: &str = "notes.json";

/// Backs up a file of notes.
#[derive(Debug, Clone)]
pub struct NotesTarget {
    info: TargetInfo,
    file: PathBuf,
}

impl NotesTarget {
    /// The notes in `file`.
    ///
    /// # Errors
    /// `Config` when `component` is no name of a component.
    pub fn new(component: &str, file: impl Into<PathBuf>) -> Result<Self> {
        let file = file.into();
        let location = file.display().to_string();
        let info = TargetInfo { component: component.parse()?, engine: ENGINE.to_owned(), location };
        Ok(Self { info, file })
    }

    /// The file as it is at one instant: its service replaces it whole.
    async fn read(&self) -> Result<(Vec<u8>, BTreeMap<String, String>)> {
        let text = tokio::fs::read(&self.file).await.map_err(|e| {
            let kind = if e.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Denied };
            Error::new(kind, format!("the notes in {} cannot be read", self.info.location)).with_source(e)
        })?;
        let notes = serde_json::from_slice(&text).map_err(|e| {
            let what = format!("{} holds no notes", self.info.location);
            Error::new(ErrorKind::Corrupt, what).with_source(e)
        })?;
        Ok((text, notes))
    }
}

/// The same for equal notes, however the file is laid out. Lengths first: no two different sets give the same bytes.
fn digest(notes: &BTreeMap<String, String>) -> String {
    let mut sum = Sha256::new();
    for part in notes.iter().flat_map(|(name, text)| [name, text]) {
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    format!("sha256:{}", hex::encode(sum.finalize()))
}

#[async_trait]
impl BackupTarget for NotesTarget {
    fn info(&self) -> &TargetInfo {
        &self.info
    }

    fn capabilities(&self) -> BackupCaps {
        BackupCaps::new(true, true)
    }

    async fn create(&self, cx: &Cx, request: BackupRequest, out: Arc<dyn ArtifactSink>) -> Result<Manifest> {
        let (text, notes) = cx.run("read the notes", self.read()).await?;
        let consistency = ConsistencyPoint { at: SystemClock.now(), lsn: None, snapshot: None };
        // From here on the service may go on: what follows needs only what was read.
        out.source_was_read().await;
        let location = self.info.location.clone();
        let source = SourceIdentity { server_version: "1".to_owned(), location, ..SourceIdentity::default() };
        let mut manifest = Manifest::new(request.id, self.info.component.clone(), ENGINE, source, consistency);
        let mut object = out.create(cx, OBJECT, None, Some(text.len() as u64)).await?;
        let stored = async {
            object.write(text.into()).await?;
            object.finish().await
        };
        manifest.objects.push(cx.run("store the notes", stored).await?);
        let rows = notes.len() as u64;
        manifest.contents.push(ContentRecord { name: "notes".to_owned(), rows, digest: Some(digest(&notes)) });
        manifest.finished_at = SystemClock.now();
        Ok(manifest)
    }

    async fn check(&self, cx: &Cx) -> Result<Report> {
        let since = Instant::now();
        let mut report = Report::default();
        match cx.run("read the notes", self.read()).await {
            Ok((_, notes)) => report.push("read", Outcome::Ok, format!("{} notes", notes.len()), since.elapsed()),
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => report.push_error("read", &e),
        }
        Ok(report)
    }

    fn recipe(&self, manifest: &Manifest) -> String {
        format!("# Recover {}\n\n    zstd -dc data/{OBJECT}.zst > {}\n", manifest.id, self.info.location)
    }
}
