//! Prefetching: carries out what the policy of `scan` wants.
//!
//! May import: scan, objects, core. Always holds: nothing here delays a reader or changes what one
//! sees; at most [`PREFETCHES`] requests are out, and one tree is being looked at, at a time.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bonsaifs_core::{
    fs::{Listing, Timestamp},
    rt::{SharedRuntime, run_blocking},
};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::{
    provider::Node,
    scan::{Figures, Place, Scan, Step},
    tree,
};
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        tree::EntryMode,
    },
    objects::{Content, Missed, ObjectStore, PREFETCHES, Unfinished},
};

/// How many reads may be under way before their places are forgotten.
const MAX_READING: usize = 10_000;

/// Files at the root that tools open whatever they were called for: Git and searchers to know what to leave
/// out, builders and editors to know what this is.
const OPENED_BY_ALL: [&[u8]; 22] = [
    b".editorconfig",
    b".gitattributes",
    b".gitignore",
    b".gitmodules",
    b".ignore",
    b".mailmap",
    b".rgignore",
    b"BUILD.bazel",
    b"CMakeLists.txt",
    b"Cargo.toml",
    b"Gemfile",
    b"MODULE.bazel",
    b"Makefile",
    b"build.gradle",
    b"build.gradle.kts",
    b"composer.json",
    b"go.mod",
    b"package.json",
    b"pom.xml",
    b"pyproject.toml",
    b"setup.py",
    b"tsconfig.json",
];

/// How much is fetched that nobody asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefetch {
    /// What a scan is likely to read next.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// Everything, from the start.
    All,
}

/// Watches what is read, and asks for what is likely to be next.
pub(super) struct Ahead {
    runtime: SharedRuntime,
    store: ObjectStore,
    /// `None` for a source whose objects are on this machine.
    state: Option<Mutex<State>>,
    /// How many objects were asked for ahead and not read yet; to know without the lock that there
    /// are none.
    unread: AtomicUsize,
}

struct State {
    scan: Scan,
    /// Requests out.
    out: usize,
    /// Whether a tree is being looked at.
    looking: bool,
    /// Where files are that are about to be read: their reading says only which object they are.
    reading: FxHashMap<Oid, Place>,
}

/// What to do next.
enum Next {
    Ask(Vec<Oid>),
    Look(Step),
    Nothing,
}

impl Ahead {
    /// For the commit whose root tree is `root`.
    pub fn new(
        runtime: SharedRuntime,
        store: ObjectStore,
        root: Oid,
        prefetch: Prefetch,
    ) -> Arc<Self> {
        let never = store.origin().is_local() || prefetch == Prefetch::None;
        let state = State {
            scan: Scan::new(store.memory_budget()),
            out: 0,
            looking: false,
            reading: FxHashMap::default(),
        };
        let ahead = Arc::new(Self {
            runtime,
            store,
            state: (!never).then(|| Mutex::new(state)),
            unread: AtomicUsize::new(0),
        });
        match (prefetch, ahead.lock()) {
            (Prefetch::All, Some(mut state)) => {
                state.scan.want_all(root);
                ahead.unlock(state);
            }
            (Prefetch::Auto, Some(state)) => {
                drop(state);
                let this = ahead.clone();
                ahead.runtime.spawn(
                    "what all open",
                    Box::pin(async move { this.begin(root).await }),
                );
            }
            _ => {}
        }
        ahead
    }

    /// Another commit is shown, whose root tree is `root`. If everything is to come, that is everything of it.
    pub fn moved(self: &Arc<Self>, root: Oid) {
        if let Some(mut state) = self.lock()
            && state.scan.wants_all()
        {
            state.scan.want_all(root);
            self.unlock(state);
        }
    }

    /// Fetches what every tool opens. Not counted as fetched ahead on a guess: nothing is to be learnt
    /// from its being read or not.
    async fn begin(&self, root: Oid) {
        let Some(listing) = self.listing(root).await else {
            return;
        };
        let files = OPENED_BY_ALL.iter().filter_map(|name| {
            let node = listing.get(listing.find(name)?).node;
            let is_file = matches!(node.mode, EntryMode::File | EntryMode::Executable);
            is_file.then_some(node.oid)
        });
        let mut files: Vec<Oid> = files.collect();
        while !files.is_empty() {
            let result = self.store.prefetch(files).await;
            let Some(Unfinished::TooLarge) = result.unfinished else {
                break;
            };
            let came: FxHashSet<Oid> = result.came.iter().map(|(oid, _)| *oid).collect();
            let mut rest = result.asked.into_iter().filter(|oid| !came.contains(oid));
            // Most likely it is the first that did not come, as for a scan, which is not to ask for it either.
            if let (Some(large), Some(mut state)) = (rest.next(), self.lock()) {
                state.scan.note_large(large);
            }
            files = rest.collect();
        }
    }

    /// Notes the listing of a tree: the number by which its listing is to be known, from 1; 0 if nobody is
    /// interested.
    pub fn listed(&self, tree: Oid, listing: &Listing<Node>) -> u64 {
        match self.lock() {
            Some(mut state) => state.scan.listed(tree, listing) + 1,
            None => 0,
        }
    }

    /// Notes that somebody begins to read the entries of the listing with number `tag`.
    pub fn will_scan(&self, tag: u64) {
        if let Some(place) = place(tag, 0)
            && let Some(mut state) = self.lock()
        {
            state.scan.entered(place.dir);
        }
    }

