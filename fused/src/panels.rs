//! Weights packed in the order in which the kernels read them.

use super::kernels::{Level, prefer_huge_pages};

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
        let mut data = vec![T::default(); length + Self::GAP];
        prefer_huge_pages(&mut data);
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>()).min(Self::GAP);
        Self { data, start, length }
    }

    /// Numbers more than are asked for, so that the first one can start at a cache line.
    const GAP: usize = LINE * size_of::<f32>() / size_of::<T>();

    /// Bytes that so many numbers take.
    pub(super) fn bytes_of(length: usize) -> usize {
        (length + Self::GAP) * size_of::<T>()
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
            // Not both at once.
            *self = Self::default();
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
/// Columns are filled up with zeros to whole vectors; the last panel may be narrower than the others. Without numbers they take
/// no memory yet, and tell how much they will.
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
    /// Matrices for the tiles of `level`, to be filled later.
    pub(super) fn new(level: Level, [segments, depth, outputs]: [usize; 3]) -> Self {
        let (lanes, vectors) = level.shape();
        let padded = outputs.next_multiple_of(lanes);
        Self { data: Aligned::default(), bias: Aligned::default(), segments, depth, outputs, padded, lanes, vectors }
    }

    /// Replaces all numbers by `weight(segment, row, column)`, and the first numbers of the bias by `bias`.
    pub(super) fn fill(&mut self, bias: &[f32], weight: impl Fn(usize, usize, usize) -> f32) {
        self.packed_mut();
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
        self.bias.at_least(self.padded);
        self.data.at_least(self.segments * self.depth * self.padded)
    }

    /// Where a number lies in the packed ones. Numbers of one vector lie side by side.
    #[inline(always)]
    pub(super) fn place(&self, segment: usize, row: usize, column: usize) -> usize {
        let panel = self.lanes * self.vectors;
        let start = column / panel * panel;
        let width = (self.padded - start).min(panel);
        (start * self.segments + segment * width) * self.depth + row * width + column - start
    }

    /// Bytes that they take once they are filled.
    pub(super) fn bytes(&self) -> usize {
        Aligned::<f32>::bytes_of(self.segments * self.depth * self.padded) + Aligned::<f32>::bytes_of(self.padded)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_tell_what_they_will_take() {
        for level in Level::available() {
            for shape in [[1, 1, 1], [9, 64, 64], [3, 5, 130]] {
                let mut panels = Panels::new(level, shape);
                let told = panels.bytes();
                assert_eq!(panels.data.bytes() + panels.bias.bytes(), 0);
                panels.fill(&[1.0], |_, _, _| 1.0);
                assert_eq!(panels.data.bytes() + panels.bias.bytes(), told);
            }
        }
    }
}
