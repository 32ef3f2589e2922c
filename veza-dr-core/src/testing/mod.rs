//! For tests: every trait in memory, a decorator that injects faults, clocks set by hand and
//! simulated, and contract suites that
//! hold any implementation to what the traits promise. Needs the feature `testing`.

pub mod contract;
mod fault_plan;
mod faulty;
mod faulty_others;
mod faulty_store;
mod manual_clock;
mod memory_artifacts;
mod memory_database;
mod memory_dns;
mod memory_probe;
mod memory_restore;
mod memory_store;
mod simulated_clock;

pub use fault_plan::Fault;
pub use faulty::Faulty;
pub use manual_clock::ManualClock;
pub use memory_artifacts::MemoryArtifacts;
pub use memory_database::{MemoryBackupTarget, MemoryDatabase};
pub use memory_dns::MemoryDns;
pub use memory_probe::MemoryProbe;
pub use memory_restore::MemoryRestoreTarget;
pub use memory_store::MemoryStore;
pub use simulated_clock::SimulatedClock;
