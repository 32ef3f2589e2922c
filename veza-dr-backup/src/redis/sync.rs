//! Receives an RDB the way a replica does: `REPLCONF`, `PSYNC`, then the bytes.
//!
//! With `rdb-only` the server keeps no output for us meanwhile, so that no buffer limit can end the transfer, and
//! counts us as no replica (<https://github.com/redis/redis/pull/8303>).

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use veza_dr_core::{Cx, Error, Result};

use super::{
    Endpoint, RedisConfig,
    errors::{is_unknown_command, server_error},
    wire::Wire,
};

const MARK: usize = 40;
const WHAT: &str = "receive the data";

/// How the end of the data is told.
enum Framing {
    /// So many more bytes.
    Length(u64),
    /// At these bytes.
    Mark(Box<Finder<'static>>),
    /// It came.
    Ended,
}

/// A transfer that has begun.
pub(super) struct Sync {
    wire: Wire,
    framing: Framing,
    /// Bytes that may begin the mark.
    held: BytesMut,
    received: u64,
    /// The lineage of the data.
    pub(super) replid: String,
    /// Where in it the data stands.
    pub(super) offset: u64,
    /// Its length, where that is known before.
    pub(super) length: Option<u64>,
    /// Whether the server agreed to keep no output for us.
    pub(super) rdb_only: bool,
}

/// What became of the wish to replicate.
pub(super) enum Asked {
    Begun(Box<Sync>),
    /// The user, or the service, may not.
    Forbidden(Error),
}

impl Sync {
    /// Asks for a full copy, by way of the server's disk unless `diskless`.
    pub(super) async fn ask(cx: &Cx, to: &Endpoint, config: &RedisConfig, diskless: bool) -> Result<Asked> {
        let mut wire = Wire::connect(cx, to, config.idle()).await?;
        cx.run("ask for the data", Self::negotiate(&mut wire, diskless)).await.map(|asked| match asked {
            Ok(begun) => {
                let (replid, offset, rdb_only, framing) = begun;
                let length = if let Framing::Length(n) = &framing { Some(*n) } else { None };
                let held = BytesMut::new();
                Asked::Begun(Box::new(Self { wire, framing, held, received: 0, replid, offset, length, rdb_only }))
            }
            Err(refused) => Asked::Forbidden(refused),
        })
    }

    async fn negotiate(wire: &mut Wire, diskless: bool) -> Result<Result<(String, u64, bool, Framing), Error>> {
        const ASK: &str = "replicate";
        // Each answer is awaited: PSYNC is refused while others are under way.
        let capabilities: &[&[u8]] = if diskless {
            &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]
        } else {
            &[b"REPLCONF", b"capa", b"psync2"]
        };
        if let Err(reply) = wire.ask(capabilities).await? {
            return refusal(&reply);
        }
        let rdb_only = match wire.ask(&[b"REPLCONF", b"rdb-only", b"1"]).await? {
            Ok(_) => true,
            Err(reply) if reply.starts_with("NOPERM") => return refusal(&reply),
            Err(reply) => {
                tracing::warn!(%reply, "the server is older than 6.2: its client-output-buffer-limit for replicas applies");
                false
            }
        };
        // Valkey writes for a replica as old as 8.0 unless it says its version, and gives up at the first hash whose fields
        // expire. Whoever does not know the word, as Redis, says so, and that is all.
        match wire.ask(&[b"REPLCONF", b"version", b"255.255.255"]).await? {
            Err(reply) if reply.starts_with("NOPERM") => return refusal(&reply),
            Ok(_) | Err(_) => {}
        }
        let reply = match wire.ask(&[b"PSYNC", b"?", b"-1"]).await? {
            Ok(reply) => reply,
            Err(reply) => return refusal(&reply),
        };
        let mut words = reply.split(' ');
        let (Some("FULLRESYNC"), Some(replid), Some(offset)) = (words.next(), words.next(), words.next()) else {
            return Err(wire.garbled(ASK, &reply));
        };
        let offset = offset.parse().map_err(|_| wire.garbled(ASK, &reply))?;
        let head = wire.line("wait for the server's snapshot").await?;
        let framing = match head.strip_prefix('$') {
            Some(mark) if mark.starts_with("EOF:") && mark.len() == 4 + MARK => {
                Framing::Mark(Box::new(Finder::new(&mark.as_bytes()[4..]).into_owned()))
            }
            Some(length) => Framing::Length(length.parse().map_err(|_| wire.garbled(ASK, &head))?),
            None => match head.strip_prefix('-') {
                Some(reply) => return Err(server_error("take a snapshot", reply)),
                None => return Err(wire.garbled(ASK, &head)),
            },
        };
        Ok(Ok((replid.to_owned(), offset, rdb_only, framing)))
    }

    /// The next bytes of the RDB; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let piece = match &mut self.framing {
                Framing::Ended => return Ok(None),
                Framing::Length(0) => {
                    self.framing = Framing::Ended;
                    return Ok(None);
                }
                Framing::Length(left) => {
                    let piece = self.wire.piece(WHAT, *left).await?;
                    *left -= piece.len() as u64;
                    if piece.is_empty() {
                        return Err(self.cut_off());
                    }
                    piece
                }
                Framing::Mark(mark) => {
                    let fresh = self.wire.piece(WHAT, u64::MAX).await?;
                    if fresh.is_empty() {
                        return Err(self.cut_off());
                    }
                    self.held.extend_from_slice(&fresh);
                    match mark.find(&self.held) {
                        // What follows the mark is a line feed of some versions, or nothing.
                        Some(at) => {
                            self.framing = Framing::Ended;
                            self.held.split_to(at).freeze()
                        }
                        // The last bytes may be the mark's first.
                        None => self.held.split_to(self.held.len().saturating_sub(MARK - 1)).freeze(),
                    }
                }
            };
            if !piece.is_empty() {
                self.received += piece.len() as u64;
                return Ok(Some(piece));
            }
        }
    }

    fn cut_off(&self) -> Error {
        let of = self.length.map(|n| format!(" of {n}")).unwrap_or_default();
        self.wire.ended(WHAT, &format!("after {}{of} bytes", self.received))
    }
}

/// Who may not replicate may perhaps read keys; who must wait, must wait.
fn refusal<T>(reply: &str) -> Result<Result<T, Error>> {
    let error = server_error("replicate", reply);
    if reply.starts_with("NOPERM") || is_unknown_command(reply) {
        return Ok(Err(error.with_help("allow the user +psync and +replconf, or set mode: scan")));
    }
    Err(error)
}
