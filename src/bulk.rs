//! The operator's commands that change dead letters: choose, foretell, ask, do, tell.

mod correction;
mod question;

use std::io::BufRead;

use super::cli::{AnswerFormat, BulkOptions, BulkSelection, DiscardArgs, IdArgument, ReopenArgs, RetryArgs};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::inspect::{self, Progress};
use super::output;
use super::roles::policy;
use super::wiring::{self, DataFolder};
use crate::render::bulk as render;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, OperationEnd, OperationReport, StartMode};
use ecom_dlq::next::Command;
use ecom_dlq::outcome_counts::OutcomeCounts;
use ecom_dlq::plan::{OperationPlan, PlanPurpose};
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_pipeline::durable::RoleError;

pub(crate) use correction::correct;

/// What a command asks for.
struct BulkCommand<'w> {
    kind: OperationKind,
    chosen: &'w BulkSelection,
    options: &'w BulkOptions,
    note: Option<String>,
    all: bool,
    rate: Option<f64>,
    canary: u64,
}

/// Runs `dlq_handler retry`.
pub(crate) async fn retry(context: &Context, args: &RetryArgs) -> Result<Exit, CliError> {
    let command = BulkCommand {
        all: args.all,
        rate: args.rate.per_second(),
        canary: args.canary,
        ..BulkCommand::new(OperationKind::Retry, &args.chosen, &args.options, args.note.as_deref())
    };
    command.execute(context).await
}

/// Runs `dlq_handler discard`.
pub(crate) async fn discard(context: &Context, args: &DiscardArgs) -> Result<Exit, CliError> {
    BulkCommand::new(OperationKind::Discard, &args.chosen, &args.options, args.note.as_deref())
        .execute(context)
        .await
}

/// Runs `dlq_handler reopen`.
pub(crate) async fn reopen(context: &Context, args: &ReopenArgs) -> Result<Exit, CliError> {
    BulkCommand::new(OperationKind::Reopen, &args.chosen, &args.options, args.note.as_deref())
        .execute(context)
        .await
}

impl<'w> BulkCommand<'w> {
    fn new(
        kind: OperationKind,
        chosen: &'w BulkSelection,
        options: &'w BulkOptions,
        note: Option<&str>,
    ) -> Self {
        let note = note.map(str::to_owned);
        Self { kind, chosen, options, note, all: false, rate: None, canary: 0 }
    }

    async fn execute(&self, context: &Context) -> Result<Exit, CliError> {
        if let Some(run_id) = &self.options.resume {
            return self.go_on(context, run_id).await;
        }
        let Some(selection) = self.selection(context)? else {
            eprintln!("no ids came: nothing to do");
            return Ok(Exit::Done);
        };
        if !self.options.dry_run {
            question::somebody_answers(self.options.yes)?;
        }
        let queue = self.open(context).await?;
        let purpose = if self.options.dry_run { PlanPurpose::Look } else { PlanPurpose::Begin };
        let progress = Progress::new();
        let seen = |dead_letters| progress.at(dead_letters);
        let planned = queue.plan(self.kind, selection.clone(), purpose, &seen);
        let plan = unless_stopped(context, planned).await?;
        progress.done();
        let found = if plan.missing.is_empty() { Exit::Done } else { Exit::No };
        let nothing = plan.dead_letters == 0;
        self.tell_plan(&queue, &plan)?;
        if self.options.dry_run {
            return Ok(found);
        }
        if nothing {
            return Ok(if self.chosen.ids.is_empty() { Exit::Done } else { Exit::No });
        }
        if !question::says_yes(context, &render::question(&plan), self.options.yes).await? {
            eprintln!("nothing was changed");
            return Ok(Exit::No);
        }
        let run = queue.begin(plan, self.note.clone()).await?;
        let exit = self.work(context, &queue, run, StartMode::Fresh).await?;
        if self.kind == OperationKind::Reopen {
            let again = output::spelt(&Command::retry(&open(selection)), &context.common);
            eprintln!("next: to try them now instead of at their next attempt: {again}");
        }
        Ok(if exit == Exit::Done { found } else { exit })
    }

