//! The vectors that there are, and the choice between them at run time.

use super::bf16::Amx;
use super::halves::from_half;
use super::simd::{Kernel, LEAST_BF16, Simd};

/// The vectors that kernels use. There are only those that this processor has: see [`Level::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(super) Kind);

impl Default for Level {
    /// The best one.
    fn default() -> Self {
        Self::available()[0]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// The levels of this processor, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                levels.push(Self(Kind::Avx512));
            }
            let (avx2, fma) = (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("fma"));
            if avx2 && fma && is_x86_feature_detected!("f16c") {
                levels.push(Self(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            levels.push(Self(Kind::Neon));
        }
        levels.push(Self(Kind::Portable));
        levels
    }

    /// `avx512`, `avx2`, `neon`, or `portable` for plain code.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// Whether products of 16-bit integers are faster than those of floats; if not, nothing is computed with them.
    #[must_use]
    pub fn has_fast_integers(self) -> bool {
        match self.0 {
            Kind::Portable => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::Avx512 => true,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => false,
        }
    }

    /// Whether products of bfloat16 are several times as fast as those of `f32`, because AMX computes them.
    #[must_use]
    pub fn has_bf16_tiles(self) -> bool {
        Amx::of(self).is_some()
    }

    /// Numbers in a vector, and vectors across a tile.
    pub(in super::super) fn shape(self) -> (usize, usize) {
        match self.0 {
            Kind::Portable => (Portable::LANES, Portable::VECTORS),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => (Avx2::LANES, Avx2::VECTORS),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => (Avx512::LANES, Avx512::VECTORS),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => (Neon::LANES, Neon::VECTORS),
        }
    }

    pub(in super::super) fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            Kind::Portable => kernel.run(Portable),
            // SAFETY: a level exists only if it has been detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { run_neon(kernel) },
        }
    }
}

/// Plain arrays, for processors without a level of their own; the compiler makes of them what it can.
#[derive(Clone, Copy)]
pub(in super::super) struct Portable;

#[derive(Clone, Copy)]
#[repr(align(16))]
pub(in super::super) struct Four([f32; 4]);

