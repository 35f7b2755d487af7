//! The result that an entry of a dead letter's history records, in words.

use super::terminal::plain;
use ecom_dlq::fact_summary::ReplacedFact;
use ecom_domain::dead_letter::{ClaimStatus, CorrectionClaim, HistoryEntry, HistoryOutcome};

/// Returns the result in words; `None` where the action says it all.
pub fn result(entry: &HistoryEntry) -> Option<String> {
    if let Some(message) = &entry.corrected_by {
        let replaced = entry.replaced.as_deref().and_then(ReplacedFact::from_json);
        let replaced = replaced.map(|fact| format!(", in place of {fact}")).unwrap_or_default();
        return Some(plain(&format!("corrected by message {message}{replaced}")));
    }
    if let Some(CorrectionClaim { body, status, .. }) = &entry.correction {
        return Some(match status {
            ClaimStatus::Claimed => plain(body),
            ClaimStatus::Withdrawn => "another body claimed the same number at the same time".to_owned(),
        });
    }
    let attempt = entry.attempt.map(|attempt| format!("attempt {attempt}"));
    let reason = || entry.reason.map(|reason| reason.as_str().to_owned());
    attempt.or_else(reason).or_else(|| entry.outcome.map(|outcome| words(outcome).to_owned()))
}

fn words(outcome: HistoryOutcome) -> &'static str {
    match outcome {
        HistoryOutcome::Applied => "applied",
        HistoryOutcome::AlreadyApplied => "already applied",
        HistoryOutcome::Superseded => "superseded by a newer event",
        HistoryOutcome::StillWaiting => "its order is not in the fact table",
        HistoryOutcome::MaxAgeExceeded => "its order did not arrive within max_age",
        HistoryOutcome::NotVisible => "written, but the row does not show it: was it deleted by hand?",
        HistoryOutcome::Conflict => "the row has another event with the same event time",
        HistoryOutcome::Poison => "the body is not a valid event: correct it",
        HistoryOutcome::NotRetried => "not applied automatically",
    }
}
