//! The fuzzer's doors to this room's readers, in no other build. May import: this room.

use super::{Ask, Credential, helper, netrc};

/// User and password that a `.netrc` holds.
pub fn netrc(text: &str, host: &str, user: Option<&str>) -> Option<(String, String)> {
    netrc::find(text, host, user).map(|login| (login.user, login.password))
}

/// What a credential helper is asked.
pub fn helper_question(ask: &Ask) -> Option<Vec<u8>> {
    helper::question(ask)
}

/// What a credential helper answered.
pub fn helper_answer(answer: &[u8], ask: &Ask) -> Option<Credential> {
    helper::parse(answer, ask)
}
