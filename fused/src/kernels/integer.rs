//! Vectors of integers, and the choice between them at run time.
//!
//! Numbers of 16 bits are multiplied in pairs whose two products go to one sum of 32 bits. Half precision, 5 bits of
//! exponent and 10 of mantissa in a `u16`, carries results through memory.

#[cfg(target_arch = "x86_64")]
use super::simd::Kind;
use super::simd::Level;

/// Numbers that [`Integer::narrow`], [`Integer::peak`] and [`Integer::widen`] take at once, whatever the vectors.
pub(super) const BLOCK: usize = 16;

/// Vectors of integers of one kind. Implementors are tokens whose existence proves that the processor has them.
///
/// All that may leave the range of 32 bits wraps around.
pub(in super::super) trait Integer: Copy {
    /// `LANES` sums of 32 bits, or as many pairs of 16 bits.
    type Sums: Copy;
    /// [`BLOCK`] numbers of 16 bits.
    type Block: Copy;
    /// Sizes of the largest numbers so far.
    type Peak: Copy;
    const LANES: usize;
    /// Vectors across a tile.
    const VECTORS: usize;
    fn zero(self) -> Self::Sums;
    /// `sums + x[0] * w[0] + x[1] * w[1]` for the pairs of each lane.
    fn dot(self, x: Self::Sums, w: Self::Sums, sums: Self::Sums) -> Self::Sums;
    /// The same pair in every lane.
    ///
    /// # Safety
    /// Two numbers can be read at `from`.
    unsafe fn pair(self, from: *const i16) -> Self::Sums;
    /// # Safety
    /// `LANES` pairs can be read at `from`.
    unsafe fn read(self, from: *const [i16; 2]) -> Self::Sums;
    /// Writes each sum times its factor in half precision.
    ///
    /// # Safety
    /// `LANES` numbers can be read at `factors` and written at `to`.
    unsafe fn write_halves(self, sums: Self::Sums, factors: *const f32, to: *mut u16);
    /// Writes numbers of half precision times `scale`.
    ///
    /// # Safety
    /// [`BLOCK`] numbers can be read at `from` and written at `to`.
    unsafe fn widen(self, from: *const u16, scale: f32, to: *mut f32);
    fn no_peak(self) -> Self::Peak;
    /// # Safety
    /// [`BLOCK`] numbers can be read at `from`.
    unsafe fn peak(self, peak: Self::Peak, from: *const f32) -> Self::Peak;
    /// The size of the largest number of both; NaN counts as larger than all others.
    fn highest(self, peaks: [Self::Peak; 2]) -> f32;
    /// Numbers times `scale`, rounded to the nearest integer. What doesn't fit 16 bits becomes any number.
    ///
    /// # Safety
    /// [`BLOCK`] numbers can be read at `from`.
    unsafe fn narrow(self, from: *const f32, scale: f32) -> Self::Block;
    fn add(self, a: Self::Block, b: Self::Block) -> Self::Block;
    /// # Safety
    /// [`BLOCK`] numbers can be written at `to`.
    unsafe fn write(self, a: Self::Block, to: *mut i16);
    /// Runs a kernel in a function of its own, where it has all registers to itself.
    fn outlined<K: IntegerKernel>(self, kernel: K);

    /// Asks the processor to fetch what lies at these addresses; there need not be anything.
    #[inline(always)]
    fn prefetch<T>(self, from: *const T, bytes: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in (0..bytes).step_by(64) {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: every processor of this architecture has the instruction, and it never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast::<i8>().wrapping_add(line)) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (from, bytes);
    }
}

/// Work that is written once for all vectors of integers; what [`Kernel`](super::Kernel) says of inlining holds here too.
pub(in super::super) trait IntegerKernel {
    fn run<S: Integer>(self, simd: S);
}

/// Plain arrays.
#[derive(Clone, Copy)]
struct Portable;

