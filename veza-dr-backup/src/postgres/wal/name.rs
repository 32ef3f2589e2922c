//! The names that a server gives to what it archives.

use std::{fmt, str::FromStr};

use veza_dr_core::{Error, ErrorKind};

/// What kind of file it is, and where in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalKind {
    /// A whole segment: its number in units of 4 GiB and within that.
    Segment { high: u32, low: u32 },
    /// The last segment of a timeline that ended in the middle of it.
    Partial,
    /// Where a timeline branched off.
    History,
    /// The label of a base backup.
    Label,
}

/// A file of the write-ahead log, by the name that `%f` gives it: a segment (`000000010000000000000003`), the end of a
/// timeline (`….partial`), a timeline's history (`00000002.history`) or a base backup's label (`….00000028.backup`).
///
/// ```
/// use veza_dr_backup::postgres::wal::WalName;
/// assert!("000000010000000000000003".parse::<WalName>().is_ok());
/// assert!("../../etc/passwd".parse::<WalName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalName(String);

impl WalName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The timeline, as its eight digits.
    #[must_use]
    pub fn timeline(&self) -> &str {
        &self.0[..8]
    }

    pub(super) fn kind(&self) -> WalKind {
        let hex = |at: usize| u32::from_str_radix(&self.0[at..at + 8], 16).unwrap_or_default();
        match self.0.len() {
            16 => WalKind::History,
            24 => WalKind::Segment { high: hex(8), low: hex(16) },
            32 => WalKind::Partial,
            _ => WalKind::Label,
        }
    }
}

impl FromStr for WalName {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let digits = |text: &str, n: usize| {
            text.len() == n && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'A'..=b'F'))
        };
        let fine = match s.split('.').collect::<Vec<_>>().as_slice() {
            [segment] | [segment, "partial"] => digits(segment, 24),
            [timeline, "history"] => digits(timeline, 8),
            [segment, offset, "backup"] => digits(segment, 24) && digits(offset, 8),
            _ => false,
        };
        if fine {
            return Ok(Self(s.to_owned()));
        }
        Err(Error::new(ErrorKind::Config, format!("`{s}` is not the name of a file of write-ahead log"))
            .with_help("archive_command = 'veza-dr wal push %p %f', restore_command = 'veza-dr wal fetch %f %p'"))
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_form_and_nothing_else_passes() {
        let kind = |s: &str| s.parse::<WalName>().unwrap().kind();
        assert_eq!(kind("0000000100000002000000FE"), WalKind::Segment { high: 2, low: 0xFE });
        assert_eq!(kind("0000000100000002000000FE.partial"), WalKind::Partial);
        assert_eq!(kind("00000002.history"), WalKind::History);
        assert_eq!(kind("000000010000000000000002.00000028.backup"), WalKind::Label);
        for bad in
            ["", "x", "00000001000000000000000", "0000000100000000000000fe", "1.history", "00000001.backup", "a/b"]
        {
            assert!(bad.parse::<WalName>().is_err(), "{bad}");
        }
    }
}
