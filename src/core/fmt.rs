//! Logs events through `log` and `defmt`, each optional, in one call.

/// Writes an event to every log that is compiled in. Both must be able to format the
/// arguments with `{}`.
macro_rules! log_event {
    ($level:ident, $text:literal $(, $argument:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::$level!($text $(, $argument)*);
        #[cfg(feature = "defmt")]
        ::defmt::$level!($text $(, $argument)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        {
            $( let _ = &$argument; )*
        }
    }};
}

pub(crate) use log_event;
