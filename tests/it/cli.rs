//! The command lines as people meet them: help, errors, exit codes, and what never happens.

mod config;
mod help;
mod refusals;
