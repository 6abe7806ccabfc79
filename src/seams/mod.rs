//! The doors to the outside: [`http`], [`disk`], [`credentials`] and [`config`], each a trait with
//! its production half, and the production [`rt`].
//!
//! May import: bonsaifs-core, tokio, reqwest, std::fs. Nothing of the other rooms.
//!
//! Always holds: core, git, origin, objects and repo reach sockets, files, time and randomness
//! only through these traits and `bonsaifs_core::rt::Runtime`.

pub mod config;
pub mod credentials;
pub mod disk;
pub mod git_process;
pub mod http;
pub mod rt;

use std::{io, sync::Arc};

use bonsaifs_core::rt::SharedRuntime;

use config::{GitConfig, SystemGitConfig};
use credentials::{Credentials, SystemCredentials};
use disk::{Disk, StdDisk};
use git_process::GitProgram;
use http::{Http, ReqwestHttp};
use rt::TokioRuntime;

/// All doors together, as the rooms above are given them.
#[derive(Clone)]
pub struct Seams {
    /// Tasks, time and chance.
    pub runtime: SharedRuntime,
    /// Requests to hosts.
    pub http: Arc<dyn Http>,
    /// Files of our own.
    pub disk: Arc<dyn Disk>,
    /// Who the user is to hosts.
    pub credentials: Arc<dyn Credentials>,
    /// What the user's Git configuration says about HTTP.
    pub config: Arc<dyn GitConfig>,
}

/// The real doors. To be called inside the tokio runtime that is to run everything. Cheap: files
/// are read and processes started only when something asks.
///
/// # Errors
/// If there is no tokio runtime.
pub fn production() -> io::Result<Seams> {
    let get = |variable: &str| std::env::var(variable).ok();
    let config = Arc::new(SystemGitConfig::new(GitProgram::default()));
    Ok(Seams {
        runtime: Arc::new(TokioRuntime::current()?),
        http: Arc::new(ReqwestHttp::new(config.clone())),
        disk: Arc::new(StdDisk),
        credentials: Arc::new(SystemCredentials::new(get, GitProgram::default())),
        config,
    })
}
