//! The products of bfloat16 by Intel's AMX: tiles of 16 rows of 64 bytes, multiplied by one instruction.
//!
//! The compiler knows the instructions only in its unstable part, so they are written in assembly. The registers of tiles are
//! used between [`Amx::multiply`]'s first line and its last one, and by nobody else.

use super::super::level::{Kind, Level};
use super::{Product, SIDE, TILE};
use std::{
    arch::{asm, x86_64::*},
    sync::OnceLock,
};

/// Proves that the processor has AMX with bfloat16 beside AVX-512, and that the system lets this process use it.
#[derive(Clone, Copy, Debug)]
pub(in super::super::super) struct Amx(());

/// The shapes of all tiles, as LDTILECFG reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles, all as large as they can be.
static SHAPES: Shapes = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (row_bytes[tile], rows[tile]) = (64, SIDE as u8);
        tile += 1;
    }
    Shapes { palette: 1, start: 0, reserved: [0; 14], row_bytes, rows }
};

/// Whether the processor has the instructions, and the system saves their registers and lets this process use them.
fn detect() -> bool {
    /// Asks Linux for the use of a part of the processor's state: `ARCH_REQ_XCOMP_PERM`.
    const REQUEST: libc::c_long = 0x1023;
    /// The registers of tiles: `XFEATURE_XTILEDATA`.
    const TILES: libc::c_long = 18;
    const OSXSAVE: u32 = 1 << 27;
    // AMX-BF16 and AMX-TILE.
    const TILES_OF_BF16: u32 = 1 << 22 | 1 << 24;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 || __cpuid_count(7, 0).edx & TILES_OF_BF16 != TILES_OF_BF16 {
        return false;
    }
    // SAFETY: the processor has XGETBV, since its system uses XSAVE; the call changes nothing but what this process may do.
    unsafe {
        let enabled: u32;
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
        enabled >> 17 & 3 == 3 && libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) == 0
    }
}

/// Bytes of a row of a tile.
const BYTES: usize = SIDE * size_of::<u32>();

/// An instruction on a tile in memory, with the place of its first row and the bytes from one row to the next.
macro_rules! tile {
    ($code:literal, $place:expr, $stride:expr) => {
        asm!($code, in(reg) $place, in(reg) $stride, options(nostack, preserves_flags))
    };
}

impl Amx {
    /// AMX beside the vectors of `level`, if these are AVX-512 and the machine has both.
    pub(in super::super::super) fn of(level: Level) -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        (level.0 == Kind::Avx512 && *FOUND.get_or_init(detect)).then_some(Self(()))
    }

    /// Computes a product whose left side lies in tiles.
    ///
    /// # Safety
    /// All that the product names can be read, and written.
    pub(super) unsafe fn multiply(self, product: &Product) {
        let tiles = product.parts * product.rows.div_ceil(SIDE);
        // SAFETY: the token proves that there are tiles, and the caller vouches for the memory.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(nostack, preserves_flags));
            for column in (0..product.columns).step_by(SIDE) {
                for tile in (0..tiles).step_by(4) {
                    match tiles - tile {
                        1 => block::<1>(product, tile, column),
                        2 => block::<2>(product, tile, column),
                        3 => block::<3>(product, tile, column),
                        _ => block::<4>(product, tile, column),
                    }
                }
            }
            asm!("tilerelease", options(nostack, preserves_flags));
        }
    }

    /// Writes words `[row][column]` as `[column][row]`, and once more elsewhere, with all signs changed if that is asked for.
    ///
    /// # Safety
    /// A tile can be written at `to` and at the other place.
    #[inline(always)]
    pub(super) unsafe fn transpose(self, words: &[u32; TILE], to: *mut u32, again: Option<(*mut u32, bool)>) {
        // SAFETY: the token proves that there is AVX-512, and the caller vouches for the memory.
        unsafe { transpose(words, to, again) }
    }
}

