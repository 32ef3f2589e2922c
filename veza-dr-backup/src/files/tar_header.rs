//! Headers of tar members: POSIX ustar with a pax header in front, as every tar of today reads.

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};

/// The pax key of the sparse format's major version.
pub const SPARSE_MAJOR: &str = "GNU.sparse.major";
/// The pax key of a sparse member's path.
pub const SPARSE_NAME: &str = "GNU.sparse.name";
/// The pax key of a sparse member's size with its holes.
pub const SPARSE_SIZE: &str = "GNU.sparse.realsize";
/// What the pax keys of extended attributes begin with.
pub const XATTR: &str = "SCHILY.xattr.";

pub(crate) const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// How many zeros fill the last block of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    ((BLOCK - size % BLOCK) % BLOCK) as usize
}

/// The data pieces of a file with holes, as the first blocks of its member.
pub(crate) fn sparse_map(pieces: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", pieces.len()).into_bytes();
    for (at, len) in pieces {
        map.extend_from_slice(format!("{at}\n{len}\n").as_bytes());
    }
    map.resize(map.len() + padding(map.len() as u64), 0);
    map
}

/// Appends the header of `entry`, whose member has `stored` bytes; `sparse` when they begin with a map of its pieces.
pub(crate) fn write(entry: &Entry, stored: u64, sparse: bool, out: &mut Vec<u8>) {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Dir {
        path.push(b'/');
    }
    let mut pax = Vec::new();
    let mut name = path.as_slice();
    let stand_in;
    if sparse {
        record(&mut pax, SPARSE_MAJOR.as_bytes(), b"1");
        record(&mut pax, b"GNU.sparse.minor", b"0");
        record(&mut pax, SPARSE_NAME.as_bytes(), &path);
        record(&mut pax, SPARSE_SIZE.as_bytes(), entry.size.to_string().as_bytes());
        // A tar that does not know the format shall not take the map for the file.
        stand_in = [b"GNUSparseFile.0/", path.rsplit(|b| *b == b'/').next().unwrap_or_default()].concat();
        name = &stand_in;
    } else if path.len() > 100 {
        record(&mut pax, b"path", &path);
    }
    if entry.link.len() > 100 {
        record(&mut pax, b"linkpath", &entry.link);
    }
    let t = entry.mtime;
    if t.nsec != 0 || t.sec < 0 || t.sec >= 1 << 33 {
        record(&mut pax, b"mtime", seconds(t.sec, t.nsec).as_bytes());
    }
    for (id, key) in [(entry.uid, &b"uid"[..]), (entry.gid, b"gid")] {
        if id > 0o7_777_777 {
            record(&mut pax, key, id.to_string().as_bytes());
        }
    }
    if stored >= 1 << 33 {
        record(&mut pax, b"size", stored.to_string().as_bytes());
    }
    for (key, value) in &entry.xattrs {
        let mut full = XATTR.as_bytes().to_vec();
        for b in key {
            match b {
                b'%' => full.extend_from_slice(b"%25"),
                b'=' => full.extend_from_slice(b"%3D"),
                b => full.push(*b),
            }
        }
        record(&mut pax, &full, value);
    }
    if !pax.is_empty() {
        let mut header = header(b"pax", EntryType::XHeader, pax.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        let fill = padding(pax.len() as u64);
        out.append(&mut pax);
        out.resize(out.len() + fill, 0);
    }
    let kind = match entry.kind {
        Kind::Dir => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::Hardlink => EntryType::Link,
        Kind::Fifo => EntryType::Fifo,
        Kind::CharDevice => EntryType::Char,
        Kind::BlockDevice => EntryType::Block,
        Kind::File | Kind::Socket => EntryType::Regular,
    };
    let mut header = header(name, kind, stored);
    header.set_mode(entry.mode);
    header.set_uid(u64::from(if entry.uid > 0o7_777_777 { 0 } else { entry.uid }));
    header.set_gid(u64::from(if entry.gid > 0o7_777_777 { 0 } else { entry.gid }));
    header.set_mtime(u64::try_from(t.sec).unwrap_or(0).min((1 << 33) - 1));
    if let Some(ustar) = header.as_ustar_mut() {
        let n = entry.link.len().min(100);
        ustar.linkname[..n].copy_from_slice(&entry.link[..n]);
        ustar.set_device_major(entry.device.0);
        ustar.set_device_minor(entry.device.1);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size.min((1 << 33) - 1));
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if let Some(ustar) = header.as_ustar_mut() {
        let n = name.len().min(100);
        ustar.name[..n].copy_from_slice(&name[..n]);
    }
    header
}

/// `length key=value\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut total = rest + 1;
    while total != rest + total.to_string().len() {
        total = rest + total.to_string().len();
    }
    out.extend_from_slice(total.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A time as a decimal number: half a second before 1970 is -0.5.
fn seconds(sec: i64, nsec: u32) -> String {
    if sec >= 0 || nsec == 0 {
        return format!("{sec}.{nsec:09}");
    }
    format!("-{}.{:09}", (sec + 1).unsigned_abs(), 1_000_000_000 - nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        for len in [1, 80, 92, 93, 94, 95, 989, 990, 991, 9990] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; len]);
            let text = String::from_utf8(out.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), out.len());
        }
        assert_eq!(seconds(-1, 500_000_000), "-0.500000000");
        assert_eq!(seconds(-2, 250_000_000), "-1.750000000");
        assert_eq!(seconds(-3, 0), "-3.000000000");
    }
}
