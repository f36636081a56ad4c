//! How figures and tables look to people.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use samebit_spec::{
    execution::{Limit, Outcome, Trap},
    unit::{Bytes, Fuel, MicroCredits, Time},
};

const LINE_UNDER_HEADS: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with these heads; the columns `figures` are set to the right.
pub fn table<const N: usize>(heads: [&str; N], figures: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(LINE_UNDER_HEADS).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heads);
    for &at in figures {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Lines of `name  value`, names in a column.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// Money in credits, to the last micro-credit.
pub fn credits(amount: MicroCredits) -> String {
    let (whole, rest) = (amount.0 / 1_000_000, amount.0 % 1_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
}

/// Fuel with three digits that count.
pub fn fuel(fuel: Fuel) -> String {
    scaled(fuel.0, 1000, &["", "k", "M", "G", "T"])
}

/// A length in bytes.
pub fn bytes(bytes: Bytes) -> String {
    scaled(bytes.0, 1024, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn scaled(value: u64, base: u64, units: &[&str]) -> String {
    let mut scale = 1;
    let mut at = 0;
    while at + 1 < units.len() && value / scale >= base {
        scale *= base;
        at += 1;
    }
    let unit = if units[at].is_empty() { String::new() } else { format!(" {}", units[at]) };
    if scale == 1 {
        return format!("{value}{unit}");
    }
    let hundredths = u128::from(value) * 100 / u128::from(scale);
    format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

/// How a run ended, in words.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited {code}"),
        Outcome::Failed => "failed".to_owned(),
        Outcome::Trapped { trap } => format!("trapped: {}", trap_text(*trap)),
        Outcome::Exhausted { limit } => format!("exhausted: {}", limit_text(*limit)),
    }
}

fn trap_text(trap: Trap) -> &'static str {
    match trap {
        Trap::Unreachable => "unreachable",
        Trap::MemoryOutOfBounds => "memory out of bounds",
        Trap::TableOutOfBounds => "table out of bounds",
        Trap::IndirectCallToNull => "indirect call to null",
        Trap::BadSignature => "bad signature",
        Trap::IntegerOverflow => "integer overflow",
        Trap::DivisionByZero => "division by zero",
        Trap::BadConversionToInteger => "bad conversion to integer",
        Trap::StackOverflow => "stack overflow",
        Trap::BadStepCode => "bad step code",
        Trap::UncaughtException => "uncaught exception",
    }
}

fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::Fuel => "fuel",
        Limit::StepFuel => "fuel of a step",
        Limit::Steps => "steps",
        Limit::Memory => "memory",
    }
}

/// A moment as `2026-08-21 12:34:56.789 UTC`.
pub fn moment(time: Time) -> String {
    let (days, rest) = (time.0 / 86_400_000, time.0 % 86_400_000);
    // Days since 0000-03-01 in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year}-{month:02}-{day_of_month:02} {hours:02}:{minutes:02}:{seconds:02}.{:03} UTC", rest % 1000)
}

/// `1 unit`, `2 units`.
pub fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_to_the_last_micro_credit() {
        for (amount, shown) in [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (4_000_000, "4"), (10, "0.00001")] {
            assert_eq!(credits(MicroCredits(amount)), shown);
        }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (millis, shown) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_400_001, "2000-02-29 00:00:00.001 UTC"),
            (1_767_225_599_999, "2025-12-31 23:59:59.999 UTC"),
        ] {
            assert_eq!(moment(Time(millis)), shown);
        }
    }

    #[test]
    fn large_figures_are_scaled_and_small_ones_are_exact() {
        assert_eq!(fuel(Fuel(999)), "999");
        assert_eq!(fuel(Fuel(20_000_000_000)), "20.00 G");
        assert_eq!(bytes(Bytes(1536)), "1.50 KiB");
        assert_eq!(bytes(Bytes(u64::MAX)), "16777215.99 TiB");
    }
}
