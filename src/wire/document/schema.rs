//! The tables of docs/PROTOCOL.md, and a decoder that knows nothing else.

use std::collections::BTreeMap;

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
}

/// A row of a table of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    /// Whether a length stands before the fields.
    pub(super) is_block: bool,
    pub(super) meaning: String,
}

/// What a type's table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// That many bytes.
    Bytes(usize),
    /// A text of at least and at most that many bytes.
    Text(usize, usize),
    /// Fields in order; behind a length, if the flag says so.
    Fields(Vec<Field>, bool),
    /// A tag, then the fields of its row.
    Tagged(BTreeMap<u8, Row>),
    /// A row of the directory: by kind, the fields of its key and of its value.
    RowOfKind(BTreeMap<u8, (Vec<Field>, Vec<Field>)>),
}

/// What a table's header says about structures and messages without a length.
const NO_LENGTH: &str = ", no length";
/// The same, in the cell of one message.
const NO_LENGTH_HERE: &str = ", without a length";
/// The kind that a leaf is called which is a block.
pub(super) const BLOCK: &str = "block";

/// A table: under which heading, its header, its rows of cells.
struct Table {
    heading: String,
    header: String,
    rows: Vec<Vec<String>>,
}

/// Sees the type and the bytes of a value without parts.
pub(super) type Leaf<'l> = dyn FnMut(&str, &[u8]) + 'l;

/// Everything the document says in tables.
pub(super) struct Schema {
    pub(super) shapes: BTreeMap<String, Shape>,
    /// The most items of each type in a list.
    pub(super) lists: BTreeMap<String, usize>,
    tables: Vec<Table>,
}

impl Schema {
    /// Reads the tables of `document`. A table of tags or fields belongs to the type that the
    /// heading above it names.
    pub(super) fn read(document: &str) -> Self {
        let tables = read_tables(document);
        let mut shapes = BTreeMap::new();
        let mut lists = BTreeMap::new();
        for table in &tables {
            match &table.header[..] {
                "type | bytes | meaning" => {
                    shapes.extend(table.rows.iter().map(|row| (code(&row[0]), base(&row[1]))))
                }
                header @ ("field | type | meaning" | "field, no length | type | meaning") => {
                    let field =
                        |row: &Vec<String>| Field { name: code(&row[0]), kind: code(&row[1]) };
                    let fields = table.rows.iter().map(field).collect();
                    let shape = Shape::Fields(fields, !header.contains(NO_LENGTH));
                    assert_eq!(
                        shapes.insert(table.heading.clone(), shape),
                        None,
                        "{}",
                        table.heading
                    );
                }
                header if header.starts_with("tag | name | fields") => {
                    let shape = Shape::Tagged(tagged(&table.rows, !header.contains(NO_LENGTH)));
                    assert_eq!(
                        shapes.insert(table.heading.clone(), shape),
                        None,
                        "{}",
                        table.heading
                    );
                }
                "kind | name | key | value | meaning" => {
                    let kind = |row: &Vec<String>| {
                        (row[0].parse().unwrap(), (fields(&code(&row[2])), fields(&code(&row[3]))))
                    };
                    let shape = Shape::RowOfKind(table.rows.iter().map(kind).collect());
                    assert_eq!(
                        shapes.insert(table.heading.clone(), shape),
                        None,
                        "{}",
                        table.heading
                    );
                }
                "list of | most" => {
                    lists.extend(table.rows.iter().map(|row| (code(&row[0]), number(&row[1]))))
                }
                _ => {}
            }
        }
        Self { shapes, lists, tables }
    }

    /// The rows of every table with that header.
    pub(super) fn tables(&self, header: &str) -> Vec<Vec<Vec<String>>> {
        self.tables
            .iter()
            .filter(|table| table.header == header)
            .map(|table| table.rows.clone())
            .collect()
    }

    /// The rows of the only table with that header.
    pub(super) fn table(&self, header: &str) -> Vec<Vec<String>> {
        let mut tables = self.tables(header);
        assert_eq!(tables.len(), 1, "tables with the header {header}");
        tables.swap_remove(0)
    }

    /// Checks that `bytes` are one value of the type, wholly, and shows `leaf` the type and bytes
    /// of everything that has no parts.
    pub(super) fn walk_all(
        &self,
        kind: &str,
        bytes: &[u8],
        leaf: &mut Leaf<'_>,
    ) -> Result<(), String> {
        match self.walk(kind, bytes, leaf)? {
            [] => Ok(()),
            rest => Err(format!("{} bytes too many behind {kind}", rest.len())),
        }
    }

