//! The suites, held against the in-memory implementations and against a fault injector without faults.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod store {
    use std::sync::Arc;

    use veza_dr_core::{BackupStore, testing::MemoryStore};

    async fn fresh() -> (Arc<dyn BackupStore>, ()) {
        (Arc::new(MemoryStore::new("memory")), ())
    }

    veza_dr_core::store_contract!(fresh());
}

mod faultless_store {
    use std::sync::Arc;

    use veza_dr_core::{
        BackupStore,
        testing::{Faulty, MemoryStore},
    };

    async fn fresh() -> (Arc<dyn BackupStore>, ()) {
        (Arc::new(Faulty::new(MemoryStore::new("memory"))), ())
    }

    veza_dr_core::store_contract!(fresh());
}

mod probe {
    use std::sync::Arc;

    use async_trait::async_trait;
    use veza_dr_core::{
        Health, ServiceProbe,
        testing::{Faulty, MemoryProbe, contract::probe::ProbeHarness},
    };

    struct Service(MemoryProbe, bool);

    #[async_trait]
    impl ProbeHarness for Service {
        fn probe(&self) -> Arc<dyn ServiceProbe> {
            if self.1 { Arc::new(Faulty::new(self.0.clone())) } else { Arc::new(self.0.clone()) }
        }
        async fn start(&self) {
            self.0.set(Health::Healthy, "answers");
        }
        async fn stop(&self) {
            self.0.set(Health::Down, "does not answer");
        }
    }

    fn service(faulty: bool) -> (Arc<dyn ProbeHarness>, ()) {
        (Arc::new(Service(MemoryProbe::new("web", Health::Down), faulty)), ())
    }

    veza_dr_core::probe_contract!(async { service(false) });

    mod faultless {
        veza_dr_core::probe_contract!(async { super::service(true) });
    }
}

mod dns {
    use std::sync::Arc;

    use veza_dr_core::{
        DnsProvider,
        testing::{Faulty, MemoryDns, contract::dns::DnsPlace},
    };

    fn place(provider: Arc<dyn DnsProvider>) -> (DnsPlace, ()) {
        (DnsPlace { provider, zone: "Z1".into(), domain: "veza.example.".into() }, ())
    }

    veza_dr_core::dns_contract!(async { place(Arc::new(MemoryDns::new("memory", ["Z1"]))) });

    mod faultless {
        use super::*;
        veza_dr_core::dns_contract!(async { place(Arc::new(Faulty::new(MemoryDns::new("memory", ["Z1"])))) });
    }
}

mod backup {
    use std::sync::Arc;

    use async_trait::async_trait;
    use veza_dr_core::{
        BackupTarget,
        testing::{Faulty, MemoryBackupTarget, MemoryDatabase, contract::backup::BackupHarness},
    };

    struct Source(MemoryDatabase, bool);

    #[async_trait]
    impl BackupHarness for Source {
        fn target(&self) -> Arc<dyn BackupTarget> {
            let target = MemoryBackupTarget::new("database", self.0.clone()).unwrap();
            if self.1 { Arc::new(Faulty::new(target)) } else { Arc::new(target) }
        }
        async fn change(&self) {
            self.0.set("another", "value");
        }
        async fn state(&self) -> String {
            self.0.digest()
        }
    }

    fn source(faulty: bool) -> (Arc<dyn BackupHarness>, ()) {
        (Arc::new(Source(MemoryDatabase::with_keys(100), faulty)), ())
    }

    veza_dr_core::backup_contract!(async { source(false) });

    mod faultless {
        veza_dr_core::backup_contract!(async { super::source(true) });
    }
}

mod restore {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use async_trait::async_trait;
    use veza_dr_core::{
        ArtifactSource, BackupId, BackupRequest, BackupTarget, Cx, Manifest, RestoreTarget, SystemClock,
        testing::{
            Faulty, MemoryArtifacts, MemoryBackupTarget, MemoryDatabase, MemoryRestoreTarget,
            contract::restore::RestoreHarness,
        },
    };

    struct Live {
        database: MemoryDatabase,
        manifest: Manifest,
        data: MemoryArtifacts,
        damages: AtomicU32,
        faulty: bool,
    }

    #[async_trait]
    impl RestoreHarness for Live {
        fn target(&self) -> Arc<dyn RestoreTarget> {
            let target = MemoryRestoreTarget::new("database", self.database.clone()).unwrap();
            if self.faulty { Arc::new(Faulty::new(target)) } else { Arc::new(target) }
        }
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }
        fn data(&self) -> Arc<dyn ArtifactSource> {
            Arc::new(self.data.clone())
        }
        async fn damage(&self) {
            let n = self.damages.fetch_add(1, Ordering::Relaxed);
            self.database.set("key-00007", format!("damage {n}"));
            self.database.remove("key-00008");
        }
        async fn state(&self) -> String {
            self.database.digest()
        }
    }

    async fn live(faulty: bool) -> (Arc<dyn RestoreHarness>, ()) {
        let (database, data) = (MemoryDatabase::with_keys(100), MemoryArtifacts::new());
        let target = MemoryBackupTarget::new("database", database.clone()).unwrap();
        let request = BackupRequest::new(BackupId::new(&SystemClock));
        let manifest = target.create(&Cx::background(), request, Arc::new(data.clone())).await.unwrap();
        (Arc::new(Live { database, manifest, data, damages: AtomicU32::new(0), faulty }), ())
    }

    veza_dr_core::restore_contract!(live(false));

    mod faultless {
        veza_dr_core::restore_contract!(super::live(true));
    }
}
