//! The text form of an index entry: fifteen fields with tabs between them, one line each.
//!
//! The first eleven say what is restored and are what content digests are taken over; the last four say where the
//! content is stored and what the source looked like.

use std::borrow::Cow;

use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    entry::{Entry, Kind, Time},
    path::{escape, octal, stays_below, unescape},
};

const FIELDS: usize = 15;

/// A line that was cut into its fields, not yet into an [`Entry`].
///
/// ```
/// use veza_dr_backup::files::{Entry, IndexLine, Kind};
/// let entry = Entry::new(b"etc/veza".to_vec(), Kind::Dir);
/// let mut text = Vec::new();
/// IndexLine::write(&entry, &mut text);
/// let line = IndexLine::parse(text.trim_ascii_end())?;
/// assert_eq!(line.entry()?, entry);
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct IndexLine<'a> {
    text: &'a [u8],
    fields: [&'a [u8]; FIELDS],
    path: Cow<'a, [u8]>,
}

fn broken(text: &[u8], why: &str) -> Error {
    let shown: String = String::from_utf8_lossy(text).chars().take(120).collect();
    Error::new(ErrorKind::Corrupt, format!("the index has a line that is none ({why}): {shown}"))
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn time(field: &[u8]) -> Option<Time> {
    let dot = field.iter().position(|b| *b == b'.')?;
    let nsec = number(&field[dot + 1..]).filter(|n| *n < 1_000_000_000)?;
    Some(Time { sec: number(&field[..dot])?, nsec })
}

impl<'a> IndexLine<'a> {
    /// Cuts a line, without its line feed.
    ///
    /// # Errors
    /// `Corrupt` when it is not one, or its path would leave the folder it is restored into.
    pub fn parse(text: &'a [u8]) -> Result<Self> {
        let mut fields: [&[u8]; FIELDS] = [b""; FIELDS];
        let mut parts = text.split(|b| *b == b'\t');
        for field in &mut fields {
            *field = parts.next().ok_or_else(|| broken(text, "too few fields"))?;
        }
        if parts.next().is_some() {
            return Err(broken(text, "too many fields"));
        }
        let path = unescape(fields[0]).ok_or_else(|| broken(text, "path"))?;
        if !stays_below(&path) {
            return Err(broken(text, "a path that is absolute or climbs"));
        }
        Ok(Self { text, fields, path })
    }

    /// The whole line.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The entry's path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What the entry is.
    ///
    /// # Errors
    /// `Corrupt` when the line does not say.
    pub fn kind(&self) -> Result<Kind> {
        Kind::of_letter(self.fields[1]).ok_or_else(|| broken(self.text, "kind"))
    }

    /// Bytes of a regular file.
    ///
    /// # Errors
    /// `Corrupt` when the line does not say.
    pub fn size(&self) -> Result<u64> {
        number(self.fields[6]).ok_or_else(|| broken(self.text, "size"))
    }

    /// The segment's short name and the number in it; `None` for all but regular files.
    ///
    /// # Errors
    /// `Corrupt` when one is there without the other.
    pub fn segment(&self) -> Result<Option<(&'a str, u32)>> {
        if self.fields[11] == b"-" {
            return Ok(None);
        }
        let name = std::str::from_utf8(self.fields[11]).map_err(|_| broken(self.text, "segment"))?;
        Ok(Some((name, number(self.fields[12]).ok_or_else(|| broken(self.text, "number in the segment"))?)))
    }

    /// Last change of the content, inode, last change of anything.
    pub(crate) fn marks(&self) -> Result<(Time, u64, Time)> {
        let read = || Some((time(self.fields[5])?, number(self.fields[13])?, time(self.fields[14])?));
        read().ok_or_else(|| broken(self.text, "times"))
    }

    /// The path that a hard link shares its file with, or a symbolic link's target.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be read.
    pub fn link(&self) -> Result<Cow<'a, [u8]>> {
        unescape(self.fields[8]).ok_or_else(|| broken(self.text, "link"))
    }

    /// The part that content digests are taken over.
    #[must_use]
    pub fn content(&self) -> &'a [u8] {
        let tail: usize = self.fields[11..].iter().map(|f| f.len() + 1).sum();
        &self.text[..self.text.len() - tail]
    }

    /// Everything that the line says.
    ///
    /// # Errors
    /// `Corrupt` when a field cannot be read.
    pub fn entry(&self) -> Result<Entry> {
        let f = &self.fields;
        let kind = self.kind()?;
        let read = || {
            let mode = std::str::from_utf8(f[2]).ok().and_then(|m| u32::from_str_radix(m, 8).ok())?;
            let digest = match f[7] {
                b"-" => 0,
                hex => u128::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?,
            };
            let device = match f[9] {
                b"-" => (0, 0),
                numbers => {
                    let comma = numbers.iter().position(|b| *b == b',')?;
                    (number(&numbers[..comma])?, number(&numbers[comma + 1..])?)
                }
            };
            let (mtime, ino, ctime) = self.marks().ok()?;
            Some(Entry {
                path: self.path.to_vec(),
                kind,
                mode: (mode <= 0o7777).then_some(mode)?,
                uid: number(f[3])?,
                gid: number(f[4])?,
                mtime,
                size: number(f[6])?,
                digest,
                link: unescape(f[8])?.into_owned(),
                device,
                xattrs: xattrs(f[10])?,
                segment: self.segment().ok()?.map(|(name, n)| (name.to_owned(), n)),
                identity: (ino, ctime),
            })
        };
        let entry = read().ok_or_else(|| broken(self.text, "a field"))?;
        if kind == Kind::Hardlink && (!stays_below(&entry.link) || entry.link == b".") {
            return Err(broken(self.text, "a hard link to a path that is absolute or climbs"));
        }
        if (kind == Kind::File) != entry.segment.is_some() {
            return Err(broken(self.text, "a segment for something else than a file, or none for one"));
        }
        Ok(entry)
    }

    /// Appends an entry as a line, with its line feed.
    pub fn write(entry: &Entry, out: &mut Vec<u8>) {
        let fixed = |out: &mut Vec<u8>, text: std::fmt::Arguments<'_>| {
            // Writing to a Vec cannot fail.
            let _ = std::io::Write::write_fmt(out, text);
        };
        escape(&entry.path, out);
        out.extend_from_slice(&[b'\t', entry.kind.letter(), b'\t']);
        let t = entry.mtime;
        fixed(out, format_args!("{:o}\t{}\t{}\t{}.{:09}\t", entry.mode, entry.uid, entry.gid, t.sec, t.nsec));
        match entry.kind {
            Kind::File => fixed(out, format_args!("{}\t{:032x}\t", entry.size, entry.digest)),
            _ => out.extend_from_slice(b"0\t-\t"),
        }
        escape(&entry.link, out);
        match entry.kind {
            Kind::CharDevice | Kind::BlockDevice => {
                fixed(out, format_args!("\t{},{}\t", entry.device.0, entry.device.1));
            }
            _ => out.extend_from_slice(b"\t-\t"),
        }
        for (i, (name, value)) in entry.xattrs.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            plain(name, out);
            out.push(b'=');
            plain(value, out);
        }
        let (ino, ctime) = entry.identity;
        match &entry.segment {
            Some((name, n)) => fixed(out, format_args!("\t{name}\t{n}\t")),
            None => out.extend_from_slice(b"\t-\t-\t"),
        }
        fixed(out, format_args!("{ino}\t{}.{:09}\n", ctime.sec, ctime.nsec));
    }
}

