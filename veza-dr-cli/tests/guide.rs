//! The operations guide's own YAML blocks, as they stand.

#![cfg(all(feature = "postgres", feature = "redis", feature = "files", feature = "s3"))]

use veza_dr_cli::config::{Config, MetricUnit, parse};
use veza_dr_core::Severity;
use veza_dr_core::manifest::Codec;

const BACKUP: &str = include_str!("guide/backup_config.yml");
const METRICS: &str = include_str!("guide/recovery_metrics.yml");
const ALERTS: &str = include_str!("guide/recovery_alerts.yml");
const SOURCES: &str = r#"
sources:
  database: { postgres: { url: "postgres://veza_user@localhost:5432/veza_db", password_file: /run/secrets/pg } }
  redis:    { redis: { url: "redis://localhost:6379" } }
  files:    { files: {} }
stores:
  local:    { directory: { path: /opt/backups } }
  offsite:  { s3: { bucket: veza-backups, region: eu-west-3, endpoint: "https://s3.example", prefix: prod, path_style: true } }
"#;

fn read(text: &str) -> Config {
    parse(text, "veza-dr.yml".as_ref()).unwrap_or_else(|e| panic!("{}", e.chain())).config
}

#[test]
fn the_backup_block_means_what_the_guide_says() {
    let config = read(&format!("{SOURCES}{BACKUP}"));
    let told: Vec<(&str, &str, u32)> = config
        .backup
        .iter()
        .map(|(name, p)| (name.as_str(), p.schedule.as_ref().unwrap().as_str(), p.retention.unwrap().days().unwrap()))
        .collect();
    assert_eq!(told, [("database", "0 */6 * * *", 7), ("files", "0 0 * * *", 30), ("redis", "0 */2 * * *", 3)]);
    assert_eq!(config.backup["database"].compression.0.codec, Codec::Zstd);
    let include: Vec<&str> = config.backup["files"].include.iter().map(|t| t.raw()).collect();
    assert_eq!(include, ["/etc/veza/", "/var/log/veza/", "/opt/veza/config/"]);
}

#[test]
fn the_metrics_and_alerts_blocks_mean_what_the_guide_says() {
    let config = read(&format!("{METRICS}{ALERTS}"));
    let metrics: Vec<(&str, MetricUnit)> = config.metrics.iter().map(|m| (m.name.as_str(), m.unit)).collect();
    assert_eq!(
        metrics,
        [
            ("recovery_time", MetricUnit::Seconds),
            ("data_loss", MetricUnit::Records),
            ("service_availability", MetricUnit::Percentage)
        ]
    );
    let alerts: Vec<(&str, String, Severity)> =
        config.alerts.iter().map(|a| (a.name.as_str(), a.condition.expression().to_string(), a.severity)).collect();
    assert_eq!(
        alerts,
        [
            ("RecoveryTimeExceeded", "recovery_time > 3600".to_owned(), Severity::Critical),
            ("DataLossDetected", "data_loss > 0".to_owned(), Severity::High),
            ("ServiceUnavailable", "service_availability < 99.9".to_owned(), Severity::Critical)
        ]
    );
}

#[test]
fn all_of_it_makes_one_file() {
    let config = read(&format!("{SOURCES}{BACKUP}{METRICS}{ALERTS}"));
    assert_eq!((config.sources.len(), config.stores.len(), config.backup.len()), (3, 2, 3));
    assert_eq!((config.metrics.len(), config.alerts.len()), (3, 3));
}
