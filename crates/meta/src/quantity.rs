//! Amounts of resources: `500m`, `1Gi`, `2e3`.
//!
//! A value is an exact decimal: an integer at a scale of nano (10⁻⁹), as upstream's arithmetic rounds to. The written form
//! is canonical as upstream's: the largest suffix that leaves a whole number, in the notation that was read.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;

/// Why a quantity can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Binary,
    Decimal,
    Exponent,
}

/// An amount of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, notation: Notation::Decimal };

    /// So many whole units.
    pub fn units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, notation: Notation::Decimal }
    }

    /// So many thousandths.
    pub fn millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANO / 1000), notation: Notation::Decimal }
    }

    /// So many bytes, written with binary suffixes.
    pub fn bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, notation: Notation::Binary }
    }

    /// In whole units, rounded up.
    pub fn value(self) -> i64 {
        clamp(ceil(self.nanos, NANO))
    }

    /// In thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        clamp(ceil(self.nanos, NANO / 1000))
    }

    /// Divided by another one in whole units and rounded up: what `divisor` of resourceFieldRef asks.
    pub fn divided_by(self, divisor: Self) -> i64 {
        if divisor.nanos == 0 { self.value() } else { clamp(ceil(self.nanos, divisor.nanos)) }
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

fn ceil(number: i128, by: i128) -> i128 {
    number.div_euclid(by) + i128::from(number.rem_euclid(by) != 0)
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, suffix) = digits.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (factor, notation) = read_suffix(suffix)?;
        let magnitude = scale(whole, fraction, factor);
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, notation })
    }
}

/// A suffix as a power of two, or of ten.
enum Factor {
    Two(u32),
    Ten(i32),
}

fn read_suffix(suffix: &str) -> Result<(Factor, Notation), QuantityError> {
    let decimal = |exponent| Ok((Factor::Ten(exponent), Notation::Decimal));
    let binary = |exponent| Ok((Factor::Two(exponent), Notation::Binary));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            Ok((Factor::Ten(exponent.parse().map_err(|_| QuantityError)?), Notation::Exponent))
        }
    }
}

// In nanos, what is beyond them rounded up, what is too large cut off at the largest amount.
fn scale(whole: &str, fraction: &str, factor: Factor) -> i128 {
    const MAX: i128 = i64::MAX as i128 * NANO;
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.len() > 36 {
        return MAX;
    }
    let mut number: i128 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(MAX) };
    let mut exponent = 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    match factor {
        Factor::Two(power) => match number.checked_mul(1 << power) {
            Some(product) => number = product,
            None => return MAX,
        },
        Factor::Ten(power) => exponent = exponent.saturating_add(power),
    }
    while exponent > 0 && number != 0 && number < MAX {
        number = number.saturating_mul(10);
        exponent -= 1;
    }
    while exponent < 0 && number != 0 {
        number = ceil(number, 10);
        if number == 1 && exponent < -1 {
            return 1;
        }
        exponent += 1;
    }
    number.min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [(u32, &str); 6] = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
        const DECIMAL: [(u32, &str); 10] =
            [(27, "E"), (24, "P"), (21, "T"), (18, "G"), (15, "M"), (12, "k"), (9, ""), (6, "m"), (3, "u"), (0, "n")];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        // Compat: amounts that are no whole number, or below 1024, fall back to decimal suffixes.
        if self.notation == Notation::Binary && whole && self.nanos.abs() >= 1024 * NANO {
            let units = self.nanos / NANO;
            for (power, suffix) in BINARY {
                if units % (1_i128 << power) == 0 {
                    return write!(f, "{}{suffix}", units >> power);
                }
            }
            return write!(f, "{units}");
        }
        let (power, suffix) =
            DECIMAL.into_iter().find(|(power, _)| self.nanos % 10_i128.pow(*power) == 0).unwrap_or((0, "n"));
        let number = self.nanos / 10_i128.pow(power);
        match (self.notation, power) {
            (Notation::Exponent, 9) => write!(f, "{number}"),
            (Notation::Exponent, power) => write!(f, "{number}e{}", i64::from(power) - 9),
            (Notation::Binary | Notation::Decimal, _) => write!(f, "{number}{suffix}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let notation = if self.nanos == 0 { other.notation } else { self.notation };
        Self { nanos: self.nanos.saturating_add(other.nanos), notation }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos), notation: self.notation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_upstreams_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("500m", "500m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("100Ki", "100Ki"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1500000", "1500k"),
            ("100M", "100M"),
            ("-1", "-1"),
            ("+2", "2"),
            ("0.0000000001", "1n"),
            (".5", "500m"),
            ("1.", "1"),
        ] {
            assert_eq!(text.parse::<Quantity>().expect(text).to_string(), canonical, "{text}");
        }
        for text in ["", "a", "1x", "1.2.3", ".", "1ki", "e3", "1e", "1 Gi"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError), "{text}");
        }
    }

    #[test]
    fn quantities_are_numbers() {
        let read = |text: &str| text.parse::<Quantity>().expect("a quantity");
        assert_eq!(read("1Gi").value(), 1 << 30);
        assert_eq!(read("1500m").value(), 2);
        assert_eq!(read("1500m").milli_value(), 1500);
        assert_eq!(read("1.5Gi").divided_by(read("1Mi")), 1536);
        assert_eq!(read("250m").divided_by(read("1")), 1);
        assert!(read("1Gi") > read("1G"));
        assert_eq!((read("1Gi") + read("1Gi")).to_string(), "2Gi");
        assert_eq!((read("2") - read("500m")).to_string(), "1500m");
        assert_eq!(read("99999999999999999999").value(), i64::MAX);
    }
}
