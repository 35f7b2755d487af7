//! All about an order: one timeline, then each dead letter's verdict.

use serde::Serialize;

use super::dead_letter::EntryJson;
use super::rows::{Bodies, Row};
use super::{StepJson, json, list, meaning, or_dash, plain, steps, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::explain::{ExplainedDeadLetter, OrderTimeline, TimelineEntry, TimelineEvent};
use ecom_dlq::fact_text;
use ecom_dlq::next::Spell;
use ecom_dlq::selection::SelectedDeadLetter;
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::fact::Fact;

/// For people.
pub fn text(explained: &OrderTimeline, spell: Spell<'_>) -> String {
    let mut text = format!("order {} in {}, {}\n\n", explained.order, explained.store, time(explained.at));
    text.push_str(&row(explained.fact.as_ref()));
    text.push_str("\ntimeline (dead letters by number, see below; event times are the producers')\n");
    let number = |id: &str| {
        let found =
            explained.dead_letters.iter().position(|story| story.record.dead_letter.id.as_str() == id);
        found.map_or(0, |index| index + 1)
    };
    let moments = explained.timeline();
    text.push_str(&list(moments.iter().map(|moment| [rfc3339(moment.at), event(moment, &number)])));
    if explained.dead_letters.is_empty() {
        text.push_str("\nno dead letter is about it\n");
    }
    for (index, story) in explained.dead_letters.iter().enumerate() {
        text.push_str(&format!("\n{}", dead_letter(index + 1, story, spell)));
    }
    if explained.more {
        let shown = explained.dead_letters.len();
        text.push_str(&format!("\nthere are older dead letters about it; these are the newest {shown}\n"));
    }
    text
}

fn row(fact: Option<&Fact>) -> String {
    let Some(fact) = fact else { return "row: none; neither order nor payment was applied\n".to_owned() };
    let order = fact_text::order(fact).unwrap_or_else(|| "no order".to_owned());
    let payment = fact_text::payment(fact).unwrap_or_else(|| "no payment".to_owned());
    let written = |at: Option<_>, text: String| match at {
        None => text,
        Some(at) => format!("{text}; event of {at}"),
    };
    list([
        ["order".to_owned(), written(fact.order_written_at.map(|t| rfc3339(t.micros())), order)],
        ["payment".to_owned(), written(fact.payment_written_at.map(|t| rfc3339(t.micros())), payment)],
    ])
}

fn event(moment: &TimelineEntry<'_>, number: &impl Fn(&str) -> usize) -> String {
    match &moment.event {
        TimelineEvent::OrderShown => "order event that the row shows".to_owned(),
        TimelineEvent::PaymentShown { payment_id } => {
            format!("payment event that the row shows: payment {}", or_dash(*payment_id))
        }
        TimelineEvent::Happened { dead_letter } => {
            let subject = subject(dead_letter);
            format!("[{}] {subject} happened", number(dead_letter.dead_letter.id.as_str()))
        }
        TimelineEvent::Published { dead_letter, subscription } => {
            let number = number(dead_letter.dead_letter.id.as_str());
            format!("[{number}] {} was published (seen on {})", subject(dead_letter), plain(subscription))
        }
        TimelineEvent::Failed { dead_letter } => {
            let (reason, detail) = (dead_letter.dead_letter.reason, plain(&dead_letter.dead_letter.detail));
            format!(
                "[{}] could not be applied: {reason}: {detail}",
                number(dead_letter.dead_letter.id.as_str())
            )
        }
        TimelineEvent::Done { dead_letter, entry } => {
            let note = entry.note.as_deref().map(|note| format!(" ({})", plain(note))).unwrap_or_default();
            format!(
                "[{}] {}: {}, by {} on {}{note}",
                number(dead_letter.as_str()),
                entry.action.as_str(),
                plain(&entry.outcome),
                plain(&entry.actor),
                plain(&entry.host)
            )
        }
    }
}

/// What a dead letter is about, as far as it could be read.
fn subject(record: &DeadLetterRecord) -> String {
    let dead_letter = &record.dead_letter;
    match dead_letter.payment_id {
        Some(payment) => format!("{} {payment}", dead_letter.kind.as_str()),
        None => dead_letter.kind.as_str().to_owned(),
    }
}

fn dead_letter(number: usize, story: &ExplainedDeadLetter, spell: Spell<'_>) -> String {
    let (id, subject, verdict) = (&story.record.dead_letter.id, subject(&story.record), story.verdict);
    let stands = match story.record.state() {
        state @ (DeadLetterState::Waiting | DeadLetterState::Parked) => {
            format!("{}, {}: {}", state.as_str(), verdict.as_str(), meaning(verdict))
        }
        DeadLetterState::Discarded => format!("discarded; were it open: {}", verdict.as_str()),
        DeadLetterState::Recovered => format!("recovered; now: {}", verdict.as_str()),
    };
    let mut text = format!("[{number}] {id}  {subject}, {stands}\n");
    text.push_str(&steps(&story.next, spell));
    text
}

#[derive(Serialize)]
struct ExplainedJson<'e> {
    store: &'e str,
    at: String,
    order_id: i64,
    row: Option<RowJson<'e>>,
    timeline: Vec<MomentJson<'e>>,
    dead_letters: Vec<StoryJson<'e>>,
    more: bool,
}