    /// The dead letters that are meant; `None` where stdin was to name them and named none.
    fn selection(&self, context: &Context) -> Result<Option<Selection>, CliError> {
        let kind = self.kind.as_str();
        if self.chosen.is_empty() && !self.all {
            let all = if self.kind == OperationKind::Retry { ", or --all" } else { "" };
            return Err(CliError::usage(format!("{kind} which dead letters?"))
                .hint(format!("name ids, - for ids from stdin, a filter such as --reason or --order{all}")));
        }
        if self.all && self.chosen.has_filters() {
            return Err(CliError::usage("--all means all open dead letters, and a filter means fewer")
                .hint("leave one of them out"));
        }
        let mut ids = Vec::new();
        for named in &self.chosen.ids {
            match named {
                IdArgument::DeadLetter(id) => ids.push(id.clone()),
                IdArgument::Stdin => ids.extend(ids_of(std::io::stdin().lock())?),
            }
        }
        if ids.is_empty() && !self.chosen.ids.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.chosen.selection(context.clock.now_us(), ids)))
    }

    async fn open(&self, context: &Context) -> Result<DeadLetterQueue, CliError> {
        let store = wiring::store(context, DataFolder::MustExist).await?;
        Ok(inspect::on(context, &store))
    }

    /// The answer where nothing else follows; talk where it only leads to a question.
    fn tell_plan(&self, queue: &DeadLetterQueue, plan: &OperationPlan) -> Result<(), CliError> {
        let store = queue.facts.describe();
        let is_answer = self.options.dry_run || plan.dead_letters == 0;
        let text = render::plan(&store, plan, self.rate, self.canary);
        match (is_answer, self.options.format) {
            (true, AnswerFormat::Json) => output::data(&render::plan_json(&store, plan, self.rate)),
            (true, AnswerFormat::Table) => output::data(&text),
            (false, _) => {
                eprintln!("{text}");
                Ok(())
            }
        }
    }

    async fn go_on(&self, context: &Context, run_id: &OperationId) -> Result<Exit, CliError> {
        if self.chosen.has_filters() {
            return Err(
                CliError::usage("a run goes on with its own dead letters").hint("leave the filters out")
            );
        }
        let queue = self.open(context).await?;
        let Some(run) = queue.retrier.read(|| queue.operations.run(run_id)).await? else {
            eprintln!("error: there is no run {run_id} in {}", queue.facts.describe());
            eprintln!("hint: {} history", output::command("dlq_handler", &context.common));
            return Ok(Exit::No);
        };
        if run.kind != self.kind {
            let kind = run.kind.as_str();
            let hint = match run.kind {
                OperationKind::Correct => "type the same correction again: it is the same event".to_owned(),
                OperationKind::Retry | OperationKind::Discard | OperationKind::Reopen => spelt(context, &run),
            };
            return Err(CliError::usage(format!("run {run_id} is a {kind}")).hint(hint));
        }
        if run.state == OperationStatus::Finished {
            let counts = OutcomeCounts::read(&run.outcomes);
            self.tell(&queue, &OperationReport { run, end: OperationEnd::Finished, counts })?;
            eprintln!("it was finished before: nothing was done");
            return Ok(Exit::Done);
        }
        eprintln!("{}", render::resumed(&run));
        self.work(context, &queue, run, StartMode::Resumed).await
    }

    async fn work(
        &self,
        context: &Context,
        queue: &DeadLetterQueue,
        run: BulkOperation,
        entry: StartMode,
    ) -> Result<Exit, CliError> {
        let resolver = queue.resolver(&run, policy(&context.config.dead_letters));
        let progress = Progress::of(run.dead_letters);
        let done = |dead_letters| progress.at(dead_letters);
        let pace = ExecuteOptions {
            entry,
            rate: self.rate,
            canary: self.canary,
            stop: context.stop.clone(),
            done: &done,
        };
        let again = spelt(context, &run);
        let on = format!("go on with: {again}");
        let ended = tokio::select! {
            biased;
            ended = queue.work(run, &resolver, &pace) => ended,
            never = question::tells_of_a_stop(context) => match never {},
        };
        progress.done();
        let ended = ended.map_err(|error| CliError::failed(error.to_string()).hint(on.clone()))?;
        self.tell(queue, &ended)?;
        let (dead_letters, counts) = (ended.run.dead_letters, &ended.counts);
        match ended.end {
            OperationEnd::Finished => Ok(Exit::Done),
            OperationEnd::Stopped => {
                let done = output::count(counts.dead_letters());
                Err(CliError::failed(format!(
                    "stopped after {done} of {} dead letters",
                    output::count(dead_letters)
                ))
                .hint(on))
            }
            OperationEnd::Differed => {
                let differed = output::count(counts.differed);
                eprintln!("error: {differed} of the first dead letters ended otherwise than was predicted");
                if ended.run.state == OperationStatus::Stopped {
                    eprintln!("hint: where that is well, {on}");
                }
                Ok(Exit::No)
            }
        }
    }

    fn tell(&self, queue: &DeadLetterQueue, ended: &OperationReport) -> Result<(), CliError> {
        let store = queue.facts.describe();
        output::data(&match self.options.format {
            AnswerFormat::Table => render::ended(&store, ended),
            AnswerFormat::Json => render::ended_json(&store, ended),
        })
    }
}

/// What is read before anything is changed, unless a signal comes before it.
async fn unless_stopped<T>(
    context: &Context,
    read: impl Future<Output = Result<T, RoleError>>,
) -> Result<T, CliError> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(CliError::failed("stopped before anything was changed")),
        read = read => read.map_err(CliError::from),
    }
}

/// The command that goes on with a run.
fn spelt(context: &Context, run: &BulkOperation) -> String {
    let words = [run.kind.as_str(), "--resume", run.id.as_str()].map(str::to_owned).into();
    output::spelt(&Command { binary: "dlq_handler", words }, &context.common)
}

/// The same dead letters, now that they are open.
fn open(selection: Selection) -> Selection {
    match selection.states.is_empty() {
        true => selection,
        false => Selection { states: Selection::open().states, ..selection },
    }
}

/// The ids on these lines: the first word of each that is not empty.
fn ids_of(lines: impl BufRead) -> Result<Vec<DeadLetterId>, CliError> {
    let mut ids = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line?;
        let Some(word) = line.split_whitespace().next() else { continue };
        let id = DeadLetterId::parse(word).ok_or_else(|| {
            CliError::usage(format!("line {number} of stdin is no dead letter's id")).hint(
                "one id a line, such as `dlq_handler list --format csv` gives in its first column, without its header",
            )
        })?;
        ids.push(id);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_first_words_of_lines() {
        let id = "20240121-07-0123456789abcdef0123456789abcdef";
        let read = ids_of(format!("{id}\n\n  {id} waiting\n").as_bytes()).unwrap();
        assert_eq!(read.len(), 2);
        let stop = ids_of(format!("{id}\nid,state\n").as_bytes()).unwrap_err();
        assert_eq!(stop.to_string(), "line 2 of stdin is no dead letter's id");
        assert!(ids_of(&b""[..]).unwrap().is_empty());
    }
}
