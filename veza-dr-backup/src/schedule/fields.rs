//! Says in plain words what is wrong with a cron expression, field by field.

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// What cron calls its nicknames, and what they stand for.
pub(super) const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, names: &[] },
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    Field { name: "weekday", min: 0, max: 7, names: &DAYS },
];

/// The expression with a nickname written out; or what is wrong with it at first sight.
pub(super) fn written_out(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') {
        let found = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed));
        let list = NICKNAMES.map(|(name, _)| name).join(", ");
        return found.map(|(_, cron)| (*cron).to_owned()).ok_or_else(|| format!("known nicknames are {list}"));
    }
    let parts: Vec<&str> = trimmed.split_ascii_whitespace().collect();
    let fields = match parts.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        n => return Err(format!("it has {n} fields, not 5 (or 6 with seconds first)")),
    };
    for (part, field) in parts.iter().zip(fields) {
        part.split(',').try_for_each(|item| field.check(item))?;
    }
    Ok(parts.join(" "))
}

impl Field {
    fn check(&self, item: &str) -> Result<(), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if let Some(step) = step
            && !step.parse::<u32>().is_ok_and(|n| (1..=self.max).contains(&n))
        {
            return Err(format!("{} step `{step}` is not between 1 and {}", self.name, self.max));
        }
        if range == "*" || (range == "?" && matches!(self.name, "day" | "weekday")) {
            return Ok(());
        }
        match range.split_once('-') {
            Some((from, to)) => {
                let (from, to) = (self.number(from)?, self.number(to)?);
                if from > to {
                    return Err(format!("{} range `{range}` runs backwards", self.name));
                }
                Ok(())
            }
            // The last day of the month, or the last such weekday of it; the weekday nearest to a day, the nth one.
            None if self.name == "day" && range.eq_ignore_ascii_case("L") => Ok(()),
            None if self.name == "day" && range.len() > 1 && range.ends_with(['W', 'w']) => {
                self.number(&range[..range.len() - 1]).map(drop)
            }
            None if self.name == "weekday" && range.len() > 1 && range.ends_with(['L', 'l']) => {
                self.number(&range[..range.len() - 1]).map(drop)
            }
            None if self.name == "weekday" && range.contains('#') => {
                self.number(range.split('#').next().unwrap_or_default()).map(drop)
            }
            None if step.is_some() => Err(format!("{} `{item}` steps from a single value", self.name)),
            None => self.number(range).map(drop),
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(u32::try_from(at).unwrap_or(0) + self.min);
        }
        let outside = || format!("{} {text} is not between {} and {}", self.name, self.min, self.max);
        match text.parse::<u32>() {
            Ok(n) if (self.min..=self.max).contains(&n) => Ok(n),
            Ok(_) => Err(outside()),
            Err(_) => Err(format!("{} `{text}` is not a number", self.name)),
        }
    }
}
