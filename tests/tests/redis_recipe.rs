//! `RECOVER.md` of a Redis backup, run to the letter by a shell that has stock tools alone, brings the data back.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;
use veza_dr_backup::redis::ReadMode;
use veza_dr_backup::{BackupOptions, Compression};
use veza_dr_core::manifest::Codec;
use veza_dr_tests::ports::free_port;
use veza_dr_tests::product::Depot;
use veza_dr_tests::redis_client::RedisClient;
use veza_dr_tests::redis_data;
use veza_dr_tests::redis_oracle::{state, state_of};
use veza_dr_tests::redis_product::{config, manifest_of};
use veza_dr_tests::redis_server::{RedisOptions, RedisServer};

/// The `sh` blocks in order.
fn commands(recipe: &str) -> String {
    let (mut script, mut inside) = (String::new(), false);
    for line in recipe.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    assert!(!inside && script.len() > 500, "{recipe}");
    script
}

async fn run(folder: &Path, data: &Path, port: u16) -> Output {
    let recipe = std::fs::read_to_string(folder.join("RECOVER.md")).unwrap();
    let mut script = String::new();
    for line in commands(&recipe).lines() {
        match line.strip_prefix("export ").and_then(|l| l.split('=').next()) {
            Some("DATA_DIR") => script.push_str(&format!("export DATA_DIR='{}'\n", data.display())),
            Some("REDIS_PORT") => script.push_str(&format!("export REDIS_PORT={port}\n")),
            Some(other) => panic!("{other} is not set here"),
            None => script.push_str(&format!("{line}\n")),
        }
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-eu", "-c", &script]).current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// Ends the server that a recipe left running.
async fn end(port: u16) {
    if let Ok(mut client) = RedisClient::connect(&format!("127.0.0.1:{port}")).await {
        let _ = client.say("SHUTDOWN NOSAVE").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_brings_everything_back_and_refuses_damage() {
    let server = RedisServer::start(RedisOptions::default()).await.unwrap();
    redis_data::fill(&server).await.unwrap();
    let before = state(&server).await.unwrap();
    for (codec, mode) in [(Codec::Zstd, ReadMode::Auto), (Codec::Gzip, ReadMode::Scan)] {
        let mut depot = Depot::new();
        depot.options = BackupOptions::default().with_compression(Compression::of(codec));
        let manifest = manifest_of(&depot, &config(&server).with_mode(mode)).await.unwrap();
        let folder = depot.path().join("redis").join(manifest.id.to_string());
        let (data, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let output = run(&folder, data.path(), port).await;
        assert!(output.status.success(), "{output:?}");
        let mut client = RedisClient::connect(&format!("127.0.0.1:{port}")).await.unwrap();
        before.assert_same(&state_of(&mut client).await.unwrap());
        assert!(data.path().join("0/appendonlydir").exists() && data.path().join("0/dump.rdb").exists());
        end(port).await;
        // A damaged object stops it before anything is started.
        let object = folder.join(&manifest.objects[0].name);
        let mut bytes = std::fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&object, bytes).unwrap();
        let (data, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let output = run(&folder, data.path(), port).await;
        end(port).await;
        assert!(!output.status.success() && !data.path().join("0").exists(), "{output:?}");
    }
}
