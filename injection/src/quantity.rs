//! Amounts as Kubernetes writes them: `100m`, `1.5`, `64Mi`, `1e3`.

use std::{fmt, str::FromStr};

/// Longer ones are no amounts of anything. It keeps the arithmetic within its type.
const LONGEST: usize = 32;

/// Kubernetes has no larger ones.
const LARGEST_MILLI: u128 = i64::MAX as u128 * 1000;

const MEBI: u64 = 1 << 20;

/// An amount of a resource that is not below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// As it was written.
    text: String,
    /// In thousandths, rounded up, as Kubernetes rounds CPU.
    milli: u128,
}

impl Quantity {
    /// So many thousandths.
    #[must_use]
    pub fn of_milli(milli: u128) -> Self {
        let text = if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") };
        Self { text, milli }
    }

    /// So many bytes.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        let text = if bytes.is_multiple_of(MEBI) { format!("{}Mi", bytes / MEBI) } else { bytes.to_string() };
        Self { text, milli: u128::from(bytes) * 1000 }
    }

    /// How much it is, in thousandths: of a core, of a byte.
    #[must_use]
    pub fn milli(&self) -> u128 {
        self.milli
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let milli = milli(text).ok_or_else(|| {
            let shown: String = text.chars().take(LONGEST).collect();
            format!("{shown:?} is no quantity: write 100m, 2, 64Mi or the like")
        })?;
        Ok(Self { text: text.to_owned(), milli })
    }
}

fn milli(text: &str) -> Option<u128> {
    if text.len() > LONGEST {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let mantissa: u128 = if fraction.contains('.') { return None } else { digits.parse().ok()? };
    let (factor, exponent) = scale(suffix)?;
    // In thousandths.
    let exponent = exponent - i32::try_from(fraction.len()).ok()? + 3;
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    let value = mantissa.checked_mul(factor)?;
    let value = if exponent < 0 { value.div_ceil(power) } else { value.checked_mul(power)? };
    (value <= LARGEST_MILLI).then_some(value)
}

/// What a suffix multiplies with: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    let decimal = |exponent| Some((1, exponent));
    let binary = |power: u32| Some((1 << (10 * power), 0));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("1.5k", 1_500_000),
            ("0.1m", 1),
            ("1u", 1),
            ("1n", 1),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("0.5Ki", 512_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1e3", 1_000_000),
            ("1E-2", 10),
            ("1e+2", 100_000),
        ] {
            let read: Quantity = text.parse().unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((read.milli(), read.to_string().as_str()), (milli, text));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let long = "1".repeat(40);
        for text in
            ["", ".", "-1", "+1", "m", "1mi", "1 Mi", "1Mib", "1.2.3", "1e", "1e99", "10E", "64MB", "é", "1é", &long]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }
}
