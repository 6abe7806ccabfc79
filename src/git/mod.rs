//! Git's formats and protocol as pure state machines: bytes in, values out.
//!
//! May import: `gix-hash`, `flate2`, `crc32fast`, `bytes`, `rustc-hash`, `thiserror`, `url`, std
//! without I/O. No clock, no task, no socket, no file.
//!
//! Always holds: no input, however hostile, panics, hangs or takes memory that its stated limits
//! don't allow. Where this room names an object's id ([`pack::StreamDecoder`]), it has computed it
//! from the object's bytes; what is read from storage ([`pack::read`], [`loose`]) is for the caller
//! to verify.

pub mod commit;
pub mod delta;
mod inflate;
pub mod loose;
pub mod malformed;
pub mod oid;
#[cfg(test)]
mod oracle;
pub mod pack;
pub mod pktline;
pub mod refname;
pub mod tag;
pub mod tree;
pub mod url;
pub mod v2;
