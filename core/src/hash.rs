//! The fixed hash functions behind inode numbers and name indexes. May import: std only.
//!
//! Always holds: the same input gives the same output on every machine, in every run and in
//! every version of this crate, because inode numbers must survive a remount.

/// The key of [`name_hash`]. It is public, so it guards against nothing; it only tells these
/// hashes from others'.
const NAME_KEY: (u64, u64) = (
    u64::from_le_bytes(*b"bonsaifs"),
    u64::from_le_bytes(*b"names v1"),
);

/// 64 bits of a name: SipHash-1-3 under a fixed key. Large families of names that share all 64
/// bits can't be had even by someone who knows the key.
pub(crate) fn name_hash(name: &[u8]) -> u64 {
    siphash::<1, 3>(NAME_KEY, name)
}

/// A bijection of 64 bits in which every input bit moves every output bit (the finaliser of
/// SplitMix64).
pub(crate) const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// SipHash with `C` rounds for each word and `D` at the end (Aumasson and Bernstein, 2012).
fn siphash<const C: usize, const D: usize>(key: (u64, u64), data: &[u8]) -> u64 {
    let mut v = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        for _ in 0..C {
            round(&mut v);
        }
        v[0] ^= word;
    };
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        absorb(u64::from_le_bytes(*word));
    }
    // The last word holds what is left over, and the length modulo 256 in its top byte.
    let mut last = (data.len() as u64) << 56;
    for (i, byte) in rest.iter().enumerate() {
        last |= u64::from(*byte) << (8 * i);
    }
    absorb(last);
    v[2] ^= 0xff;
    for _ in 0..D {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    /// The first vectors of the reference implementation of SipHash-2-4: key 00..0f, data 00, 01, …
    #[test]
    fn siphash_2_4_gives_the_published_vectors() {
        let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let data: Vec<u8> = (0..16).collect();
        for (len, want) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (2, 0x0d6c_8009_d9a9_4f5a),
            (3, 0x8567_6696_d7fb_7e2d),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(siphash::<2, 4>(key, &data[..len]), want, "{len} bytes");
        }
    }

    /// std's fixed-key hasher is SipHash-1-3, an implementation that no one here wrote.
    #[test]
    fn siphash_1_3_agrees_with_std() {
        let data: Vec<u8> = (0..=255).collect();
        for len in 0..=data.len() {
            let mut theirs = std::hash::DefaultHasher::new();
            theirs.write(&data[..len]);
            assert_eq!(siphash::<1, 3>((0, 0), &data[..len]), theirs.finish());
        }
    }

    #[test]
    fn mix_gives_the_published_sequence() {
        // SplitMix64 seeded with 1234567: its state grows by the constant that `mix` adds.
        let mut state = 1_234_567_u64;
        let mut next = || {
            let out = mix(state);
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            out
        };
        assert_eq!(next(), 6_457_827_717_110_365_317);
        assert_eq!(next(), 3_203_168_211_198_807_973);
    }

    /// These numbers are in users' inode numbers: they may never change.
    #[test]
    fn name_hashes_never_change() {
        assert_eq!(name_hash(b""), 3_720_073_316_428_140_789);
        assert_eq!(name_hash(b"README.md"), 12_988_759_000_227_691_714);
        assert_eq!(name_hash(&[0xff; 20]), 13_551_103_694_649_348_307);
    }
}
