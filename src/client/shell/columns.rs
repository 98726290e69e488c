//! Lays rows out in columns, for a screen.
//!
//! **Invariant:** no line is longer than the screen because of another line. A column is as wide as
//! the widest of its cells that leaves the others their room; a wider cell moves the rest of its
//! own line to the right. The last cell of a line is shortened, the others are whole.
//!
//! Pure. Text is escaped before it comes here.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Spaces between two columns.
const GAP: usize = 2;
/// Room that is kept for last cells, and what is shown of one in any case.
const LAST_MIN: usize = 8;
/// What stands for the rest of a cell.
const ELLIPSIS: &str = "...";

/// The columns of one table; rows may come in several parts.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Widths so far, of all but last cells. A table does not become narrower.
    widths: Vec<usize>,
}

impl Columns {
    /// Lays out the next rows for a screen of so many columns; without one no cell is shortened.
    pub(super) fn lay_out(&mut self, rows: &[Vec<String>], screen: Option<usize>) -> String {
        // The last column of the screen stays free: some terminals wrap when it is written to.
        let room = screen.map(|columns| columns.saturating_sub(1));
        self.widen(rows, room);
        rows.iter().map(|row| self.line(row, room)).collect()
    }

    /// Takes the widths of more rows into account.
    fn widen(&mut self, rows: &[Vec<String>], room: Option<usize>) {
        let mut cells: Vec<Vec<usize>> = self.widths.iter().map(|width| vec![*width]).collect();
        for row in rows {
            for (column, cell) in row.iter().take(row.len().saturating_sub(1)).enumerate() {
                if column == cells.len() {
                    cells.push(Vec::new());
                }
                cells[column].push(cell.width());
            }
        }
        let widest = |widths: &Vec<usize>| widths.iter().copied().max().unwrap_or(0);
        let natural: Vec<usize> = cells.iter().map(widest).collect();
        let last = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.last());
        let last = last.map(|cell| cell.width()).max().unwrap_or(0).min(LAST_MIN);
        let room = room.map(|room| room.saturating_sub(natural.len() * GAP + last));
        let most = room.map_or(usize::MAX, |room| widest_that_fits(&natural, room));
        let fitting = |widths: &Vec<usize>| {
            widths.iter().copied().filter(|width| *width <= most).max().unwrap_or(0)
        };
        self.widths = cells.iter().map(fitting).collect();
    }

    fn line(&self, row: &[String], room: Option<usize>) -> String {
        let Some((last, others)) = row.split_last() else { return "\n".to_owned() };
        let aligned = self.starts(others, true);
        let end = aligned.last().map_or(0, |start| start + last.width().min(LAST_MIN));
        // A line that would be too long is not aligned with the others.
        let is_too_long = room.is_some_and(|room| end > room);
        let starts = if is_too_long { self.starts(others, false) } else { aligned };
        let mut line = String::new();
        let mut at = 0;
        for (cell, next) in others.iter().zip(&starts) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', next - at - cell.width()));
            at = *next;
        }
        match room.filter(|_| at > 0) {
            // A line that is too long already is not made good by its last cell.
            Some(room) => {
                let left = room.saturating_sub(at);
                line.push_str(&shorten(last, if left > ELLIPSIS.len() { left } else { LAST_MIN }));
            }
            None => line.push_str(last),
        }
        line + "\n"
    }

    /// Where the cells behind these begin.
    fn starts(&self, cells: &[String], is_aligned: bool) -> Vec<usize> {
        let (mut at, mut start) = (0, 0);
        let next = |(column, cell): (usize, &String)| {
            start += self.widths.get(column).copied().filter(|_| is_aligned).unwrap_or(0) + GAP;
            at = (at + cell.width() + GAP).max(if is_aligned { start } else { 0 });
            at
        };
        cells.iter().enumerate().map(next).collect()
    }
}

/// The width to which columns have to be cut so that they fit, the widest first.
fn widest_that_fits(natural: &[usize], mut room: usize) -> usize {
    let mut widths = natural.to_vec();
    widths.sort_unstable();
    for (i, width) in widths.iter().enumerate() {
        let share = room / (widths.len() - i);
        if *width > share {
            return share;
        }
        room -= width;
    }
    usize::MAX
}

