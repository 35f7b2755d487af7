//! Which correction of a dead letter a body is. Each correction has a number of its own, by a line of the
//! dead letter's history that is written before the body is published: whoever was killed in between finds
//! the number again, and two desks at once do not take the same one for two bodies.

use std::time::Duration;

use ecom_domain::dead_letter::{DeadLetterChange, DeadLetterRecord, HistoryAction, HistoryEntry, sha256};
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

const CLAIM: &str = "correction-";
const WITHDRAWN: &str = "withdrawn-";
/// Two desks that met wait up to this long before they try again.
const STEP_ASIDE: Duration = Duration::from_millis(200);

/// The corrections a history tells of.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct CorrectionClaims {
    /// Number and body hash of each, withdrawn ones too.
    all: Vec<(u32, String)>,
    withdrawn: Vec<(u32, String)>,
    /// The first corrected body, where there is one.
    pub(super) first: Option<String>,
}

impl CorrectionClaims {
    /// The corrections in a dead letter's history.
    pub(super) fn of(history: &[HistoryEntry]) -> Self {
        let mut claims = Self::default();
        for line in history {
            if let Some(claim) = named(&line.entry_id, CLAIM) {
                claims.all.push(claim);
                claims.first.get_or_insert_with(|| line.outcome.clone());
            } else if let Some(claim) = named(&line.entry_id, WITHDRAWN) {
                claims.withdrawn.push(claim);
            }
        }
        claims
    }

    /// The number that this body has, and no other.
    pub(super) fn number_of(&self, sha256: &str) -> Option<u32> {
        let stands = |claim: &&(u32, String)| !self.withdrawn.contains(claim);
        let own = self.all.iter().filter(stands).filter(|(_, body)| body == sha256);
        let alone = |number: u32| {
            let of_number = self.all.iter().filter(stands).filter(|(other, _)| *other == number);
            of_number.into_iter().all(|(_, body)| body == sha256)
        };
        own.map(|(number, _)| *number).find(|number| alone(*number))
    }

    /// The number of a body that has none yet.
    pub(super) fn next(&self) -> u32 {
        self.all.iter().map(|(number, _)| number.saturating_add(1)).max().unwrap_or_default()
    }
}

fn named(entry_id: &str, prefix: &str) -> Option<(u32, String)> {
    let (number, body) = entry_id.strip_prefix(prefix)?.split_once('-')?;
    Some((number.parse().ok()?, body.to_owned()))
}

/// The number of this correction; a line of the history says so when this returns.
///
/// Of two desks that take the same number at once at least one reads the other's line, since each
/// reads after its own is durable; it withdraws, and takes another.
pub(super) async fn claim(
    resolver: &DeadLetterResolver,
    record: &DeadLetterRecord,
    body: &[u8],
) -> Result<u32, RoleError> {
    let hash = sha256(body);
    let text = String::from_utf8_lossy(body);
    loop {
        let claims = read(resolver, record).await?;
        if let Some(number) = claims.number_of(&hash) {
            return Ok(number);
        }
        let number = claims.next();
        write(resolver, record, CLAIM, number, &hash, &text).await?;
        if read(resolver, record).await?.number_of(&hash) == Some(number) {
            return Ok(number);
        }
        let words = "another body was given the same number at the same time";
        write(resolver, record, WITHDRAWN, number, &hash, words).await?;
        tokio::time::sleep(STEP_ASIDE.mul_f64(resolver.entropy.share())).await;
    }
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
    prefix: &str,
    number: u32,
    hash: &str,
    outcome: &str,
) -> Result<(), RoleError> {
    let entry_id = format!("{prefix}{number}-{hash}");
    let line = HistoryEntry { entry_id, ..resolver.line(HistoryAction::CorrectionResult, outcome) };
    resolver.act(record, DeadLetterChange::Nothing, line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(entry_ids: &[&str]) -> CorrectionClaims {
        let line = |entry_id: &&str| HistoryEntry {
            at: 1,
            entry_id: (*entry_id).to_owned(),
            action: HistoryAction::CorrectionResult,
            outcome: format!("body of {entry_id}"),
            actor: String::new(),
            host: String::new(),
            note: None,
            run_id: None,
        };
        CorrectionClaims::of(&entry_ids.iter().map(line).collect::<Vec<_>>())
    }

    #[test]
    fn the_same_body_finds_its_number_again_and_another_takes_the_next() {
        let some = claims(&["received-1", "correction-0-aa", "correction-1-bb"]);
        assert_eq!(
            (some.number_of("aa"), some.number_of("bb"), some.number_of("cc")),
            (Some(0), Some(1), None)
        );
        assert_eq!(some.next(), 2);
        assert_eq!(some.first.as_deref(), Some("body of correction-0-aa"));
        assert_eq!(claims(&["received-1"]).next(), 0);
    }

    #[test]
    fn a_number_that_two_bodies_took_is_neithers_until_one_withdraws() {
        let met = claims(&["correction-0-aa", "correction-0-bb"]);
        assert_eq!((met.number_of("aa"), met.number_of("bb"), met.next()), (None, None, 1));
        let parted = claims(&["correction-0-aa", "correction-0-bb", "withdrawn-0-bb", "correction-1-bb"]);
        assert_eq!((parted.number_of("aa"), parted.number_of("bb"), parted.next()), (Some(0), Some(1), 2));
    }
}
