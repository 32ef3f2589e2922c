//! A backup of two trees, and a machine with a folder that they go below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use veza_dr_backup::files::{FilesConfig, FilesDetail, unescape};
use veza_dr_core::{Cx, Manifest, RestoreReport, RestoreRequest, RestoreTarget, Result};
use veza_dr_failover::site::{ComposeProject, SiteFiles, Ssh, TreeRoot};
use veza_dr_restore::files::FilesRestore;
use veza_dr_tests::files_scene::FilesScene;
use veza_dr_tests::sshd::Sshd;

pub(crate) struct Scene {
    pub(crate) files: FilesScene,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let files = FilesScene::new();
        for tree in ["a", "b"] {
            std::fs::create_dir(files.at(tree)).unwrap();
        }
        let scene = Self { files };
        std::fs::create_dir(scene.root()).unwrap();
        scene
    }

    /// The folder of the machine that trees go below.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir().join("machine")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.files.dir.path()
    }

    /// Where a tree is live there.
    pub(crate) fn live(&self, tree: &str) -> PathBuf {
        live(self.dir(), tree)
    }

    /// Puts a file there.
    pub(crate) fn there(&self, tree: &str, name: &str, content: &str) {
        std::fs::create_dir_all(self.live(tree)).unwrap();
        std::fs::write(self.live(tree).join(name), content).unwrap();
    }

    pub(crate) async fn backup(&self) -> Manifest {
        self.files.backup_with(config(self.dir())).await.unwrap()
    }

    pub(crate) fn site(&self, ssh: Option<(&Sshd, u16)>) -> SiteFiles {
        site(self.dir(), ssh.map(|(sshd, port)| over(sshd, port)))
    }

    /// What lies beside the live trees there.
    pub(crate) fn aside(&self) -> Vec<String> {
        let folder = self.live("a").parent().unwrap().to_owned();
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".veza-dr")).collect()
    }

    /// Whether nothing is left of what was restored on this side.
    pub(crate) fn scratch_is_empty(&self) -> bool {
        let base = self.dir().join("scratch/standby.files");
        std::fs::read_dir(base).map_or(true, |mut entries| entries.next().is_none())
    }
}

pub(crate) fn config(dir: &Path) -> FilesConfig {
    FilesConfig::new(["live/a", "live/b"].map(|p| dir.join(p))).with_jobs(2)
}

pub(crate) fn live(dir: &Path, tree: &str) -> PathBuf {
    let own = dir.join("live").join(tree);
    dir.join("machine").join(own.strip_prefix("/").unwrap())
}

pub(crate) fn over(sshd: &Sshd, port: u16) -> Ssh {
    let mut ssh = Ssh::new("127.0.0.1");
    ssh.port = Some(port);
    ssh.user = Some("root".to_owned());
    ssh.key_file = Some(sshd.key());
    ssh.known_hosts_file = Some(sshd.known_hosts());
    ssh.connect_timeout = Duration::from_secs(5);
    ssh
}

fn roots(manifest: &Manifest) -> Result<Vec<TreeRoot>> {
    let roots = FilesDetail::of(manifest)?.roots.into_iter().filter(|r| r.entries > 0);
    let text = |member: &str| String::from_utf8(unescape(member.as_bytes()).unwrap().into_owned()).unwrap();
    Ok(roots.map(|r| TreeRoot::new(format!("/{}", text(&r.member)), r.bytes, r.entries)).collect())
}

pub(crate) fn site(dir: &Path, ssh: Option<Ssh>) -> SiteFiles {
    let mut project = ComposeProject::new("standby", "/none.yml", "veza");
    project.jobs_dir = dir.join("jobs").display().to_string();
    project.ssh = ssh;
    let here = FilesRestore::new(FilesScene::component(), config(dir)).unwrap().with_scratch_dir(dir);
    let site = SiteFiles::new(&project, FilesScene::component(), Arc::new(here), roots, dir.join("scratch")).unwrap();
    site.below(dir.join("machine").display().to_string())
}

pub(crate) async fn apply(site: &SiteFiles, scene: &Scene, manifest: &Manifest) -> Result<RestoreReport> {
    let cx = Cx::background();
    let plan = site.plan(&cx, &RestoreRequest::in_place(), manifest).await?;
    site.apply(&cx, plan, manifest, Arc::new(scene.files.repository.open(manifest))).await
}
