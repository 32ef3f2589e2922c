//! The rules.

use veza_dr_core::{Error, ErrorKind, Result};

use crate::Zone;

/// For how long backups are kept. A backup stays as long as any rule wants it; with no rule at all, all stay.
///
/// Ages are counted from the newest backup, not from today: when backups stop, nothing more is deleted.
///
/// ```
/// use veza_dr_backup::RetentionPolicy;
/// let policy = RetentionPolicy::days(7).with_monthly(12);
/// assert!(policy.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPolicy {
    /// All backups no more than so many times 24 hours older than the newest.
    pub days: Option<u32>,
    /// The newest so many.
    pub keep_last: u32,
    /// The newest of each of the last so many hours that have one.
    pub hourly: u32,
    /// The same, of days.
    pub daily: u32,
    /// The same, of weeks that begin on Monday.
    pub weekly: u32,
    /// The same, of months.
    pub monthly: u32,
    /// The same, of years.
    pub yearly: u32,
    /// No more than so many percent of a component's backups in one store go at once, but one may always; the oldest
    /// go first, the rest next time. 50.
    pub max_delete_percent: u8,
    /// So many of the newest stay whatever else is said; 1.
    pub min_keep: u32,
    /// The zone in which hours, days and months begin.
    pub zone: Zone,
}

impl Default for RetentionPolicy {
    /// Keeps everything.
    fn default() -> Self {
        Self {
            days: None,
            keep_last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            max_delete_percent: 50,
            min_keep: 1,
            zone: Zone::Local,
        }
    }
}

macro_rules! with {
    ($($name:ident $field:ident $type:ty, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[must_use]
            pub fn $name(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*
    };
}

impl RetentionPolicy {
    /// Keeps those of the last so many days.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self { days: Some(days), ..Self::default() }
    }

    with! {
        with_days days Option<u32>, "Also all of the last so many days.";
        with_keep_last keep_last u32, "Also the newest so many.";
        with_hourly hourly u32, "Also one for each of so many hours.";
        with_daily daily u32, "Also one for each of so many days.";
        with_weekly weekly u32, "Also one for each of so many weeks.";
        with_monthly monthly u32, "Also one for each of so many months.";
        with_yearly yearly u32, "Also one for each of so many years.";
        with_max_delete_percent max_delete_percent u8, "Never more than this share at once.";
        with_min_keep min_keep u32, "Never fewer than so many.";
        with_zone zone Zone, "Hours and days begin in this zone.";
    }

    /// Whether nothing is ever deleted.
    #[must_use]
    pub fn keeps_everything(&self) -> bool {
        let counts = [self.keep_last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        self.days.is_none() && counts.iter().all(|n| *n == 0)
    }

    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// `Config` for a share over 100 %, and for `days` of 0.
    pub fn validate(&self) -> Result<()> {
        if self.max_delete_percent == 0 || self.max_delete_percent > 100 {
            let text = format!("max_delete_percent {} is not between 1 and 100", self.max_delete_percent);
            return Err(Error::new(ErrorKind::Config, text));
        }
        if self.days == Some(0) {
            return Err(Error::new(ErrorKind::Config, "retention of 0 days would keep nothing")
                .with_help("leave it out to keep everything, or use keep_last: 1"));
        }
        Ok(())
    }
}
