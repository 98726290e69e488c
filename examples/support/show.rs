//! Figures as people read them.

use std::time::Duration;

/// Bytes in the MB of "MB/s", here and in the client.
pub(crate) const MB: f64 = 1e6;

/// Shows bytes in MiB.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Returns MB a second.
pub(crate) fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / MB / time.as_secs_f64().max(1e-9)
}

/// Returns the middle value; of an even number of values, the upper middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Prints rows as a table: the first column to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line: String = cells
            .map(
                |(i, (cell, &w))| {
                    if i == 0 { format!("  {cell:<w$}") } else { format!("  {cell:>w$}") }
                },
            )
            .collect();
        println!("{}", line.trim_end());
    }
}
