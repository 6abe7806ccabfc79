//! A mount's life: its point, its state, its background process, its end.
//!
//! May import: fuse, repo and the rooms below; tokio, nix, rustix, std::fs, std::process.
//!
//! Always holds: of two mounts on one directory one fails; whatever ends a mount, its directory,
//! state and process end with it, or are recognised as dead and cleared away by the next command.

mod attached;
pub mod background;
pub mod control;
pub mod device;
mod error;
pub mod events;
pub mod find;
mod follow;
pub mod launch;
mod lean;
pub mod life;
pub mod mountinfo;
pub mod names;
pub mod orders;
pub mod plan;
pub mod point;
mod responder;
mod server;
pub mod state;
mod status;
mod unmount;

pub use error::MountError;
pub use unmount::unmount;