/// The row, without what is personal.
#[derive(Serialize)]
struct RowJson<'e> {
    has_order: bool,
    order_written_at: Option<String>,
    order_status: Option<&'e str>,
    payment_id: Option<i64>,
    payment_status: Option<&'e str>,
    payment_written_at: Option<String>,
}

#[derive(Serialize)]
struct MomentJson<'e> {
    at: String,
    event: &'static str,
    dead_letter: Option<&'e str>,
    payment_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<EntryJson<'e>>,
}

#[derive(Serialize)]
struct StoryJson<'e> {
    #[serde(flatten)]
    row: Row<'e>,
    meaning: &'static str,
    history: Vec<EntryJson<'e>>,
    next: Vec<StepJson>,
}

impl<'e> MomentJson<'e> {
    fn of(moment: &TimelineEntry<'e>) -> Self {
        let (event, dead_letter, payment_id, reason, done) = match &moment.event {
            TimelineEvent::OrderShown => ("order_shown", None, None, None, None),
            TimelineEvent::PaymentShown { payment_id } => ("payment_shown", None, *payment_id, None, None),
            TimelineEvent::Happened { dead_letter } => (
                "happened",
                Some(dead_letter.dead_letter.id.as_str()),
                dead_letter.dead_letter.payment_id,
                None,
                None,
            ),
            TimelineEvent::Published { dead_letter, .. } => (
                "published",
                Some(dead_letter.dead_letter.id.as_str()),
                dead_letter.dead_letter.payment_id,
                None,
                None,
            ),
            TimelineEvent::Failed { dead_letter } => {
                let reason = Some(dead_letter.dead_letter.reason.as_str());
                (
                    "failed",
                    Some(dead_letter.dead_letter.id.as_str()),
                    dead_letter.dead_letter.payment_id,
                    reason,
                    None,
                )
            }
            TimelineEvent::Done { dead_letter, entry } => {
                ("done", Some(dead_letter.as_str()), None, None, Some(EntryJson::from(*entry)))
            }
        };
        Self { at: rfc3339(moment.at), event, dead_letter, payment_id, reason, done }
    }
}

/// For programs.
pub fn as_json(explained: &OrderTimeline, spell: Spell<'_>) -> String {
    let selected: Vec<SelectedDeadLetter> = explained
        .dead_letters
        .iter()
        .map(|story| SelectedDeadLetter { record: story.record.clone(), verdict: Some(story.verdict) })
        .collect();
    let stories = explained.dead_letters.iter().zip(&selected);
    let dead_letters = stories
        .map(|(story, selected)| StoryJson {
            row: Row::of(selected, explained.at, Bodies::Left),
            meaning: meaning(story.verdict),
            history: story.history.iter().map(EntryJson::from).collect(),
            next: StepJson::all(&story.next, spell),
        })
        .collect();
    let row = explained.fact.as_ref().map(|fact| RowJson {
        has_order: fact.has_order(),
        order_written_at: fact.order_written_at.map(|t| rfc3339(t.micros())),
        order_status: fact.order.order_status.as_deref(),
        payment_id: fact.payment.payment_id,
        payment_status: fact.payment.payment_status.as_deref(),
        payment_written_at: fact.payment_written_at.map(|t| rfc3339(t.micros())),
    });
    json(&ExplainedJson {
        store: &explained.store,
        at: rfc3339(explained.at),
        order_id: explained.order.0,
        row,
        timeline: explained.timeline().iter().map(MomentJson::of).collect(),
        dead_letters,
        more: explained.more,
    })
}
