//! The shape of the repository, which the compiler and clippy do not check.

mod layers;
mod shape;
mod walks;
mod words;
