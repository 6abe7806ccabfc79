//! `bonsai mount`, and the background process that it becomes. May import: this room, mount.

use std::{
    env, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    args,
    code::Code,
    failure::Failure,
    logging,
    output::{Out, ProgressLine, complain},
    progress::Narrator,
};
use crate::{
    git::url::{Source, parse_source},
    mount::{
        MountError, background,
        events::{self, Event},
        launch::{LaunchError, launch},
        life::{Start, Watcher, live},
        names::{AnyPath, printable},
        orders::Orders,
        plan::{Plan, Ready, short_ref},
        state::StateRoot,
    },
    repo::Progress,
    seams,
};

/// How long blocked threads may take to end once the mount has.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `bonsai mount`.
///
/// # Errors
/// Why there is no mount.
pub fn mount(args: args::Mount, out: &mut Out) -> Result<(), Failure> {
    let foreground = args.foreground;
    let (plan, source) = plan(args)?;
    // Refused here rather than in the background, where nobody could read it sooner.
    let state = StateRoot::open()?;
    if foreground {
        return in_foreground(plan, source, state);
    }
    let mut progress = ProgressLine::new();
    let ready = launch(&plan, &mut |text| progress.show(text));
    drop(progress);
    match ready {
        Ok(ready) => announce(&ready, out),
        Err(LaunchError::Failed(failure)) => Err(failure.into()),
        Err(LaunchError::Lost(error)) => Err(Failure::from(&error)),
    }
}

/// Makes the plan independent of this process's folder and environment.
fn plan(args: args::Mount) -> Result<(Plan, Source), Failure> {
    let source = parse_source(args.source.as_os_str()).map_err(|error| Failure::from(&error))?;
    let (given, source) = match source {
        Source::Path(path) => {
            let path = absolute(&path)?;
            (path.clone(), Source::Path(path))
        }
        url @ Source::Http(_) => (args.source, url),
    };
    let cache_dir = args.cache_dir.map_or_else(default_cache, Ok)?;
    let log = args.log_file.as_deref().map(absolute).transpose()?;
    let plan = Plan {
        source: AnyPath(given),
        reference: args.reference,
        dir: AnyPath(absolute(&args.dir)?),
        cache_dir: AnyPath(absolute(&cache_dir)?),
        cache_size: args.cache_size,
        memory: args.memory as usize * (1 << 20),
        prefetch: args.prefetch.into(),
        follow: args.follow,
        transport: args.transport.into(),
        allow_other: args.allow_other,
        xattrs: args.xattr,
        unsteady: args.unsteady,
        log: log.map(AnyPath),
    };
    Ok((plan, source))
}

/// `path` from the root on.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        let happened = format!("{} is no path: {error}", printable(path));
        Failure::new(Code::Usage, &happened, "check the command line")
    })
}

/// `$BONSAI_CACHE_DIR`, else `$XDG_CACHE_HOME/bonsai`, else `~/.cache/bonsai`.
pub(super) fn default_cache() -> Result<PathBuf, Failure> {
    cache_from(|name| env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
        Failure::new(
            Code::Folder,
            &"there is no folder for the cache: HOME is not set",
            "name one with --cache-dir or BONSAI_CACHE_DIR",
        )
    })
}

fn cache_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|path: &PathBuf| !path.as_os_str().is_empty());
    // The XDG base directory specification: a relative path is to be ignored.
    let xdg = || set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    set("BONSAI_CACHE_DIR")
        .or_else(|| Some(xdg()?.join("bonsai")))
        .or_else(|| Some(set("HOME")?.join(".cache/bonsai")))
}

/// The one line on success.
fn announce(ready: &Ready, out: &mut Out) -> Result<(), Failure> {
    if ready.offline {
        complain(&format!(
            "bonsai: note: {} could not be reached; this is what it had last, as far as it was \
             fetched",
            ready.source
        ));
    }
    out.line(&ready_line(ready)).map_err(Failure::from)
}

fn ready_line(ready: &Ready) -> String {
    format!(
        "mounted {} at {}: {} {:.12}",
        ready.source,
        printable(&ready.dir.path()),
        short_ref(ready.ref_name.as_deref()),
        ready.commit,
    )
}

/// Tells a person on this terminal.
struct OnTerminal(Mutex<(Narrator, ProgressLine)>);

impl Watcher for OnTerminal {
    fn progress(&self, progress: Progress) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (narrator, line) = &mut *guard;
        if let Some(text) = narrator.line(progress, Instant::now()) {
            line.show(&text);
        }
    }

    fn ready(&self, ready: &Ready) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.show("");
        // The mount is there, whether or not anyone reads of it.
        let _ = announce(ready, &mut Out::default());
    }
}

fn in_foreground(plan: Plan, source: Source, state: StateRoot) -> Result<(), Failure> {
    let log = open_log(plan.log.as_ref().map(|path| path.0.as_path()))?;
    let shown = plan.log.as_ref().map(|path| printable(&path.0));
    logging::start(log);
    let watcher = OnTerminal(Mutex::new((Narrator::default(), ProgressLine::new())));
    let folder = state.create()?;
    let start = Start {
        plan,
        source,
        state,
        folder,
        log: shown,
        explain,
    };
    run(start, Orders::foreground, watcher)
}

/// For who asks a mount that has come up.
fn explain(error: &MountError) -> events::Failure {
    Failure::from(error).into()
}

