//! The core of a lazy filesystem, with no I/O of its own.
//!
//! What lives here: inode numbers and their lifetimes, the directory cache, joining of
//! concurrent misses, and [`fs::AsyncFs`], which ties them to a [`fs::Provider`] of yours.
//!
//! May import: std (locks and atomics through [`sync`] only), `bytes`, `thiserror`,
//! `rustc-hash`, `hashbrown`. No async runtime, no FUSE library, no Git.
//!
//! Always holds: nothing here reads a clock, draws a random number, starts a task or blocks on
//! anything but a short lock; all of that comes in through [`rt::Runtime`].
//!
//! # A filesystem of your own
//!
//! Say what is where; the rest is done. This one has a file for each of the first thousand
//! numbers, which holds its square:
//!
//! ```
//! use bonsaifs_core::fs::*;
//! use bytes::Bytes;
//!
//! struct Squares;
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Hash)]
//! enum Node {
//!     Root,
//!     Number(u64),
//! }
//!
//! fn square(n: u64) -> String {
//!     format!("{}\n", n * n)
//! }
//!
//! impl Provider for Squares {
//!     type Node = Node;
//!
//!     fn root(&self) -> (Node, Attr) {
//!         let mtime = Timestamp::default();
//!         (Node::Root, Attr { kind: Kind::Dir, perm: 0o755, size: 0, mtime })
//!     }
//!
//!     async fn list(&self, _dir: &Node) -> FsResult<Listing<Node>> {
//!         let mut listing = ListingBuilder::new();
//!         for n in 0..1000 {
//!             let (name, size) = (n.to_string(), square(n).len() as u64);
//!             let mtime = Timestamp::default();
//!             listing.push(name.as_bytes(), Node::Number(n), Kind::File, 0o644, mtime, Some(size));
//!         }
//!         Ok(listing.build().0)
//!     }
//!
//!     async fn read(&self, file: &Node, offset: u64, len: u32) -> FsResult<Bytes> {
//!         let Node::Number(n) = file else {
//!             return Err(FsErrorKind::IsADirectory.into());
//!         };
//!         let text = Bytes::from(square(*n));
//!         let start = text.len().min(offset as usize);
//!         let end = text.len().min(start + len as usize);
//!         Ok(text.slice(start..end))
//!     }
//!
//!     async fn readlink(&self, _link: &Node) -> FsResult<Bytes> {
//!         Err(FsErrorKind::Invalid.into())
//!     }
//! }
//!
//! # fn block_on<F: Future>(future: F) -> F::Output {
//! #     use std::{pin::pin, task::{Context, Poll, Waker}};
//! #     let mut future = pin!(future);
//! #     loop {
//! #         if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
//! #             return output;
//! #         }
//! #     }
//! # }
//! # fn main() -> FsResult<()> {
//! let fs = AsyncFs::new(Squares, Config::default());
//!
//! // Nothing is known yet, so the half that may not wait has no answer.
//! assert!(fs.try_lookup(Ino::ROOT, b"12").is_none());
//! let file = block_on(fs.lookup(Ino::ROOT, b"12"))?;
//! assert_eq!(block_on(fs.read(file.ino, 0, 100))?, "144\n");
//!
//! // Now the directory is known, and with it all that it does not hold.
//! assert_eq!(fs.try_getattr(file.ino).expect("known")?.size, 4);
//! let absent = fs.try_lookup(Ino::ROOT, b"1000").expect("known");
//! assert_eq!(absent.unwrap_err().kind(), FsErrorKind::NotFound);
//!
//! // The kernel forgets what it looked up, and the inode is gone.
//! fs.forget(file.ino, 1);
//! assert_eq!(fs.stats().inodes, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Behind a FUSE library, each request is one call of a method of [`fs::AsyncFs`]: its `try_`
//! half on the thread that reads requests and, if that has no answer, the async half on a task of
//! your runtime. [`fs::Composite`] puts many providers under one root.

pub mod cache;
pub mod fs;
mod hash;
#[cfg(all(test, feature = "loom"))]
mod models;
pub mod rt;
pub mod sync;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod testing;