/// `M` tiles of rows from `first` on, times the tile of columns that starts at `column`.
///
/// # Safety
/// The tiles are configured, and all that the product names can be read, and written.
#[inline(always)]
unsafe fn block<const M: usize>(product: &Product, first: usize, column: usize) {
    let row_tiles = product.rows.div_ceil(SIDE);
    let mut output = [std::ptr::null_mut::<f32>(); 4];
    let mut strides = [product.output_stride * size_of::<f32>(); 4];
    // Tiles with rows that are not wanted go somewhere else first.
    let mut spare = [[0.0f32; TILE]; M];
    let mut short = [None; M];
    for i in 0..M {
        let (part, tile) = ((first + i) / row_tiles, (first + i) % row_tiles);
        output[i] = product.output[part].wrapping_add(tile * SIDE * product.output_stride + column);
        let rows = product.rows - tile * SIDE;
        if rows < SIDE {
            short[i] = Some((output[i], rows));
            (output[i], strides[i]) = (spare[i].as_mut_ptr(), SIDE * size_of::<f32>());
        }
    }
    let next = product.blocks * TILE * size_of::<u32>();
    let mut left = product.left.cast::<u32>().wrapping_byte_add(first * next);
    let mut right = product.right.wrapping_byte_add(column / SIDE * next);
    // SAFETY: the caller vouches for it. A gradient, which adds, has whole tiles.
    unsafe {
        if product.add {
            debug_assert!(short.iter().all(Option::is_none));
            tile!("tileloadd tmm0, [{} + {}*1]", output[0], strides[0]);
            if M > 1 {
                tile!("tileloadd tmm1, [{} + {}*1]", output[1], strides[1]);
            }
            if M > 2 {
                tile!("tileloadd tmm2, [{} + {}*1]", output[2], strides[2]);
            }
            if M > 3 {
                tile!("tileloadd tmm3, [{} + {}*1]", output[3], strides[3]);
            }
        } else {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, preserves_flags));
        }
        for _ in 0..product.blocks {
            tile!("tileloadd tmm7, [{} + {}*1]", right, BYTES);
            tile!("tileloadd tmm4, [{} + {}*1]", left, BYTES);
            asm!("tdpbf16ps tmm0, tmm4, tmm7", options(nostack, preserves_flags));
            if M > 1 {
                tile!("tileloadd tmm5, [{} + {}*1]", left.byte_add(next), BYTES);
                asm!("tdpbf16ps tmm1, tmm5, tmm7", options(nostack, preserves_flags));
            }
            if M > 2 {
                tile!("tileloadd tmm6, [{} + {}*1]", left.byte_add(2 * next), BYTES);
                asm!("tdpbf16ps tmm2, tmm6, tmm7", options(nostack, preserves_flags));
            }
            if M > 3 {
                tile!("tileloadd tmm4, [{} + {}*1]", left.byte_add(3 * next), BYTES);
                asm!("tdpbf16ps tmm3, tmm4, tmm7", options(nostack, preserves_flags));
            }
            (left, right) = (left.add(TILE), right.add(TILE));
        }
        tile!("tilestored [{} + {}*1], tmm0", output[0], strides[0]);
        if M > 1 {
            tile!("tilestored [{} + {}*1], tmm1", output[1], strides[1]);
        }
        if M > 2 {
            tile!("tilestored [{} + {}*1], tmm2", output[2], strides[2]);
        }
        if M > 3 {
            tile!("tilestored [{} + {}*1], tmm3", output[3], strides[3]);
        }
        for ((to, rows), spare) in short.into_iter().zip(&spare).filter_map(|(short, spare)| Some((short?, spare))) {
            for (row, from) in spare.chunks(SIDE).enumerate().take(rows) {
                to.add(row * product.output_stride).copy_from_nonoverlapping(from.as_ptr(), SIDE);
            }
        }
    }
}

/// See [`Amx::transpose`]: pairs of words, then of pairs, then of quarters of vectors change places.
///
/// # Safety
/// A tile can be written at `to`, and at the other place.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn transpose(words: &[u32; TILE], to: *mut u32, again: Option<(*mut u32, bool)>) {
    let mut a = [_mm512_setzero_si512(); SIDE];
    let mut b = a;
    for (row, a) in a.iter_mut().enumerate() {
        // SAFETY: the row lies inside the words.
        *a = unsafe { _mm512_loadu_si512(words.as_ptr().add(row * SIDE).cast()) };
    }
    for i in 0..8 {
        b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for i in 0..4 {
        // Of rows 4i to 4i + 3: column `c` of each quarter is in `a[4i + c]`.
        a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
        a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
        a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
        a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
    }
    for c in 0..4 {
        let low = _mm512_shuffle_i32x4::<0x88>(a[c], a[4 + c]);
        let high = _mm512_shuffle_i32x4::<0x88>(a[8 + c], a[12 + c]);
        b[c] = _mm512_shuffle_i32x4::<0x88>(low, high);
        b[8 + c] = _mm512_shuffle_i32x4::<0xdd>(low, high);
        let low = _mm512_shuffle_i32x4::<0xdd>(a[c], a[4 + c]);
        let high = _mm512_shuffle_i32x4::<0xdd>(a[8 + c], a[12 + c]);
        b[4 + c] = _mm512_shuffle_i32x4::<0x88>(low, high);
        b[12 + c] = _mm512_shuffle_i32x4::<0xdd>(low, high);
    }
    for (column, b) in b.iter().enumerate() {
        // SAFETY: the caller vouches for a tile at each place.
        unsafe {
            _mm512_storeu_si512(to.add(column * SIDE).cast(), *b);
            if let Some((again, turned)) = again {
                // The signs of both numbers of a word.
                let signs = _mm512_set1_epi32(if turned { 0x8000_8000u32 as i32 } else { 0 });
                _mm512_storeu_si512(again.add(column * SIDE).cast(), _mm512_xor_si512(*b, signs));
            }
        }
    }
}
