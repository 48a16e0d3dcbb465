//! The batch cut into chunks, and the work on them handed to the threads.

use std::sync::Mutex;

use super::super::panels::Aligned;

/// How a batch is cut; depends on the shapes and the number of rows alone, never on the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub rows: usize,
    /// Rows of every chunk but the last.
    pub chunk: usize,
    pub chunks: usize,
}

impl Cut {
    /// Chunks of at most `most` rows, all as equal as they can be.
    pub(super) fn new(rows: usize, most: usize) -> Self {
        // At least 16 chunks, so that many threads have work, but none so small that weights are read for nothing.
        let most = most.min(rows.div_ceil(16).max(16)).max(1);
        // A multiple of four, for the usual numbers of threads.
        let count = rows.div_ceil(most).max(1);
        let count = if count > 2 { count.next_multiple_of(4) } else { count };
        let chunk = rows.div_ceil(count).max(1);
        Self { rows, chunk, chunks: rows.div_ceil(chunk) }
    }

    /// Rows of chunk `index`.
    pub(super) fn rows_of(&self, index: usize) -> usize {
        self.chunk.min(self.rows - index * self.chunk)
    }

    /// The piece of a list, with so many numbers for each row, that belongs to a chunk.
    pub(super) fn piece(self, list: &[f32], row: usize, index: usize) -> &[f32] {
        &list[index * self.chunk * row..][..self.rows_of(index) * row]
    }
}

/// Cuts lists with so many numbers for each row of a batch: for each chunk, its piece of each list.
pub(super) fn pieces<'a>(cut: Cut, lists: impl Iterator<Item = (&'a mut Aligned, usize)>) -> Vec<Vec<&'a mut [f32]>> {
    let mut chunks: Vec<Vec<&mut [f32]>> = (0..cut.chunks).map(|_| vec![]).collect();
    for (list, row) in lists {
        let mut rest = list.at_least(cut.rows * row);
        for (index, pieces) in chunks.iter_mut().enumerate() {
            let (piece, after) = rest.split_at_mut(cut.rows_of(index) * row);
            pieces.push(piece);
            rest = after;
        }
    }
    chunks
}

/// The memory of one thread; every buffer only grows.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub pixels: Vec<u32>,
    pub first: Aligned,
    pub second: Aligned,
}

impl Scratch {
    pub(super) fn bytes(&self) -> usize {
        self.pixels.capacity() * size_of::<u32>() + self.first.bytes() + self.second.bytes()
    }
}

/// Does all jobs on rayon's current pool. Whoever is free takes the next one.
pub(super) fn parallel<J: Send>(
    scratch: &mut Vec<Scratch>,
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(&mut Scratch, J) + Sync,
) {
    let threads = rayon::current_num_threads();
    if scratch.len() < threads {
        scratch.resize_with(threads, Scratch::default);
    }
    if threads == 1 {
        for job in jobs {
            work(&mut scratch[0], job);
        }
        return;
    }
    let jobs = Mutex::new(jobs);
    let (jobs, work) = (&jobs, &work);
    rayon::scope(|scope| {
        for scratch in &mut scratch[..threads] {
            scope.spawn(move |_| {
                loop {
                    let job = jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                    let Some(job) = job else { break };
                    work(scratch, job);
                }
            });
        }
    });
}
