//! The object store: memory, then the disk tier, then the origin.
//!
//! May import: origin, git, seams, bonsaifs-core.
//!
//! Always holds: a byte leaves this room only if the object it belongs to was hashed and has the
//! id asked for; any number of askers of one object cause one request, and share its result; a
//! failure is told to those who wait and then forgotten; a full or failing disk costs speed, not
//! answers.

mod bulk;
mod content;
pub mod disk;
mod error;
mod hydrator;
mod ingest;
mod prefetch;
#[cfg(test)]
mod size_tests;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tuning;
mod upkeep;

pub use bulk::BulkProgress;
pub use content::Content;
pub use error::ObjectError;
pub use prefetch::{PREFETCHES, Prefetched, Unfinished};
pub(crate) use tuning::choose;

pub use store::{BackgroundJob, LastError, Missed, ObjectStore, Place, StoreStatus};
