//! Bulk operations on dead letters: retry, discard, reopen. Each command is parsed, planned, confirmed,
//! executed and reported, in this order.

mod confirm;
mod correction;

use std::io::BufRead;

use super::cli::{BulkOptions, BulkSelection, DiscardArgs, IdArgument, OutputFormat, ReopenArgs, RetryArgs};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::inspect::{self, Progress};
use super::output;
use super::roles::policy;
use crate::render::bulk as render;
use crate::render::command::Command;
use crate::render::json;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, OperationEnd, OperationReport, StartMode};
use ecom_dlq::next_action::NextAction;
use ecom_dlq::outcome_counts::OutcomeCounts;
use ecom_dlq::plan::{OperationPlan, PlanPurpose};
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::DeadLetterIdPrefix;
use ecom_telemetry::stderr;

pub(crate) use correction::correct;

/// A bulk operation as the command line asks for it.
pub(crate) struct BulkCommand<'a> {
    kind: OperationKind,
    selection: &'a BulkSelection,
    options: &'a BulkOptions,
    note: Option<&'a str>,
    all: bool,
    rate: Option<f64>,
    canary: u64,
}

/// The parsed request.
enum Request {
    /// To plan and begin an operation on these dead letters; none = all that pass the filters.
    Begin(Vec<DeadLetterIdPrefix>),
    /// To resume one.
    Resume(OperationId),
}

/// The decision after planning and confirmation, or after looking up the operation to resume.
enum Decision {
    /// To execute an operation, and to exit with this once it is finished.
    Execute(BulkOperation, StartMode, Exit),
    /// To exit without changing anything.
    Exit(Exit),
}

impl<'a> From<&'a RetryArgs> for BulkCommand<'a> {
    fn from(args: &'a RetryArgs) -> Self {
        let (all, rate, canary) = (args.all, args.rate.per_second(), args.canary);
        let note = args.note.as_deref();
        Self { all, rate, canary, ..Self::new(OperationKind::Retry, &args.selection, &args.options, note) }
    }
}

impl<'a> From<&'a DiscardArgs> for BulkCommand<'a> {
    fn from(args: &'a DiscardArgs) -> Self {
        Self::new(OperationKind::Discard, &args.selection, &args.options, args.note.as_deref())
    }
}

impl<'a> From<&'a ReopenArgs> for BulkCommand<'a> {
    fn from(args: &'a ReopenArgs) -> Self {
        Self::new(OperationKind::Reopen, &args.selection, &args.options, args.note.as_deref())
    }
}

impl<'a> BulkCommand<'a> {
    fn new(
        kind: OperationKind,
        selection: &'a BulkSelection,
        options: &'a BulkOptions,
        note: Option<&'a str>,
    ) -> Self {
        Self { kind, selection, options, note, all: false, rate: None, canary: 0 }
    }

    /// Runs the command.
    pub(crate) async fn execute(self, context: &Context) -> Result<Exit, CliError> {
        let Some(request) = self.parse()? else {
            stderr::say("no ids on stdin: nothing to do");
            return Ok(Exit::Done);
        };
        let queue = inspect::open(context).await?;
        let decision = match request {
            Request::Begin(ids) => {
                let ids = inspect::identified(context, &queue, &ids).await?;
                let selection = self.selection.selection(context.clock.now_us(), ids);
                self.begin(context, &queue, selection).await?
            }
            Request::Resume(id) => self.resume(context, &queue, &id).await?,
        };
        let (operation, start, exit) = match decision {
            Decision::Execute(operation, start, exit) => (operation, start, exit),
            Decision::Exit(exit) => return Ok(exit),
        };
        let resume = output::spelt(&Command::resume(&operation), &context.common);
        let report = self.work(context, &queue, operation, start, &resume).await?;
        self.report(context, &report, &resume, exit)
    }

