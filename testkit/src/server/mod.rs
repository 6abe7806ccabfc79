//! A real Git server for tests: `git http-backend` behind a threaded HTTP/1.1 server on loopback,
//! with the shapes that servers in the field have, scripted faults, and a log of what was asked.
//! May import: rustix.
//!
//! Always holds: nothing but loopback is listened on; when a [`GitServer`] is dropped, its
//! threads, connections and children are gone.

mod answer;
mod backend;
mod fault;
mod http;
mod log;

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};

pub use fault::{Fault, When};
pub use log::{Logged, assert_each_once};

use answer::{Connection, answer};
use fault::Script;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// What `git http-backend` speaks: all protocol versions, as the client wishes.
    Smart,
    /// Protocol version 0 only, whatever the client asks for.
    Version0,
    /// Protocol version 1 only.
    Version1,
    /// Files only, no `git-upload-pack`.
    Dumb,
    /// No Git at all: a web page at every address.
    WebPage,
}

/// How a server is set up; see [`GitServer::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    root: PathBuf,
    speech: Speech,
    filter: bool,
    config: Vec<(&'static str, String)>,
    login: Option<(String, String)>,
    redirects: Vec<(String, String)>,
}

impl Builder {
    /// Offers `object-info` (sizes without content).
    pub fn object_info(self) -> Self {
        self.config("transfer.advertiseObjectInfo", "true")
    }

    /// Doesn't offer `filter`.
    pub fn without_filter(mut self) -> Self {
        self.filter = false;
        self
    }

    /// Offers `ref-in-want`.
    pub fn ref_in_want(self) -> Self {
        self.config("uploadpack.allowRefInWant", "true")
    }

    /// Sets a Git configuration variable for the server.
    pub fn config(mut self, key: &'static str, value: &str) -> Self {
        self.config.push((key, value.to_owned()));
        self
    }

    /// Speaks protocol version 0 only.
    pub fn version_0(mut self) -> Self {
        self.speech = Speech::Version0;
        self
    }

    /// Speaks protocol version 1 only.
    pub fn version_1(mut self) -> Self {
        self.speech = Speech::Version1;
        self
    }

    /// Serves files only ("dumb HTTP").
    pub fn dumb(mut self) -> Self {
        self.speech = Speech::Dumb;
        self
    }

    /// Is no Git server: a web page at every address.
    pub fn web_page(mut self) -> Self {
        self.speech = Speech::WebPage;
        self
    }

    /// Wants this Basic login with every request.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Answers 301 to paths that begin with `from`, and names `to` (a path, or a whole URL of
    /// another server) with what follows.
    pub fn redirect(mut self, from: &str, to: &str) -> Self {
        self.redirects.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Starts the server on a free port of loopback.
    pub fn start(self) -> io::Result<GitServer> {
        let filter = self.filter.to_string();
        let setup = self
            .config("uploadpack.allowFilter", &filter)
            .config("uploadpack.allowAnySHA1InWant", "true")
            .config("safe.directory", "*");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            setup,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = Acceptor::spawn(listener, &shared);
        Ok(GitServer {
            shared,
            address,
            acceptor: Some(acceptor),
        })
    }
}

/// Counts since the start or the last [`GitServer::reset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests read, answered or not.
    pub requests: u64,
    /// Bytes of response bodies sent.
    pub bytes_out: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// A running server. Stops when dropped.
pub struct GitServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<Acceptor>,
}

impl GitServer {
    /// A server of the repositories under the folder `root`, as `git http-backend` serves them by
    /// default and with filters, unless told otherwise.
    pub fn builder(root: impl AsRef<Path>) -> Builder {
        Builder {
            root: root.as_ref().to_owned(),
            speech: Speech::Smart,
            filter: true,
            config: Vec::new(),
            login: None,
            redirects: Vec::new(),
        }
    }

    /// [`Builder::start`] with nothing set.
    pub fn start(root: impl AsRef<Path>) -> io::Result<Self> {
        Self::builder(root).start()
    }

    /// The URL of the repository at `path` under the root.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The URL with a login in it.
    pub fn url_with_login(&self, path: &str, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}/{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next `times` requests that match `when` meet `fault`. Rules are tried in the order they
    /// were given; one that is used up is passed over.
    pub fn fault(&self, when: When, times: u64, fault: Fault) {
        self.shared.lock().script.add(when, times, fault);
    }

    /// As [`GitServer::fault`], until [`GitServer::heal`].
    pub fn fault_for_ever(&self, when: When, fault: Fault) {
        self.fault(when, u64::MAX, fault);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.shared.lock().script.clear();
    }

    /// How many scripted faults have not hit yet.
    pub fn faults_left(&self) -> u64 {
        self.shared.lock().script.left()
    }

    /// From now on requests are read but not answered, until [`GitServer::resume`].
    pub fn pause(&self) {
        self.shared.lock().paused = true;
    }

    /// Answers what waits, and whatever comes.
    pub fn resume(&self) {
        self.shared.lock().paused = false;
        self.shared.changed.notify_all();
    }

    /// Closes every connection and stops listening: connecting is refused from now on.
    pub fn stop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            for connection in state.open.values() {
                // It may be closed already.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
    }

    /// Listens again at the same address after [`GitServer::stop`]; counts and log go on.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        let listener = TcpListener::bind(self.address)?;
        self.shared.lock().stopped = false;
        self.acceptor = Some(Acceptor::spawn(listener, &self.shared));
        Ok(())
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        self.shared.lock().totals
    }

