//! Paths as they stand in archives and in the index: relative to `/`, as bytes, escaped the way GNU tar reads lists.

use std::{
    borrow::Cow,
    cmp::Ordering,
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

/// The path of a file inside an archive: absolute, without its leading `/`; `.` for the root itself. `None` when
/// `path` is relative or climbs.
#[must_use]
pub fn member_path(path: &Path) -> Option<Vec<u8>> {
    let mut member = Vec::new();
    let mut absolute = false;
    for part in path.components() {
        match part {
            Component::RootDir => absolute = true,
            Component::CurDir => {}
            Component::Normal(name) => {
                if !member.is_empty() {
                    member.push(b'/');
                }
                member.extend_from_slice(name.as_bytes());
            }
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    if member.is_empty() {
        member.push(b'.');
    }
    absolute.then_some(member)
}

/// The order of the walk and of the index: a folder, then what is in it by the bytes of its names.
#[must_use]
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // `.` is the root of all.
    match (a == b".", b == b".") {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        _ => {}
    }
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    match (a.get(same), b.get(same)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        // The separator sorts before every byte of a name.
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

/// `bytes` with everything that is not a printable character of UTF-8, and the backslash, as `\ooo`: what
/// `tar --files-from` turns back.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|b| (0x20..0x7f).contains(b) && *b != b'\\') {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8).bytes().for_each(|b| octal(b, out));
            } else {
                let mut utf8 = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
        chunk.invalid().iter().for_each(|b| octal(*b, out));
    }
}

pub(crate) fn octal(b: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'0' + (b >> 6), b'0' + (b >> 3 & 7), b'0' + (b & 7)]);
}

/// Turns [`escape`] back; `None` for what it never writes.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if *first != b'\\' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = tail else { return None };
        out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
        rest = tail;
    }
    Some(Cow::Owned(out))
}

/// Whether a member path stays below the folder it is put in: relative, without empty, `.` or `..` parts.
#[must_use]
pub fn stays_below(path: &[u8]) -> bool {
    path == b"."
        || !path.is_empty()
            && !path.contains(&0)
            && path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaping_comes_back_and_fits_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut text = Vec::new();
            escape(&bytes, &mut text);
            prop_assert!(std::str::from_utf8(&text).is_ok());
            prop_assert!(!text.iter().any(|b| matches!(b, b'\t' | b'\n' | 0)));
            prop_assert_eq!(unescape(&text).unwrap().into_owned(), bytes);
        }

        #[test]
        fn the_order_is_that_of_the_parts(a in "[a/.-]{1,6}", b in "[a/.-]{1,6}") {
            let fine = |p: &str| p.split('/').all(|x| !x.is_empty() && x != ".");
            prop_assume!(fine(&a) && fine(&b));
            let parts = |p: &str| p.split('/').map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(path_order(a.as_bytes(), b.as_bytes()), parts(&a).cmp(&parts(&b)));
        }
    }

    #[test]
    fn climbing_and_absolute_members_are_told() {
        for bad in ["", "/etc", "a//b", "a/../b", "..", "./a", "a/.", "a\0b"] {
            assert!(!stays_below(bad.as_bytes()), "{bad:?}");
        }
        assert!(stays_below(b"etc/..a/b.") && stays_below(b"."));
        assert_eq!(member_path(Path::new("/etc/./veza/")).unwrap(), b"etc/veza");
        assert_eq!(member_path(Path::new("/")).unwrap(), b".");
        assert!(member_path(Path::new("etc")).is_none() && member_path(Path::new("/a/../b")).is_none());
    }
}
