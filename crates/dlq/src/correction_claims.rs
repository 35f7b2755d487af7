//! Claims of correction numbers in the history of a dead letter.
//!
//! A claim is written before the corrected body is published: a correction that is repeated after a crash finds
//! its number again, and two operators that correct at once cannot use one number for two bodies.

use std::time::Duration;

use ecom_domain::dead_letter::{
    ClaimStatus, CorrectionClaim, DeadLetterChange, DeadLetterRecord, EventKind, HistoryAction, HistoryEntry,
    sha256,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::Fact;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::OrderId;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

/// The longest that an operator waits after a conflicting claim before it claims again.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// The claims in a history.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct CorrectionClaims {
    /// Every claim, withdrawn ones too, oldest first.
    claimed: Vec<CorrectionClaim>,
    withdrawn: Vec<CorrectionClaim>,
}

impl CorrectionClaims {
    /// Returns the claims in a dead letter's history.
    pub(super) fn of(history: &[HistoryEntry]) -> Self {
        let mut claims = Self::default();
        for claim in history.iter().filter_map(|entry| entry.correction.clone()) {
            match claim.status {
                ClaimStatus::Claimed => claims.claimed.push(claim),
                ClaimStatus::Withdrawn => claims.withdrawn.push(claim),
            }
        }
        claims
    }

    /// Returns the number that this body has claimed and no other body has.
    pub(super) fn number_of(&self, sha256: &str) -> Option<u32> {
        let own = self.standing().filter(|claim| claim.sha256 == sha256);
        let is_alone = |number: u32| {
            self.standing().filter(|claim| claim.number == number).all(|claim| claim.sha256 == sha256)
        };
        own.map(|claim| claim.number).find(|number| is_alone(*number))
    }

    /// Returns the next number that no body has claimed.
    pub(super) fn next(&self) -> u32 {
        self.claimed.iter().map(|claim| claim.number.saturating_add(1)).max().unwrap_or_default()
    }

    /// Returns the next number that no body has claimed and whose event time the row does not hold: two events
    /// with one event time would mix.
    pub(super) fn next_free(&self, t: EventTime, held: Option<EventTime>) -> u32 {
        let next = self.next();
        if held == Some(t.correction(next)) && !is_active(Mutant::CorrectionTakesRowTime) {
            next.saturating_add(1)
        } else {
            next
        }
    }

    /// Returns the order that the first corrected body is about.
    pub(super) fn order_id(&self) -> Option<OrderId> {
        self.claimed.first().map(|claim| claim.order_id)
    }

    /// The claims that were not withdrawn.
    fn standing(&self) -> impl Iterator<Item = &CorrectionClaim> {
        let is_withdrawn = |claim: &CorrectionClaim| {
            self.withdrawn.iter().any(|other| (other.number, &other.sha256) == (claim.number, &claim.sha256))
        };
        self.claimed.iter().filter(move |claim| !is_withdrawn(claim))
    }
}

/// Claims a number for a corrected body about `order_id` and returns it; durable when this returns.
///
/// Of two operators that claim the same number at once at least one reads the other's claim, since each reads
/// after its own is durable; it withdraws and claims another.
pub(super) async fn claim(
    resolver: &DeadLetterResolver,
    record: &DeadLetterRecord,
    body: &[u8],
    order_id: OrderId,
) -> Result<u32, RoleError> {
    let hash = sha256(body);
    let text = String::from_utf8_lossy(body);
    loop {
        // The row first: if it already shows this body, published by somebody else, then the claims read afterwards
        // have it, and it is not taken for another event.
        let fact = resolver.retrier.read(|| resolver.facts.fact(order_id)).await?;
        let claims = read(resolver, record).await?;
        if let Some(number) = claims.number_of(&hash) {
            return Ok(number);
        }
        let held = held(record.dead_letter.kind, fact.as_ref());
        let number = claims.next_free(record.dead_letter.t, held);
        let claim = CorrectionClaim {
            number,
            sha256: hash.clone(),
            order_id,
            body: text.clone().into_owned(),
            status: ClaimStatus::Claimed,
        };
        write(resolver, record, claim.clone()).await?;
        if read(resolver, record).await?.number_of(&hash) == Some(number) {
            return Ok(number);
        }
        let withdrawn = CorrectionClaim { status: ClaimStatus::Withdrawn, body: String::new(), ..claim };
        write(resolver, record, withdrawn).await?;
        tokio::time::sleep(RETRY_WAIT.mul_f64(resolver.entropy.share())).await;
    }
}

