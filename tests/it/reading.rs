//! The commands of the desk that only read: what they find, and how they tell it.

mod foretold;
pub mod place;
mod renderings;
mod verdicts;
mod window;