/// Cuts a text to so many columns, between two characters as people see them.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(ELLIPSIS.len());
    let fits = |part: &&str| match left.checked_sub(part.width()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let shown: String = text.graphemes(true).take_while(fits).collect();
    shown.trim_end().to_owned() + &ELLIPSIS[..columns.min(ELLIPSIS.len())]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    fn shown(table: &[&[&str]], screen: usize) -> Vec<String> {
        let text = Columns::default().lay_out(&rows(table), Some(screen));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_aligned() {
        let table = rows(&[&["a", "1 member"], &["long", "2", "x"]]);
        assert_eq!(Columns::default().lay_out(&table, None), "a     1 member\nlong  2  x\n");
        assert_eq!(shown(&[&["漢字", "1"], &["é", "2"]], 80), ["漢字  1", "é     2"]);
    }

    #[test]
    fn the_last_column_gives_way() {
        let table: &[&[&str]] = &[&["name", "nik,bob,eve,carl"], &["n", "nik"]];
        assert_eq!(shown(table, 18), ["name  nik,bob,...", "n     nik"]);
        assert_eq!(shown(table, 80), ["name  nik,bob,eve,carl", "n     nik"]);
        assert_eq!(shown(table, 1), ["name  nik,b...", "n  nik"], "a little is shown in any case");
        assert!(shown(&[], 5).is_empty());
        assert_eq!(shown(&[&["one sentence is whole"]], 10), ["one sentence is whole"]);
    }

    #[test]
    fn one_long_name_moves_its_own_line_alone() {
        let long = "l".repeat(204);
        let table: &[&[&str]] = &[
            &["a.bin", "1.3 MB", "1 online", "nik"],
            &[&long, "22.1 MB", "12 online", "nik,bob"],
            &["holiday.mp4", "9 B", "0 online", "nik,bob,eve"],
        ];
        let lines = shown(table, 80);
        assert_eq!(lines[0], "a.bin        1.3 MB   1 online   nik");
        assert_eq!(lines[1], format!("{long}  22.1 MB  12 online  nik,bob"));
        assert_eq!(lines[2], "holiday.mp4  9 B      0 online   nik,bob,eve");
    }

    #[test]
    fn a_sentence_among_rows_is_in_no_column() {
        let reason = "the disk is full, and something else is in the way as well";
        let table: &[&[&str]] = &[
            &["[D] [lab] big.bin", "43%", "8 B/s", "0:01:11 left", "1 peer"],
            &["[F] [lab] x", reason],
            &["network sha256:56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c"],
        ];
        let lines = shown(table, 60);
        assert_eq!(lines[0], "[D] [lab] big.bin  43%  8 B/s  0:01:11 left  1 peer");
        assert_eq!(lines[1], "[F] [lab] x        the disk is full, and something else...");
        assert_eq!(lines[2], table[2][0]);
    }

    #[test]
    fn a_table_in_parts_keeps_its_columns() {
        let mut columns = Columns::default();
        columns.lay_out(&rows(&[&["longer", "1"]]), Some(80));
        assert_eq!(columns.lay_out(&rows(&[&["a", "1"]]), Some(80)), "a       1\n");
    }

    proptest! {
        #[test]
        fn a_line_that_is_too_long_is_so_by_itself(
            table in proptest::collection::vec(
                proptest::collection::vec("[a-c漢é]{0,40}", 1..5), 0..8),
            screen in 10usize..120,
        ) {
            let text = Columns::default().lay_out(&table, Some(screen));
            prop_assert_eq!(text.lines().count(), table.len());
            for (line, row) in text.lines().zip(&table) {
                let alone = Columns::default().lay_out(std::slice::from_ref(row), Some(screen));
                let most = (screen - 1).max(alone.trim_end_matches('\n').width());
                prop_assert!(line.width() <= most, "{:?} of {:?}", line, row);
                let whole = &row[..row.len() - 1];
                prop_assert!(whole.iter().all(|cell| line.contains(cell.as_str())));
            }
        }
    }
}
