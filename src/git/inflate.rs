//! zlib streams whose inflated length is known beforehand, as all of Git's are.
//!
//! May import: flate2.
//!
//! Always holds: a stream gives exactly the bytes that were announced or an error, and what a
//! hostile stream would give beyond them is never made. Memory is written as data comes, not when
//! it is announced.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};

/// How much is inflated at once: small enough to stay in a core's cache between being zeroed and
/// being written.
const PIECE: usize = 65_536;

/// Why a stream can't be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It isn't zlib, or its checksum is wrong.
    #[error("the compressed data is broken")]
    Broken,
    /// It goes on after the announced length.
    #[error("the compressed data is longer than announced")]
    TooLong,
    /// It ends before the announced length.
    #[error("the compressed data is shorter than announced")]
    TooShort,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// How much of the input was used. All of it, unless the stream ended.
    pub taken: usize,
    /// Whether the stream ended.
    pub end: End,
}

/// Whether a stream is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All announced bytes are there and the stream's checksum is right.
    Reached,
    /// More input is needed.
    NotYet,
}

/// Inflates one stream after another with one state.
pub struct Inflater {
    state: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater at the start of a stream.
    pub fn new() -> Self {
        Self {
            state: Decompress::new(true),
        }
    }

    /// Starts a new stream.
    pub fn reset(&mut self) {
        self.state.reset(true);
    }

    /// Inflates `input`, the next bytes of a stream of `size` bytes, to the end of `out`, which
    /// holds what the same stream gave before and nothing else.
    pub fn fill(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        size: usize,
    ) -> Result<Fed, InflateError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let start = out.len();
            // Little input makes little output: don't zero much for it. Where this turns out too
            // little there is another round, or the next call.
            let room = (size - start).min(PIECE).min(1024 + 16 * rest.len());
            let step = if room == 0 {
                self.step(rest, &mut [0], 0)?
            } else {
                out.resize(start + room, 0);
                let step = self.step(rest, &mut out[start..], room);
                out.truncate(start + step.as_ref().map_or(0, |step| step.made));
                step?
            };
            taken += step.taken;
            if step.ended && out.len() < size {
                return Err(InflateError::TooShort);
            }
            if let Some(end) = step.end(taken == input.len()) {
                return Ok(Fed { taken, end });
            }
        }
    }

    /// Inflates `input`, the next bytes of a stream of which `left` bytes are still to come, and
    /// hands the result to `out` in pieces of at most 64 KiB. `left` is counted down.
    pub fn pieces(
        &mut self,
        input: &[u8],
        left: &mut u64,
        scratch: &mut Vec<u8>,
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Fed, PieceError> {
        scratch.resize(PIECE, 0);
        let mut taken = 0;
        loop {
            let room = usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE));
            let step = self.step(&input[taken..], &mut scratch[..room.max(1)], room)?;
            taken += step.taken;
            *left -= step.made as u64;
            if step.made > 0 {
                out(&scratch[..step.made])?;
            }
            if step.ended && *left > 0 {
                return Err(InflateError::TooShort.into());
            }
            if let Some(end) = step.end(taken == input.len()) {
                return Ok(Fed { taken, end });
            }
        }
    }

    /// Inflates only the first bytes of a stream, which may be longer: `input`, its next bytes, into
    /// `out[*made..]`. [`End::Reached`] says that `out` is full or the stream through.
    pub fn prefix(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        made: &mut usize,
    ) -> Result<Fed, InflateError> {
        let mut taken = 0;
        loop {
            let room = out.len() - *made;
            if room == 0 {
                let end = End::Reached;
                return Ok(Fed { taken, end });
            }
            let step = self.step(&input[taken..], &mut out[*made..], room)?;
            taken += step.taken;
            *made += step.made;
            if let Some(end) = step.end(taken == input.len()) {
                return Ok(Fed { taken, end });
            }
        }
    }

    /// One call of zlib, which may make up to `room` bytes; `out` is at least one byte long, since
    /// with none zlib may not look for the stream's end.
    fn step(&mut self, input: &[u8], out: &mut [u8], room: usize) -> Result<Step, InflateError> {
        let before = (self.state.total_in(), self.state.total_out());
        // With `Finish` zlib spares itself keeping a window for a stream that ends in this call.
        let status = self.state.decompress(input, out, FlushDecompress::Finish);
        let ended = match status.map_err(|_| InflateError::Broken)? {
            Status::StreamEnd => true,
            Status::Ok | Status::BufError => false,
        };
        let taken = (self.state.total_in() - before.0) as usize;
        let made = (self.state.total_out() - before.1) as usize;
        if made > room {
            return Err(InflateError::TooLong);
        }
        if !ended && taken == 0 && made == 0 && !input.is_empty() {
            return Err(InflateError::Broken);
        }
        Ok(Step { taken, made, ended })
    }
}

/// What one call of zlib did.
struct Step {
    taken: usize,
    made: usize,
    ended: bool,
}

impl Step {
    /// Whether the caller is done with its input. What zlib still holds back when all input is
    /// taken comes with the next input: a stream's last bytes, its checksum, are only taken when
    /// all else was made.
    fn end(&self, all_taken: bool) -> Option<End> {
        match (self.ended, all_taken) {
            (true, _) => Some(End::Reached),
            (false, true) => Some(End::NotYet),
            (false, false) => None,
        }
    }
}

