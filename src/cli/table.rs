//! Objects as columns for people.

use kube::ResourceExt;

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;

/// Has a line in a table.
pub(super) trait Listed {
    /// The words above the columns.
    const HEAD: &'static [&'static str];

    /// The words above more columns.
    const MORE: &'static [&'static str];

    /// The cells below the first.
    fn cells(&self) -> Vec<String>;

    /// The cells below the others.
    fn more(&self) -> Vec<String>;
}

impl Listed for OnlineEndpoint {
    const HEAD: &'static [&'static str] = &["NAME", "STATE", "TRAFFIC", "CODE", "URL"];
    const MORE: &'static [&'static str] = &["AUTH", "DEPLOYMENTS", "CREATED"];

    fn cells(&self) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        let traffic: Vec<String> = status.traffic.iter().map(|(name, percent)| format!("{name}={percent}")).collect();
        let code = status.deployments.iter().find_map(|deployment| deployment.code);
        vec![
            self.name_any(),
            status.provisioning_state.map(|state| format!("{state:?}")).unwrap_or_default(),
            traffic.join(","),
            code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
            status.scoring_uri.unwrap_or_default(),
        ]
    }

    fn more(&self) -> Vec<String> {
        let deployments = self.status.iter().flat_map(|status| &status.deployments);
        let deployments: Vec<String> = deployments.map(|one| format!("{}:{}", one.name, one.ready_instances)).collect();
        vec![format!("{:?}", self.spec.auth_mode), deployments.join(","), created(self)]
    }
}

impl Listed for OnlineDeployment {
    const HEAD: &'static [&'static str] = &["NAME", "ENDPOINT", "DEPLOYMENT", "STATE", "READY", "CODE", "REASON"];
    const MORE: &'static [&'static str] = &["INSTANCE TYPE", "MODEL", "IMAGE", "CREATED"];

    fn cells(&self) -> Vec<String> {
        let status = self.status.clone().unwrap_or_default();
        let (code, reason) =
            status.error.map(|error| (error.code.as_str().to_owned(), error.reason)).unwrap_or_default();
        vec![
            self.name_any(),
            self.spec.endpoint_name.clone(),
            self.deployment_name().to_owned(),
            status.provisioning_state.map(|state| format!("{state:?}")).unwrap_or_default(),
            status.ready.unwrap_or_default(),
            code,
            reason,
        ]
    }

    fn more(&self) -> Vec<String> {
        let model = self.spec.model.as_ref().map(|model| model.uri.clone());
        vec![
            self.spec.instance_type.clone(),
            model.unwrap_or_default(),
            self.spec.environment.image.clone(),
            created(self),
        ]
    }
}

fn created(object: &impl ResourceExt) -> String {
    object.creation_timestamp().map(|time| time.0.to_string()).unwrap_or_default()
}

/// The lines of a table; a cell without a word shows as `-`, so that a line always has all its columns.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head = head.iter().copied().map(str::to_owned).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().map(|cell| if cell.is_empty() { "-" } else { cell });
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_none_is_empty() {
        let rows = [["iris", "ä", ""], ["a", "Succeeded", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&["NAME", "STATE", "URL"], &rows),
            "NAME  STATE      URL\niris  ä          -\na     Succeeded  x\n"
        );
    }
}