    /// Notes that the size of entry `index` of the listing with number `tag` is asked for and not known.
    pub fn missed_size(self: &Arc<Self>, tag: u64, index: usize) {
        let Some(place) = place(tag, index) else {
            return;
        };
        if let Some(mut state) = self.lock() {
            state.scan.missed_size(place);
            self.unlock(state);
        }
    }

    /// Notes that entry `index` of the listing with number `tag`, the object `oid`, is about to be read.
    pub fn will_read(&self, oid: Oid, tag: u64, index: usize) {
        if let Some(place) = place(tag, index)
            && let Some(mut state) = self.lock()
        {
            // Of several who read one file only one is heard of again.
            if state.reading.len() >= MAX_READING {
                state.reading.clear();
            }
            state.reading.insert(oid, place);
        }
    }

    /// An object is to be read that is not in memory. What is to be called if it isn't here at all, and what
    /// is true from then on: [`Ahead::read`] is to be told when it came.
    pub fn reading(self: &Arc<Self>, oid: &Oid) -> (Option<Missed>, Arc<AtomicBool>) {
        let missed = Arc::new(AtomicBool::new(false));
        let Some(place) = self.lock().and_then(|mut state| state.reading.remove(oid)) else {
            return (None, missed);
        };
        let (this, flag) = (self.clone(), missed.clone());
        let note = move || {
            flag.store(true, Ordering::Relaxed);
            if let Some(mut state) = this.lock() {
                state.scan.missed(place);
                this.unlock(state);
            }
        };
        (Some(Box::new(note)), missed)
    }

    /// Notes that an object of this size was brought because somebody wanted it.
    pub fn read(self: &Arc<Self>, oid: &Oid, bytes: u64) {
        if let Some(mut state) = self.lock() {
            if !state.scan.used(oid, bytes) {
                state.scan.read(bytes);
            }
            self.unlock(state);
        }
    }

    /// Notes that an object of this size that was here was read.
    pub fn used(self: &Arc<Self>, oid: &Oid, bytes: u64) {
        if self.unread.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(mut state) = self.lock()
            && state.scan.used(oid, bytes)
        {
            self.unlock(state);
        }
    }

    /// Whether the object was asked for ahead and not read yet.
    pub fn is_unread(&self, oid: &Oid) -> bool {
        self.unread.load(Ordering::Relaxed) > 0
            && self.lock().is_some_and(|state| state.scan.is_unread(oid))
    }

    /// Figures so far; `None` if nothing is ever prefetched.
    pub fn figures(&self) -> Option<Figures> {
        Some(self.lock()?.scan.figures())
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.as_ref()?.lock();
        Some(state.expect("no code panics while it holds the policy's state"))
    }

    /// Lets go of the state, and starts what is to be done now.
    fn unlock(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut starts = Vec::new();
        loop {
            match state.next(&self.runtime) {
                Next::Nothing => break,
                next => starts.push(next),
            }
        }
        self.unread.store(state.scan.unread(), Ordering::Relaxed);
        drop(state);
        for next in starts {
            let this = self.clone();
            match next {
                Next::Ask(batch) => self
                    .runtime
                    .spawn("prefetch", Box::pin(async move { this.ask(batch).await })),
                Next::Look(step) => self
                    .runtime
                    .spawn("look ahead", Box::pin(async move { this.look(step).await })),
                Next::Nothing => {}
            }
        }
    }

    async fn ask(self: Arc<Self>, batch: Vec<Oid>) {
        let result = self.store.prefetch(batch.clone()).await;
        let pause = self.lock().and_then(|mut state| {
            state.out -= 1;
            let pause = state.scan.ended(&batch, result, self.runtime.now());
            self.unlock(state);
            pause
        });
        if let Some(pause) = pause {
            self.runtime.sleep(pause).await;
            if let Some(state) = self.lock() {
                self.unlock(state);
            }
        }
    }

    async fn look(self: Arc<Self>, step: Step) {
        let listing = self.listing(step.tree()).await;
        if let Some(mut state) = self.lock() {
            state.looking = false;
            match listing {
                Some(listing) => state.scan.take_step(step, &listing),
                None => state.scan.give_up(step),
            }
            self.unlock(state);
        }
    }

    async fn listing(&self, tree: Oid) -> Option<Listing<Node>> {
        let Ok(Content::Whole {
            kind: ObjectKind::Tree,
            data,
        }) = self.store.get(&tree, ObjectKind::Tree).await
        else {
            return None;
        };
        let hash = self.store.hash();
        let listed = run_blocking(&*self.runtime, "list tree ahead", move || {
            tree::list(&data, hash, |_| (0, Timestamp::default()), |_| None)
        });
        Some(listed.await?.ok()?.listing)
    }
}

impl State {
    fn next(&mut self, runtime: &SharedRuntime) -> Next {
        let now = runtime.now();
        if !self.looking
            && let Some(step) = self.scan.next_step(now)
        {
            self.looking = true;
            return Next::Look(step);
        }
        // A few files of a small directory may wait until the next one has been looked at.
        let gathering = self.looking && self.out > 0 && self.scan.is_little_ready();
        if self.out >= PREFETCHES || gathering {
            return Next::Nothing;
        }
        let batch = self.scan.next_batch(now);
        if batch.is_empty() {
            return Next::Nothing;
        }
        self.out += 1;
        Next::Ask(batch)
    }
}

fn place(tag: u64, index: usize) -> Option<Place> {
    Some(Place {
        dir: tag.checked_sub(1)?,
        index: u32::try_from(index).ok()?,
    })
}
