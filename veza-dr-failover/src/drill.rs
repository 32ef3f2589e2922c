//! Rehearsals: the newest backups are brought back in isolation, destroyed, brought back again, compared exactly with
//! their manifests and measured; then everything that was made for it is removed, and production is shown to be as it
//! was.
//!
//! [`Drill::run`] is the whole of it. Each component is given a private server or folder ([`PlaceSpec`]) and somebody
//! who restores into it ([`RestoreInto`]); what may not change is watched by [`Witness`]es. What is made is noted in a
//! ledger on this host before it is made, so that [`reap`] removes what a killed drill left. The result is a
//! [`DrillRecord`], kept in the stores by [`publish`] and read by [`list`] and [`read`]; its measures are a record of the
//! history of recoveries as well ([`RecoveryHistory`](crate::measure::RecoveryHistory)).
//!
//! Without a platform only servers that listen on the loopback interface are started. With one ([`DrillPlatform`], such
//! as a copy of a Compose project in networks without a way out) the services that use the data are started as well.

mod archive;
mod clock;
mod cold;
#[cfg(feature = "docker")]
mod compose_data;
#[cfg(feature = "docker")]
mod compose_platform;
#[cfg(feature = "docker")]
mod compose_remove;
mod control;
mod course;
mod damage;
mod ending;
mod fate;
mod follow;
mod ground;
mod history;
#[cfg(feature = "docker")]
mod isolate;
mod judge;
mod keeper;
mod ledger;
mod model;
mod place;
mod plan_record;
mod platform;
mod postgres_place;
mod production;
mod programme;
mod reap;
mod redis_place;
mod rehearse;
mod report;
mod run;
mod stage;
mod witness;

pub use archive::{Stored, last_proven, list, number, publish, read};
pub use cold::ColdSource;
#[cfg(feature = "docker")]
#[cfg_attr(docsrs, doc(cfg(feature = "docker")))]
pub use compose_data::DataService;
#[cfg(feature = "docker")]
#[cfg_attr(docsrs, doc(cfg(feature = "docker")))]
pub use compose_platform::ComposePlatform;
pub use course::{Course, Deed, Fate, LeftOut, Lost, Selection, Walk};
pub use damage::{Damage, DamagedStore};
pub use judge::text_of;
pub use ledger::{DrillLock, lock};
pub use model::{
    Change, CleanUp, CleanUpState, ClockPoint, ControlPart, ControlRecord, ControlVerdict, DrillFinding, DrillKind,
    DrillOutcome, DrillRecord, DrillValidation, Loss, Objectives, PartRecord, ProductionProof, ProductionVerdict,
    RECORD_FORMAT, StageRecord, TableLoss, TimelineEntry, Unseen,
};
pub use place::{Place, PlaceSpec};
pub use plan_record::{PlanStep, RehearsedPlan, StepFate};
pub use platform::{CopyChecks, CopyProof, DrillChecks, DrillMachine, DrillPlatform};
pub use reap::{Reaped, reap};
pub use run::{Drill, DrillPart, DrillWatcher, NobodyWatchesDrill};
pub use stage::RestoreInto;
pub use witness::{DnsWitness, Fact, SiteWitness, StoreWitness, Witness};
