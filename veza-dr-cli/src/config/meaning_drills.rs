//! What the settings of drills must also say.

use super::{expand::has_variables, meaning::Meaning};

impl Meaning<'_> {
    pub(super) fn drills(&mut self) {
        let config = self.config;
        let relative = |dir: &&super::Text| !has_variables(dir.raw()) && dir.raw().trim().is_empty();
        if config.drills.scratch_dir.as_ref().is_some_and(|d| relative(&d)) {
            self.say("drills.scratch_dir", "names no folder", None);
        }
        let (given, planned) = (&config.scenarios, &config.drills.schedule);
        let any = given.database.is_some()
            || given.backend.is_some()
            || given.infrastructure.is_some()
            || given.security.is_some();
        let each = [
            ("database", given.database.is_some(), planned.database.is_some()),
            ("backend", given.backend.is_some(), planned.backend.is_some()),
            ("infrastructure", given.infrastructure.is_some(), planned.infrastructure.is_some()),
            ("security", given.security.is_some(), planned.security.is_some()),
        ];
        for (name, known, planned) in each {
            // Without scenarios of its own the file has all of the guide's.
            if planned && any && !known {
                let path = format!("drills.schedule.{name}");
                let help = format!("add it: scenarios: {{ {name}: {{ rto: 4h, rpo: 1h }} }}");
                self.say(&path, format!("there is no scenario `{name}` under `scenarios`"), help);
            }
        }
    }
}
