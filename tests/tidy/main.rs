//! The shape of the repository: what the compiler and clippy do not look at.

mod layers;
mod shape;
mod walks;
mod words;
