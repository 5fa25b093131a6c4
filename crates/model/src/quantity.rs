//! Amounts as users write them (`"1"`, `"500m"`, `"2G"`, `"512Mi"`, `"30s"`), parsed exactly: what cannot be
//! represented without rounding is refused, and so is anything below or above what an engine can take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// CPU time in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "500m"))]
pub struct Cpus(u32);

/// Memory or disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "512Mi"))]
pub struct Bytes(u64);

/// A span of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "30s"))]
pub struct Span(u64);

impl Cpus {
    pub const MIN_MILLIS: u32 = 10;
    pub const MAX_MILLIS: u32 = 1_024_000;

    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> u32 {
        self.0
    }

    /// As an engine's `NanoCpus`.
    pub const fn nanos(self) -> i64 {
        self.0 as i64 * 1_000_000
    }
}

impl Bytes {
    /// Below this no engine starts a container.
    pub const MIN_MEMORY: u64 = 6 * 1024 * 1024;
    pub const MAX: u64 = 1 << 50;

    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn mebi(mebi: u64) -> Self {
        Self(mebi * 1024 * 1024)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// As an engine's signed field; [`Bytes::MAX`] fits.
    pub const fn signed(self) -> i64 {
        self.0.cast_signed()
    }
}

impl Span {
    pub const MAX: u64 = 366 * 24 * 3600 * 1000;

    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Splits `12.5Gi` into its exact decimal and its unit.
fn split(s: &str) -> Option<(u128, u32, &str)> {
    let end = s.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(s.len());
    let (number, unit) = s.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let dotted = number.contains('.');
    if whole.is_empty() || (dotted && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, u32::try_from(fraction.len()).ok()?, unit))
}

/// `digits / 10^places * factor / divisor` when that is a whole number.
fn exact(digits: u128, places: u32, factor: u128, divisor: u128) -> Option<u64> {
    let numerator = digits.checked_mul(factor)?;
    let denominator = 10u128.pow(places).checked_mul(divisor)?;
    (numerator % denominator == 0).then(|| u64::try_from(numerator / denominator).ok())?
}

impl FromStr for Cpus {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::new(
                "",
                format!(
                    "`{}` is not an amount of CPU: write cores (\"1\", \"0.5\") or thousandths (\"500m\"), from 10m to 1024",
                    clip(s)
                ),
            )
        };
        let (digits, places, unit) = split(s).ok_or_else(bad)?;
        let millis = match unit {
            "" => exact(digits, places, 1000, 1),
            "m" if places == 0 => exact(digits, 0, 1, 1),
            _ => None,
        };
        let millis = millis.and_then(|m| u32::try_from(m).ok()).ok_or_else(bad)?;
        if !(Self::MIN_MILLIS..=Self::MAX_MILLIS).contains(&millis) {
            return Err(bad());
        }
        Ok(Self(millis))
    }
}

impl FromStr for Bytes {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::new(
                "",
                format!(
                    "`{}` is not an amount of memory: write bytes or use K, M, G, T (powers of 1000) or Ki, Mi, Gi, Ti (powers of 1024), as in \"2G\" or \"512Mi\"",
                    clip(s)
                ),
            )
        };
        let (digits, places, unit) = split(s).ok_or_else(bad)?;
        let factor: u128 = match unit {
            "" | "B" => 1,
            "k" | "K" | "KB" | "kB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "T" | "TB" => 1_000_000_000_000,
            "Ki" | "KiB" => 1 << 10,
            "Mi" | "MiB" => 1 << 20,
            "Gi" | "GiB" => 1 << 30,
            "Ti" | "TiB" => 1 << 40,
            _ => return Err(bad()),
        };
        let bytes = exact(digits, places, factor, 1).ok_or_else(bad)?;
        if bytes == 0 || bytes > Self::MAX {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Span {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::new(
                "",
                format!(
                    "`{}` is not a span of time: write \"500ms\", \"30s\", \"5m\", \"2h\" or \"7d\"",
                    clip(s)
                ),
            )
        };
        let (digits, places, unit) = split(s).ok_or_else(bad)?;
        let factor: u128 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let millis = exact(digits, places, factor, 1).ok_or_else(bad)?;
        if millis > Self::MAX {
            return Err(bad());
        }
        Ok(Self(millis))
    }
}

