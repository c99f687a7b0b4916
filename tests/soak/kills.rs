//! `make kills`: kills every process at every step of every operation and prints a table. Arguments select operations and
//! steps (`kills resize revert:after.start`); `NEPHOS_KILLS_AT_ONCE` is the number of clouds in parallel.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use tests::kills::{Case, End, Operation, Stage, Victim, all};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |case: &Case| {
        words.is_empty()
            || words.iter().any(|word| {
                let (operation, step) = word.split_once(':').unwrap_or((word, ""));
                case.operation.name().starts_with(operation) && case.step.starts_with(step)
            })
    };
    let mut scenes: VecDeque<Vec<Case>> = VecDeque::new();
    for operation in Operation::ALL {
        let scene: Vec<Case> =
            all().into_iter().filter(|case| case.operation == operation && chosen(case)).collect();
        if !scene.is_empty() {
            scenes.push_back(scene);
        }
    }
    let at_once = std::env::var("NEPHOS_KILLS_AT_ONCE").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let (scenes, ends) = (Mutex::new(scenes), Mutex::new(Vec::new()));
    let mut well = true;
    thread::scope(|scope| {
        let stages: Vec<_> = (0..at_once).map(|_| scope.spawn(|| perform(&scenes, &ends))).collect();
        for stage in stages {
            well &= stage.join().expect("a stage").map_err(|left| println!("{left}")).is_ok();
        }
    });
    let ends = ends.into_inner().expect("the ends");
    table(&ends);
    well &= !ends.iter().any(|(_, end)| matches!(end, End::Broken(_)));
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn perform(scenes: &Mutex<VecDeque<Vec<Case>>>, ends: &Mutex<Vec<(Case, End)>>) -> Result<(), String> {
    let mut stage = Stage::new();
    loop {
        let Some(scene) = scenes.lock().expect("the scenes").pop_front() else { return stage.close() };
        for case in scene {
            let end = stage.play(case);
            ends.lock().expect("the ends").push((case, end));
        }
    }
}

fn table(ends: &[(Case, End)]) {
    println!("\n| operation | step | {} |", Victim::ALL.map(Victim::name).join(" | "));
    println!("|---|---|---|---|---|");
    for operation in Operation::ALL {
        for (step, _) in operation.steps() {
            let word = |victim: Victim| {
                let mine =
                    |case: &Case| case.operation == operation && case.step == *step && case.victim == victim;
                ends.iter().find(|(case, _)| mine(case)).map_or("", |(_, end)| end.word())
            };
            let words = Victim::ALL.map(word);
            if words.iter().any(|word| !word.is_empty()) {
                println!("| {} | `{step}` | {} |", operation.name(), words.join(" | "));
            }
        }
    }
    let broken = ends.iter().filter(|(_, end)| matches!(end, End::Broken(_))).count();
    println!("\n{} deaths, {broken} broken promises", ends.len());
}
