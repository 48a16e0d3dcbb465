//! Vectors of integers, and the choice between them at run time.
//!
//! Numbers of 16 bits are multiplied in pairs whose two products go to one sum of 32 bits. Half precision, 5 bits of
//! exponent and 10 of mantissa in a `u16`, carries results through memory.

use super::halves::to_half;
#[cfg(target_arch = "x86_64")]
use super::level::Kind;
use super::level::Level;

/// Vectors of integers of one kind. Implementors are tokens whose existence proves that the processor has them.
///
/// All that may leave the range of 32 bits wraps around.
pub(in super::super) trait Integer: Copy {
    /// `LANES` sums of 32 bits, or as many pairs of 16 bits.
    type Sums: Copy;
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
    /// Runs a kernel in a function of its own, where it has all registers to itself.
    fn outlined<K: IntegerKernel>(self, kernel: K);
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
    #[inline(never)]
    fn outlined<K: IntegerKernel>(self, kernel: K) {
        kernel.run(self);
    }
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
