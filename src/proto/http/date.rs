//! The value of `Date`: a second of UTC as text.

/// An instant in the form that HTTP wants (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Nothing here reads a clock. The caller passes the time, and caches the text for one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date([u8; Self::CHARS]);

impl Date {
    /// Length of the text in bytes. It is the same for every date.
    pub const CHARS: usize = 29;

    /// The date `unix_s` seconds after 1970-01-01 00:00 UTC. The form has four digits for the year, so later dates become
    /// the last second of the year 9999.
    pub fn from_unix_s(unix_s: u64) -> Self {
        let unix_s = unix_s.min(LAST_S);
        let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        // 1970 began on a Thursday.
        copy(&mut text, 0, WEEKDAYS, days % 7);
        digits(&mut text, 5..7, day);
        copy(&mut text, 8, MONTHS, month - 1);
        digits(&mut text, 12..16, year);
        digits(&mut text, 17..19, second / 3600);
        digits(&mut text, 20..22, second / 60 % 60);
        digits(&mut text, 23..25, second % 60);
        Self(text)
    }

    /// The text.
    pub const fn as_bytes(&self) -> &[u8; Self::CHARS] {
        &self.0
    }
}

/// Year, month (1 to 12) and day of the month (1 to 31) of the day `days` after 1970-01-01.
///
/// The algorithm counts years from March, so that the leap day is the last day of its year. It groups them into eras of
/// 400 years, which all have the same number of days.
pub const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_FROM_MARCH_0_TO_1970;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days: 31, 30, 31, 30, 31.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (400 * era + year_of_era + next_year, month, day)
}

fn copy(text: &mut [u8; Date::CHARS], at: usize, names: &[u8], n: u64) {
    let from = usize::try_from(n).unwrap_or(0) * 3;
    for (to, from) in text
        .iter_mut()
        .skip(at)
        .zip(names.iter().skip(from).take(3))
    {
        *to = *from;
    }
}

fn digits(text: &mut [u8; Date::CHARS], at: std::ops::Range<usize>, mut n: u64) {
    for place in text.iter_mut().take(at.end).skip(at.start).rev() {
        *place = b"0123456789"[usize::try_from(n % 10).unwrap_or(0)];
        n /= 10;
    }
}

const WEEKDAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const DAY_S: u64 = 86_400;
/// 400 years of the Gregorian calendar.
const ERA_DAYS: u64 = 146_097;
/// From the first of March of the year 0 to the beginning of 1970.
const DAYS_FROM_MARCH_0_TO_1970: u64 = 719_468;
/// The last second of the year 9999.
const LAST_S: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_the_form_of_rfc_9110() {
        for (unix_s, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // RFC 9110 §5.6.7 prints this one.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let date = Date::from_unix_s(unix_s);
            assert_eq!(str::from_utf8(date.as_bytes()), Ok(text), "{unix_s}");
        }
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let mut before = civil(0);
        assert_eq!(before, (1970, 1, 1));
        for days in 1..=146_097 {
            let (year, month, day) = civil(days);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = (before.0, before.1 + 1, 1);
            let next_year = (before.0 + 1, 1, 1);
            assert!(
                [next_day, next_month, next_year].contains(&(year, month, day)),
                "{before:?} {year} {month} {day}"
            );
            assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            before = (year, month, day);
        }
        assert_eq!(before, (2370, 1, 1));
    }
}
