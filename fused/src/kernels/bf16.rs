//! Products of spectra in bfloat16 with sums in `f32`, the same to the last bit on every processor.
//!
//! The inner dimension is taken in blocks of [`BLOCK`] numbers. In a block the products of numbers at even places and those at
//! odd ones are summed apart, each by a chain of multiply-adds from zero on; the two sums are added, and their sum is added to the
//! result. That is what the instruction TDPBF16PS of Intel's AMX computes for a tile, and what [`Plain`] computes with vectors.
//!
//! A product of complex numbers is two of real ones with the same matrix on the right, which so is read once for both: with
//! `c + i d` there as blocks of `c` and of `d` in turn, the real parts come from blocks of `re` and `-im` on the left, the imaginary
//! ones from blocks of `im` and `re`. These are four products for one, where `Spectral` has three, but none of differences of
//! rounded numbers.

use super::super::panels::Aligned;
use super::simd::{Kernel, Simd};
use super::slot_of;
pub(in super::super) use amx::Amx;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;

/// Elsewhere there is no AMX.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod amx {
    use super::{super::level::Level, Product};

    #[derive(Clone, Copy, Debug)]
    pub(in super::super::super) enum Amx {}

    impl Amx {
        pub(in super::super::super) fn of(_: Level) -> Option<Self> {
            None
        }

        pub(super) unsafe fn multiply(self, _: &Product) {
            match self {}
        }

        pub(super) unsafe fn transpose(self, _: &[u32; 256], _: *mut u32, _: Option<(*mut u32, bool)>) {
            match self {}
        }
    }
}

/// Numbers of the inner dimension that are summed before they are added to the result.
const BLOCK: usize = 32;

/// Rows and columns of a tile: of results, of words with two numbers each on the left (`[row][pair]`), and on the right
/// (`[pair][column]`).
const SIDE: usize = 16;

/// Words of a tile.
const TILE: usize = SIDE * SIDE;

/// Blocks of the inner dimension of a gradient that are packed at a time, if one chunk of the batch has no more.
const GROUP: usize = 16;

/// The matrix of one bin, packed as `[tile of columns][block][pair of rows][column]` in words of two numbers. A block of the real
/// parts is followed by that of the imaginary ones, if there are any.
#[derive(Debug)]
pub(in super::super) struct Bf16Matrix {
    words: Aligned<u32>,
    places: Places,
}

/// Where the numbers of a [`Bf16Matrix`] lie.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Places {
    /// 2 for a complex bin, else 1.
    parts: usize,
    /// Rows, in whole blocks.
    depth: usize,
    /// Columns, in whole tiles.
    outputs: usize,
}

impl Places {
    /// The place of the word of an even row and the one below it, of the real part (0) or the imaginary one (1). Words of [`SIDE`]
    /// columns lie side by side.
    #[inline(always)]
    pub(in super::super) fn of(self, part: usize, row: usize, column: usize) -> usize {
        let block = column / SIDE * self.blocks() + row / BLOCK * self.parts + part;
        block * TILE + row % BLOCK / 2 * SIDE + column % SIDE
    }

    fn length(self) -> usize {
        self.outputs * self.parts * self.depth / 2
    }

    #[inline(always)]
    fn blocks(self) -> usize {
        self.parts * self.depth / BLOCK
    }
}

impl Bf16Matrix {
    /// A matrix for a complex bin or a real one, to be filled later.
    pub(in super::super) fn new(complex: bool, depth: usize, outputs: usize) -> Self {
        let (depth, outputs) = (depth.next_multiple_of(BLOCK), outputs.next_multiple_of(SIDE));
        Self { words: Aligned::default(), places: Places { parts: if complex { 2 } else { 1 }, depth, outputs } }
    }

    /// All words, to be written at their places; what is behind the last row or column stays zero.
    pub(in super::super) fn words_mut(&mut self) -> (&mut [u32], Places) {
        (self.words.at_least(self.places.length()), self.places)
    }

    /// Bytes that it takes once it is filled.
    pub(in super::super) fn bytes(&self) -> usize {
        Aligned::<u32>::bytes_of(self.places.length())
    }
}

