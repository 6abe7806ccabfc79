//! Chance: one root seed, and a named stream for each thing that is drawn. May import: std.
//!
//! Always holds: a stream depends on the root seed and its own name only, so drawing more from
//! one changes nothing in another. The numbers are a part of every recorded plan: the generator
//! here never changes.

/// splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators"): one
/// addition and three xor-multiplies, full period, good enough to choose faults.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// The finalizer of splitmix64: spreads every bit over the whole word.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream `name` of the root `seed`.
    pub fn stream(seed: u64, name: &str) -> Self {
        // FNV-1a over the name: a name is all that tells two streams of a seed apart.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(mix(seed ^ mix(hash)))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, which must not be 0. The bias of the remainder is far below what a
    /// simulation could notice.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number in `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `per_mille` times in 1,000.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_each_time_and_its_own() {
        let draw = |seed, name| {
            let mut rng = Rng::stream(seed, name);
            [rng.next(), rng.next()]
        };
        assert_eq!(draw(1, "plan"), draw(1, "plan"));
        assert_ne!(draw(1, "plan"), draw(2, "plan"));
        assert_ne!(draw(1, "plan"), draw(1, "repo"));
    }

    #[test]
    fn the_generator_never_changes() {
        // Recorded plans depend on it.
        assert_eq!(Rng::stream(7, "plan").next(), 0xee17a11a5a3cd85e);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::stream(1, "bounds");
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.range(3, 5)));
            assert!(!rng.chance(0));
            assert!(rng.chance(1000));
        }
        assert_eq!(rng.bytes(11).len(), 11);
    }
}
