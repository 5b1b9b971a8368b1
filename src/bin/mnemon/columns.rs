//! Tables that fit the line: cut where the terminal ends, and with what is left of it for the last column.

use crate::text::{DIM, cut, styled, width};
use anstyle::Style;
use std::fmt::Write;

/// A column of [`Columns`].
pub struct Column {
    name: &'static str,
    to_the_right: bool,
    style: Style,
}

impl Column {
    pub fn left(name: &'static str) -> Self {
        Self { name, to_the_right: false, style: Style::new() }
    }

    /// For numbers.
    pub fn right(name: &'static str) -> Self {
        Self { to_the_right: true, ..Self::left(name) }
    }

    pub fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// A table with names above its columns. Its last column gets what is left of the line.
pub struct Columns {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// A cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Cut to `line` columns, but for `None`; the last column has 20 at least.
    pub fn show(&self, line: Option<usize>) -> String {
        const LEAST: usize = 20;
        let names: Vec<_> = self.columns.iter().map(|column| column.name.to_owned()).collect();
        let mut widths: Vec<_> = names.iter().map(|name| width(name)).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(widest, cell)| *widest = width(cell).max(*widest));
        }
        let Some((last, others)) = widths.split_last_mut() else { return String::new() };
        if let Some(line) = line {
            let used: usize = others.iter().map(|width| width + 2).sum::<usize>() + 2;
            *last = (*last).min(line.saturating_sub(used).max(LEAST));
        }
        let mut text = self.line(&names, &widths, Some(DIM));
        for row in &self.rows {
            text.push('\n');
            text.push_str(&self.line(row, &widths, None));
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize], style: Option<Style>) -> String {
        let mut line = String::new();
        let last = cells.len().saturating_sub(1);
        for (at, ((cell, &columns), column)) in cells.iter().zip(widths).zip(&self.columns).enumerate() {
            let cell = cut(cell, columns);
            let space = " ".repeat(columns.saturating_sub(width(&cell)));
            let cell = styled(style.unwrap_or(column.style), &cell);
            // It can't fail: it writes to a string.
            let _ = match (column.to_the_right, at == last) {
                (true, _) => write!(line, "  {space}{cell}"),
                (false, false) => write!(line, "  {cell}{space}"),
                (false, true) => write!(line, "  {cell}"),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Columns};
    use crate::text::width;

    #[test]
    fn the_last_column_gets_what_is_left_of_the_line() {
        let mut columns = Columns::new([Column::left("who"), Column::right("n"), Column::left("said")]);
        columns.row(["日本".to_owned(), "10".to_owned(), "it is ".repeat(20)]);
        columns.row(["Ana".to_owned(), "7".to_owned(), "yes".to_owned()]);
        let lines: Vec<_> =
            columns.show(Some(40)).lines().map(|l| anstream::adapter::strip_str(l).to_string()).collect();
        assert_eq!(lines, ["  who    n  said", "  日本  10  it is it is it is it is it…", "  Ana    7  yes"]);
        assert!(lines.iter().all(|line| width(line) <= 40));
    }
}
