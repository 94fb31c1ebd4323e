//! What scripts for az ml say of a workspace, of which a cluster has none.

use clap::Args;

/// Flags that scripts for az ml have on every line.
#[derive(Args, Clone, Debug, Default)]
pub struct Workspace {
    /// A workspace: left aside.
    #[arg(short, long, global = true, hide = true, value_name = "NAME")]
    pub workspace_name: Option<String>,
    /// A group of resources: left aside.
    #[arg(short = 'g', long, global = true, hide = true, value_name = "NAME")]
    pub resource_group: Option<String>,
    /// A subscription: left aside.
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub subscription: Option<String>,
    /// A filter of the output: refused.
    #[arg(long, global = true, hide = true, value_name = "JMESPATH", value_parser = no_query)]
    pub query: Option<String>,
}

impl Workspace {
    /// What a person has to know of those that were given.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let given = [
            ("--workspace-name", &self.workspace_name),
            ("--resource-group", &self.resource_group),
            ("--subscription", &self.subscription),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, value)| value.is_some()).map(|(flag, _)| *flag).collect();
        let left = match given.as_slice() {
            [] => return None,
            [one] => format!("{one} is left aside"),
            several => format!("{} are left aside", several.join(", ")),
        };
        Some(format!("a cluster has no workspaces: {left}; --namespace and --context say where"))
    }
}

fn no_query(_: &str) -> Result<String, &'static str> {
    Err("there is no --query here; take -o json and jq, as in -o json | jq -r .status.scoringUri")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_workspace_are_named_once_and_only_when_given() {
        assert_eq!(Workspace::default().note(), None);
        let given = || Some("a".to_owned());
        let all = Workspace { workspace_name: given(), resource_group: given(), subscription: given(), query: None };
        assert_eq!(
            all.note().unwrap(),
            "a cluster has no workspaces: --workspace-name, --resource-group, --subscription are left aside; --namespace and --context say where"
        );
    }
}