    /// Parses the selection, or the operation to resume; `None` if stdin was to name dead letters and named
    /// none.
    fn parse(&self) -> Result<Option<Request>, CliError> {
        let kind = self.kind.as_str();
        if let Some(id) = &self.options.resume {
            if self.selection.has_filters() {
                return Err(CliError::usage("--resume continues with the operation's own dead letters")
                    .hint("leave the filters out"));
            }
            return Ok(Some(Request::Resume(id.clone())));
        }
        if self.selection.is_empty() && !self.all {
            let all = if self.kind == OperationKind::Retry { ", or --all" } else { "" };
            let hint = format!("pass ids, - for ids from stdin, a filter such as --reason or --order{all}");
            return Err(CliError::usage(format!("no dead letters selected to {kind}")).hint(hint));
        }
        if self.all && self.selection.has_filters() {
            return Err(CliError::usage("--all selects all open dead letters and takes no filters")
                .hint("leave out --all or the filters"));
        }
        let mut ids = Vec::new();
        for argument in &self.selection.ids {
            match argument {
                IdArgument::DeadLetter(id) => ids.push(id.clone()),
                IdArgument::Stdin => ids.extend(ids_of(std::io::stdin().lock())?),
            }
        }
        if ids.is_empty() && !self.selection.ids.is_empty() {
            return Ok(None);
        }
        if !self.options.dry_run {
            confirm::require_terminal(self.options.yes)?;
        }
        Ok(Some(Request::Begin(ids)))
    }

    /// Plans the operation, shows the plan, asks for confirmation and begins it.
    async fn begin(
        &self,
        context: &Context,
        queue: &DeadLetterQueue,
        selection: Selection,
    ) -> Result<Decision, CliError> {
        let purpose = if self.options.dry_run { PlanPurpose::DryRun } else { PlanPurpose::Begin };
        let progress = Progress::new();
        let seen = |dead_letters| progress.at(dead_letters);
        let plan = tokio::select! {
            biased;
            () = context.stop.cancelled() => return Err(CliError::failed("stopped before anything was changed")),
            plan = queue.plan(self.kind, selection, purpose, &seen) => plan?,
        };
        progress.done();
        self.show_plan(&plan)?;
        let found = if plan.not_found.is_empty() { Exit::Done } else { Exit::NegativeResult };
        if self.options.dry_run {
            return Ok(Decision::Exit(found));
        }
        if plan.dead_letters == 0 {
            let is_named = !self.selection.ids.is_empty();
            return Ok(Decision::Exit(if is_named { Exit::NegativeResult } else { Exit::Done }));
        }
        if !confirm::confirm(context, &render::question(&plan), self.options.yes).await? {
            stderr::say("nothing was changed");
            return Ok(Decision::Exit(Exit::NegativeResult));
        }
        let operation = queue.begin(plan, self.note.map(str::to_owned)).await?;
        Ok(Decision::Execute(operation, StartMode::Fresh, found))
    }

    /// Writes the plan to stdout if it is the result of the command, otherwise to stderr.
    fn show_plan(&self, plan: &OperationPlan) -> Result<(), CliError> {
        let is_result = self.options.dry_run || plan.dead_letters == 0;
        let text = |screen| render::plan(plan, self.rate, self.canary, screen);
        match (is_result, self.options.format) {
            (true, OutputFormat::Json) => output::data(&render::plan_json(plan, self.rate)),
            (true, OutputFormat::Table) => output::data(&text(output::screen())),
            (false, _) => {
                stderr::say(text(output::stderr_screen()));
                Ok(())
            }
        }
    }

    /// Looks up the operation to resume.
    async fn resume(
        &self,
        context: &Context,
        queue: &DeadLetterQueue,
        id: &OperationId,
    ) -> Result<Decision, CliError> {
        let Some(operation) = queue.retrier.read(|| queue.operations.operation(id)).await? else {
            let (handler, store) = (output::command("dlq_handler", &context.common), queue.facts.describe());
            let hint = format!("list the operations: {handler} history");
            stderr::error(format_args!("there is no operation {id} in {store}"), Some(&hint));
            return Ok(Decision::Exit(Exit::NegativeResult));
        };
        if operation.kind != self.kind {
            let hint = match operation.kind {
                OperationKind::Correct => "repeat the correction: the same body is the same event".to_owned(),
                OperationKind::Retry | OperationKind::Discard | OperationKind::Reopen => {
                    output::spelt(&Command::resume(&operation), &context.common)
                }
            };
            let (kind, own) = (operation.kind.as_str(), self.kind.as_str());
            return Err(CliError::usage(format!("operation {id} is a {kind}, not a {own}")).hint(hint));
        }
        if operation.state == OperationStatus::Finished {
            let counts = OutcomeCounts::read(&operation.outcomes);
            let (store, end) = (queue.facts.describe(), OperationEnd::Finished);
            self.show_report(&OperationReport { store, operation, end, counts })?;
            stderr::say("the operation was already finished: nothing to do");
            return Ok(Decision::Exit(Exit::Done));
        }
        stderr::say(render::resumed(&operation));
        Ok(Decision::Execute(operation, StartMode::Resumed, Exit::Done))
    }

