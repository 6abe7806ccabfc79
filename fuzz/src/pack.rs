//! Packs built from the input, then damaged as it says: no wrong object ever comes out, an
//! undamaged pack is read whole, however it is cut; and what is stored is read back the same.

pub mod builder;
pub mod files;
pub mod stream;
