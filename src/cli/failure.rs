//! What the command says when it fails: one line and an exit code. May import: code, mount's events.

use std::{fmt::Display, io};

use super::code::Code;
use crate::mount::{MountError, events, names::one_line};

/// A failure, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened, naming the thing, and the remedy; one line without the command's name.
    pub message: String,
}

impl Failure {
    /// Of what happened, and the remedy.
    pub fn new(code: Code, happened: &dyn Display, remedy: &str) -> Self {
        Self {
            code: code.number(),
            message: one_line(&format!("{happened}; {remedy}")),
        }
    }

    /// The line for standard error.
    pub fn line(&self) -> String {
        format!("bonsai: {}", self.message)
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        Self::from(&error)
    }
}

/// What is left when no error of ours says more: a pipe, a thread, standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let happened = format!("the system refused what bonsai needs: {error}");
        Self::new(Code::Other, &happened, "check its limits and disks")
    }
}

impl From<events::Failure> for Failure {
    fn from(failure: events::Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
        }
    }
}

impl From<Failure> for events::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
        }
    }
}