/// Why a stream can't be handed on in pieces.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// The stream is bad.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// The receiver failed.
    #[error(transparent)]
    Out(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn deflate(data: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Inflates in pieces of `step` bytes both ways; checks that they agree.
    fn inflate(
        stream: &[u8],
        size: usize,
        step: usize,
    ) -> Result<(Vec<u8>, End, usize), InflateError> {
        let mut inflater = Inflater::new();
        let mut filled = Vec::with_capacity(size);
        let (mut fed, mut end) = (0, End::NotYet);
        for piece in stream.chunks(step) {
            let result = inflater.fill(piece, &mut filled, size)?;
            fed += result.taken;
            end = result.end;
            if end == End::Reached {
                break;
            }
            assert_eq!(result.taken, piece.len());
        }
        assert!(filled.capacity() <= size, "never beyond what was announced");

        inflater.reset();
        let (mut collected, mut left, mut scratch) = (Vec::new(), size as u64, Vec::new());
        let mut end_of_pieces = End::NotYet;
        for piece in stream.chunks(step) {
            let mut out = |data: &[u8]| {
                assert!((1..=64 * 1024).contains(&data.len()));
                collected.extend_from_slice(data);
                Ok(())
            };
            match inflater.pieces(piece, &mut left, &mut scratch, &mut out) {
                Ok(result) => end_of_pieces = result.end,
                Err(error) => panic!("{error} only in pieces"),
            }
            if end_of_pieces == End::Reached {
                break;
            }
        }
        assert_eq!((&collected, end_of_pieces), (&filled, end));
        Ok((filled, end, fed))
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * at / 700) as u8).collect()
    }

    #[test]
    fn streams_of_all_shapes_are_inflated() {
        for data in [
            vec![],
            vec![1],
            sample(1_000),
            sample(300_000),
            vec![0; 1_000_000],
        ] {
            for level in [0, 1, 9] {
                let stream = deflate(&data, level);
                let with_more = [&stream[..], b"next"].concat();
                for step in [7, 100, 65_536, usize::MAX] {
                    let (made, end, fed) =
                        inflate(&with_more, data.len(), step).expect("a good stream");
                    assert!(made == data);
                    assert_eq!((end, fed), (End::Reached, stream.len()));
                    // Nothing that follows is needed to find the end.
                    let (made, end, _) = inflate(&stream, data.len(), step).expect("a good stream");
                    assert!(made == data && end == End::Reached);
                }
            }
        }
    }

    #[test]
    fn other_lengths_than_announced_are_errors() {
        let mut inflater = Inflater::new();
        for len in [1, 100, 70_000, 200_000] {
            let stream = deflate(&sample(len), 6);
            let mut fill = |size: usize| {
                inflater.reset();
                inflater.fill(&stream, &mut Vec::new(), size)
            };
            assert_eq!(fill(len + 1), Err(InflateError::TooShort));
            assert_eq!(fill(len - 1), Err(InflateError::TooLong));
            assert_eq!(fill(0), Err(InflateError::TooLong));
            assert!(fill(len).is_ok());
            for (size, error) in [
                (len + 1, InflateError::TooShort),
                (len - 1, InflateError::TooLong),
            ] {
                inflater.reset();
                let mut left = size as u64;
                let result = inflater.pieces(&stream, &mut left, &mut Vec::new(), &mut |_| Ok(()));
                assert!(
                    matches!(result, Err(PieceError::Inflate(e)) if e == error),
                    "{result:?}"
                );
                inflater.reset();
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_what_it_announced() {
        let bomb = deflate(&vec![0; 50_000_000], 9);
        let mut out = Vec::new();
        let result = Inflater::new().fill(&bomb, &mut out, 100);
        assert_eq!(result, Err(InflateError::TooLong));
        assert!(out.capacity() < 200);
    }

    #[test]
    fn an_announcement_alone_takes_no_memory() {
        let mut out = Vec::new();
        let fed = Inflater::new().fill(&deflate(b"x", 6)[..5], &mut out, 1 << 30);
        assert_eq!(fed.map(|fed| fed.end), Ok(End::NotYet));
        assert!(out.capacity() < 10_000);
    }

    /// A long run is made from bytes that were taken long before.
    #[test]
    fn output_without_input_is_no_broken_stream() {
        let stream = deflate(&vec![7; 3_000], 9);
        let mut inflater = Inflater::new();
        let (mut taken, mut quiet) = (0, 0);
        for _ in 0..3_000 {
            let mut byte = [0];
            let fed = inflater.prefix(&stream[taken..], &mut byte, &mut 0);
            let fed = fed.expect("a good stream");
            assert_eq!((byte, fed.end), ([7], End::Reached));
            taken += fed.taken;
            quiet += usize::from(fed.taken == 0);
        }
        assert!(quiet > 2_000, "{quiet}");
    }

    #[test]
    fn a_receivers_failure_comes_through() {
        let mut left = 3;
        let fail = &mut |_: &[u8]| Err(io::Error::other("full"));
        let result = Inflater::new().pieces(&deflate(b"abc", 6), &mut left, &mut Vec::new(), fail);
        assert!(matches!(result, Err(PieceError::Out(_))), "{result:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(start in prop::bool::ANY, tail in prop::collection::vec(any::<u8>(), 0..60), size in 0usize..200) {
            let mut data = if start { deflate(b"hello hello hello", 6)[..9].to_vec() } else { Vec::new() };
            data.extend_from_slice(&tail);
            let mut out = Vec::new();
            let _ = Inflater::new().fill(&data, &mut out, size);
            prop_assert!(out.len() <= size);
        }
    }
}