/// One product: the rows of one left matrix, or of two, times the same right one.
struct Product {
    /// For [`Amx`], tiles `[part][tile of rows][block]` of words; else numbers that are rounded already.
    left: *const f32,
    /// How far apart the numbers lie of two parts, of two rows, and of two places of the inner dimension, if they are no tiles.
    strides: [usize; 3],
    /// As in [`Bf16Matrix`].
    right: *const u32,
    blocks: usize,
    parts: usize,
    /// Rows of a part.
    rows: usize,
    /// Columns that are written.
    columns: usize,
    /// Where the results of each part go; those of the second are none if there is but one.
    output: [*mut f32; 2],
    output_stride: usize,
    /// Whether the products are added to what is there.
    add: bool,
}

/// Computes a [`Product`] by AMX, or by vectors.
///
/// # Safety
/// All that the product names can be read, and written, and `amx` means tiles on the left.
#[inline(always)]
unsafe fn compute<S: Simd>(simd: S, amx: Option<Amx>, product: Product) {
    if let Some(amx) = amx {
        // SAFETY: the caller vouches for it.
        return unsafe { amx.multiply(&product) };
    }
    // As many rows as there are registers for the results and the two sums of each.
    let most = if S::LANES == SIDE { 6 } else { 2 };
    for column in (0..product.columns).step_by(SIDE) {
        for (part, first) in
            (0..product.parts).flat_map(|part| (0..product.rows).step_by(most).map(move |row| (part, row)))
        {
            let [across_parts, down, across] = product.strides;
            let plain = PlainJob {
                left: product.left.wrapping_add(part * across_parts + first * down),
                strides: [down, across],
                right: product.right.wrapping_add(column / SIDE * product.blocks * TILE),
                blocks: product.blocks,
                output: product.output[part].wrapping_add(first * product.output_stride + column),
                output_stride: product.output_stride,
                vectors: (product.columns - column).min(SIDE) / S::LANES,
                add: product.add,
            };
            macro_rules! rows {
                ($vectors:literal: $($rows:literal)+) => {
                    match (product.rows - first).min(most) {
                        $($rows => simd.outlined(Plain::<$rows, $vectors>(plain)),)+
                        other => unreachable!("a tile of {other} rows"),
                    }
                };
            }
            match SIDE / S::LANES {
                1 => rows!(1: 1 2 3 4 5 6),
                2 => rows!(2: 1 2),
                _ => rows!(4: 1 2),
            }
        }
    }
}

/// The part of a [`Product`] that falls into one tile of at most [`SIDE`] columns.
struct PlainJob {
    left: *const f32,
    strides: [usize; 2],
    right: *const u32,
    blocks: usize,
    output: *mut f32,
    output_stride: usize,
    /// Vectors of the tile that are written.
    vectors: usize,
    add: bool,
}

/// Vectors of `f32` do what TDPBF16PS does. The product of two numbers of 8 bits is exact, so that it makes no difference
/// whether a multiply-add rounds it.
struct Plain<const R: usize, const V: usize>(PlainJob);

impl<const R: usize, const V: usize> Kernel for Plain<R, V> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let [down, across] = job.strides;
        let mut results = [[simd.splat(0.0); V]; R];
        // SAFETY: the maker of the job vouches for all that it names.
        unsafe {
            if job.add {
                for i in 0..R {
                    for j in 0..V {
                        if j < job.vectors {
                            results[i][j] = simd.read(job.output.add(i * job.output_stride + j * S::LANES));
                        }
                    }
                }
            }
            let (mut a, mut b) = (job.left, job.right);
            for _ in 0..job.blocks {
                let mut even = [[simd.splat(0.0); V]; R];
                let mut odd = [[simd.splat(0.0); V]; R];
                for _ in 0..BLOCK / 2 {
                    for j in 0..V {
                        let words = simd.read(b.add(j * S::LANES).cast());
                        let [low, high] = [simd.even_bf16(words), simd.odd_bf16(words)];
                        for i in 0..R {
                            even[i][j] = simd.mul_add(simd.splat(*a.add(i * down)), low, even[i][j]);
                            odd[i][j] = simd.mul_add(simd.splat(*a.add(i * down + across)), high, odd[i][j]);
                        }
                    }
                    a = a.add(2 * across);
                    b = b.add(SIDE);
                }
                for i in 0..R {
                    for j in 0..V {
                        results[i][j] = simd.add(results[i][j], simd.add(even[i][j], odd[i][j]));
                    }
                }
            }
            for i in 0..R {
                for j in 0..V {
                    if j < job.vectors {
                        simd.write(results[i][j], job.output.add(i * job.output_stride + j * S::LANES));
                    }
                }
            }
        }
    }
}

