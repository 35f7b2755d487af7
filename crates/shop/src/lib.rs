//! The payment processor over its ports: takes orders and payments through their states, and reports each state with an
//! event on the topics of the pipeline.

pub mod audit;
pub mod due;
pub mod events;
pub mod gateway;
pub mod mutant;
pub mod orders;
pub mod payments;
pub mod processor;
pub mod requests;
pub mod settings;
pub mod stock;
