//! The choice of PUCT with vectors of eight edges: the only unsafe code of this crate.

use super::{Best, Scan};
use lockstep_components::Edge;
use std::arch::x86_64::*;

/// Edges of a vector.
const WIDTH: usize = 8;

/// The places of the edges within a vector, as they come to lie when their fields are gathered.
const PLACES: [i32; WIDTH] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Returns what [`super::scan`] does, bit for bit, if the processor has the instructions.
#[inline]
pub fn scan(edges: &[Edge], of: Scan) -> Option<Best> {
    // SAFETY: the processor has AVX2.
    is_x86_feature_detected!("avx2").then(|| unsafe { scan_with_avx2(edges, of) })
}

#[target_feature(enable = "avx2")]
fn scan_with_avx2(edges: &[Edge], of: Scan) -> Best {
    let (zero, one, places) = (_mm256_setzero_ps(), _mm256_set1_ps(1.0), load(&PLACES));
    let least = _mm256_set1_ps(f32::NEG_INFINITY);
    let scale = _mm256_set1_ps(of.scale);
    let lost = _mm256_set1_epi32(if of.solver { Edge::LOST as i32 } else { -1 });
    let (mut seen, mut at) = (zero, places);
    let (mut best, mut best_at) = (least, _mm256_setzero_si256());
    let (mut new, mut new_at) = (least, _mm256_setzero_si256());
    let (vectors, rest) = edges.as_chunks::<WIDTH>();
    let mut take = |[policy, value, counts, child]: [__m256i; 4], there: __m256| {
        let prior = _mm256_castsi256_ps(_mm256_and_si256(policy, _mm256_set1_epi32(!0xffff)));
        let finished = _mm256_and_si256(counts, _mm256_set1_epi32(Edge::FINISHED as i32));
        let in_flight = _mm256_srli_epi32::<{ Edge::FINISHED_BITS as i32 }>(counts);
        let is_new = _mm256_castsi256_ps(_mm256_cmpeq_epi32(finished, _mm256_setzero_si256()));
        let n = _mm256_cvtepi32_ps(_mm256_add_epi32(finished, in_flight));
        let urge = _mm256_div_ps(_mm256_mul_ps(scale, prior), _mm256_add_ps(one, n));
        let mean = _mm256_div_ps(_mm256_castsi256_ps(value), _mm256_cvtepi32_ps(finished));
        seen = _mm256_add_ps(seen, _mm256_andnot_ps(is_new, prior));
        let is_lost =
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_srli_epi32::<{ Edge::CELL_BITS as i32 }>(child), lost));
        // Greater, and neither new nor lost, in each lane by itself.
        let score = _mm256_add_ps(mean, urge);
        let is_open = _mm256_andnot_ps(_mm256_or_ps(is_new, is_lost), there);
        let better = _mm256_and_ps(is_open, _mm256_cmp_ps::<_CMP_GT_OQ>(score, best));
        best = _mm256_blendv_ps(best, score, better);
        best_at = _mm256_blendv_epi8(best_at, at, _mm256_castps_si256(better));
        let better = _mm256_and_ps(_mm256_and_ps(is_new, there), _mm256_cmp_ps::<_CMP_GT_OQ>(urge, new));
        new = _mm256_blendv_ps(new, urge, better);
        new_at = _mm256_blendv_epi8(new_at, at, _mm256_castps_si256(better));
        at = _mm256_add_epi32(at, _mm256_set1_epi32(WIDTH as i32));
    };
    let all = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for vector in vectors {
        // SAFETY: eight edges of four numbers of 32 bits each are four vectors.
        let rows = [0, 1, 2, 3].map(|i| unsafe { _mm256_loadu_ps(vector.as_ptr().cast::<f32>().add(WIDTH * i)) });
        take(fields(rows), all);
    }
    if !rest.is_empty() {
        let rows = [0, 1, 2, 3].map(|i| {
            // Numbers of the rest from this vector on.
            let left = _mm256_set1_epi32((4 * rest.len()) as i32 - (WIDTH * i) as i32);
            let there = _mm256_cmpgt_epi32(left, load(&[0, 1, 2, 3, 4, 5, 6, 7]));
            // SAFETY: what is masked is not read, and the others lie within `rest`.
            unsafe { _mm256_maskload_ps(rest.as_ptr().cast::<f32>().wrapping_add(WIDTH * i), there) }
        });
        let there = _mm256_cmpgt_epi32(_mm256_set1_epi32(rest.len() as i32), places);
        take(fields(rows), _mm256_castsi256_ps(there));
    }
    let (best, new) = (first_of(best, best_at), first_of(new, new_at));
    // Places 0 and 1, 2 and 3, 4 and 5, 6 and 7; then the first two with the third two of them.
    let pairs = _mm_add_ps(_mm256_castps256_ps128(seen), _mm256_extractf128_ps::<1>(seen));
    let fours = _mm_add_ps(pairs, _mm_movehl_ps(pairs, pairs));
    let seen = _mm_cvtss_f32(_mm_add_ss(fours, _mm_shuffle_ps::<1>(fours, fours)));
    Best { best, new, seen }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(numbers: &[i32; WIDTH]) -> __m256i {
    // SAFETY: there are eight of them.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// Gathers policies, values, counts and children of eight edges, in the order of [`PLACES`].
#[target_feature(enable = "avx2")]
#[inline]
fn fields(rows: [__m256; 4]) -> [__m256i; 4] {
    let (low, high) = (_mm256_unpacklo_ps(rows[0], rows[1]), _mm256_unpackhi_ps(rows[0], rows[1]));
    let (low_2, high_2) = (_mm256_unpacklo_ps(rows[2], rows[3]), _mm256_unpackhi_ps(rows[2], rows[3]));
    let pair = |one, other| (_mm256_castps_pd(one), _mm256_castps_pd(other));
    let first = |(one, other)| _mm256_castpd_si256(_mm256_unpacklo_pd(one, other));
    let second = |(one, other)| _mm256_castpd_si256(_mm256_unpackhi_pd(one, other));
    [first(pair(low, low_2)), second(pair(low, low_2)), first(pair(high, high_2)), second(pair(high, high_2))]
}

/// Returns the largest number, and the smallest of the places that have it.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of(numbers: __m256, places: __m256i) -> (f32, usize) {
    let half = _mm_max_ps(_mm256_castps256_ps128(numbers), _mm256_extractf128_ps::<1>(numbers));
    let two = _mm_max_ps(half, _mm_movehl_ps(half, half));
    let largest = _mm_max_ss(two, _mm_shuffle_ps::<1>(two, two));
    let has_it = _mm256_cmp_ps::<_CMP_EQ_OQ>(numbers, _mm256_broadcastss_ps(largest));
    // Others are further away than any.
    let places = _mm256_or_si256(places, _mm256_andnot_si256(_mm256_castps_si256(has_it), _mm256_set1_epi32(i32::MAX)));
    let half = _mm_min_epi32(_mm256_castsi256_si128(places), _mm256_extracti128_si256::<1>(places));
    let two = _mm_min_epi32(half, _mm_shuffle_epi32::<0b1110>(half));
    let place = _mm_min_epi32(two, _mm_shuffle_epi32::<1>(two));
    (_mm_cvtss_f32(largest), _mm_cvtsi128_si32(place) as usize)
}
