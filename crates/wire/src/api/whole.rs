//! Whole numbers by their value: JSON has one kind of number ([RFC 8259,
//! 6](https://www.rfc-editor.org/rfc/rfc8259#section-6)), so `3`, `3.0` and `3e0` are the same. Some engines write
//! all numbers with a fraction.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// From here on (2^48) a number must be written without a point or an exponent. With one it is read in double
/// precision, with an error of up to [`ERROR_MAX`], and might stand for its neighbour.
const EXACT_BELOW: f64 = 281_474_976_710_656.0;

/// The relative error of a number that the parser has read: two roundings.
const ERROR_MAX: f64 = 2.0 * f64::EPSILON;

/// A whole number in the range of `T`, however it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Whole<T>(pub T);

/// An integer type that numbers are read into.
pub trait WholeNumber: TryFrom<u64> + TryFrom<i64> {
    /// The range, for error messages.
    const RANGE: (i128, i128);
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {
        $(impl WholeNumber for $number {
            const RANGE: (i128, i128) = (<$number>::MIN as i128, <$number>::MAX as i128);
        })+
    };
}

whole_numbers!(u16, u32, u64, i32, i64);

impl<'de, T: WholeNumber> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole<T>, D::Error> {
        deserializer.deserialize_u64(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: WholeNumber> Visitor<'_> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = T::RANGE;
        write!(f, "a whole number from {least} to {most}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole<T>, E> {
        let read = T::try_from(number).map(Whole);
        read.map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole<T>, E> {
        let read = T::try_from(number).map(Whole);
        read.map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole<T>, E> {
        let whole = number.round();
        let is_whole = (number - whole).abs() <= whole.abs() * ERROR_MAX;
        let is_exact = is_whole && whole.abs() < EXACT_BELOW;
        // The cast is exact in this range.
        match T::try_from(whole as i64) {
            Ok(read) if is_exact => Ok(Whole(read)),
            Ok(_) | Err(_) => Err(E::invalid_value(
                serde::de::Unexpected::Float(number),
                &self,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read<T: WholeNumber>(text: &str) -> Result<T, String> {
        let read = serde_json::from_str::<Whole<T>>(text);
        read.map(|Whole(number)| number)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_is_read_by_its_value() {
        for text in ["3", "3.0", "3.000", "3e0", "30E-1", "0.3e1"] {
            assert_eq!(read::<u16>(text), Ok(3), "{text}");
            assert_eq!(read::<u32>(text), Ok(3), "{text}");
            assert_eq!(read::<u64>(text), Ok(3), "{text}");
            assert_eq!(read::<i32>(text), Ok(3), "{text}");
            assert_eq!(read::<i64>(text), Ok(3), "{text}");
        }
        for text in ["0", "0.0", "-0", "-0.0", "0e99"] {
            assert_eq!(read::<u64>(text), Ok(0), "{text}");
        }
        assert_eq!(read::<i32>("-1.0"), Ok(-1));
        assert_eq!(read::<u16>("65535.0"), Ok(65_535));
        assert_eq!(read::<u64>("281474976710655.0"), Ok((1 << 48) - 1));
        assert_eq!(
            read::<u64>("123456789012345.000000"),
            Ok(123_456_789_012_345)
        );
        assert_eq!(read::<u64>("1.7952540000000000e12"), Ok(1_795_254_000_000));
        assert_eq!(read::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(read::<i64>("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn what_is_no_whole_number_of_the_range_is_refused_in_words() {
        for text in [
            "1.5", "0.1", "65536", "65536.0", "-1", "-1.0", "1e5", "1e300", "\"1\"", "true", "[]",
            "null",
        ] {
            let wrong = read::<u16>(text).unwrap_err();
            let allowed = "a whole number from 0 to 65535";
            assert!(wrong.contains(allowed), "{text}: {wrong}");
        }
        assert!(read::<u64>("1e400").unwrap_err().contains("out of range"));
        // Read in double precision it would be its neighbour.
        assert!(read::<u64>("9007199254740993.0").is_err());
        assert!(read::<u64>("281474976710656.0").is_err());
        assert!(read::<u64>("281474976710654.5").is_err());
        assert!(read::<u64>("1.00000000001").is_err());
        assert!(read::<u64>("18446744073709551616").is_err());
        assert!(read::<i64>("9223372036854775808").is_err());
        assert!(read::<i64>("9223372036854775808.0").is_err());
    }
}
