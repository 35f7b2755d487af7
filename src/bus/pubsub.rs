//! Google Pub/Sub.
