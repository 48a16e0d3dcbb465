//! The integers of x86: AVX2 and AVX-512, each with and without the dot products of VNNI.

use std::arch::x86_64::*;

use super::{BLOCK, Integer, IntegerKernel};

/// AVX2 and F16C, with AVX-VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

// SAFETY (of every block below, for both implementations): a token exists only where the processor has been found to have
// its level; memory is touched only by functions whose callers vouch for it.
impl<const VNNI: bool> Integer for Avx2<VNNI> {
    type Sums = __m256i;
    type Block = __m256i;
    type Peak = __m256i;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    fn dot(self, x: __m256i, w: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe {
            if VNNI { _mm256_dpwssd_avx_epi32(sums, x, w) } else { _mm256_add_epi32(sums, _mm256_madd_epi16(x, w)) }
        }
    }
    #[inline(always)]
    unsafe fn pair(self, from: *const i16) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn read(self, from: *const [i16; 2]) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write_halves(self, sums: __m256i, factors: *const f32, to: *mut u16) {
        // SAFETY: see above.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(factors));
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(scaled));
        }
    }
    #[inline(always)]
    unsafe fn widen(self, from: *const u16, scale: f32, to: *mut f32) {
        for i in (0..BLOCK).step_by(8) {
            // SAFETY: see above.
            unsafe {
                let numbers = _mm256_cvtph_ps(_mm_loadu_si128(from.add(i).cast()));
                _mm256_storeu_ps(to.add(i), _mm256_mul_ps(numbers, _mm256_set1_ps(scale)));
            }
        }
    }
    #[inline(always)]
    fn no_peak(self) -> __m256i {
        self.zero()
    }
    #[inline(always)]
    unsafe fn peak(self, peak: __m256i, from: *const f32) -> __m256i {
        // Without their sign, the bits of floats are in the same order as the floats.
        // SAFETY: see above.
        unsafe {
            let sizes = _mm256_set1_epi32(i32::MAX);
            let first = _mm256_and_si256(_mm256_loadu_si256(from.cast()), sizes);
            let second = _mm256_and_si256(_mm256_loadu_si256(from.add(8).cast()), sizes);
            _mm256_max_epi32(peak, _mm256_max_epi32(first, second))
        }
    }
    #[inline(always)]
    fn highest(self, peaks: [__m256i; 2]) -> f32 {
        // SAFETY: see above.
        unsafe {
            let peak = _mm256_max_epi32(peaks[0], peaks[1]);
            let four = _mm_max_epi32(_mm256_castsi256_si128(peak), _mm256_extracti128_si256::<1>(peak));
            let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b0100_1110>(four));
            let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b1011_0001>(two));
            f32::from_bits(_mm_cvtsi128_si32(one) as u32)
        }
    }
    #[inline(always)]
    unsafe fn narrow(self, from: *const f32, scale: f32) -> __m256i {
        // SAFETY: see above.
        unsafe {
            let scale = _mm256_set1_ps(scale);
            let first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), scale));
            let second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from.add(8)), scale));
            // Packing takes the halves of both in turn.
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second))
        }
    }
    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_add_epi16(a, b) }
    }
    #[inline(always)]
    unsafe fn write(self, a: __m256i, to: *mut i16) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.cast(), a) }
    }
    #[inline(always)]
    fn outlined<K: IntegerKernel>(self, kernel: K) {
        // SAFETY: see above.
        unsafe { if VNNI { run_avx_vnni(kernel) } else { run_avx2(kernel) } }
    }
}

/// AVX-512F and BW, with VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>(());

impl<const VNNI: bool> Integer for Avx512<VNNI> {
    type Sums = __m512i;
    type Block = __m256i;
    type Peak = __m512i;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn dot(self, x: __m512i, w: __m512i, sums: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { if VNNI { _mm512_dpwssd_epi32(sums, x, w) } else { _mm512_add_epi32(sums, _mm512_madd_epi16(x, w)) } }
    }
    #[inline(always)]
    unsafe fn pair(self, from: *const i16) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn read(self, from: *const [i16; 2]) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn write_halves(self, sums: __m512i, factors: *const f32, to: *mut u16) {
        // SAFETY: see above.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(factors));
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled);
            _mm256_storeu_si256(to.cast(), halves);
        }
    }
    #[inline(always)]
    unsafe fn widen(self, from: *const u16, scale: f32, to: *mut f32) {
        // SAFETY: see above.
        unsafe {
            let numbers = _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()));
            _mm512_storeu_ps(to, _mm512_mul_ps(numbers, _mm512_set1_ps(scale)));
        }
    }
    #[inline(always)]
    fn no_peak(self) -> __m512i {
        self.zero()
    }
    #[inline(always)]
    unsafe fn peak(self, peak: __m512i, from: *const f32) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let sizes = _mm512_and_si512(_mm512_loadu_si512(from.cast()), _mm512_set1_epi32(i32::MAX));
            _mm512_max_epi32(peak, sizes)
        }
    }
    #[inline(always)]
    fn highest(self, peaks: [__m512i; 2]) -> f32 {
        // SAFETY: see above.
        f32::from_bits(unsafe { _mm512_reduce_max_epi32(_mm512_max_epi32(peaks[0], peaks[1])) } as u32)
    }
    #[inline(always)]
    unsafe fn narrow(self, from: *const f32, scale: f32) -> __m256i {
        // SAFETY: see above.
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_loadu_ps(from), _mm512_set1_ps(scale));
            _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(scaled))
        }
    }
    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: see above; AVX-512 includes AVX2.
        unsafe { _mm256_add_epi16(a, b) }
    }
    #[inline(always)]
    unsafe fn write(self, a: __m256i, to: *mut i16) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.cast(), a) }
    }
    #[inline(always)]
    fn outlined<K: IntegerKernel>(self, kernel: K) {
        // SAFETY: see above.
        unsafe { if VNNI { run_avx512_vnni(kernel) } else { run_avx512(kernel) } }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn run_avx2<K: IntegerKernel>(kernel: K) {
    kernel.run(Avx2::<false>(()));
}

#[inline(never)]
#[target_feature(enable = "avx2,f16c,avxvnni")]
pub(super) fn run_avx_vnni<K: IntegerKernel>(kernel: K) {
    kernel.run(Avx2::<true>(()));
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn run_avx512<K: IntegerKernel>(kernel: K) {
    kernel.run(Avx512::<false>(()));
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn run_avx512_vnni<K: IntegerKernel>(kernel: K) {
    kernel.run(Avx512::<true>(()));
}
