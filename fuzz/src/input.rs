//! Choices and content out of the fuzzer's bytes. May import: std.

/// Bytes that choices are drawn from, front to back. When they run out every choice is the
/// first one, so short inputs are whole inputs.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// One byte, 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// A choice of `n`, from 0; `n` is 1 to 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// A number of 32 bits.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// The next `len` bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// True if no bytes are left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Draws how a stream is to be cut into pieces.
    pub fn cuts(&mut self) -> Cuts<'a> {
        let count = self.below(16);
        Cuts(self.take(count))
    }
}

/// How a stream is cut: the lengths of its pieces, over and over; none means all in one.
#[derive(Clone, Copy, Debug)]
pub struct Cuts<'a>(&'a [u8]);

impl<'a> Cuts<'a> {
    /// Everything in one piece.
    pub const NONE: Cuts<'static> = Cuts(&[]);

    /// `content` in pieces, in order. A length of 0 makes an empty piece, unless all are 0; the
    /// length 255 means 4,096.
    pub fn pieces(self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let whole = self.0.iter().all(|len| *len == 0);
        let mut lens = self.0.iter().cycle();
        let mut rest = content;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let len = match lens.next() {
                _ if whole => rest.len(),
                None => rest.len(),
                Some(255) => 4096,
                Some(len) => usize::from(*len),
            };
            let (piece, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        let content: Vec<u8> = (0..=255).collect();
        for cuts in [&[][..], &[0], &[0, 0], &[1], &[0, 3], &[255], &[7, 0, 200]] {
            let pieces: Vec<_> = Cuts(cuts).pieces(&content).collect();
            assert_eq!(pieces.concat(), content, "{cuts:?}");
        }
        assert_eq!(Cuts(&[100]).pieces(&content).count(), 3);
    }

    #[test]
    fn an_input_that_ran_out_gives_first_choices() {
        let mut input = Input::new(&[5]);
        assert_eq!((input.below(4), input.below(4), input.word()), (1, 0, 0));
        assert!(input.take(3).is_empty() && input.is_empty());
    }
}
