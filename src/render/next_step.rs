//! Next steps as commands, each with its reason.

use super::command::{Command, Spell};
use super::screen::Screen;
use ecom_dlq::next_action::{NextAction, NextReason, NextStep};
use ecom_domain::role::Role;

/// Commands, one a line, each with its reason as a shell comment beside it, or above it where that does not fit.
pub(crate) fn lines(next: &[NextStep], spell: Spell<'_>, screen: Screen) -> String {
    let spelt: Vec<(String, String)> =
        next.iter().map(|step| (spell(&Command::from(&step.action)), reason(step))).collect();
    let width = spelt.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let beside: Vec<String> =
        spelt.iter().map(|(command, reason)| format!("  {command:width$}   # {reason}\n")).collect();
    if beside.iter().all(|line| screen.fits(line.chars().count() - 1)) {
        return beside.concat();
    }
    spelt
        .iter()
        .map(|(command, reason)| {
            let reason = screen.wrapped(&format!("  # {reason}\n")).replace("\n    ", "\n  # ");
            reason + &continued(command, screen)
        })
        .collect()
}

/// A command on lines that fit, each but the last ended so that a shell continues on the next.
fn continued(command: &str, screen: Screen) -> String {
    let mut text = String::from(" ");
    let mut used = 1;
    for word in shell_words(command) {
        let own = word.chars().count();
        // Beside the word: the space before it, and the mark of the continuation.
        if used > 4 && !screen.fits(used + 1 + own + 2) {
            text.push_str(" \\\n   ");
            used = 3;
        }
        text.push(' ');
        text.push_str(word);
        used += 1 + own;
    }
    text + "\n"
}

/// The words of a command as a shell reads them, with their quotes.
fn shell_words(command: &str) -> Vec<&str> {
    let (mut words, mut start, mut before) = (Vec::new(), 0, ' ');
    // The quote that is open, and whether a backslash escapes in it.
    let mut open: Option<bool> = None;
    let mut is_escaped = false;
    for (index, character) in command.char_indices() {
        match (character, open) {
            _ if is_escaped => is_escaped = false,
            ('\\', None | Some(true)) => is_escaped = true,
            ('\'', None) => open = Some(before == '$'),
            ('\'', Some(_)) => open = None,
            (' ', None) => {
                words.push(&command[start..index]);
                start = index + 1;
            }
            _ => {}
        }
        before = character;
    }
    words.push(&command[start..]);
    words
}

/// Fills in the command of each step, for JSON.
pub fn fill_in(next: &mut [NextStep], spell: Spell<'_>) {
    for step in next {
        step.command = Some(spell(&Command::from(&step.action)));
    }
}

/// The reason to take a step.
pub(crate) fn reason(step: &NextStep) -> String {
    let is_one = match &step.action {
        NextAction::Retry { selection } => selection.ids.len() == 1,
        NextAction::List { .. } => false,
        _ => true,
    };
    let or = |one: &str, many: &str| if is_one { one.to_owned() } else { many.to_owned() };
    match (step.reason, &step.action) {
        (NextReason::Applies, _) => or("applies it", "applies them"),
        (NextReason::AlreadyApplied, _) => {
            or("closes it: the row already shows it", "closes them: the rows already show them")
        }
        (NextReason::Superseded, _) => {
            or("closes it: the row shows a newer event", "closes them: the rows show newer events")
        }
        (NextReason::OrderMissing, NextAction::Explain { .. }) => {
            "shows the timeline of its order".to_owned()
        }
        (NextReason::OrderMissing, _) => {
            or("its order was never recorded", "their orders were never recorded")
        }
        (NextReason::OrdersMayBeBehind, _) => "shows whether orders are being recorded".to_owned(),
        (NextReason::Conflict, NextAction::Explain { .. }) => {
            "two events have the same event time".to_owned()
        }
        (NextReason::Conflict, _) => {
            or("the event that the row does not show", "each has the same event time as the event in its row")
        }
        (NextReason::RowIsRight, _) => "if the event in the row is the right one".to_owned(),
        (NextReason::DeadLetterIsRight, _) => {
            "if this event is the right one: save its body, correct it if needed,".to_owned()
        }
        (NextReason::ReplacesRow, _) => {
            "then publish it, a microsecond later, in place of the event in the row".to_owned()
        }
        (NextReason::Poison, _) => or(
            "shows what is wrong with it and how to correct it",
            "shows what is wrong with each; `show` tells how to correct one",
        ),
        (NextReason::CopyToCorrect, _) => "saves its body: correct it in that file".to_owned(),
        (NextReason::PublishesCorrection, _) => {
            "shows the difference, then publishes the corrected body in its place".to_owned()
        }
        (NextReason::Discarded, _) => "opens it again".to_owned(),
        (NextReason::DeadLettersOpen, _) => {
            "shows why dead letters are open and what a retry would do".to_owned()
        }
        (NextReason::RoleNotRunning, NextAction::StartRole { role, host }) => {
            let host = host.as_ref().map(|host| format!("on {host}: ")).unwrap_or_default();
            format!("{host}{}", purpose(*role))
        }
        (NextReason::RoleNotRunning, _) => "a role does not run".to_owned(),
    }
}

/// The purpose of a role for dead letters.
fn purpose(role: Role) -> &'static str {
    match role {
        Role::OrderConsumer => "records the orders that payments wait for",
        Role::DlqHandler => "reads dead letters from their topic and retries those that wait",
        Role::PaymentConsumer => "joins payments to their orders",
        Role::OrdersProducer | Role::PaymentsProducer => "publishes events",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_continues_on_the_next_line_except_within_quotes() {
        let screen = Screen::of_columns(40);
        let short = "dlq_handler list --state open";
        assert_eq!(continued(short, screen), format!("  {short}\n"));
        assert_eq!(
            continued(
                "dlq_handler --data-dir /srv/ecom/data discard 7 --note 'the event in the row'",
                screen
            ),
            "  dlq_handler --data-dir \\\n    /srv/ecom/data discard 7 --note \\\n    'the event in the row'\n"
        );
        assert_eq!(shell_words(r"a $'b \' c' 'd \' e\ f"), ["a", r"$'b \' c'", r"'d \'", r"e\ f"]);
        let quoted = "dlq_handler --data-dir 'a folder that has a very long name' 'it'\\''s long, too'";
        assert_eq!(
            continued(quoted, screen),
            "  dlq_handler --data-dir \\\n    'a folder that has a very long name' \\\n    'it'\\''s long, too'\n"
        );
    }
}
