//! The languages of reports and pages, and how they write dates, numbers and spans of time.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_core::{Error, ErrorKind};

/// A language that reports and pages are written in.
///
/// ```
/// use veza_dr_failover::report::Language;
/// assert_eq!("fr-CA".parse::<Language>().unwrap(), Language::French);
/// assert_eq!(Language::accepted("de, fr;q=0.8, en;q=0.5"), Language::French);
/// assert_eq!(Language::French.span(93_784.0), "1 j 2 h 3 min 4 s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
}

const ENGLISH_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const FRENCH_MONTHS: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

impl Language {
    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The best of what an `Accept-Language` header asks for; English when it asks for neither.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (0.0f32, Self::English);
        for part in header.split(',') {
            let (name, rest) = part.split_once(';').unwrap_or((part, ""));
            let quality = rest.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
            if let Ok(language) = name.parse::<Self>()
                && quality > best.0
            {
                best = (quality, language);
            }
        }
        best.1
    }

    /// A day.
    #[must_use]
    pub fn date(self, date: NaiveDate) -> String {
        let month = usize::try_from(date.month0()).unwrap_or_default();
        match self {
            Self::English => format!("{} {} {}", date.day(), ENGLISH_MONTHS[month % 12], date.year()),
            Self::French => {
                let first = if date.day() == 1 { "er" } else { "" };
                format!("{}{first} {} {}", date.day(), FRENCH_MONTHS[month % 12], date.year())
            }
        }
    }

    /// An instant, in UTC.
    #[must_use]
    pub fn instant(self, at: DateTime<Utc>) -> String {
        let (day, time) = (self.date(at.date_naive()), at.format("%H:%M:%S"));
        match self {
            Self::English => format!("{day}, {time} UTC"),
            Self::French => format!("{day} à {time} UTC"),
        }
    }

    /// A month's name.
    #[must_use]
    pub fn month(self, date: NaiveDate) -> String {
        let month = usize::try_from(date.month0()).unwrap_or_default() % 12;
        let names = if self == Self::French { FRENCH_MONTHS } else { ENGLISH_MONTHS };
        format!("{} {}", names[month], date.year())
    }

    /// A span of time given in seconds: its largest parts down to the second, or milliseconds when it is short.
    #[must_use]
    pub fn span(self, seconds: f64) -> String {
        if !seconds.is_finite() {
            return "?".to_owned();
        }
        let sign = if seconds < 0.0 { "−" } else { "" };
        let exact = seconds.abs();
        if exact > 0.0 && exact < 10.0 && exact.fract() > 1e-9 {
            return format!("{sign}{} s", self.decimal(exact, if exact < 1.0 { 3 } else { 1 }));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and finite")]
        let whole = exact.round() as u64;
        let day = if self == Self::French { "j" } else { "d" };
        let parts = [(whole / 86400, day), (whole / 3600 % 24, "h"), (whole / 60 % 60, "min"), (whole % 60, "s")];
        let told: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
        if told.is_empty() { "0 s".to_owned() } else { format!("{sign}{}", told.join(" ")) }
    }

    /// A count, in groups of three digits.
    #[must_use]
    pub fn count(self, n: u64) -> String {
        let digits = n.to_string();
        // French groups by a narrow space that does not break.
        let gap = if self == Self::French { '\u{202f}' } else { ',' };
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(gap);
            }
            out.push(digit);
        }
        out
    }

    /// A number with so many places after the point, or the comma.
    #[must_use]
    pub fn decimal(self, number: f64, places: usize) -> String {
        let text = format!("{number:.places$}");
        if self == Self::French { text.replace('.', ",") } else { text }
    }

    /// A percentage, with so many places that 99.99 is not shown as 100.
    #[must_use]
    pub fn percent(self, percent: f64) -> String {
        let places = if percent > 99.0 && percent < 100.0 { 3 } else { 1 };
        // Rounding must not make a whole of what is not.
        let shown = if percent < 100.0 { percent.min(99.999) } else { percent };
        let number = self.decimal(shown, places);
        if self == Self::French { format!("{number}\u{a0}%") } else { format!("{number}%") }
    }

    /// What stands between a name and what is told of it.
    pub(crate) fn colon(self) -> &'static str {
        self.pick(": ", "\u{a0}: ")
    }

    pub(crate) fn pick<'a>(self, english: &'a str, french: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::French => french,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim().to_ascii_lowercase();
        match text.split(['-', '_']).next().unwrap_or_default() {
            "en" | "english" => Ok(Self::English),
            "fr" | "french" | "français" => Ok(Self::French),
            _ => Err(Error::new(ErrorKind::Config, format!("`{text}` is no language that reports are written in"))
                .with_help("take en or fr")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_numbers_and_spans_are_those_of_the_language() {
        let at: DateTime<Utc> = "2026-08-01T04:05:06Z".parse().unwrap();
        assert_eq!(Language::English.instant(at), "1 August 2026, 04:05:06 UTC");
        assert_eq!(Language::French.instant(at), "1er août 2026 à 04:05:06 UTC");
        assert_eq!(Language::English.count(1_234_567), "1,234,567");
        assert_eq!(Language::French.count(12_345), "12\u{202f}345");
        assert_eq!(Language::English.count(999), "999");
        assert_eq!(Language::English.percent(99.999_99), "99.999%");
        assert_eq!(Language::French.percent(99.44), "99,440\u{a0}%");
        assert_eq!(Language::English.percent(100.0), "100.0%");
        assert_eq!(Language::English.span(0.0), "0 s");
        assert_eq!(Language::English.span(0.25), "0.250 s");
        assert_eq!(Language::French.span(1.5), "1,5 s");
        assert_eq!(Language::English.span(-61.0), "−1 min 1 s");
        assert_eq!(Language::English.span(f64::NAN), "?");
    }

    #[test]
    fn the_header_is_heeded_and_nonsense_is_english() {
        for (header, expected) in [
            ("", Language::English),
            ("fr", Language::French),
            ("fr-FR,fr;q=0.9,en;q=0.8", Language::French),
            ("en,fr;q=0.9", Language::English),
            ("de;q=1, *;q=0.1", Language::English),
            ("fr;q=0", Language::English),
            (";;;,q=,fr;q=x", Language::English),
        ] {
            assert_eq!(Language::accepted(header), expected, "{header}");
        }
    }
}