/// Returns the event time that a row holds in the column group of this kind of event.
pub(super) fn held(kind: EventKind, fact: Option<&Fact>) -> Option<EventTime> {
    fact.and_then(|fact| match kind {
        EventKind::Order => fact.order_written_at,
        EventKind::Payment => fact.payment_written_at,
    })
}

async fn read(
    resolver: &DeadLetterResolver,
    record: &DeadLetterRecord,
) -> Result<CorrectionClaims, RoleError> {
    let history =
        resolver.retrier.read(|| resolver.dead_letter_store.history(&record.dead_letter.id)).await?;
    Ok(CorrectionClaims::of(&history))
}

async fn write(
    resolver: &DeadLetterResolver,
    record: &DeadLetterRecord,
    claim: CorrectionClaim,
) -> Result<(), RoleError> {
    let entry = HistoryEntry {
        entry_id: claim.entry_id(),
        correction: Some(claim),
        ..resolver.history_entry(HistoryAction::Corrected, None)
    };
    resolver.record_update(record, DeadLetterChange::Nothing, entry).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClaimStatus::{Claimed, Withdrawn};

    /// The claims of a history with a receipt and these claims; the body `aa` is about order 1, others 2.
    fn claims(claims: &[(ClaimStatus, u32, &str)]) -> CorrectionClaims {
        let entry = |correction: Option<CorrectionClaim>| {
            let (id, action) = match &correction {
                Some(claim) => (claim.entry_id(), HistoryAction::Corrected),
                None => ("received-1".into(), HistoryAction::Received),
            };
            HistoryEntry { correction, ..HistoryEntry::new(1, id, action) }
        };
        let claims = claims.iter().map(|&(status, number, sha256)| {
            let order_id = OrderId(if sha256 == "aa" { 1 } else { 2 });
            Some(CorrectionClaim { number, sha256: sha256.to_owned(), order_id, body: String::new(), status })
        });
        let history: Vec<HistoryEntry> = std::iter::once(None).chain(claims).map(entry).collect();
        CorrectionClaims::of(&history)
    }

    #[test]
    fn the_same_body_finds_its_number_again_and_another_takes_the_next() {
        let some = claims(&[(Claimed, 0, "aa"), (Claimed, 1, "bb")]);
        assert_eq!(
            (some.number_of("aa"), some.number_of("bb"), some.number_of("cc")),
            (Some(0), Some(1), None)
        );
        assert_eq!(some.next(), 2);
        assert_eq!(some.order_id(), Some(OrderId(1)));
        assert_eq!((claims(&[]).next(), claims(&[]).order_id()), (0, None));
    }

    #[test]
    fn a_number_that_two_bodies_claimed_belongs_to_neither_until_one_withdraws() {
        let met = claims(&[(Claimed, 0, "aa"), (Claimed, 0, "bb")]);
        assert_eq!((met.number_of("aa"), met.number_of("bb"), met.next()), (None, None, 1));
        let parted =
            claims(&[(Claimed, 0, "aa"), (Claimed, 0, "bb"), (Withdrawn, 0, "bb"), (Claimed, 1, "bb")]);
        assert_eq!((parted.number_of("aa"), parted.number_of("bb"), parted.next()), (Some(0), Some(1), 2));
    }
}
