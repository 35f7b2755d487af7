//! The commands of the operator that only read: what they find, and how they tell it.

pub mod fixture;
mod predictions;
mod renderings;
mod verdicts;
mod window;
