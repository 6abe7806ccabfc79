//! What is known of hosts from earlier: the capabilities they advertised, so that the advertisement
//! need not be asked for again. Saves one round trip per mount.
//!
//! Always holds: what is remembered is only ever an assumption; a request built on it that fails
//! leads back to the advertisement. It goes stale after [`KEEP`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bonsaifs_core::sync::{Mutex, lock};
use serde::{Deserialize, Serialize};

use crate::git::{oid::HashKind, url::HttpUrl, v2::Capabilities};

/// How long what a host said is believed.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many repositories that differ from their host are kept, the latest ones.
const MAX_REPOSITORIES: usize = 256;

/// What is known of hosts. Clones share it; the caller keeps it from one mount to the next by
/// [`HostMemory::to_saved`] and [`HostMemory::from_saved`].
#[derive(Clone, Debug, Default)]
pub struct HostMemory(Arc<Mutex<SavedHosts>>);

/// [`HostMemory`] as it is written to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHosts {
    /// By scheme, host and port.
    #[serde(default)]
    hosts: BTreeMap<String, SavedCapabilities>,
    /// By address, for repositories that differ from their host.
    #[serde(default)]
    repositories: BTreeMap<String, SavedCapabilities>,
}

/// The part of [`Capabilities`] that requests depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedCapabilities {
    /// When they were advertised, in seconds since the Unix epoch.
    seen: u64,
    sha256: bool,
    agent: bool,
    unborn: bool,
    shallow: bool,
    filter: bool,
    ref_in_want: bool,
    sideband_all: bool,
    object_info: bool,
}

impl SavedCapabilities {
    fn new(caps: &Capabilities, seen: u64) -> Self {
        Self {
            seen,
            sha256: caps.hash == HashKind::Sha256,
            agent: caps.agent.is_some(),
            unborn: caps.ls_refs_unborn,
            shallow: caps.fetch_shallow,
            filter: caps.fetch_filter,
            ref_in_want: caps.fetch_ref_in_want,
            sideband_all: caps.fetch_sideband_all,
            object_info: caps.object_info,
        }
    }

    fn to_capabilities(self) -> Capabilities {
        Capabilities {
            hash: if self.sha256 {
                HashKind::Sha256
            } else {
                HashKind::Sha1
            },
            agent: self.agent.then(String::new),
            ls_refs_unborn: self.unborn,
            fetch_shallow: self.shallow,
            fetch_filter: self.filter,
            fetch_ref_in_want: self.ref_in_want,
            fetch_sideband_all: self.sideband_all,
            object_info: self.object_info,
            ..Capabilities::assumed()
        }
    }

    fn says_the_same_as(self, other: Self) -> bool {
        Self { seen: 0, ..self } == Self { seen: 0, ..other }
    }
}

impl HostMemory {
    /// What an earlier process knew.
    pub fn from_saved(saved: SavedHosts) -> Self {
        Self(Arc::new(Mutex::new(saved)))
    }

    /// What is known now, to be saved.
    pub fn to_saved(&self) -> SavedHosts {
        lock(&self.0).clone()
    }

    /// What the repository at `url` can be assumed to offer at the time `now` since the Unix
    /// epoch: what it said itself, or what its host said for another repository.
    pub(super) fn recall(&self, url: &HttpUrl, now: Duration) -> Option<Capabilities> {
        let known = lock(&self.0);
        let saved = known
            .repositories
            .get(url.as_url().as_str())
            .or_else(|| known.hosts.get(&host_key(url)))?;
        // A time in the future is a clock that was set back: as good as stale.
        let age = now.as_secs().checked_sub(saved.seen)?;
        (age < KEEP.as_secs()).then(|| saved.to_capabilities())
    }

    /// Keeps what the repository at `url` advertised.
    pub(super) fn learn(&self, url: &HttpUrl, caps: &Capabilities, now: Duration) {
        let saved = SavedCapabilities::new(caps, now.as_secs());
        let mut known = lock(&self.0);
        let SavedHosts {
            hosts,
            repositories,
        } = &mut *known;
        let repository = url.as_url().as_str();
        // Of most hosts the next repository will be SHA-1 as well, whatever this one is.
        let host = hosts.entry(host_key(url)).or_insert(SavedCapabilities {
            sha256: false,
            ..saved
        });
        if host.says_the_same_as(saved) {
            *host = saved;
            repositories.remove(repository);
            return;
        }
        repositories.insert(repository.to_owned(), saved);
        if repositories.len() > MAX_REPOSITORIES {
            let oldest = repositories.iter().min_by_key(|(_, saved)| saved.seen);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| repositories.remove(&key));
        }
        // What no repository has confirmed for long is replaced by what this one says.
        if now.as_secs().abs_diff(host.seen) >= KEEP.as_secs() {
            *host = SavedCapabilities {
                sha256: false,
                ..saved
            };
        }
    }
}

