//! Files settings as the engines take them: how, from the source; which files, from its `backup` entry.

use std::sync::Arc;

use veza_dr_backup::files::{FilesConfig, FilesTarget};
use veza_dr_core::{BackupTarget, ComponentName, Error, ErrorKind, Result};
use veza_dr_restore::files::FilesRestore;

use crate::{config::Source, wiring::Wiring};

impl Wiring {
    /// The files of a component.
    pub(crate) fn files(&self, component: &ComponentName) -> Result<FilesConfig> {
        let Source::Files(source) = self.source(component)? else {
            return Err(Error::new(ErrorKind::Unsupported, format!("{component} is not a files source")));
        };
        let policy = self.loaded.config.backup.get(component.as_str());
        let list = |key: &str, texts: &[crate::config::Text]| {
            let named = texts.iter().enumerate();
            named
                .map(|(n, text)| self.text(&format!("backup.{component}.{key}[{n}]"), text))
                .collect::<Result<Vec<_>>>()
        };
        let include = list("include", policy.map_or(&[], |p| &p.include))?;
        if include.is_empty() {
            let e = Error::new(ErrorKind::Config, format!("{component} names no file to back up"));
            let help = format!("name its folders: backup: {{ {component}: {{ include: [/etc/veza/] }} }}");
            return Err(self.at(&format!("sources.{component}"), e.with_help(help)));
        }
        let mut config = FilesConfig::new(include)
            .excluding(list("exclude", policy.map_or(&[], |p| &p.exclude))?)
            .allowing_unreadable(source.allow_unreadable)
            .allowing_changed(source.allow_changed)
            .with_one_file_system(source.one_file_system)
            .with_state_dir(self.state_dir()?.join("files").join(component.as_str()));
        if let Some(jobs) = source.jobs {
            config = config.with_jobs(jobs as usize);
        }
        if let Some(backups) = source.full_every {
            config = config.with_full_every(backups);
        }
        Ok(config)
    }

    /// The files to restore.
    pub(crate) fn files_restore(&self, component: &ComponentName) -> Result<FilesRestore> {
        let target = FilesRestore::new(component.clone(), self.files(component)?);
        target.map_err(|e| self.at(&format!("backup.{component}.include"), e))
    }

    /// The files to back up.
    pub(crate) fn files_backup(&self, component: &ComponentName) -> Result<Arc<dyn BackupTarget>> {
        let target = FilesTarget::new(component.clone(), self.files(component)?);
        Ok(Arc::new(target.map_err(|e| self.at(&format!("backup.{component}.include"), e))?))
    }
}
