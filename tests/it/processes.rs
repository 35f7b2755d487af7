//! The real executables as processes: killed, drained, in outages, and with invalid input.

#[cfg(feature = "embedded")]
mod admin;
#[cfg(all(feature = "embedded", feature = "parquet"))]
mod analysts;
#[cfg(feature = "embedded")]
mod bad_input;
#[cfg(feature = "embedded")]
mod bulk_operations;
#[cfg(feature = "embedded")]
mod card_numbers;
#[cfg(feature = "shop-embedded")]
mod confirmations;
#[cfg(feature = "shop-embedded")]
mod confirmations_long;
#[cfg(feature = "embedded")]
mod demo;
#[cfg(feature = "embedded")]
mod endings;
#[cfg(all(feature = "embedded", feature = "parquet"))]
mod exports;
#[cfg(all(feature = "embedded", target_os = "linux"))]
mod from_files;
#[cfg(feature = "embedded")]
mod gcp_logs;
#[cfg(feature = "embedded")]
mod handler;
#[cfg(feature = "embedded")]
mod heartbeats;
#[cfg(feature = "embedded")]
mod inspect;
#[cfg(feature = "embedded")]
mod killed;
#[cfg(feature = "embedded")]
mod last_words;
#[cfg(feature = "shop-embedded")]
mod load;
#[cfg(all(feature = "embedded", feature = "pubsub", feature = "cassandra"))]
mod login;
#[cfg(all(unix, feature = "embedded"))]
mod not_writable;
#[cfg(all(feature = "pubsub", feature = "cassandra"))]
mod on_services;
#[cfg(feature = "embedded")]
mod outage;
pub mod program;
#[cfg(all(unix, feature = "embedded"))]
mod replaced;
#[cfg(feature = "embedded")]
mod runbook;
#[cfg(all(feature = "embedded", target_os = "linux"))]
mod screens;
#[cfg(feature = "shop-embedded")]
mod shop;
#[cfg(all(feature = "shop-embedded", feature = "shop-cassandra"))]
mod shop_long;
#[cfg(feature = "shop-embedded")]
mod shop_race;
#[cfg(feature = "shop-embedded")]
mod shop_replay;
#[cfg(feature = "embedded")]
pub mod table;
#[cfg(all(feature = "pubsub", feature = "cassandra", feature = "embedded"))]
mod three_nodes;
#[cfg(feature = "embedded")]
mod traces;
#[cfg(all(feature = "embedded", target_os = "linux"))]
mod unheard;

/// The flags of a producer for one order and one payment each, without any irregularity.
#[cfg(feature = "embedded")]
const PLAIN: [&str; 12] = [
    "--late-orders",
    "0",
    "--missing-orders",
    "0",
    "--duplicates",
    "0",
    "--order-updates",
    "0",
    "--second-payments",
    "0",
    "--invalid",
    "0",
];
