//! The configuration file: its shape, how it is found and read, and how its problems are told.

mod backup;
mod conditions;
mod dns;
mod drills;
mod escalation;
mod expand;
mod failover;
mod feature;
mod file;
mod generated_schema;
mod load;
mod meaning;
mod meaning_daemon;
mod meaning_dns;
mod meaning_drills;
mod meaning_monitoring;
mod meaning_services;
mod meaning_sites;
mod meaning_validation;
mod monitoring;
mod notify;
mod problem;
mod quiesce;
mod retention;
mod schedule;
mod serve;
mod services;
mod shape;
mod sites;
mod source;
mod store;
mod template;
mod tree;
mod validation;
mod values;

pub use backup::{BackupPolicy, CompressionSetting, CompressionSettings};
pub use conditions::Condition;
pub use dns::{DnsSettings, FlagSettings, RecordSettings, RecordTypeName, Route53Settings, WeightedSettings};
pub use drills::{DrillSchedule, DrillScheduleSettings, DrillSchedules, DrillSettings};
pub use escalation::{ContactSettings, EscalationSettings, LevelSettings};
pub use failover::FailoverSettings;
pub use feature::{Feature, switched_off};
pub use file::Config;
pub use generated_schema::json_schema;
pub use load::{Loaded, SEARCHED, find, load, parse};
pub(crate) use meaning_monitoring::metrics;
pub use monitoring::{
    Alert, AvailabilitySettings, Metric, MetricUnit, MissingName, ScenarioSettings, Scenarios, UserHttpSettings,
    UserProbeSettings,
};
pub use notify::{
    Channel, Notification, PhaseName, PingSettings, SlackSettings, SmtpSettings, SmtpTlsName, WebhookSettings,
};
pub use problem::{Problem, Problems};
pub use quiesce::{CommandSettings, ContainerSettings, OnErrorName, QuiesceSettings, QuiesceStep};
pub use retention::{RetentionSetting, RetentionSettings};
pub use schedule::{CronText, ScheduleSetting, ScheduleSettings, ZoneName};
pub use serve::ServeSettings;
pub use services::{
    DiskSettings, DnsProbeSettings, DockerProbeSettings, HeartbeatSettings, HttpProbeSettings, IcmpProbeSettings,
    NetworkSettings, NetworkTcpSettings, PostgresProbeSettings, ProbeSettings, RedisProbeSettings, ServiceKindName,
    ServiceSettings, TcpProbeSettings, WebSocketProbeSettings,
};
pub use sites::{
    ComposeSettings, FenceSettings, SiteDataSettings, SiteFilesSettings, SiteRoleName, SiteSettings, SshSettings,
};
pub use source::{
    FilesSource, PostgresSource, RedisConflict, RedisMode, RedisRestoreSettings, RedisRestoreWay, RedisSentinels,
    RedisSource, RedisTtl, Source,
};
pub use store::{
    DirectorySettings, EncryptionSettings, ObjectLockMode, ObjectLockSettings, S3Settings, Store, StorePlace,
};
pub use template::{MODELINE, template};
pub use validation::{
    CheckKind, CheckSettings, HttpCheckSettings, LoadCheckSettings, PostgresCheckSettings, Rate, RedisCheckSettings,
    Scalar, Share, StreamCheckSettings, WatermarkSettings, WebSocketCheckSettings,
};
pub use values::{ByteSize, SecretText, Span, Text};