impl Simd for Portable {
    type Vector = Four;
    type Shorts = [i16; 8];
    const LANES: usize = 4;
    const VECTORS: usize = 2;
    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        Four([x; 4])
    }
    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] + b.0[i]))
    }
    #[inline(always)]
    fn sub(self, a: Four, b: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] - b.0[i]))
    }
    #[inline(always)]
    fn mul_add(self, a: Four, b: Four, c: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] * b.0[i] + c.0[i]))
    }
    #[inline(always)]
    fn mul_sub(self, a: Four, b: Four, c: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] * b.0[i] - c.0[i]))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: Four, b: Four, c: Four) -> Four {
        Four(std::array::from_fn(|i| c.0[i] - a.0[i] * b.0[i]))
    }
    #[inline(always)]
    fn mul(self, a: Four, b: Four) -> Four {
        Four(std::array::from_fn(|i| a.0[i] * b.0[i]))
    }
    #[inline(always)]
    fn where_positive(self, by: Four, a: Four) -> Four {
        Four(std::array::from_fn(|i| if by.0[i] > 0.0 { a.0[i] } else { 0.0 }))
    }
    #[inline(always)]
    fn relu(self, a: Four) -> Four {
        Four(a.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }
    #[inline(always)]
    fn peak(self, peak: Four, a: Four) -> Four {
        // Without their sign, the bits of floats are in the same order as the floats.
        Four(std::array::from_fn(|i| f32::from_bits(peak.0[i].to_bits().max(a.0[i].abs().to_bits()))))
    }
    #[inline(always)]
    fn highest(self, peak: Four) -> f32 {
        f32::from_bits(peak.0.iter().fold(0, |highest, x| x.to_bits().max(highest)))
    }
    #[inline(always)]
    fn narrow(self, a: [Four; 2]) -> [i16; 8] {
        std::array::from_fn(|i| a[i / 4].0[i % 4].round_ties_even() as i16)
    }
    #[inline(always)]
    fn add_shorts(self, a: [i16; 8], b: [i16; 8]) -> [i16; 8] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn round_bf16(self, a: Four) -> Four {
        Four(a.0.map(|x| {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(bits >> 16 & 1).wrapping_add(0x7fff) & 0xffff_0000;
            f32::from_bits(if (bits & i32::MAX as u32) < LEAST_BF16 as u32 { 0 } else { rounded })
        }))
    }
    #[inline(always)]
    fn join_bf16(self, even: Four, odd: Four) -> Four {
        Four(std::array::from_fn(|i| f32::from_bits(even.0[i].to_bits() >> 16 | odd.0[i].to_bits())))
    }
    #[inline(always)]
    fn even_bf16(self, words: Four) -> Four {
        Four(words.0.map(|word| f32::from_bits(word.to_bits() << 16)))
    }
    #[inline(always)]
    fn odd_bf16(self, words: Four) -> Four {
        Four(words.0.map(|word| f32::from_bits(word.to_bits() & 0xffff_0000)))
    }
    #[inline(never)]
    fn outlined<K: Kernel>(self, kernel: K) {
        kernel.run(self);
    }
    #[inline(always)]
    unsafe fn write_bf16(self, rounded: Four, to: *mut u16) {
        // SAFETY: the caller vouches for four numbers.
        unsafe { to.cast::<[u16; 4]>().write_unaligned(rounded.0.map(|x| (x.to_bits() >> 16) as u16)) }
    }
    #[inline(always)]
    unsafe fn write_shorts(self, a: [i16; 8], to: *mut i16) {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { to.cast::<[i16; 8]>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn read_bf16(self, from: *const u16) -> Four {
        // SAFETY: the caller vouches for four numbers.
        let numbers = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Four(numbers.map(|x| f32::from_bits(u32::from(x) << 16)))
    }
    #[inline(always)]
    unsafe fn read_halves(self, from: *const u16) -> Four {
        // SAFETY: the caller vouches for four numbers.
        Four(unsafe { from.cast::<[u16; 4]>().read_unaligned() }.map(from_half))
    }
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Four {
        // SAFETY: the caller vouches for four numbers.
        Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn write(self, a: Four, to: *mut f32) {
        // SAFETY: the caller vouches for four numbers.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(a.0) }
    }
}

/// Implements [`Simd`] with the intrinsics of one level.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! level {
    ($(#[$doc:meta])* $token:ident of $arch:ident, $run:ident with $features:literal,
     $vector:ident, $lanes:literal x $vectors:literal, $splat:ident, $read:ident, $write:ident,
     $shorts:ident,
     vectors { $($method:ident($($operand:ident),+) = $result:expr;)+ }
     others { $($other:ident($($argument:ident: $type:ty),+) -> $returned:ty = $value:expr;)+ }
     memory { $($unsafe:ident($($place:ident: $kind:ty),+) -> $given:ty = $effect:expr;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(in super::super) struct $token(());

        // SAFETY (of every block below): a token exists only where the processor has been found to have its level;
        // memory is touched only by unsafe functions, whose callers vouch for it.
        impl Simd for $token {
            type Vector = std::arch::$arch::$vector;
            type Shorts = std::arch::$arch::$shorts;
            const LANES: usize = $lanes;
            const VECTORS: usize = $vectors;
            $(#[inline(always)]
            fn $method(self, $($operand: Self::Vector),+) -> Self::Vector {
                use std::arch::$arch::*;
                // SAFETY: see above.
                unsafe { $result }
            })+
            $(#[inline(always)]
            fn $other(self, $($argument: $type),+) -> $returned {
                use std::arch::$arch::*;
                // SAFETY: see above.
                unsafe { $value }
            })+
            $(#[inline(always)]
            unsafe fn $unsafe(self, $($place: $kind),+) -> $given {
                use std::arch::$arch::*;
                // SAFETY: see above.
                unsafe { $effect }
            })+
            #[inline(always)]
            fn splat(self, x: f32) -> Self::Vector {
                // SAFETY: see above.
                unsafe { std::arch::$arch::$splat(x) }
            }
            #[inline(always)]
            fn outlined<K: Kernel>(self, kernel: K) {
                // SAFETY: see above.
                unsafe { $run(kernel) }
            }
            #[inline(always)]
            unsafe fn read(self, from: *const f32) -> Self::Vector {
                // SAFETY: see above.
                unsafe { std::arch::$arch::$read(from) }
            }
            #[inline(always)]
            unsafe fn write(self, a: Self::Vector, to: *mut f32) {
                // SAFETY: see above.
                unsafe { std::arch::$arch::$write(to, a) }
            }
        }

        #[inline(never)]
        #[target_feature(enable = $features)]
        fn $run<K: Kernel>(kernel: K) {
            kernel.run($token(()));
        }
    };
}

#[cfg(target_arch = "x86_64")]
level!(
    /// AVX2 with FMA and F16C, which came with it.
    Avx2 of x86_64, run_avx2 with "avx2,fma,f16c", __m256, 8 x 2, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, __m256i,
    vectors {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
        mul_sub(a, b, c) = _mm256_fmsub_ps(a, b, c);
        neg_mul_add(a, b, c) = _mm256_fnmadd_ps(a, b, c);
        where_positive(by, a) = _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(by, _mm256_setzero_ps()), a);
        // The instruction returns its second operand if either is NaN, hence the order.
        relu(a) = _mm256_max_ps(_mm256_setzero_ps(), a);
        // Without their sign, the bits of floats are in the same order as the floats.
        peak(peak, a) = _mm256_castsi256_ps(_mm256_max_epi32(
            _mm256_castps_si256(peak),
            _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(i32::MAX)),
        ));
        round_bf16(a) = {
            let bits = _mm256_castps_si256(a);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
            let size = _mm256_and_si256(bits, _mm256_set1_epi32(i32::MAX));
            let kept = _mm256_cmpgt_epi32(size, _mm256_set1_epi32(LEAST_BF16 - 1));
            let upper = _mm256_and_si256(rounded, _mm256_set1_epi32(!0xffff));
            _mm256_castsi256_ps(_mm256_and_si256(upper, kept))
        };
        join_bf16(even, odd) =
            _mm256_or_ps(_mm256_castsi256_ps(_mm256_srli_epi32::<16>(_mm256_castps_si256(even))), odd);
        even_bf16(words) = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(words)));
        odd_bf16(words) =
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(words), _mm256_set1_epi32(!0xffff)));
    }
    others {
        highest(peak: Self::Vector) -> f32 = {
            let peak = _mm256_castps_si256(peak);
            let four = _mm_max_epi32(_mm256_castsi256_si128(peak), _mm256_extracti128_si256::<1>(peak));
            let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b0100_1110>(four));
            let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b1011_0001>(two));
            f32::from_bits(_mm_cvtsi128_si32(one) as u32)
        };
        // Packing takes the halves of both in turn.
        narrow(a: [Self::Vector; 2]) -> Self::Shorts = _mm256_permute4x64_epi64::<0b11_01_10_00>(
            _mm256_packs_epi32(_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1]))
        );
        add_shorts(a: Self::Shorts, b: Self::Shorts) -> Self::Shorts = _mm256_add_epi16(a, b);
    }
    memory {
        write_shorts(a: Self::Shorts, to: *mut i16) -> () = _mm256_storeu_si256(to.cast(), a);
        write_bf16(rounded: Self::Vector, to: *mut u16) -> () = {
            let shorts = _mm256_srli_epi32::<16>(_mm256_castps_si256(rounded));
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(shorts, shorts));
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed))
        };
        read_bf16(from: *const u16) -> Self::Vector =
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))));
        read_halves(from: *const u16) -> Self::Vector = _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
    }
);
#[cfg(target_arch = "x86_64")]
level!(
    /// AVX-512F and BW.
    Avx512 of x86_64, run_avx512 with "avx512f,avx512bw", __m512, 16 x 4, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    __m512i,
    vectors {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
        mul_sub(a, b, c) = _mm512_fmsub_ps(a, b, c);
        neg_mul_add(a, b, c) = _mm512_fnmadd_ps(a, b, c);
        where_positive(by, a) = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(by, _mm512_setzero_ps()), a);
        // See AVX2 for the order.
        relu(a) = _mm512_max_ps(_mm512_setzero_ps(), a);
        peak(peak, a) = _mm512_castsi512_ps(_mm512_max_epi32(
            _mm512_castps_si512(peak),
            _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(i32::MAX)),
        ));
        round_bf16(a) = {
            let bits = _mm512_castps_si512(a);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
            let size = _mm512_and_si512(bits, _mm512_set1_epi32(i32::MAX));
            let kept = _mm512_cmpge_epi32_mask(size, _mm512_set1_epi32(LEAST_BF16));
            _mm512_castsi512_ps(_mm512_maskz_and_epi32(kept, rounded, _mm512_set1_epi32(!0xffff)))
        };
        join_bf16(even, odd) = _mm512_castsi512_ps(_mm512_or_si512(
            _mm512_srli_epi32::<16>(_mm512_castps_si512(even)),
            _mm512_castps_si512(odd),
        ));
        even_bf16(words) = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(words)));
        odd_bf16(words) =
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(words), _mm512_set1_epi32(!0xffff)));
    }
    others {
        highest(peak: Self::Vector) -> f32 = f32::from_bits(_mm512_reduce_max_epi32(_mm512_castps_si512(peak)) as u32);
        // Packing takes the quarters of both in turn.
        narrow(a: [Self::Vector; 2]) -> Self::Shorts = _mm512_permutexvar_epi64(
            _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0),
            _mm512_packs_epi32(_mm512_cvtps_epi32(a[0]), _mm512_cvtps_epi32(a[1])),
        );
        add_shorts(a: Self::Shorts, b: Self::Shorts) -> Self::Shorts = _mm512_add_epi16(a, b);
    }
    memory {
        write_shorts(a: Self::Shorts, to: *mut i16) -> () = _mm512_storeu_si512(to.cast(), a);
        write_bf16(rounded: Self::Vector, to: *mut u16) -> () = _mm256_storeu_si256(
            to.cast(),
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_castps_si512(rounded))),
        );
        read_bf16(from: *const u16) -> Self::Vector =
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()))));
        read_halves(from: *const u16) -> Self::Vector = _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()));
    }
);
#[cfg(target_arch = "aarch64")]
level!(
    /// NEON, which almost every processor of this architecture has.
    Neon of aarch64, run_neon with "neon", float32x4_t, 4 x 4, vdupq_n_f32, vld1q_f32, vst1q_f32, int16x8_t,
    vectors {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        mul_add(a, b, c) = vfmaq_f32(c, a, b);
        mul_sub(a, b, c) = vfmaq_f32(vnegq_f32(c), a, b);
        neg_mul_add(a, b, c) = vfmsq_f32(c, a, b);
        where_positive(by, a) = vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(by), vreinterpretq_u32_f32(a)));
        // This instruction returns NaN if either operand is, in any order.
        relu(a) = vmaxq_f32(vdupq_n_f32(0.0), a);
        peak(peak, a) = vreinterpretq_f32_u32(vmaxq_u32(
            vreinterpretq_u32_f32(peak),
            vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(i32::MAX as u32)),
        ));
        round_bf16(a) = {
            let bits = vreinterpretq_u32_f32(a);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff));
            let size = vandq_u32(bits, vdupq_n_u32(i32::MAX as u32));
            let kept = vcgeq_u32(size, vdupq_n_u32(LEAST_BF16 as u32));
            vreinterpretq_f32_u32(vandq_u32(vandq_u32(rounded, vdupq_n_u32(0xffff_0000)), kept))
        };
        join_bf16(even, odd) = vreinterpretq_f32_u32(vorrq_u32(
            vshrq_n_u32::<16>(vreinterpretq_u32_f32(even)),
            vreinterpretq_u32_f32(odd),
        ));
        even_bf16(words) = vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(words)));
        odd_bf16(words) =
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(words), vdupq_n_u32(0xffff_0000)));
    }
    others {
        highest(peak: Self::Vector) -> f32 = f32::from_bits(vmaxvq_u32(vreinterpretq_u32_f32(peak)));
        narrow(a: [Self::Vector; 2]) -> Self::Shorts =
            vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a[0])), vqmovn_s32(vcvtnq_s32_f32(a[1])));
        add_shorts(a: Self::Shorts, b: Self::Shorts) -> Self::Shorts = vaddq_s16(a, b);
    }
    memory {
        write_shorts(a: Self::Shorts, to: *mut i16) -> () = vst1q_s16(to, a);
        write_bf16(rounded: Self::Vector, to: *mut u16) -> () =
            vst1_u16(to, vshrn_n_u32::<16>(vreinterpretq_u32_f32(rounded)));
        read_bf16(from: *const u16) -> Self::Vector =
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from))));
        read_halves(from: *const u16) -> Self::Vector = {
            let numbers = from.cast::<[u16; 4]>().read_unaligned().map(from_half);
            vld1q_f32(numbers.as_ptr())
        };
    }
);
