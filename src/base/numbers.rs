//! Numbers as people read them.

/// Digits in groups of three: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> =
        groups.map(|group| std::str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join(",")
}

/// Three or four digits and the unit's prefix: `950`, `1.23 M`, `45.6 G`.
pub fn short(number: f64) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    scaled(number, 1000.0, &PREFIXES)
}

/// Bytes in powers of 1024: `512 B`, `1.50 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    scaled(count as f64, 1024.0, &UNITS)
}

/// The number in the largest unit that it reaches.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut unit = 0;
    // 999.95 would be written as 1000.
    while number.abs() >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let text = if unit == 0 && number.fract() == 0.0 { format!("{number}") } else { three_digits(number) };
    format!("{text} {}", units[unit]).trim_end().to_owned()
}

/// At least three significant digits, no more than two of them behind the point.
fn three_digits(number: f64) -> String {
    match number.abs() {
        size if size >= 99.95 => format!("{number:.0}"),
        size if size >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A time: `12.3 µs`, `4.56 ms`, `7.89 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "-".to_owned();
    }
    match seconds.abs() {
        size if size < 0.999_5e-3 => format!("{} µs", three_digits(seconds * 1e6)),
        size if size < 0.999_5 => format!("{} ms", three_digits(seconds * 1e3)),
        size if size < 59.95 => format!("{} s", three_digits(seconds)),
        size if size < 3599.5 => minutes(seconds.round() as u64),
        _ => hours((seconds / 60.0).round() as u64),
    }
}

fn minutes(seconds: u64) -> String {
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

fn hours(minutes: u64) -> String {
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// A loss: four decimals, or four digits and a power of ten where it is large.
pub fn loss(value: f64) -> String {
    if value.abs() < 1e5 { format!("{value:.4}") } else { format!("{value:.3e}") }
}

/// A share as percent with two decimals: `98.76 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn prefixes() {
        let numbers = [0.0, 7.0, 950.0, 999.6, 1234.0, 12_345.0, 123_456.0, 999_960.0, 1.2e6, 6.4e9, 3.2e16];
        let texts =
            ["0", "7", "950", "1.00 k", "1.23 k", "12.3 k", "123 k", "1.00 M", "1.20 M", "6.40 G", "32000 T"];
        assert_eq!(numbers.map(short), texts);
        assert_eq!(short(0.256), "0.26");
        assert_eq!([512, 1536, 1 << 30].map(bytes), ["512 B", "1.50 KiB", "1.00 GiB"]);
    }

    #[test]
    fn times() {
        let seconds = [0.0, 12.34e-6, 0.004_56, 0.9996, 7.891, 59.96, 125.0, 3599.6, 3725.0, f64::INFINITY];
        let texts = [
            "0.00 µs",
            "12.3 µs",
            "4.56 ms",
            "1.00 s",
            "7.89 s",
            "1 min 00 s",
            "2 min 05 s",
            "1 h 00 min",
            "1 h 02 min",
            "-",
        ];
        assert_eq!(seconds.map(duration), texts);
        assert_eq!(percent(0.98765), "98.77 %");
    }
}
