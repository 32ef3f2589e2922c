//! Trees of files with everything that file systems can hold, and an observer that shares no code with the product.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use veza_dr_backup::files::{FilesConfig, FilesDetail, FilesTarget};
use veza_dr_backup::store::DirectoryStore;
use veza_dr_backup::{BackupOptions, Encryption, Repository, Selector, back_up};
use veza_dr_core::{ComponentName, Cx, Manifest, RestoreReport, RestoreRequest, RestoreTarget, Result};
use veza_dr_restore::files::FilesRestore;

/// Lists a tree through Python's own system calls: one line for each path, with all that must come back.
const OBSERVER: &str = r#"
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
first = {}
def line(path):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    rel = os.path.relpath(path, root)
    parts = [ascii(rel), oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns]
    if kind == stat.S_IFREG:
        same = first.setdefault((s.st_dev, s.st_ino), rel) if s.st_nlink > 1 else rel
        with open(path, 'rb') as f: digest = hashlib.file_digest(f, 'sha256').hexdigest()
        parts += [s.st_size, digest, ascii(same), 'holes' if s.st_blocks * 512 + 4096 <= s.st_size else 'dense']
    elif kind == stat.S_IFLNK: parts.append(ascii(os.readlink(path)))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK): parts.append(s.st_rdev)
    xattrs = sorted(os.listxattr(path, follow_symlinks=False))
    parts += [(x, os.getxattr(path, x, follow_symlinks=False)) for x in xattrs]
    print(*parts)
def walk(path):
    line(path)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in sorted(os.listdir(path)):
            if not (name.startswith(b'.') and name.endswith(b'.veza-dr')): walk(path + b'/' + name)
walk(root)
"#;

/// What a tree is, seen from outside. Equal texts, equal trees.
pub fn observe(path: &Path) -> String {
    let output = Command::new("python3").args(["-c", OBSERVER]).arg(path).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ASCII")
}

/// Fails with the lines that differ.
pub fn assert_same(wanted: &str, found: &str) {
    if wanted == found {
        return;
    }
    let lost: Vec<&str> = wanted.lines().filter(|l| !found.lines().any(|f| f == *l)).collect();
    let extra: Vec<&str> = found.lines().filter(|l| !wanted.lines().any(|f| f == *l)).collect();
    panic!("lost:\n{}\nextra:\n{}", lost.join("\n"), extra.join("\n"));
}

/// Makes a tree that has one of everything. Devices, foreign owners and capabilities only as root.
pub const HOSTILE: &str = r#"
import os, socket, sys
root = os.fsencode(sys.argv[1])
j = lambda *p: os.path.join(root, *p)
os.makedirs(j(b'conf/deep/deeper'))
def put(name, data=b'x', mode=0o644):
    with open(j(name), 'wb') as f: f.write(data)
    os.chmod(j(name), mode)
put(b'empty', b''); put(b'conf/app.yml', b'a: 1\n' * 300); put(b'conf/secret', b'hunter2', 0o600)
put(b'latin-\xe9\xff', b'not utf-8'); put('accentué'.encode(), b'utf-8'); put(b'new\nline', b'1'); put(b'tab\there', b'2')
put(b'back\\slash', b'3'); put(b'-dash', b'4'); put(b'star*?[x]', b'5'); put(b' blank ', b'6'); put(b'quote\'"', b'7')
put(b'n' * 255, b'long name'); put(b'suid', b'#!', 0o4755); put(b'none', b'no rights', 0o000)
long = b'conf'
for i in range(14):
    long += b'/' + b'%02d' % i + b'd' * 98
    os.mkdir(j(long))
put(long + b'/bottom', b'deep down')
put(b'block', os.urandom(512)); put(b'blockish', os.urandom(513)); put(b'large', os.urandom(3 << 20)); put(b'text', b'lorem ipsum ' * 400000)
with open(j(b'holes'), 'wb') as f:
    f.write(b'head'); f.seek(5 << 20); f.write(b'middle'); f.truncate(9 << 20)
with open(j(b'all-hole'), 'wb') as f: f.truncate(2 << 20)
os.symlink(b'../outside/\xff', j(b'dangling')); os.symlink(b'/etc/passwd', j(b'absolute')); os.symlink(b'conf', j(b'to-dir')); os.symlink(b't' * 300, j(b'long-link'))
os.link(j(b'conf/app.yml'), j(b'conf/app-again.yml')); os.link(j(b'conf/app.yml'), j(b'zz-app')); os.link(j(long + b'/bottom'), j(b'bottom-link'))
os.mkfifo(j(b'pipe'), 0o640)
s = socket.socket(socket.AF_UNIX); os.chdir(root); s.bind('socket')
os.setxattr(j(b'text'), 'user.note', b'line\nwith = and % and \x00'); os.setxattr(j(b'conf'), 'user.on-a-folder', b'yes'); os.setxattr(j(b'text'), 'user.odd=%name', b'v'); os.setxattr(j(b'text'), 'user.big', os.urandom(1500))
acl = bytes.fromhex('02000000' '01000700ffffffff' '0200060001000000' '04000500ffffffff' '10000700ffffffff' '20000400ffffffff')
os.setxattr(j(b'conf/secret'), 'system.posix_acl_access', acl); os.setxattr(j(b'conf/deep'), 'system.posix_acl_default', acl)
put(b'conf/deep/in-acl', b'inherits')
if os.geteuid() == 0:
    os.mknod(j(b'null'), 0o020666, os.makedev(1, 3)); os.mknod(j(b'loop'), 0o060640, os.makedev(7, 9))
    put(b'capable', b'ELF', 0o755); os.setxattr(j(b'capable'), 'security.capability', bytes.fromhex('0100000200200000' + '00' * 12)); os.setxattr(j(b'capable'), 'trusted.mark', b't')
    os.chown(j(b'conf/app.yml'), 12345, 54321); os.chown(j(b'conf'), 3000000, 4000000); os.lchown(j(b'dangling'), 7, 8)
