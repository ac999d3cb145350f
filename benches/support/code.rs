//! Room codes that look random and never collide: among 100,000 random codes some would be equal.

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::id::RoomCode;

const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 30 to the power of 6.
const CODES: u64 = 729_000_000;

/// Coprime to 30, so that its multiples visit every code once. Large, so that they are scattered as random codes are:
/// neighbours would make the index of codes cheaper than it is.
const STEP: u64 = 450_545_297;

static COUNT: AtomicU64 = AtomicU64::new(0);

pub(crate) fn next_code() -> RoomCode {
    let mut number = COUNT.fetch_add(1, Ordering::Relaxed) * STEP % CODES;
    let mut text = String::new();
    for _ in 0..6 {
        text.push(char::from(ALPHABET[(number % 30) as usize]));
        number /= 30;
    }
    text.parse().expect("six characters of the alphabet")
}
