//! What happens to a message, written once over the ports.

pub mod assess;
pub mod census;
pub mod consume;
pub mod dead_letters;
pub mod durable;
pub mod heartbeat;
pub mod hold;
pub mod letters;
pub mod order_locks;
pub mod orders;
pub mod payments;
pub mod produce;
pub mod retries;
pub mod settlement;
pub mod settler;
pub mod summary;
pub mod sweep;
pub mod window;
