//! The timeline of an order as text.

use super::command::Spell;
use super::dead_letter::{self, corrected_by};
use super::screen::Screen;
use super::table::list;
use super::terminal::plain;
use super::{history_entry, meaning, next_step, or_dash, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::fact_summary::{OrderSummary, PaymentSummary};
use ecom_dlq::timeline::{ExplainedDeadLetter, OrderTimeline, TimelineEntry, TimelineEvent};
use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState};
use ecom_domain::fact::Fact;

/// The row, all events by time, then each dead letter with its verdict and the commands to run next.
pub fn text(timeline: &OrderTimeline, spell: Spell<'_>, screen: Screen) -> String {
    let mut text = format!("order {} in {}, {}\n\n", timeline.order, timeline.store, time(timeline.at));
    text.push_str(&row(timeline.fact.as_ref(), screen));
    text.push_str("\ntimeline (numbers refer to the dead letters below; event times are the producers')\n");
    let mut text = screen.wrapped(&text);
    let number = |id: &str| {
        let mut ids = timeline.dead_letters.iter().map(|it| it.selected.record.dead_letter.id.as_str());
        ids.position(|other| other == id).map_or(0, |index| index + 1)
    };
    let entries = timeline.timeline();
    text.push_str(&list(screen, entries.iter().map(|entry| [rfc3339(entry.at), event(entry, &number)])));
    if timeline.dead_letters.is_empty() {
        text.push_str("\nno dead letters about this order\n");
    }
    for (index, explained) in timeline.dead_letters.iter().enumerate() {
        text.push_str(&format!("\n{}", explanation(index + 1, explained, spell, screen)));
    }
    if timeline.more {
        let shown = timeline.dead_letters.len();
        text.push_str(&format!("\nonly the newest {shown} dead letters are shown\n"));
    }
    text
}

fn row(fact: Option<&Fact>, screen: Screen) -> String {
    let Some(fact) = fact else { return "row: none; no order or payment was applied\n".to_owned() };
    let order = OrderSummary::of(fact).map_or_else(|| "none".to_owned(), |order| plain(&order.to_string()));
    let payment = PaymentSummary::of(fact);
    let payment = payment.map_or_else(|| "none".to_owned(), |payment| plain(&payment.to_string()));
    let written = |at: Option<_>, text: String| match at {
        None => text,
        Some(at) => format!("{text}; event time {at}"),
    };
    let rows = [
        ["order".to_owned(), written(fact.order_written_at.map(|t| rfc3339(t.micros())), order)],
        ["payment".to_owned(), written(fact.payment_written_at.map(|t| rfc3339(t.micros())), payment)],
    ];
    list(screen, rows)
}

fn event(entry: &TimelineEntry<'_>, number: &impl Fn(&str) -> usize) -> String {
    match &entry.event {
        TimelineEvent::OrderShown => "event time of the order in the row".to_owned(),
        TimelineEvent::PaymentShown { payment_id } => {
            format!("event time of the payment in the row: payment {}", or_dash(*payment_id))
        }
        TimelineEvent::Happened { dead_letter } => {
            let subject = subject(dead_letter);
            format!("[{}] event time of {subject}", number(dead_letter.dead_letter.id.as_str()))
        }
        TimelineEvent::Published { dead_letter, subscription } => {
            let number = number(dead_letter.dead_letter.id.as_str());
            format!(
                "[{number}] {} was published (subscription {})",
                subject(dead_letter),
                plain(subscription)
            )
        }
        TimelineEvent::Failed { dead_letter } => {
            let (reason, detail) = (dead_letter.dead_letter.reason, plain(&dead_letter.dead_letter.detail));
            format!("[{}] was dead-lettered: {reason}: {detail}", number(dead_letter.dead_letter.id.as_str()))
        }
        TimelineEvent::Done { dead_letter, entry } => {
            let note = entry.note.as_deref().map(|note| format!(" ({})", plain(note))).unwrap_or_default();
            format!(
                "[{}] {}{}, by {} on {}{note}",
                number(dead_letter.as_str()),
                entry.action.as_str(),
                history_entry::result(entry).map(|result| format!(": {result}")).unwrap_or_default(),
                plain(&entry.actor),
                plain(&entry.host)
            )
        }
    }
}

/// The kind of event in a dead letter, and its payment id if that could be read.
fn subject(record: &DeadLetterRecord) -> String {
    let dead_letter = &record.dead_letter;
    match dead_letter.payment_id {
        Some(payment) => format!("{} {payment}", dead_letter.kind.as_str()),
        None => dead_letter.kind.as_str().to_owned(),
    }
}

fn explanation(number: usize, explained: &ExplainedDeadLetter, spell: Spell<'_>, screen: Screen) -> String {
    let (record, verdict) = (&explained.selected.record, explained.verdict);
    let state = match record.state() {
        state @ (DeadLetterState::Waiting | DeadLetterState::Parked) => {
            format!("{}, {}: {}", state.as_str(), verdict.as_str(), meaning(verdict))
        }
        state @ DeadLetterState::Discarded if corrected_by(state, &explained.history).is_some() => {
            dead_letter::state(state, &explained.history)
        }
        DeadLetterState::Discarded => format!("discarded; if it were open: {}", verdict.as_str()),
        DeadLetterState::Recovered => format!("recovered; now: {}", verdict.as_str()),
    };
    let heading = format!("[{number}] {}  {}, {state}\n", record.dead_letter.id, subject(record));
    screen.wrapped(&heading) + &next_step::lines(&explained.next, spell, screen)
}
