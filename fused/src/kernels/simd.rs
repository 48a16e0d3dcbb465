//! Vectors as kernels see them, and spectra as vectors.

/// The bits of 2^-56, the smallest number that is not rounded to zero when it becomes a bfloat16. No product of two such numbers
/// and no sum of such products is denormal, so that it makes no difference whether a processor has denormals.
pub(in super::super) const LEAST_BF16: i32 = (127 - 56) << 23;

/// Vectors of `f32` of one kind. Implementors are tokens whose existence proves that the processor has them.
pub(in super::super) trait Simd: Copy {
    type Vector: Copy;
    /// Twice as many integers of 16 bits.
    type Shorts: Copy;
    /// Numbers in one vector.
    const LANES: usize;
    /// Vectors across a tile.
    const VECTORS: usize;
    fn splat(self, x: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a * b - c`.
    fn mul_sub(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `c - a * b`.
    fn neg_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a` where `by` is more than zero, else zero: the derivative of ReLU.
    fn where_positive(self, by: Self::Vector, a: Self::Vector) -> Self::Vector;
    /// Zero for negative numbers; NaN stays NaN, so that a broken network shows in its outputs.
    fn relu(self, a: Self::Vector) -> Self::Vector;
    /// The size of `a` where it is larger than `peak`, which has no sign; NaN counts as larger than all other numbers.
    fn peak(self, peak: Self::Vector, a: Self::Vector) -> Self::Vector;
    /// The largest number of a peak.
    fn highest(self, peak: Self::Vector) -> f32;
    /// Both rounded to the nearest integers, those of the first in front. What doesn't fit 16 bits becomes any number.
    fn narrow(self, a: [Self::Vector; 2]) -> Self::Shorts;
    /// Wraps around.
    fn add_shorts(self, a: Self::Shorts, b: Self::Shorts) -> Self::Shorts;
    /// Rounded to the nearest bfloat16, and zero where it is smaller than [`LEAST_BF16`]; NaN stays NaN.
    fn round_bf16(self, a: Self::Vector) -> Self::Vector;
    /// Pairs of rounded numbers as words of 32 bits: those of `even` in the lower halves, those of `odd` in the upper ones.
    fn join_bf16(self, even: Self::Vector, odd: Self::Vector) -> Self::Vector;
    /// The numbers in the lower halves of such words.
    fn even_bf16(self, words: Self::Vector) -> Self::Vector;
    /// The numbers in the upper halves.
    fn odd_bf16(self, words: Self::Vector) -> Self::Vector;
    /// Runs a kernel in a function of its own, where it has all registers to itself.
    fn outlined<K: Kernel>(self, kernel: K);
    /// # Safety
    /// `2 * LANES` numbers can be written at `to`.
    unsafe fn write_shorts(self, a: Self::Shorts, to: *mut i16);
    /// Writes rounded numbers as bfloat16.
    ///
    /// # Safety
    /// `LANES` numbers of 16 bits can be written at `to`.
    unsafe fn write_bf16(self, rounded: Self::Vector, to: *mut u16);
    /// Numbers of bfloat16.
    ///
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn read_bf16(self, from: *const u16) -> Self::Vector;
    /// Numbers of half precision.
    ///
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn read_halves(self, from: *const u16) -> Self::Vector;
    /// # Safety
    /// `LANES` numbers can be read at `from`.
    unsafe fn read(self, from: *const f32) -> Self::Vector;
    /// # Safety
    /// `LANES` numbers can be written at `to`.
    unsafe fn write(self, a: Self::Vector, to: *mut f32);

    /// Asks the processor to fetch these numbers, as far as there are so many.
    #[inline(always)]
    fn prefetch(self, numbers: &[f32], range: std::ops::Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        for i in range.step_by(16).take_while(|&i| i < numbers.len()) {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: every processor of this architecture has the instruction, and it never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(numbers.as_ptr().wrapping_add(i).cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (numbers, range);
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice holds a whole vector.
        unsafe { self.read(from.as_ptr()) }
    }
    /// Stores the bits of all numbers.
    #[inline(always)]
    fn store_words(self, a: Self::Vector, to: &mut [u32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice holds a whole vector, and its type any bits.
        unsafe { self.write(a, to.as_mut_ptr().cast()) }
    }
    #[inline(always)]
    fn store(self, a: Self::Vector, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice holds a whole vector.
        unsafe { self.write(a, to.as_mut_ptr()) }
    }
}

/// A spectrum that can be read, one vector of channels of all slots.
pub(in super::super) trait Source<S: Simd, const NY: usize, const NX: usize> {
    fn get(&self, slot: usize) -> S::Vector;
}

/// A spectrum that can be written.
pub(in super::super) trait Sink<S: Simd, const NY: usize, const NX: usize> {
    fn set(&mut self, slot: usize, a: S::Vector);
}

/// A spectrum as `NY * NX` vectors `stride` numbers apart, whose bounds are checked once for all of them.
pub(in super::super) struct Slots<'a, S: Simd, const NY: usize, const NX: usize> {
    simd: S,
    first: *mut f32,
    stride: usize,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a, S: Simd, const NY: usize, const NX: usize> Slots<'a, S, NY, NX> {
    #[inline(always)]
    pub(in super::super) fn new(simd: S, numbers: &'a mut [f32], stride: usize) -> Self {
        assert!(numbers.len() >= (NY * NX - 1) * stride + S::LANES, "the last slot ends behind the spectrum");
        Self { simd, first: numbers.as_mut_ptr(), stride, lifetime: std::marker::PhantomData }
    }

    /// Asks the processor to fetch the numbers `ahead` of each slot; there need not be any.
    #[inline(always)]
    pub(in super::super) fn prefetch(&self, ahead: usize) {
        prefetch_slots(self.first.wrapping_add(ahead).cast(), self.stride * size_of::<f32>(), NY * NX);
    }
}

/// Asks the processor to fetch the cache lines of `count` addresses, `bytes` apart; nothing need be there.
#[inline(always)]
fn prefetch_slots(first: *const u8, bytes: usize, count: usize) {
    for slot in 0..count {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: every processor of this architecture has the instruction, and it never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(slot * bytes).cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (slot, first, bytes);
    }
}

// The compiler knows most of the indices below, so that nothing remains of the assertions.

impl<S: Simd, const NY: usize, const NX: usize> Source<S, NY, NX> for Slots<'_, S, NY, NX> {
    #[inline(always)]
    fn get(&self, slot: usize) -> S::Vector {
        assert!(slot < NY * NX);
        // SAFETY: `new` has found the last slot inside the numbers that this view borrows.
        unsafe { self.simd.read(self.first.add(slot * self.stride)) }
    }
}

impl<S: Simd, const NY: usize, const NX: usize> Sink<S, NY, NX> for Slots<'_, S, NY, NX> {
    #[inline(always)]
    fn set(&mut self, slot: usize, a: S::Vector) {
        assert!(slot < NY * NX);
        // SAFETY: as above, and the borrow is a unique one.
        unsafe { self.simd.write(a, self.first.add(slot * self.stride)) }
    }
}

/// The memory of a spectrum whose numbers are bfloat16, two in the place of an `f32`.
pub(in super::super) fn shorts(numbers: &[f32]) -> &[u16] {
    // SAFETY: the memory is the same, and numbers of either type may have any bits.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), 2 * numbers.len()) }
}

/// A spectrum that can be written as `f32` or as bfloat16; `stride` is in such numbers.
pub(in super::super) struct AnySlots<'a, S: Simd, const NY: usize, const NX: usize> {
    simd: S,
    first: *mut u8,
    bytes: usize,
    bf16: bool,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a, S: Simd, const NY: usize, const NX: usize> AnySlots<'a, S, NY, NX> {
    /// The spectrum whose first number is the one at `at`.
    #[inline(always)]
    pub(in super::super) fn new(simd: S, spectra: &'a mut [f32], at: usize, stride: usize, bf16: bool) -> Self {
        let size = if bf16 { size_of::<u16>() } else { size_of::<f32>() };
        let end = (at + (NY * NX - 1) * stride + S::LANES) * size;
        assert!(end <= size_of_val(spectra), "the last slot ends behind the spectrum");
        let first = spectra.as_mut_ptr().cast::<u8>().wrapping_add(at * size);
        Self { simd, first, bytes: stride * size, bf16, lifetime: std::marker::PhantomData }
    }

    /// Asks the processor to fetch the cache line behind the first one of each slot; there need not be any.
    #[inline(always)]
    pub(in super::super) fn prefetch(&self) {
        prefetch_slots(self.first.wrapping_add(64), self.bytes, NY * NX);
    }
}

impl<S: Simd, const NY: usize, const NX: usize> Sink<S, NY, NX> for AnySlots<'_, S, NY, NX> {
    #[inline(always)]
    fn set(&mut self, slot: usize, a: S::Vector) {
        assert!(slot < NY * NX);
        // SAFETY: `new` has found the last slot inside the numbers that this view borrows, uniquely.
        unsafe {
            let to = self.first.add(slot * self.bytes);
            if self.bf16 {
                self.simd.write_bf16(self.simd.round_bf16(a), to.cast());
            } else {
                self.simd.write(a, to.cast());
            }
        }
    }
}

/// Work that is written once for all vectors. Mark `run` and all that it calls `#[inline(always)]`: only code that ends
/// up inside the function with the target features is compiled for them. A closure has no such promise, so keep vectors
/// out of closures, `array::from_fn` included; a call that is not inlined costs more than everything else together.
pub(in super::super) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}
