use crate::{
    Error,
    advice::Advice,
    cli::DoctorArgs,
    data,
    folder::Folder,
    history::{self, Change, Origin},
    insight::strength::Strength,
    metrics::{self, Metrics},
    say,
    text::{count, number},
};
use serde_json::json;

/// Carries out `lockstep doctor`.
pub fn run(args: DoctorArgs) -> Result<(), Error> {
    let folder = Folder::of_run(&args.run)?;
    let generations = metrics::load(&folder.metrics())?;
    let Some(last) = generations.last() else {
        let message = "no generation has ended yet: there is nothing to tell".into();
        return Err(Error::Run { path: args.run, message });
    };
    let lines = Strength::load(&folder)?;
    let of_strength = lines.iter().map(|line| (line.generation, &line.advice[..]));
    let findings =
        findings(generations.iter().map(|metrics| (metrics.generation, &metrics.advice[..])).chain(of_strength));
    if args.json {
        for Finding { rule, text, count, newest } in findings {
            data!("{}", json!({"rule": rule, "generations": count, "newest": newest, "text": text}));
        }
        return Ok(());
    }
    summary(last, generations.len());
    if let Some(line) = lines.last() {
        say!("The player of generation {}: {}.", line.generation, line.fields().join(", "));
    }
    for Origin { forked_from, .. } in history::origins(&folder) {
        say!("forked from {forked_from}");
    }
    for Change { generation, key, from, to } in history::changes(&folder) {
        say!("changed from generation {generation} on: {key} {from} -> {to}");
    }
    if findings.is_empty() {
        say!("No advice: nothing looks broken or slow.");
    }
    for Finding { rule, text, count, newest } in findings {
        let is_new = newest == last.generation || lines.last().is_some_and(|line| newest == line.generation);
        let when = if is_new { "now".into() } else { format!("last in generation {newest}") };
        let all = number(generations.len() as u64, "generation");
        say!("{rule} ({when}; in {count} of {all}): {text}");
    }
    Ok(())
}

/// What a rule has said of a run.
struct Finding<'a> {
    rule: &'a str,
    /// What the rule said of the newest generation of which it had something to say.
    text: &'a str,
    newest: u64,
    /// The number of generations of which the rule had something to say.
    count: usize,
}

/// Returns the findings of all rules, those that apply now first, and then in the order in which they came up last.
fn findings<'a>(said: impl Iterator<Item = (u64, &'a [Advice])>) -> Vec<Finding<'a>> {
    let mut findings: Vec<Finding> = vec![];
    for (newest, advice) in said {
        for advice in advice {
            let (rule, text) = (&*advice.rule, &*advice.text);
            match findings.iter_mut().find(|finding| finding.rule == rule) {
                Some(finding) => *finding = Finding { text, newest, count: finding.count + 1, rule },
                None => findings.push(Finding { rule, text, newest, count: 1 }),
            }
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.newest));
    findings
}

fn summary(last: &Metrics, generations: usize) {
    let machine = &last.machine;
    say!(
        "{} on {} ({}), {} on {}: {}",
        number(generations as u64, "generation"),
        machine.device,
        machine.precision.name(),
        number(machine.threads as u64, "thread"),
        number(machine.cores as u64, "core"),
        machine,
    );
    let stages = last.stages;
    let all = stages.total().max(1e-9);
    say!(
        "the last one: play {:.1} s (batches {:.0} %, network {:.0} %, trees {:.0} %), learning {:.1} s, writing {:.1} s; \
         {} simulations/s, {} evaluations/s, batches of {}, {:.0} % full",
        last.play_seconds,
        100.0 * stages.collect / all,
        100.0 * stages.evaluate / all,
        100.0 * stages.search / all,
        last.learn_seconds,
        last.write_seconds,
        count(last.simulations_per_second),
        count(last.evaluations_per_second),
        number(last.mean_batch.round() as u64, "row"),
        100.0 * last.batch_fill,
    );
}