    /// The requests so far, in the order they came.
    pub fn log(&self) -> Vec<Logged> {
        self.shared.lock().log.clone()
    }

    /// The requests of one protocol v2 command.
    pub fn log_of(&self, command: &str) -> Vec<Logged> {
        let mut log = self.log();
        log.retain(|request| request.command() == Some(command));
        log
    }

    /// Sets the counts to zero and empties the log.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        state.totals = Totals::default();
        state.first_logged += state.log.len();
        state.log.clear();
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Shared {
    setup: Builder,
    state: Mutex<State>,
    /// Told when `paused` or `stopped` changes.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    paused: bool,
    script: Script,
    totals: Totals,
    log: Vec<Logged>,
    /// Entries that [`GitServer::reset`] took away: an entry's number less this is its index.
    first_logged: usize,
    next_connection: u64,
    /// The connections that stand, to be closed on stopping.
    open: BTreeMap<u64, TcpStream>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Waits as long as the server is paused; false if it is to stop.
    fn may_answer(&self) -> bool {
        let state = self.lock();
        let state = self
            .changed
            .wait_while(state, |state| state.paused && !state.stopped)
            .expect("no holder panics");
        !state.stopped
    }

    /// Logs a request; the number is for [`Shared::note`].
    fn log(&self, request: Logged) -> usize {
        let mut state = self.lock();
        state.totals.requests += 1;
        state.log.push(request);
        state.first_logged + state.log.len() - 1
    }

    /// Changes the log entry with this number, unless it was taken away.
    fn note(&self, number: usize, change: impl FnOnce(&mut Logged)) {
        let mut state = self.lock();
        let index = number.checked_sub(state.first_logged);
        if let Some(entry) = index.and_then(|index| state.log.get_mut(index)) {
            change(entry);
        }
    }
}

/// Accepts connections, a thread each.
struct Acceptor {
    listener: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

impl Acceptor {
    fn spawn(listener: TcpListener, shared: &Arc<Shared>) -> Self {
        let listener = Arc::new(listener);
        let thread = thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(shared));
            move || accept(&listener, &shared)
        });
        Self { listener, thread }
    }

    /// Stops listening, and waits for all connections to end.
    ///
    /// Closing is not enough: a child that another thread is about to start holds a copy of the
    /// socket for a moment, and as long as it does, the port would still take connections.
    fn stop(self) {
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both)
            .expect("a listening socket can be shut down");
        drop(self.listener);
        self.thread.join().expect("the acceptor doesn't panic");
    }
}

/// Accepts until the listener is shut down; then waits for all connections to end.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut handlers: Vec<JoinHandle<()>> = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                handlers.retain(|handler| !handler.is_finished());
                handlers.push(thread::spawn(move || serve(&shared, &stream)));
            }
            Err(_) if shared.lock().stopped => break,
            // A connection that broke before it was accepted is the client's business.
            Err(_) => {}
        }
    }
    for handler in handlers {
        handler.join().expect("a handler doesn't panic");
    }
}

/// Serves one connection until it ends.
fn serve(shared: &Shared, stream: &TcpStream) {
    let Some(number) = register(shared, stream) else {
        return;
    };
    let mut requests = BufReader::new(stream);
    let mut connection = Connection { shared, stream };
    // A request that can't be read ends the connection, as does an error on the way out; the
    // client sees that, and the test what the client makes of it.
    while let Ok(Some(request)) = http::read_request(&mut requests, &mut &*stream) {
        let keep = !request.wants_close();
        let done = backend::unpacked(request).and_then(|request| answer(&mut connection, &request));
        if done.is_err() || !keep {
            break;
        }
    }
    // The peer may have closed it already.
    let _ = stream.shutdown(Shutdown::Both);
    shared.lock().open.remove(&number);
}

/// Counts the connection, and notes it so that stopping closes it; `None` if it came too late.
fn register(shared: &Shared, stream: &TcpStream) -> Option<u64> {
    stream.set_nodelay(true).ok()?;
    let clone = stream.try_clone().ok()?;
    let mut state = shared.lock();
    if state.stopped {
        return None;
    }
    state.totals.connections += 1;
    let number = state.next_connection;
    state.next_connection += 1;
    state.open.insert(number, clone);
    Some(number)
}
