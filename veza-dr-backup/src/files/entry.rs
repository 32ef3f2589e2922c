//! One file, folder, link or device as the index describes it.

/// A point in time as file systems keep it: nanoseconds are never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, negative before it.
    pub sec: i64,
    /// Nanoseconds after that second.
    pub nsec: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that comes earlier in the same tree.
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket; never stored.
    Socket,
}

impl Kind {
    /// Its letter in the index.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::File => b'f',
            Self::Dir => b'd',
            Self::Symlink => b'l',
            Self::Hardlink => b'h',
            Self::Fifo => b'p',
            Self::CharDevice => b'c',
            Self::BlockDevice => b'b',
            Self::Socket => b's',
        }
    }

    pub(crate) fn of_letter(letter: &[u8]) -> Option<Self> {
        Some(match letter {
            b"f" => Self::File,
            b"d" => Self::Dir,
            b"l" => Self::Symlink,
            b"h" => Self::Hardlink,
            b"p" => Self::Fifo,
            b"c" => Self::CharDevice,
            b"b" => Self::BlockDevice,
            _ => return None,
        })
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "folder",
            Self::Symlink => "symbolic link",
            Self::Hardlink => "hard link",
            Self::Fifo => "named pipe",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        }
    }
}

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, without the leading `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Bytes of a regular file, holes included.
    pub size: u64,
    /// XXH3-128 of a regular file's content.
    pub digest: u128,
    /// A symbolic link's target as it stands, or the path that a hard link shares its file with.
    pub link: Vec<u8>,
    /// A device's numbers.
    pub device: (u32, u32),
    /// Extended attributes, by name: access control lists and capabilities among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which segment a regular file's content is in, and as which member of it, from 0.
    pub segment: Option<(String, u32)>,
    /// What tells whether it changed since: inode and time of the last change of anything about it.
    pub identity: (u64, Time),
}

impl Entry {
    /// An entry with nothing but a path and a kind.
    #[must_use]
    pub fn new(path: Vec<u8>, kind: Kind) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            digest: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            segment: None,
            identity: (0, Time::default()),
        }
    }
}
