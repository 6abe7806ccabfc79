//! What the background process tells the command that started it, a JSON line each.
//! May import: plan; serde.

use serde::{Deserialize, Serialize};

use super::plan::Ready;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// How far it is, for a person.
    Progress {
        /// One short line.
        text: String,
    },
    /// The mount answers. The last line.
    Ready(Ready),
    /// There is no mount. The last line.
    Failed(Failure),
}

/// An error that is ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do, in one line.
    pub message: String,
}
