//! Load on the API: users who create orders and transactions, repeat every request that was not answered, and prove that
//! each was recorded exactly once.

pub mod client;
pub mod requests;
pub mod traffic;
