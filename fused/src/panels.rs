//! Weights packed in the order in which the kernels read them.

use super::kernels::Level;

/// Numbers in a cache line; packed weights and scratch start at one, so that no vector straddles two.
const LINE: usize = 16;

/// Numbers that start at a cache line.
#[derive(Debug, Default)]
pub(super) struct Aligned<T = f32> {
    data: Vec<T>,
    start: usize,
    length: usize,
}

impl<T: Copy + Default> Aligned<T> {
    pub(super) fn zeros(length: usize) -> Self {
        let line = LINE * size_of::<f32>();
        let data = vec![T::default(); length + line / size_of::<T>()];
        let start = data.as_ptr().align_offset(line).min(line / size_of::<T>());
        Self { data, start, length }
    }

    pub(super) fn get(&self) -> &[T] {
        &self.data[self.start..self.start + self.length]
    }

    pub(super) fn get_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.length]
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.data.capacity() * size_of::<T>()
    }

    /// The first `length` numbers, of any value; the buffer grows if it must and never shrinks.
    pub(super) fn at_least(&mut self, length: usize) -> &mut [T] {
        if self.length < length {
            *self = Self::zeros(length);
        }
        &mut self.get_mut()[..length]
    }
}

/// `length` rounded up to an odd number of cache lines.
///
/// Numbers that lie an even number of lines apart share few sets of the cache and drive each other out of it.
pub(super) fn odd_lines(length: usize) -> usize {
    (length.div_ceil(LINE) | 1) * LINE
}

/// Matrices `[segments][depth][outputs]` cut into panels as wide as a tile, each packed `[segments][depth][width]`.
///
/// Columns are filled up with zeros to whole vectors; the last panel may be narrower than the others.
#[derive(Debug)]
pub(super) struct Panels {
    data: Aligned,
    bias: Aligned,
    segments: usize,
    depth: usize,
    outputs: usize,
    padded: usize,
    lanes: usize,
    vectors: usize,
}

/// One panel of [`Panels`].
pub(super) struct Panel<'a> {
    /// Its first column.
    pub start: usize,
    /// Its width in vectors.
    pub vectors: usize,
    /// `[segments][depth][width]`.
    pub data: &'a [f32],
    /// `[width]`.
    pub bias: &'a [f32],
}

impl Panels {
    /// Packs the numbers `weight(segment, row, column)` for the tiles of `level`.
    pub(super) fn new(
        level: Level,
        [segments, depth, outputs]: [usize; 3],
        bias: &[f32],
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let mut panels = Self::zeros(level, [segments, depth, outputs]);
        panels.fill(bias, weight);
        panels
    }

    /// Matrices of zeros, to be filled later.
    pub(super) fn zeros(level: Level, [segments, depth, outputs]: [usize; 3]) -> Self {
        let (lanes, vectors) = level.shape();
        let padded = outputs.next_multiple_of(lanes);
        let data = Aligned::zeros(segments * depth * padded);
        Self { data, bias: Aligned::zeros(padded), segments, depth, outputs, padded, lanes, vectors }
    }

    /// Replaces all numbers by `weight(segment, row, column)`, and the first numbers of the bias by `bias`.
    pub(super) fn fill(&mut self, bias: &[f32], weight: impl Fn(usize, usize, usize) -> f32) {
        let mut packed = self.data.get_mut();
        for start in (0..self.padded).step_by(self.lanes * self.vectors) {
            let width = (self.padded - start).min(self.lanes * self.vectors);
            let (panel, rest) = packed.split_at_mut(self.segments * self.depth * width);
            for (index, numbers) in panel.chunks_exact_mut(width).enumerate() {
                for (column, number) in (start..self.outputs).zip(numbers) {
                    *number = weight(index / self.depth, index % self.depth, column);
                }
            }
            packed = rest;
        }
        self.bias.get_mut()[..bias.len()].copy_from_slice(bias);
    }

    /// All packed numbers, to be written at the places that [`Panels::place`] names.
    pub(super) fn packed_mut(&mut self) -> &mut [f32] {
        self.data.get_mut()
    }

    /// Where a number lies in the packed ones. Numbers of one vector lie side by side.
    #[inline(always)]
    pub(super) fn place(&self, segment: usize, row: usize, column: usize) -> usize {
        let panel = self.lanes * self.vectors;
        let start = column / panel * panel;
        let width = (self.padded - start).min(panel);
        (start * self.segments + segment * width) * self.depth + row * width + column - start
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        self.data.bytes() + self.bias.bytes()
    }

    pub(super) fn segments(&self) -> usize {
        self.segments
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns, with those of the padding.
    pub(super) fn padded(&self) -> usize {
        self.padded
    }

    /// The level's shape that these panels are packed for.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.lanes, self.vectors)
    }

    /// One number for each column, zero in the padding.
    pub(super) fn bias(&self) -> &[f32] {
        self.bias.get()
    }

    #[inline(always)]
    pub(super) fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        let rows = self.segments * self.depth;
        (0..self.padded).step_by(self.lanes * self.vectors).map(move |start| {
            let width = (self.padded - start).min(self.lanes * self.vectors);
            let data = &self.data.get()[start * rows..(start + width) * rows];
            Panel { start, vectors: width / self.lanes, data, bias: &self.bias.get()[start..start + width] }
        })
    }
}
