//! Results that are not of one kind: flat objects, as a table for people and as JSON for programs.

use serde_json::{Value, json};

/// With `is_json` the table goes to stderr, and one JSON object is the last line of stdout.
pub(super) fn print(is_json: bool, results: &[Value]) {
    let table = table(results);
    if is_json {
        eprintln!("{table}");
        println!("{}", json!({ "results": results }));
    } else {
        println!("{table}");
    }
}

/// A block for each measure, with a column for each field that says something.
fn table(results: &[Value]) -> String {
    let mut measures: Vec<&Value> = Vec::new();
    for measure in results.iter().map(|result| &result["measure"]) {
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    measures.into_iter().map(|measure| block(measure, results)).collect::<Vec<_>>().join("\n")
}

fn block(measure: &Value, results: &[Value]) -> String {
    let rows: Vec<_> =
        results.iter().filter(|result| result["measure"] == *measure).filter_map(Value::as_object).collect();
    let names = rows.iter().flat_map(|row| row.iter().filter(|(_, value)| !value.is_null()));
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in names.filter(|(name, _)| *name != "measure") {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let cell = |row: &serde_json::Map<String, Value>, name: &str| match row.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut lines = vec![columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(row, name)).collect()));
    let widths: Vec<_> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ")
    });
    format!("{}\n{}\n", measure.as_str().unwrap_or_default(), lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::table;

    #[test]
    fn each_measure_has_its_columns() {
        let results = [
            json!({ "measure": "a", "proxy": "one", "rss_kib": 12, "error": null }),
            json!({ "measure": "a", "proxy": "other", "rss_kib": null, "error": null }),
            json!({ "measure": "b", "proxy": "one", "bytes": 1 }),
            json!({ "measure": "a", "proxy": "last", "rss_kib": 1, "error": null }),
        ];
        assert_eq!(
            table(&results),
            "a\nproxy  rss_kib\n  one       12\nother        -\n last        1\n\nb\nbytes  proxy\n    1    one\n"
        );
    }
}
