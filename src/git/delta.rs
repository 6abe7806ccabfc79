//! Deltas: one object told as copies from another and new bytes (gitformat-pack, "Deltified
//! representation").
//!
//! May import: nothing.
//!
//! Always holds: a copy never reaches beyond the base, and a result is as long as the delta says,
//! or there is none.

/// Why a delta gives no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The instructions can't be read, or don't give what the header says.
    #[error("the delta {0}")]
    Malformed(&'static str),
    /// It was made for a base of another length.
    #[error("the delta is for a base of {stated} bytes, not {actual}")]
    WrongBase {
        /// The length in the delta's header.
        stated: u64,
        /// The length of the base at hand.
        actual: u64,
    },
    /// The result is allowed, but there is no memory for it.
    #[error("the delta's result of {size} bytes does not fit into memory")]
    NoMemory {
        /// The length of the result.
        size: u64,
    },
    /// The result would be longer than allowed.
    #[error("the delta's result of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The length of the result.
        size: u64,
        /// The most allowed.
        limit: u64,
    },
}

/// What a delta's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHeader {
    /// The length of the base, in bytes.
    pub base: u64,
    /// The length of the result, in bytes.
    pub result: u64,
    /// The length of the header itself; the instructions follow.
    pub len: usize,
}

/// No header is longer: two numbers of 64 bits, seven bits a byte.
pub const MAX_HEADER: usize = 20;

/// Reads a delta's header from its first bytes; [`MAX_HEADER`] of them are always enough.
pub fn sizes(delta: &[u8]) -> Result<DeltaHeader, DeltaError> {
    let (base, first) = size(delta)?;
    let (result, second) = size(&delta[first..])?;
    Ok(DeltaHeader {
        base,
        result,
        len: first + second,
    })
}

/// Reads a number of seven bits a byte, the lowest first: the number and its length.
fn size(data: &[u8]) -> Result<(u64, usize), DeltaError> {
    let mut value = 0;
    for (at, &byte) in data.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(DeltaError::Malformed(if data.len() < 10 {
        "ends within its header"
    } else {
        "states a size of more than 64 bits"
    }))
}

/// Applies `delta` to `base`. The result is allocated once and exactly.
///
/// # Errors
///
/// [`DeltaError::TooLarge`], before anything is allocated, for a result of more than `max` bytes.
pub fn apply(base: &[u8], delta: &[u8], max: u64) -> Result<Vec<u8>, DeltaError> {
    let header = sizes(delta)?;
    if header.base != base.len() as u64 {
        return Err(DeltaError::WrongBase {
            stated: header.base,
            actual: base.len() as u64,
        });
    }
    let too_large = DeltaError::TooLarge {
        size: header.result,
        limit: max,
    };
    let size = usize::try_from(header.result).map_err(|_| too_large)?;
    if header.result > max {
        return Err(too_large);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(size)
        .map_err(|_| DeltaError::NoMemory {
            size: header.result,
        })?;
    let mut rest = &delta[header.len..];
    while let Some((&op, tail)) = rest.split_first() {
        let piece;
        (piece, rest) = if op & 0x80 != 0 {
            copy(base, op, tail)?
        } else if op != 0 {
            tail.split_at_checked(usize::from(op))
                .ok_or(DeltaError::Malformed("ends within new bytes"))?
        } else {
            return Err(DeltaError::Malformed("has the reserved instruction 0"));
        };
        if piece.len() > size - out.len() {
            return Err(DeltaError::Malformed("makes more than it states"));
        }
        out.extend_from_slice(piece);
    }
    if out.len() != size {
        return Err(DeltaError::Malformed("makes less than it states"));
    }
    Ok(out)
}

/// Reads the operands of copy instruction `op` from `data`: what is copied, and what follows.
#[inline]
fn copy<'a>(base: &'a [u8], op: u8, data: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), DeltaError> {
    let mut rest = data;
    let mut operand = |flags: std::ops::Range<u32>| {
        let mut value = 0usize;
        for (place, flag) in flags.enumerate() {
            if op & 1 << flag != 0 {
                let (&byte, tail) = rest
                    .split_first()
                    .ok_or(DeltaError::Malformed("ends within a copy instruction"))?;
                value |= usize::from(byte) << (8 * place);
                rest = tail;
            }
        }
        Ok(value)
    };
    let offset = operand(0..4)?;
    let size = match operand(4..7)? {
        0 => 0x10000,
        size => size,
    };
    let piece = base
        .get(offset..)
        .and_then(|from| from.get(..size))
        .ok_or(DeltaError::Malformed("copies from beyond its base"))?;
    Ok((piece, rest))
}