/// Multiplies spectra by one matrix for each frequency. The first bins are real, of one slot each; the others are complex, of
/// two.
pub(in super::super) struct Bf16Spectral<'a> {
    pub amx: Option<Amx>,
    pub input: &'a [u16],
    pub input_slot: usize,
    pub spectra: &'a mut [f32],
    /// From one slot to the next.
    pub spectra_slot: usize,
    pub rows: usize,
    /// Channels in whole vectors, which is also the distance of two rows.
    pub padded: usize,
    /// Number of real bins.
    pub reals: usize,
    pub bins: &'a [Bf16Matrix],
    /// Room for the inputs of one bin, at least [`Bf16Spectral::scratch`] numbers.
    pub scratch: &'a mut [f32],
}

impl Bf16Spectral<'_> {
    /// Numbers that `scratch` must hold.
    pub(in super::super) fn scratch(rows: usize, channels: usize) -> usize {
        4 * rows.next_multiple_of(SIDE) * channels.next_multiple_of(BLOCK)
    }
}

impl Kernel for Bf16Spectral<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { amx, rows, padded, .. } = self;
        if rows == 0 {
            return;
        }
        for (index, matrix) in self.bins.iter().enumerate() {
            let complex = index >= self.reals;
            let slot = slot_of(index, self.reals);
            let (Places { parts, depth, outputs }, blocks) = (matrix.places, matrix.places.blocks());
            assert_eq!(parts, if complex { 2 } else { 1 });
            assert_eq!(matrix.words.get().len(), matrix.places.length(), "a matrix without numbers");
            assert!(padded <= depth && padded <= outputs && padded.is_multiple_of(S::LANES));
            let end = |stride: usize| (slot + parts - 1) * stride + rows * padded;
            assert!(end(self.input_slot) <= self.input.len(), "a row behind the input");
            assert!(end(self.spectra_slot) <= self.spectra.len(), "a row behind the spectra");
            let row_tiles = rows.div_ceil(SIDE);
            assert!(self.scratch.len() >= parts * row_tiles * SIDE * parts * depth);
            let left = self.scratch.as_mut_ptr();
            // Writes a rounded vector as numbers of one part, one row, and one part of the inner dimension.
            let to = |part: usize, row: usize, inner: usize, channel: usize| {
                let block = channel / BLOCK * parts + inner;
                match amx {
                    Some(_) => {
                        let tile = (part * row_tiles + row / SIDE) * blocks + block;
                        (tile * TILE + row % SIDE * SIDE) * 2 + channel % BLOCK
                    }
                    None => (part * rows + row) * parts * depth + block * BLOCK + channel % BLOCK,
                }
            };
            for row in 0..rows {
                let real = &self.input[slot * self.input_slot + row * padded..][..padded];
                let imaginary = (slot + parts - 1) * self.input_slot + row * padded;
                let imaginary = &self.input[imaginary..][..padded];
                for channel in (0..depth).step_by(S::LANES) {
                    let (mut re, mut im) = (simd.splat(0.0), simd.splat(0.0));
                    if channel < padded {
                        re = load(simd, &real[channel..]);
                        im = load(simd, &imaginary[channel..]);
                    }
                    // SAFETY: `scratch` has room for all rows in whole tiles, even of words of one number.
                    unsafe {
                        write(simd, amx, re, left, to(0, row, 0, channel));
                        if complex {
                            write(simd, amx, simd.sub(simd.splat(0.0), im), left, to(0, row, 1, channel));
                            write(simd, amx, im, left, to(1, row, 0, channel));
                            write(simd, amx, re, left, to(1, row, 1, channel));
                        }
                    }
                }
            }
            let output = self.spectra[slot * self.spectra_slot..].as_mut_ptr();
            let product = Product {
                left,
                strides: [rows * parts * depth, parts * depth, 1],
                right: matrix.words.get().as_ptr(),
                blocks,
                parts,
                rows,
                columns: padded,
                output: [output, output.wrapping_add(self.spectra_slot)],
                output_stride: padded,
                add: false,
            };
            // SAFETY: the assertions have found all rows inside the spectra, and the loop above has written what is on the left.
            unsafe { compute(simd, amx, product) }
        }
    }
}

