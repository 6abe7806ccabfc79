//! Refs that only git can read: those in a reftable. One `git for-each-ref` per question.
//!
//! Always holds: git runs no hook and no filter for this, and is told the repository outright, so
//! that whose it is does not matter (`safe.directory`).

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use super::{discover::Places, refs::Found};
use crate::{git::refname, origin::OriginError, seams::git_process::GitProgram};

/// Listing a few refs takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the first of the full names `names` that is there leads (`HEAD` is one).
pub(super) async fn find(
    git: &GitProgram,
    places: &Places,
    names: &[String],
) -> Result<Option<Found>, OriginError> {
    let format = "--format=%(refname) %(objectname) %(symref)";
    let mut args = vec!["--include-root-refs", format];
    args.extend(names.iter().map(String::as_str));
    let listing = for_each_ref(git, places, &args).await?;
    let found = |name: &String| {
        let line = listing.lines().find_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some(name)).then_some(words)
        });
        let mut words = line?;
        let target = refname::parse_oid(words.next()?)?;
        let alias = words.next().filter(|alias| !alias.is_empty());
        let name = alias.or((name != "HEAD").then_some(name));
        Some(Found {
            name: name.map(str::to_owned),
            target,
        })
    };
    Ok(names.iter().find_map(found))
}

/// True if there is any branch or tag.
pub(super) async fn any(git: &GitProgram, places: &Places) -> Result<bool, OriginError> {
    let args = ["--count=1", "refs/heads", "refs/tags"];
    Ok(!for_each_ref(git, places, &args).await?.is_empty())
}

async fn for_each_ref(
    git: &GitProgram,
    places: &Places,
    args: &[&str],
) -> Result<String, OriginError> {
    let mut git_dir = OsString::from("--git-dir=");
    git_dir.push(&places.git_dir);
    let mut all = vec![git_dir.as_os_str(), OsStr::new("for-each-ref")];
    all.extend(args.iter().map(OsStr::new));
    let listing = git.ask(&all, b"", TIMEOUT).await;
    let listing = listing.ok_or_else(|| OriginError::Disk {
        what: format!("can't read the refs of {}", places.given.display()),
        reason: "they are in a reftable, which takes git 2.45 or later; \
                 a commit's whole id needs no ref"
            .to_owned(),
    })?;
    Ok(String::from_utf8_lossy(&listing).into_owned())
}