impl Integer for Portable {
    type Sums = [i32; 4];
    type Block = [i16; BLOCK];
    type Peak = u32;
    const LANES: usize = 4;
    const VECTORS: usize = 2;
    #[inline(always)]
    fn zero(self) -> [i32; 4] {
        [0; 4]
    }
    #[inline(always)]
    fn dot(self, x: [i32; 4], w: [i32; 4], sums: [i32; 4]) -> [i32; 4] {
        // The pair that `pair` and `read` have put into a lane: the first number in the lower half.
        let product = |x: i32, w: i32| i32::from(x as i16) * i32::from(w as i16);
        let pairs = |i: usize| product(x[i], w[i]).wrapping_add(product(x[i] >> 16, w[i] >> 16));
        std::array::from_fn(|i| sums[i].wrapping_add(pairs(i)))
    }
    #[inline(always)]
    unsafe fn pair(self, from: *const i16) -> [i32; 4] {
        // SAFETY: the caller vouches for two numbers.
        let [low, high] = unsafe { from.cast::<[i16; 2]>().read_unaligned() };
        [i32::from(low) & 0xffff | i32::from(high) << 16; 4]
    }
    #[inline(always)]
    unsafe fn read(self, from: *const [i16; 2]) -> [i32; 4] {
        // SAFETY: the caller vouches for four pairs.
        let pairs = unsafe { from.cast::<[[i16; 2]; 4]>().read_unaligned() };
        pairs.map(|[low, high]| i32::from(low) & 0xffff | i32::from(high) << 16)
    }
    #[inline(always)]
    unsafe fn write_halves(self, sums: [i32; 4], factors: *const f32, to: *mut u16) {
        for i in 0..4 {
            // SAFETY: the caller vouches for four numbers at either place.
            unsafe { to.add(i).write(to_half(sums[i] as f32 * factors.add(i).read())) }
        }
    }
    #[inline(always)]
    unsafe fn widen(self, from: *const u16, scale: f32, to: *mut f32) {
        for i in 0..BLOCK {
            // SAFETY: the caller vouches for a block at either place.
            unsafe { to.add(i).write(from_half(from.add(i).read()) * scale) }
        }
    }
    #[inline(always)]
    fn no_peak(self) -> u32 {
        0
    }
    #[inline(always)]
    unsafe fn peak(self, peak: u32, from: *const f32) -> u32 {
        // SAFETY: the caller vouches for a block.
        let block = unsafe { from.cast::<[f32; BLOCK]>().read_unaligned() };
        // Without their sign, the bits of floats are in the same order as the floats.
        block.iter().fold(peak, |peak, x| peak.max(x.abs().to_bits()))
    }
    #[inline(always)]
    fn highest(self, peaks: [u32; 2]) -> f32 {
        f32::from_bits(peaks[0].max(peaks[1]))
    }
    #[inline(always)]
    unsafe fn narrow(self, from: *const f32, scale: f32) -> [i16; BLOCK] {
        // SAFETY: the caller vouches for a block.
        let block = unsafe { from.cast::<[f32; BLOCK]>().read_unaligned() };
        block.map(|x| (x * scale).round_ties_even() as i16)
    }
    #[inline(always)]
    fn add(self, a: [i16; BLOCK], b: [i16; BLOCK]) -> [i16; BLOCK] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn write(self, a: [i16; BLOCK], to: *mut i16) {
        // SAFETY: the caller vouches for a block.
        unsafe { to.cast::<[i16; BLOCK]>().write_unaligned(a) }
    }
    #[inline(never)]
    fn outlined<K: IntegerKernel>(self, kernel: K) {
        kernel.run(self);
    }
}

