//! The table at the end: a line for each round.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use comfy_table::Table;
use serde_json::json;

use crate::Arguments;
use crate::faults::Fault;
use crate::round::Outcome;
use crate::support::invariants::Kind;

pub(crate) struct Report {
    faults: Vec<Fault>,
    json: Option<std::fs::File>,
    rows: Vec<Outcome>,
    instances: u64,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let open = |path| std::fs::File::options().create(true).append(true).open(path);
        let json = arguments.json.as_ref().map(|path| open(path).expect("the file for JSON can be written"));
        Self { faults: arguments.faults.clone(), json, rows: Vec::new(), instances: arguments.instances }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        if let Some(file) = &mut self.json {
            let faults: BTreeMap<String, u32> =
                outcome.done.faults.iter().map(|(fault, times)| (fault.word(), *times)).collect();
            let violations: BTreeMap<&str, usize> =
                Kind::ALL.iter().map(|kind| (kind.word(), count(&outcome, *kind))).collect();
            let found: Vec<&str> = outcome.violations.iter().map(|v| v.what.as_str()).collect();
            let line = json!({
                "seed": outcome.seed, "store": outcome.store.word(), "instances": self.instances,
                "created": outcome.created, "operations": outcome.operations, "faults": faults,
                "converged_seconds": outcome.converged.map(|d| d.as_secs_f64()),
                "violations": violations, "found": found,
            });
            writeln!(file, "{line}").expect("the file for JSON can be written");
        }
        println!("{}", self.table(std::slice::from_ref(&outcome)));
        self.rows.push(outcome);
    }

    /// Success if there is nothing but zeros.
    pub(crate) fn print(&self) -> ExitCode {
        println!("\n{}", self.table(&self.rows));
        let total: usize = self.rows.iter().map(|row| row.violations.len()).sum();
        println!("{} rounds, {total} violations", self.rows.len());
        if total == 0 && !self.rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn table(&self, rows: &[Outcome]) -> Table {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        let head = ["seed", "store", "at a time", "created", "operations"].map(String::from).into_iter();
        let faults = self.faults.iter().map(|fault| fault.word());
        let kinds = Kind::ALL.iter().map(|kind| kind.word().to_owned());
        table.set_header(head.chain(faults).chain(["converged".to_owned()]).chain(kinds));
        for row in rows {
            let head = [
                row.seed.to_string(),
                row.store.word().to_owned(),
                self.instances.to_string(),
                row.created.to_string(),
                row.operations.to_string(),
            ];
            let times = |fault| row.done.faults.get(fault).copied().unwrap_or(0).to_string();
            let converged =
                row.converged.map_or_else(|| "never".into(), |d| format!("{:.0} s", d.as_secs_f64()));
            let faults = self.faults.iter().map(times);
            let kinds = Kind::ALL.iter().map(|kind| count(row, *kind).to_string());
            table.add_row(head.into_iter().chain(faults).chain([converged]).chain(kinds));
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        table
    }
}

fn count(outcome: &Outcome, kind: Kind) -> usize {
    outcome.violations.iter().filter(|v| v.kind == kind).count()
}
