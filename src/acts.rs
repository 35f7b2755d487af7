//! The desk's commands that change letters: choose, foretell, ask, do, tell.

mod correction;
mod question;

use std::io::BufRead;

use super::cli::{Answer, Chosen, DiscardArgs, Named, ReopenArgs, RetryArgs, Terms};
use super::context::Context;
use super::desk::{self, Progress};
use super::exit::{Exit, Stop};
use super::output;
use super::roles::policy;
use super::wiring::{self, Folder};
use crate::render::acts as render;
use ecom_dlq::Desk;
use ecom_dlq::next::Command;
use ecom_dlq::plan::{Plan, Purpose};
use ecom_dlq::run::{End, Ended, Entry, Pace};
use ecom_dlq::selection::Selection;
use ecom_dlq::tally::Tally;
use ecom_domain::letter::LetterId;
use ecom_domain::run::{Deed, Run, RunId, RunState};
use ecom_pipeline::durable::Halt;

pub(crate) use correction::correct;

/// What a command asks for.
struct Wish<'w> {
    deed: Deed,
    chosen: &'w Chosen,
    terms: &'w Terms,
    note: Option<String>,
    all: bool,
    rate: Option<f64>,
    canary: u64,
}

/// Runs `dlq_handler retry`.
pub(crate) async fn retry(context: &Context, args: &RetryArgs) -> Result<Exit, Stop> {
    let wish = Wish {
        all: args.all,
        rate: args.rate.per_second(),
        canary: args.canary,
        ..Wish::new(Deed::Retry, &args.chosen, &args.terms, args.note.as_deref())
    };
    wish.fulfil(context).await
}

/// Runs `dlq_handler discard`.
pub(crate) async fn discard(context: &Context, args: &DiscardArgs) -> Result<Exit, Stop> {
    Wish::new(Deed::Discard, &args.chosen, &args.terms, args.note.as_deref()).fulfil(context).await
}

/// Runs `dlq_handler reopen`.
pub(crate) async fn reopen(context: &Context, args: &ReopenArgs) -> Result<Exit, Stop> {
    Wish::new(Deed::Reopen, &args.chosen, &args.terms, args.note.as_deref()).fulfil(context).await
}

impl<'w> Wish<'w> {
    fn new(deed: Deed, chosen: &'w Chosen, terms: &'w Terms, note: Option<&str>) -> Self {
        let note = note.map(str::to_owned);
        Self { deed, chosen, terms, note, all: false, rate: None, canary: 0 }
    }

    async fn fulfil(&self, context: &Context) -> Result<Exit, Stop> {
        if let Some(run_id) = &self.terms.resume {
            return self.go_on(context, run_id).await;
        }
        let Some(selection) = self.selection(context)? else {
            eprintln!("no ids came: nothing to do");
            return Ok(Exit::Done);
        };
        if !self.terms.dry_run {
            question::somebody_answers(self.terms.yes)?;
        }
        let desk = self.open(context).await?;
        let purpose = if self.terms.dry_run { Purpose::Look } else { Purpose::Begin };
        let progress = Progress::new();
        let seen = |letters| progress.at(letters);
        let planned = desk.plan(self.deed, selection.clone(), purpose, &seen);
        let plan = unless_stopped(context, planned).await?;
        progress.done();
        let found = if plan.missing.is_empty() { Exit::Done } else { Exit::No };
        let nothing = plan.letters == 0;
        self.tell_plan(&desk, &plan)?;
        if self.terms.dry_run {
            return Ok(found);
        }
        if nothing {
            return Ok(if self.chosen.ids.is_empty() { Exit::Done } else { Exit::No });
        }
        if !question::says_yes(context, &render::question(&plan), self.terms.yes).await? {
            eprintln!("nothing was changed");
            return Ok(Exit::No);
        }
        let run = desk.begin(plan, self.note.clone()).await?;
        let exit = self.work(context, &desk, run, Entry::Fresh).await?;
        if self.deed == Deed::Reopen {
            let again = output::spelt(&Command::retry(&open(selection)), &context.common);
            eprintln!("next: to try them now instead of at their next attempt: {again}");
        }
        Ok(if exit == Exit::Done { found } else { exit })
    }

