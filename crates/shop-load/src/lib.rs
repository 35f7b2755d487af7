//! Load on the API: users, or an interval, that create orders and transactions, repeat every request that was not
//! answered, and prove that each was recorded exactly once.

pub mod client;
pub mod counts;
pub mod load;
pub mod manifest;
pub mod proof;
pub mod requests;
