//! Trees that look like source code to whatever packs, sends or searches them. May import: this room.
//!
//! Always holds: the same arguments give the same bytes.

use super::Files;

/// Source-like text of a little more than `bytes` bytes: words in lines, other ones for another seed.
pub fn text(seed: u64, bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "let", "self", "value", "match", "return", "struct", "index", "buffer", "result", "error",
        "state", "length", "entry", "offset", "node", "handle",
    ];
    // Marsaglia's xorshift, which must not begin with 0.
    let mut state = seed * 2 + 1;
    let mut text = String::with_capacity(bytes + 20);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = usize::try_from(state >> 60).expect("four bits");
        text.push_str(WORDS[word]);
        // Now and then a name that no other place has, and a line's end.
        if state & 0x7 == 0 {
            text.push_str(&format!("_{:x}", (state >> 20) & 0xffff));
        }
        text.push(if state & 0x70 == 0 { '\n' } else { ' ' });
    }
    text
}

/// Adds `count` files of 0.5 to 8 kB below `root`, which is empty or ends in a slash: 20 to a folder, 16
/// folders in one above.
pub fn add_sources(files: &mut Files, root: &str, count: usize) {
    for number in 0..count {
        let folder = number / 20;
        let path = format!(
            "{root}part-{:02}/module-{folder:04}/file-{number:05}.rs",
            folder / 16
        );
        files.add_file(path, source(root, number));
    }
}

/// Adds `count` files of 0.5 to 8 kB in one folder.
pub fn add_folder(files: &mut Files, folder: &str, count: usize) {
    for number in 0..count {
        files.add_file(
            format!("{folder}/file-{number:05}.rs"),
            source(folder, number),
        );
    }
}

fn source(root: &str, number: usize) -> String {
    let root: u64 = root.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
    let number_bits = u64::try_from(number).expect("a count fits 64 bits");
    text(
        (root << 32).wrapping_add(number_bits) % (1 << 40) + 2,
        500 + number * 7919 % 7500,
    )
}
