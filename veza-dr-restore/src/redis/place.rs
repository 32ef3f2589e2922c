//! Puts an RDB where a stopped server looks for its data, and nothing of what was there away.
//!
//! A server with an append-only file reads nothing else at its start, and writes its own emptiness over everything
//! when that file is missing. So the RDB becomes the base of a new append-only file; the old one's parts stay where
//! they are, under their own names, and only the short list of parts is replaced.

use std::path::Path;

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result};

use super::instance::{Instance, ServerFiles};

/// An RDB without data that every version reads; its checksum is not given.
const EMPTY: &[u8] = b"REDIS0006\xff\0\0\0\0\0\0\0\0";

/// What was put aside, to be put back when the server does not start.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The place, and a local copy of what was there; `None` when there was nothing.
    files: Vec<(String, Option<tempfile::NamedTempFile>)>,
    /// The names under which the old files are beside the new ones.
    pub(crate) kept: Vec<String>,
}

/// Replaces the data of a stopped server. `stamp` makes the names of what is kept.
pub(crate) async fn place(
    cx: &Cx,
    instance: &dyn Instance,
    files: &ServerFiles,
    rdb: &Path,
    scratch: &Path,
    stamp: &str,
) -> Result<Aside> {
    let mut aside = Aside::default();
    let list = files.append(".manifest");
    let single = files.append("");
    let parts = files.appenddirname.is_some();
    let switch = if parts { &list } else { &single };
    let old = fetch(cx, instance, switch, scratch).await?;
    let append = files.appendonly.unwrap_or(old.is_some());
    set_aside(cx, instance, &files.rdb(), scratch, stamp, &mut aside).await?;
    if append {
        set_aside(cx, instance, switch, scratch, stamp, &mut aside).await?;
        if let (true, None, Some((path, _))) = (parts, &old, aside.files.last_mut()) {
            // Where there was no list, the first part of the new one is what is emptied again.
            *path = files.append(".1.base.rdb");
        }
    }
    let done = async {
        instance.place(cx, &files.rdb(), rdb).await?;
        if !append {
            return Ok(());
        }
        if !parts {
            // An RDB is a valid beginning of a single append-only file.
            return instance.place(cx, &single, rdb).await;
        }
        let number = match &old {
            Some(list) => next_number(&read(list.path())?),
            None => 1,
        };
        let name = &files.appendfilename;
        instance.place(cx, &files.append(&format!(".{number}.base.rdb")), rdb).await?;
        instance.place(cx, &files.append(&format!(".{number}.incr.aof")), temporary(scratch, b"")?.path()).await?;
        let text = format!(
            "file {name}.{number}.base.rdb seq {number} type b\nfile {name}.{number}.incr.aof seq {number} type i\n"
        );
        instance.place(cx, &list, temporary(scratch, text.as_bytes())?.path()).await
    };
    match done.await {
        Ok(()) => Ok(aside),
        Err(e) => {
            put_back(&Cx::background(), instance, scratch, &aside).await.map_err(|back| {
                let text = format!("{}; and the old files could not be put back: {}", e.chain(), back.chain());
                Error::new(ErrorKind::Partial, text)
                    .with_effect(Effect::Unknown)
                    .with_help(format!("they are beside the new ones: {}", aside.kept.join(", ")))
            })?;
            Err(e)
        }
    }
}

/// Puts back what the last placement replaced; the server is stopped. Where nothing was, it will find no data: a
/// container's file can be replaced while it is stopped, and not removed.
pub(crate) async fn put_back(cx: &Cx, instance: &dyn Instance, scratch: &Path, aside: &Aside) -> Result<()> {
    let nothing = temporary(scratch, EMPTY)?;
    for (path, copy) in &aside.files {
        instance.place(cx, path, copy.as_ref().unwrap_or(&nothing).path()).await?;
    }
    Ok(())
}

async fn set_aside(
    cx: &Cx,
    instance: &dyn Instance,
    path: &str,
    scratch: &Path,
    stamp: &str,
    aside: &mut Aside,
) -> Result<()> {
    let copy = fetch(cx, instance, path, scratch).await?;
    if let Some(copy) = &copy {
        let name = format!("{path}.veza-dr-old-{stamp}");
        if fetch(cx, instance, &name, scratch).await?.is_some() {
            let text = format!("{name} is there already: it is what another restore replaced");
            return Err(Error::new(ErrorKind::Conflict, text).with_help("restore again"));
        }
        instance.place(cx, &name, copy.path()).await?;
        aside.kept.push(name);
    }
    aside.files.push((path.to_owned(), copy));
    Ok(())
}

async fn fetch(
    cx: &Cx,
    instance: &dyn Instance,
    path: &str,
    scratch: &Path,
) -> Result<Option<tempfile::NamedTempFile>> {
    let file = temporary(scratch, b"")?;
    Ok(instance.fetch(cx, path, file.path()).await?.then_some(file))
}

fn temporary(scratch: &Path, text: &[u8]) -> Result<tempfile::NamedTempFile> {
    let make = || {
        let file = tempfile::Builder::new().prefix("place-").suffix(".partial").tempfile_in(scratch)?;
        std::fs::write(file.path(), text)?;
        Ok(file)
    };
    make().map_err(|e: std::io::Error| {
        Error::new(ErrorKind::Unexpected, format!("cannot write to {}", scratch.display())).with_source(e)
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "the list of the append-only file's parts cannot be read").with_source(e)
    })
}

/// One more than any number that a list of parts uses, so that no part is overwritten.
fn next_number(list: &str) -> u64 {
    let mut words = list.split_whitespace();
    let mut last = 0;
    while let Some(word) = words.next() {
        if word == "seq" {
            last = words.next().and_then(|n| n.parse().ok()).unwrap_or(0).max(last);
        }
    }
    last + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_beyond_those_there() {
        let list = "file a.aof.3.base.rdb seq 3 type b\nfile a.aof.17.incr.aof seq 17 type i\n";
        assert_eq!(next_number(list), 18);
        assert_eq!(next_number(""), 1);
    }
}