fn open_log(path: Option<&Path>) -> Result<Option<std::fs::File>, MountError> {
    let Some(path) = path else { return Ok(None) };
    let opened = logging::open(path).map_err(|error| MountError::Log {
        path: path.to_owned(),
        reason: error.to_string(),
    });
    opened.map(Some)
}

/// Tells the command that started this process.
struct OverPipe(Mutex<Narrator>);

impl Watcher for OverPipe {
    fn progress(&self, progress: Progress) {
        let mut narrator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = narrator.line(progress, Instant::now()) {
            // If it is gone, the end of its pipe is noticed elsewhere.
            let _ = background::tell(&Event::Progress { text });
        }
    }

    fn ready(&self, ready: &Ready) {
        let _ = background::tell(&Event::Ready(ready.clone()));
        if let Err(error) = background::let_go() {
            tracing::warn!(%error, "the starting command's pipes stay open");
        }
    }
}

/// Runs the hidden `bonsai daemon`: the background process.
///
/// # Errors
/// Never any that the starting command was not told of.
pub fn daemon() -> Result<(), Failure> {
    // First of all, as it closes what it does not know.
    background::detach()?;
    let (plan, starter) = background::receive_plan().map_err(|error| {
        Failure::new(
            Code::Usage,
            &format!("there is no plan on standard input: {error}"),
            "use bonsai mount, which starts this by itself",
        )
    })?;
    let result = in_background(plan, starter);
    if let Err(failure) = &result {
        let _ = background::tell(&Event::Failed(failure.clone().into()));
    }
    result
}

fn in_background(plan: Plan, starter: oneshot::Receiver<()>) -> Result<(), Failure> {
    let source = parse_source(plan.source.0.as_os_str()).map_err(|error| Failure::from(&error))?;
    let state = StateRoot::open()?;
    let folder = state.create()?;
    let path = match &plan.log {
        Some(path) => path.0.clone(),
        None => folder.log(),
    };
    let log = open_log(Some(&path))?;
    background::stderr_to(&path)?;
    logging::start(log);
    let start = Start {
        plan,
        source,
        state,
        folder,
        log: Some(printable(&path)),
        explain,
    };
    let watcher = OverPipe(Mutex::new(Narrator::default()));
    run(start, || Orders::background(starter), watcher)
}

fn run(
    start: Start,
    orders: impl FnOnce() -> io::Result<Orders>,
    watcher: impl Watcher,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let seams = seams::production()?;
        live(start, &seams, orders()?, Arc::new(watcher))
            .await
            .map_err(|error| Failure::from(&error))
    });
    // Requests may still wait for a network that no one needs any more.
    runtime.shutdown_timeout(PATIENCE);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::names::DirFields;

    #[test]
    fn success_is_told_in_one_line() {
        let ready = |ref_name: Option<&str>, dir: &str| {
            ready_line(&Ready {
                source: "https://x.org/r.git".to_owned(),
                dir: DirFields::from(Path::new(dir)),
                ref_name: ref_name.map(str::to_owned),
                commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                offline: false,
            })
        };
        assert_eq!(
            ready(Some("refs/heads/main"), "/m"),
            "mounted https://x.org/r.git at /m: main 0123456789ab"
        );
        assert_eq!(
            ready(None, "/m\n"),
            "mounted https://x.org/r.git at /m\\n: detached 0123456789ab"
        );
    }

    #[test]
    fn the_cache_folder_is_found_in_the_order_of_the_help() {
        let cache = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, PathBuf)> = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), PathBuf::from(value)))
                .collect();
            cache_from(move |name| {
                let pair = pairs.iter().find(|(key, _)| key == name);
                pair.map(|(_, value)| value.clone())
            })
        };
        let path = |text: &str| Some(PathBuf::from(text));
        let home = ("HOME", "/h");
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(cache(&[]), None);
        assert_eq!(cache(&[home]), path("/h/.cache/bonsai"));
        assert_eq!(cache(&[home, xdg]), path("/x/bonsai"));
        let own = ("BONSAI_CACHE_DIR", "c");
        assert_eq!(cache(&[home, xdg, own]), path("c"));
        let ignored = [home, ("XDG_CACHE_HOME", "x"), ("BONSAI_CACHE_DIR", "")];
        assert_eq!(cache(&ignored), path("/h/.cache/bonsai"));
    }

    #[test]
    fn a_plan_is_absolute() {
        let args = args::Mount {
            source: ".".into(),
            dir: "m".into(),
            reference: None,
            follow: None,
            foreground: false,
            allow_other: false,
            xattr: false,
            unsteady: false,
            cache_dir: Some("c".into()),
            cache_size: Some(5),
            memory: 2,
            prefetch: args::Prefetch::None,
            transport: args::Transport::Auto,
            log_file: Some("l".into()),
        };
        let (plan, source) = plan(args).expect("all is given");
        let here = env::current_dir().expect("there is one");
        assert_eq!(source, Source::Path(plan.source.0.clone()));
        assert!(plan.source.0.is_absolute());
        assert_eq!(plan.dir.0, here.join("m"));
        assert_eq!(plan.cache_dir.0, here.join("c"));
        assert_eq!(plan.log, Some(AnyPath(here.join("l"))));
        assert_eq!(plan.memory, 2 << 20);
        assert_eq!(plan.cache_size, Some(5));
        assert_eq!(plan.prefetch, crate::repo::Prefetch::None);
    }
}
