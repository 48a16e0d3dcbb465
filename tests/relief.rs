//! A device that runs out of memory in the middle of a run: the run goes on with less at once, and keeps that.

use crate::{lockstep, small, text};
use lockstep::{
    Error,
    device::{self, Place},
    folder::Folder,
    history::Change,
    metrics,
    prelude::*,
    relief::{relieve, relieved, with_fewer_lanes, worked},
    trainer,
};
use lockstep_systems::{EVALUATING, Failure, SETTING_UP, TRAINING};

fn game() -> AnyGame {
    AnyGame::of::<TicTacToe>()
}

fn out_of_memory(doing: &'static str) -> systems::Error {
    let why = "out of device memory allocating 1048576 bytes";
    let report = format!("An error happened\nCaused by:\n  It failed\nCaused by:\n  {why}\n\nNo backtrace available\n");
    let error = systems::Error::of_device(doing, report);
    assert_eq!(error, systems::Error::OutOfMemory { doing, message: why.into() });
    error
}

/// An evaluator on a device with memory for batches of so many rows.
struct Limited(Box<dyn Evaluator>, usize);

impl Evaluator for Limited {
    fn submit(&mut self, batch: &Batch) -> Result<(), systems::Error> {
        if batch.rows > self.1 { Err(out_of_memory(EVALUATING)) } else { self.0.submit(batch) }
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), systems::Error> {
        self.0.receive(out)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

/// Fails in the second generation, as if the memory did not suffice for a whole batch.
fn no_room_for_a_step(learner: Res<Learner>, failure: Res<Failure>) {
    if learner.generation() == 1 && learner.progress().0 == 2 && learner.config.accumulation < 4 {
        failure.set(out_of_memory(TRAINING));
    }
}

fn limited() -> Hooks {
    Hooks::default().evaluator(|evaluator| Box::new(Limited(evaluator, 8))).learning(|world| {
        let step = no_room_for_a_step.after(LearnSystems::Sample).before(LearnSystems::Step);
        world.resource_mut::<Schedules>().add_systems(Learn, step);
    })
}

#[test]
fn a_run_goes_on_with_less_memory() {
    let mut place = device::place(DeviceKind::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(&dir.path().join("run"));
    // Without a cache every lane has a row, so that batches are large.
    let mut config = small(&["network.kind=resnet", "network.blocks=1", "search.cache_mb=0", "run.precision=f32"]);
    let open = |config: &Config, place: &Place| trainer::open(game(), config, place, &folder, None, &limited());
    let finish = |run: &mut Trainer, _: &Config| -> Result<(), Error> {
        while !run.is_finished() {
            if let trainer::Event::Generation(generation, _) = run.advance()? {
                metrics::append(&folder.metrics(), &generation)?;
                run.save(&folder)?;
            }
        }
        Ok(())
    };
    let mut told = vec![];
    let run = open(&config, &place).unwrap();
    worked(game(), &mut config, &mut place, &folder, run, finish, open, |why| told.push(why.to_string())).unwrap();
    assert!(told.len() == 3 && told[0].starts_with("generation 1: ") && told[2].contains("2 -> 4"), "{told:?}");
    let change = |generation, key: &str, from: &str, to: &str| Change {
        generation,
        key: key.into(),
        from: from.into(),
        to: to.into(),
    };
    let expected = [
        change(1, "lanes.cohort", "0", "8"),
        change(2, "learn.accumulation", "1", "2"),
        change(2, "learn.accumulation", "2", "4"),
    ];
    let recorded = std::fs::read_to_string(folder.history()).unwrap();
    let recorded: Vec<Change> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(recorded, expected);

    // It repeats with what was changed, and going on keeps it.
    let output = lockstep(dir.path(), &["verify", "--run", "run", "--replay", "1"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    let output = lockstep(dir.path(), &["train", "--run", "run", "--set", "run.generations=4"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let kept = std::fs::read_to_string(folder.config()).unwrap();
    assert!(kept.contains("cohort = 8") && kept.contains("accumulation = 4"), "{kept}");

    // Nothing is changed for want of anything else, or where nothing is left to lower.
    let other = systems::Error::of_device(TRAINING, "the cable was pulled".into());
    assert_eq!(relieve(game(), &mut config, &place, &folder, 5, &other).unwrap(), []);
    config.lanes.in_flight = 3;
    let change = relieve(game(), &mut config, &place, &folder, 5, &out_of_memory(EVALUATING)).unwrap();
    // 16 lanes make three cohorts of 6 at most, which two in flight keep.
    assert_eq!((config.lanes.cohort, config.lanes.in_flight), (6, 2), "{change:?}");
    (config.lanes.cohort, config.lanes.in_flight) = (1, 1);
    assert_eq!(relieve(game(), &mut config, &place, &folder, 5, &out_of_memory(EVALUATING)).unwrap(), []);
}

/// Where the memory does not suffice for what a run is rehearsed with, or opened with again, it takes less as well.
#[test]
fn a_run_is_taken_up_with_less_memory() {
    let mut place = device::place(DeviceKind::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::at(&dir.path().join("run"));
    let mut config = small(&["lanes.in_flight=3", "run.precision=f32"]);
    trainer::open(game(), &config, &place, &folder, None, &Hooks::default()).unwrap();
    // A back end panics where it cannot allocate, and whoever looks at what it does makes an error of it.
    fn fails<T>(doing: &'static str) -> Result<T, systems::Error> {
        systems::Error::guard(doing, || panic!("out of device memory allocating 7 bytes"))
    }
    let mut asked = vec![];
    let run = relieved(
        game(),
        &mut config,
        &mut place,
        &folder,
        |config, place| {
            asked.push((config.lanes.in_flight, config.learn.accumulation, config.lanes.cohort));
            match (config.lanes.in_flight, config.learn.accumulation) {
                (2.., _) => Ok(fails(SETTING_UP)?),
                (_, 1) => Ok(fails(TRAINING)?),
                _ if config.lanes.cohort == 6 => Ok(fails(EVALUATING)?),
                _ => trainer::open(game(), config, place, &folder, None, &Hooks::default()),
            }
        },
        |told| assert!(told.contains("out of device memory") && told.contains(" -> "), "{told}"),
    );
    assert_eq!(run.unwrap().generation(), 0);
    assert_eq!(asked, [(3, 1, 0), (2, 1, 6), (1, 1, 6), (1, 2, 6), (1, 2, 3)]);
    let recorded = std::fs::read_to_string(folder.history()).unwrap();
    assert!(recorded.contains("lanes.in_flight") && recorded.contains("learn.accumulation"), "{recorded}");
    let kept = std::fs::read_to_string(folder.config()).unwrap();
    assert!(kept.contains("in_flight = 1") && kept.contains("accumulation = 2"), "{kept}");

    // It ends with the error where nothing is left to lower, and at once where it is another one.
    let none = relieved::<()>(game(), &mut config, &mut place, &folder, |_, _| Ok(fails(EVALUATING)?), |_| ());
    assert!(none.unwrap_err().to_string().contains("out of device memory"));
    assert_eq!(config.lanes.cohort, 1);
    let other = || systems::Error::guard(SETTING_UP, || panic!("the cable was pulled"));
    let other = relieved::<()>(game(), &mut config, &mut place, &folder, |_, _| Ok(other()?), |_| ());
    assert!(other.unwrap_err().to_string().contains("while setting up the run: the cable was pulled"));
}

#[test]
fn grading_and_matches_go_on_with_fewer_lanes() {
    let room = |most| move |lanes| if lanes > most { Err(out_of_memory(EVALUATING).into()) } else { Ok(lanes) };
    assert_eq!(with_fewer_lanes(100, room(7)).unwrap(), 6);
    let error = with_fewer_lanes(100, room(0)).unwrap_err().to_string();
    assert!(error.contains("out of device memory") && error.contains("--device"), "{error}");
}