fn clip(s: &str) -> String {
    s.chars().take(40).collect()
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [
            (1u64 << 40, "Ti"),
            (1 << 30, "Gi"),
            (1_000_000_000_000, "T"),
            (1_000_000_000, "G"),
            (1 << 20, "Mi"),
            (1_000_000, "M"),
            (1 << 10, "Ki"),
        ] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

macro_rules! text_serde {
    ($type:ident, $number:expr) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a quantity as text")
                    }
                    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$type, E> {
                        v.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<$type, E> {
                        if $number {
                            v.to_string().parse().map_err(E::custom)
                        } else {
                            Err(E::custom("write a unit, as in \"30s\""))
                        }
                    }
                    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<$type, E> {
                        u64::try_from(v)
                            .map_err(|_| E::custom("must not be negative"))
                            .and_then(|v| self.visit_u64(v))
                    }
                    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<$type, E> {
                        if $number {
                            v.to_string().parse().map_err(E::custom)
                        } else {
                            Err(E::custom("write a unit, as in \"30s\""))
                        }
                    }
                }
                d.deserialize_any(Visitor)
            }
        }
    };
}
text_serde!(Cpus, true);
text_serde!(Bytes, true);
text_serde!(Span, false);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cpus_are_parsed_exactly() {
        for (text, millis) in
            [("1", 1000), ("500m", 500), ("0.5", 500), ("2.25", 2250), ("10m", 10), ("1.0", 1000)]
        {
            assert_eq!(text.parse::<Cpus>().unwrap().millis(), millis, "{text}");
        }
        for bad in [
            "", "0", "-1", "1.", ".5", "1c", "0.0005", "1e3", "9m", "1025", "1.5m", " 1", "1 ", "NaN", "1,5",
            "١",
        ] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_is_parsed_exactly() {
        for (text, bytes) in [
            ("2G", 2_000_000_000),
            ("512Mi", 536_870_912),
            ("1.5Gi", 1_610_612_736),
            ("100", 100),
            ("1K", 1000),
            ("0.5Ki", 512),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap().get(), bytes, "{text}");
        }
        for bad in
            ["", "0", "2X", "G", "-2G", "2 G", "1.0000001Ki", "99999999999999999999", "2048Ti", "2g", "0x10"]
        {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn json_numbers_are_read_where_they_mean_something() {
        assert_eq!(serde_json::from_str::<Cpus>("2").unwrap().millis(), 2000);
        assert_eq!(serde_json::from_str::<Cpus>("0.5").unwrap().millis(), 500);
        assert_eq!(serde_json::from_str::<Bytes>("1048576").unwrap(), Bytes::mebi(1));
        assert!(serde_json::from_str::<Span>("30").is_err());
        assert!(serde_json::from_str::<Bytes>("-5").is_err());
    }

    proptest! {
        #[test]
        fn printing_and_parsing_round_trip(m in Cpus::MIN_MILLIS..=Cpus::MAX_MILLIS, b in 1u64..=Bytes::MAX, s in 0u64..=Span::MAX) {
            prop_assert_eq!(Cpus(m).to_string().parse::<Cpus>().unwrap(), Cpus(m));
            prop_assert_eq!(Bytes(b).to_string().parse::<Bytes>().unwrap(), Bytes(b));
            prop_assert_eq!(Span(s).to_string().parse::<Span>().unwrap(), Span(s));
        }

        #[test]
        fn garbage_never_panics(s in "\\PC{0,30}") {
            let _ = s.parse::<Cpus>();
            let _ = s.parse::<Bytes>();
            let _ = s.parse::<Span>();
        }
    }
}
