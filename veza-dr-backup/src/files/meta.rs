//! What the system says about a file.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use rustix::{
    fs::{FileType, Stat, fgetxattr, flistxattr, lgetxattr, llistxattr},
    io::Errno,
};

use super::entry::{Kind, Time};

/// The parts of a file's `stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is; never [`Kind::Hardlink`].
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that are allocated on disk.
    pub allocated: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Inode number.
    pub ino: u64,
    /// The file system it is on.
    pub dev: u64,
    /// How many names it has.
    pub links: u64,
    /// A device's numbers.
    pub device: (u32, u32),
}

impl Meta {
    /// From the system's own structure.
    #[must_use]
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the fields' types differ between platforms")]
    pub fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Socket => Kind::Socket,
            _ => Kind::File,
        };
        let time = |sec: i64, nsec: u64| Time { sec, nsec: u32::try_from(nsec).unwrap_or(0) };
        let rdev = stat.st_rdev;
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            ino: stat.st_ino,
            dev: stat.st_dev,
            links: stat.st_nlink as u64,
            device: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        }
    }
}

/// A file's extended attributes, by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The extended attributes of an open file or folder, sorted by name.
///
/// # Errors
/// Those of the system. A file system without attributes has none.
pub fn xattrs_of(fd: impl AsFd) -> io::Result<Xattrs> {
    let fd = fd.as_fd();
    read(|buf| flistxattr(fd, buf), |name, buf| fgetxattr(fd, name, buf))
}

/// The extended attributes of `name` in the open folder `dir`, without following it.
///
/// # Errors
/// As [`xattrs_of`].
pub fn xattrs_at(dir: impl AsFd, name: &[u8]) -> io::Result<Xattrs> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    read(|buf| llistxattr(&*path, buf), |attr, buf| lgetxattr(&*path, attr, buf))
}

fn read(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    let names = match grow(&list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match grow(&|buf: &mut [u8]| get(name, buf)) {
            Ok(value) => found.push((name.to_vec(), value)),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Calls with a buffer that is large enough: most fit the first, the system's limit is the last.
fn grow(call: &impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0u8; 256];
    match call(&mut small) {
        Ok(n) => return Ok(small[..n].to_vec()),
        Err(Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut large = vec![0u8; 64 * 1024];
    let n = call(&mut large)?;
    large.truncate(n);
    Ok(large)
}
