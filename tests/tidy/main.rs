//! The shape of the repository: what the compiler and clippy do not look at.

mod shape;
mod words;
