//! `bonsai cache status|verify|gc|clear`. May import: this room, objects' cache folder, seams.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{
    args::{CacheArgs, CacheCommand},
    code::Code,
    failure::Failure,
    output::Out,
    progress::size,
    start::{absolute, default_cache},
};
use crate::{
    git::url::{Source, parse_source},
    mount::names::{bytes_field, one_line, printable},
    objects::disk::{CacheFolder, CachedRepo, Checked, Cleared, Holdings},
    seams::{
        disk::{Folder, StdDisk},
        rt::TokioRuntime,
    },
};

/// Runs `bonsai cache`.
///
/// # Errors
/// If the cache folder can't be read or changed; [`Code::Rotten`] if `verify` found damage.
pub fn cache(args: CacheArgs, out: &mut Out) -> Result<(), Failure> {
    let dir = args.cache_dir.map_or_else(default_cache, Ok)?;
    let dir = absolute(&dir)?;
    // The clock and the random numbers are a runtime's.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let _inside = runtime.enter();
    let folder = Folder {
        disk: Arc::new(StdDisk),
        path: dir.clone(),
    };
    let here = Here {
        cache: CacheFolder::new(Arc::new(TokioRuntime::current()?), folder),
        dir,
        json: args.json,
    };
    match args.command {
        CacheCommand::Status => here.status(out),
        CacheCommand::Verify { source } => here.verify(source.as_deref(), out),
        CacheCommand::Gc { cache_size } => here.gc(cache_size, out),
        CacheCommand::Clear { source } => here.clear(source.as_deref(), out),
    }
}

/// The cache folder that a command is about.
struct Here {
    cache: CacheFolder,
    dir: PathBuf,
    json: bool,
}

/// `bonsai cache status --json`; its fields are a promise to scripts.
#[derive(Serialize)]
struct StatusReport {
    cache_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_dir_bytes: Option<String>,
    bytes: u64,
    quota: u64,
    repositories: Vec<RepoReport>,
}

#[derive(Serialize)]
struct RepoReport {
    source: String,
    folder: String,
    bytes: u64,
    objects: u64,
    packs: u64,
    loose: u64,
    large_files: u64,
    /// Seconds since 1970; `None` if it holds nothing.
    last_use: Option<u64>,
    /// `None` if that can't be told.
    in_use: Option<bool>,
}

/// One repository of `verify --json`.
#[derive(Serialize)]
struct VerifyReport {
    source: String,
    folder: String,
    objects: u64,
    bytes: u64,
    dropped: Vec<Dropped>,
}

#[derive(Serialize)]
struct Dropped {
    file: String,
    reason: String,
}

/// `gc --json`.
#[derive(Serialize)]
struct GcReport {
    freed: u64,
    removed: u64,
    bytes: u64,
    quota: u64,
}

/// One repository of `clear --json`.
#[derive(Serialize)]
struct ClearReport {
    source: String,
    cleared: bool,
    bytes: u64,
}

impl Here {
    fn status(&self, out: &mut Out) -> Result<(), Failure> {
        let repos = self.repos(None)?;
        let repositories: Vec<RepoReport> = repos
            .iter()
            .map(|repo| RepoReport::new(repo, &self.cache.holdings(repo)))
            .collect();
        let report = StatusReport {
            cache_dir: self.dir.to_string_lossy().into_owned(),
            cache_dir_bytes: bytes_field(&self.dir),
            bytes: repositories.iter().map(|repo| repo.bytes).sum(),
            quota: self.cache.quota(),
            repositories,
        };
        if self.json {
            return Ok(out.json(&report)?);
        }
        out.line(&format!("cache     {}", printable(&self.dir)))?;
        out.line(&format!(
            "size      {} of {}",
            size(report.bytes),
            size(report.quota)
        ))?;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        for repo in &report.repositories {
            out.line("")?;
            for line in repo.lines(now) {
                out.line(&line)?;
            }
        }
        Ok(())
    }

    fn verify(&self, source: Option<&Path>, out: &mut Out) -> Result<(), Failure> {
        let mut reports = Vec::new();
        for repo in self.repos(source)? {
            let checked = self
                .cache
                .verify(&repo)
                .map_err(|error| self.unusable(&error))?;
            reports.push(VerifyReport::new(&repo, checked));
        }
        let dropped: usize = reports.iter().map(|report| report.dropped.len()).sum();
        if self.json {
            out.json(&reports)?;
        } else {
            for report in &reports {
                for file in &report.dropped {
                    let line = format!("dropped {}/{}: {}", report.folder, file.file, file.reason);
                    out.line(&one_line(&line))?;
                }
                out.line(&one_line(&format!(
                    "{}: {} objects sound, {} read",
                    report.source,
                    report.objects,
                    size(report.bytes)
                )))?;
            }
        }
        match dropped {
            0 => Ok(()),
            _ => Err(Failure::new(
                Code::Rotten,
                &format!("{dropped} damaged files of the cache were dropped"),
                "what was in them is fetched again; if it happens again, check the disk",
            )),
        }
    }

