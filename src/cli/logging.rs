//! The log: `tracing` to a file or standard error. May import: tracing, tracing-subscriber.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

/// What is logged if `RUST_LOG` doesn't say.
const DEFAULT: &str = "warn";

/// Opens a log file to append to; made for its owner only.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Logs to `file`, or to standard error without one, for the rest of this process. Panics are
/// logged too.
pub fn start(file: Option<File>) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .map_or_else(|| EnvFilter::new(DEFAULT), EnvFilter::new);
    let builder = fmt().with_env_filter(filter);
    // Fails only if a log was started before, which then goes on.
    let _ = match file {
        Some(file) => builder
            .with_ansi(false)
            .with_writer(file)
            .finish()
            .try_init(),
        None => builder.with_writer(io::stderr).finish().try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %trace, "panicked");
    }));
}
