//! Evaluators on threads of their own.

use crate::{Batch, Error, Evaluations, Evaluator, error::EVALUATING, evaluator::Capabilities};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

/// Hands its batches to several evaluators in turn, each on a thread of its own, so that as many are in flight.
///
/// A GPU back end has a stream for each thread, and reading an answer waits for all that its stream was given. With one thread
/// for all batches, an answer would wait for the batches that were submitted after it.
///
/// Such a back end also keeps memory for each stream that it has ever seen, so threads are used again: otherwise each
/// new network would leave memory behind with the threads of the one before.
pub struct Workers {
    workers: Vec<Worker>,
    /// The workers whose answers are due, oldest first.
    order: VecDeque<usize>,
    next: usize,
    capabilities: Capabilities,
}

struct Worker {
    /// `None` when the worker is to end.
    jobs: Option<Sender<Job>>,
    /// One thread at a time reads this and `end`; the locks are only there for `Sync`.
    answers: Mutex<Receiver<Result<Job, Error>>>,
    end: Mutex<Receiver<Result<(), Error>>>,
    /// Buffers to be used again.
    spare: Vec<Job>,
}

/// A batch on its way to a worker, and its evaluations on the way back.
struct Job {
    batch: Batch,
    out: Evaluations,
}

impl Workers {
    /// Makes `count` evaluators, each on its own thread, for a game with `actions` actions. Their batches have planes
    /// and no keys.
    ///
    /// # Panics
    /// If `count` is 0, or a thread cannot be started.
    pub fn new<E: Evaluator>(count: usize, actions: usize, make: impl Fn() -> E + Clone + Send + 'static) -> Self {
        assert!(count > 0, "there is somebody to work");
        let (told, tells) = channel();
        let worker = |_| {
            let ((jobs, inbox), (outbox, answers)) = (channel::<Job>(), channel());
            let (make, told) = (make.clone(), told.clone());
            let work = move || {
                let mut evaluator = make();
                // Only one worker's answer is read, so this may fail.
                told.send(evaluator.capabilities()).ok();
                for mut job in inbox {
                    let rows = job.batch.rows;
                    if job.out.values.len() < rows {
                        job.out = Evaluations::new(rows, actions);
                    }
                    let done = evaluator.submit(&job.batch).and_then(|()| evaluator.receive(&mut job.out));
                    if outbox.send(done.map(|()| job)).is_err() {
                        break;
                    }
                }
            };
            let end = employ(Box::new(work));
            Worker { jobs: Some(jobs), answers: Mutex::new(answers), end: Mutex::new(end), spare: vec![] }
        };
        let workers: Vec<Worker> = (0..count).map(worker).collect();
        drop(told);
        let one = tells.recv().unwrap_or_default();
        let capabilities = Capabilities { in_flight: count as u32, ..one };
        Self { workers, order: VecDeque::new(), next: 0, capabilities }
    }
}

type Task = Box<dyn FnOnce() + Send>;

/// A task, and the channel that is told how it has ended.
type Order = (Task, Sender<Result<(), Error>>);

/// Threads with nothing to do.
static IDLE: Mutex<Vec<Sender<Order>>> = Mutex::new(vec![]);

fn idle() -> MutexGuard<'static, Vec<Sender<Order>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a task on an idle thread, or on a new one, and returns the channel that tells how it has ended.
///
/// # Panics
/// If a thread cannot be started.
fn employ(task: Task) -> Receiver<Result<(), Error>> {
    let (told, end) = channel();
    let thread = idle().pop().unwrap_or_else(start);
    thread.send((task, told)).expect("a thread ends with a task, and is not idle then");
    end
}

/// Starts a thread that runs one task after another.
fn start() -> Sender<Order> {
    let (orders, inbox) = channel::<Order>();
    let own = orders.clone();
    let run = move |(task, told): Order| {
        let done = Error::guard(EVALUATING, || {
            task();
            Ok(())
        });
        let sound = done.is_ok();
        if sound {
            // This comes before the message, so that whoever hears of the end finds the thread idle.
            idle().push(own.clone());
        }
        told.send(done).ok();
        sound
    };
    // A panic may have left the thread's stream in disorder, so the thread ends.
    let work = move || inbox.into_iter().all(run);
    thread::Builder::new().name("evaluator".into()).spawn(work).expect("a thread can be started");
    orders
}

impl Worker {
    /// Waits until the worker's thread is idle or has ended. Returns the error with which it has ended, the first time
    /// it is asked for.
    fn end(&mut self) -> Option<Error> {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        end.recv().ok().and_then(Result::err)
    }

