//! The contract suites of the ports: what their documentation promises, as test cases.
//!
//! An adapter turns each case into a test with
//! [`fact_store_contract_tests!`](crate::fact_store_contract_tests),
//! [`dead_letter_store_contract_tests!`](crate::dead_letter_store_contract_tests) and
//! [`operations_store_contract_tests!`](crate::operations_store_contract_tests). Each macro takes the path of
//! an async function that returns a [`Subject`], or `None` to skip the case. Cases may share one store: each
//! uses ids, days and orders that no other case of the process uses.
#![allow(clippy::unwrap_used, reason = "a case that cannot go on has failed")]

/// Defines the contract suite of a port, in a module of `contract`: the test functions of its cases, and the macro that
/// turns each case into a test of an adapter. A case that is missing from the list is dead code, which the compiler
/// reports.
///
/// `$d $this` are a dollar sign and `crate`, for the macro that this one defines.
#[macro_export]
macro_rules! contract_suite {
    ($d:tt $this:tt $module:ident, $port:path, $stamp:ident: [$($case:ident),+ $(,)?]) => {
        /// The cases, each with a time limit.
        pub mod cases {
            use $crate::contract::{Subject, run};
            $(
                /// Runs the case of this name, unless there is no subject.
                pub async fn $case(subject: Option<Subject<dyn $port>>) {
                    if let Some(subject) = subject {
                        run(super::$case(&subject)).await;
                    }
                }
            )+
        }

        #[doc(hidden)]
        #[macro_export]
        macro_rules! $stamp {
            ($d subject:path) => {
                $(
                    #[tokio::test]
                    async fn $case() {
                        $d $this::contract::$module::cases::$case($d subject().await).await;
                    }
                )+
            };
        }
    };
}

pub mod dead_letters;
pub mod facts;
pub mod operations;
mod subject;

#[doc(hidden)]
pub use dead_letters::{
    history as dead_letter_history, model as dead_letter_model, of_order as dead_letters_of_order,
    recording as dead_letter_recording, removal as dead_letter_removal, scans as dead_letter_scans,
    updates as dead_letter_updates,
};
#[doc(hidden)]
pub use facts::{
    model as fact_model, superseded as fact_superseded, unseen as fact_unseen, values as fact_values,
};
pub use subject::{Open, Subject, service_address};

use std::time::Duration;

/// The time limit of a case; far more than any needs.
const CASE_LIMIT: Duration = Duration::from_secs(240);

#[doc(hidden)]
pub async fn run(case: impl Future<Output = ()>) {
    if tokio::time::timeout(CASE_LIMIT, case).await.is_err() {
        panic!("the case did not end within {CASE_LIMIT:?}");
    }
}

/// Defines a test for each case of the [`FactStore`](crate::FactStore) contract. `$subject` is the path of an
/// async function that returns `Option<Subject<dyn FactStore>>`.
#[macro_export]
macro_rules! fact_store_contract_tests {
    ($subject:path) => {
        $crate::fact_row_contract_tests!($subject);
        $crate::fact_value_contract_tests!($subject);
        $crate::fact_superseded_contract_tests!($subject);
        $crate::fact_model_contract_tests!($subject);
    };
}

/// Defines a test for each case of the contract of a [`FactStore`](crate::FactStore) that keeps the older one of
/// two payments that were written although neither writer saw the other's.
#[macro_export]
macro_rules! unseen_payment_contract_tests {
    ($subject:path) => {
        $crate::fact_unseen_contract_tests!($subject);
    };
}

/// Defines a test for each case of the [`DeadLetterStore`](crate::DeadLetterStore) contract. `$subject` is
/// the path of an async function that returns `Option<Subject<dyn DeadLetterStore>>`.
#[macro_export]
macro_rules! dead_letter_store_contract_tests {
    ($subject:path) => {
        $crate::dead_letter_recording_contract_tests!($subject);
        $crate::dead_letter_update_contract_tests!($subject);
        $crate::dead_letter_history_contract_tests!($subject);
        $crate::dead_letter_scan_contract_tests!($subject);
        $crate::dead_letter_removal_contract_tests!($subject);
        $crate::dead_letters_of_order_contract_tests!($subject);
        $crate::dead_letter_model_contract_tests!($subject);
    };
}