    /// Executes the operation until it ends or is stopped.
    async fn work(
        &self,
        context: &Context,
        queue: &DeadLetterQueue,
        operation: BulkOperation,
        start: StartMode,
        resume: &str,
    ) -> Result<OperationReport, CliError> {
        let resolver = queue.resolver(&operation, policy(&context.config.dead_letters));
        let progress = Progress::of(operation.dead_letters);
        let options = ExecuteOptions {
            start,
            rate: self.rate,
            canary: self.canary,
            stop: context.stop.clone(),
            done: &|dead_letters| progress.at(dead_letters),
        };
        let report = tokio::select! {
            biased;
            report = queue.execute(operation, &resolver, &options) => report,
            never = confirm::announce_stop(context) => match never {},
        };
        progress.done();
        report.map_err(|error| CliError::failed(error.to_string()).hint(format!("resume it: {resume}")))
    }

    /// Reports the outcomes and the command to run next.
    fn report(
        &self,
        context: &Context,
        report: &OperationReport,
        resume: &str,
        exit: Exit,
    ) -> Result<Exit, CliError> {
        self.show_report(report)?;
        let OperationReport { operation, counts, .. } = report;
        match report.end {
            OperationEnd::Finished => {
                if let Some(selection) = reopened(operation) {
                    let retry = NextAction::Retry { selection };
                    let retry = output::spelt(&Command::from(&retry), &context.common);
                    stderr::say(format_args!(
                        "next: retry them now instead of at their next attempt: {retry}"
                    ));
                }
                Ok(exit)
            }
            OperationEnd::Stopped => {
                let (done, all) =
                    (output::count(counts.dead_letters()), output::count(operation.dead_letters));
                Err(CliError::failed(format!("stopped after {done} of {all} dead letters"))
                    .hint(format!("resume it: {resume}")))
            }
            OperationEnd::Differed => {
                let differed = output::count(counts.differed);
                let error =
                    format_args!("{differed} of the first dead letters did not match the predicted outcome");
                let hint = format!("review them; to continue anyway: {resume}");
                stderr::error(
                    error,
                    Some(hint.as_str()).filter(|_| operation.state == OperationStatus::Stopped),
                );
                Ok(Exit::NegativeResult)
            }
        }
    }

    fn show_report(&self, report: &OperationReport) -> Result<(), CliError> {
        output::data(&match self.options.format {
            OutputFormat::Table => render::report(report, output::screen()),
            OutputFormat::Json => json(report),
        })
    }
}

/// The dead letters that an operation reopened; `None` if it is not a reopen.
fn reopened(operation: &BulkOperation) -> Option<Selection> {
    let selection =
        Selection::read(&operation.selection).filter(|_| operation.kind == OperationKind::Reopen)?;
    Some(match selection.states.is_empty() {
        true => selection,
        false => Selection { states: Selection::open().states, ..selection },
    })
}

/// The ids on these lines: the first word of each line that is not empty.
fn ids_of(lines: impl BufRead) -> Result<Vec<DeadLetterIdPrefix>, CliError> {
    let mut ids = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line?;
        let Some(word) = line.split_whitespace().next() else { continue };
        let id = DeadLetterIdPrefix::parse(word).ok_or_else(|| {
            CliError::usage(format!("line {number} of stdin does not begin with a dead-letter ID")).hint(
                "pass one ID a line: the first column of `dlq_handler list --format csv`, without its header",
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
        let error = ids_of(format!("{id}\nid,state\n").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of stdin does not begin with a dead-letter ID");
        assert!(ids_of(&b""[..]).unwrap().is_empty());
    }
}