#[inline(always)]
fn load<S: Simd>(simd: S, from: &[u16]) -> S::Vector {
    assert!(from.len() >= S::LANES);
    // SAFETY: the slice holds a whole vector.
    unsafe { simd.read_bf16(from.as_ptr()) }
}

/// Writes a rounded vector to a tile at `at`, in numbers of 16 bits, or as it is to the number `at`.
///
/// # Safety
/// So many can be written there.
#[inline(always)]
unsafe fn write<S: Simd>(simd: S, amx: Option<Amx>, a: S::Vector, to: *mut f32, at: usize) {
    // SAFETY: the caller vouches for it.
    unsafe {
        match amx {
            Some(_) => simd.write_bf16(a, to.cast::<u16>().add(at)),
            None => simd.write(a, to.add(at)),
        }
    }
}

/// Spectra of a batch in chunks, as [`super::Spectra`] has them.
#[derive(Clone, Copy)]
pub(in super::super) struct Bf16Spectra<'a> {
    pub numbers: &'a [u16],
    pub chunk_stride: usize,
    pub slot_stride: usize,
    pub padded: usize,
}

impl<'a> Bf16Spectra<'a> {
    /// The rows of a chunk in one slot.
    #[inline(always)]
    fn rows(&self, chunk: usize, slot: usize, rows: usize) -> &'a [u16] {
        &self.numbers[chunk * self.chunk_stride + slot * self.slot_stride..][..rows * self.padded]
    }
}

/// At one frequency, `sums[i][o] = sum over rows r of X[r][i] conj(D[r][o])`: see [`super::SpectralGradient`].
pub(in super::super) struct Bf16Gradient<'a> {
    pub amx: Option<Amx>,
    /// The spectra `X` and `D`.
    pub spectra: [Bf16Spectra<'a>; 2],
    /// Rows of each chunk.
    pub chunks: &'a [usize],
    /// First slot of the frequency.
    pub slot: usize,
    /// Has the frequency two slots, real and imaginary part? Then its sums are doubled, for its conjugate.
    pub complex: bool,
    /// `[inputs][outputs]` of the real parts, then, `sums_stride` behind it, the same of the imaginary ones.
    pub sums: &'a mut [f32],
    pub sums_stride: usize,
    pub scratch: &'a mut Aligned,
}

impl Bf16Gradient<'_> {
    /// Numbers that `scratch` will hold for chunks of at most so many rows.
    pub(in super::super) fn scratch(rows: usize, padded: usize) -> usize {
        let blocks = GROUP.max(2 * rows.div_ceil(BLOCK));
        2 * BLOCK * blocks * padded + blocks * SIDE * padded.next_multiple_of(SIDE)
    }
}

