//! Operations on `AsyncFs` as a kernel would send them, over a provider that answers when the input
//! says, on an executor whose every choice comes from the input: checked against a model tree.
//!
//! Always checked: an answer is the tree's (Truth); an error is one that was injected (No lie); at
//! most one question about a thing is under way (One flight); when the provider has answered
//! everything, everyone has an answer (No one is stranded); when the kernel has forgotten everything,
//! the root is left (Balance); a path has one number and a number one path as long as the kernel
//! knows it.

pub mod executor;
pub mod kernel;
pub mod provider;

use crate::input::Input;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut kernel = kernel::Kernel::new(&mut input);
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        kernel.step(&mut input);
    }
    kernel.finish();
}