#[cfg(test)]
pub mod tests {
    //! Also makes deltas for the tests of packs.

    use proptest::prelude::*;

    use super::*;

    /// One instruction.
    #[derive(Clone, Debug)]
    pub enum Op {
        /// Copy `size` bytes of the base from `offset` on.
        Copy {
            /// Where from.
            offset: usize,
            /// How many, at least one and less than 2^24.
            size: usize,
        },
        /// Insert these bytes, 1 to 127 of them.
        Insert(Vec<u8>),
    }

    fn encode_size(out: &mut Vec<u8>, mut size: u64) {
        while size > 0x7f {
            out.push(size as u8 | 0x80);
            size >>= 7;
        }
        out.push(size as u8);
    }

    /// Writes a delta.
    pub fn encode(base: u64, result: u64, ops: &[Op]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_size(&mut out, base);
        encode_size(&mut out, result);
        for op in ops {
            match op {
                Op::Copy { offset, size } => {
                    let at = out.len();
                    out.push(0x80);
                    let size = if *size == 0x10000 { 0 } else { *size };
                    let operands = [(*offset, 0, 4), (size, 4, 3)];
                    for (value, flag, bytes) in operands {
                        for place in 0..bytes {
                            let byte = (value >> (8 * place)) as u8;
                            if byte != 0 {
                                out[at] |= 1 << (flag + place);
                                out.push(byte);
                            }
                        }
                    }
                }
                Op::Insert(bytes) => {
                    out.push(bytes.len() as u8);
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    /// The model: what the instructions mean.
    pub fn meaning(base: &[u8], ops: &[Op]) -> Vec<u8> {
        let piece = |op: &Op| match op {
            Op::Copy { offset, size } => base[*offset..offset + size].to_vec(),
            Op::Insert(bytes) => bytes.clone(),
        };
        ops.iter().flat_map(piece).collect()
    }

    /// Instructions that fit a base of `len` bytes.
    pub fn ops(len: usize) -> impl Strategy<Value = Vec<Op>> {
        let insert = prop::collection::vec(any::<u8>(), 1..128).prop_map(Op::Insert);
        let copy = (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
            move |(start, size)| {
                let offset = start.index(len.max(1));
                let size = 1 + size.index((len - offset).max(1));
                Op::Copy { offset, size }
            },
        );
        let op = if len == 0 {
            insert.boxed()
        } else {
            prop_oneof![insert, copy].boxed()
        };
        prop::collection::vec(op, 0..12)
    }

    fn base_and_ops() -> impl Strategy<Value = (Vec<u8>, Vec<Op>)> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            // Long enough for three bytes of offset and size.
            (70_000usize..200_000).prop_map(|len| (0..len).map(|at| (at / 7) as u8).collect()),
        ]
        .prop_flat_map(|base: Vec<u8>| {
            let ops = ops(base.len());
            (Just(base), ops)
        })
    }

    #[test]
    fn sizes_have_up_to_64_bits() {
        let header = |last: &[u8]| {
            let base = [&[0xff; 8][..], last].concat();
            sizes(&[&base[..], &[7]].concat())
        };
        let low = u64::MAX >> 8;
        for (last, high) in [(&[0x7f][..], 0x7f << 56), (&[0x80, 1], 1 << 63)] {
            let expected = DeltaHeader {
                base: low | high,
                result: 7,
                len: 9 + last.len(),
            };
            assert_eq!(header(last), Ok(expected), "{last:?}");
        }
        assert!(header(&[0x80, 0]).is_ok(), "longer than it has to be");
        for last in [&[0x80, 2][..], &[0x80, 0x81, 0]] {
            let error = header(last).expect_err("65 bits and more");
            assert!(error.to_string().contains("64 bits"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_delta_gives_what_its_instructions_mean((base, ops) in base_and_ops()) {
            let expected = meaning(&base, &ops);
            let delta = encode(base.len() as u64, expected.len() as u64, &ops);
            let made = apply(&base, &delta, expected.len() as u64).expect("a good delta");
            prop_assert_eq!(made.capacity(), expected.len());
            prop_assert!(made == expected);
        }

        #[test]
        fn a_cut_delta_is_an_error((base, ops) in base_and_ops(), cut in any::<prop::sample::Index>()) {
            let result = meaning(&base, &ops);
            let delta = encode(base.len() as u64, result.len() as u64, &ops);
            let cut = cut.index(delta.len());
            prop_assert!(apply(&base, &delta[..cut], u64::MAX).is_err());
        }

        #[test]
        fn no_bytes_panic(base in prop::collection::vec(any::<u8>(), 0..40), ops in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut delta = encode(base.len() as u64, 50, &[]);
            delta.extend_from_slice(&ops);
            let made = apply(&base, &delta, 50);
            prop_assert!(made.map_or(true, |made| made.len() == 50));
            let _ = apply(&base, &ops, 50);
        }
    }

    #[test]
    fn a_copy_without_a_size_means_64_kib() {
        let base = vec![7; 0x10000];
        let delta = [&encode(0x10000, 0x10000, &[])[..], &[0x80]].concat();
        assert_eq!(apply(&base, &delta, u64::MAX), Ok(base));
    }

    #[test]
    fn each_fault_is_named() {
        let base = b"0123456789";
        let with = |ops: &[u8]| [&[10, 4][..], ops].concat();
        let malformed = DeltaError::Malformed;
        for (delta, error) in [
            (vec![], malformed("ends within its header")),
            (vec![10], malformed("ends within its header")),
            (vec![0x80; 5], malformed("ends within its header")),
            (vec![0xff; 9], malformed("ends within its header")),
            (
                vec![0xff; 10],
                malformed("states a size of more than 64 bits"),
            ),
            (
                vec![0xff; 12],
                malformed("states a size of more than 64 bits"),
            ),
            (
                vec![11, 4],
                DeltaError::WrongBase {
                    stated: 11,
                    actual: 10,
                },
            ),
            (
                vec![10, 101],
                DeltaError::TooLarge {
                    size: 101,
                    limit: 100,
                },
            ),
            (with(&[0]), malformed("has the reserved instruction 0")),
            (with(&[4, 1, 2, 3]), malformed("ends within new bytes")),
            (
                with(&[0x91, 0]),
                malformed("ends within a copy instruction"),
            ),
            (
                with(&[0x91, 7, 4]),
                malformed("copies from beyond its base"),
            ),
            (
                with(&[0x9f, 0xff, 0xff, 0xff, 0xff, 4]),
                malformed("copies from beyond its base"),
            ),
            (with(&[0x91, 1, 5]), malformed("makes more than it states")),
            (with(&[0x91, 1, 3]), malformed("makes less than it states")),
            (
                with(&[0x91, 1, 4, 1, 9]),
                malformed("makes more than it states"),
            ),
        ] {
            assert_eq!(apply(base, &delta, 100), Err(error), "{delta:?}");
        }
        assert_eq!(apply(base, &with(&[0x91, 1, 4]), 100), Ok(b"1234".to_vec()));
    }

    #[test]
    fn the_largest_sizes_are_read() {
        let mut delta = Vec::new();
        encode_size(&mut delta, u64::MAX);
        encode_size(&mut delta, u64::MAX);
        assert_eq!(delta.len(), MAX_HEADER);
        let header = sizes(&delta).expect("64 bits");
        assert_eq!(
            (header.base, header.result, header.len),
            (u64::MAX, u64::MAX, MAX_HEADER)
        );
    }
}
