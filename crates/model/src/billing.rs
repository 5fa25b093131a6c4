//! The words of billing: why something is suspended, what a cap is for, over which time.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;

            fn from_str(s: &str) -> Result<Self, $crate::Invalid> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::Invalid::new(
                        $what,
                        format!("must be one of {}", [$($text),+].join(", ")),
                    )),
                }
            }
        }
    };
}

pub(crate) use words;

words!(
    /// Why instances do not run although their user wants it.
    Suspension, "suspended",
    /// The project owes money, longer than the grace.
    Balance = "balance",
    /// A cap is reached.
    Cap = "cap",
);

words!(
    /// What money is spent on.
    Spend, "kind",
    /// What instances use.
    Compute = "compute",
    /// Calls of models.
    Models = "models",
    /// Calls of tools.
    Tools = "tools",
    /// Money on the chain for its agents.
    Funding = "funding",
);

words!(
    /// The time that a cap is for, UTC.
    Period, "period",
    Day = "day",
    Month = "month",
    Total = "total",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in Suspension::ALL {
            assert_eq!(word.as_str().parse::<Suspension>().unwrap(), *word);
            assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        }
        for word in Spend::ALL {
            assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        }
        for word in Period::ALL {
            assert_eq!(serde_json::to_value(word).unwrap(), word.as_str());
        }
        assert!("week".parse::<Period>().is_err());
    }
}
