//! The main job from beginning to end, on servers of its own: PostgreSQL, Redis and a folder of files are filled,
//! backed up as one recovery point, lost, brought back, proven and compared by stock tools. Touches nothing outside a
//! temporary folder: `first_run [SCALE]`.

#![expect(clippy::print_stdout, reason = "this program's output is its purpose")]

use std::{error::Error, path::Path, process::Command, sync::Arc, time::Instant};

use veza_dr_backup::{
    BackupOptions, Encryption, RecoveryJob, Repository, Selector, back_up_together,
    files::{FilesConfig, FilesTarget},
    postgres::{PostgresConfig, PostgresTarget},
    redis::{RedisConfig, RedisTarget},
    store::DirectoryStore,
};
use veza_dr_core::{BackupTarget, ComponentName, Cx, Manifest, RestoreRequest, RestoreTarget, SecretString, Verdict};
use veza_dr_examples::rehearsal::{page, rehearse};
use veza_dr_failover::drill::DrillOutcome;
use veza_dr_restore::{
    files::FilesRestore,
    postgres::{PostgresRestore, RowsRequest},
    redis::{RedisRestore, RedisRestoreOptions},
};
use veza_dr_tests::{
    fixtures::fixture,
    postgres_server::{PgOptions, PgServer},
    redis_data,
    redis_server::{RedisOptions, RedisServer},
};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let scale = std::env::args().nth(1).unwrap_or_else(|| "1".to_owned());
    let folder = tempfile::tempdir()?;
    let platform = Platform::start(&scale, folder.path()).await?;
    let store = DirectoryStore::open("local", folder.path().join("backups"))?;
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let cx = Cx::background();

    println!("2. Back all three up, as one recovery point");
    let started = Instant::now();
    let jobs = platform.targets()?.into_iter().map(|target| RecoveryJob {
        target,
        repositories: vec![repository.clone()],
        options: BackupOptions::default(),
    });
    for result in back_up_together(&cx, jobs.collect()).await {
        result?.ensure_complete()?;
    }
    let mut manifests = Vec::new();
    for name in ["database", "redis", "files"] {
        let manifest = repository.manifest(&cx, &name.parse()?, &Selector::Latest).await?;
        println!("   {}", summary(&manifest));
        manifests.push(manifest);
    }
    let point = manifests[0].recovery_point.clone().ok_or("no recovery point was recorded")?;
    done(started, &format!("recovery point {}: {} ms between its first and last instant", point.id, point.skew_ms));

    println!("3. The disaster: every table dropped, every key flushed, every file gone");
    let before = platform.census().await?;
    platform.destroy().await?;
    println!("   stock tools say: {}", platform.census().await?);

    println!("4. Restore beside, prove, swap");
    for (restore, manifest) in platform.restores(folder.path())?.iter().zip(&manifests) {
        let started = Instant::now();
        let plan = restore.plan(&cx, &RestoreRequest::in_place(), manifest).await?;
        println!("   {}:", manifest.component);
        for step in &plan.steps {
            println!("   - {}", step.what);
        }
        let restored = restore.apply(&cx, plan, manifest, Arc::new(repository.open(manifest))).await?;
        if restored.verification.verdict() != Verdict::Equal {
            return Err(format!("{} is not what was backed up: {:?}", manifest.component, restored.verification).into());
        }
        done(started, &format!("{} proven equal to the backup, item for item", restored.verification.rows));
    }
    let after = platform.census().await?;
    println!("   stock tools say: {after}");
    if before != after {
        return Err(format!("before the disaster they said: {before}").into());
    }

    println!("5. One artist's tracks deleted by mistake, brought back alone");
    let started = Instant::now();
    platform.postgres.sql("veza_db", "DELETE FROM tracks WHERE artist_id = md5('u2')::uuid").await?;
    let database = platform.database_restore()?;
    let request = RowsRequest::new("tracks", "artist_id = md5('u2')::uuid");
    let data = Arc::new(repository.open(&manifests[0]));
    let rows = database.plan_rows(&cx, &request, &manifests[0], data).await?;
    let written = database.apply_rows(&cx, &rows).await?;
    let inserted: u64 = written.tables.iter().map(|t| t.inserted).sum();
    done(started, &format!("{inserted} of {} rows were missing and are back", rows.rows()));
    if platform.census().await? != before {
        return Err("the rows are not what they were".into());
    }

    println!("6. Back to what each restore replaced, and forth again");
    for restore in platform.restores(folder.path())? {
        let started = Instant::now();
        restore.rollback(&cx).await?;
        restore.rollback(&cx).await?;
        restore.release(&cx).await?;
        done(started, &format!("{}: two swaps, then the old copy let go", restore.info().component));
    }
    if platform.census().await? != before {
        return Err("the way back and forth lost something".into());
    }
    println!("7. Rehearse it: damaged copies refused, all restored in isolation, destroyed, restored again, compared");
    let started = Instant::now();
    let record = rehearse(&cx, &repository, &platform.postgres.bin(""), &folder.path().join("drill-state")).await?;
    if record.outcome != DrillOutcome::Passed {
        return Err(format!("the drill ended {}: {:?}", record.outcome, record.findings).into());
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo");
    std::fs::create_dir_all(&kept)?;
    let file = kept.canonicalize()?.join("private-drill.html");
    page(&record, &folder.path().join("reports"), &file)?;
    done(started, &format!("{} ms from the disaster until served; nothing is left of it", record.rta_ms.unwrap_or(0)));
    println!("\nAll of it held. The servers and their data are gone again. Next, on your own:");
    println!("   cargo install --path veza-dr-cli && veza-dr init && veza-dr check && veza-dr backup");
    println!("\nThe drill as an HTML report, to read and to print:");
    println!("{}", file.display());
    Ok(())
}

