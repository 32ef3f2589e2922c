//! From wherever the bytes of an RDB come to the store, proven on the way.

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use veza_dr_core::{ArtifactSink, Cx, Error, ErrorKind, ObjectHandle, Progress, Result, manifest::ObjectRecord};

use super::{
    RedisConfig,
    rdb::{Scanner, Summary},
    spool::{self, SpoolReader},
    sync::Sync,
};

/// The progress phase.
pub(super) const PHASE: &str = "read redis";

const PIECE: usize = 256 * 1024;

/// Where the bytes come from.
pub(super) enum Source {
    /// The server, at our speed: its data lies on its disk.
    Server(Box<Sync>),
    /// A local file that is being filled at the server's speed.
    Spool(SpoolReader, Filler),
    /// Something that makes them.
    Made(mpsc::Receiver<Bytes>, Filler),
}

/// Work that goes on beside; ends with its value.
pub(super) struct Filler(Option<AbortOnDropHandle<Result<()>>>);

impl Filler {
    pub(super) fn start(work: impl Future<Output = Result<()>> + Send + 'static) -> Self {
        Self(Some(AbortOnDropHandle::new(tokio::spawn(work))))
    }

    /// How it ended.
    async fn outcome(&mut self) -> Result<()> {
        match self.0.take() {
            Some(task) => {
                task.await.map_err(|e| Error::new(ErrorKind::Unexpected, "receiving the data died").with_source(e))?
            }
            None => Ok(()),
        }
    }
}

impl Source {
    /// Begins to receive into a local file.
    pub(super) fn spooled(mut sync: Sync, config: &RedisConfig, expected: u64) -> Result<Self> {
        let (mut writer, reader) = spool::spool(&config.spool(), expected)?;
        let filler = Filler::start(async move {
            while let Some(piece) = sync.next().await? {
                writer.write(piece).await?;
            }
            writer.finish();
            Ok(())
        });
        Ok(Self::Spool(reader, filler))
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Server(sync) => sync.next().await,
            Self::Spool(reader, filler) => match reader.next().await {
                Ok(Some(piece)) => Ok(Some(piece)),
                Ok(None) => filler.outcome().await.map(|()| None),
                // Why the other end stopped is the better word.
                Err(e) => filler.outcome().await.and(Err(e)),
            },
            Self::Made(pieces, filler) => match pieces.recv().await {
                Some(piece) => Ok(Some(piece)),
                None => filler.outcome().await.map(|()| None),
            },
        }
    }
}

async fn pass(scanner: &mut Scanner, object: &mut dyn ObjectHandle, piece: Bytes) -> Result<()> {
    scanner.push(piece.clone()).await?;
    object.write(piece).await
}

/// Stores all of it as the object `name` and tells what was in it. Unless every byte was proven, there is no object.
pub(super) async fn store(
    cx: &Cx,
    mut from: Source,
    name: &str,
    size: Option<u64>,
    limit: Duration,
    sink: &dyn ArtifactSink,
) -> Result<(Summary, ObjectRecord)> {
    let mut object = sink.create(cx, name, None, size).await?;
    let work = async {
        let mut scanner = Scanner::start();
        // In pieces of one size, however the network cut them: the store sees the same calls for the same data.
        let mut gathered = BytesMut::new();
        loop {
            let piece = match from.next().await? {
                Some(bytes) => {
                    cx.report(Progress::Advance { phase: PHASE, by: bytes.len() as u64 });
                    gathered.extend_from_slice(&bytes);
                    while gathered.len() >= PIECE {
                        pass(&mut scanner, object.as_mut(), gathered.split_to(PIECE).freeze()).await?;
                    }
                    continue;
                }
                None => gathered.split().freeze(),
            };
            if !piece.is_empty() {
                pass(&mut scanner, object.as_mut(), piece).await?;
            }
            return scanner.finish().await;
        }
    };
    let work = async {
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, format!("reading the data took longer than {limit:?}"))
                .with_help("raise total_timeout"))
        })
    };
    match cx.run("read the data", work).await {
        Ok(summary) => Ok((summary, object.finish().await?)),
        Err(e) => {
            object.abort().await;
            Err(e)
        }
    }
}