/// Half precision, rounded to the nearest, to even in the middle. The number must be less than 65504 in size, or NaN.
fn to_half(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    if x.is_nan() {
        return sign | 0x7e00;
    }
    // Adding a number 2^13 as large as one unit in the last place of the result rounds to that place. The exponent is at
    // least that of the smallest normal number, 2^-14, below which all places are the same.
    let size = x.abs();
    let exponent = (size.to_bits() >> 23).max(127 - 14);
    let rounder = f32::from_bits((exponent + 13) << 23);
    let rounded = (size + rounder) - rounder;
    // In units of 2^-24, the smallest number above zero: below 2^11 these are the bits of the result.
    if rounded < f32::from_bits((127 - 14) << 23) {
        return sign | (rounded * 16_777_216.0) as u16;
    }
    sign | ((rounded.to_bits() >> 13) - ((127 - 15) << 10)) as u16
}

/// The number that these bits of half precision mean.
fn from_half(bits: u16) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    let size = match exponent {
        0 => mantissa as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits((exponent + 127 - 15) << 23 | mantissa << 13),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// What the processor can do with integers; made only by [`IntegerLevel::of`] and [`IntegerLevel::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct IntegerLevel(IntegerKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IntegerKind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with dot products.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with dot products.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl IntegerLevel {
    /// The levels of this processor, best first.
    pub(in super::super) fn available() -> Vec<Self> {
        let mut kinds = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                if is_x86_feature_detected!("avx512vnni") {
                    kinds.push(IntegerKind::Avx512Vnni);
                }
                kinds.push(IntegerKind::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                if is_x86_feature_detected!("avxvnni") {
                    kinds.push(IntegerKind::AvxVnni);
                }
                kinds.push(IntegerKind::Avx2);
            }
        }
        kinds.push(IntegerKind::Portable);
        kinds.into_iter().map(Self).collect()
    }

    /// The best integers beside the floats of `level`: vectors no longer than its own.
    pub(in super::super) fn of(level: Level) -> Self {
        let longest = match level.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 8,
            _ => 4,
        };
        let fits = |integers: &Self| integers.shape().0 <= longest;
        Self::available().into_iter().find(fits).unwrap_or(Self(IntegerKind::Portable))
    }

    pub(in super::super) fn name(self) -> &'static str {
        match self.0 {
            IntegerKind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            IntegerKind::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx512Vnni => "avx512-vnni",
        }
    }

    /// Numbers in a vector, and vectors across a tile.
    pub(in super::super) fn shape(self) -> (usize, usize) {
        match self.0 {
            IntegerKind::Portable => (Portable::LANES, Portable::VECTORS),
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx2 | IntegerKind::AvxVnni => (x86::Avx2::<false>::LANES, x86::Avx2::<false>::VECTORS),
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx512 | IntegerKind::Avx512Vnni => {
                (x86::Avx512::<false>::LANES, x86::Avx512::<false>::VECTORS)
            }
        }
    }

    pub(in super::super) fn run<K: IntegerKernel>(self, kernel: K) {
        match self.0 {
            IntegerKind::Portable => kernel.run(Portable),
            // SAFETY (of all four): a level exists only if it has been detected.
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IntegerKind::AvxVnni => unsafe { x86::run_avx_vnni(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx512 => unsafe { x86::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IntegerKind::Avx512Vnni => unsafe { x86::run_avx512_vnni(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use super::{from_half, to_half};

    #[test]
    fn halves_round_to_the_nearest() {
        for bits in 0..0x7c00u16 {
            let x = from_half(bits);
            assert_eq!(to_half(x), bits);
            assert_eq!(to_half(-x), bits | 0x8000);
            if bits < 0x7bff {
                let (above, even) = (from_half(bits + 1), bits + (bits & 1));
                let middle = (x + above) / 2.0;
                assert_eq!(to_half(middle), even, "between {x} and {above}");
                assert_eq!(to_half(middle.next_down()), bits);
                assert_eq!(to_half(middle.next_up()), bits + 1);
            }
        }
        assert!(from_half(to_half(f32::NAN)).is_nan());
    }
}
