//! The examples run, and stay short.

#[path = "../examples/by_hand.rs"]
mod by_hand;
#[path = "../examples/evaluator.rs"]
mod evaluator;
#[path = "../examples/policy.rs"]
mod policy;
#[path = "../examples/root_entropy.rs"]
mod root_entropy;
#[path = "../examples/two_agents.rs"]
mod two_agents;

#[test]
fn by_hand_runs() {
    by_hand::main().unwrap();
}

#[test]
fn root_entropy_runs() {
    root_entropy::main().unwrap();
}

#[test]
fn policy_runs() {
    policy::main().unwrap();
}

#[test]
fn evaluator_runs() {
    evaluator::main().unwrap();
}

#[test]
fn two_agents_runs() {
    two_agents::main().unwrap();
}

#[test]
fn examples_stay_under_forty_lines() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|l| !l.trim().is_empty() && !l.trim().starts_with("//")).count();
            assert!(code < 40, "{} has {code} lines", path.display());
        }
    }
}