    /// Walks over one value of the type, and returns what follows it.
    fn walk<'a>(
        &self,
        kind: &str,
        bytes: &'a [u8],
        leaf: &mut Leaf<'_>,
    ) -> Result<&'a [u8], String> {
        if let Some(kind) = kind.strip_suffix('?') {
            return match take(kind, bytes, 1)? {
                ([0], rest) => Ok(rest),
                ([1], rest) => self.walk(kind, rest, leaf),
                (tag, _) => Err(format!("option tag {tag:?} before {kind}")),
            };
        }
        if let Some(kind) = kind.strip_suffix('*') {
            return match self.shapes.get(kind) {
                Some(Shape::Fields(fields, true)) => self.walk_fields(fields, bytes, leaf),
                Some(Shape::Text(min, max)) if (*min..=*max).contains(&bytes.len()) => Ok(&[]),
                _ => Err(format!("{kind} has no length to leave out, or is too long")),
            };
        }
        if let Some(kind) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
            let (count, rest) = take(kind, bytes, 4)?;
            let count = count.iter().fold(0, |count, &byte| count << 8 | usize::from(byte));
            let max = *self
                .lists
                .get(kind)
                .ok_or_else(|| format!("no limit is documented for lists of {kind}"))?;
            if count > max {
                return Err(format!("{count} {kind}, documented are at most {max}"));
            }
            return (0..count).try_fold(rest, |rest, _| self.walk(kind, rest, leaf));
        }
        match self.shapes.get(kind).ok_or_else(|| format!("{kind} has no table"))? {
            Shape::Bytes(len) => {
                let (value, rest) = take(kind, bytes, *len)?;
                leaf(kind, value);
                Ok(rest)
            }
            Shape::Text(min, max) => {
                let rest = walk_text(kind, bytes, *min, *max)?;
                leaf(kind, &bytes[..bytes.len() - rest.len()]);
                Ok(rest)
            }
            Shape::Fields(fields, true) => self.walk_block(fields, bytes, leaf),
            Shape::Fields(fields, false) => self.walk_fields(fields, bytes, leaf),
            Shape::Tagged(rows) => {
                let (tag, rest) = take(kind, bytes, 1)?;
                let row =
                    rows.get(&tag[0]).ok_or_else(|| format!("{kind} has no tag {}", tag[0]))?;
                match row.is_block {
                    true => self.walk_block(&row.fields, rest, leaf),
                    false => self.walk_fields(&row.fields, rest, leaf),
                }
            }
            Shape::RowOfKind(kinds) => {
                let (row, rest) = take_block(kind, bytes, 4)?;
                self.walk_row(kinds, row, leaf)?;
                Ok(rest)
            }
        }
    }

    /// Walks over a length and the fields behind it, which must fill it. The leaf sees what is in
    /// it.
    fn walk_block<'a>(
        &self,
        fields: &[Field],
        bytes: &'a [u8],
        leaf: &mut Leaf<'_>,
    ) -> Result<&'a [u8], String> {
        let (block, rest) = take_block(BLOCK, bytes, 4)?;
        leaf(BLOCK, block);
        match self.walk_fields(fields, block, leaf)? {
            [] => Ok(rest),
            more => Err(format!("{} bytes too many in a block", more.len())),
        }
    }

    /// Walks over what follows the length of a row of the directory.
    fn walk_row(
        &self,
        kinds: &BTreeMap<u8, (Vec<Field>, Vec<Field>)>,
        row: &[u8],
        leaf: &mut Leaf<'_>,
    ) -> Result<(), String> {
        let (kind, rest) = take("kind of a row", row, 1)?;
        let (key, rest) = take_block("key of a row", rest, 2)?;
        let rest = self.walk("Version", rest, leaf)?;
        let rest = self.walk("Place", rest, leaf)?;
        let (value, []) = take_block("value of a row", rest, 4)? else {
            return Err("bytes follow the value of a row".into());
        };
        let Some((key_fields, value_fields)) = kinds.get(&kind[0]) else { return Ok(()) };
        match self.walk_fields(key_fields, key, leaf)? {
            [] => {}
            more => return Err(format!("{} bytes too many in a key", more.len())),
        }
        if !(value.is_empty() && matches!(kind[0], 0 | 1 | 4 | 7)) {
            self.walk_fields(value_fields, value, leaf)?;
        }
        Ok(())
    }

    fn walk_fields<'a>(
        &self,
        fields: &[Field],
        bytes: &'a [u8],
        leaf: &mut Leaf<'_>,
    ) -> Result<&'a [u8], String> {
        fields.iter().try_fold(bytes, |rest, field| {
            self.walk(&field.kind, rest, leaf).map_err(|why| format!("{}: {why}", field.name))
        })
    }
}

