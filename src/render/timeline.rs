//! All about an order: one timeline, then each letter's verdict.

use serde::Serialize;

use super::letter::EntryJson;
use super::rows::{Bodies, Row};
use super::{StepJson, json, list, meaning, or_dash, plain, steps, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::explain::{Event, Explained, Moment, Story};
use ecom_dlq::fact_text;
use ecom_dlq::next::Spell;
use ecom_dlq::selection::Selected;
use ecom_domain::fact::Fact;
use ecom_domain::letter::{LetterRecord, State};

/// For people.
pub fn text(explained: &Explained, spell: Spell<'_>) -> String {
    let mut text = format!("order {} in {}, {}\n\n", explained.order, explained.store, time(explained.at));
    text.push_str(&row(explained.fact.as_ref()));
    text.push_str("\ntimeline (letters by number, see below; event times are the producers')\n");
    let number = |id: &str| {
        let found = explained.letters.iter().position(|story| story.record.letter.id.as_str() == id);
        found.map_or(0, |index| index + 1)
    };
    let moments = explained.timeline();
    text.push_str(&list(moments.iter().map(|moment| [rfc3339(moment.at), event(moment, &number)])));
    if explained.letters.is_empty() {
        text.push_str("\nno dead letter is about it\n");
    }
    for (index, story) in explained.letters.iter().enumerate() {
        text.push_str(&format!("\n{}", letter(index + 1, story, spell)));
    }
    if explained.more {
        let shown = explained.letters.len();
        text.push_str(&format!("\nthere are older letters about it; these are the newest {shown}\n"));
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

fn event(moment: &Moment<'_>, number: &impl Fn(&str) -> usize) -> String {
    match &moment.event {
        Event::OrderShown => "order event that the row shows".to_owned(),
        Event::PaymentShown { payment_id } => {
            format!("payment event that the row shows: payment {}", or_dash(*payment_id))
        }
        Event::Happened { letter } => {
            let subject = subject(letter);
            format!("[{}] {subject} happened", number(letter.letter.id.as_str()))
        }
        Event::Published { letter, subscription } => {
            let number = number(letter.letter.id.as_str());
            format!("[{number}] {} was published (seen on {})", subject(letter), plain(subscription))
        }
        Event::Failed { letter } => {
            let (reason, detail) = (letter.letter.reason, plain(&letter.letter.detail));
            format!("[{}] could not be applied: {reason}: {detail}", number(letter.letter.id.as_str()))
        }
        Event::Done { letter, entry } => {
            let note = entry.note.as_deref().map(|note| format!(" ({})", plain(note))).unwrap_or_default();
            format!(
                "[{}] {}: {}, by {} on {}{note}",
                number(letter.as_str()),
                entry.action.as_str(),
                plain(&entry.outcome),
                plain(&entry.actor),
                plain(&entry.host)
            )
        }
    }
}

/// What a letter is about, as far as it could be read.
fn subject(record: &LetterRecord) -> String {
    let letter = &record.letter;
    match letter.payment_id {
        Some(payment) => format!("{} {payment}", letter.kind.as_str()),
        None => letter.kind.as_str().to_owned(),
    }
}

fn letter(number: usize, story: &Story, spell: Spell<'_>) -> String {
    let (id, subject, verdict) = (&story.record.letter.id, subject(&story.record), story.verdict);
    let stands = match story.record.state() {
        state @ (State::Waiting | State::Parked) => {
            format!("{}, {}: {}", state.as_str(), verdict.as_str(), meaning(verdict))
        }
        State::Discarded => format!("discarded; were it open: {}", verdict.as_str()),
        State::Recovered => format!("recovered; now: {}", verdict.as_str()),
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
    letters: Vec<StoryJson<'e>>,
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
    letter: Option<&'e str>,
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
    fn of(moment: &Moment<'e>) -> Self {
        let (event, letter, payment_id, reason, done) = match &moment.event {
            Event::OrderShown => ("order_shown", None, None, None, None),
            Event::PaymentShown { payment_id } => ("payment_shown", None, *payment_id, None, None),
            Event::Happened { letter } => {
                ("happened", Some(letter.letter.id.as_str()), letter.letter.payment_id, None, None)
            }
            Event::Published { letter, .. } => {
                ("published", Some(letter.letter.id.as_str()), letter.letter.payment_id, None, None)
            }
            Event::Failed { letter } => {
                let reason = Some(letter.letter.reason.as_str());
                ("failed", Some(letter.letter.id.as_str()), letter.letter.payment_id, reason, None)
            }
            Event::Done { letter, entry } => {
                ("done", Some(letter.as_str()), None, None, Some(EntryJson::from(*entry)))
            }
        };
        Self { at: rfc3339(moment.at), event, letter, payment_id, reason, done }
    }
}

/// For programs.
pub fn as_json(explained: &Explained, spell: Spell<'_>) -> String {
    let selected: Vec<Selected> = explained
        .letters
        .iter()
        .map(|story| Selected { record: story.record.clone(), verdict: Some(story.verdict) })
        .collect();
    let stories = explained.letters.iter().zip(&selected);
    let letters = stories
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
        letters,
        more: explained.more,
    })
}
