//! Quantities on the command line: rates and times with their units.

use std::time::Duration;

/// Reads `20s`, `500ms`, `5us`, `2m` or `1h`; the unit is not optional.
///
/// # Errors
///
/// Says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a time such as 20s, 500ms, 5us, 2m or 1h");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(expected)?;
    let (number, unit) = text.split_at(unit_at);
    let number = number.parse::<f64>().ok().filter(|n| (0.0..1e9).contains(n));
    let number = number.ok_or_else(expected)?;
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    Ok(Duration::from_secs_f64(number * factor))
}

/// Reads `5000/s`, `5000` (the same) or `30/m`; the result is per second and above 0.
///
/// # Errors
///
/// Says what was expected.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, per_s) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 1.0 / 60.0),
        Some(_) => return Err(format!("{text:?} is not a rate such as 5000/s or 30/m")),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * per_s);
    rate.filter(|rate| (0.001..1e9).contains(rate))
        .ok_or_else(|| format!("{text:?} is not a rate such as 5000/s or 30/m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_need_sense_and_units() {
        for (text, want_us) in
            [("20s", 20_000_000), ("1.5ms", 1500), ("5us", 5), ("2m", 120_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(want_us)), "{text}");
        }
        for (text, want) in [("5000/s", 5000.0), ("30/m", 0.5), ("7", 7.0), ("0.5/s", 0.5)] {
            assert_eq!(parse_rate(text), Ok(want), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "5d", "1e99s", "nans"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "0/s", "-1/s", "5/h", "x/s", "nan/s", "inf"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