    /// The error of a worker whose thread has stopped answering.
    fn ended(&mut self) -> Error {
        self.end().unwrap_or_else(|| Error::of_device(EVALUATING, "its thread has ended".into()))
    }
}

impl Evaluator for Workers {
    fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
        let worker = &mut self.workers[self.next];
        let new = || Job { batch: Batch::without_keys(), out: Evaluations::default() };
        let mut job = worker.spare.pop().unwrap_or_else(new);
        job.batch.copy_planes(batch);
        if worker.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            return Err(worker.ended());
        }
        self.order.push_back(self.next);
        self.next = (self.next + 1) % self.workers.len();
        Ok(())
    }

    fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
        let worker = &mut self.workers[self.order.pop_front().expect("a batch was submitted")];
        let answers = worker.answers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Ok(answer) = answers.recv() else { return Err(worker.ended()) };
        let job = answer?;
        let (rows, actions) = (job.batch.rows, job.out.logits.len() / job.out.values.len().max(1));
        out.logits[..rows * actions].copy_from_slice(&job.out.logits[..rows * actions]);
        out.values[..rows].copy_from_slice(&job.out.values[..rows]);
        out.computed = job.out.computed;
        worker.spare.push(job);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.jobs = None);
        // A panic of a thread was reported when its answer was received.
        self.workers.iter_mut().for_each(|worker| drop(worker.end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_components::{Game, games::TicTacToe};
    use std::sync::{Arc, Barrier};

    /// Evaluates nothing before another one does too: planes' sum as the value.
    struct Together(Arc<Barrier>, VecDeque<Vec<f32>>);

    impl Evaluator for Together {
        fn submit(&mut self, batch: &Batch) -> Result<(), Error> {
            assert!(batch.rows < 9, "too many rows");
            let sums = batch.planes().chunks(batch.input).map(|row| row.iter().sum()).collect();
            self.1.push_back(sums);
            Ok(())
        }

        fn receive(&mut self, out: &mut Evaluations) -> Result<(), Error> {
            self.0.wait();
            let sums = self.1.pop_front().unwrap();
            out.values[..sums.len()].copy_from_slice(&sums);
            out.computed = 10 + sums.len();
            Ok(())
        }
    }

    fn batch(rows: usize, plies: usize) -> Batch {
        let mut position = TicTacToe::start();
        (0..plies).for_each(|action| position.play(action as u16));
        Batch::of::<TicTacToe>(&vec![position.key(); rows])
    }

    #[test]
    fn batches_overlap_and_answers_come_in_order() {
        let barrier = Arc::new(Barrier::new(2));
        let mut workers = Workers::new(2, TicTacToe::ACTIONS, move || Together(barrier.clone(), VecDeque::new()));
        assert_eq!(workers.capabilities().in_flight, 2);
        let mut out = Evaluations::new(8, TicTacToe::ACTIONS);
        for (rows, plies) in [(3, 1), (5, 2), (8, 3), (1, 4)] {
            workers.submit(&batch(rows, plies)).unwrap();
            workers.submit(&batch(rows, plies - 1)).unwrap();
            for plies in [plies, plies - 1] {
                workers.receive(&mut out).unwrap();
                assert_eq!((out.values[rows - 1], out.computed), (plies as f32, 10 + rows));
            }
        }
        // Dropped with a batch in flight on each thread.
        workers.submit(&batch(1, 0)).unwrap();
        workers.submit(&batch(1, 0)).unwrap();
    }

    /// Tells on which thread it was made.
    struct Somewhere;

    impl Evaluator for Somewhere {
        fn submit(&mut self, _: &Batch) -> Result<(), Error> {
            Ok(())
        }

        fn receive(&mut self, _: &mut Evaluations) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn threads_are_used_again() {
        let seen = Arc::new(Mutex::new(std::collections::HashSet::new()));
        for _ in 0..20 {
            let seen = seen.clone();
            Workers::new(2, TicTacToe::ACTIONS, move || {
                seen.lock().unwrap().insert(thread::current().id());
                Somewhere
            });
        }
        // The other tests here have three at a time, which come and go.
        let threads = seen.lock().unwrap().len();
        assert!((2..=6).contains(&threads), "{threads} threads");
    }

    #[test]
    fn a_panic_is_an_error() {
        let barrier = Arc::new(Barrier::new(1));
        let mut workers = Workers::new(1, TicTacToe::ACTIONS, move || Together(barrier.clone(), VecDeque::new()));
        workers.submit(&batch(9, 0)).unwrap();
        let error = workers.receive(&mut Evaluations::new(9, TicTacToe::ACTIONS)).unwrap_err().to_string();
        assert!(error.contains("too many rows"), "{error}");
        assert!(workers.submit(&batch(1, 0)).is_err());
    }
}
