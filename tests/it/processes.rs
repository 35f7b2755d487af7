//! The real executables as processes: killed, stopped, starved and fed nonsense.

pub mod program;
