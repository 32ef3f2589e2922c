//! What others implement passes the suites that our own implementations run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a failure is what it is for")]

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Mutex, task::JoinHandle};
use veza_dr_core::{
    BackupTarget, ServiceProbe,
    testing::contract::{backup::BackupHarness, dns::DnsPlace, probe::ProbeHarness},
};
use veza_dr_examples::third_party::{greeting_probe::GreetingProbe, notes_backup::NotesTarget, zone_file::ZoneFile};

mod probe_of_a_greeting_service {
    use super::*;

    struct Greeter {
        at: String,
        serving: Mutex<Option<JoinHandle<()>>>,
    }

    #[async_trait]
    impl ProbeHarness for Greeter {
        fn probe(&self) -> Arc<dyn ServiceProbe> {
            Arc::new(GreetingProbe::new("mail", &self.at))
        }

        async fn start(&self) {
            let mut serving = self.serving.lock().await;
            if serving.is_some() {
                return;
            }
            let listener = TcpListener::bind(&self.at).await.unwrap();
            *serving = Some(tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(b"220 ready\r\n").await;
                }
            }));
        }

        async fn stop(&self) {
            if let Some(serving) = self.serving.lock().await.take() {
                serving.abort();
                let _ = serving.await;
            }
        }
    }

    async fn fresh() -> (Arc<dyn ProbeHarness>, ()) {
        let at = format!("127.0.0.1:{}", veza_dr_tests::ports::free_port().unwrap());
        (Arc::new(Greeter { at, serving: Mutex::new(None) }), ())
    }

    veza_dr_core::probe_contract!(fresh());
}

mod backup_of_notes {
    use super::*;

    struct Notes {
        dir: PathBuf,
    }

    #[async_trait]
    impl BackupHarness for Notes {
        fn target(&self) -> Arc<dyn BackupTarget> {
            Arc::new(NotesTarget::new("notes", self.dir.join("notes.json")).unwrap())
        }

        async fn change(&self) {
            std::fs::write(self.dir.join("notes.json"), r#"{"monday": "call the bank", "friday": "rest"}"#).unwrap();
        }

        async fn state(&self) -> String {
            let files = std::fs::read_dir(&self.dir).unwrap().map(|e| e.unwrap().path());
            files.map(|f| format!("{} {:?}\n", f.display(), std::fs::read(&f).unwrap())).collect()
        }
    }

    async fn fresh() -> (Arc<dyn BackupHarness>, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes.json"), r#"{"monday": "call the bank"}"#).unwrap();
        (Arc::new(Notes { dir: dir.path().to_owned() }), dir)
    }

    veza_dr_core::backup_contract!(fresh());
}

mod zones_in_a_file {
    use super::*;

    async fn fresh() -> (DnsPlace, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let provider = Arc::new(ZoneFile::create(dir.path().join("zones.json"), &["example"]).unwrap());
        (DnsPlace { provider, zone: "example".into(), domain: "example.test.".into() }, dir)
    }

    veza_dr_core::dns_contract!(fresh());
}