/// Names and values of attributes: letters, digits and `._-:/` as they are.
fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    for b in bytes {
        if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'/') {
            out.push(*b);
        } else {
            octal(*b, out);
        }
    }
}

fn xattrs(field: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    if field.is_empty() {
        return Some(Vec::new());
    }
    let one = |pair: &[u8]| {
        let at = pair.iter().position(|b| *b == b'=')?;
        Some((unescape(&pair[..at])?.into_owned(), unescape(&pair[at + 1..])?.into_owned()))
    };
    field.split(|b| *b == b',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(1u8.., 1..12)
    }

    proptest! {
        #[test]
        fn every_entry_comes_back(
            name in bytes(), link in bytes(), xattr in bytes(), value in proptest::collection::vec(any::<u8>(), 0..12),
            sec in any::<i64>(), nsec in 0u32..1_000_000_000, size in any::<u64>(), digest in any::<u128>(),
        ) {
            let name: Vec<u8> = name.into_iter().filter(|b| *b != b'/').collect();
            prop_assume!(stays_below(&name) && name != b".");
            let mut entry = Entry::new(name, Kind::File);
            (entry.mode, entry.uid, entry.gid, entry.size, entry.digest) = (0o4755, 1, u32::MAX, size, digest);
            entry.mtime = Time { sec, nsec };
            entry.link = link;
            entry.xattrs = vec![(xattr, value)];
            entry.segment = Some(("20261123T104500Z-7f3a9c-00001".into(), 7));
            entry.identity = (u64::MAX, Time { sec: -1, nsec });
            let mut text = Vec::new();
            IndexLine::write(&entry, &mut text);
            prop_assert_eq!(text.pop(), Some(b'\n'));
            let line = IndexLine::parse(&text).unwrap();
            prop_assert_eq!(line.content().iter().filter(|b| **b == b'\t').count(), 10);
            prop_assert!(text.starts_with(line.content()));
            prop_assert_eq!(line.entry().unwrap(), entry);
        }

        #[test]
        fn nothing_that_is_read_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = IndexLine::parse(&text).and_then(|l| l.entry());
        }
    }

    #[test]
    fn hostile_lines_are_refused() {
        let line = |path: &str, kind: &str, link: &str| {
            format!("{path}\t{kind}\t644\t0\t0\t0.000000000\t0\t-\t{link}\t-\t\t-\t-\t0\t0.000000000").into_bytes()
        };
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "\\056\\056/x", "x\\000y"] {
            assert!(IndexLine::parse(&line(path, "d", "")).is_err(), "{path}");
        }
        for target in ["/etc/shadow", "../x", "."] {
            assert!(IndexLine::parse(&line("x", "h", target)).unwrap().entry().is_err(), "{target}");
        }
        assert!(IndexLine::parse(&line("x", "f", "")).unwrap().entry().is_err(), "a file without a segment");
        assert!(IndexLine::parse(&line("x", "l", "../../anywhere")).unwrap().entry().is_ok(), "links may say anything");
    }
}