impl Kernel for Bf16Gradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { amx, spectra: [x, d], complex, chunks, .. } = self;
        let (inputs, outputs, parts) = (x.padded, d.padded, if complex { 2 } else { 1 });
        assert!(inputs.is_multiple_of(S::LANES) && outputs.is_multiple_of(S::LANES));
        assert!((parts - 1) * self.sums_stride + inputs * outputs <= self.sums.len(), "too few sums");
        let blocks_of = |rows: usize| parts * rows.div_ceil(BLOCK);
        let most = chunks.iter().map(|&rows| blocks_of(rows)).max().unwrap_or(0).max(GROUP);
        let left = parts * BLOCK * most * inputs;
        let scratch = self.scratch.at_least(left + most * SIDE * outputs.next_multiple_of(SIDE));
        let (left, right) = scratch.split_at_mut(left);
        let mut first = 0;
        while first < chunks.len() {
            let (mut last, mut blocks) = (first + 1, blocks_of(chunks[first]));
            while last < chunks.len() && blocks + blocks_of(chunks[last]) <= GROUP {
                blocks += blocks_of(chunks[last]);
                last += 1;
            }
            let mut block = 0;
            for chunk in first..last {
                let rows = chunks[chunk];
                for start in (0..rows).step_by(BLOCK) {
                    for part in 0..parts {
                        let job = PackBlock {
                            amx,
                            x: x.rows(chunk, self.slot + part, rows),
                            d: d.rows(chunk, self.slot + part, rows),
                            part,
                            complex,
                            rows: start..(start + BLOCK).min(rows),
                            widths: [inputs, outputs],
                            block,
                            blocks,
                            left: &mut *left,
                            right: &mut *right,
                        };
                        job.run(simd);
                        block += 1;
                    }
                }
            }
            let output = self.sums.as_mut_ptr();
            let product = Product {
                left: left.as_ptr(),
                strides: [blocks * BLOCK * inputs, 1, inputs],
                right: right.as_ptr().cast(),
                blocks,
                parts,
                rows: inputs,
                columns: outputs,
                output: [output, output.wrapping_add(self.sums_stride)],
                output_stride: outputs,
                add: first > 0,
            };
            // SAFETY: the assertions have found room for all sums, and `PackBlock` has written both sides.
            unsafe { compute(simd, amx, product) }
            first = last;
        }
    }
}

/// Packs a block of rows of both sides of a gradient. The real parts of the sums are `xr dr + xi di`, the imaginary ones
/// `xi dr - xr di`, for the blocks of `dr` and `di` in turn.
struct PackBlock<'a> {
    amx: Option<Amx>,
    x: &'a [u16],
    d: &'a [u16],
    part: usize,
    complex: bool,
    /// At most [`BLOCK`] of them.
    rows: std::ops::Range<usize>,
    /// Numbers of a row of `x`, and of a row of `d`.
    widths: [usize; 2],
    block: usize,
    blocks: usize,
    left: &'a mut [f32],
    right: &'a mut [f32],
}

impl PackBlock<'_> {
    /// A vector of a row of the block; zero behind the last row.
    #[inline(always)]
    fn number<S: Simd>(&self, simd: S, numbers: &[u16], width: usize, [row, column]: [usize; 2]) -> S::Vector {
        let row = self.rows.start + row;
        if row < self.rows.end { load(simd, &numbers[row * width + column..]) } else { simd.splat(0.0) }
    }
}

