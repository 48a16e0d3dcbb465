//! The integers of x86: AVX2 and AVX-512, each with and without the dot products of VNNI.

use std::arch::x86_64::*;

use super::{Integer, IntegerKernel};

/// AVX2 and F16C, with AVX-VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

// SAFETY (of every block below, for both implementations): a token exists only where the processor has been found to have
// its level; memory is touched only by functions whose callers vouch for it.
impl<const VNNI: bool> Integer for Avx2<VNNI> {
    type Sums = __m256i;
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