fn walk_text<'a>(kind: &str, bytes: &'a [u8], min: usize, max: usize) -> Result<&'a [u8], String> {
    let (len, rest) = take(kind, bytes, 2)?;
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    let (text, rest) = take(kind, rest, len)?;
    match std::str::from_utf8(text).is_ok() && (min..=max).contains(&len) {
        true => Ok(rest),
        false => Err(format!("{text:?} is no {kind}")),
    }
}

fn take<'a>(kind: &str, bytes: &'a [u8], len: usize) -> Result<(&'a [u8], &'a [u8]), String> {
    bytes.split_at_checked(len).ok_or_else(|| format!("{kind} is cut short"))
}

/// Takes a length of that many bytes, and what it is the length of.
fn take_block<'a>(
    kind: &str,
    bytes: &'a [u8],
    len_len: usize,
) -> Result<(&'a [u8], &'a [u8]), String> {
    let (len, rest) = take(kind, bytes, len_len)?;
    take(kind, rest, len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)))
}

/// Takes the text between the first two backticks of a cell; nothing for a cell without.
pub(super) fn code(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_default().to_owned()
}

/// Reads a number written with commas.
fn number(cell: &str) -> usize {
    cell.replace(',', "").parse().unwrap_or_else(|_| panic!("{cell} is not a number"))
}

/// Reads "16 bytes", "1 byte, 0 or 1" or "text, 1 to 64 bytes".
fn base(cell: &str) -> Shape {
    let numbers: Vec<usize> = cell.split(' ').filter_map(|word| word.parse().ok()).collect();
    if cell.starts_with("text, ") {
        Shape::Text(numbers[0], numbers[1])
    } else {
        Shape::Bytes(numbers[0])
    }
}

fn tagged(rows: &[Vec<String>], is_block: bool) -> BTreeMap<u8, Row> {
    let row = |cells: &Vec<String>| {
        let meaning = cells.last().cloned().unwrap_or_default();
        let is_block = is_block && !cells[2].ends_with(NO_LENGTH_HERE);
        let (name, fields) = (code(&cells[1]), fields(&code(&cells[2])));
        (cells[0].parse().unwrap(), Row { name, fields, is_block, meaning })
    };
    let map: BTreeMap<u8, Row> = rows.iter().map(row).collect();
    assert_eq!(map.len(), rows.len(), "a tag is there twice: {rows:?}");
    map
}

/// Reads `name: Type, name: Type`.
fn fields(text: &str) -> Vec<Field> {
    let field = |text: &str| {
        let (name, kind) = text.split_once(": ").unwrap_or_else(|| panic!("{text} is not a field"));
        Field { name: name.to_owned(), kind: kind.to_owned() }
    };
    text.split(", ").filter(|text| !text.is_empty()).map(field).collect()
}

fn read_tables(document: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut inside = false;
    for line in document.lines() {
        if line.starts_with('#') {
            heading = code(line);
        }
        let Some(line) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let cells: Vec<String> =
            line.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        match tables.last_mut() {
            Some(table) if inside => {
                assert_eq!(cells.len(), table.header.split('|').count(), "{line}");
                if cells.iter().any(|cell| cell != "---") {
                    table.rows.push(cells);
                }
            }
            _ => tables.push(Table {
                heading: heading.clone(),
                header: cells.join(" | "),
                rows: Vec::new(),
            }),
        }
        inside = true;
    }
    tables
}

/// The names of the fields in a value's Debug form; empty for a value without named fields.
pub(super) fn debug_fields(text: &str) -> Vec<String> {
    let (mut names, mut word, mut depth, mut quoted, mut escaped) =
        (Vec::new(), String::new(), 0, false, false);
    // Only a brace that follows the name itself holds the value's own fields.
    if text.find(['{', '(', '[', '"']).is_none_or(|at| !text[at..].starts_with('{')) {
        return names;
    }
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            // An address has colons too, but no space behind them.
            ':' if depth == 1 && characters.peek() == Some(&' ') => {
                names.push(std::mem::take(&mut word))
            }
            c if depth == 1 && (c.is_alphanumeric() || c == '_') => {
                word.push(c);
                continue;
            }
            _ => {}
        }
        word.clear();
    }
    names
}