os.utime(j(b'empty'), ns=(0, -1500000000)); os.utime(j(b'block'), ns=(0, 123456789)); os.utime(j(b'text'), ns=(0, 7258118400123456789)); os.utime(j(b'dangling'), ns=(5, 999999999), follow_symlinks=False)
os.chmod(j(b'conf/deep/deeper'), 0o555); os.chmod(j(b'conf/deep'), 0o1777)
os.utime(j(b'conf/deep'), ns=(0, 1000000001)); os.utime(root, ns=(0, 1600000000000000001))
"#;

/// Runs a Python script on a folder.
pub fn python(script: &str, path: &Path) {
    let output = Command::new("python3").args(["-c", script]).arg(path).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until what was just written is old enough to be recognised as unchanged.
pub fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(2050));
}

/// A live tree, a store, and the product between them.
#[derive(Debug)]
pub struct FilesScene {
    /// Holds all.
    pub dir: TempDir,
    /// The repository on the store.
    pub repository: Repository,
}

impl Default for FilesScene {
    fn default() -> Self {
        Self::new()
    }
}

impl FilesScene {
    /// An empty live tree.
    pub fn new() -> Self {
        Self::with(Encryption::default())
    }

    /// With encryption.
    pub fn with(encryption: Encryption) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("live")).expect("a folder");
        let store = DirectoryStore::open("local", dir.path().join("store")).expect("a store");
        Self { dir, repository: Repository::new(Arc::new(store), encryption) }
    }

    /// With one of everything in it.
    pub fn hostile() -> Self {
        let scene = Self::new();
        python(HOSTILE, &scene.live());
        settle();
        scene
    }

    /// The live tree.
    pub fn live(&self) -> PathBuf {
        self.dir.path().join("live")
    }

    /// A path in the live tree.
    pub fn at(&self, name: &str) -> PathBuf {
        self.live().join(name)
    }

    /// Writes a file of the live tree.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("a file");
    }

    /// What the live tree is.
    pub fn state(&self) -> String {
        observe(&self.live())
    }

    /// The configuration: small segments, so that there are several.
    pub fn config(&self) -> FilesConfig {
        FilesConfig::new([self.live()]).with_jobs(2).with_segment_bytes(1 << 20)
    }

    /// The component's name.
    pub fn component() -> ComponentName {
        "files".parse().expect("a name")
    }

    /// Backs up.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn backup_with(&self, config: FilesConfig) -> Result<Manifest> {
        let target = FilesTarget::new(Self::component(), config)?;
        let options = BackupOptions::default();
        let report = back_up(&Cx::background(), &target, std::slice::from_ref(&self.repository), &options).await?;
        report.ensure_complete()?;
        self.latest().await
    }

    /// Backs up, which must succeed.
    pub async fn backup(&self) -> Manifest {
        self.backup_with(self.config()).await.unwrap_or_else(|e| panic!("{}", e.chain()))
    }

    /// The newest manifest.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn latest(&self) -> Result<Manifest> {
        self.repository.manifest(&Cx::background(), &Self::component(), &Selector::Latest).await
    }

    /// The restore target.
    pub fn target(&self) -> FilesRestore {
        FilesRestore::new(Self::component(), self.config()).expect("a target").with_scratch_dir(self.dir.path())
    }

    /// Restores a backup.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore_from(&self, manifest: &Manifest, request: &RestoreRequest) -> Result<RestoreReport> {
        let (target, cx) = (self.target(), Cx::background());
        let plan = target.plan(&cx, request, manifest).await?;
        target.apply(&cx, plan, manifest, Arc::new(self.repository.open(manifest))).await
    }

    /// Restores the newest backup.
    ///
    /// # Errors
    /// Those of the product.
    pub async fn restore(&self, request: &RestoreRequest) -> Result<RestoreReport> {
        self.restore_from(&self.latest().await?, request).await
    }

    /// Restores a backup to a fresh folder and says what the tree in it is.
    pub async fn restored(&self, manifest: &Manifest) -> String {
        let out = tempfile::tempdir_in(self.dir.path()).expect("a folder");
        let to = out.path().join("out");
        let request = RestoreRequest::default().to(to.display().to_string());
        self.restore_from(manifest, &request).await.unwrap_or_else(|e| panic!("{}", e.chain()));
        observe(&to.join(self.live().strip_prefix("/").expect("absolute")))
    }

    /// The engine's part of a manifest.
    pub fn detail(manifest: &Manifest) -> FilesDetail {
        FilesDetail::of(manifest).expect("details")
    }

    /// What lies beside the live tree that is not it, the store or a test's own.
    pub fn leftovers(&self) -> Vec<String> {
        let aside = self.dir.path().join(".live.veza-dr");
        let mut found: Vec<String> = std::fs::read_dir(aside)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        found
    }
}