fn host_key(url: &HttpUrl) -> String {
    url.as_url().origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text).expect("a URL")
    }

    fn offering(object_info: bool, hash: HashKind) -> Capabilities {
        Capabilities {
            object_info,
            hash,
            ..Capabilities::assumed()
        }
    }

    #[test]
    fn a_host_is_known_by_any_of_its_repositories() {
        let memory = HostMemory::default();
        assert_eq!(memory.recall(&url("https://x.org/a"), NOW), None);
        memory.learn(
            &url("https://x.org/a"),
            &offering(true, HashKind::Sha1),
            NOW,
        );
        for (other, known) in [
            ("https://x.org/b", true),
            ("https://user:p@x.org/b", true),
            ("http://x.org/b", false),
            ("https://x.org:8443/b", false),
            ("https://y.org/b", false),
        ] {
            let recalled = memory.recall(&url(other), NOW);
            let expected = known.then(|| offering(true, HashKind::Sha1));
            assert_eq!(recalled, expected, "{other}");
        }
    }

    #[test]
    fn a_repository_may_differ_from_its_host() {
        let memory = HostMemory::default();
        let (odd, other) = (url("https://x.org/odd"), url("https://x.org/other"));
        memory.learn(&odd, &offering(false, HashKind::Sha256), NOW);
        assert_eq!(
            memory.recall(&odd, NOW).map(|caps| caps.hash),
            Some(HashKind::Sha256)
        );
        assert_eq!(
            memory.recall(&other, NOW).map(|caps| caps.hash),
            Some(HashKind::Sha1)
        );
        memory.learn(&odd, &offering(false, HashKind::Sha1), NOW);
        assert_eq!(
            memory.recall(&odd, NOW).map(|caps| caps.hash),
            Some(HashKind::Sha1)
        );
        assert!(memory.to_saved().repositories.is_empty());
    }

    #[test]
    fn everything_a_request_depends_on_comes_back() {
        let memory = HostMemory::default();
        let all = Capabilities {
            hash: HashKind::Sha1,
            agent: Some(String::new()),
            ls_refs: true,
            ls_refs_unborn: true,
            fetch: true,
            fetch_shallow: false,
            fetch_filter: false,
            fetch_ref_in_want: true,
            fetch_sideband_all: true,
            object_info: true,
            server_option: false,
        };
        let here = url("https://x.org/a");
        memory.learn(&here, &all, NOW);
        let text = serde_json::to_string(&memory.to_saved()).expect("it can be written");
        let saved = serde_json::from_str(&text).expect("it can be read");
        let memory = HostMemory::from_saved(saved);
        assert_eq!(memory.recall(&here, NOW), Some(all));
    }

    #[test]
    fn memories_go_stale() {
        let memory = HostMemory::default();
        let here = url("https://x.org/a");
        memory.learn(&here, &offering(false, HashKind::Sha1), NOW);
        assert!(memory.recall(&here, NOW + KEEP / 2).is_some());
        assert_eq!(memory.recall(&here, NOW + KEEP), None);
        assert_eq!(memory.recall(&here, NOW - Duration::from_secs(1)), None);
        // And what is learnt then counts for the host again.
        let later = NOW + KEEP * 2;
        memory.learn(
            &url("https://x.org/b"),
            &offering(true, HashKind::Sha1),
            later,
        );
        let other = memory.recall(&url("https://x.org/c"), later);
        assert_eq!(other, Some(offering(true, HashKind::Sha1)));
    }

    #[test]
    fn repositories_are_bounded_and_the_oldest_goes() {
        let memory = HostMemory::default();
        memory.learn(
            &url("https://x.org/usual"),
            &offering(false, HashKind::Sha1),
            NOW,
        );
        for number in 0..=MAX_REPOSITORIES as u64 {
            let odd = url(&format!("https://x.org/{number}"));
            let seen = NOW + Duration::from_secs(number);
            memory.learn(&odd, &offering(true, HashKind::Sha1), seen);
        }
        let saved = memory.to_saved();
        assert_eq!(saved.repositories.len(), MAX_REPOSITORIES);
        assert!(!saved.repositories.contains_key("https://x.org/0"));
        assert!(saved.repositories.contains_key("https://x.org/256"));
    }

    #[test]
    fn nothing_secret_is_saved() {
        let memory = HostMemory::default();
        let secret = url("https://someone:hunter2@x.org/a");
        memory.learn(&secret, &offering(true, HashKind::Sha256), NOW);
        let text = serde_json::to_string(&memory.to_saved()).expect("it can be written");
        assert!(text.contains("https://x.org/a"), "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("someone"),
            "{text}"
        );
    }
}
