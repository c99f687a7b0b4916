//! Fuzzes every parser of untrusted input through the dialect, as clients reach it.
//!
//! Each target builds a request from bytes and checks what must always hold: no 5xx, no panic, and no change by a rejected
//! request. A run mutates samples for some hundred cases, always the same ones; `make fuzz` runs many more with another seed
//! each time (`NEPHOS_FUZZ_CASES`, `NEPHOS_FUZZ_SEED`).

#[path = "../swift/harness.rs"]
#[allow(dead_code)]
mod harness;
mod mutation;
mod targets;

use database::testing::TestLocation;

use mutation::Mutator;
use targets::{TARGETS, Target};

/// Default number of cases per target.
const CASES: u64 = 400;

fn fuzz(target: &Target) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("NEPHOS_FUZZ_CASES").unwrap_or(CASES);
    let seed = number("NEPHOS_FUZZ_SEED").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let scratch = TestLocation::sqlite();
    runtime.block_on(async {
        let cloud = targets::cloud_with_objects(&scratch.location).await;
        let mut mutator = Mutator::new(seed, target.name, target.samples);
        for sample in target.samples {
            (target.run)(&cloud, sample).await;
        }
        for _ in 0..cases {
            let bytes = mutator.next();
            (target.run)(&cloud, &bytes).await;
        }
        targets::check_unchanged(&cloud).await;
    });
}

macro_rules! each {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                fuzz(TARGETS.iter().find(|target| target.name == stringify!($name)).expect("a target of that name"));
            }
        )*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            for target in TARGETS {
                assert!(run.contains(&target.name), "{} is not run", target.name);
            }
        }
    };
}

each![
    paths,
    queries,
    ranges,
    conditions,
    dates,
    acls,
    account_acls,
    manifests,
    forms,
    tars,
    signatures,
    deletions,
    copies,
    links,
    metadata,
];