    fn gc(&self, quota: Option<u64>, out: &mut Out) -> Result<(), Failure> {
        let quota = quota.unwrap_or_else(|| self.cache.quota());
        let room = self
            .cache
            .collect_garbage(quota)
            .map_err(|error| self.unusable(&error))?;
        if self.json {
            return Ok(out.json(&GcReport {
                freed: room.freed,
                removed: room.pieces,
                bytes: room.left,
                quota,
            })?);
        }
        Ok(out.line(&format!(
            "freed {}; {} of {} are in use",
            size(room.freed),
            size(room.left),
            size(quota)
        ))?)
    }

    fn clear(&self, source: Option<&Path>, out: &mut Out) -> Result<(), Failure> {
        let mut reports = Vec::new();
        for repo in self.repos(source)? {
            let cleared = self
                .cache
                .clear(&repo)
                .map_err(|error| self.unusable(&error))?;
            let (cleared, bytes) = match cleared {
                Cleared::Gone(bytes) => (true, bytes),
                Cleared::InUse => (false, 0),
            };
            reports.push(ClearReport {
                source: repo.source,
                cleared,
                bytes,
            });
        }
        if self.json {
            out.json(&reports)?;
        } else if reports.is_empty() {
            out.line("nothing to clear")?;
        }
        for report in reports.iter().filter(|_| !self.json) {
            let line = match report.cleared {
                true => format!("cleared {}: {}", report.source, size(report.bytes)),
                false => format!("left {}: a mount uses it", report.source),
            };
            out.line(&one_line(&line))?;
        }
        match reports.iter().find(|report| !report.cleared) {
            Some(report) if source.is_some() => Err(Failure::new(
                Code::Busy,
                &format!("the cache of {} is in use", report.source),
                "unmount it first; bonsai list shows the mounts",
            )),
            _ => Ok(()),
        }
    }

    /// The repositories of the cache, or the one of `source`.
    fn repos(&self, source: Option<&Path>) -> Result<Vec<CachedRepo>, Failure> {
        let named = source.map(named).transpose()?;
        let mut repos = self.cache.repos().map_err(|error| self.unusable(&error))?;
        repos.retain(|repo| named.as_ref().is_none_or(|named| repo.source == *named));
        Ok(repos)
    }

    fn unusable(&self, error: &std::io::Error) -> Failure {
        let happened = format!("the cache folder {} fails: {error}", printable(&self.dir));
        let remedy = "check its disk and permissions, or name another with --cache-dir";
        Failure::new(Code::Folder, &happened, remedy)
    }
}

/// How a repository's cache names its source.
fn named(source: &Path) -> Result<String, Failure> {
    match parse_source(source.as_os_str()).map_err(|error| Failure::from(&error))? {
        Source::Path(path) => Ok(absolute(&path)?.display().to_string()),
        Source::Http(url) => Ok(url.to_string()),
    }
}

fn folder_name(repo: &CachedRepo) -> String {
    let name = repo.path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl RepoReport {
    fn new(repo: &CachedRepo, holdings: &Holdings) -> Self {
        Self {
            source: repo.source.clone(),
            folder: folder_name(repo),
            bytes: holdings.bytes,
            objects: holdings.objects,
            packs: holdings.packs,
            loose: holdings.loose,
            large_files: holdings.large,
            last_use: (holdings.used != Duration::ZERO).then_some(holdings.used.as_secs()),
            in_use: holdings.in_use,
        }
    }

    /// For people; `now` is since 1970.
    fn lines(&self, now: Duration) -> Vec<String> {
        let used = match self.last_use {
            None => "never".to_owned(),
            Some(secs) => ago(now.as_secs().saturating_sub(secs)),
        };
        let mounted = match self.in_use {
            Some(true) => ", mounted",
            Some(false) => "",
            None => ", perhaps mounted",
        };
        vec![
            format!("source    {}", one_line(&self.source)),
            format!("folder    repos/{}", one_line(&self.folder)),
            format!(
                "holds     {}: {} objects, {} packs, {} loose, {} large files",
                size(self.bytes),
                self.objects,
                self.packs,
                self.loose,
                self.large_files
            ),
            format!("last use  {used}{mounted}"),
        ]
    }
}

/// A time ago in words.
fn ago(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=59 => return "just now".to_owned(),
        60..=3599 => (seconds / 60, "minute"),
        3600..=86_399 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

impl VerifyReport {
    fn new(repo: &CachedRepo, checked: Checked) -> Self {
        let dropped = checked.dropped.into_iter();
        Self {
            source: repo.source.clone(),
            folder: folder_name(repo),
            objects: checked.objects,
            bytes: checked.bytes,
            dropped: dropped
                .map(|(file, reason)| Dropped { file, reason })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        assert_eq!(ago(59), "just now");
        assert_eq!(ago(60), "1 minute ago");
        assert_eq!(ago(7_199), "1 hour ago");
        assert_eq!(ago(86_400 * 3), "3 days ago");
    }

    #[test]
    fn a_repository_is_told_in_four_lines() {
        let report = RepoReport {
            source: "https://x.org/r.git".to_owned(),
            folder: "r-0".to_owned(),
            bytes: 2048,
            objects: 5,
            packs: 1,
            loose: 2,
            large_files: 0,
            last_use: Some(100),
            in_use: Some(true),
        };
        assert_eq!(
            report.lines(Duration::from_secs(220)),
            [
                "source    https://x.org/r.git",
                "folder    repos/r-0",
                "holds     2.0 KiB: 5 objects, 1 packs, 2 loose, 0 large files",
                "last use  2 minutes ago, mounted"
            ]
        );
    }
}
