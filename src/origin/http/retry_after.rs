//! The `Retry-After` header (RFC 9110, 10.2.3). Pure.

use std::time::Duration;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How long a header's value asks to wait: seconds, or a date in any of HTTP's three forms
/// (RFC 9110, 5.6.7) seen from `now`, time since the Unix epoch. A date in the past asks for no
/// wait; what can't be read asks for nothing.
pub(super) fn parse(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = Duration::from_secs(parse_date(value)?);
    Some(date.saturating_sub(now))
}

/// Seconds since the Unix epoch. All three forms have the day before the year, the month by name
/// and the time with colons; the weekday says nothing new.
fn parse_date(text: &str) -> Option<u64> {
    let mut numbers = Vec::new();
    let (mut month, mut time) = (None, None);
    for word in text.split([' ', ',', '-']).filter(|word| !word.is_empty()) {
        if word.contains(':') {
            let mut parts = word.split(':').map(|part| part.parse::<u64>().ok());
            let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
            // 60 is a leap second.
            let valid = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
            time = valid.then_some(hour * 3600 + minute * 60 + second);
        } else if let Ok(number) = word.parse::<u64>() {
            numbers.push(number);
        } else if let Some(index) = MONTHS.iter().position(|name| *name == word) {
            month = Some(index as u64 + 1);
        }
    }
    let [day, year] = numbers[..] else {
        return None;
    };
    let year = match year {
        0..70 => 2000 + year,
        70..100 => 1900 + year,
        _ => year,
    };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_since_epoch(year, month?, day) * 86_400 + time?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in
/// March, so that the leap day is the last one.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // The same sum for 1970-01-01.
    days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37, the example of RFC 9110.
    const THEN: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn seconds() {
        assert_eq!(parse("120", THEN), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 0 ", THEN), Some(Duration::ZERO));
    }

    #[test]
    fn dates_in_all_three_forms() {
        let before = THEN - Duration::from_secs(90);
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(date, before), Some(Duration::from_secs(90)), "{date}");
            assert_eq!(parse(date, THEN * 2), Some(Duration::ZERO), "{date}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar() {
        // As `date -u -d <date> +%s` has them, divided by 86,400.
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (1970, 12, 31, 364),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2024, 2, 29, 19_782),
            (2026, 11, 20, 20_777),
            (2100, 3, 1, 47_541),
        ] {
            assert_eq!(
                days_since_epoch(year, month, day),
                days,
                "{year}-{month}-{day}"
            );
        }
    }

    #[test]
    fn what_can_not_be_read() {
        for value in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "08:49:37",
            "06 1994 08:49:37",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999 08:49:37 GMT",
            "06 Nov 1994 7 08:49:37",
        ] {
            assert_eq!(parse(value, THEN), None, "{value}");
        }
    }
}
