//! The contract of the dead-letter store: the history.

use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::dead_letter::{
    ClaimStatus, CorrectionClaim, DeadLetterChange, DeadLetterState, DeadLetterUpdate, HistoryAction,
    HistoryEntry, HistoryOutcome,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

use super::{MS, NOW, SECOND, Store, own_dead_letter, received, recorded, state_update};

crate::contract_suite! { $ crate dead_letter_history, crate::DeadLetterStore, dead_letter_history_contract_tests: [
    a_history_reads_oldest_first_and_keeps_every_field,
    a_history_entry_written_twice_is_one_entry,
    a_message_recorded_again_at_another_time_leaves_one_entry,
    an_update_that_lost_is_still_in_the_history,
] }

async fn a_history_reads_oldest_first_and_keeps_every_field(store: &Store) {
    let dead_letter = own_dead_letter();
    store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();
    let mut entries = vec![received("receipt", NOW)];
    let mut operation_outcomes = ActualOutcome::ALL.into_iter();
    let mut outcomes = HistoryOutcome::ALL.into_iter();
    let mut reasons = Reason::ALL.into_iter();
    // Written newest first.
    for (n, action) in
        (1..=10).zip(HistoryAction::ALL.into_iter().cycle()).collect::<Vec<_>>().into_iter().rev()
    {
        let entry = HistoryEntry {
            at: NOW + n * MS,
            entry_id: format!("entry {n}"),
            action,
            reason: reasons.next(),
            attempt: (n % 2 == 1).then(|| u32::try_from(n).unwrap()),
            outcome: outcomes.next(),
            actor: format!("operator {n}"),
            host: format!("host-{n}"),
            note: (n % 2 == 0).then(|| format!("note {n}: it's \"ünï\"")),
            run_id: (n % 3 == 0).then(|| format!("run {n}")),
            operation_outcome: operation_outcomes.next(),
            correction: (n % 2 == 1).then(|| CorrectionClaim {
                number: u32::try_from(n).unwrap(),
                sha256: format!("hash {n}"),
                order_id: OrderId(100 + n),
                body: format!("{{\"n\": {n}}}"),
                status: ClaimStatus::ALL[usize::try_from(n / 2 % 2).unwrap()],
            }),
            corrected_by: (n % 3 == 1).then(|| format!("message {n}")),
            replaced: (n % 3 == 1).then(|| format!("{{\"row\": {n}}}")),
        };
        let update = DeadLetterUpdate::new(&dead_letter, 0, DeadLetterChange::Nothing, entry.clone());
        store.apply(&update).await.unwrap();
        entries.insert(1, entry);
    }

    assert_eq!(store.history(&dead_letter.id).await.unwrap(), entries);
}

async fn a_history_entry_written_twice_is_one_entry(store: &Store) {
    let dead_letter = own_dead_letter();
    let update = state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + MS);

    recorded(store, &dead_letter, &[update.clone(), update.clone()]).await;

    assert_eq!(store.history(&dead_letter.id).await.unwrap(), [received("receipt", NOW), update.entry]);
}

async fn a_message_recorded_again_at_another_time_leaves_one_entry(store: &Store) {
    let dead_letter = own_dead_letter();

    // As a redelivery does: an entry with the same id, at a later time.
    store.record(&dead_letter, &received("receipt", NOW)).await.unwrap();
    store.record(&dead_letter, &received("receipt", NOW + SECOND)).await.unwrap();

    let entries = store.history(&dead_letter.id).await.unwrap();
    assert_eq!(entries.len(), 1, "{entries:#?}");
}

async fn an_update_that_lost_is_still_in_the_history(store: &Store) {
    let dead_letter = own_dead_letter();
    let discard = state_update(&dead_letter, 0, DeadLetterState::Discarded, NOW + MS);
    let late = state_update(&dead_letter, 0, DeadLetterState::Parked, NOW + 2 * MS);

    recorded(store, &dead_letter, &[discard.clone(), late.clone()]).await;

    let entries = store.history(&dead_letter.id).await.unwrap();
    assert_eq!(entries, [received("receipt", NOW), discard.entry, late.entry]);
}
