//! The handler with a scripted sender, and each sender with its peer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod folder;
mod notices;
mod orders;
mod python;
mod settings;
mod smtp;
mod webhook;
