//! **Balance**: an inode lives exactly as long as the kernel's lookups of it or an open handle.

use super::Check;

pub const NAME: &str = "balance";

/// With no operation under way, the kernel knows `kernel` inodes, the root among them, and the mount
/// says that it holds `mount`.
pub fn inodes(kernel: u64, mount: u64) -> Check {
    match kernel == mount {
        true => Ok(()),
        false => Err(format!(
            "the kernel knows {kernel} inodes, the mount holds {mount}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_inode_too_many_or_too_few_is_seen() {
        assert_eq!(inodes(1, 1), Ok(()));
        assert!(inodes(1, 2).is_err());
        assert!(inodes(2, 1).is_err());
    }
}
