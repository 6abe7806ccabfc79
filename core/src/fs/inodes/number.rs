//! The function from paths to inode numbers. May import: `crate::hash`.
//!
//! Always holds: it never changes, so that numbers survive a remount and a new version; and it
//! never gives 0 (no inode), 1 (the root) or 2^64 - 1 (used as "none" by some).

use crate::{
    fs::{Ino, Kind},
    hash::mix,
};

/// The number of an entry of directory `parent`, from the hash of its name (SipHash-1-3 under a
/// fixed key) and its kind:
///
/// `mix(hash ^ mix(parent) ^ kind)`, where `mix` is the finaliser of SplitMix64 and `kind` one of
/// three odd constants. Within a directory it is as free of collisions as the names' hashes are.
///
/// The kind is in it because the kernel does not forgive a number that changes its kind.
pub(super) fn base_number(parent: Ino, name_hash: u64, kind: Kind, mask: u64) -> Ino {
    let kind = match kind {
        Kind::Dir => 0xd1b5_4a32_d192_ed03,
        Kind::File => 0xabc9_8388_fb8f_ac03,
        Kind::Symlink => 0x8cb9_2ba7_2f3d_8dd7,
    };
    free_of_reserved(mix(name_hash ^ mix(parent.0) ^ kind) & mask)
}

/// What a path gets in place of its base number: at salt 0 that very number, then, one by one,
/// others until one is free.
pub(super) fn salted_number(base: Ino, salt: u64) -> Ino {
    match salt {
        0 => base,
        _ => free_of_reserved(mix(base.0.wrapping_add(salt))),
    }
}

fn free_of_reserved(number: u64) -> Ino {
    match number {
        0 | 1 => Ino(number + 2),
        u64::MAX => Ino(4),
        _ => Ino(number),
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;
    use crate::hash::name_hash;

    #[test]
    fn reserved_numbers_are_never_given() {
        for number in [0, 1, u64::MAX] {
            let ino = free_of_reserved(number);
            assert!(![0, 1, u64::MAX].contains(&ino.0));
        }
        for mask in [0, 1] {
            assert!(base_number(Ino::ROOT, 7, Kind::File, mask) > Ino::ROOT);
        }
    }

    /// These numbers are in users' hands: they may never change.
    #[test]
    fn numbers_never_change() {
        let number = |parent, name: &[u8], kind| base_number(parent, name_hash(name), kind, !0);
        let src = number(Ino::ROOT, b"src", Kind::Dir);
        assert_eq!(src, Ino(967_548_346_104_238_687));
        assert_eq!(
            number(src, b"main.rs", Kind::File),
            Ino(8_941_887_245_420_219_117)
        );
        assert_eq!(
            number(Ino::ROOT, b"link", Kind::Symlink),
            Ino(14_980_948_023_087_570_453)
        );
    }

    #[test]
    fn parent_name_and_kind_each_matter() {
        let a = base_number(Ino(2), 10, Kind::File, !0);
        assert_ne!(a, base_number(Ino(3), 10, Kind::File, !0));
        assert_ne!(a, base_number(Ino(2), 11, Kind::File, !0));
        assert_ne!(a, base_number(Ino(2), 10, Kind::Dir, !0));
        assert_ne!(a, base_number(Ino(2), 10, Kind::Symlink, !0));
    }
}