/// Something like Veza: a database, a cache with sessions, configuration files.
struct Platform {
    postgres: PgServer,
    redis: RedisServer,
    files: std::path::PathBuf,
}

impl Platform {
    async fn start(scale: &str, folder: &Path) -> Outcome<Self> {
        println!("1. A private PostgreSQL, a private Redis, a folder of files");
        let postgres = PgServer::start(PgOptions::default()).await?;
        let redis = RedisServer::start(RedisOptions::default()).await?;
        println!("   {} on port {}, Redis on port {}", postgres.version(), postgres.port(), redis.port());
        let started = Instant::now();
        postgres.create_database("veza_db").await?;
        postgres.psql_file("veza_db", &fixture("veza.sql"), &[("scale", scale)]).await?;
        redis_data::fill(&redis).await?;
        redis_data::many(&redis, "session:", 20_000).await?;
        let files = folder.join("etc-veza");
        for n in 0..200 {
            let dir = files.join(format!("service-{}", n % 10));
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join(format!("part-{n}.conf")), format!("setting = {n}\n").repeat(200))?;
        }
        std::os::unix::fs::symlink("service-0/part-0.conf", files.join("current.conf"))?;
        let platform = Self { postgres, redis, files };
        done(started, &format!("filled at scale {scale}: {}", platform.census().await?));
        Ok(platform)
    }

    fn postgres_config(&self) -> PostgresConfig {
        PostgresConfig::new(self.postgres.url("veza_db"))
            .with_password(SecretString::from(self.postgres.password().to_owned()))
            .with_bin_dir(self.postgres.bin(""))
    }

    fn redis_config(&self) -> RedisConfig {
        RedisConfig::new(self.redis.url()).with_password(SecretString::from(self.redis.password().to_owned()))
    }

    fn targets(&self) -> Outcome<Vec<Arc<dyn BackupTarget>>> {
        Ok(vec![
            Arc::new(PostgresTarget::new(name("database")?, self.postgres_config())?),
            Arc::new(RedisTarget::new(name("redis")?, self.redis_config())?),
            Arc::new(FilesTarget::new(name("files")?, FilesConfig::new([&self.files]))?),
        ])
    }

    fn database_restore(&self) -> Outcome<PostgresRestore> {
        Ok(PostgresRestore::new(name("database")?, self.postgres_config())?)
    }

    fn restores(&self, folder: &Path) -> Outcome<Vec<Box<dyn RestoreTarget>>> {
        let options = RedisRestoreOptions::new(folder.join("state"));
        Ok(vec![
            Box::new(self.database_restore()?),
            Box::new(RedisRestore::new(name("redis")?, self.redis_config(), options)?),
            Box::new(FilesRestore::new(name("files")?, FilesConfig::new([&self.files]))?),
        ])
    }

    async fn destroy(&self) -> Outcome {
        self.postgres.sql("veza_db", "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await?;
        self.redis.say("FLUSHALL").await?;
        for entry in std::fs::read_dir(&self.files)? {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        Ok(())
    }

    /// What stock tools say: psql, redis-cli, sha256sum.
    async fn census(&self) -> Outcome<String> {
        let sql = "SELECT CASE WHEN to_regclass('messages') IS NULL THEN 'no tables' ELSE (xpath('/row/c/text()', \
             query_to_xml('SELECT format(''%s users, %s messages, %s tracks, %s plays'', (SELECT count(*) FROM users), \
             (SELECT count(*) FROM messages), (SELECT count(*) FROM tracks), (SELECT count(*) FROM plays)) AS c', \
             false, true, '')))[1]::text END";
        let rows = self.postgres.psql("veza_db", &["-Atc", sql], None).await?.trim().to_owned();
        let keys = self.redis.info("keyspace").await?;
        let keys: u64 =
            keys.lines().filter_map(|l| l.split("keys=").nth(1)?.split(',').next()?.parse::<u64>().ok()).sum();
        let sum = Command::new("sh")
            .args(["-c", "cd \"$1\" && find . -type f | sort | xargs -r sha256sum | sha256sum; find . | wc -l", "sh"])
            .arg(&self.files)
            .output()?;
        let text = String::from_utf8_lossy(&sum.stdout).into_owned();
        let mut lines = text.lines();
        let digest = lines.next().unwrap_or_default().chars().take(12).collect::<String>();
        Ok(format!("{rows}; {keys} keys; {} files and folders, sum {digest}", lines.next().unwrap_or_default().trim()))
    }
}

fn name(text: &str) -> Outcome<ComponentName> {
    Ok(text.parse()?)
}

fn summary(m: &Manifest) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (rows, plain, stored) = (m.rows(), mib(m.bytes()), mib(m.stored_bytes()));
    format!("{}: {rows} items, {plain:.1} MiB in {stored:.1} MiB, {} objects", m.component, m.objects.len())
}

fn done(started: Instant, what: &str) {
    println!("   {:>7.2} s  {what}", started.elapsed().as_secs_f64());
}
