//! Numbers and times as people read them: binary units, the local time zone.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};

/// `1.5 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 table`, `3 tables`.
pub(crate) fn many(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { more })
}

/// What an engine's backup holds: `2 tables, 1,234 rows`, `1 database, 12 keys`, `3 paths, 40 files`.
pub(crate) fn holds(engine: &str, contents: u64, rows: u64) -> String {
    let [one, more, item, items] = nouns(engine);
    format!("{}, {}", many(contents, one, more), many(rows, item, items))
}

/// The words for an engine's contents and their items, singular and plural.
pub(crate) fn nouns(engine: &str) -> [&'static str; 4] {
    match engine {
        "postgres" => ["table", "tables", "row", "rows"],
        "redis" => ["database", "databases", "key", "keys"],
        "files" => ["path", "paths", "file", "files"],
        _ => ["part", "parts", "item", "items"],
    }
}

/// `0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub(crate) fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64().min(59.9)),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`: how old something is, or how often it happens.
pub(crate) fn span(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `2026-11-23 11:45:00 +01:00`, in the time zone of whoever reads it.
pub(crate) fn local(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// `3 days old`.
pub(crate) fn age_of(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        ..0 => "from the future".to_owned(),
        0..120 => format!("{seconds} s old"),
        120..7_200 => format!("{} min old", seconds / 60),
        7_200..172_800 => format!("{} h old", seconds / 3600),
        _ => format!("{} days old", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts() {
        let sizes: Vec<String> = [0, 1023, 1024, 1536, 1 << 20, (1 << 20) - 1, 5 << 30, u64::MAX].map(bytes).into();
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB", "16384.0 PiB"]);
        let counts: Vec<String> = [0, 999, 1000, 1_234_567].map(count).into();
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((many(1, "row", "rows"), many(0, "row", "rows")), ("1 row".into(), "0 rows".into()));
    }

    #[test]
    fn times() {
        let spans: Vec<String> = [400, 59_990, 60_000, 3_723_000].map(|ms| took(Duration::from_millis(ms))).into();
        assert_eq!(spans, ["0.4 s", "59.9 s", "1 min 00 s", "1 h 02 min"]);
        let now = Utc::now();
        let ages = [30, 600, 10_000, 300_000].map(|s| age_of(now - chrono::TimeDelta::seconds(s), now));
        assert_eq!(ages, ["30 s old", "10 min old", "2 h old", "3 days old"]);
    }
}
