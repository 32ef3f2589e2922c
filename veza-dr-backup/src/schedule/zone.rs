//! The time zone that a schedule's hours are told in.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Local, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use veza_dr_core::{Error, ErrorKind, Result};

/// A time zone: the machine's own, or one of the IANA database by its name.
///
/// ```
/// use veza_dr_backup::Zone;
/// assert_eq!("Europe/Paris".parse::<Zone>().unwrap().to_string(), "Europe/Paris");
/// assert!("Paris".parse::<Zone>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// The machine's own.
    #[default]
    Local,
    /// This one, wherever the program runs.
    Named(Tz),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// What clocks on the wall show at `at`.
    #[must_use]
    pub fn wall(self, at: DateTime<Utc>) -> NaiveDateTime {
        match self {
            Self::Local => at.with_timezone(&Local).naive_local(),
            Self::Named(zone) => at.with_timezone(&zone).naive_local(),
        }
    }

    /// How far the wall is ahead of UTC at `at`, in seconds.
    pub(super) fn offset(self, at: DateTime<Utc>) -> i32 {
        match self {
            Self::Local => Local.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc(),
            Self::Named(zone) => zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc(),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Named(zone) => f.write_str(zone.name()),
        }
    }
}

impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("local") {
            return Ok(Self::Local);
        }
        text.trim().parse::<Tz>().map(Self::Named).map_err(|_| {
            Error::new(ErrorKind::Config, format!("`{text}` is not a time zone"))
                .with_help("write it as Europe/Paris, UTC, or local for the machine's own")
        })
    }
}
