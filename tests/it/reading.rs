//! The dead-letter functions that only read: their results, and how these render.

pub mod fixture;
mod identify;
mod predictions;
mod renderings;
mod verdicts;
mod window;