impl Kernel for PackBlock<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { block, blocks, widths: [inputs, outputs], .. } = self;
        // The block of this part in the sums of its own kind, and, with the other sign if it is `xr`, in those of the other.
        let (own, other) = (block, block + 1 - 2 * self.part);
        match self.amx {
            None => {
                for row in 0..BLOCK {
                    for column in (0..inputs).step_by(S::LANES) {
                        let number = self.number(simd, self.x, inputs, [row, column]);
                        simd.store(number, &mut self.left[(own * BLOCK + row) * inputs + column..]);
                        if self.complex {
                            let minus = simd.sub(simd.splat(0.0), number);
                            let at = ((blocks + other) * BLOCK + row) * inputs + column;
                            simd.store(if self.part == 0 { minus } else { number }, &mut self.left[at..]);
                        }
                    }
                }
            }
            Some(amx) => {
                let tiles = inputs / SIDE;
                let parts = if self.complex { 2 } else { 1 };
                assert!(inputs.is_multiple_of(SIDE) && self.left.len() >= parts * tiles * blocks * TILE);
                let mut words = [0; TILE];
                for tile in 0..tiles {
                    for pair in 0..SIDE {
                        for column in (0..SIDE).step_by(S::LANES) {
                            let at = tile * SIDE + column;
                            let even = self.number(simd, self.x, inputs, [2 * pair, at]);
                            let odd = self.number(simd, self.x, inputs, [2 * pair + 1, at]);
                            simd.store_words(simd.join_bf16(even, odd), &mut words[pair * SIDE + column..]);
                        }
                    }
                    let to = self.left.as_mut_ptr().cast::<u32>();
                    // SAFETY: the assertion has found room for all tiles.
                    unsafe {
                        let same = to.add((tile * blocks + own) * TILE);
                        if self.complex {
                            let turned = to.add(((tiles + tile) * blocks + other) * TILE);
                            amx.transpose(&words, same, Some((turned, self.part == 0)));
                        } else {
                            amx.transpose(&words, same, None);
                        }
                    }
                }
            }
        }
        for pair in 0..SIDE {
            for column in (0..outputs).step_by(S::LANES) {
                let mut even = self.number(simd, self.d, outputs, [2 * pair, column]);
                let mut odd = self.number(simd, self.d, outputs, [2 * pair + 1, column]);
                // Doubled for the conjugate of the frequency, which is exact.
                if self.complex {
                    (even, odd) = (simd.add(even, even), simd.add(odd, odd));
                }
                let at = (column / SIDE * blocks + block) * TILE + pair * SIDE + column % SIDE;
                simd.store(simd.join_bf16(even, odd), &mut self.right[at..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::Level;
    use super::*;
    use proptest::prelude::*;

    /// Numbers of all sizes and of both signs, now and then zero or too small to be kept.
    fn numbers(seed: &mut u64, length: usize) -> Vec<f32> {
        let mut next = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as u32
        };
        let number = |_| match next() % 16 {
            0 => 0.0,
            1 => f32::from_bits(next() % (1 << 23)),
            2 => f32::from_bits((next() & 0x807f_ffff) | (60 + next() % 20) << 23),
            _ => f32::from_bits((next() << 1 & 0x807f_ffff) | (120 + next() % 10) << 23),
        };
        (0..length).map(number).collect()
    }

    fn bits(list: &[f32]) -> Vec<u32> {
        list.iter().map(|x| x.to_bits()).collect()
    }

    /// Writes the numbers of a matrix `[row][column]` into one part of it.
    struct Fill<'a>(&'a mut Bf16Matrix, usize, &'a [f32], usize);

    impl Kernel for Fill<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(matrix, part, list, padded) = self;
            let (words, places) = matrix.words_mut();
            for row in (0..list.len() / padded).step_by(2) {
                for column in (0..padded).step_by(S::LANES) {
                    let [even, odd] = [0, 1].map(|i| simd.round_bf16(simd.load(&list[(row + i) * padded + column..])));
                    let at = places.of(part, row, column);
                    simd.store_words(simd.join_bf16(even, odd), &mut words[at..]);
                }
            }
        }
    }

    /// A number rounded to 8 bits by arithmetic alone.
    fn rounded(x: f32) -> f64 {
        if x.abs() < 2f32.powi(-56) {
            return 0.0;
        }
        let unit = 2f64.powi(f64::from(x.abs()).log2().floor() as i32 - 7);
        (f64::from(x) / unit).round_ties_even() * unit
    }

    /// Chains of a block, block after block, as the module's documentation tells; no sum here is ever rounded twice.
    fn chain(pairs: &[(f64, f64)]) -> f32 {
        pairs.chunks(BLOCK).fold(0.0, |sum, block| {
            let part = |first: usize| {
                let products = block.iter().skip(first).step_by(2).map(|&(a, b)| a as f32 * b as f32);
                products.fold(0.0f32, |sum, product| sum + product)
            };
            sum + (part(0) + part(1))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Both products are, to the last bit, the chains that they are said to be: on all levels, and with tiles.
        #[test]
        fn products_are_the_same_chains_everywhere(rows in 1usize..50, eighths in 1usize..9, seed in 0u64..1 << 40) {
            // Whole vectors on each level.
            let (mut seed, channels) = (seed, 16 * eighths.div_ceil(2));
            let [re, im] = [(); 2].map(|()| numbers(&mut seed, channels * channels));
            // One real bin and a complex one.
            let slot = rows * channels;
            let [input, other] = [(); 2].map(|()| {
                let rounded = |x: f32| (rounded(x) as f32).to_bits();
                numbers(&mut seed, 3 * slot).into_iter().map(|x| (rounded(x) >> 16) as u16).collect::<Vec<_>>()
            });
            let minus: Vec<f32> = im.iter().map(|x| -x).collect();
            let mut expected = vec![0.0; 3 * slot];
            let row = |part: usize, row: usize| {
                let row = &input[part * slot + row * channels..][..channels];
                row.iter().map(|&x| f32::from_bits(u32::from(x) << 16)).collect::<Vec<_>>()
            };
            for (at, expected) in expected.iter_mut().enumerate() {
                let (part, r, column) = (at / slot, at % slot / channels, at % channels);
                let down = |matrix: &'_ [f32]| matrix.iter().skip(column).step_by(channels).copied().collect::<Vec<_>>();
                let pad = |list: Vec<f32>| {
                    let mut list: Vec<f64> = list.into_iter().map(rounded).collect();
                    list.resize(channels.next_multiple_of(BLOCK), 0.0);
                    list
                };
                let parts: &[(usize, &[f32])] = match part {
                    0 => &[(0, &re)],
                    1 => &[(1, &re), (2, &minus)],
                    _ => &[(2, &re), (1, &im)],
                };
                let pairs = |&(part, matrix): &(usize, &[f32])| -> Vec<(f64, f64)> {
                    pad(row(part, r)).into_iter().zip(pad(down(matrix))).collect()
                };
                let parts: Vec<_> = parts.iter().map(pairs).collect();
                // A block of each part in turn.
                let blocks = (0..parts[0].len()).step_by(BLOCK);
                let turns: Vec<_> =
                    blocks.flat_map(|at| parts.iter().flat_map(move |part| part[at..at + BLOCK].to_vec())).collect();
                *expected = chain(&turns);
            }
            let chunks = [rows / 2, rows - rows / 2];
            let chunks = if chunks[0] == 0 { &chunks[1..] } else { &chunks[..] };
            for (level, tiles) in Level::available().into_iter().flat_map(|level| [(level, false), (level, true)]) {
                let amx = Amx::of(level).filter(|_| tiles);
                let mut bins = [Bf16Matrix::new(false, channels, channels), Bf16Matrix::new(true, channels, channels)];
                for (bin, part, list) in [(0, 0, &re), (1, 0, &re), (1, 1, &im)] {
                    level.run(Fill(&mut bins[bin], part, list, channels));
                }
                let mut spectra = vec![f32::NAN; 3 * slot];
                let mut scratch = Aligned::default();
                let scratch = scratch.at_least(Bf16Spectral::scratch(rows, channels));
                level.run(Bf16Spectral {
                    amx, input: &input, input_slot: slot, spectra: &mut spectra, spectra_slot: slot, rows, padded: channels, reals: 1,
                    bins: &bins, scratch,
                });
                prop_assert!(spectra == expected, "{} {}", level.name(), amx.is_some());
                // The gradient at the complex bin against that of plain vectors, whose rows are cut in the same way.
                let of = |level: Level, amx: Option<Amx>| {
                    let mut sums = vec![f32::NAN; 2 * channels * channels];
                    // Chunks lie one behind the other, each with two slots.
                    let stride = 2 * chunks.iter().max().unwrap() * channels;
                    let spectra = [&input, &other].map(|list| {
                        let mut list = list.clone();
                        list.resize(stride * chunks.len(), 0);
                        list
                    });
                    let spectra = [&spectra[0], &spectra[1]].map(|numbers| Bf16Spectra {
                        numbers, chunk_stride: stride, slot_stride: stride / 2, padded: channels,
                    });
                    let mut scratch = Aligned::default();
                    level.run(Bf16Gradient {
                        amx, spectra, chunks, slot: 0, complex: true,
                        sums: &mut sums, sums_stride: channels * channels, scratch: &mut scratch,
                    });
                    bits(&sums)
                };
                let portable = *Level::available().last().unwrap();
                prop_assert!(of(level, amx) == of(portable, None), "{} {}", level.name(), amx.is_some());
            }
        }
    }
}
