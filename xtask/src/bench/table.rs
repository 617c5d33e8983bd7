//! The table of figures: a row a figure, a column a peer, and our budget.

/// A figure with its budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// Ours must stay below it.
    pub(crate) budget: Option<f64>,
}

const fn figure(what: &'static str, unit: &'static str, budget: f64) -> Figure {
    Figure { what, unit, budget: Some(budget) }
}

/// Every figure, in the table's order.
pub(crate) const FIGURES: [Figure; 11] = [
    figure("cold start to API ready", "ms", 150.0),
    figure("cold start to node Ready", "ms", 1000.0),
    figure("resident memory, empty", "MiB", 40.0),
    figure("idle CPU over 30 s", "% of a core", 0.3),
    figure("pod start, one at a time, p50", "ms", 60.0),
    figure("pod start, one at a time, p99", "ms", 100.0),
    figure("20 pods at once, all Ready", "ms", 400.0),
    Figure { what: "memory each further idle pod adds", unit: "MiB", budget: None },
    figure("pod end, DELETE to gone, p50", "ms", 60.0),
    Figure { what: "pods started one at a time", unit: "pods", budget: None },
    Figure { what: "1,000 pods made and given nodes", unit: "pods/s", budget: None },
];

/// What was measured of one peer, in the order of [`FIGURES`].
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) values: [Option<f64>; FIGURES.len()],
}

/// The table in Markdown.
pub(crate) fn markdown(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let mut table = format!("| | {} | budget |\n|---|{}---|\n", names.join(" | "), "---:|".repeat(names.len()));
    for (index, figure) in FIGURES.iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| cell(figure, column.values[index])).collect();
        let own = columns.first().and_then(|column| column.values[index]);
        table += &format!("| {} | {} | {} |\n", figure.what, cells.join(" | "), verdict(figure, own));
    }
    table
}

fn cell(figure: &Figure, value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 && figure.unit != "pods" => format!("{value:.2} {}", figure.unit),
        Some(value) => format!("{value:.0} {}", figure.unit),
        None => "–".to_owned(),
    }
}

fn verdict(figure: &Figure, own: Option<f64>) -> String {
    match (figure.budget, own) {
        (Some(budget), Some(own)) if own >= budget => format!("{budget} {}: **missed**", figure.unit),
        (Some(budget), _) => format!("{budget} {}", figure.unit),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_is_told() {
        let mut values = [None; FIGURES.len()];
        (values[0], values[1], values[3]) = (Some(151.2), Some(900.0), Some(0.25));
        let table = markdown(&[Column { name: "minke".to_owned(), values }]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| | minke | budget |");
        assert_eq!(lines[2], "| cold start to API ready | 151 ms | 150 ms: **missed** |");
        assert_eq!(lines[3], "| cold start to node Ready | 900 ms | 1000 ms |");
        assert_eq!(lines[4], "| resident memory, empty | – | 40 MiB |");
        assert_eq!(lines[5], "| idle CPU over 30 s | 0.25 % of a core | 0.3 % of a core |");
    }
}