    /// The letters that are meant; `None` where stdin was to name them and named none.
    fn selection(&self, context: &Context) -> Result<Option<Selection>, Stop> {
        let deed = self.deed.as_str();
        if self.chosen.is_empty() && !self.all {
            let all = if self.deed == Deed::Retry { ", or --all" } else { "" };
            return Err(Stop::usage(format!("{deed} which letters?"))
                .hint(format!("name ids, - for ids from stdin, a filter such as --reason or --order{all}")));
        }
        if self.all && self.chosen.has_filters() {
            return Err(Stop::usage("--all means all open letters, and a filter means fewer")
                .hint("leave one of them out"));
        }
        let mut ids = Vec::new();
        for named in &self.chosen.ids {
            match named {
                Named::Letter(id) => ids.push(id.clone()),
                Named::Stdin => ids.extend(ids_of(std::io::stdin().lock())?),
            }
        }
        if ids.is_empty() && !self.chosen.ids.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.chosen.selection(context.clock.now_us(), ids)))
    }

    async fn open(&self, context: &Context) -> Result<Desk, Stop> {
        let store = wiring::store(context, Folder::MustExist).await?;
        Ok(desk::on(context, &store))
    }

    /// The answer where nothing else follows; talk where it only leads to a question.
    fn tell_plan(&self, desk: &Desk, plan: &Plan) -> Result<(), Stop> {
        let store = desk.facts.describe();
        let is_answer = self.terms.dry_run || plan.letters == 0;
        let text = render::plan(&store, plan, self.rate, self.canary);
        match (is_answer, self.terms.format) {
            (true, Answer::Json) => output::data(&render::plan_json(&store, plan, self.rate)),
            (true, Answer::Table) => output::data(&text),
            (false, _) => {
                eprintln!("{text}");
                Ok(())
            }
        }
    }

    async fn go_on(&self, context: &Context, run_id: &RunId) -> Result<Exit, Stop> {
        if self.chosen.has_filters() {
            return Err(Stop::usage("a run goes on with its own letters").hint("leave the filters out"));
        }
        let desk = self.open(context).await?;
        let Some(run) = desk.retrying.read(|| desk.journal.run(run_id)).await? else {
            eprintln!("error: there is no run {run_id} in {}", desk.facts.describe());
            eprintln!("hint: {} history", output::command("dlq_handler", &context.common));
            return Ok(Exit::No);
        };
        if run.deed != self.deed {
            let deed = run.deed.as_str();
            let hint = match run.deed {
                Deed::Correct => "type the same correction again: it is the same event".to_owned(),
                Deed::Retry | Deed::Discard | Deed::Reopen => spelt(context, &run),
            };
            return Err(Stop::usage(format!("run {run_id} is a {deed}")).hint(hint));
        }
        if run.state == RunState::Finished {
            let tally = Tally::read(&run.outcomes);
            self.tell(&desk, &Ended { run, end: End::Finished, tally })?;
            eprintln!("it was finished before: nothing was done");
            return Ok(Exit::Done);
        }
        eprintln!("{}", render::resumed(&run));
        self.work(context, &desk, run, Entry::Resumed).await
    }

    async fn work(&self, context: &Context, desk: &Desk, run: Run, entry: Entry) -> Result<Exit, Stop> {
        let settler = desk.settler(&run, policy(&context.config.dead_letters));
        let progress = Progress::of(run.letters);
        let done = |letters| progress.at(letters);
        let pace =
            Pace { entry, rate: self.rate, canary: self.canary, stop: context.stop.clone(), done: &done };
        let again = spelt(context, &run);
        let on = format!("go on with: {again}");
        let ended = tokio::select! {
            biased;
            ended = desk.work(run, &settler, &pace) => ended,
            never = question::tells_of_a_stop(context) => match never {},
        };
        progress.done();
        let ended = ended.map_err(|error| Stop::failed(error.to_string()).hint(on.clone()))?;
        self.tell(desk, &ended)?;
        let (letters, tally) = (ended.run.letters, &ended.tally);
        match ended.end {
            End::Finished => Ok(Exit::Done),
            End::Stopped => {
                let done = output::count(tally.letters());
                Err(Stop::failed(format!("stopped after {done} of {} letters", output::count(letters)))
                    .hint(on))
            }
            End::Differed => {
                let differed = output::count(tally.differed);
                eprintln!("error: {differed} of the first letters ended otherwise than was foretold");
                if ended.run.state == RunState::Stopped {
                    eprintln!("hint: where that is well, {on}");
                }
                Ok(Exit::No)
            }
        }
    }

    fn tell(&self, desk: &Desk, ended: &Ended) -> Result<(), Stop> {
        let store = desk.facts.describe();
        output::data(&match self.terms.format {
            Answer::Table => render::ended(&store, ended),
            Answer::Json => render::ended_json(&store, ended),
        })
    }
}

/// What is read before anything is changed, unless a signal comes before it.
async fn unless_stopped<T>(
    context: &Context,
    read: impl Future<Output = Result<T, Halt>>,
) -> Result<T, Stop> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(Stop::failed("stopped before anything was changed")),
        read = read => read.map_err(Stop::from),
    }
}

/// The command that goes on with a run.
fn spelt(context: &Context, run: &Run) -> String {
    let words = [run.deed.as_str(), "--resume", run.id.as_str()].map(str::to_owned).into();
    output::spelt(&Command { binary: "dlq_handler", words }, &context.common)
}

/// The same letters, now that they are open.
fn open(selection: Selection) -> Selection {
    match selection.states.is_empty() {
        true => selection,
        false => Selection { states: Selection::open().states, ..selection },
    }
}

/// The ids on these lines: the first word of each that is not empty.
fn ids_of(lines: impl BufRead) -> Result<Vec<LetterId>, Stop> {
    let mut ids = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line?;
        let Some(word) = line.split_whitespace().next() else { continue };
        let id = LetterId::parse(word).ok_or_else(|| {
            Stop::usage(format!("line {number} of stdin is no letter's id")).hint(
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
        assert_eq!(stop.to_string(), "line 2 of stdin is no letter's id");
        assert!(ids_of(&b""[..]).unwrap().is_empty());
    }
}
