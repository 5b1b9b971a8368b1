//! What is wrong with a line, said so that it can be found. Depends on nothing else of the program.

/// The line as text. A struct could be read from an array too, field by field.
pub fn object(line: &[u8]) -> Result<&str, String> {
    let line = str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        match line[at..] {
            [0xed, 0xa0..=0xbf, ..] => format!("{SURROGATE} (byte {})", at + 1),
            _ => format!("not UTF-8 at byte {}: save the file as UTF-8", at + 1),
        }
    })?;
    if line.starts_with('{') {
        Ok(line)
    } else {
        Err("not a JSON object: write one record a line".to_owned())
    }
}

pub fn with_cause(error: impl Into<anyhow::Error>) -> String {
    plain(&format!("{:#}", error.into()))
}

const SURROGATE: &str = "lone surrogate, half a character: write both halves of its pair, or neither";

/// The parser's words for a surrogate without the other of its pair name neither.
fn plain(problem: &str) -> String {
    ["unexpected end of hex escape", "lone leading surrogate in hex escape"]
        .iter()
        .fold(problem.to_owned(), |text, parsers| text.replace(parsers, SURROGATE))
}

/// In bytes.
const MOST_NAMES: usize = 240;

/// What is wrong with a line, in which field. The parser saw one line alone: its `at line 1` would be misleading.
pub fn of(line: &str, error: &serde_json::Error) -> String {
    let text = plain(&error.to_string());
    let problem = text.rsplit_once(" at line ").map_or(&*text, |(problem, _)| problem);
    let problem = match problem.split_once("`, expected one of") {
        // The names of all the fields that there are would hide what is wrong.
        Some((unknown, fields)) if fields.len() > MOST_NAMES => {
            format!("{unknown}`: leave it out, or look at its spelling")
        }
        _ => problem.to_owned(),
    };
    let column = error.column();
    let names_its_field = problem.starts_with("unknown ") || problem.starts_with("missing ");
    match field_at(line, column).filter(|_| !names_its_field) {
        Some(field) => format!("{field}: {problem} (column {column})"),
        None => format!("{problem} (column {column})"),
    }
}

/// The name of the object's field that the text before this column ends in.
fn field_at(line: &str, column: usize) -> Option<&str> {
    let mut field = None;
    let (mut depth, mut last_string) = (0, None);
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        if at >= column {
            break;
        }
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => field = last_string,
            ',' if depth == 1 => field = None,
            '"' => {
                let mut escaped = false;
                let end = letters.find(|(_, letter)| {
                    let ends = *letter == '"' && !escaped;
                    escaped = *letter == '\\' && !escaped;
                    ends
                });
                last_string = end.and_then(|(end, _)| line.get(at + 1..end));
            }
            _ => {}
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::of;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read for what is wrong with it")]
    struct Record {
        name: String,
        numbers: Vec<f32>,
        count: Option<u32>,
    }

    #[test]
    fn the_field_of_a_bad_value_is_named() -> Result<(), String> {
        let cases = [
            (r#"{"name": 7}"#, "name: invalid type: integer `7`, expected a string (column 10)"),
            (r#"{"name": "a \" b: ", "numbers": [1, "x"]}"#, "numbers: invalid type: string \"x\""),
            (r#"{"numbers": [[1]], "name": ""}"#, "numbers: invalid type: sequence"),
            (r#"{"name": "é", "numbers": [], "count": -1}"#, "count: invalid value: integer `-1`"),
            (
                r#"{"name": "é", "colour": 1}"#,
                "unknown field `colour`, expected one of `name`, `numbers`, `count` (column ",
            ),
            (r#"{"name": "é"}"#, "missing field `numbers` (column 14)"),
            (r#"{"name": "é", "numbers": [1.]}"#, "numbers: invalid number (column "),
            (r#"{"name": "é" nonsense}"#, "name: expected `,` or `}` (column "),
        ];
        for (line, expected) in cases {
            let error = serde_json::from_str::<Record>(line).err().ok_or(line)?;
            let problem = of(line, &error);
            assert!(problem.starts_with(expected), "{problem} for {line}");
        }
        Ok(())
    }
}
