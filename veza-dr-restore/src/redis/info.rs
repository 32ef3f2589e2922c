//! What a server says of itself in `INFO`.

use std::collections::{BTreeMap, HashMap};

/// Fields by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    fields: HashMap<String, String>,
    modules: Vec<String>,
}

impl Info {
    /// Reads the text of `INFO`, any sections.
    pub(crate) fn parse(text: &str) -> Self {
        let fields = || text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.trim_end().split_once(':'));
        let module = |(k, v): (&str, &str)| {
            Some(v.strip_prefix("name=").filter(|_| k == "module")?.split(',').next()?.to_owned())
        };
        Self {
            fields: fields().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            modules: fields().filter_map(module).collect(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A field that is `1`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    /// The modules that are loaded.
    pub(crate) fn modules(&self) -> Vec<String> {
        self.modules.clone()
    }

    /// Keys per database.
    pub(crate) fn keyspace(&self) -> BTreeMap<u64, u64> {
        let database = |(name, value): (&String, &String)| {
            let index = name.strip_prefix("db")?.parse().ok()?;
            let keys = value.split(',').find_map(|f| f.strip_prefix("keys="))?.parse().ok()?;
            Some((index, keys))
        };
        self.fields.iter().filter_map(database).collect()
    }
}

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Version(pub(crate) u64, pub(crate) u64, pub(crate) u64);

impl Version {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|p| p.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        Self(next(), next(), next())
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The newest RDB version that a release reads; `None` for one that nobody knows.
pub(crate) fn rdb_version(product: Product, version: Version) -> Option<u32> {
    Some(match (product, version) {
        (Product::Valkey, v) if v >= Version(9, 0, 0) => 80,
        (Product::Valkey, _) => 11,
        (_, Version(255, _, _)) => return None,
        (_, v) if v >= Version(8, 9, 0) => return None,
        (_, v) if v >= Version(8, 8, 0) => 14,
        (_, v) if v >= Version(8, 6, 0) => 13,
        (_, v) if v >= Version(7, 4, 0) => 12,
        (_, v) if v >= Version(7, 2, 0) => 11,
        (_, v) if v >= Version(7, 0, 0) => 10,
        (_, v) if v >= Version(5, 0, 0) => 9,
        (_, v) if v >= Version(4, 0, 0) => 8,
        _ => return None,
    })
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Redis,
    Valkey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_keys_are_read() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nloading:0\r\nused_memory:77\r\n\r\n# Keyspace\r\n\
            db0:keys=3,expires=1,avg_ttl=0\r\ndb11:keys=40,expires=0,avg_ttl=0\r\n",
        );
        assert_eq!(info.text("redis_version"), Some("7.0.15"));
        assert_eq!(info.number("used_memory"), Some(77));
        assert!(!info.is_set("loading") && !info.is_set("absent"));
        assert_eq!(info.keyspace().into_iter().collect::<Vec<_>>(), [(0, 3), (11, 40)]);
    }

    #[test]
    fn releases_read_the_formats_they_are_known_for() {
        let reads = |text| rdb_version(Product::Redis, Version::parse(text));
        assert_eq!(reads("6.2.14"), Some(9));
        assert_eq!(reads("7.0.15"), Some(10));
        assert_eq!(reads("7.2.4"), Some(11));
        assert_eq!(reads("8.4.0"), Some(12));
        assert_eq!(reads("255.255.255"), None);
        assert_eq!(rdb_version(Product::Valkey, Version::parse("8.1.3")), Some(11));
        assert_eq!(rdb_version(Product::Valkey, Version::parse("9.0.0")), Some(80));
    }
}
